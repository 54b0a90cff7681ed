"""Encoders, one class and module per paper."""

from ulna.core import NameTable
from ulna.encoders.base import AttentionMaps, Encoder, FrameEncoder
from ulna.encoders.gl_transformer import GLTransformer
from ulna.encoders.h_transformer import HTransformer
from ulna.encoders.motion_transformer import MotionTransformer
from ulna.encoders.segment_transformer import SegmentTransformer

ENCODERS = NameTable(
    "encoder",
    {
        "gl_transformer": "ulna.encoders.gl_transformer:GLTransformer",
        "motion_transformer": "ulna.encoders.motion_transformer:MotionTransformer",
        "h_transformer": "ulna.encoders.h_transformer:HTransformer",
        "segment_transformer": "ulna.encoders.segment_transformer:SegmentTransformer",
    },
)

__all__ = [
    "ENCODERS", "AttentionMaps", "Encoder", "FrameEncoder", "GLTransformer", "HTransformer", "MotionTransformer",
    "SegmentTransformer",
]  # fmt: skip
