"""Convert Arrow to pandas without loss: exact integers, UTC times, all columns of empty results; frames with cards."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal, TypeAlias

import pandas as pd
import pyarrow as pa

from restate_lab.errors import DuplicateColumns, QueryRefused
from restate_lab.intervals import INTERVAL, offset_or_timedelta, to_durations

DtypeBackend: TypeAlias = Literal["numpy_nullable", "pyarrow"]
Card: TypeAlias = Callable[[pd.DataFrame], str]

# pandas would convert integers with nulls to floats (2**53 + 1 loses its last digit), and booleans to objects.
_NULLABLE: dict[pa.DataType, Any] = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}
_ALL_NULLABLE: dict[pa.DataType, Any] = {
    **_NULLABLE,
    pa.float32(): pd.Float32Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.string(): pd.StringDtype(),
    pa.large_string(): pd.StringDtype(),
    pa.string_view(): pd.StringDtype(),
}
_MAPPERS: dict[DtypeBackend | None, Any] = {
    None: None,
    "numpy_nullable": _ALL_NULLABLE.get,
    "pyarrow": pd.ArrowDtype,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PRINTED_ROWS = 34  # of a frame with a card, with its header and its size at most 40 lines
_WORTH_THREADS = 50_000  # rows; for fewer rows, starting pyarrow's threads costs more than it saves


class CardFrame(pd.DataFrame):
    """A DataFrame that a notebook shows as a card. Frames made from it (``head()``, a filter) are plain frames."""

    _metadata: ClassVar[list[str]] = ["_card", "_card_columns"]  # pandas pickles these with the frame

    def __init__(self, frame: pd.DataFrame, card: Card) -> None:
        super().__init__(frame)  # type: ignore[call-arg]  # pandas-stubs have __new__ only
        self.attrs = dict(frame.attrs)
        self._card = card
        self._card_columns = list(frame.columns)

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    @property
    def has_card(self) -> bool:
        """Return whether the frame still has the columns of its card."""
        return list(self.columns) == self._card_columns

    def __repr__(self) -> str:
        """Return at most 40 lines; pandas would print up to 65."""
        if len(self) <= _PRINTED_ROWS:
            return super().__repr__()
        with pd.option_context("display.max_rows", _PRINTED_ROWS, "display.min_rows", _PRINTED_ROWS):
            return super().__repr__()

    def _repr_html_(self) -> str | None:
        """Return the card, or the table of pandas if columns were added, renamed or removed."""
        is_wanted = pd.get_option("display.notebook_repr_html") and self.has_card
        # pandas-stubs do not know the method.
        return self._card(self) if is_wanted else super()._repr_html_()  # type: ignore[misc]

    def _display_(self) -> object:
        """Return what marimo shows; otherwise it shows each frame as its own table."""
        return _CardHtml(self._card(self)) if self.has_card else pd.DataFrame(self)


class _CardHtml:
    def __init__(self, html: str) -> None:
        self._html = html

    def _repr_html_(self) -> str:
        return self._html


def with_card(frame: pd.DataFrame, card: Card) -> pd.DataFrame:
    """Return the frame, which a notebook shows as ``card(frame)``, an HTML text.

    ``card`` must be a function of a module, or a ``functools.partial`` of one, so that the frame can be pickled. It
    reads only the frame.
    """
    return CardFrame(frame, card)


def number_duplicate_columns(schema: pa.Schema) -> pa.Schema:
    """Return the schema with every column name distinct: a second ``id`` becomes ``id_2``, with a warning."""
    if len(set(schema.names)) == len(schema):
        return schema
    doubles = [name for name, times in Counter(schema.names).items() if times > 1]
    names = _distinct_names(schema.names)
    warnings.warn(
        f"duplicate columns {', '.join(doubles)} were numbered: {', '.join(names)}. Use AS to name them.",
        DuplicateColumns,
        stacklevel=2,
    )
    return pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])


def to_frame(table: pa.Table, dtype_backend: DtypeBackend | None = None) -> pd.DataFrame:
    """Return a DataFrame with the table's columns and rows.

    ``dtype_backend=None`` gives exact, plain types: numpy types, nullable integers and booleans if there are nulls,
    pandas' default strings, UTC times, durations, and Python objects for lists, bytes and JSON values.
    ``"numpy_nullable"`` and ``"pyarrow"`` have the same meaning as in pandas.

    Intervals without months become timedeltas, in nanoseconds if they fit (292 years), for every ``dtype_backend``. If
    one interval of a column has months, the whole column has ``pd.DateOffset``.

    Structs, maps and lists with times become Python dicts, lists of pairs (to keep repeated keys of a map) and lists.
    Times in them are aware datetimes in UTC: ``pd.Timestamp`` (a datetime) if the server sent nanoseconds, because a
    plain datetime only has microseconds. ``"pyarrow"`` keeps Arrow's own types.

    Raises:
        QueryRefused: there are values that pandas or Python cannot represent, such as a date in the year 20,000, or a
            struct with two fields of the same name.
    """
    if dtype_backend not in _MAPPERS:
        raise ValueError(f"unknown dtype_backend {dtype_backend!r}; choose None, 'numpy_nullable' or 'pyarrow'")
    _check_fields(table.schema)
    try:
        return _to_frame(table, dtype_backend)
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise QueryRefused(
            f"the rows cannot be converted to a frame: {error}. Cast the column in the statement, or get the rows with "
            f"arrow().",
            status=200,
            reason=str(error),
        ) from error


def handler_of(row: Mapping[Any, Any]) -> tuple[str, str]:
    """Return the service and the handler of a row of an invocation."""
    return row["target_service_name"], row["target_handler_name"]


def records(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return the rows as ``to_dict("records")`` does, several times as fast, and with None for each missing value."""
    plain = pd.DataFrame(frame)  # without attrs, which pandas copies for each column
    names = list(plain.columns)
    rows = zip(*(_without_missing(column) for _, column in plain.items()), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _without_missing(column: pd.Series[Any]) -> list[Any]:
    values, is_missing = column.tolist(), column.array.isna()
    if not is_missing.any():
        return values
    return [None if unknown else value for value, unknown in zip(values, is_missing.tolist(), strict=True)]


class BuiltRows(Sequence[Any]):
    """A value for each row of a frame, which ``build`` makes once a slice reaches it: a list can have 150,000 rows."""

    def __init__(self, frame: pd.DataFrame, build: Callable[[Mapping[Any, Any]], Any]) -> None:
        self._frame, self._build = frame, build
        self._built: list[Any] = []

    def __len__(self) -> int:
        return len(self._frame)

    def __getitem__(self, key: Any) -> Any:
        start, stop, _ = key.indices(len(self))
        if stop > len(self._built):
            self._built += map(self._build, records(self._frame.iloc[len(self._built) : stop]))
        return self._built[start:stop]


def rows_to_table(rows: Sequence[Mapping[str, Any]], types: Mapping[str, pa.DataType]) -> pa.Table:
    """Return rows as a table with these columns; each row has a value for each column."""
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in types.items()})


def to_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows as ``to_pylist()`` does, with times in microseconds; it takes eight times as long for times."""
    columns = [_times_of(each) if pa.types.is_timestamp(each.type) else each.to_pylist() for each in table.columns]
    names = table.column_names
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _times_of(column: pa.ChunkedArray[Any]) -> list[datetime | None]:
    microseconds = column.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64()).to_pylist()
    return [None if each is None else _EPOCH + timedelta(microseconds=each) for each in microseconds]


def _to_frame(table: pa.Table, dtype_backend: DtypeBackend | None) -> pd.DataFrame:
    table = _convert_times(table, dtype_backend)
    mapper = _MAPPERS[dtype_backend] or _nullable_types(table).get
    apart = [
        at for at, kind in enumerate(table.schema.types) if _is_converted_alone(table, at, kind, dtype_backend, mapper)
    ]
    together = table.drop_columns([table.column_names[at] for at in apart]) if apart else table
    # All columns at once: one at a time takes twice as long and results in read-only arrays.
    threads = table.num_rows > _WORTH_THREADS
    frame = _to_utc(together, dtype_backend).to_pandas(
        types_mapper=mapper,
        ignore_metadata=True,
        use_threads=threads,
        integer_object_nulls=True,  # for lists, maps and structs, to which the mapper does not apply
    )
    for at in apart:
        frame.insert(at, table.column_names[at], _to_series(table.column(at)))
    return frame


def _nullable_types(table: pa.Table) -> dict[pa.DataType, Any]:
    """Return pandas' nullable types for Arrow types whose columns all have nulls: a mapper only gets the type."""
    types = [(at, kind) for at, kind in enumerate(table.schema.types) if kind in _NULLABLE]
    without = {kind for at, kind in types if not table.column(at).null_count}
    return {kind: _NULLABLE[kind] for _, kind in types if kind not in without}


def _is_converted_alone(
    table: pa.Table, at: int, kind: pa.DataType, dtype_backend: DtypeBackend | None, mapper: Callable[..., Any]
) -> bool:
    """Return whether the column at a position, of this type, must be converted separately."""
    if kind == INTERVAL:
        return True
    if pa.types.is_union(kind) or _holds_times(kind):
        return dtype_backend != "pyarrow"
    return kind in _NULLABLE and mapper(kind) is None and bool(table.column(at).null_count)


def _to_series(column: pa.ChunkedArray[Any]) -> pd.Series[Any]:
    if column.type.num_fields:
        return pd.Series([_convert_value(each) for each in column.to_pylist()], dtype=object)
    return column.to_pandas(types_mapper=_NULLABLE.get)


def _holds_times(kind: pa.DataType) -> bool:
    """Return whether a nested type has times, dates or durations; to_pandas() converts some of them to integers."""
    parts = _parts(kind)
    return bool(parts) and any(pa.types.is_temporal(part) or _holds_times(part) for part in parts)


def _parts(kind: pa.DataType) -> list[pa.DataType]:
    """Return the types within a nested type; most types have none."""
    parts = [kind.field(at).type for at in range(kind.num_fields)]
    return [kind.value_type, *parts] if pa.types.is_dictionary(kind) else parts


def _convert_value(value: Any) -> Any:
    """Return a value of ``to_pylist()`` with every time in UTC, and every interval as a timedelta or DateOffset."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, pa.MonthDayNano):
        return offset_or_timedelta(value)
    if isinstance(value, dict):
        return {name: _convert_value(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_convert_value(each) for each in value)
    return value


def _convert_times(table: pa.Table, dtype_backend: DtypeBackend | None) -> pa.Table:
    """Return the table with intervals as durations, and dictionaries of times as times.

    A column in which one interval has months is not converted. ``"pyarrow"`` keeps dictionaries.
    """
    for at, kind in enumerate(table.schema.types):
        converted: Any = None
        if kind == INTERVAL:
            converted = to_durations(table.column(at))
        elif pa.types.is_dictionary(kind) and _holds_times(kind) and dtype_backend != "pyarrow":
            converted = table.column(at).cast(kind.value_type)
        if converted is not None:
            table = table.set_column(at, table.schema.field(at).with_type(converted.type), converted)
    return table


def repeated_field(kind: pa.DataType) -> str | None:
    """Return the name of a field that a struct in this type has twice, which a dict cannot represent; or None."""
    if pa.types.is_struct(kind):
        twice = [name for name, times in Counter(field.name for field in kind).items() if times > 1]
        if twice:
            return twice[0]
    for part in _parts(kind):
        if (name := repeated_field(part)) is not None:
            return name
    return None


def _check_fields(schema: pa.Schema) -> None:
    for column, kind in zip(schema.names, schema.types, strict=True):
        name = repeated_field(kind)
        if name is not None:
            raise QueryRefused(
                f"column {column!r} has a struct with two fields named {name!r}, but a frame can have only one of "
                f"them. Give the fields different names in the statement, or get the rows with arrow().",
                status=200,
                reason=f"two fields named {name!r} in one struct",
            )


def _to_utc(table: pa.Table, dtype_backend: DtypeBackend | None) -> pa.Table:
    """Return the table with UTC for times without a zone, as from now() and casts: the session's zone is UTC."""
    if dtype_backend == "pyarrow" or not any(_is_naive(kind) for kind in table.schema.types):
        return table
    fields = [
        field.with_type(pa.timestamp(field.type.unit, "UTC")) if _is_naive(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


def _is_naive(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) and kind.tz is None


def _distinct_names(names: Sequence[str]) -> list[str]:
    existing, distinct = set(names), list[str]()
    for name in names:
        new, number = name, 2
        while new in distinct or (new != name and new in existing):
            new, number = f"{name}_{number}", number + 1
        distinct.append(new)
    return distinct
