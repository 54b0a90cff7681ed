"""Encoders, one class and module per paper."""

from ulna.core import NameTable
from ulna.encoders.base import AttentionMaps, Encoder, FrameEncoder, TokenEncoder, TokenFeatures
from ulna.encoders.compact_transformer import CompactTransformer
from ulna.encoders.gl_transformer import GLTransformer
from ulna.encoders.h_transformer import HTransformer
from ulna.encoders.motion_transformer import MotionTransformer
from ulna.encoders.segment_transformer import SegmentTransformer
from ulna.encoders.stgcn import STGCN

ENCODERS = NameTable(
    "encoder",
    {
        "gl_transformer": "ulna.encoders.gl_transformer:GLTransformer",
        "motion_transformer": "ulna.encoders.motion_transformer:MotionTransformer",
        "h_transformer": "ulna.encoders.h_transformer:HTransformer",
        "stgcn": "ulna.encoders.stgcn:STGCN",
        "compact_transformer": "ulna.encoders.compact_transformer:CompactTransformer",
        "segment_transformer": "ulna.encoders.segment_transformer:SegmentTransformer",
    },
)

__all__ = [
    "ENCODERS", "STGCN", "AttentionMaps", "CompactTransformer", "Encoder", "FrameEncoder", "GLTransformer",
    "HTransformer", "MotionTransformer", "SegmentTransformer", "TokenEncoder", "TokenFeatures",
]  # fmt: skip
