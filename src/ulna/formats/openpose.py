"""OpenPose: a folder with one JSON file per frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ulna.core import Clip, Skeleton
from ulna.formats.base import BadFileError, Source, head, list_files, read_json
from ulna.formats.detections import (
    NUMBERED,
    Detection,
    PoseFormat,
    flat_keypoints,
    frames_in,
    numbered_files,
    warn,
)
from ulna.formats.labels import Labels

KEYPOINTS = {25: "openpose25", 18: "openpose18"}
KEYS = ("pose_keypoints_2d", "pose_keypoints")


class OpenPose(PoseFormat):
    """Reads folders of `VIDEO_000000000000_keypoints.json`, one file per frame: BODY_25 or COCO-18, in pixels.

    A folder may hold several videos. Hands and faces are not read. Frames without a file are empty.
    """

    title = "OpenPose JSON output (2-D)"
    pattern = "*.json"
    files_wanted = "VIDEO_NUMBER_keypoints.json or VIDEO_NUMBER.json, one per frame"
    where = "openpose --write_json FOLDER"
    cite = "Cao, Hidalgo, Simon, Wei, Sheikh: OpenPose, TPAMI 2019"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether a file looks like OpenPose output."""
        return path.suffix == ".json" and b'"people"' in head(path)

    def open(self, source: Path) -> Source:
        found = list_files(source, "*.json", "OpenPose files")
        files = tuple(path for path in found if NUMBERED.fullmatch(path.stem) or self.recognises(path))
        if len(files) < len(found):
            other = next(path for path in found if path not in files)
            warn(f"{len(found) - len(files)} .json files are not OpenPose frames and are skipped, such as {other.name}")
        if not files:
            raise BadFileError(source, "folder", expected=self.files_wanted, found=f"files like {found[0].name}")
        videos = numbered_files(files)
        labels = Labels.read(self.labels)
        origin = source if source.is_dir() else source.parent
        labels.check([video.with_name(video.name + ".json") for video in videos], origin)
        firsts = tuple(own[min(own)] for own in videos.values())
        return Source(firsts, _first_skeleton(files), labels.classes, num_persons=None, origin=origin)

    def read(self, path: Path, source: Source) -> list[Clip]:
        # The files of a video are listed again, so that workers need not be sent all of them.
        siblings = frames_in(path.parent)
        video, files = next((video, own) for video, own in siblings.items() if path in own.values())
        frames = {number: _people(file, source.skeleton) for number, file in files.items()}
        name = video.with_name(video.name + ".json")
        return [self.build_clip(path, frames, source.skeleton, origin=source.origin, name=name)]


def _first_skeleton(files: tuple[Path, ...]) -> Skeleton:
    """Return the skeleton of the first person in the files; raises the error of the first file without."""
    for path in files:
        try:
            for person in _entries(path):
                return flat_keypoints(path, "people", _values(path, person), KEYPOINTS)[1]
        except BadFileError as error:
            if path == files[-1]:
                raise error
    raise BadFileError(files[0], "people", expected="a person in at least one frame", found="zero people")


def _entries(path: Path) -> list[Any]:
    content = read_json(path)
    people = content.get("people") if isinstance(content, dict) else None
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise BadFileError(path, "key 'people'", expected="a list of people", found=repr(people)[:60])
    return people


def _values(path: Path, person: dict[str, Any]) -> object:
    for key in KEYS:
        if key in person:
            return person[key]
    raise BadFileError(path, "people", expected=f"the key {KEYS[0]} or {KEYS[1]}", found=f"keys {sorted(person)}")


def _people(path: Path, skeleton: Skeleton) -> list[Detection]:
    """Return the persons of a frame."""
    people = []
    for number, person in enumerate(_entries(path)):
        place = f"person {number}"
        joints, own = flat_keypoints(path, place, _values(path, person), KEYPOINTS)
        if own != skeleton:
            expected, found = f"{skeleton.num_recorded} keypoints, as in the first frame", str(own.num_recorded)
            raise BadFileError(path, place, expected=expected, found=found)
        people.append(Detection(joints, _track(person.get("person_id"))))
    return people


def _track(value: object) -> str | None:
    """Return a track id; OpenPose writes [-1] where it does not track."""
    number = value[0] if isinstance(value, list) and len(value) == 1 else value
    return str(number) if isinstance(number, int | float) and number >= 0 else None
