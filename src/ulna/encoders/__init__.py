"""Floor 5: encoders, one class and file a paper."""

from typing import TYPE_CHECKING

from ulna.core import NameTable, lazy_attributes

ENCODERS = NameTable(
    "encoder",
    {
        "gl_transformer": "ulna.encoders.gl_transformer:GLTransformer",
        "motion_transformer": "ulna.encoders.motion_transformer:MotionTransformer",
        "h_transformer": "ulna.encoders.h_transformer:HTransformer",
        "segment_transformer": "ulna.encoders.segment_transformer:SegmentTransformer",
    },
)
_PUBLIC = ENCODERS.attributes() | {
    "Encoder": "ulna.encoders.base:Encoder",
    "FrameEncoder": "ulna.encoders.base:FrameEncoder",
}
__all__ = [
    "ENCODERS", "Encoder", "FrameEncoder", "GLTransformer", "HTransformer", "MotionTransformer", "SegmentTransformer",
]  # fmt: skip

if TYPE_CHECKING:
    from ulna.encoders.base import Encoder, FrameEncoder
    from ulna.encoders.gl_transformer import GLTransformer
    from ulna.encoders.h_transformer import HTransformer
    from ulna.encoders.motion_transformer import MotionTransformer
    from ulna.encoders.segment_transformer import SegmentTransformer


__getattr__ = lazy_attributes(__name__, _PUBLIC)
