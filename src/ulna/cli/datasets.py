"""ulna datasets"""

from __future__ import annotations

from collections.abc import Sequence

from ulna.cli.arguments import parse
from ulna.dataset.sample import ACKNOWLEDGEMENT, CAVEAT
from ulna.formats import FORMATS


def main(arguments: Sequence[str]) -> None:
    parse("datasets", "What can be read, where to get it, under which terms.", [], arguments)
    for name, reader in FORMATS.items():
        print(f"{name:10} {reader.title}")
        rows = {
            "files": reader.files_wanted,
            "splits": ", ".join(reader.splits),
            "get it": reader.where,
            "terms": reader.terms,
            "cite": reader.cite,
        }
        for what, text in rows.items():
            if text:
                print(f"{'':10} {what:7} {text}")
        print()
    print(f"{'(sample)':10} inside the package, for `ulna quickstart`. {ACKNOWLEDGEMENT}\n{'':10} {CAVEAT}")
