"""The base of all models: frozen, one line in a terminal, a small table in a notebook, and unknown fields are kept.

Pydantic parses them, because it keeps unknown fields on the value, and its errors have the name of a wrong field but
not its value. It is loaded with the Admin API, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer
from pydantic_core import CoreSchema, core_schema

from restate_lab._cells import value_line
from restate_lab._html import render
from restate_lab._text import format_duration
from restate_lab.durations import parse_duration
from restate_lab.redaction import MASK, is_secret_header

if TYPE_CHECKING:
    import pandas as pd

M = TypeVar("M", bound="Model")

_LONGEST_WORD = 70
_LONGEST_VALUE = 300
_LONGEST_CELL = 60
_DTYPES: dict[Any, str] = {
    bool: "boolean",
    int: "Int64",
    float: "float64",
    timedelta: "timedelta64[ms]",
    datetime: "datetime64[us, UTC]",
}


class SafeMap(Mapping[str, str]):
    """A read-only mapping of text to text, by name, with ••• instead of secret values.

    ``reveal()`` returns the values themselves; a pickle and a JSON dump have ••• too.
    """

    __slots__ = ("__values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self.__values = {name: values[name] for name in sorted(values)}

    def reveal(self) -> dict[str, str]:
        """Return the values as the server sent them, including secret values."""
        return dict(self.__values)

    def __getitem__(self, name: str) -> str:
        value = self.__values[name]
        return MASK if is_secret_header(name) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self.__values)

    def __len__(self) -> int:
        return len(self.__values)

    def __repr__(self) -> str:
        return repr(dict(self))

    def __hash__(self) -> int:
        return hash(tuple(self.items()))

    def __reduce__(self) -> tuple[type[SafeMap], tuple[dict[str, str]]]:
        return SafeMap, (dict(self),)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        """Return how pydantic reads it from JSON and writes it."""
        strings = core_schema.dict_schema(core_schema.str_schema(), core_schema.str_schema())
        return core_schema.union_schema(
            [core_schema.is_instance_schema(cls), core_schema.no_info_after_validator_function(cls, strings)],
            serialization=core_schema.plain_serializer_function_ser_schema(dict),
        )


# In JSON, a duration is written as by the server.
Duration = Annotated[
    timedelta,
    BeforeValidator(lambda value: parse_duration(value) if isinstance(value, str) else value),
    PlainSerializer(lambda value: format_duration(value, exact=True), when_used="json"),
]
Timestamp = Annotated[datetime, AfterValidator(lambda value: value.astimezone(UTC))]


class Model(BaseModel):
    """A frozen value of the Admin API. Fields that the server omitted have None; unknown fields are in ``extra``."""

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True, populate_by_name=True)

    line: ClassVar[tuple[str, ...]] = ()
    """The fields that a repr shows; the first one without its name."""

    @property
    def extra(self) -> dict[str, Any]:
        """Return the fields that this version of restate_lab does not know, as the server sent them."""
        return dict(self.model_extra or {})

    @property
    def remark(self) -> str:
        """Return important information that is not in a field; "" if there is none."""
        return ""

    def __repr__(self) -> str:
        values = [(name, getattr(self, name)) for name in self.line]
        parts = [
            text_of(value, _LONGEST_WORD) if name == self.line[0] else f"{name}={text_of(value, _LONGEST_WORD)}"
            for name, value in values
            if value is not None
        ]
        return f"<{' '.join([type(self).__name__, *parts])}{f' · {self.remark}' if self.remark else ''}>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        rows = [[name, text_of(value, _LONGEST_VALUE)] for name, value in fields.items() if value is not None]
        if self.extra:
            rows.append(["extra", ", ".join(sorted(self.extra))])
        return render_models(type(self).__name__, rows, remark=self.remark)


def render_models(title: str, rows: list[list[str]], *, heads: list[str] | None = None, remark: str = "") -> str:
    """Return rows of text as a small HTML table; without ``heads`` the first cell of each row is its heading."""
    return render("client/models/model.html.j2", title=title, rows=rows, heads=heads, remark=remark)


def text_of(value: Any, longest: int) -> str:
    """Return a field's value as one line of text with a maximum length."""
    return value_line(_to_plain_value(value), longest)


def _to_plain_value(value: Any) -> Any:
    """Return a value without models: a model becomes a mapping of its fields, and in a list its label."""
    if isinstance(value, Model):
        fields = {name: getattr(value, name) for name in value.line}
        return {name: _to_plain_value(each) for name, each in fields.items() if each is not None}
    if isinstance(value, dict):
        return {name: _to_plain_value(each) for name, each in value.items()}
    return [label(each) for each in value] if isinstance(value, tuple | list) else value


def label(value: Any) -> str:
    """Return the label of a value in a list; the label of a model is its name, id or message."""
    named = getattr(value, value.line[0]) if isinstance(value, Model) else value
    return text_of(named, _LONGEST_WORD)


class ModelList(list[M], Generic[M]):
    """A list of models, sorted when it was made; ``frame`` is them as a DataFrame."""

    def __init__(self, model: type[M], models: Iterable[M], *, by: Callable[[M], Any]) -> None:
        super().__init__(sorted(models, key=by))
        self.model = model

    @property
    def frame(self) -> pd.DataFrame:
        """Return one row per model in this order, one column per field; ``a.b`` is field b of the model in field a.

        Durations are timedelta64 and times are UTC; a list of models becomes the list of their names. Secret values are
        masked. Unknown fields are omitted; the ``extra`` of each model has them.
        """
        import pandas as pd  # noqa: PLC0415 - printing a model must not load it

        rows = [_row(model) for model in self]
        columns = {
            name: pd.Series([row.get(name) for row in rows], dtype=_DTYPES.get(kind, object if not rows else None))
            for name, kind in _columns(self.model).items()
        }
        return pd.DataFrame(columns)

    def _repr_html_(self) -> str:
        heads = list(self.model.line)
        rows = [[_cell(getattr(model, name)) for name in heads] for model in self]
        return render_models(f"{len(self)} × {self.model.__name__}", rows, heads=heads)


def _cell(value: Any) -> str:
    return "" if value is None else text_of(value, _LONGEST_CELL)


def _columns(model: type[Model], prefix: str = "") -> dict[str, Any]:
    """Return column name → type of a model's fields, including the fields of a model within it."""
    columns: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        kind = _kind(field.annotation)
        if isinstance(kind, type) and issubclass(kind, Model):
            columns |= _columns(kind, f"{prefix}{name}.")
        else:
            columns[prefix + name] = kind
    return columns


def _kind(annotation: Any) -> Any:
    """Return the type of a field without None."""
    if get_origin(annotation) in {Union, UnionType}:
        kinds = [each for each in get_args(annotation) if each is not type(None)]
        return _kind(kinds[0]) if len(kinds) == 1 else object
    return _kind(get_args(annotation)[0]) if hasattr(annotation, "__metadata__") else annotation


def _row(model: Model, prefix: str = "") -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, Model):
            row |= _row(value, f"{prefix}{name}.")
        elif isinstance(value, tuple):
            row[prefix + name] = [label(each) if isinstance(each, Model) else each for each in value]
        else:
            row[prefix + name] = dict(value) if hasattr(value, "reveal") else value
    return row
