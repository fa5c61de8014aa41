"""The verbs of the fault matrix: each does one thing over a faulty connection and returns a short outcome.

A reading verb compares its result with the result of the same call over a good connection, to the last cell, and leaves
no incomplete file. A changing verb compares its report with the data that the server shows afterwards, over a good
connection.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import restate_lab as rl
from restate_lab.client.lab import Lab
from restate_lab.progress import NoProgress
from support.bulk import Bulk
from support.faults import PASSES
from support.tcp_relay import Fault, tcp_relay

SQL = """SELECT id, target, target_service_key, status, created_at, journal_size FROM sys_invocation_status
WHERE target_service_name = 'Bulk' AND status = 'scheduled' ORDER BY id"""
RESTARTS = "SELECT restarted_from FROM sys_invocation_status WHERE restarted_from IN :ids"
AT_ONCE = 3
"""Invocations that one cell acts on."""


@dataclass
class FaultBench:
    bulk: Bulk
    folder: Path
    holder: str
    waiter: str
    later: tuple[str, ...]
    ended: Iterator[str]
    at: datetime
    good: dict[str, Any] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def lab(self) -> Lab:
        return self.bulk.lab


@dataclass
class Call:
    """One call of a verb over a connection with a fault, within this many seconds, with its own folder."""

    bench: FaultBench
    url: str
    seconds: float
    folder: Path
    fault: Fault | None = None

    def lab(self, **options: Any) -> Lab:
        return rl.connect(self.url, timeout=self.seconds, audit=self.folder / "audit", check=False, **options)


def connect(call: Call) -> Any:
    with rl.connect(call.url, timeout=call.seconds, audit=call.folder / "audit") as lab:
        return lab.version


def sql(call: Call) -> Any:
    with call.lab() as lab:
        return plain_rows(lab.sql(SQL, progress=False))


def arrow(call: Call) -> Any:
    with call.lab() as lab:
        return lab.arrow(SQL, progress=False).to_pylist()


def stream(call: Call) -> Any:
    with call.lab() as lab, lab.stream(SQL) as reader:
        return [row for batch in reader for row in batch.to_pylist()]


def to_parquet(call: Call) -> Any:
    with call.lab() as lab, whole_or_nothing(call.folder, "rows.parquet"):
        return pq.read_table(lab.to_parquet(SQL, call.folder / "rows.parquet", progress=False)).to_pylist()


def ask(call: Call) -> Any:
    with call.lab() as lab:
        return plain_rows(rl.ask(lab, "blocked_keys"))


def journal(call: Call) -> Any:
    with call.lab() as lab:
        return plain_rows(rl.journal(lab, call.bench.holder))


def waits(call: Call) -> Any:
    with call.lab() as lab:
        found = rl.waits(lab)
    return None if found.reasons else (plain_rows(found.edges), plain_rows(found.blockers))


def why(call: Call) -> Any:
    with call.lab() as lab:
        found = rl.why(lab, call.bench.waiter)
    return None if found.reasons else (found.status, plain_rows(found.chain))


def doctor(call: Call) -> Any:
    """Return the findings; None if they are marked as incomplete and contain only real findings."""
    with call.lab() as lab:
        found = rl.doctor(lab, now=call.bench.at + timedelta(hours=3), timeout=call.seconds)
    findings = found.findings
    # The cells that act restart invocations, and one check correctly reports that.
    told = [each for each in findings.to_dict("records") if each["check"] != "restarts"]
    seen = {(each["check"], each["severity"], *sorted(each["ids"])) for each in told}
    if found.verdict == "incomplete":
        assert found.not_read["applies"].any()
        good = call.bench.good.get("doctor")
        assert good is None or {each[0] for each in seen} <= {each[0] for each in good[0]}
        return None
    return seen, found.verdict


def plan(call: Call) -> Any:
    with call.lab() as lab:
        made = rl.plan(lab, "cancel", list(call.bench.later[:5]))
        return plain_rows(made.frame), made.targets, plain_rows(made.impact), made.reasons


def freeze(call: Call) -> Any:
    """Return the frozen evidence, opened and queried."""
    with call.lab() as lab, whole_or_nothing(call.folder, "x.evidence"):
        path = rl.freeze(lab, call.folder / "x.evidence", service="Depot", timeout=call.seconds, progress=False)
    return open_frozen(Path(path))


def open_frozen(path: Path) -> Any:
    """Return the contents of evidence: the number of rows of every table, and the invocations."""
    with rl.open_evidence(path) as evidence:
        held = {each.table: each.rows for each in evidence.manifest.files}
        found = evidence.sql("SELECT id, status, target, created_at FROM sys_invocation ORDER BY id")
    return held, plain_rows(found), [(each.table, each.column) for each in evidence.manifest.excluded]


def execute(call: Call) -> Any:
    """Restart ended invocations, where a second restart would stay visible; return the outcome, the same for all."""
    ids = [next(call.bench.ended) for _ in range(AT_ONCE)]
    with call.lab() as lab, disarmed(call.fault):
        lab.transport.timeout = PASSES
        made = rl.plan(lab, "restart_as_new", ids)
        lab.transport.timeout = call.seconds
        arm(call.fault)
        outcome = made.execute(reason="a test", progress=NoProgress())
    time.sleep(0.1)  # a request that the server accepted is visible within milliseconds
    happened = call.bench.lab.sql(RESTARTS, ids=ids, progress=False)["restarted_from"].tolist()
    assert len(happened) == len(set(happened)), f"acted twice: {happened}"
    for row in outcome.to_dict("records"):
        if row["outcome"] in {"done", "accepted"}:
            assert row["id"] in happened, row
        elif row["outcome"] != "unknown":
            assert row["id"] not in happened, row
        assert row["outcome"] == "done" or row["error"], row
    written = rl.audit_log(call.folder / "audit", change=outcome.attrs["change"])
    assert written["outcome"].tolist() == outcome["outcome"].tolist()
    return " and ".join(sorted(set(outcome["outcome"])))


def set_state(call: Call) -> Any:
    """Set a key of an object's state; the reported result must match the state on the server."""
    key = f"key-{next(call.bench.numbers)}"
    happened: bool | None = None
    try:
        with call.lab() as lab:
            state = rl.set_state(lab, "Drawer", key, {"n": 1}, reason="a test", timeout=call.seconds + 1)
        assert dict(state) == {"n": 1}
        happened = True
    except rl.errors.OutcomeUnknown:
        raise
    except rl.errors.RestateLabError:
        happened = False
        raise
    finally:
        time.sleep(0.1)
        there = dict(rl.state(call.bench.lab, "Drawer", key))
        assert there in ({}, {"n": 1})
        assert happened is None or happened is (there == {"n": 1}), f"said {happened}, and there is {there}"
    return "done"


VERBS: Mapping[str, Callable[[Call], Any]] = {
    verb.__name__: verb
    for verb in (
        connect, sql, arrow, stream, to_parquet, ask, journal, waits, why, doctor, plan, freeze, execute, set_state,
    )
}  # fmt: skip
CHANGING = ("execute", "set_state")


def outcome(bench: FaultBench, verb: str, fault: Fault | None, seconds: float) -> str:
    """Return the outcome of a verb over a faulty connection: "right", an outcome of a change, or an error."""
    folder = bench.folder / f"{verb}-{next(bench.numbers)}"
    folder.mkdir()
    with tcp_relay(bench.lab.settings.admin_url, fault=fault) as line:
        return describe_response(Call(bench, line.url, seconds, folder, fault), verb)


def describe_response(call: Call, verb: str) -> str:
    try:
        got = VERBS[verb](call)
    except rl.errors.RestateLabError as error:
        return type(error).__name__ if _is_clear(str(error)) else f"an unclear error: {error!r}"
    if verb in CHANGING:
        return str(got)
    if got is None:  # it reports itself that it could not read everything
        return "incomplete"
    return "right" if got == call.bench.good[verb] else f"something else than on a good line: {got}"


def _is_clear(message: str) -> bool:
    return len(message) > 20 and "\n" not in message.strip()


def learn(bench: FaultBench) -> None:
    for verb in VERBS:
        if verb not in CHANGING:
            folder = bench.folder / f"good-{verb}"
            folder.mkdir()
            bench.good[verb] = VERBS[verb](Call(bench, bench.lab.settings.admin_url, 60, folder))


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame's rows without the durations, which change with time."""
    kept = frame[[name for name in frame.columns if not pd.api.types.is_timedelta64_dtype(frame[name])]]
    plain = pa.Table.from_pandas(kept.astype(object).where(kept.notna(), None).map(_text), preserve_index=False)
    return plain.to_pylist()


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


@contextlib.contextmanager
def whole_or_nothing(folder: Path, name: str) -> Iterator[None]:
    """Check that the written file is there if the block ends well, and is not there otherwise."""
    try:
        yield
    except BaseException:
        left = [each.name for each in folder.iterdir() if each.name != "audit"]
        assert left == [], f"left behind: {left}"
        raise
    assert [each.name for each in folder.iterdir() if each.name != "audit"] == [name]


@contextlib.contextmanager
def disarmed(fault: Fault | None) -> Iterator[None]:
    if fault is not None:
        fault.armed = False
    yield


def arm(fault: Fault | None) -> None:
    if fault is not None:
        fault.armed = True
