"""Annotations of recordings: labelled time intervals from CSV tables, BORIS exports and ELAN files."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ulna.core import InputError, MissingError, shown
from ulna.formats import pku_mmd
from ulna.formats.base import BadFileError, decoded

SUFFIXES = (".csv", ".tsv", ".eaf")
LATEST = 1e9  # seconds
RECORDING_COLUMNS = ("file", "recording", "Media file name", "Media file path", "Media file", "Observation id")
MEDIA = (
    "mp4", "avi", "mov", "mkv", "m4v", "mpg", "mpeg", "wmv", "webm", "wav", "mp3", "json", "csv", "npz", "npy", "pose",
    "slp", "h5", "nc", "c3d", "trc", "bvh", "glb", "gltf",
)  # fmt: skip


@dataclass(frozen=True)
class Annotation:
    """A labelled part of a recording.

    Args:
        start: Start in seconds.
        end: End in seconds.
        label: Name of the class.
        person: Track id of the person; None applies to all persons.
        confidence: Probability of the label, 0 to 1; None for annotations made by people.
    """

    start: float
    end: float
    label: str
    person: str | None = None
    confidence: float | None = None

    def holds_for(self, person: str | None) -> bool:
        """Return whether it applies to a person; None stands for everybody."""
        return None in (self.person, person) or self.person == person


@dataclass(frozen=True)
class Annotations:
    """Annotations by name of recording; None: annotations of a single recording."""

    by_recording: Mapping[str | None, tuple[Annotation, ...]]

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, in alphabetical order."""
        return tuple(sorted({one.label for some in self.by_recording.values() for one in some}))

    def of(self, clip: str) -> tuple[Annotation, ...]:
        """Return the annotations of a clip.

        They are those of the recordings whose path ends like its id, or the other way round; if there are none, of the
        only recording with the same file name.
        """
        alike = self._by_file_name.get(_last(clip), [])
        names = [name for name in alike if is_same(name, clip)] or (alike if len(alike) == 1 else [])
        shared = self.by_recording.get(None, ())
        return (*shared, *(one for name in names for one in self.by_recording[name]))

    @cached_property
    def _by_file_name(self) -> dict[str, list[str]]:
        """Names of recordings by their last part."""
        found: dict[str, list[str]] = {}
        for name in self.by_recording:
            if name is not None:
                found.setdefault(_last(name), []).append(name)
        return found


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def is_same(recording: str, clip: str) -> bool:
    """Return whether a recording's name and a clip's id are the same path, as far as both are given."""
    one, two = recording.split("/"), clip.split("/")
    length = min(len(one), len(two))
    return one[-length:] == two[-length:]


def read_annotations(source: Path) -> Annotations:
    """Read annotations.

    A CSV table has columns start, end (seconds), label, and optionally person and file (name of the recording). BORIS
    exports are tables of events (Time, Behavior, Status or Behavior type) or aggregated ones (Start (s), Stop (s)),
    whose events without duration are left out. Of ELAN files every tier with times is read; a tier's participant is
    the person.

    Args:
        source: A file (.csv, .tsv, .eaf, or a label file of PKU-MMD), or a folder of files, whose names are those of
            the recordings.

    Raises:
        MissingError: If there is nothing at `source`.
        BadFileError: If a file is damaged or has other columns.
    """
    if not source.exists():
        raise MissingError(f"{source}: expected annotations, found nothing. Check the path.")
    files = [source] if source.is_file() else sorted(p for p in source.rglob("*") if _is_annotation(p))
    if not files:
        raise InputError(f"{source}: expected annotations ({', '.join(SUFFIXES)}), found none")
    found: dict[str | None, list[Annotation]] = {}
    for path in files:
        default = None if source.is_file() else path.relative_to(source).with_suffix("").as_posix()
        if path.suffix == ".eaf":
            entries = _elan(path)
        elif pku_mmd.is_label_file(path):
            entries = [
                (None, _interval(path, f"line {line}", start, end, label, ""))
                for line, start, end, label in pku_mmd.read_labels(path)
            ]
        else:
            entries = _table(path)
        for recording, annotation in entries:
            found.setdefault(recording or default, []).append(annotation)
    return Annotations({name: tuple(sorted(some, key=lambda a: a.start)) for name, some in found.items()})


def _is_annotation(path: Path) -> bool:
    return path.suffix in SUFFIXES or pku_mmd.is_label_file(path)


def _table(path: Path) -> list[tuple[str | None, Annotation]]:
    text = decoded(path, path.read_bytes())
    first = text.splitlines()[0]
    separator = max((",", ";", "\t"), key=first.count)
    try:
        reader = csv.reader(io.StringIO(text), delimiter=separator)
        lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise BadFileError(path, "whole file", expected="a table", found=str(error)) from None
    for number, (_, row) in enumerate(lines[:50]):
        header = [cell.strip() for cell in row]
        plain = [cell.lower() for cell in header]
        if {"start", "end", "label"} <= set(plain):
            header = plain
        columns = {name: header.index(name) for name in header}
        if {"start", "end", "label"} <= set(columns):
            return _intervals(path, lines[number + 1 :], columns, ("start", "end", "label", "person"))
        if {"Start (s)", "Stop (s)", "Behavior"} <= set(columns):
            return _intervals(path, lines[number + 1 :], columns, ("Start (s)", "Stop (s)", "Behavior", "Subject"))
        if {"Time", "Behavior"} <= set(columns) and {"Status", "Behavior type"} & set(columns):
            return _events(path, lines[number + 1 :], columns)
    expected = "columns start, end and label, or a table exported by BORIS"
    raise BadFileError(path, "line 1", expected=expected, found=first[:100])


def _cell(row: list[str], columns: Mapping[str, int], name: str) -> str:
    place = columns.get(name)
    return row[place].strip() if place is not None and place < len(row) else ""


def _recording(row: list[str], columns: Mapping[str, int]) -> str | None:
    """Return the path of a recording without extension, None if the table names none."""
    for name in RECORDING_COLUMNS:
        if value := _cell(row, columns, name):
            return _plain(value)
    return None


def _plain(value: str) -> str:
    """Return a path with slashes, on any system, without the extension of a media or pose file."""
    path = value.replace("\\", "/").removeprefix("file:").lstrip("/")
    ending = path.rpartition("/")[2].rpartition(".")[2]
    return path.removesuffix(f".{ending}") if ending.lower() in MEDIA else path


def _seconds(path: Path, place: str, text: str) -> float:
    """Return a time in seconds, from a number or from hours:minutes:seconds."""
    parts = text.split(":")
    try:
        numbers = [float(part) for part in parts]
        seconds = sum(number * 60**power for power, number in enumerate(reversed(numbers)))
        if len(parts) > 3 or not 0 <= seconds <= LATEST:
            raise ValueError
    except ValueError:
        expected = "a time in seconds of at least 0 and at most a billion"
        raise BadFileError(path, place, expected=expected, found=repr(text)[:60]) from None
    return seconds


def _interval(path: Path, place: str, start: float, end: float, label: str, person: str) -> Annotation:
    if end <= start:
        raise BadFileError(path, place, expected="an end after the start", found=f"{start:g} to {end:g} seconds")
    if not label:
        raise BadFileError(path, place, expected="a label", found="none")
    if person in ("No focal subject", ""):
        return Annotation(start, end, label)
    return Annotation(start, end, label, person)


def _intervals(
    path: Path, rows: list[tuple[int, list[str]]], columns: Mapping[str, int], names: tuple[str, str, str, str]
) -> list[tuple[str | None, Annotation]]:
    found = []
    for line, row in rows:
        place = f"line {line}"
        begin, end, label, person = (_cell(row, columns, name) for name in names)
        if end in ("", "NA") and names[0] != "start":
            continue  # an event without duration in an aggregated table
        times = (_seconds(path, place, begin), _seconds(path, place, end))
        if times[0] == times[1] and names[0] != "start":
            continue
        found.append((_recording(row, columns), _interval(path, place, *times, label, person)))
    return found


def _events(
    path: Path, rows: list[tuple[int, list[str]]], columns: Mapping[str, int]
) -> list[tuple[str | None, Annotation]]:
    """Pair the starts and stops of a table of events."""
    open_: dict[tuple[str | None, str, str], tuple[float, str]] = {}
    found = []
    for line, row in rows:
        place = f"line {line}"
        status = (_cell(row, columns, "Status") or _cell(row, columns, "Behavior type")).upper()
        key = (_recording(row, columns), _cell(row, columns, "Behavior"), _cell(row, columns, "Subject"))
        if status == "START":
            if key in open_:
                raise BadFileError(path, place, expected=f"STOP of {key[1]!r} before its next START", found="START")
            open_[key] = (_seconds(path, place, _cell(row, columns, "Time")), place)
        elif status == "STOP":
            if key not in open_:
                raise BadFileError(path, place, expected=f"a start of {key[1]!r} first", found="a stop")
            start, _ = open_.pop(key)
            end = _seconds(path, place, _cell(row, columns, "Time"))
            if end < start:
                raise BadFileError(path, place, expected=f"a stop of {key[1]!r} after its start", found=f"{end:g} s")
            if end > start:
                found.append((key[0], _interval(path, place, start, end, key[1], key[2])))
        elif status not in ("POINT", "STATE"):
            raise BadFileError(path, place, expected="START, STOP or POINT", found=shown(status))
    if open_:
        (_, label, _), (_, place) = next(iter(open_.items()))
        raise BadFileError(path, place, expected=f"a stop of {label!r}", found="none")
    return found


def _elan(path: Path) -> list[tuple[str | None, Annotation]]:
    try:
        root = ElementTree.fromstring(decoded(path, path.read_bytes()).encode())
    except (ElementTree.ParseError, ValueError) as error:
        raise BadFileError(path, "whole file", expected="an ELAN file", found=f"no XML ({error})") from None
    if root.tag != "ANNOTATION_DOCUMENT":
        raise BadFileError(path, "top level", expected="ANNOTATION_DOCUMENT", found=root.tag[:60])
    slots = {
        slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT") if slot.get("TIME_VALUE")
    }
    media = [one.get("RELATIVE_MEDIA_URL") or one.get("MEDIA_URL") or "" for one in root.iter("MEDIA_DESCRIPTOR")]
    recording = _plain(media[0]) if media and media[0] else None
    found = []
    for tier in root.iter("TIER"):
        for entry in tier.iter("ALIGNABLE_ANNOTATION"):
            place = f"tier {tier.get('TIER_ID')!r}, annotation {entry.get('ANNOTATION_ID')!r}"
            times = [slots.get(entry.get(key)) for key in ("TIME_SLOT_REF1", "TIME_SLOT_REF2")]
            if None in times:
                continue  # unaligned in ELAN
            start, end = (_seconds(path, place, str(time)) / 1000 for time in times)
            label = (entry.findtext("ANNOTATION_VALUE") or "").strip()
            if label:
                found.append((recording, _interval(path, place, start, end, label, tier.get("PARTICIPANT") or "")))
    return found


def unmatched(annotations: Annotations, clips: Iterable[str]) -> list[str]:
    """Return the names of recordings that no clip has."""
    known = {_last(clip) for clip in clips}
    return [name for name in annotations.by_recording if name is not None and _last(name) not in known]
