"""A large archive with rows like those of a real cluster, written in visits through the package's own commits.

All is derived from the number of a run and the seed, so the same arguments give the same rows. In the middle of the
period new deployments are registered: orders take longer, and payments fail more often and in a new way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.history.commits import ClusterTables, table_of_records
from restate_lab.history.reader import with_entry_columns, with_event_columns, with_run
from restate_lab.history.shards import claim
from restate_lab.history.store import locate_store
from restate_lab.history.tables import SCHEMA_VERSION, TABLES, to_archive
from restate_lab.history.visit import PART_RUNS
from support.archives import SERVER_SCHEMA, TYPES

CLUSTER = "prod"
LAST_DAY = date(2026, 11, 28)
OLD, NEW = "dp_1" + "a" * 22, "dp_1" + "b" * 22
_COLUMNS: Mapping[str, Any] = json.loads(SERVER_SCHEMA)["tables"]
_BASE62 = np.frombuffer(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", np.uint8)
_BASE32 = np.frombuffer(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ", np.uint8)
_KEY_DIGITS = 11
_DAY_MS = 86_400_000
_STACK = "".join(
    f'  File "/app/orders/step{n}.py", line {90 + n}, in step{n}\\n    await next({n})\\n' for n in range(12)
)
_AGAIN = 0.2
"""The share of workflow runs that use the key of a run two days before, if that was a workflow."""
_RETRIED = 0.04
Numbers = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Handler:
    """A handler with its share of the runs, its median duration in ms, and its journal between input and output."""

    service: str
    name: str
    kind: str
    share: float
    median: float
    steps: tuple[str, ...]
    failures: float = 0.01

    @property
    def target(self) -> str:
        return f"{self.service}/{self.name}"


HANDLERS = (
    Handler("Orders", "place", "service", 0.2, 400, ("run reserve", "call"), 0.0),
    Handler("Payments", "charge", "service", 0.2, 180, ("run charge card",), 0.02),
    Handler("Cart", "add", "virtual_object", 0.2, 20, ("get total", "set total"), 0.005),
    Handler("Orders", "ship", "service", 0.2, 2_500, ("run print label", "run book courier", "sleep")),
    Handler("Checkout", "run", "workflow", 0.1, 900, ("set stage", "run quote", "run confirm")),
    Handler("Assistant", "answer", "service", 0.05, 6_000, ("run call LLM", "run get weather", "run call LLM"), 0.015),
    Handler("Reports", "build", "service", 0.05, 30_000, tuple(f"run query {n}" for n in range(4)), 0.03),
)
PLACE, CHARGE, CART, _, CHECKOUT, ASSISTANT, _ = range(len(HANDLERS))
SERVICES = tuple(dict.fromkeys(each.service for each in HANDLERS))
FAILURES = (("402", "the card of order ", " was declined"), ("409", "order ", " is being changed by another request"))
NEW_FAILURE = ("504", "no response of the card network for order ", " within 30 seconds")


def write_archive(
    where: Path | str,
    *,
    runs: int,
    days: int = 10,
    every: timedelta = timedelta(hours=1),
    shards: int = 1,
    seed: int = 1,
    after_visit: Callable[[int], object] = lambda _: None,
) -> None:
    """Write an archive whose last day is ``LAST_DAY``; ``after_visit`` gets the number of runs after each visit.

    ``shards`` above 1: each has some services, and all of them make a visit at the same time.
    """
    store = locate_store(where)
    store.create()
    names = {f"shard {n}": SERVICES[n::shards] for n in range(shards)} if shards > 1 else {}
    every_table = ClusterTables(store, CLUSTER, store.open_all())
    archivers = [_Archiver(replace(every_table, shard=name), of) for name, of in names.items()]
    for each in archivers:
        claim(each.tables, each.services, SERVICES, is_first=True)
    period = _Period(runs, days, every, seed)
    _register(every_table, period.begin, OLD, 1)
    for visit in period.visits():
        if visit.is_first_with_new_code:
            _register(every_table, visit.at, NEW, 2)
        for each in archivers or [_Archiver(every_table, ())]:
            each.visit(visit, period)
        after_visit(visit.stop)


@dataclass(frozen=True)
class _Visit:
    """A visit at ``at`` of the runs from the number ``start`` up to ``stop``, which ended after ``since``."""

    since: datetime
    at: datetime
    start: int
    stop: int
    is_first_of_day: bool
    is_first_with_new_code: bool


@dataclass(frozen=True)
class _Period:
    runs: int
    days: int
    every: timedelta
    seed: int

    @property
    def begin(self) -> datetime:
        return datetime.combine(LAST_DAY, time(), UTC) - timedelta(days=self.days - 1)

    @property
    def change(self) -> datetime:
        """Return when the new deployments were registered."""
        return self.begin + timedelta(days=self.days) / 2

    def visits(self) -> Iterator[_Visit]:
        """Yield the visits; more runs end in the afternoon than at night, and some days have more than others."""
        count = int(timedelta(days=self.days) / self.every)
        each_day = timedelta(days=1) / self.every
        hours = 1 + 0.6 * np.sin((np.arange(count) / each_day - 0.4) * 2 * np.pi)
        weights = hours * (1 + 0.1 * _share(self.seed, (np.arange(count) // each_day).astype(np.int64), 90))
        stops = np.round(np.cumsum(weights) / weights.sum() * self.runs).astype(int)
        for n, stop in enumerate(stops):
            since, at = self.begin + n * self.every, self.begin + (n + 1) * self.every
            is_first = n == 0 or at.date() > since.date()
            start = int(stops[n - 1]) if n else 0
            yield _Visit(since, at, start, int(stop), is_first, since <= self.change < at)


@dataclass
class _Archiver:
    tables: ClusterTables
    services: tuple[str, ...]
    number: int = field(init=False)

    def __post_init__(self) -> None:
        self.number = self.tables.version("invocations")

    def visit(self, visit: _Visit, period: _Period) -> None:
        """Commit the runs in parts; the record of the last part is that of the visit."""
        starts = range(visit.start, max(visit.stop, visit.start + 1), PART_RUNS)
        for start in starts:
            numbers = np.arange(start, min(start + PART_RUNS, visit.stop), dtype=np.int64)
            rows = Part(numbers, visit, period).tables(self.services) if len(numbers) else {}
            new = len(rows.get("invocations", ()))
            if new:
                self.number += 1
                self.tables.append_runs(rows, self.number)
            is_last = start == starts[-1]
            if is_last:
                self._write_samples(visit, period)
            self._write_visit(visit, period, "complete" if is_last else "part", new)

    def _write_visit(self, visit: _Visit, period: _Period, outcome: str, new: int) -> None:
        number = self.number if new else None
        is_described = visit.is_first_of_day and outcome == "complete"
        record = {
            "cluster_name": CLUSTER,
            "day": visit.at.date(),
            "visit": number,
            "shard": self.tables.shard,
            "services": list(self.services) or None,
            "schema_version": SCHEMA_VERSION,
            "outcome": outcome,
            "started_at": visit.at,
            "ended_at": visit.at + timedelta(seconds=2),
            "address": "http://prod:9070",
            "server_version": "1.7.12",
            "features": '{"vqueues": false}',
            "payloads": False,
            "redact": [],
            "new_runs": new,
            "ids_read": min(visit.stop, period.runs // period.days),
            "late_runs": 0,
            "gone_runs": 0,
            "missing_journals": 0,
            "open_retention": "[]",
            "server_schema": SERVER_SCHEMA if is_described else None,
            "retention": _retention() if is_described else None,
        }
        after = None if number is None else number - 1
        self.tables.append_once("visits", table_of_records([record]), after, number)

    def _write_samples(self, visit: _Visit, period: _Period) -> None:
        kept = min(visit.stop, period.runs // period.days)
        rows = [
            {"service": each.service, "handler": each.name, "status": status, "invocations": max(int(count), 1)}
            for each in HANDLERS
            if not self.services or each.service in self.services
            for status, count in (("completed", kept * each.share), ("invoked", kept * each.share / 1_000))
        ]
        own = TABLES["samples"].own
        values = {"day": visit.at.date(), "visit": None, "sampled_at": visit.at, "oldest_created_at": visit.since}
        schema = pa.schema([(name, own[name]) for name in ("service", "handler", "status", "invocations")])
        samples = pa.Table.from_pylist(rows, schema).append_column("key", pa.nulls(len(rows), pa.string()))
        self.tables.append_once("samples", self.tables.with_own_columns("samples", samples, values))


def _retention() -> str:
    kept = {"completion_retention_ms": _DAY_MS, "journal_retention_ms": _DAY_MS}
    return json.dumps([{"service": each.service, "handler": each.name, **kept} for each in HANDLERS])


def _register(tables: ClusterTables, at: datetime, deployment: str, revision: int) -> None:
    endpoint = {"id": [deployment], "ty": ["http"], "endpoint": [f"http://orders-{revision}:9080/"], "created_at": [at]}
    services = {
        "name": list(SERVICES),
        "revision": [revision] * len(SERVICES),
        "public": [True] * len(SERVICES),
        "ty": [next(each.kind for each in HANDLERS if each.service == name) for name in SERVICES],
        "deployment_id": [deployment] * len(SERVICES),
    }
    for name, columns in (("deployments", {**endpoint, "services": [list(SERVICES)]}), ("services", services)):
        rows = tables.with_own_columns(name, _copied(name, columns), {"visit": None, "first_seen_at": at})
        tables.append_once(name, rows, revision - 1, revision)


def _copied(table: str, columns: Mapping[str, Any]) -> pa.Table:
    """Return rows as a visit would copy them from a table of the server; other columns are null."""
    archived = TABLES[table]
    count = len(next(iter(columns.values())))
    left_out = archived.left_out | archived.payloads
    return to_archive(
        pa.table(
            {
                name: pc.cast(columns[name], TYPES[kind])
                if isinstance(columns.get(name), pa.Array | pa.ChunkedArray)
                else pa.nulls(count, TYPES[kind])
                if columns.get(name) is None
                else pa.array(columns[name], TYPES[kind])
                for name, kind, _ in _COLUMNS[archived.copies]
                if name not in left_out
            }
        )
    )


def _hash(seed: int, numbers: Numbers, salt: int) -> Numbers:
    """Return 64 bits for each number (splitmix64)."""
    with np.errstate(over="ignore"):
        values = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        values += np.uint64((seed * 1_000_003 + salt + 1) * 0xD1B54A32D192ED03 % 2**64)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _share(seed: int, numbers: Numbers, salt: int) -> Numbers:
    """Return a number from 0 to 1 for each number."""
    return (_hash(seed, numbers, salt) >> np.uint64(11)) / 2**53


def _texts(characters: Numbers) -> pa.Array[Any]:
    """Return a text for each row of an array of characters."""
    count, length = characters.shape
    offsets = np.arange(0, (count + 1) * length, length, dtype=np.int32)
    data = np.ascontiguousarray(characters)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(data))


def _ids(partition_keys: Numbers, seed: int, keys: Numbers) -> pa.Array[Any]:
    """Return ids: the partition key in 11 digits of base 62, and 128 bits in 22 digits."""
    halves = [_hash(seed, keys, 100 + half) for half in range(2)]
    digits = [_digits(partition_keys, _KEY_DIGITS), halves[0] % np.uint64(7), *(_digits(each, 10) for each in halves)]
    characters = [_BASE62[each.astype(np.int64)] for each in digits]
    prefix = np.tile(np.frombuffer(b"inv_1", np.uint8), (len(keys), 1))
    return _texts(np.column_stack([prefix, *characters, characters[1]]))


def _digits(values: Numbers, count: int) -> Numbers:
    """Return the last digits of numbers in base 62, a row for each number."""
    powers = np.array([62**place for place in range(count - 1, -1, -1)], np.uint64)
    return values[:, None] // powers % np.uint64(62)


def _generated_keys(seed: int, numbers: Numbers, created: Numbers) -> pa.Array[Any]:
    """Return the idempotency keys that a server generates, ULIDs of the times (ms)."""
    times = [_BASE32[created // 32**place % 32] for place in range(9, -1, -1)]
    chance = [_hash(seed, numbers, 120 + part) for part in range(2)]
    random = [_BASE32[(chance[n // 8] >> np.uint64(n % 8 * 5)).astype(np.int64) & 31] for n in range(16)]
    return _texts(np.column_stack([*times, *random]))


def _numbered(parts: Sequence[str], choice: Numbers, texts: Any) -> Any:
    """Return for each text the choice of ``parts``, of which each is a pair, around it."""
    before, after = (pa.array([each[side] for each in parts]).take(pa.array(choice)) for side in (0, 1))
    return pc.binary_join_element_wise(before, texts, after, "")


@dataclass(frozen=True)
class _Shape:
    """The journal of a kind of run; ``at`` is when an entry was appended, as a share of the duration."""

    kinds: tuple[str, ...]
    names: tuple[str | None, ...]
    texts: tuple[str, ...]
    lengths: tuple[int, ...]

    @property
    def commands(self) -> int:
        return sum(each.startswith("Command") for each in self.kinds)


def _shape(steps: Sequence[str], *, is_failed: bool) -> _Shape:
    entries: list[tuple[str, str | None, str, int]] = [("Command: Input", "", '{"Command":{"Input":{}}}', 180)]
    completion = 0
    for step in steps:
        kind, _, name = step.partition(" ")
        completion += 1 if kind in {"run", "sleep"} else 2 if kind == "call" else 0
        result = "Failure" if is_failed and step == steps[-1] else "Success"
        entries += _entries(kind, name, completion, result)
    result = "Failure" if is_failed else "Success"
    entries.append(("Command: Output", "", f'{{"Command":{{"Output":{{"result":"{result}"}}}}}}', 42))
    return _Shape(*zip(*entries, strict=True))


def _entries(kind: str, name: str, completion: int, result: str) -> list[tuple[str, str | None, str, int]]:
    def notified(of: str, number: int, result: str, length: int) -> tuple[str, None, str, int]:
        text = (
            f'{{"Notification":{{"ty":{{"Completion":"{of}"}},"id":{{"CompletionId":{number}}},"result":"{result}"}}}}'
        )
        return f"Notification: {of}", None, text, length

    if kind == "get":
        text = f'{{"Command":{{"GetEagerState":{{"key":"{name}","result":"{result}"}}}}}}'
        return [("Command: GetEagerState", "", text, 12)]
    if kind == "set":
        return [("Command: SetState", "", f'{{"Command":{{"SetState":{{"key":"{name}"}}}}}}', 24)]
    if kind == "run":
        text = f'{{"Command":{{"Run":{{"completion_id":{completion},"name":"{name}"}}}}}}'
        return [("Command: Run", name, text, 14), notified("Run", completion, result, 64)]
    if kind == "sleep":
        text = f'{{"Command":{{"Sleep":{{"wake_up_time":1790000000000,"completion_id":{completion},"name":null}}}}}}'
        return [("Command: Sleep", "", text, 10), notified("Sleep", completion, "Void", 6)]
    target = '{"Service":{"name":"Payments","handler":"charge","scope":null}}'
    text = (
        f'{{"Command":{{"Call":{{"invocation_id":"@","invocation_target":{target},'
        f'"invocation_id_completion_id":{completion - 1},"result_completion_id":{completion}}}}}}}'
    )
    called = notified("CallInvocationId", completion - 1, "InvocationId", 43)
    return [("Command: Call", "", text, 90), called, notified("Call", completion, result, 30)]


SHAPES = tuple(
    shape
    for each in HANDLERS
    for shape in (
        _shape(each.steps, is_failed=False),
        _shape(each.steps if each.steps[-1] == "call" else each.steps[:1], is_failed=True),
    )
)
"""Of each handler, the journal of a run that succeeds and of one that fails."""
ALONE = len(SHAPES)
SHAPES += (_shape(HANDLERS[PLACE].steps[:1], is_failed=False),)
_SIZES = np.array([len(each.kinds) for each in SHAPES])
_FIRST = np.concatenate([[0], np.cumsum(_SIZES)[:-1]])
_COMMANDS = np.array([each.commands for each in SHAPES])
_SHARES_OF_TIME = np.concatenate([np.linspace(0, 1, size) for size in _SIZES])
_ENTRY_TYPES, _NAMES, _TEXTS, _LENGTHS = (
    pa.array([value for each in SHAPES for value in getattr(each, name)])
    for name in ("kinds", "names", "texts", "lengths")
)
_IS_CALL = np.array(['"Call":' in each for each in _TEXTS.to_pylist()])


@dataclass(frozen=True)
class Part:
    """The runs with these numbers, which one commit adds; times are milliseconds."""

    numbers: Numbers
    visit: _Visit
    period: _Period

    def share(self, salt: int) -> Numbers:
        return _share(self.period.seed, self.numbers, salt)

    def _handlers(self, numbers: Numbers) -> Numbers:
        return np.searchsorted(np.cumsum([each.share for each in HANDLERS])[:-1], _share(self.period.seed, numbers, 1))

    @cached_property
    def handlers(self) -> Numbers:
        return self._handlers(self.numbers)

    @cached_property
    def pairs(self) -> tuple[Numbers, Numbers]:
        """Return the places of calling orders, and of the payments that they call."""
        callers, called = (np.flatnonzero(self.handlers == each) for each in (PLACE, CHARGE))
        count = min(len(callers), len(called))
        return callers[:count], called[:count]

    @cached_property
    def is_again(self) -> Numbers:
        """Return whether a run has the id of the run two days before."""
        before = self.numbers - 2 * (self.period.runs // self.period.days)
        kinds = (self.handlers == CHECKOUT) & (self._handlers(before) == CHECKOUT) & (before >= 0)
        is_again = _share(self.period.seed, np.stack([self.numbers, before]), 2) < _AGAIN
        return kinds & is_again[0] & ~is_again[1]

    @cached_property
    def keys(self) -> Numbers:
        return np.where(self.is_again, self.numbers - 2 * (self.period.runs // self.period.days), self.numbers)

    @cached_property
    def ids(self) -> pa.Array[Any]:
        return _ids(self.partition_keys, self.period.seed, self.keys)

    @cached_property
    def partition_keys(self) -> Numbers:
        return _hash(self.period.seed, self.keys, 3)

    @cached_property
    def times(self) -> tuple[Numbers, Numbers]:
        """Return when the runs were created and ended; a payment runs while its order waits."""
        first, last = (int(each.timestamp() * 1_000) for each in (self.visit.since, self.visit.at))
        place = (self.numbers - self.visit.start + self.share(4)) / (self.visit.stop - self.visit.start)
        ended = first + (place * (last - first - 200)).astype(np.int64)
        medians = np.array([each.median for each in HANDLERS])[self.handlers]
        normal = np.sqrt(-2 * np.log(1 - self.share(5))) * np.cos(2 * np.pi * self.share(6))
        slower = np.where(self.is_new & (self.handlers == PLACE), 1.5, 1.0)
        created = ended - np.maximum(medians * slower * np.exp(0.5 * normal), 2).astype(np.int64)
        callers, called = self.pairs
        created[callers] = created[called] - (ended[callers] - created[callers]) // 2
        ended[callers] = ended[called] + 1 + (self.share(7)[callers] * 100).astype(np.int64)
        return created, ended

    @cached_property
    def is_new(self) -> Numbers:
        is_new = self.visit.since >= self.period.change
        return np.full(len(self.numbers), is_new)

    @cached_property
    def is_failed(self) -> Numbers:
        rates = np.array([each.failures for each in HANDLERS])[self.handlers]
        rates = np.where(self.is_new & (self.handlers == CHARGE), rates * 2, rates)
        is_failed = self.share(8) < rates
        callers, called = self.pairs
        is_failed[callers] = is_failed[called]
        return is_failed

    @cached_property
    def shapes(self) -> Numbers:
        shapes = 2 * self.handlers + self.is_failed
        calls = np.zeros(len(shapes), bool)
        calls[self.pairs[0]] = True
        return np.where((self.handlers == PLACE) & ~calls, ALONE, shapes)

    def tables(self, services: Sequence[str]) -> dict[str, pa.Table]:
        """Return the rows of these services by table; () is all of them."""
        runs = self._runs()
        if services:
            runs = runs.filter(pc.is_in(runs["target_service_name"], pa.array(services)))
        return {
            "invocations": runs,
            "journal": with_run(with_entry_columns(self._journal()), runs),
            "events": with_run(with_event_columns(self._events()), runs),
            "agent_steps": with_run(self._agent_steps(), runs, ("service", "handler")),
        }

    def _runs(self) -> pa.Table:
        created, ended = self.times
        of = {name: pa.array([getattr(each, name) for each in HANDLERS]) for name in ("service", "name", "kind")}
        of = {name: texts.take(pa.array(self.handlers)) for name, texts in of.items()}
        keys = self._service_keys()
        target = pc.if_else(pc.is_valid(keys), pc.binary_join_element_wise(of["service"], keys, "/"), of["service"])
        columns = {
            "partition_key": pa.array(self.partition_keys),
            "id": self.ids,
            "target_service_key": keys,
            "target_service_name": of["service"],
            "target_handler_name": of["name"],
            "target_service_ty": of["kind"],
            "target": pc.binary_join_element_wise(target, of["name"], "/"),
            "status": ["completed"] * len(self.numbers),
            "completion_result": pa.array(["success", "failure"]).take(pa.array(self.is_failed.astype(int))),
            "completion_failure": self._failures(),
            "pinned_deployment_id": pa.array([OLD, NEW]).take(pa.array(self.is_new.astype(int))),
            "pinned_service_protocol_version": [6] * len(self.numbers),
            "journal_size": _SIZES[self.shapes],
            "journal_commands_size": _COMMANDS[self.shapes],
            "created_using_restate_version": ["1.7.12"] * len(self.numbers),
            **dict.fromkeys(("created_at", "running_at"), _instants(created)),
            **dict.fromkeys(("modified_at", "completed_at"), _instants(ended)),
            **dict.fromkeys(("completion_retention", "journal_retention"), _durations(len(self.numbers))),
            **self._callers(created),
        }
        rows = _copied("invocations", columns)
        rows = rows.append_column("day", pc.cast(rows["completed_at"], pa.date32()))
        return rows.append_column("repeated", pa.array(self.is_again))

    def _service_keys(self) -> Any:
        numbers = pc.cast(pa.array(np.where(self.handlers == CART, self.numbers % 50_000, self.keys)), pa.string())
        keys = _numbered([("customer-", ""), ("order ", "")], (self.handlers == CHECKOUT).astype(int), numbers)
        is_keyed = pa.array((self.handlers == CART) | (self.handlers == CHECKOUT))
        return pc.if_else(is_keyed, keys, pa.scalar(None, pa.string()))

    def _failures(self) -> Any:
        kinds = [(f"[{code}] {before}", after) for code, before, after in (*FAILURES, NEW_FAILURE)]
        choice = np.where(self.is_new & (self.handlers == CHARGE) & (self.share(9) < 0.5), 2, self.handlers % 2)
        texts = _numbered(kinds, choice, pc.cast(pa.array(self.numbers), pa.string()))
        return pc.if_else(pa.array(self.is_failed), texts, pa.scalar(None, pa.string()))

    def _callers(self, created: Numbers) -> dict[str, Any]:
        callers, called = self.pairs
        caller = np.full(len(self.numbers), -1)
        caller[called] = callers
        places = pa.array(caller, mask=caller < 0)
        is_called, none = pa.array(caller >= 0), pa.scalar(None, pa.string())
        keys = _generated_keys(self.period.seed, self.numbers, created)
        has_key = pa.array((caller < 0) & (self.handlers != CHECKOUT))
        return {
            "invoked_by": pc.if_else(is_called, "service", "ingress"),
            "invoked_by_id": self.ids.take(places),
            "invoked_by_service_name": pc.if_else(is_called, "Orders", none),
            "invoked_by_target": pc.if_else(is_called, "Orders/place", none),
            "idempotency_key": pc.if_else(has_key, keys, none),
        }

    def _journal(self) -> pa.Table:
        sizes = _SIZES[self.shapes]
        of_run = np.repeat(np.arange(len(self.numbers)), sizes)
        index = np.arange(len(of_run)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        entry = _FIRST[self.shapes][of_run] + index
        created, ended = self.times
        at = created[of_run] + ((ended - created)[of_run] * _SHARES_OF_TIME[entry]).astype(np.int64)
        texts = _TEXTS.take(pa.array(entry))
        is_call = _IS_CALL[entry]
        callee = np.full(len(self.numbers), -1)
        callee[self.pairs[0]] = self.pairs[1]
        calls = pc.split_pattern(texts.filter(pa.array(is_call)), "@")
        ids = self.ids.take(pa.array(callee[of_run[is_call]]))
        calls = pc.binary_join_element_wise(pc.list_element(calls, 0), ids, pc.list_element(calls, 1), "")
        columns = {
            "partition_key": pa.array(self.partition_keys[of_run]),
            "id": self.ids.take(pa.array(of_run)),
            "index": index,
            "entry_type": _ENTRY_TYPES.take(pa.array(entry)),
            "appended_at": _instants(at),
            "name": _NAMES.take(pa.array(entry)),
            "raw_length": _LENGTHS.take(pa.array(entry)),
            "version": [2] * len(entry),
            "entry_lite_json": pc.replace_with_mask(texts, pa.array(is_call), calls),
        }
        return _copied("journal", columns)

    def _events(self) -> pa.Table:
        """Return one to three failed attempts of some runs whose second entry is a step."""
        has_step = np.array([each.steps[0].startswith("run") for each in HANDLERS])[self.handlers]
        retried = np.flatnonzero(has_step & (self.share(10) < _RETRIED))
        attempts = 1 + (self.share(11)[retried] * 3).astype(int)
        of_run = np.repeat(retried, attempts)
        attempt = np.arange(len(of_run)) - np.repeat(np.cumsum(attempts) - attempts, attempts)
        created, ended = self.times
        at = created[of_run] + ((ended - created)[of_run] * (attempt + 1) / 5).astype(np.int64)
        step = [each.steps[0].removeprefix("run ") for each in HANDLERS]
        texts = [
            json.dumps(
                {
                    "ty": "TransientError",
                    "error_code": 500,
                    "error_message": f"ConnectionError('host {n % 7} did not respond to request {n * 31 + turn}')",
                    "error_stacktrace": _STACK,
                    "restate_doc_error_code": "RT0007",
                    "related_command_index": 1,
                    "related_command_name": step[handler],
                    "related_command_type": "run",
                }
            )
            for n, turn, handler in zip(
                self.numbers[of_run].tolist(), attempt.tolist(), self.handlers[of_run].tolist(), strict=True
            )
        ]
        columns = {
            "partition_key": pa.array(self.partition_keys[of_run]),
            "id": self.ids.take(pa.array(of_run)),
            "after_journal_entry_index": [1] * len(of_run),
            "appended_at": _instants(at),
            "event_type": ["TransientError"] * len(of_run),
            "event_json": texts,
        }
        return _copied("events", columns)

    def _agent_steps(self) -> pa.Table:
        """Return the responses of models, which are the results of the first and the third step."""
        runs = np.flatnonzero((self.handlers == ASSISTANT) & ~self.is_failed)
        of_run, index = np.repeat(runs, 2), np.tile([2, 6], len(runs))
        created, ended = self.times
        at = created[of_run] + ((ended - created)[of_run] * index / 7).astype(np.int64)
        tokens = {
            name: (least * (1 + 3 * self.share(salt)[of_run])).astype(np.int64)
            for name, least, salt in (("input_tokens", 400, 12), ("cached_tokens", 100, 13), ("output_tokens", 60, 14))
        }
        is_large = pa.array(self.share(15)[of_run] < 0.3)
        own, first = TABLES["agent_steps"].own, pa.array(index == 2)
        return pa.table(
            {
                "id": self.ids.take(pa.array(of_run)),
                "index": pa.array(index, own["index"]),
                "framework": pa.array(["OpenAI Agents"] * len(of_run)),
                "model": pc.if_else(is_large, "gpt-5", "gpt-5-mini"),
                "finish_reason": pc.if_else(first, "tool_calls", "stop"),
                "tool_names": pa.array([["get_weather"], []] * len(runs), own["tool_names"]),
                **{name: pa.array(values) for name, values in tokens.items()},
                "reasoning_tokens": pa.array(np.zeros(len(of_run), np.int64)),
                "appended_at": pc.cast(_instants(at), own["appended_at"]),
            }
        )


def _instants(milliseconds: Numbers) -> pa.Array[Any]:
    return pa.array(milliseconds, pa.timestamp("ms", "+00:00"))


def _durations(count: int) -> pa.Array[Any]:
    return pa.array(np.full(count, _DAY_MS), pa.duration("ms"))
