"""Find the rows of a server that a statement needs: the tables that it scans, their columns, and the values it selects.

The optimizer of the engine moves conditions down to the scans, also through joins and the branches of a UNION ALL. A
condition that this module does not know is ignored: more rows are read than needed, and the engine filters them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from datafusion.expr import Expr
    from datafusion.plan import LogicalPlan

_SCHEMA, _ROWS = "server", "_rows"
_SCAN = re.compile(rf"TableScan: {_SCHEMA}\.(\w+){_ROWS}(?: projection=\[([^\[\]\n]*)\])?")
Values = dict[str, frozenset[str]]


def server_table(name: str) -> str:
    """Return the name of a server's table in the engine: in its own schema, and not the name of a view."""
    return f'{_SCHEMA}."{name}{_ROWS}"'


@dataclass(frozen=True, slots=True)
class ServerScan:
    """The part of a table that a statement needs: columns (None means all), and the only texts of a column that count.

    Rows with other texts are not in the result.
    """

    columns: frozenset[str] | None
    values: Mapping[str, frozenset[str]]


def scans_of(plan: LogicalPlan) -> dict[str, ServerScan]:
    """Return the scans of the server's tables in an optimized plan, one per table."""
    known = list(_conditions(plan, []))
    scans = {}
    # The plan of a subquery within an expression is only in the text.
    found = [(each[1], each[2]) for each in _SCAN.finditer(plan.display_indent())]
    for table in {name for name, _ in found}:
        texts = [columns for name, columns in found if name == table]
        conditions = [values for name, values in known if name == table]
        columns = frozenset(name for text in texts for name in (text or "").split(", ") if name)
        values = _either(conditions) if len(conditions) == len(texts) else {}
        scans[table] = ServerScan(None if None in texts else columns, values)
    return scans


def _conditions(plan: LogicalPlan, above: Sequence[Expr]) -> Iterator[tuple[str, Values]]:
    """Yield the table of each scan with the texts that the conditions on all of its rows allow."""
    node = _node(plan)
    kind = type(node).__name__
    if kind == "TableScan":
        *_, schema, table = node.fqn()
        if schema == _SCHEMA:
            yield table.removesuffix(_ROWS), _every([_values(each) for each in (*above, *node.filters())])
    conditions: Sequence[Expr] = ()
    if kind == "Filter":
        conditions = [*above, node.predicate()]
    elif kind == "SubqueryAlias":
        conditions = above
    for each in plan.inputs():
        yield from _conditions(each, conditions)


def _values(condition: Expr) -> Values:
    """Return the texts of columns that a condition allows; {} if it does not limit them."""
    node = _node(condition)
    kind = type(node).__name__
    if kind == "InList" and not node.negated():
        return _one_of(node.expr(), node.list())
    if kind != "BinaryExpr":
        return {}
    if node.op() == "=":
        return _one_of(node.left(), [node.right()]) or _one_of(node.right(), [node.left()])
    sides = [_values(node.left()), _values(node.right())] if node.op() in {"AND", "OR"} else []
    return _every(sides) if node.op() == "AND" else _either(sides)


def _one_of(column: Expr, items: Sequence[Expr]) -> Values:
    texts = [_text(each) for each in items]
    node = _node(column)
    if type(node).__name__ != "Column" or None in texts:
        return {}
    return {node.name(): frozenset(text for text in texts if text is not None)}


def _text(item: Expr) -> str | None:
    if type(_node(item)).__name__ != "Literal":
        return None
    value = item.python_value()
    is_text = pa.types.is_string(value.type) or pa.types.is_large_string(value.type)
    text: str | None = value.as_py() if is_text else None
    return text


def _every(conditions: Sequence[Values]) -> Values:
    """Return the texts that satisfy all of these conditions."""
    values: Values = {}
    for condition in conditions:
        for name, texts in condition.items():
            values[name] = values[name] & texts if name in values else texts
    return values


def _either(conditions: Sequence[Values]) -> Values:
    """Return the texts that satisfy any of the conditions, for the columns that every condition limits."""
    names = set(conditions[0]).intersection(*conditions[1:]) if conditions else set()
    return {name: frozenset().union(*(each[name] for each in conditions)) for name in names}


def _node(part: LogicalPlan | Expr) -> Any:
    """Return a part of a plan as an object of its own class; None for a class that Python does not have."""
    try:
        return part.to_variant()
    except Exception:  # noqa: BLE001 - DataFusion raises plain Exception
        return None
