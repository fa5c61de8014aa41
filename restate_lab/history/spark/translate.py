"""Translate the package's own statements about a history to Spark, with the same rows, order and types.

These statements are a closed set: a test records all of them, and the long tests compare the rows of each with those of
DataFusion. So the rules know what these statements contain, and the conventions of the package's SQL: ``arrow_cast(…,
'Int64')`` is about times and durations, an integer is divided only by a parameter or a literal, and regular expressions
have no part that Java understands in another way. A function that no statement contains is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlglot import exp, parse_one
from sqlglot.errors import ErrorLevel, SqlglotError

from restate_lab._text import one_line
from restate_lab.errors import StatementError
from restate_lab.evidence.engine import read

if TYPE_CHECKING:
    from datafusion import SessionContext

OVER_RUNS = frozenset({
    *("sys_invocation_status", "sys_invocation_state", "sys_invocation", "sys_journal", "sys_journal_events"),
    *("agent_steps", "journal_entries", "invocations", "journal", "events"),
})  # fmt: skip
"""The tables with rows per run; the last three are in the schema ``archive``."""
MOST_FIRST = 1_000_000
"""From this LIMIT on, Spark sorts all rows, and then takes them from all workers in any order."""
_MOST = 2**31 - 1  # rows of a LIMIT in Spark; no result that is collected has more
_IDS = frozenset({"id", "invoked_by_id", "restarted_from", "earlier_id", "run_id"})
_COLUMNS = """
SELECT table_schema AS schema, table_name AS "table", column_name AS name, data_type AS type
FROM information_schema.columns WHERE table_schema <> 'information_schema'"""
_LONGEST = 400  # characters of an error of sqlglot
_TYPES = (
    (re.compile(r"(?:Large)?Utf8(?:View)?"), "STRING"),
    (re.compile("Boolean"), "BOOLEAN"),
    (re.compile("Int(?:8|16|32)"), "INT"),
    (re.compile("Int64|UInt(?:8|16|32)"), "BIGINT"),
    (re.compile("UInt64"), "DECIMAL(20, 0)"),
    (re.compile("Float(?:32|64)"), "DOUBLE"),
    (re.compile("Date32"), "DATE"),
    (re.compile(r"(?:Large)?Binary(?:View)?"), "BINARY"),
    (re.compile(r"Timestamp\((?:ms|us|µs|Millisecond|Microsecond)\b.*"), "TIMESTAMP"),
    (re.compile(r"Duration\(.*"), "INTERVAL DAY TO SECOND"),
)
_LIST = re.compile(r"(?:Large)?List\((?:nullable |non-null )?(\w++).*\)")
_FUNCTIONS: tuple[Any, ...] = (exp.Func, exp.Lateral, exp.Values)
_SAME: tuple[Any, ...] = (
    *(exp.And, exp.Or, exp.Case, exp.If, exp.Coalesce, exp.Concat, exp.Count, exp.Exists, exp.Lag, exp.Length),
    *(exp.Max, exp.Min, exp.Least, exp.Greatest, exp.MD5, exp.Nullif, exp.RowNumber, exp.Sum, exp.Translate, exp.Chr),
    *(exp.Cast, exp.Ln, exp.Round, exp.Substring, exp.SplitPart, exp.SHA2Digest, exp.StrPosition, exp.Lower),
)
"""Functions that both engines compute equally for the values that the statements have."""
Rule = Callable[["Translator", Any], Any]


def rows_of(context: SessionContext, statement: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a statement that DataFusion answers."""
    _, batches = read(context, statement)
    for batch in batches:
        yield from batch.to_pylist()


def spark_type(name: str) -> str:
    """Return the type in Spark of a type that Arrow names; "" if it has none."""
    if items := _LIST.fullmatch(name):
        item = spark_type(items[1])
        return f"ARRAY<{item}>" if item else ""
    return next((kind for pattern, kind in _TYPES if pattern.fullmatch(name)), "")


def is_over_runs(query: str) -> bool:
    """Return whether a bound statement is about many runs: it reads a table of runs, and compares no id with literals.

    This is the only place that decides which engine answers a statement.
    """
    try:
        tree = parse_one(query, dialect="postgres")
    except SqlglotError:
        return False
    if not isinstance(tree, exp.Query) or not OVER_RUNS & {each.name for each in _tables(tree)}:
        return False
    return not any(_compares_id(each) for each in tree.find_all(exp.EQ, exp.In))


def _compares_id(node: Any) -> bool:
    """Return whether a comparison compares an id with literals."""
    values = node.expressions if isinstance(node, exp.In) else [node.expression]
    is_id = isinstance(node.this, exp.Column) and node.this.name in _IDS
    return is_id and bool(values) and all(isinstance(each, exp.Literal) for each in values)


def parse_view(definition: str) -> str:
    """Return the SELECT of a CREATE VIEW."""
    return definition.partition(" AS ")[2]


def tables_of(query: str) -> list[tuple[str, str]]:
    """Return schema and name of each table that a statement reads."""
    names = [(each.db or "public", each.name) for each in _tables(parse_one(query, dialect="postgres"))]
    return list(dict.fromkeys(names))


def _tables(tree: Any) -> list[exp.Table]:
    """Return the tables of a statement, without the names of its common table expressions."""
    own = {each.alias for each in tree.find_all(exp.CTE)}
    return [each for each in tree.find_all(exp.Table) if each.db or each.name not in own]


@dataclass(frozen=True)
class Translator:
    """Translates the statements of one history.

    - ``types``: schema and table → the types of the columns by name, as Arrow names them.
    """

    types: Mapping[tuple[str, str], Mapping[str, str]]

    @classmethod
    def of(cls, context: SessionContext) -> Translator:
        """Return the translator for the tables of a session."""
        types: dict[tuple[str, str], dict[str, str]] = {}
        for row in rows_of(context, _COLUMNS):
            types.setdefault((row["schema"], row["table"]), {})[row["name"]] = row["type"]
        return cls(types)

    def translate(self, query: str) -> str:
        """Return the statement of Spark for a bound statement of this package, or of the server's views.

        Raises:
            StatementError: it has a part that no statement of the closed set has.
        """
        try:
            tree = parse_one(query, dialect="postgres")
            for table in _tables(tree):
                self._rename(table)
            for node in reversed(list(tree.walk())):
                new = self._replacement(node)
                if new is not node:
                    node.replace(new)
            return str(tree.sql(dialect="spark", identify=True, comments=False, unsupported_level=ErrorLevel.RAISE))
        except SqlglotError as error:
            raise StatementError(
                f"a statement cannot be translated for Spark: {one_line(str(error), _LONGEST)}"
            ) from error

    def _rename(self, table: exp.Table) -> None:
        name = table.db or "public", table.name
        if name not in self.types:
            raise StatementError(f"the table {'.'.join(name)} is not available in Spark.")
        if not table.alias:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name)))
        table.set("db", None)
        table.set("this", exp.to_identifier(view_name(*name)))

    def _replacement(self, node: Any) -> Any:
        name = node.name.lower() if isinstance(node, exp.Anonymous) else type(node)
        rule = _RULES.get(name)
        if rule is not None:
            return rule(self, node)
        if isinstance(node, _FUNCTIONS) and not isinstance(node, _SAME):
            raise _refusal(str(node.name if isinstance(node, exp.Anonymous) else node.key))
        return node

    def arrow_cast(self, node: exp.Anonymous) -> Any:
        """Write a cast; that of a time or a duration to a number gives its milliseconds."""
        value, target = node.expressions
        name = spark_type(target.name)
        kinds = (
            {columns.get(value.name, "") for columns in self.types.values()} if isinstance(value, exp.Column) else ()
        )
        if not name:
            raise _refusal(f"a cast to {target.name}")
        if target.name.startswith("Duration"):
            return _sql("(CAST(v AS BIGINT) * INTERVAL '0.001' SECOND)", v=value)
        if target.name != "Int64" or isinstance(value, exp.Null):
            return _sql(f"CAST(v AS {name})", v=value)
        if any(each.startswith("Duration") for each in kinds):
            value = _sql("(CAST('1970-01-01T00:00:00Z' AS TIMESTAMP) + v)", v=value)
        return _sql("unix_millis(v)", v=value)


def view_name(schema: str, table: str) -> str:
    """Return the name of the view of a table that the package's own statements read."""
    return f"restate_lab_{schema}_{table}"


def _refusal(what: str) -> StatementError:
    return StatementError(f"{what} is in no statement that was compared in Spark; open the history without engine=.")


def _sql(text: str, **parts: Any) -> Any:
    """Return a part of a Spark statement from its text, with other parts for its names."""
    tree: Any = exp.maybe_parse(text, dialect="spark")
    for column in list(tree.find_all(exp.Column)):
        if column.name in parts:
            column.replace(parts[column.name].copy())
    return tree


def _text_of(node: Any) -> str:
    """Return a text, also one that is joined of several."""
    if isinstance(node, exp.DPipe):
        return _text_of(node.this) + _text_of(node.expression)
    if not isinstance(node, exp.Literal):
        raise _refusal(f"{node.sql()}, which is not a literal,")
    return str(node.this)


def _literal(_: Translator, node: exp.Literal) -> Any:
    """Write 1.5 as a double, which is a decimal in Spark, and integers in arithmetic with 64 bits."""
    if node.is_string:
        return node
    if not node.this.isdigit():
        return _sql(f"CAST('{node.this}' AS DOUBLE)")
    above = node.parent
    while isinstance(above, exp.Paren | exp.Neg):
        above = above.parent
    is_operand = isinstance(above, exp.Add | exp.Sub | exp.Mul | exp.Div | exp.Mod)
    return _sql(f"CAST({node.this} AS BIGINT)") if is_operand else node


def _divide(_: Translator, node: exp.Div) -> Any:
    """Write a division; one by an integer parameter or literal gives an integer."""
    is_whole = isinstance(node.expression, exp.Cast) and node.expression.is_type("bigint")
    return _sql("(l DIV r)" if is_whole else "(l / r)", l=node.this, r=node.expression)


def _date_bin(_: Translator, node: exp.DateBin) -> Any:
    interval = node.this.unnest()
    unit = f"{str(interval.args['unit']).lower().removesuffix('s')}s"
    size = timedelta(**{unit: float(interval.this.this)}) // timedelta(microseconds=1)
    return _sql(f"timestamp_micros(unix_micros(t) - pmod(unix_micros(t), {size}))", t=node.expression)


def _extract(_: Translator, node: exp.Extract) -> Any:
    if node.name.upper() != "EPOCH":
        raise _refusal(f"date_part {node.name}")
    return _sql("(unix_micros(t) / CAST('1e6' AS DOUBLE))", t=node.expression)


def _java_pattern(node: Any) -> exp.Literal:
    r"""Return the pattern of Java for one of Rust: "." excludes only "\n", "$" is the end, and letters are Unicode."""
    text = _text_of(node)
    return exp.Literal.string("(?dU)" + (text[:-1] + r"\z" if text.endswith("$") else text))


def _matches(_: Translator, node: exp.RegexpLike) -> Any:
    return exp.RegexpLike(this=node.this, expression=_java_pattern(node.expression))


def _replace(_: Translator, node: exp.RegexpReplace) -> Any:
    """Write a replacement of all matches, or of the only one, at the beginning of the text."""
    if node.args.get("modifiers") is None and not _text_of(node.expression).startswith("^"):
        raise _refusal("regexp_replace of the first match")
    new = exp.Literal.string(_text_of(node.args["replacement"]).replace("\\", "$"))
    return exp.Anonymous(this="regexp_replace", expressions=[node.this, _java_pattern(node.expression), new])


def _first_or_last(_: Translator, node: Any) -> Any:
    """Write an ordered aggregate; null is the largest value."""
    order = node.this
    if not isinstance(order, exp.Order) or any(each.args.get("desc") for each in order.expressions):
        raise _refusal("first_value in another order than an ascending one")
    keys = [part for each in order.expressions for part in (_sql("(v IS NULL)", v=each.this), each.this.copy())]
    name = "min_by" if isinstance(node, exp.FirstValue | exp.First) else "max_by"
    return exp.Anonymous(this=name, expressions=[order.this.copy(), exp.Anonymous(this="struct", expressions=keys)])


def _percentile(_: Translator, node: exp.PercentileCont) -> Any:
    """Write a quantile without the last digits of its share: DataFusion rounds 0.9, and needs 0.900000000000001."""
    share = node.expression.find(exp.Literal)
    return _sql(f"percentile(v, CAST('{round(float(share.this), 12)}' AS DOUBLE))", v=node.this)


def _limit(_: Translator, node: exp.Limit) -> Any:
    """Omit a LIMIT that is so high that it limits nothing; refuse one whose rows Spark would take in any order."""
    above, count = node.parent, int(node.expression.this)
    if above is not None and count > _MOST:
        above.set("limit", None)
    elif above is not None and above.args.get("order") and count >= MOST_FIRST:
        raise StatementError(
            f"limit= of {MOST_FIRST:,} or more is not supported in Spark; pass limit=None for all rows."
        )
    return node


def _column(_: Translator, node: exp.Column) -> Any:
    node.set("db", None)  # archive.journal.id
    return node


def _json_at(node: exp.Anonymous, value: str) -> Any:
    """Return the JSON of the first member with a key, if it matches a pattern; the text can be cut off after it."""
    text, key = node.expressions
    name = f'"{re.escape(key.name)}"'
    pattern = f"^{_BLANK}\\{{(?:{_BLANK}(?!{name}){_MEMBER}{_VALUE}{_BLANK},)*+{_BLANK}{name}{_BLANK}:{_BLANK}({value})"
    return _sql("nullif(regexp_extract(t, p, 1), '')", t=text, p=exp.Literal.string(pattern))


def _json_text(_: Translator, node: exp.Anonymous) -> Any:
    return _sql("try_variant_get(try_parse_json(j), '$', 'string')", j=_json_at(node, _STRING))


def _json(_: Translator, node: exp.Anonymous) -> Any:
    return _json_at(node, _VALUE)


def _nested(depth: int) -> str:
    """Return the pattern of a JSON value with at most so many levels; no part of it goes back."""
    plain = rf"{_STRING}|-?(?:0|[1-9]\d*+)(?:\.\d++)?+(?:[eE][+-]?\d++)?+|true|false|null"
    if not depth:
        return f"(?:{plain})"
    item = f"(?:{_MEMBER})?+{_nested(depth - 1)}{_BLANK}(?:,(?!{_BLANK}[]}}])|(?=[]}}])){_BLANK}"
    return rf"(?:{plain}|[\[{{]{_BLANK}(?:{item})*+[]}}])"


_BLANK = r"[ \t\n\r]*+"
_STRING = r'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"'
_MEMBER = f"{_STRING}{_BLANK}:{_BLANK}"
_VALUE = _nested(6)


_UNSIGNED = {exp.DType.UINT: "BIGINT", exp.DType.UBIGINT: "DECIMAL(20, 0)"}
_RULES: Mapping[Any, Rule] = {
    "arrow_cast": Translator.arrow_cast,
    "cardinality": lambda _, node: node,
    "json_get_str": _json_text,
    "json_get_json": _json,
    exp.DataType: lambda _, node: exp.DataType.build(_UNSIGNED[node.this]) if node.this in _UNSIGNED else node,
    exp.Literal: _literal,
    exp.Column: _column,
    exp.Div: _divide,
    exp.Avg: lambda _, node: _sql("avg(CAST(v AS DOUBLE))", v=node.this),
    exp.Encode: lambda _, node: _sql("sha2(v, 256)", v=node.this.this),
    exp.DateBin: _date_bin,
    exp.Extract: _extract,
    exp.RegexpLike: _matches,
    exp.RegexpReplace: _replace,
    **dict.fromkeys((exp.FirstValue, exp.LastValue, exp.First, exp.Last), _first_or_last),
    exp.PercentileCont: _percentile,
    exp.Limit: _limit,
}
