"""Floor 6: pretext tasks, one class and file each."""

from typing import TYPE_CHECKING

from ulna.core import NameTable, lazy_attributes

PRETEXTS = NameTable(
    "pretext task", {"displacement": "ulna.pretext.displacement:MPDP", "flow": "ulna.pretext.flow:Flow"}
)
_PUBLIC = PRETEXTS.attributes() | {"Pretext": "ulna.pretext.base:Pretext"}
__all__ = ["MPDP", "PRETEXTS", "Flow", "Pretext"]

if TYPE_CHECKING:
    from ulna.pretext.base import Pretext
    from ulna.pretext.displacement import MPDP
    from ulna.pretext.flow import Flow


__getattr__ = lazy_attributes(__name__, _PUBLIC)
