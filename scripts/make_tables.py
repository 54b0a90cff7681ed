"""Write the tables of the results pages from results.csv and published.csv.

A table in a page stands between `<!-- table NAME -->` and `<!-- end -->`; results/tables.toml says what it shows.

    python scripts/make_tables.py            # write
    python scripts/make_tables.py --check    # exit code 1 if a page does not agree with the results
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ulna.evaluation.table import ResultRow, cell, markdown, read_rows
from ulna.recipes import PublishedNumber, published_numbers

RESULTS = Path(__file__).parent.parent / "results"
FILTERS = ("recipe", "changes", "pretrained_on", "split", "protocol", "options", "pooling", "kind", "fingerprint")
BLOCK = re.compile(r"<!-- table ([\w-]+) -->\n.*?<!-- end -->", re.S)


def table(spec: Mapping[str, Any], rows: Sequence[ResultRow], published: Sequence[PublishedNumber]) -> str:
    """Return one table as Markdown.

    Args:
        spec: `columns` and `rows`, each with a title and filters on the columns of results.csv, a value or a list of
            values; filters of a row take precedence. A row with `method` shows published numbers, `paper` numbers of
            its own. `options_of` and `value_of` replace the options and the value of columns. In the recipe of a row,
            {data} is the `data` of the column. Rows without any number are left out.
        rows: All results.
        published: All published numbers.
    """
    known = spec.get("options", {})
    lines = []
    for line in spec["rows"]:
        cells = []
        for column in spec["columns"]:
            wanted = {"kind": "trained", "changes": "", "options": "", **column, **line}
            if "value_of" in line:
                wanted["value"] = line["value_of"]
            if "options_of" in line:
                wanted["options"] = line["options_of"].get(column.get("title"), "none")
            for name, text in known.items():
                wanted["options"] = wanted["options"].replace(f"${name}", text)
            if "recipe" in wanted:
                wanted["recipe"] = wanted["recipe"].replace("{data}", wanted.get("data", ""))
            if "protocol" not in column and "published" not in column:
                number = spec["columns"].index(column)
                cells.append(f"{line['paper'][number]:.1f}" if "paper" in line else "")
            elif "method" in line:
                cells.append(_published(published, line["method"], column))
            else:
                own = [row for row in rows if all(_fits(getattr(row, f), wanted[f]) for f in FILTERS if f in wanted)]
                is_baseline = line.get("kind") in ("chance", "raw_joints")  # shown once, in one protocol's columns
                shown_in = (line.get("in", "linear"), "")
                if is_baseline and (column.get("protocol"), column.get("options", "")) != shown_in:
                    own = []
                cells.append(cell(own, wanted.get("value", "accuracy")))
        if any(cells):
            lines.append([line["title"], *cells])
    return markdown(["", *(column["title"].strip() for column in spec["columns"])], lines)


def _fits(value: str, wanted: str | list[str]) -> bool:
    return value in wanted if isinstance(wanted, list) else value == wanted


def _published(numbers: Sequence[PublishedNumber], method: str, column: Mapping[str, Any]) -> str:
    if "published" not in column:
        return ""
    dataset, protocol, share = column["published"]
    found = [n for n in numbers if (n.method, n.dataset, n.protocol, n.share) == (method, dataset, protocol, share)]
    return f"{found[0].accuracy:.1f}" if found else ""


def main() -> None:
    """Write or check all pages."""
    specs = tomllib.loads((RESULTS / "tables.toml").read_text(encoding="utf-8"))
    rows, published = read_rows(RESULTS / "results.csv"), published_numbers()
    differing = []
    for spec in specs.values():
        spec.setdefault("rows", specs.get(spec.get("rows_of"), {}).get("rows"))
    for page in sorted(RESULTS.glob("*.md")):
        old = page.read_text(encoding="utf-8")

        def made(match: re.Match[str]) -> str:
            return f"<!-- table {match[1]} -->\n{table(specs[match[1]], rows, published)}\n<!-- end -->"

        new = BLOCK.sub(made, old)
        if new != old:
            differing.append(page.name)
            if "--check" not in sys.argv:
                page.write_text(new, encoding="utf-8")
    if "--check" in sys.argv and differing:
        sys.exit(f"these pages do not agree with results.csv: {', '.join(differing)}; run scripts/make_tables.py")


if __name__ == "__main__":
    main()
