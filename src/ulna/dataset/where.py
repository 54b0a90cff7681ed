"""Conditions on clips, such as "subject = 3 and view = 1"."""

from __future__ import annotations

import ast
import functools
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ulna.core import InputError, shown, unknown_name

MOST_CHARACTERS = 1000
MOST_LEVELS = 20  # of not, and, or inside one another; LanceDB takes ever longer for more
ADVICE = 'Write for example: subject = 3 and label != "sit down".'
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_SIGNS: Mapping[type[ast.cmpop], str] = {
    ast.Eq: "=", ast.NotEq: "<>", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
_QUOTED = re.compile(r"""("[^"]*"|'[^']*')""")


def where(table: pa.Table, condition: str) -> pa.Table:
    """Return the rows of a table that meet a condition.

    Args:
        table: The table.
        condition: Comparisons of columns with numbers or quoted text by =, !=, <, <=, >, >= and in (...), joined by
            and, or, not and parentheses. Rows without a value meet no comparison.

    Raises:
        InputError: If the condition does not parse, names no column, or compares text with numbers.
    """
    problem = f"where: expected a condition, found {shown(condition)}"
    tree = parsed(condition).body
    try:
        return table.filter(_expression(tree, table.column_names, problem))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, TypeError, OverflowError):
        raise InputError(
            f"{problem}, which compares text with numbers, or has a number that is too large. {ADVICE}"
        ) from None


def parsed(condition: str) -> ast.Expression:
    """Return the tree of a condition; raises InputError if it is not even an expression, or nested too deeply."""
    if len(condition) > MOST_CHARACTERS:
        raise InputError(f"where: expected at most {MOST_CHARACTERS} characters, found {len(condition)}")
    if condition.encode(errors="replace").decode() != condition:  # half of a surrogate pair
        raise InputError(f"where: expected text, found {shown(condition)}. {ADVICE}")
    parts = _QUOTED.split(condition)
    parts[::2] = [re.sub(r"(?<![=!<>])=(?!=)", "==", part) for part in parts[::2]]
    parts[1::2] = [repr(part[1:-1]) for part in parts[1::2]]  # backslashes are themselves
    parts[::2] = [re.sub(r"\b(AND|OR|NOT|IN)\b", lambda m: m[0].lower(), part) for part in parts[::2]]
    try:
        tree = ast.parse("".join(parts).strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise InputError(f"where: expected a condition, found {shown(condition)}. {ADVICE}") from None
    if (levels := _levels(tree.body)) > MOST_LEVELS:
        raise InputError(f"where: expected at most {MOST_LEVELS} levels of not, and, or, found {levels}. {ADVICE}")
    return tree


def _levels(node: ast.expr) -> int:
    """Return how many operators are inside one another."""
    if isinstance(node, ast.BoolOp):
        return 1 + max(map(_levels, node.values))
    return 1 + _levels(node.operand) if isinstance(node, ast.UnaryOp) else 0


def as_sql(condition: str, columns: Sequence[str]) -> str:
    """Return a condition as SQL.

    Args:
        condition: As in `where`.
        columns: Names of the columns.

    Raises:
        InputError: If the condition does not parse, or names no column.
    """
    tree, problem = parsed(condition).body, f"where: expected a condition, found {shown(condition)}"
    try:
        _expression(tree, columns, problem)  # refuses everything that is no condition
    except OverflowError:
        raise InputError(f"{problem}, which has a number that is too large. {ADVICE}") from None
    return _sql(tree, problem)


def _sql(node: ast.expr, problem: str) -> str:
    if isinstance(node, ast.BoolOp):
        word = " AND " if isinstance(node.op, ast.And) else " OR "
        return "(" + word.join(_sql(value, problem) for value in node.values) + ")"
    if isinstance(node, ast.UnaryOp):
        return f"(NOT {_sql(node.operand, problem)})"
    assert isinstance(node, ast.Compare)
    assert isinstance(node.left, ast.Name)
    right, name = node.comparators[0], f"`{node.left.id}`"
    if isinstance(node.ops[0], ast.In):
        values = right.elts if isinstance(right, ast.Tuple | ast.List) else [right]
        return f"({name} IN ({', '.join(_literal(_value(one, problem)) for one in values)}))"
    value = _value(right, problem)
    if isinstance(value, float) or (isinstance(value, int) and abs(value) >= 2**31):
        name = f"CAST({name} AS DOUBLE)"  # LanceDB compares columns of whole numbers with small whole numbers only
    return f"({name} {_SIGNS[type(node.ops[0])]} {_literal(value)})"


def _literal(value: Any) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def _expression(node: ast.expr, columns: Sequence[str], problem: str) -> pc.Expression:
    if isinstance(node, ast.BoolOp):
        parts = [_expression(value, columns, problem) for value in node.values]
        joined = parts[0]
        for part in parts[1:]:
            joined = joined & part if isinstance(node.op, ast.And) else joined | part
        return joined
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~_expression(node.operand, columns, problem)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.left, ast.Name):
        if node.left.id not in columns:
            raise InputError(unknown_name("column", node.left.id, columns))
        column, compare, right = pc.field(node.left.id), type(node.ops[0]), node.comparators[0]
        if compare is ast.In:
            values = [
                _value(one, problem) for one in (right.elts if isinstance(right, ast.Tuple | ast.List) else [right])
            ]
            if not values:
                raise InputError(f"{problem}: expected values in the parentheses, found none. {ADVICE}")
            equal = [column == value for value in values]  # null where there is no value, unlike `isin`
            return functools.reduce(operator.or_, equal)
        if compare in _COMPARISONS:
            return _COMPARISONS[compare](column, _value(right, problem))
    raise InputError(f"{problem}. {ADVICE}")


def _value(node: ast.expr, problem: str) -> Any:
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return sign * node.value  # type: ignore[operator]
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and sign == 1:
        return node.value
    raise InputError(f"{problem}: expected a number or quoted text to compare with. {ADVICE}")
