"""The verbs of the fault matrix: each does one thing through a faulty line and tells in a word what came of it.

A verb of reading compares what it got with what the same call gives on a good line, to the last cell, and leaves no
half file. A verb of changing compares what it says with what the server shows afterwards, on a good line.
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
class FaultWorld:
    """A real server with something of everything on it; ``lab`` is a good line to it."""

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


def find_depot_call(lab: Lab, handler: str, key: str) -> str | None:
    """Send, once the ingress has heard of the services, and return the id; None before."""
    with contextlib.suppress(rl.errors.RestateLabError):
        return str(lab.ingress.send("Depot", handler, key=key).invocation_id)
    return None


@dataclass
class Call:
    """One call of a verb through a line with a fault, within so many seconds, with a folder of its own."""

    ground: FaultWorld
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
        return plain_rows(rl.journal(lab, call.ground.holder))


def waits(call: Call) -> Any:
    with call.lab() as lab:
        found = rl.waits(lab)
    return None if found.excluded else (plain_rows(found.edges), plain_rows(found.blockers))


def why(call: Call) -> Any:
    with call.lab() as lab:
        found = rl.why(lab, call.ground.waiter)
    return None if found.excluded else (found.status, plain_rows(found.chain))


def doctor(call: Call) -> Any:
    """Return what was found; None for what says itself that it is not complete, and finds nothing that is not there."""
    with call.lab() as lab:
        found = rl.doctor(lab, now=call.ground.at + timedelta(hours=3), timeout=call.seconds)
    findings = found.findings
    # The cells that act restart invocations, which is seen by one check, rightly.
    told = [each for each in findings.to_dict("records") if each["check"] != "restarts"]
    seen = {(each["check"], each["severity"], *sorted(each["ids"])) for each in told}
    if found.verdict == "incomplete":
        assert found.not_checked["applies"].any()
        good = call.ground.good.get("doctor")
        assert good is None or {each[0] for each in seen} <= {each[0] for each in good[0]}
        return None
    return seen, found.verdict


def plan(call: Call) -> Any:
    with call.lab() as lab:
        made = rl.plan(lab, "cancel", list(call.ground.later[:5]))
        return plain_rows(made.frame), made.targets, plain_rows(made.impact), made.limitations


def freeze(call: Call) -> Any:
    """Return what was frozen, as it can be opened and asked."""
    with call.lab() as lab, whole_or_nothing(call.folder, "x.evidence"):
        path = rl.freeze(lab, call.folder / "x.evidence", service="Depot", timeout=call.seconds, progress=False)
    return open_frozen(Path(path))


def open_frozen(path: Path) -> Any:
    """Return what evidence holds: every table's number of rows, and the invocations."""
    with rl.open_evidence(path) as evidence:
        held = {each.table: each.rows for each in evidence.manifest.files}
        found = evidence.sql("SELECT id, status, target, created_at FROM sys_invocation ORDER BY id")
    return held, plain_rows(found), [(each.table, each.column) for each in evidence.manifest.excluded]


def execute(call: Call) -> Any:
    """Restart ended invocations, which twice would show for ever; return the words of the outcome, all alike."""
    ids = [next(call.ground.ended) for _ in range(AT_ONCE)]
    with call.lab() as lab, disarmed(call.fault):
        lab.transport.timeout = PASSES
        made = rl.plan(lab, "restart_as_new", ids)
        lab.transport.timeout = call.seconds
        arm(call.fault)
        outcome = made.execute(reason="a test", progress=NoProgress())
    time.sleep(0.1)  # what was taken by the server shows within some milliseconds
    happened = call.ground.lab.sql(RESTARTS, ids=ids, progress=False)["restarted_from"].tolist()
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
    """Set a key of an object's state; what is said must be what is there."""
    key = f"key-{next(call.ground.numbers)}"
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
        there = dict(rl.state(call.ground.lab, "Drawer", key))
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


def outcome(ground: FaultWorld, verb: str, fault: Fault | None, seconds: float) -> str:
    """Return in a word what comes of a verb on a line with a fault: "right", a change's own words, or an error."""
    folder = ground.folder / f"{verb}-{next(ground.numbers)}"
    folder.mkdir()
    with tcp_relay(ground.lab.settings.admin_url, fault=fault) as line:
        return describe_response(Call(ground, line.url, seconds, folder, fault), verb)


def describe_response(call: Call, verb: str) -> str:
    """Return in a word what comes of a verb."""
    try:
        got = VERBS[verb](call)
    except rl.errors.RestateLabError as error:
        return type(error).__name__ if _is_clear(str(error)) else f"an unclear error: {error!r}"
    if verb in CHANGING:
        return str(got)
    if got is None:  # it says itself that it could not look at everything
        return "incomplete"
    return "right" if got == call.ground.good[verb] else f"something else than on a good line: {got}"


def _is_clear(message: str) -> bool:
    """Tell whether a message is one, and says more than a name."""
    return len(message) > 20 and "\n" not in message.strip()


def learn(ground: FaultWorld) -> None:
    """Find out what every verb of reading gives on a good line."""
    for verb in VERBS:
        if verb not in CHANGING:
            folder = ground.folder / f"good-{verb}"
            folder.mkdir()
            ground.good[verb] = VERBS[verb](Call(ground, ground.lab.settings.admin_url, 60, folder))


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame's rows without what goes on with time."""
    kept = frame[[name for name in frame.columns if not pd.api.types.is_timedelta64_dtype(frame[name])]]
    plain = pa.Table.from_pandas(kept.astype(object).where(kept.notna(), None).map(_text), preserve_index=False)
    return plain.to_pylist()


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


@contextlib.contextmanager
def whole_or_nothing(folder: Path, name: str) -> Iterator[None]:
    """Check that what is written is there when the block ends well, and nothing is when it does not."""
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
