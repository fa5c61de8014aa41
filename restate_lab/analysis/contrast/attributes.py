"""The attributes of invocations that are compared: ``ATTRIBUTES`` has each with its origin, its cost and its values.

To compare another attribute, add a row. A row without a column of its own has a function in ``observe`` that makes the
attributes from the data: one for each header, step or path of the inputs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial

from restate_lab.analysis.contrast.inputs import Inputs, observe_fields, observe_headers
from restate_lab.analysis.contrast.model import MISSING, SEPARATORS, UNKNOWN, Attribute, Observed, Where
from restate_lab.analysis.patterns import step_patterns
from restate_lab.reads import Row

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_GENERATED_KEY = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")  # a ULID: since 1.7, each call without a key gets one
_MOST_STEPS = 200
_LEAST_ROWS = 3  # with a step; a rarer step cannot distinguish the sides
_FIRST_PART = f"split_part(translate(target_service_key, '{SEPARATORS}', '{'-' * len(SEPARATORS)}'), '-', 1)"
_CALLER = "coalesce(invoked_by_service_name, invoked_by)"
_PREFIX = f"""CASE WHEN character_length({_FIRST_PART}) + 1 < character_length(target_service_key)
  THEN substr(target_service_key, 1, character_length({_FIRST_PART}) + 1) END"""


class Cost(StrEnum):
    """What an attribute costs to read."""

    STATUS = "status"  # a column of sys_invocation_status
    REQUEST = "request"  # one request to the Admin API
    STEPS = "steps"  # the structure of the journals of the sample
    INPUTS = "inputs"  # the first entry of these journals, with its payload


@dataclass(frozen=True, slots=True)
class RowsRead:
    """The data of the sampled invocations; None for a part that was not read.

    ``steps`` has for an id the names of the steps that it took, ``sdks`` the SDK of each deployment. ``has_times`` is
    False if the sides have different times: then the time defines them.
    """

    rows: Sequence[Row]
    sdks: Mapping[str, str] | None = None
    steps: Mapping[str, frozenset[str]] | None = None
    inputs: Inputs | None = None
    redact: Sequence[str] = ()
    has_times: bool = True

    @property
    def ids(self) -> list[str]:
        """Return the ids of the rows."""
        return [row["id"] for row in self.rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeSource:
    """One attribute, or one family of attributes, and from where it is read.

    - ``columns``: its columns of ``sys_invocation_status``; () if it has none
    - ``observe``: makes the attributes from the data; None for one attribute with the values of the column
    - ``sql``: its expression in a filter on this table; "" if it is not one
    - ``counted``: the expression by which the server counts it in the whole population; "" if it has too many values
    """

    name: str
    where: Where
    cost: Cost = Cost.STATUS
    columns: tuple[str, ...] = ()
    sql: str = ""
    counted: str = ""
    verb: str = ""
    is_payload: bool = False
    is_sequential: bool = False
    observe: Callable[[AttributeSource, RowsRead], list[Observed]] | None = None

    @property
    def attribute(self) -> Attribute:
        """Return the attribute of a row of the table that is not a family."""
        return Attribute(
            self.where,
            self.name,
            verb=self.verb,
            sql=self.sql,
            is_payload=self.is_payload,
            is_sequential=self.is_sequential,
        )


def nanoseconds(value: datetime) -> int:
    """Return a time as nanoseconds since 1970."""
    return (value - _EPOCH) // _MICROSECOND * 1_000


def _observe_column(source: AttributeSource, read: RowsRead) -> list[Observed]:
    """Return the first column that has a value in a row."""
    values = [next((row[name] for name in source.columns if row.get(name) is not None), None) for row in read.rows]
    return [Observed(source.attribute, [MISSING if value is None else str(value) for value in values])]


def _observe_caller_id(source: AttributeSource, read: RowsRead) -> list[Observed]:
    """Return the ids of callers; a call without one is UNKNOWN, because the attribute "caller" already has that."""
    (observed,) = _observe_column(source, read)
    return [Observed(source.attribute, [UNKNOWN if value is MISSING else value for value in observed.values])]


def _observe_time(source: AttributeSource, read: RowsRead) -> list[Observed]:
    values = [nanoseconds(row["created_at"]) for row in read.rows]
    return [Observed(source.attribute, values)] if read.has_times else []


def _observe_own_key(source: AttributeSource, read: RowsRead) -> list[Observed]:
    keys = [row.get("idempotency_key") for row in read.rows]
    return [Observed(source.attribute, ["yes" if key and not _GENERATED_KEY.fullmatch(key) else "no" for key in keys])]


def _observe_sdk(source: AttributeSource, read: RowsRead) -> list[Observed]:
    if read.sdks is None:
        return []
    deployments = [row.get("pinned_deployment_id") for row in read.rows]
    return [
        Observed(source.attribute, [read.sdks.get(each or "", UNKNOWN if each else MISSING) for each in deployments])
    ]


def _observe_steps(_: AttributeSource, read: RowsRead) -> list[Observed]:
    steps = read.steps
    if steps is None:
        return []
    patterns = step_patterns({name for names in steps.values() for name in names})
    taken = {id_: {patterns[name] for name in names} for id_, names in steps.items()}
    counts = Counter(name for names in taken.values() for name in names)
    chosen = [name for name, count in counts.most_common(_MOST_STEPS) if count >= _LEAST_ROWS]
    return [
        Observed(
            Attribute(Where.STEP, name),
            [UNKNOWN if id_ not in taken else True if name in taken[id_] else MISSING for id_ in read.ids],
        )
        for name in chosen
    ]


def _observe_inputs(_: AttributeSource, read: RowsRead, *, observe: Callable[..., list[Observed]]) -> list[Observed]:
    return [] if read.inputs is None else observe(read.ids, read.inputs.by_id, read.redact)


def _column(name: str, verb: str = "", *, is_sequential: bool = False) -> AttributeSource:
    return AttributeSource(
        name=name,
        where=Where.COLUMN,
        columns=(name,),
        sql=name,
        counted=name,
        verb=verb,
        is_sequential=is_sequential,
    )


def _caller_id(name: str) -> AttributeSource:
    return AttributeSource(
        name=name, where=Where.COLUMN, columns=(name,), sql=name, verb="were called by", observe=_observe_caller_id
    )


ATTRIBUTES: tuple[AttributeSource, ...] = (
    _column("pinned_deployment_id", "run on", is_sequential=True),
    AttributeSource(
        name="sdk", where=Where.COLUMN, cost=Cost.REQUEST, verb="run with", is_sequential=True, observe=_observe_sdk
    ),
    _column("pinned_service_protocol_version", "run with protocol", is_sequential=True),
    _column("created_using_restate_version", "were created with restate", is_sequential=True),
    AttributeSource(
        name="caller",
        where=Where.COLUMN,
        columns=("invoked_by_service_name", "invoked_by"),
        sql=_CALLER,
        counted=_CALLER,
        verb="were called by",
    ),
    _caller_id("invoked_by_id"),
    _caller_id("invoked_by_subscription_id"),
    AttributeSource(name="restarted_from", where=Where.COLUMN, columns=("restarted_from",), sql="restarted_from"),
    AttributeSource(name="scope", where=Where.KEY, columns=("scope",), sql="scope"),
    AttributeSource(name="limit_key", where=Where.KEY, columns=("limit_key",), sql="limit_key"),
    AttributeSource(
        name="own idempotency key", where=Where.COLUMN, columns=("idempotency_key",), observe=_observe_own_key
    ),
    AttributeSource(
        name="created_at", where=Where.TIME, columns=("created_at",), is_sequential=True, observe=_observe_time
    ),
    AttributeSource(
        name="target_service_key",
        where=Where.KEY,
        columns=("target_service_key",),
        sql="target_service_key",
        counted=_PREFIX,
    ),
    AttributeSource(name="steps", where=Where.STEP, cost=Cost.STEPS, observe=_observe_steps),
    AttributeSource(
        name="headers",
        where=Where.HEADER,
        cost=Cost.INPUTS,
        is_payload=True,
        observe=partial(_observe_inputs, observe=observe_headers),
    ),
    AttributeSource(
        name="input",
        where=Where.INPUT,
        cost=Cost.INPUTS,
        is_payload=True,
        observe=partial(_observe_inputs, observe=observe_fields),
    ),
)
"""The attributes that are compared."""

COLUMNS: tuple[str, ...] = tuple(dict.fromkeys(name for each in ATTRIBUTES for name in each.columns))
"""The columns of ``sys_invocation_status`` that are read of each sampled invocation, if the source has them."""


def observe(read: RowsRead) -> list[Observed]:
    """Return the attributes of the rows; one with the same value in all rows is kept, because it was compared."""
    return [each for source in ATTRIBUTES for each in (source.observe or _observe_column)(source, read)]
