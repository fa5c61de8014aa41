"""Which tables and columns are frozen, in which order, and why others are not.

Tables are read one after another, so the order decides which joins hold. What refers to invocations is read before
them, so that whom it names is there; an invocation's state before its status, which wins where both have moved on;
and what belongs to an invocation (journal, promises, its deployment) after it, so that what it waits for is there.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from restate_lab.client.schema import checked, tables_of
from restate_lab.errors import ArgumentError, QueryRefused
from restate_lab.evidence.redaction import PAYLOADS
from restate_lab.source import Source

__all__ = ["Column", "LeftOut", "Offer", "TablePlan", "View", "offer_of", "plan_tables", "quoted", "select_all"]

BEFORE = (
    *("sys_scheduler", "sys_vqueue_meta", "sys_vqueues", "sys_vqueue_entry_status", "sys_locks", "sys_user_limits"),
    *("sys_inbox", "sys_keyed_service_status", "sys_idempotency", "sys_invocation_state", "sys_invocation_status"),
)
"""Tables up to the invocations themselves, in the order in which they are read; the others come after them."""
_LAST = ("sys_service", "sys_deployment")

_RAW = "the entry as bytes, payloads and secret headers in the clear: never frozen"
_PAYLOAD = "payloads are frozen with payloads=True only"
_BINARY = "bytes that this version of restate_lab does not know may be payloads, frozen with payloads=True only"
_VIEWS = "SELECT table_name, definition FROM information_schema.views WHERE definition IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Column:
    """One column; ``type`` as the server names it, None where a source does not say."""

    name: str
    type: str | None = None
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What is not frozen, and why; ``column`` None means the whole table."""

    table: str
    column: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class TablePlan:
    """One table to read, with those of its columns that are frozen."""

    name: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class View:
    """A view: the server's own statement, and the tables that it is made of."""

    name: str
    definition: str
    columns: tuple[Column, ...]
    made_of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Offer:
    """What a source has: its tables, views left out, and its views."""

    tables: Mapping[str, tuple[Column, ...]]
    views: Mapping[str, View]

    @property
    def columns(self) -> dict[str, list[str]]:
        """Return table or view → the names of its columns."""
        return {
            **{name: [column.name for column in columns] for name, columns in self.tables.items()},
            **{name: [column.name for column in view.columns] for name, view in self.views.items()},
        }


def offer_of(source: Source) -> Offer:
    """Ask a source what it has; a view whose definition it does not tell is a table like any other."""
    found: dict[str, list[Column]] = {}
    for row in tables_of(source).to_dict("records"):
        column = Column(row["column"], _text(row.get("type")), bool(row.get("nullable", True)))
        found.setdefault(row["table"], []).append(column)
    try:
        answer = checked(source.arrow(_VIEWS), _VIEWS, source)
        definitions = {row["table_name"]: row["definition"] for row in answer.to_pylist()}
    except QueryRefused:
        definitions = {}
    views = {name: definitions[name] for name in found if name in definitions}
    bases = [name for name in found if name not in views]
    return Offer(
        {name: tuple(found[name]) for name in bases},
        {name: View(name, text, tuple(found[name]), _named(text, bases)) for name, text in views.items()},
    )


def plan_tables(
    offer: Offer, wanted: str | Iterable[str] | None, *, payloads: bool
) -> tuple[list[TablePlan], list[LeftOut]]:
    """Return the tables to read in their order, and what is left out.

    Raises:
        ArgumentError: a table is wanted that is not there.
    """
    names = _wanted(offer, [wanted] if isinstance(wanted, str) else wanted)
    left_out = [LeftOut(name, None, "tables= does not name it") for name in offer.tables if name not in names]
    plans: list[TablePlan] = []
    for name in sorted(names, key=_order):
        reasons = {column.name: _reason(name, column, payloads=payloads) for column in offer.tables[name]}
        plans.append(TablePlan(name, tuple(each for each in offer.tables[name] if reasons[each.name] is None)))
        left_out += [LeftOut(name, column, reason) for column, reason in reasons.items() if reason is not None]
    return plans, left_out


def select_all(plan: TablePlan) -> str:
    """Return the statement that reads the columns of a table; names come from the source itself."""
    return f"SELECT {', '.join(quoted(column.name) for column in plan.columns)} FROM {quoted(plan.name)}"  # noqa: S608


def quoted(name: str) -> str:
    """Return a name as SQL takes it, whatever stands in it."""
    return '"' + name.replace('"', '""') + '"'


def _wanted(offer: Offer, wanted: Iterable[str] | None) -> set[str]:
    if wanted is None:
        return set(offer.tables)
    names: set[str] = set()
    for name in wanted:
        if name in offer.views:
            names.update(offer.views[name].made_of)
        elif name in offer.tables:
            names.add(name)
        else:
            nearest = difflib.get_close_matches(name, [*offer.tables, *offer.views], n=3)
            raise ArgumentError(
                f"tables= names {name!r}, which is not there; the nearest: {', '.join(nearest) or '–'}."
            )
    if not names:
        raise ArgumentError("tables= is empty: there is nothing to freeze.")
    return names


def _reason(table: str, column: Column, *, payloads: bool) -> str | None:
    """Return why a column is not frozen; None where it is."""
    if (table, column.name) == ("sys_journal", "raw"):
        return _RAW
    if payloads:
        return None
    if (table, column.name) in PAYLOADS:
        return _PAYLOAD
    return _BINARY if "Binary" in (column.type or "") else None


def _order(name: str) -> tuple[int, int, str]:
    for place, names in ((0, BEFORE), (2, _LAST)):
        if name in names:
            return place, names.index(name), name
    return 1, 0, name


def _named(definition: str, tables: Sequence[str]) -> tuple[str, ...]:
    words = set(re.findall(r"\w+", definition))
    return tuple(name for name in tables if name in words)


def _text(value: object) -> str | None:
    return None if value is None or pd.isna(value) else str(value)  # type: ignore[call-overload]
