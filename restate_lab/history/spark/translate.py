"""Translate a statement of DataFusion to one of Spark, with the same rows, order and types.

sqlglot parses it, finds the type of each part, and writes the statement of Spark; ``rules`` has what differs. A
function without a rule there is refused, because its result could differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlglot import exp, parse_one
from sqlglot.dialects.postgres import Postgres
from sqlglot.errors import ErrorLevel, SqlglotError
from sqlglot.optimizer.annotate_types import TypeAnnotator, annotate_types
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import traverse_scope
from sqlglot.schema import MappingSchema

from restate_lab._text import one_line
from restate_lab.client.sql.literals import literal
from restate_lab.client.sql.tokenizer import tokens
from restate_lab.errors import StatementError
from restate_lab.evidence.engine import read
from restate_lab.history.spark.rules import apply_rules, check_parts
from restate_lab.history.spark.types import COERCIONS, DURATION_OF, INTERVALS, TIMES, kind_of, type_named

if TYPE_CHECKING:
    from datafusion import SessionContext

OVER_RUNS = frozenset({
    *("sys_invocation_status", "sys_invocation_state", "sys_invocation", "sys_journal", "sys_journal_events"),
    *("agent_steps", "journal_entries", "invocations", "journal", "events"),
})  # fmt: skip
"""The tables with rows per run; the last three are in the schema ``archive``."""
_IDS = frozenset({"id", "invoked_by_id", "restarted_from", "earlier_id", "run_id"})
_COLUMNS = """
SELECT table_schema AS schema, table_name AS "table", column_name AS name, data_type AS type
FROM information_schema.columns WHERE table_schema <> 'information_schema'
ORDER BY table_schema, table_name, ordinal_position"""
_UNDERLINE = re.compile(r"\x1b\[[0-9;]*m")  # in the errors of sqlglot
_LONGEST = 400  # characters of such an error
Columns = Mapping[str, Mapping[str, str]]
"""The columns of each table of a schema, with their types as Arrow names them."""


def rows_of(context: SessionContext, statement: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a statement that DataFusion answers."""
    _, batches = read(context, statement)
    for batch in batches:
        yield from batch.to_pylist()


@dataclass(frozen=True)
class Translator:
    """Translates the statements of one history.

    - ``schemas``: the columns of each schema ("public", "archive", …) and table.
    - ``names``: schema and table → the name of its view in Spark.
    - ``now``: what ``now()`` returns.
    """

    schemas: Mapping[str, Columns]
    names: Mapping[tuple[str, str], str]
    now: datetime

    @classmethod
    def of(cls, context: SessionContext, prefix: str, now: datetime) -> Translator:
        """Return the translator for the tables of a session; the names in Spark begin with a prefix."""
        schemas: dict[str, dict[str, dict[str, str]]] = {}
        for row in rows_of(context, _COLUMNS):
            schemas.setdefault(row["schema"], {}).setdefault(row["table"], {})[row["name"]] = row["type"]
        names = {(schema, table): f"{prefix}_{schema}_{table}" for schema in schemas for table in schemas[schema]}
        return cls(schemas, names, now)

    @cached_property
    def _schema(self) -> MappingSchema:
        tables: dict[str, object] = {
            schema: {
                table: {name: type_named(kind) for name, kind in columns.items()} for table, columns in tables.items()
            }
            for schema, tables in self.schemas.items()
        }
        return MappingSchema(tables, dialect="postgres", normalize=False)

    def translate(self, query: str) -> str:
        """Return the statement of Spark for a bound statement.

        Raises:
            StatementError: it has a part whose result could differ in Spark.
        """
        try:
            return self._translate(query)
        except (SqlglotError, RecursionError) as error:
            reason = one_line(_UNDERLINE.sub("", str(error)), _LONGEST)
            raise StatementError(f"the statement cannot be translated for Spark: {reason}") from error

    def _translate(self, query: str) -> str:
        tree = parse_one(query, dialect="postgres")
        check_parts(tree)
        _type_functions(tree, self.now)
        for table in _tables(tree):
            if not table.db:
                table.set("db", exp.to_identifier("public"))
        tree = qualify(tree, dialect="postgres", schema=self._schema, validate_qualify_columns=False)
        tree = annotate_types(
            tree,
            schema=self._schema,
            expression_metadata={**Postgres.EXPRESSION_METADATA, **_METADATA},
            coerces_to=COERCIONS,
            dialect="postgres",
        )
        for table in _tables(tree):
            self._rename(table)
        written: str = apply_rules(tree).sql(dialect="spark", identify=True, unsupported_level=ErrorLevel.RAISE)
        return written

    def tables_of(self, query: str) -> list[tuple[str, str]]:
        """Return schema and name of each table that a statement reads."""
        names = [(each.db or "public", _name_of(each)) for each in _tables(parse_one(query, dialect="postgres"))]
        return list(dict.fromkeys(names))

    def _rename(self, table: exp.Table) -> None:
        name = self.names.get((table.db, table.name))
        if name is None:
            raise StatementError(f"the table {table.db}.{table.name} is not available on Spark.")
        for part in ("catalog", "db"):
            table.set(part, None)
        table.set("this", exp.to_identifier(name, quoted=True))


def parse_view(definition: str) -> str:
    """Return the SELECT of a CREATE VIEW."""
    return definition.partition(" AS ")[2]


def is_over_runs(query: str) -> bool:
    """Return whether a bound statement is about many runs: it reads a table of runs, and compares no id with literals.

    This is the only place that decides which engine answers a statement.
    """
    first = next((token.text for token in tokens(query) if token.kind == "word"), "")
    if first not in {"SELECT", "WITH"}:
        return False  # EXPLAIN, SHOW, DESCRIBE or VALUES
    try:
        tree = parse_one(query, dialect="postgres")
    except SqlglotError:
        return bool(re.search(rf"\b(?:{'|'.join(OVER_RUNS)})\b", query))
    if not isinstance(tree, exp.Query) or not OVER_RUNS & {_name_of(table) for table in _tables(tree)}:
        return False
    return not any(_compares_id(each) for each in tree.find_all(exp.EQ, exp.In))


def _compares_id(node: Any) -> bool:
    """Return whether a comparison compares an id with literals."""
    sides = [(node.this, node.expressions)] if isinstance(node, exp.In) else []
    if isinstance(node, exp.EQ):
        sides = [(node.this, [node.expression]), (node.expression, [node.this])]
    return any(_names_id(each) and bool(values) and all(map(_is_text, values)) for each, values in sides)


def _names_id(node: Any) -> bool:
    return isinstance(node, exp.Column) and node.name in _IDS


def _is_text(node: Any) -> bool:
    return isinstance(node, exp.Literal) and node.is_string


def _tables(tree: Any) -> list[exp.Table]:
    """Return the tables of a statement, without the names of its common table expressions."""
    found: dict[int, exp.Table] = {}
    for scope in traverse_scope(tree):
        for source in scope.sources.values():
            if isinstance(source, exp.Table):
                found[id(source)] = source
    return list(found.values())


def _name_of(table: exp.Table) -> str:
    is_quoted = isinstance(table.this, exp.Identifier) and table.this.args.get("quoted")
    return table.name if is_quoted else table.name.lower()


def _type_functions(tree: Any, now: datetime) -> None:
    """Give the functions their types that sqlglot does not know, as casts, which ``rules`` removes again."""
    for node in list(tree.find_all(exp.Anonymous, exp.CurrentTimestamp, exp.CurrentDate)):
        if isinstance(node, exp.CurrentTimestamp) or node.name.lower() == "now":
            value = parse_one(literal(now), dialect="postgres").expressions[0]
            node.replace(exp.Cast(this=value, to=type_named("Timestamp(ns)")))
        elif isinstance(node, exp.CurrentDate) or node.name.lower() == "today":
            node.replace(exp.Cast(this=exp.Literal.string(now.date().isoformat()), to=type_named("Date32")))
        elif node.name.lower() == "arrow_cast":
            value, target = node.expressions
            node.replace(exp.Cast(this=value.copy(), to=type_named(target.name)))
        elif node.name.lower() in _RETURNS:
            typed = exp.Cast(this=node.copy(), to=type_named(_RETURNS[node.name.lower()]))
            typed.meta["typed"] = True
            node.replace(typed)


_RETURNS = {
    **dict.fromkeys(("json_get_str", "json_as_text", "json_get_json", "right"), "Utf8"),
    **dict.fromkeys(("json_get_int", "octet_length", "bit_length"), "Int64"),
    **dict.fromkeys(("json_length", "cardinality"), "UInt64"),
    "json_get_float": "Float64",
    **dict.fromkeys(("json_get_bool", "json_contains"), "Boolean"),
}


def _annotate_difference(annotator: TypeAnnotator, node: Any) -> Any:
    left, right = kind_of(node.this), kind_of(node.expression)
    if left in TIMES and right in TIMES:
        unit = right if right in COERCIONS.get(left, ()) else left
        annotator._set_type(node, DURATION_OF[unit])  # noqa: SLF001 - sqlglot has no public way
        return node
    return _annotate_sum(annotator, node)


def _annotate_sum(annotator: TypeAnnotator, node: Any) -> Any:
    for one, other in ((node.this, node.expression), (node.expression, node.this)):
        if kind_of(one) in TIMES and kind_of(other) in INTERVALS:
            annotator._set_type(node, kind_of(one))  # noqa: SLF001
            return node
    annotator._annotate_binary(node)  # noqa: SLF001
    return node


def _annotate_part(annotator: TypeAnnotator, node: Any) -> Any:
    annotator._set_type(node, exp.DType.DOUBLE if node.name.upper() == "EPOCH" else exp.DType.INT)  # noqa: SLF001
    return node


def _annotate_as_argument(annotator: TypeAnnotator, node: Any) -> Any:
    annotator._set_type(node, kind_of(node.this))  # noqa: SLF001
    return node


_METADATA: Mapping[Any, Any] = {
    exp.Sub: {"annotator": _annotate_difference},
    exp.Add: {"annotator": _annotate_sum},
    exp.DateBin: {"returns": exp.DType.TIMESTAMP_NS},
    exp.Encode: {"returns": exp.DType.VARCHAR},
    **{
        kind: {"returns": exp.DType.DOUBLE} for kind in (exp.PercentileCont, exp.Median, exp.Floor, exp.Ceil, exp.Round)
    },
    exp.Extract: {"annotator": _annotate_part},
    exp.TimestampTrunc: {"annotator": _annotate_as_argument},
    exp.StringToArray: {"returns": type_named("List(Utf8)")},
}
