"""A list of models in a fixed order, and the DataFrame it turns into."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from types import UnionType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Union, get_args, get_origin

from restate_lab.client.models.base import Model, label, render_models, text_of
from restate_lab.interrupts import Shield

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ModelList"]

M = TypeVar("M", bound=Model)

_DTYPES: dict[Any, str] = {
    bool: "boolean",
    int: "Int64",
    float: "float64",
    timedelta: "timedelta64[ms]",
    datetime: "datetime64[us, UTC]",
}
_LONGEST_CELL = 60


class ModelList(list[M], Generic[M]):
    """Models, sorted when the list was made; ``frame()`` makes them a DataFrame."""

    def __init__(self, model: type[M], models: Iterable[M], *, by: Callable[[M], Any]) -> None:
        super().__init__(sorted(models, key=by))
        self.model = model

    def frame(self) -> pd.DataFrame:
        """Return one row per model in this order, one column per field; ``a.b`` is field b of the model in field a.

        Durations are timedelta64, times UTC; a list of models within is the list of their names. Secret values are
        masked. Unknown fields are left out: they are in each model's ``extra``.
        """
        with Shield():
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
    """Return column name → type of a model's fields, those of a model within it included."""
    columns: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        kind = _kind(field.annotation)
        if isinstance(kind, type) and issubclass(kind, Model):
            columns |= _columns(kind, f"{prefix}{name}.")
        else:
            columns[prefix + name] = kind
    return columns


def _kind(annotation: Any) -> Any:
    """Return the type that a field has when it is not None."""
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
