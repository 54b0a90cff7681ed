"""Options: a component's keyword-only parameters as a typed dataclass: the constructor's signature configures it.

A component may also be a `functools.partial` of a class: the same component under another name with other defaults.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from ulna.core.checks import check_types
from ulna.core.names import NameTable, unknown_name


@dataclasses.dataclass(frozen=True)
class Options:
    """Base of all generated option classes; `kind` and `component` say which table and row they belong to."""

    kind: typing.ClassVar[str] = ""
    component: typing.ClassVar[str] = ""

    def to_json(self) -> dict[str, Any]:
        return {"name": self.component} | dataclasses.asdict(self)


def options(table: NameTable, component: str, **values: Any) -> Options:
    """Options of a named component with some values set; unknown names are answered with the nearest."""
    cls = _options_class(table.kind, component, table[component])
    known = [f.name for f in dataclasses.fields(cls)]
    for name in values:
        if name not in known:
            raise ValueError(unknown_name(f"option of {table.kind} {component}", name, known))
    chosen = cls(**values)
    try:
        check_types(chosen, {f.name: f.type for f in dataclasses.fields(cls)})
    except ValueError as error:
        raise ValueError(f"{table.kind} {component}, option {error}") from None
    return chosen


def build(table: NameTable, chosen: Options, *subject: Any) -> Any:
    """Make the component that options describe, from its subject and the options."""
    return table[chosen.component](*subject, **_values(chosen))


def from_json(table: NameTable, values: Mapping[str, Any]) -> Options:
    """Inverse of `Options.to_json`; lists become tuples again."""
    rest = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k != "name"}
    return options(table, values["name"], **rest)


def _values(chosen: Options) -> dict[str, Any]:
    return {f.name: getattr(chosen, f.name) for f in dataclasses.fields(chosen)}


@functools.cache
def _options_class(kind: str, component: str, target: Callable[..., Any]) -> type[Options]:
    made_by = target.func if isinstance(target, functools.partial) else target
    constructor = made_by.__init__ if inspect.isclass(made_by) else made_by
    hints = typing.get_type_hints(constructor, include_extras=True)
    parameters = [p for p in inspect.signature(target).parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    fields = [(p.name, hints[p.name], dataclasses.field(default=p.default)) for p in parameters]
    made = dataclasses.make_dataclass(f"{made_by.__name__}Options", fields, bases=(Options,), frozen=True)
    made.kind, made.component, made.__doc__ = kind, component, inspect.getdoc(made_by)  # type: ignore[attr-defined]
    return made
