"""Clips, an encoder and a choice of tokens for the tests of cross masking."""

import torch

from conftest import make_clip
from ulna.core import NodeLayout, get_skeleton
from ulna.data import Batch
from ulna.encoders import SegmentTransformer
from ulna.preprocessing import Shifted

SKELETON = get_skeleton("kinect_v2")
SLOTS = NodeLayout.of(SKELETON, "mixed")


def formed(lengths=(72, 72), num_persons=1, form=None, **how):
    clips = [
        make_clip(f"c{i}", n, skeleton="kinect_v2", num_persons=num_persons, seed=i, **how)
        for i, n in enumerate(lengths)
    ]
    return (form or Shifted())(Batch.from_clips(clips))


def encoder(num_persons=1, **given):
    torch.manual_seed(0)
    sizes = {"width": 16, "num_heads": 2, "num_blocks": 2} | given
    return SegmentTransformer(SLOTS, num_persons, 72, **sizes)


def look(task, batch):
    segments = task.encoder.cut(batch)
    tokens = task.encoder.tokens(segments)
    return segments, tokens, task.choose(segments, tokens)
