"""Clips, an encoder and visible tokens for the tests of HA-CM."""

import torch

from conftest import make_clip
from ulna.batch import Batch
from ulna.core import NodeLayout, get_skeleton
from ulna.encoders import SegmentTransformer
from ulna.preprocessing import InputSpec, Shifted
from ulna.pretext import HACM

SKELETON = get_skeleton("kinect_v2")
LAYOUT = NodeLayout.of(SKELETON, "mixed")


def raw(lengths=(72, 72), num_persons=1, **how):
    """Raw clips of some lengths."""
    return Batch.from_clips(
        [
            make_clip(f"c{i}", n, skeleton="kinect_v2", num_persons=num_persons, seed=i, **how)
            for i, n in enumerate(lengths)
        ]
    )


def shifted(lengths=(72, 72), num_persons=1, *, long_only=False, **how):
    """Clips preprocessed by `Shifted`."""
    config = Shifted.Config(long_only=long_only)
    return Shifted(config, SKELETON, num_persons)(raw(lengths, num_persons, **how))


def encoder(num_persons=1, **options):
    """A small encoder for these clips."""
    torch.manual_seed(0)
    sizes = {"embed_dim": 16, "num_heads": 2, "depth": 2} | options
    return SegmentTransformer(SegmentTransformer.Config(**sizes), InputSpec(LAYOUT, num_persons, 72))


def hacm(encoder, **options):
    """HA-CM on an encoder."""
    return HACM(HACM.Config(**options), encoder)


def mask(task, batch):
    """The segments of a batch, their tokens, and the visible ones."""
    segments = task.encoder.segments(batch)
    tokens = task.encoder.tokenize(segments)
    return segments, tokens, task.mask(segments, task.score(segments, tokens))
