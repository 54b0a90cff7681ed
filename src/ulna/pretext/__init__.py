"""Floor 6: pretext tasks, one class and file each."""

from typing import TYPE_CHECKING

from ulna.core import NameTable, lazy_attributes

PRETEXTS = NameTable(
    "pretext task",
    {
        "displacement": "ulna.pretext.displacement:MPDP",
        "flow": "ulna.pretext.flow:Flow",
        "cross_masking": "ulna.pretext.cross_masking:CrossMasking",
    },
)
_PUBLIC = PRETEXTS.attributes() | {"Pretext": "ulna.pretext.base:Pretext"}
__all__ = ["MPDP", "PRETEXTS", "CrossMasking", "Flow", "Pretext"]

if TYPE_CHECKING:
    from ulna.pretext.base import Pretext
    from ulna.pretext.cross_masking import CrossMasking
    from ulna.pretext.displacement import MPDP
    from ulna.pretext.flow import Flow


__getattr__ = lazy_attributes(__name__, _PUBLIC)
