"""Floor 3: named forms of input, one file each."""

from typing import TYPE_CHECKING

from ulna.core import NameTable, lazy_attributes

INPUTS = NameTable(
    "input form",
    {"disentangled": "ulna.inputs.disentangled:Disentangled", "min_max": "ulna.inputs.min_max:MinMax"},
)
_PUBLIC = INPUTS.attributes() | {
    "InputForm": "ulna.inputs.base:InputForm",
    "disentangle": "ulna.inputs.disentangled:disentangle",
}
__all__ = ["INPUTS", "Disentangled", "InputForm", "MinMax", "disentangle"]

if TYPE_CHECKING:
    from ulna.inputs.base import InputForm
    from ulna.inputs.disentangled import Disentangled, disentangle
    from ulna.inputs.min_max import MinMax


__getattr__ = lazy_attributes(__name__, _PUBLIC)
