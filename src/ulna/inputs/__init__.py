"""Floor 3: named forms of input, one file each."""

from typing import TYPE_CHECKING

from ulna.core import NameTable, lazy_attributes

INPUTS = NameTable(
    "input form",
    {
        "disentangled": "ulna.inputs.disentangled:Disentangled",
        "min_max": "ulna.inputs.min_max:MinMax",
        "shifted": "ulna.inputs.shifted:Shifted",
    },
)
_PUBLIC = INPUTS.attributes() | {
    "InputForm": "ulna.inputs.base:InputForm",
    "disentangle": "ulna.inputs.disentangled:disentangle",
}
__all__ = ["INPUTS", "Disentangled", "InputForm", "MinMax", "Shifted", "disentangle"]

if TYPE_CHECKING:
    from ulna.inputs.base import InputForm
    from ulna.inputs.disentangled import Disentangled, disentangle
    from ulna.inputs.min_max import MinMax
    from ulna.inputs.shifted import Shifted


__getattr__ = lazy_attributes(__name__, _PUBLIC)
