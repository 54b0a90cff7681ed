"""ulna datasets"""

from __future__ import annotations

from collections.abc import Sequence

from ulna.cli.options import run
from ulna.formats import FORMATS


def datasets() -> None:
    """List the formats that can be read, where to get data, and under which terms."""
    from ulna.dataset.sample import SAMPLES

    for name, format in FORMATS.items():
        print(f"{name:10} {format.title}")
        rows = {
            "files": format.files_wanted,
            "splits": ", ".join(format.splits),
            "get it": format.where,
            "terms": format.terms,
            "cite": format.cite,
        }
        for key, text in rows.items():
            if text:
                print(f"{'':10} {key:7} {text}")
        print()
    for name, sample in SAMPLES.items():
        print(f"{'(sample)':10} {name}, inside the package: `ulna sample {name} DATASET` writes it")
        for key, text in {"source": sample.acknowledgement, "terms": sample.terms, "limits": sample.caveat}.items():
            print(f"{'':10} {key:7} {text}")
        print()


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(datasets, arguments, prog="datasets")
