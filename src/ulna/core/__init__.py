"""Skeletons, clips, configuration, errors, name tables and random streams. No torch."""

from ulna.core.clip import FARTHEST, TEST, TRAIN, UNITS, Clip, Units, visible_from_zeros
from ulna.core.config import (
    Config,
    Count,
    NonNegative,
    NonNegativeSeconds,
    Positive,
    Rate,
    Seconds,
    Seed,
    Share,
    component,
    named,
    parse_named,
    read_config,
)
from ulna.core.files import new_file, new_folder, refuse_existing, write_text
from ulna.core.joint_matching import joint_names, match_joints
from ulna.core.node_layout import NodeLayout, Parts
from ulna.core.parallel import (
    Workers,
    WorkFolder,
    fingerprint_of_files,
    in_shards,
    spread_evenly,
    with_absolute_paths,
    write_shards,
)
from ulna.core.random import random_stream, torch_seed
from ulna.core.skeleton import Skeleton
from ulna.core.skeletons import SKELETONS, get_skeleton, known_skeleton
from ulna.core.tables import NameTable
from ulna.errors import (
    ExistsError,
    InputError,
    MissingError,
    UlnaError,
    UlnaWarning,
    check_range,
    readable,
    shown,
    unknown_name,
)

__all__ = [
    "FARTHEST",
    "SKELETONS",
    "TEST",
    "TRAIN",
    "UNITS",
    "Clip",
    "Config",
    "Count",
    "ExistsError",
    "InputError",
    "MissingError",
    "NameTable",
    "NodeLayout",
    "NonNegative",
    "NonNegativeSeconds",
    "Parts",
    "Positive",
    "Rate",
    "Seconds",
    "Seed",
    "Share",
    "Skeleton",
    "UlnaError",
    "UlnaWarning",
    "Units",
    "WorkFolder",
    "Workers",
    "check_range",
    "component",
    "fingerprint_of_files",
    "get_skeleton",
    "in_shards",
    "joint_names",
    "known_skeleton",
    "match_joints",
    "named",
    "new_file",
    "new_folder",
    "parse_named",
    "random_stream",
    "read_config",
    "readable",
    "refuse_existing",
    "shown",
    "spread_evenly",
    "torch_seed",
    "unknown_name",
    "visible_from_zeros",
    "with_absolute_paths",
    "write_shards",
    "write_text",
]  # fmt: skip
