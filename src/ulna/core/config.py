"""Typed configuration: frozen, validated values with a documented field for each option."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationError
from pydantic_core import core_schema

from ulna.core.tables import NameTable
from ulna.errors import InputError, MissingError, shown, unknown_name

C = TypeVar("C", bound="Config")

LARGEST_FILE = 64 * 2**20  # bytes of a JSON file that are read at most

# Ranges that many options share.
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0, le=1e6)]
NonNegativeSeconds = Annotated[float, Field(ge=0, le=1e6)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, le=0.99)]
"""A share below 1, such as a dropout rate."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]


if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass as _ModelMeta
else:
    _ModelMeta = type(BaseModel)


class _ConfigMeta(_ModelMeta):
    """Turns pydantic's errors into InputError where a configuration is made in Python."""

    def __call__(cls, *args: Any, **values: Any) -> Any:
        try:
            return super().__call__(*args, **values)
        except ValidationError as error:
            raise InputError(explain(error, cls)) from None  # type: ignore[arg-type]


class Config(BaseModel, metaclass=_ConfigMeta):
    """Base of all configurations and file schemas.

    Values are frozen and strictly typed (a whole number passes for a float, nothing else is converted), NaN and
    infinity are refused, and unknown fields raise an error that names the nearest known one.

    Raises:
        InputError: If a value has another type or is out of range.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
        arbitrary_types_allowed=True,
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Join the lines of each field's documentation, which the command line shows."""
        super().__pydantic_init_subclass__(**options)
        for field in cls.model_fields.values():
            field.description = field.description and " ".join(field.description.split())

    def replace(self: C, **values: Any) -> C:
        """Return a copy with some fields set anew and validated."""
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | values)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls: type[C], values: Mapping[str, Any]) -> C:
        """Return the configuration that JSON values describe; the inverse of `to_json`."""
        return cls.from_text(json.dumps(values))

    @classmethod
    def from_text(cls: type[C], text: str | bytes) -> C:
        """Return the configuration that a JSON text describes.

        Raises:
            InputError: If the text is not JSON or a value does not fit.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InputError(explain(error, cls)) from None


def read_config(path: Path, schema: type[C], *, what: str, advice: str) -> C:
    """Read a JSON file and validate it by its schema.

    Args:
        path: The file.
        schema: What it must hold.
        what: What the file is, for messages.
        advice: What to do about a damaged file, a sentence.

    Raises:
        MissingError: If there is no such file.
        InputError: If the file is damaged or a value does not fit.
    """
    if not path.is_file():
        raise MissingError(f"{path}: expected {what}, found no file. {advice}")
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(f"{path}: expected {what}, found a file of {path.stat().st_size:,} bytes. {advice}")
    try:
        return schema.from_text(path.read_bytes())
    except InputError as error:
        raise InputError(f"{path}: expected {what}, found a damaged file ({error}). {advice}") from None


def component(table: NameTable) -> Any:
    """Annotation of a field that holds the configuration of one of a table's components.

    In JSON such a field is an object with the component's name and its options.
    """
    return _Component(table)


class _Component:
    """Validates and serialises the configuration of a named component."""

    def __init__(self, table: NameTable) -> None:
        self.table = table

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(
            partial(_parse, self.table),
            handler(source),
            serialization=core_schema.plain_serializer_function_ser_schema(self._dump),
        )

    def _dump(self, value: Config) -> dict[str, Any]:
        return named(self.table, value)


def named(table: NameTable, value: Config) -> dict[str, Any]:
    """Return a component's configuration as JSON values, with its name first."""
    return {"name": table.name_of_config(type(value))} | value.to_json()


def parse_named(table: NameTable, values: Mapping[str, Any]) -> Any:
    """Return the configuration that `named` wrote.

    Raises:
        InputError: If the name is unknown or an option does not fit.
    """
    return _parse(table, values)


def _parse(table: NameTable, values: Any) -> Any:
    if not isinstance(values, Mapping):
        return values
    if not isinstance(values.get("name"), str):
        raise InputError(f"expected the name of one {table.kind}, found {shown(values.get('name'))}")
    config: type[Config] = table.config(values["name"])
    return config.from_json({name: value for name, value in values.items() if name != "name"})


EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dataclass_type": "an object",
    "list_type": "a list",
    "tuple_type": "a list",
    "missing": "a value",
    "finite_number": "a finite number",
    "is_instance_of": "a configuration",
    "path_type": "a path",
    "none_required": "nothing",
}
BOUNDS = {
    "greater_than": ("gt", "a number above {}"),
    "greater_than_equal": ("ge", "a number of at least {}"),
    "less_than": ("lt", "a number below {}"),
    "less_than_equal": ("le", "a number of at most {}"),
    "literal_error": ("expected", "{}"),
    "too_long": ("max_length", "at most {} values"),
    "too_short": ("min_length", "at least {} values"),
    "string_too_long": ("max_length", "at most {} characters"),
    "string_too_short": ("min_length", "at least {} characters"),
    "string_pattern_mismatch": ("pattern", "text like {}"),
}


def _fields_at(schema: type[BaseModel], path: Sequence[int | str]) -> Iterable[str]:
    """Return the fields of the configuration at a path inside another."""
    for part in path:
        field = schema.model_fields.get(str(part))
        inner = None if field is None else field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            schema = inner
    return schema.model_fields


_BRANCH = re.compile(r"(function|constrained|nullable|lax-or-strict)-|literal\[|(int|float|str|bool)$")


def explain(error: ValidationError, schema: type[BaseModel]) -> str:
    """Return what is wrong with the values of a configuration, in one line."""
    problems = error.errors(include_url=False)
    # A list with a bad value is also reported as too short, since the value does not count.
    deeper = {problem["loc"][:-1] for problem in problems}
    problems = [problem for problem in problems if problem["type"] != "too_short" or problem["loc"] not in deeper]
    texts: dict[str, list[str]] = {}  # by field, since each type of a union reports its own problem
    found = {}
    for problem in problems:
        field = ".".join(str(part) for part in problem["loc"] if not _BRANCH.match(str(part)))[:120]
        kind, context = problem["type"], problem.get("ctx", {})
        if kind == "extra_forbidden":
            text = unknown_name("field", problem["loc"][-1], _fields_at(schema, problem["loc"][:-1]))
        elif kind == "value_error":
            text = f"{field}: {context['error']}".removeprefix(": ")
        elif kind == "json_invalid":
            text = f"text that is not JSON, {context.get('error', '')}"[:120]
        else:
            name, form = BOUNDS.get(kind, ("", EXPECTED.get(kind, problem["msg"])))
            text = form.format(context.get(name))
            found[field] = "nothing" if kind == "missing" else shown(problem["input"])
        texts.setdefault(field, []).append(text)
    lines = [
        f"{field}: expected {' or '.join(parts)}, found {found[field]}".removeprefix(": ")
        if field in found
        else parts[0]
        for field, parts in texts.items()
    ]
    return "; ".join(lines[:3]) + (f"; and {len(lines) - 3} more" if len(lines) > 3 else "")
