"""Floor 8: protocols that judge an encoder."""

from typing import TYPE_CHECKING

from ulna.core import NameTable, lazy_attributes

PROTOCOLS = NameTable("protocol", {"linear": "ulna.protocols.linear:Linear", "knn": "ulna.protocols.knn:KNN"})
_PUBLIC = PROTOCOLS.attributes() | {
    "Labelled": "ulna.protocols.base:Labelled",
    "Outcome": "ulna.protocols.outcome:Outcome",
    "Protocol": "ulna.protocols.base:Protocol",
    "extract": "ulna.protocols.features:extract",
}
__all__ = ["KNN", "PROTOCOLS", "Labelled", "Linear", "Outcome", "Protocol", "extract"]

if TYPE_CHECKING:
    from ulna.protocols.base import Labelled, Protocol
    from ulna.protocols.features import extract
    from ulna.protocols.knn import KNN
    from ulna.protocols.linear import Linear
    from ulna.protocols.outcome import Outcome


__getattr__ = lazy_attributes(__name__, _PUBLIC)
