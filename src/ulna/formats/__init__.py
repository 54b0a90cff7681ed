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
        "openpose": "ulna.formats.openpose:OpenPose",
        "mmpose": "ulna.formats.mmpose:MMPose",
        "alphapose": "ulna.formats.alphapose:AlphaPose",
        "coco": "ulna.formats.coco:COCO",
        "mediapipe": "ulna.formats.mediapipe:MediaPipe",
        "pose": "ulna.formats.pose:Pose",
        "sleap": "ulna.formats.sleap:SLEAP",
        "deeplabcut": "ulna.formats.deeplabcut:DeepLabCut",
        "movement": "ulna.formats.movement:Movement",
        "c3d": "ulna.formats.c3d:C3D",
        "trc": "ulna.formats.trc:TRC",
        "gltf": "ulna.formats.gltf:GLTF",
    },
)

__all__ = ["FORMATS", "BadFileError", "Format", "Source", "detect_format", "read"]
