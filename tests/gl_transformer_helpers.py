"""Clips and a small encoder for the tests of GL-Transformer and MPDP."""

import torch

from conftest import make_clip
from ulna.batch import Batch
from ulna.core import get_skeleton
from ulna.encoders import GLTransformer
from ulna.preprocessing import Disentangled

SKELETON = get_skeleton("kinect_v1")
MAX_FRAMES = 30


def disentangled(num_persons=1, **options):
    return Disentangled(Disentangled.Config(**{"max_frames": MAX_FRAMES} | options), SKELETON, num_persons)


def preprocessed(lengths, num_persons=1, **options):
    clips = [make_clip(f"c{i}", n, num_persons=num_persons, seed=i) for i, n in enumerate(lengths)]
    return disentangled(num_persons, **options)(Batch.from_clips(clips))


def small(num_persons=1, *, spec=None, seed=0, **options):
    """An encoder in eval mode with random weights everywhere, for batches of `preprocessed` unless a spec is given."""
    torch.manual_seed(seed)
    config = GLTransformer.Config(**{"embed_dim": 8, "num_heads": 4, "depth": 2} | options)
    encoder = GLTransformer(config, spec or disentangled(num_persons).spec).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return encoder
