"""Formats, one module per dataset or file format: read files into clips with standard splits. Does not need torch."""

from ulna.core import NameTable
from ulna.formats.base import BadFileError, Format, Source
from ulna.formats.reading import detect_format, read

FORMATS = NameTable(
    "format",
    {
        "ntu": "ulna.formats.ntu:NTU",
        "pku_mmd": "ulna.formats.pku_mmd:PKUMMD",
        "nw_ucla": "ulna.formats.nw_ucla:NWUCLA",
        "utd_mhad": "ulna.formats.utd_mhad:UTDMHAD",
        "sbu": "ulna.formats.sbu:SBU",
        "ui_prmd": "ulna.formats.ui_prmd:UIPRMD",
        "msr_action3d": "ulna.formats.msr_action3d:MSRAction3D",
        "penn_action": "ulna.formats.penn_action:PennAction",
        "bvh": "ulna.formats.bvh:BVH",
        "npz": "ulna.formats.npz:NPZ",
    },
)

__all__ = ["FORMATS", "BadFileError", "Format", "Source", "detect_format", "read"]
