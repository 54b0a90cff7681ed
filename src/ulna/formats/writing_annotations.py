"""Write labelled parts of recordings as CSV, JSON, BORIS tables and ELAN files."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ulna.core import InputError, new_file, refuse_existing, unknown_name
from ulna.formats.annotations import Annotation

ByRecording = Mapping[str, Sequence[Annotation]]


def write_annotations(annotations: ByRecording, path: Path) -> None:
    """Write annotations; `read_annotations` reads all of these files but JSON.

    Args:
        annotations: Annotations by name of the recording.
        path: File to write: .csv (columns file, start, end, label, person, confidence), .json, .tsv (a table like the
            aggregated events that BORIS exports), or .eaf (ELAN, for one recording).

    Raises:
        ExistsError: If the file exists.
        InputError: If the ending is unknown, or an ELAN file is asked for several recordings.
    """
    check_writable(path, len(annotations))
    refuse_existing(path)
    with new_file(path) as partial:
        WRITERS[path.suffix](annotations, partial)


def check_writable(path: Path, num_recordings: int = 1) -> None:
    """Raise InputError if annotations of some recordings cannot be written to a file with the ending of a path."""
    if path.suffix not in WRITERS:
        raise InputError(unknown_name("ending of a file of annotations", path.suffix, WRITERS))
    if path.suffix == ".eaf" and num_recordings != 1:
        raise InputError(f"expected one recording for an ELAN file, found {num_recordings}. Write one file for each.")


def _rows(annotations: ByRecording) -> list[tuple[str, Annotation]]:
    return [(recording, one) for recording, some in annotations.items() for one in some]


def _printable(text: str) -> str:
    """Return text with spaces instead of control characters, which XML cannot hold."""
    return "".join(character if character.isprintable() else " " for character in text)


def _seconds(value: float) -> str:
    return f"{value:.3f}"


def _write_csv(annotations: ByRecording, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "start", "end", "label", "person", "confidence"])
        for recording, one in _rows(annotations):
            confidence = "" if one.confidence is None else f"{one.confidence:.3f}"
            writer.writerow(
                [recording, _seconds(one.start), _seconds(one.end), one.label, one.person or "", confidence]
            )


def _write_json(annotations: ByRecording, path: Path) -> None:
    content = {
        recording: [
            {"start": round(one.start, 3), "end": round(one.end, 3), "label": one.label}
            | ({} if one.person is None else {"person": one.person})
            | ({} if one.confidence is None else {"confidence": round(one.confidence, 3)})
            for one in some
        ]
        for recording, some in annotations.items()
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_boris(annotations: ByRecording, path: Path) -> None:
    columns = (
        "Observation id", "Media file name", "Subject", "Behavior", "Behavior type", "Start (s)", "Stop (s)",
        "Duration (s)",
    )  # fmt: skip
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(columns)
        for recording, one in _rows(annotations):
            times = [_seconds(value) for value in (one.start, one.end, one.end - one.start)]
            writer.writerow([recording, recording, one.person or "No focal subject", one.label, "STATE", *times])


def _write_elan(annotations: ByRecording, path: Path) -> None:
    ((recording, entries),) = annotations.items()
    root = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {"AUTHOR": "ulna", "DATE": datetime.now(UTC).isoformat(timespec="seconds"), "FORMAT": "3.0", "VERSION": "3.0"},
    )
    header = ElementTree.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", {"MEDIA_URL": _printable(recording), "MIME_TYPE": "unknown"})
    order = ElementTree.SubElement(root, "TIME_ORDER")
    tiers: dict[str, ElementTree.Element] = {}
    for number, one in enumerate(entries):
        slots = (f"ts{2 * number + 1}", f"ts{2 * number + 2}")
        for slot, value in zip(slots, (one.start, one.end), strict=True):
            slot_options = {"TIME_SLOT_ID": slot, "TIME_VALUE": str(round(1000 * value))}
            ElementTree.SubElement(order, "TIME_SLOT", slot_options)
        name = _printable(one.person or "")
        if name not in tiers:
            options = {"LINGUISTIC_TYPE_REF": "default-lt", "TIER_ID": f"events {name}".strip()}
            tiers[name] = ElementTree.SubElement(root, "TIER", options | ({"PARTICIPANT": name} if name else {}))
        annotation = ElementTree.SubElement(tiers[name], "ANNOTATION")
        options = {"ANNOTATION_ID": f"a{number + 1}", "TIME_SLOT_REF1": slots[0], "TIME_SLOT_REF2": slots[1]}
        aligned = ElementTree.SubElement(annotation, "ALIGNABLE_ANNOTATION", options)
        ElementTree.SubElement(aligned, "ANNOTATION_VALUE").text = _printable(one.label)
    kind = {"LINGUISTIC_TYPE_ID": "default-lt", "TIME_ALIGNABLE": "true", "GRAPHIC_REFERENCES": "false"}
    ElementTree.SubElement(root, "LINGUISTIC_TYPE", kind)
    ElementTree.indent(root)
    path.write_text(ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n", encoding="utf-8")


WRITERS: Mapping[str, Callable[[ByRecording, Path], None]] = {
    ".csv": _write_csv,
    ".json": _write_json,
    ".tsv": _write_boris,
    ".eaf": _write_elan,
}
