"""Preprocessors, one per module: from raw clips to the input of an encoder."""

from ulna.core import NameTable
from ulna.preprocessing.base import InputSpec, Preprocessor
from ulna.preprocessing.disentangled import Disentangled, disentangle
from ulna.preprocessing.min_max import MinMax
from ulna.preprocessing.shifted import Shifted

PREPROCESSORS = NameTable(
    "preprocessor",
    {
        "disentangled": "ulna.preprocessing.disentangled:Disentangled",
        "min_max": "ulna.preprocessing.min_max:MinMax",
        "shifted": "ulna.preprocessing.shifted:Shifted",
    },
)

__all__ = [
    "PREPROCESSORS", "Disentangled", "InputSpec", "MinMax", "Preprocessor", "Shifted", "disentangle",
]  # fmt: skip
