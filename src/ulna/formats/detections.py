"""Base class of formats of pose estimators: persons detected frame by frame, with confidences."""

from __future__ import annotations

import functools
import re
import warnings
from abc import ABC
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ulna.core import Clip, Count, NonNegative, Positive, Skeleton, UlnaWarning, Units, get_skeleton
from ulna.formats.base import BadFileError, Format
from ulna.formats.labels import Labels

MOST_FRAMES = 5_000_000
LARGEST_NUMBER = 1 << 40  # of a frame
NUMBERED = re.compile(r"(.*?)[_.\-]?([0-9]{1,12})(_keypoints)?$")


@dataclass(frozen=True)
class Detection:
    """One person in one frame.

    Args:
        joints: Positions (K, D) and, in the last column, confidence: (K, D + 1) float64.
        track: Track id of the file, None if it has none.
    """

    joints: np.ndarray
    track: str | None = None


class PoseFormat(Format, ABC):
    """Options of formats of pose estimators.

    A joint is missing if its confidence is not above `min_confidence` or its position is (0, 0) or not a number.
    Confidences are stored as the file states them; some exporters write values above 1.
    """

    fps: Positive = 30.0
    """Frame rate; the files do not contain it."""
    min_confidence: NonNegative = 0.0
    """Joints whose confidence is not above this are missing."""
    max_persons: Annotated[int, Field(ge=1, le=100)] = 2
    """Maximum number of persons per clip; those visible in most frames are kept."""
    tracks: Literal["auto", "file", "link"] = "auto"
    """How persons are identified across frames: by the track ids of the file ("file"), by linking joints ("link"),
    or by ids where detections have one and by linking the others ("auto")."""
    max_jump: Positive = 0.5
    """Largest mean distance that the joints of one person move between frames, relative to the person's size
    (bounding-box diagonal), for linking."""
    max_gap: Count = 30
    """Number of frames after which an undetected person gets a new id, for linking."""
    width: Count | None = None
    """Width of the images in pixels, if the files do not state it."""
    height: Count | None = None
    """Height of the images in pixels, if the files do not state it."""
    labels: Path | None = None
    """CSV file with columns file and label, and optionally subject, view, setup, group and split:NAME."""

    terms = "depend on the videos"

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Width and height of the images, as given by the options."""
        return (self.width, self.height) if self.width and self.height else None

    def build_clip(
        self,
        path: Path,
        frames: Mapping[int, Sequence[Detection]],
        skeleton: Skeleton,
        *,
        origin: Path | None,
        name: Path | None = None,
        units: Units = "pixels",
        image_size: tuple[int, int] | None = None,
        fps: float | None = None,
    ) -> Clip:
        """Return the clip of detections, with persons in the order of how long they are visible.

        Args:
            path: File that the detections come from, for messages.
            frames: Detections by number of frame; frames without an entry are empty.
            skeleton: Skeleton of the joints.
            origin: Folder that was searched; the id of the clip is relative to it.
            name: File whose name is the id of the clip and is looked up in the table of labels; `path` by default.
            units: Units of the positions.
            image_size: Width and height of the image, if the file states it.
            fps: Frames per second, if the file states it.

        Raises:
            BadFileError: If no frame shows anybody, or numbers are infinite or missing.
        """
        first, last = min(frames, default=0), max(frames, default=0)
        num_frames = last - first + 1
        longest = min(MOST_FRAMES, 10_000 + 1000 * len(frames))
        if not 0 <= first <= last < LARGEST_NUMBER or num_frames > longest:
            expected, found = "consecutive frame numbers", f"{len(frames)} frames numbered {first} to {last}"
            raise BadFileError(path, "frame numbers", expected=expected, found=found)
        detections = {number: self._usable(path, number, frames[number]) for number in sorted(frames)}
        if not any(detections.values()):
            raise BadFileError(path, "whole file", expected="at least one detection", found="none (zero people)")
        owners = self._owners(path, detections, first)
        most = Counter(name for own in owners.values() for name in own).most_common()
        some = next(one for own in detections.values() for one in own).joints
        kept = [name for name, _ in most[: self.max_persons]]
        rows = np.full((num_frames, len(kept), *some.shape), np.nan)
        for number, own in detections.items():
            for one, owner in zip(own, owners[number], strict=True):
                if owner in kept:
                    rows[number - first, kept.index(owner)] = one.joints
        if left := most[self.max_persons :]:
            name_of_clip = Labels.read(self.labels).of(name or path, origin).id
            warn(
                f"{name_of_clip}: kept {len(kept)} of {len(most)} persons (--max-persons), dropped "
                f"{sum(count for _, count in left)} detections"
            )
        return self.clip_of_rows(
            path,
            rows,
            skeleton,
            tracks=tuple(kept),
            origin=origin,
            name=name,
            units=units,
            image_size=image_size,
            fps=fps,
            first_frame=first,
        )

    def clip_of_rows(
        self,
        path: Path,
        rows: np.ndarray,
        skeleton: Skeleton,
        *,
        tracks: tuple[str, ...] | None,
        origin: Path | None,
        name: Path | None = None,
        units: Units = "pixels",
        image_size: tuple[int, int] | None = None,
        fps: float | None = None,
        first_frame: int = 0,
    ) -> Clip:
        """Return the clip of an array, with the persons who are visible most; see `build_clip`.

        Args:
            path: File that the array comes from.
            rows: Positions (T, P, K, D) and, in the last column, confidence: (T, P, K, D + 1), NaN where missing.
            skeleton: Skeleton of the joints.
            tracks: Name of each person.
            origin: Folder that was searched.
            name: File whose name is the id of the clip.
            units: Units of the positions.
            image_size: Width and height of the image, if the file states it.
            fps: Frames per second, if the file states it.
            first_frame: Number of the first frame.
        """
        joints = self.joints_of(path, rows)
        counts = joints["visible"].any(axis=2).sum(axis=0)  # (P,)
        order = np.argsort(-counts, kind="stable")
        kept = order[: self.max_persons][counts[order[: self.max_persons]] > 0]
        left = [person for person in order[self.max_persons :] if counts[person]]
        known = Labels.read(self.labels).of(name or path, origin)
        if left:
            warn(
                f"{known.id}: kept {len(kept)} of {len(left) + len(kept)} persons (--max-persons), dropped "
                f"{int(counts[left].sum())} detections"
            )
        return Clip(
            id=known.id,
            skeleton=skeleton,
            fps=fps or self.fps,
            units=units,
            image_size=image_size or self.image_size,
            tracks=None if tracks is None else tuple(tracks[person] for person in kept),
            frame_numbers=None if first_frame == 0 else np.arange(first_frame, first_frame + len(rows)),
            **{key: values[:, kept] for key, values in joints.items()},
            **known.metadata,
        )

    def joints_of(self, path: Path, rows: np.ndarray) -> dict[str, Any]:
        """Return position, visibility mask and confidence of rows (T, P, K, D + 1), NaN where nobody is.

        Raises BadFileError if no joint is visible.
        """
        coordinates, confidence = rows[..., :-1], rows[..., -1]
        found = np.isfinite(coordinates).all(axis=-1) & (coordinates[..., :2] != 0).any(axis=-1)
        odd = found & np.isnan(confidence)
        if odd.any():
            warn(f"{path.name}: {int(odd.sum())} joints have a confidence that is not a number; they are missing")
        confidence = np.nan_to_num(confidence, nan=0.0, posinf=0.0, neginf=0.0)
        visible = found & (confidence > self.min_confidence)
        if not visible.any():
            expected = f"a joint with a confidence above {self.min_confidence:g}"
            raise BadFileError(path, "whole file", expected=expected, found="none (a clip with no body)")
        with np.errstate(over="ignore"):
            position = np.where(visible[..., None], coordinates, 0).astype(np.float32)
        if not np.isfinite(position).all():
            raise BadFileError(path, "whole file", expected="coordinates below 1e38", found="larger ones")
        return {"position": position, "visible": visible, "confidence": confidence.astype(np.float32)}

    def _usable(self, path: Path, number: int, detections: Sequence[Detection]) -> list[Detection]:
        """Return detections with at least one joint; raises BadFileError for infinite coordinates."""
        usable = []
        for person, one in enumerate(detections):
            if np.isinf(one.joints).any():
                place = f"frame {number}, person {person}"
                raise BadFileError(path, place, expected="finite coordinates", found="infinity")
            if (np.isfinite(one.joints[:, :-1]) & (one.joints[:, :-1] != 0)).any():
                usable.append(one)
        return usable

    def _owners(self, path: Path, frames: Mapping[int, Sequence[Detection]], first: int) -> dict[int, list[str]]:
        """Return the name of the person of each detection."""
        ids = {number: [one.track for one in own] for number, own in frames.items()}
        is_known = all(track is not None for own in ids.values() for track in own)
        is_any = any(track is not None for own in ids.values() for track in own)
        known = [[track for track in own if track is not None] for own in ids.values()]
        repeated = sum(len(set(own)) < len(own) for own in known)
        if is_known and not repeated and self.tracks != "link":
            return {number: [str(track) for track in own] for number, own in ids.items()}
        if self.tracks == "file":
            found = f"{repeated} frames with one id twice" if is_known else "detections without"
            raise BadFileError(path, "track ids", expected="one id for each person", found=found)
        if repeated and self.tracks == "auto":
            warn(f"{path.name}: {repeated} frames contain a duplicate track id; persons are linked by joints instead")
        num_frames = max(frames) - first + 1
        keeps_ids = is_any and not repeated and self.tracks == "auto"
        joints: list[list[np.ndarray]] = [[] for _ in range(num_frames)]
        for number, own in frames.items():
            joints[number - first] = [_located(one.joints) for one in own if not (keeps_ids and one.track is not None)]
        from ulna.formats.linking import link

        names = link(joints, max_jump=self.max_jump, max_gap=self.max_gap)
        if not keeps_ids:
            return {number: names[number - first] for number in frames}
        owners = {}
        for number, some in ids.items():
            linked = iter(names[number - first])
            owners[number] = [f"linked {next(linked)}" if track is None else track for track in some]
        return owners


def _located(joints: np.ndarray) -> np.ndarray:
    """Return positions (K, D), NaN for joints at (0, 0) or without confidence."""
    position = joints[:, :-1].copy()
    position[(position == 0).all(axis=1) | (joints[:, -1] <= 0)] = np.nan
    return position


def warn(message: str) -> None:
    """Warn about something in a file that does not stop the reading."""
    warnings.warn(message, UlnaWarning, stacklevel=3)


def by_number_of_joints(path: Path, location: str, number: int, known: Mapping[int, str]) -> Skeleton:
    """Return the skeleton that has a number of keypoints; raises BadFileError if none has."""
    if number not in known:
        expected = " or ".join(f"{num} ({name})" for num, name in known.items())
        raise BadFileError(path, location, expected=f"{expected} keypoints", found=str(number))
    return get_skeleton(known[number])


def flat_keypoints(path: Path, location: str, values: object, known: Mapping[int, str]) -> tuple[np.ndarray, Skeleton]:
    """Return keypoints (K, 3) of a list x, y, confidence, x, y, ... and their skeleton."""
    numbers = as_numbers(path, location, values)
    if numbers.ndim != 1 or numbers.size % 3:
        found = f"an array of {numbers.shape}"
        raise BadFileError(path, location, expected="a list of x, y, confidence for each keypoint", found=found)
    skeleton = by_number_of_joints(path, location, numbers.size // 3, known)
    return numbers.reshape(-1, 3)[: skeleton.num_recorded], skeleton


def as_numbers(path: Path, location: str, values: object) -> np.ndarray:
    """Return nested lists of numbers as float64; None is NaN. Raises BadFileError for anything else."""
    try:
        numbers = np.array(values, dtype=np.float64) if isinstance(values, list) else None
    except (ValueError, TypeError, OverflowError):
        numbers = None
    if numbers is None or _has_text(values):
        raise BadFileError(path, location, expected="lists of numbers", found=repr(values)[:60])
    return numbers


def _has_text(values: object) -> bool:
    """Return whether nested lists hold text or booleans, which numpy would convert."""
    if isinstance(values, list):
        return (
            any(_has_text(value) for value in values[:4])
            if values and isinstance(values[0], list)
            else any(isinstance(value, str | bool | dict) for value in values)
        )
    return isinstance(values, str | bool)


def frame_number(name: str) -> int | None:
    """Return the last number in a file name, which counts frames; None if there is none."""
    numbers = re.findall(r"[0-9]{1,12}", Path(name).stem)
    return int(numbers[-1]) if numbers else None


@functools.lru_cache(maxsize=4)
def _frames_in(folder: Path, stamp: int) -> dict[Path, dict[int, Path]]:  # noqa: ARG001
    numbered = [path for path in sorted(folder.glob("*.json")) if NUMBERED.fullmatch(path.stem)]
    return numbered_files([path for path in numbered if not path.name.startswith(".")])


def frames_in(folder: Path) -> dict[Path, dict[int, Path]]:
    """Return the numbered .json files of a folder by video; the listing is kept until the folder changes."""
    return _frames_in(folder, folder.stat().st_mtime_ns)


def numbered_files(files: Sequence[Path]) -> dict[Path, dict[int, Path]]:
    """Group files of single frames by video: NAME_000123_keypoints.json is frame 123 of NAME.

    Raises BadFileError if two files have one number, or a file has none.
    """
    videos: dict[Path, dict[int, Path]] = {}
    for path in files:
        match = NUMBERED.fullmatch(path.stem)
        if match is None:
            raise BadFileError(path, "file name", expected="a name with the number of the frame", found=path.name)
        video = path.parent / match[1] if match[1] else path.parent
        own, number = videos.setdefault(video, {}), int(match[2])
        if number in own:
            raise BadFileError(path, "file name", expected="one file for each frame", found=f"{own[number].name} too")
        own[number] = path
    return videos
