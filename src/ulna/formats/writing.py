"""Write clips as files: .npz, .csv, .trc and .pose."""

from __future__ import annotations

import csv
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ulna.core import Clip, InputError, new_file, refuse_existing, unknown_name

MILLIMETRES = {"metres": 1000.0, "millimetres": 1.0}


def write_clips(clips: Sequence[Clip], dest: Path) -> list[Path]:
    """Write clips, each as one file.

    Args:
        clips: The clips.
        dest: File for one clip, or `FOLDER/*.ENDING` for several, whose names are the ids of the clips.

    Returns:
        The files.

    Raises:
        ExistsError: If a file exists.
        InputError: If a format is unknown or cannot hold the clips, or there are several clips for one file.
    """
    check_ending(dest)
    if dest.stem == "*":
        paths = [dest.parent / f"{_file_name(clip.id)}{dest.suffix}" for clip in clips]
        if len(set(paths)) < len(paths):
            raise InputError("expected ids of clips that give different file names, found two alike")
    elif len(clips) == 1:
        paths = [dest]
    else:
        raise InputError(f"{dest}: expected a folder for {len(clips)} clips, such as {dest.parent}/*{dest.suffix}")
    for path in paths:
        refuse_existing(path)
    for clip, path in zip(clips, paths, strict=True):
        with new_file(path) as partial:
            WRITERS[dest.suffix](clip, partial)
    return paths


def check_ending(dest: Path) -> None:
    """Raise InputError if files with the ending of a path cannot be written."""
    if not dest.suffix:
        raise InputError(f"{dest}: expected a file extension, found none. To write into a folder: '{dest}/*.npz'.")
    if dest.suffix not in WRITERS:
        raise InputError(unknown_name("format to write", dest.suffix, WRITERS))


def _file_name(name: str) -> str:
    """Return an id as the name of a file, without parts that would lead out of the folder."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "_".join(parts) or "clip"


def write_npz(clip: Clip, path: Path) -> None:
    """Write everything that a clip holds as arrays, as the format `npz` reads them."""
    values: dict[str, np.ndarray] = {
        "position": np.where(clip.visible[..., None], clip.position, np.nan),
        "visible": clip.visible,
        "fps": np.array(float(clip.fps)),
        "units": np.array(clip.units),
        "dimensions": np.array(clip.dimensions),
        "joints": np.array(clip.skeleton.joints),
        "parents": np.array(clip.skeleton.parents),
        "centre": np.array(clip.skeleton.centre),
    }
    from ulna.core import SKELETONS

    if SKELETONS.get(clip.skeleton.name) == clip.skeleton:
        for name in ("joints", "parents", "centre"):
            del values[name]
        values["skeleton"] = np.array(clip.skeleton.name)
    optional = {
        "confidence": clip.confidence,
        "frame_numbers": clip.frame_numbers,
        "tracks": None if clip.tracks is None else np.array(clip.tracks),
        "image_size": None if clip.image_size is None else np.array(clip.image_size),
        **{
            name: None if getattr(clip, name) is None else np.array(getattr(clip, name))
            for name in ("label", "subject", "view", "setup", "group", "recording")
        },
    }
    values |= {name: value for name, value in optional.items() if value is not None}
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **values)


def write_csv(clip: Clip, path: Path) -> None:
    """Write one row per frame, person and visible joint: frame, time, person, joint, x, y, (z,) confidence."""
    axes = "xyz"[: clip.dimensions]
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["frame", "time", "person", "joint", *axes, "confidence"])
        for frame, person, joint in np.argwhere(clip.visible).tolist():
            number = frame if clip.frame_numbers is None else int(clip.frame_numbers[frame])
            name = clip.tracks[person] if clip.tracks else str(person)
            sure = "" if clip.confidence is None else f"{clip.confidence[frame, person, joint]:.6g}"
            position = [
                str(value) for value in clip.position[frame, person, joint, : clip.dimensions].astype(np.float32)
            ]
            rows.writerow([number, f"{number / clip.fps:.6f}", name, clip.skeleton.joints[joint], *position, sure])


def write_trc(clip: Clip, path: Path) -> None:
    """Write the recorded joints as markers in millimetres, y up; of several persons, PERSON:JOINT."""
    if clip.dimensions != 3 or clip.units not in MILLIMETRES:
        raise InputError(f"clip {clip.id!r}: expected positions in metres to write as .trc, found {clip.units}")
    joints = clip.skeleton.joints[: clip.skeleton.num_recorded]
    people = [clip.tracks[p] if clip.tracks else str(p) for p in range(clip.num_persons)]
    names = [joint if len(people) == 1 else f"{person}:{joint}" for person in people for joint in joints]
    names = [name.replace("\t", " ").replace("\n", " ") for name in names]
    position = clip.position[:, :, : len(joints)].astype(np.float64) * MILLIMETRES[clip.units]
    visible = clip.visible[:, :, : len(joints)].reshape(clip.num_frames, -1)
    rows = position.reshape(clip.num_frames, -1, 3)
    numbers = np.arange(1, clip.num_frames + 1) if clip.frame_numbers is None else clip.frame_numbers
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{path.name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{clip.fps:g}\t{clip.fps:g}\t{clip.num_frames}\t{len(names)}\tmm\t{clip.fps:g}\t{numbers[0]}\t{clip.num_frames}",
        "Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t",
        "\t\t" + "\t".join(f"{axis}{number}" for number in range(1, len(names) + 1) for axis in "XYZ"),
    ]
    for frame, number in enumerate(numbers.tolist()):
        cells = [
            f"{value:.7g}" if seen else ""
            for point, seen in zip(rows[frame], visible[frame], strict=True)
            for value in point
        ]
        lines.append(f"{number}\t{number / clip.fps:.6f}\t" + "\t".join(cells))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_pose(clip: Clip, path: Path) -> None:
    """Write the recorded joints as one component of a .pose file, version 0.2."""
    if clip.dimensions != 2 or clip.units != "pixels":
        found = f"{clip.dimensions} in {clip.units}"
        raise InputError(f"clip {clip.id!r}: expected two dimensions in pixels to write as .pose, found {found}")
    joints = clip.skeleton.joints[: clip.skeleton.num_recorded]
    limbs = [(child, parent) for child, parent in clip.skeleton.bones if max(child, parent) < len(joints)]
    width, height = clip.image_size or (0, 0)
    if max(width, height) > 0xFFFF:
        raise InputError(f"clip {clip.id!r}: expected an image of at most 65,535 pixels, found {width} x {height}")

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value.encode())) + value.encode()

    header = struct.pack("<fHHHH", 0.2, width, height, 0, 1) + text("body") + text("XYC")
    header += struct.pack("<HHH", len(joints), len(limbs), 1) + b"".join(text(joint) for joint in joints)
    header += b"".join(struct.pack("<HH", *limb) for limb in limbs) + struct.pack("<HHH", 15, 118, 110)
    header += struct.pack("<fIH", clip.fps, clip.num_frames, clip.num_persons)
    visible = clip.visible[:, :, : len(joints)]
    position = np.where(visible[..., None], clip.position[:, :, : len(joints), :2], 0).astype("<f4")
    sure = visible.astype("<f4") if clip.confidence is None else clip.confidence[:, :, : len(joints)]
    path.write_bytes(header + position.tobytes() + np.where(visible, sure, 0).astype("<f4").tobytes())


WRITERS: dict[str, Callable[[Clip, Path], None]] = {
    ".npz": write_npz, ".csv": write_csv, ".trc": write_trc, ".pose": write_pose,
}  # fmt: skip
