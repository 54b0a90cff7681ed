"""Floor 1: readers, one file per data set or file format. Files -> clips, with their standard splits. No torch."""

from typing import TYPE_CHECKING

from ulna.core import NameTable, lazy_attributes
from ulna.readers.base import BadFile, Reader, Source

READERS = NameTable(
    "reader",
    {
        "ntu": "ulna.readers.ntu:NTU",
        "pku_mmd": "ulna.readers.pku_mmd:PKUMMD",
        "nw_ucla": "ulna.readers.nw_ucla:NWUCLA",
        "utd_mhad": "ulna.readers.utd_mhad:UTDMHAD",
        "sbu": "ulna.readers.sbu:SBU",
        "bvh": "ulna.readers.bvh:BVH",
        "npz": "ulna.readers.npz:NPZ",
    },
)

__all__ = ["READERS", "BadFile", "Reader", "Source", "bvh", "npz", "ntu", "nw_ucla", "pku_mmd", "sbu", "utd_mhad"]

if TYPE_CHECKING:
    from ulna.readers import bvh, npz, ntu, nw_ucla, pku_mmd, sbu, utd_mhad


__getattr__ = lazy_attributes(__name__, {name: f"ulna.readers.{name}" for name in READERS})
