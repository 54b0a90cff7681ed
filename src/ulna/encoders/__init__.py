"""Floor 5: encoders, one class and file a paper."""

from typing import TYPE_CHECKING

from ulna.core import NameTable, lazy_attributes

ENCODERS = NameTable("encoder", {"gl_transformer": "ulna.encoders.gl_transformer:GLTransformer"})
_PUBLIC = ENCODERS.attributes() | {
    "Encoder": "ulna.encoders.base:Encoder",
    "FrameEncoder": "ulna.encoders.base:FrameEncoder",
}
__all__ = ["ENCODERS", "Encoder", "FrameEncoder", "GLTransformer"]

if TYPE_CHECKING:
    from ulna.encoders.base import Encoder, FrameEncoder
    from ulna.encoders.gl_transformer import GLTransformer


__getattr__ = lazy_attributes(__name__, _PUBLIC)
