"""Tables of names: what a user chooses by name, imported on first use."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Message for a name that is not known: the nearest one, and all that are."""
    known = list(known)
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f"unknown {kind} {name!r}; {hint}known: {', '.join(known)}"


class NameTable(Mapping[str, Any]):
    """Maps names to objects given as rows "module:attribute", imported when first asked for."""

    def __init__(self, kind: str, rows: Mapping[str, str]) -> None:
        self.kind = kind
        self._rows = dict(rows)

    def __getitem__(self, name: str) -> Any:
        if name not in self._rows:
            raise ValueError(unknown_name(self.kind, name, self._rows))
        return load(self._rows[name])

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def name_of(self, value: object) -> str:
        """The name whose row leads to this object."""
        for name, row in self._rows.items():
            if row.rpartition(":")[2] == getattr(value, "__name__", None) and load(row) is value:
                return name
        raise ValueError(f"{value!r} is in no row of the {self.kind} table")

    def attributes(self) -> dict[str, str]:
        """attribute name -> "module:attribute", for a package's lazy `__getattr__`."""
        return {row.rpartition(":")[2]: row for row in self._rows.values()}


def lazy_attributes(package: str, rows: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__` that imports its public names on first use, so that importing it stays light."""

    def getattribute(name: str) -> Any:
        if name in rows:
            return load(rows[name])
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return getattribute


def load(row: str) -> Any:
    """Import the object that "module:attribute" names, or the module if there is no attribute."""
    module, _, attribute = row.partition(":")
    imported = importlib.import_module(module)
    return getattr(imported, attribute) if attribute else imported
