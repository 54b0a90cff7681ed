"""Floor 0: skeletons, clips, name tables, counted random numbers. numpy only."""

from ulna.core.checks import all_within, check_types, one_of, within
from ulna.core.clip import TEST, TRAIN, Clip, present_from_zeros
from ulna.core.folders import new_file, new_folder, refuse_existing, write_text
from ulna.core.names import NameTable, lazy_attributes, load, unknown_name
from ulna.core.options import Options, build, from_json, options
from ulna.core.random import counted, torch_seed
from ulna.core.skeleton import Skeleton
from ulna.core.skeletons import SKELETONS, get_skeleton
from ulna.core.slots import Parts, Slots

__all__ = [
    "SKELETONS", "TEST", "TRAIN", "Clip", "NameTable", "Options", "Parts",
    "Skeleton", "Slots", "all_within", "build", "check_types", "counted", "from_json", "get_skeleton",
    "lazy_attributes", "load", "new_file", "new_folder", "one_of", "options", "present_from_zeros",
    "refuse_existing", "torch_seed", "unknown_name", "within", "write_text",
]  # fmt: skip
