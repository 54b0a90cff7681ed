"""Tables of names: what a user chooses by name, imported on first use."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from ulna.errors import InputError, unknown_name


class NameTable(Mapping[str, Any]):
    """Maps names to objects that are given as rows "module:attribute" and imported when first asked for.

    Args:
        kind: What the names are names of, for messages.
        rows: "module:attribute" by name.
    """

    def __init__(self, kind: str, rows: Mapping[str, str]) -> None:
        self.kind = kind
        self._rows = dict(rows)

    def __getitem__(self, name: str) -> Any:
        if name not in self._rows:
            raise InputError(unknown_name(self.kind, name, self._rows))
        module, _, attribute = self._rows[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def config(self, name: str) -> Any:
        """Return the configuration class of a named component: its `Config`, or the class itself if it is one."""
        row = self[name]
        return getattr(row, "Config", row)

    def component(self, config: Any) -> Any:
        """Return the component that a configuration belongs to."""
        return self[self.name_of_config(type(config))]

    def name_of_config(self, config: type[Any]) -> str:
        """Return the name of the component that a configuration class belongs to."""
        for name in self:
            if self.config(name) is config:
                return name
        raise InputError(f"{config.__qualname__} belongs to no {self.kind} that is listed in its table")
