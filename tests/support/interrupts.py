"""Random interrupts: the verbs, their world, and the rules for a session after Ctrl-C.

``python -m support.interrupts`` is one session. It reads an order in JSON from standard input, uses every verb once,
interrupts itself with SIGINT, uses the session afterwards, and writes a Report in JSON. ``InterruptField`` starts such
sessions, and compares the audit log with the server at the end.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import restate_lab as rl

TESTS = Path(__file__).parents[1]
RESTARTS = "SELECT restarted_from FROM sys_invocation_status WHERE restarted_from IN :ids"
STATES = "SELECT service_key FROM state WHERE service_name = 'Drawer' AND key = 'n'"
SESSION_LIMIT = 300.0  # seconds, for a session of one interrupt; only detects a hang
WHY = "a test of interrupts"
NOT_OURS = (".ttf", ".so", "tqdm_monitor")
"""Resources that libraries keep open for the whole process after their first use: tqdm has one thread for its bars."""
SETTLED = 5.0  # seconds within which threads and sockets of an interrupted call have ended


@dataclass(frozen=True)
class InterruptBench:
    """The world of a session: a real server, ids with known roles, evidence, and the folder of the audit log."""

    url: str
    folder: str
    waiting: tuple[str, ...]
    holder: str
    waiter: str

    @property
    def audit(self) -> str:
        return str(Path(self.folder) / "audit")

    @property
    def evidence(self) -> str:
        return str(Path(self.folder) / "old.evidence")


@dataclass(frozen=True)
class SessionOrder:
    """The work of one session: this many interrupts in these verbs; only this session restarts the ids in ``ended``."""

    bench: InterruptBench
    verbs: tuple[str, ...]
    interrupts: int
    seed: int
    ended: tuple[str, ...]


@dataclass
class SessionReport:
    """The results of a session: ``failures`` are empty if all is well.

    ``seconds`` and ``right`` are the duration and the result of each verb without an interrupt.
    """

    raised: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    right: dict[str, Any] = field(default_factory=dict)


class Session:
    """A session of a user: the package, one connection, and names that no other call uses."""

    def __init__(self, order: SessionOrder) -> None:
        self.bench = order.bench
        self.folder = Path(order.bench.folder) / f"session-{uuid.uuid4().hex}"
        self.folder.mkdir()
        self._numbers = itertools.count()
        self._ended = iter(order.ended)
        self._lab: Any = None

    @property
    def lab(self) -> Any:
        if self._lab is None:
            self._lab = rl.connect(self.bench.url, audit=self.bench.audit)
        return self._lab

    def path(self, suffix: str) -> Path:
        return self.folder / f"{next(self._numbers)}.{suffix}"

    def key(self) -> str:
        return f"{self.folder.name}-{next(self._numbers)}"

    def ended(self) -> list[str]:
        return [next(self._ended), next(self._ended)]

    def close(self) -> None:
        lab, self._lab = self._lab, None
        if lab is not None:
            lab.close()


# --- the verbs

LATER = """SELECT id, target, status, created_at FROM sys_invocation_status
WHERE target_service_name = 'Bulk' AND status = 'scheduled' ORDER BY id"""
ENDS = """SELECT target_service_name, target_handler_name, 12.5 AS ms FROM sys_invocation_status
WHERE status = 'scheduled'"""


def _stream(s: Session) -> Any:
    with s.lab.stream(LATER) as reader:
        return sum(batch.num_rows for batch in reader)


def _to_parquet(s: Session) -> Any:
    path = s.path("parquet")
    s.lab.to_parquet(LATER, path, progress=False)
    return path.read_bytes()[-4:] == b"PAR1"


def _connect(s: Session) -> Any:
    with rl.connect(s.bench.url, audit=s.bench.audit) as lab:
        return lab.version


def _waits(s: Session) -> Any:
    found = rl.waits(s.lab)
    return len(found.edges), repr(found)[:20], bool(found._repr_html_())


def _why(s: Session) -> Any:
    found = rl.why(s.lab, s.bench.waiter)
    return found.status, bool(found._repr_html_())


def _doctor(s: Session) -> Any:
    found = rl.doctor(s.lab, timeout="60s")
    return sorted(found.findings), bool(str(found)), bool(found._repr_html_())


def _plan(s: Session) -> Any:
    made = rl.plan(s.lab, "cancel", list(s.bench.waiting))
    return len(made.targets), bool(made._repr_html_())


def _execute(s: Session) -> Any:
    made = rl.plan(s.lab, "restart_as_new", s.ended())
    return made.execute(reason=WHY)["outcome"].tolist()


def _state(s: Session) -> Any:
    state = rl.state(s.lab, "Drawer", "first")
    return dict(state), len(state.frame())


def _freeze(s: Session) -> Any:
    with rl.open_evidence(rl.freeze(s.lab, s.path("evidence"), service="Depot", progress=False)) as evidence:
        return len(evidence.sql("SELECT id FROM sys_invocation"))


def _open_evidence(s: Session) -> Any:
    with rl.open_evidence(s.bench.evidence) as evidence:
        return _frame(evidence.sql("SELECT id, status, target FROM sys_invocation ORDER BY id"))


def _compare(s: Session) -> Any:
    with rl.open_evidence(s.bench.evidence) as evidence:
        return bool(rl.compare(evidence, evidence)._repr_html_())


def _save(s: Session) -> Any:
    names = [rl.save(rl.ask(s.lab, "overview"), s.path(suffix)).suffix for suffix in ("csv", "xlsx", "parquet")]
    return sorted(names)


def _report(s: Session, parts: Sequence[Callable[[Session], Any]]) -> Any:
    report = rl.Report("INC-1", source=s.lab)
    for part in parts:
        report.add(part(s))
    return _is_page(report.write(s.path("html")))


def _panel(s: Session) -> Any:
    with contextlib.closing(rl.Panel(s.lab, refresh=None)) as panel:
        return len(panel.frame) > 0


def _plot(s: Session, read: Callable[[Session], Any]) -> Any:
    from matplotlib import pyplot as plt

    ax = rl.plot(read(s))
    ax.figure.canvas.draw()
    title = ax.get_title(loc="left")[:8]
    plt.close("all")
    return title


def _ask(question: str) -> Callable[[Session], Any]:
    return lambda s: rl.ask(s.lab, question)


PLOTTED: Mapping[str, Callable[[Session], Any]] = {
    "status": _ask("overview"),
    "throughput": _ask("throughput"),
    "latency": _ask("latency"),
    "latency_distribution": lambda s: s.lab.sql(ENDS, progress=False),
    "retries": _ask("retry_storm"),
    "backlog": _ask("backlog_by_key"),
    "state_sizes": _ask("state_sizes"),
    "waits": lambda s: rl.waits(s.lab),
}
VERBS: Mapping[str, Callable[[Session], Any]] = {
    "connect": _connect,
    "sql": lambda s: _frame(s.lab.sql(LATER, progress=False)),
    "arrow": lambda s: str(s.lab.arrow(LATER, progress=False).to_pylist()),
    "stream": _stream,
    "to_parquet": _to_parquet,
    "tables": lambda s: len(s.lab.tables()) > 0,
    "admin": lambda s: _frame(s.lab.admin.list_services().frame()[["name"]]),
    "ingress": lambda s: s.lab.ingress.call("Bulk", "answer", 7),
    "ask": lambda s: _frame(rl.ask(s.lab, "blocked_keys")),
    "journal": lambda s: _frame(rl.journal(s.lab, s.bench.waiting[0])[["index", "entry_type", "name", "status"]]),
    "journal_diff": lambda s: _frame(
        rl.journal_diff(s.lab, *s.bench.waiting[:2])[["entry_type", "name", "difference"]]
    ),
    "waits": _waits,
    "why": _why,
    "doctor": _doctor,
    "plan": _plan,
    "execute": _execute,
    "move_to": lambda s: _frame(
        rl.move_to(s.lab, list(s.bench.waiting), deployment="latest").frame[["id", "excluded"]]
    ),
    "state": _state,
    "set_state": lambda s: dict(rl.set_state(s.lab, "Drawer", s.key(), {"n": 1}, reason=WHY, timeout="10s")),
    "freeze": _freeze,
    "open_evidence": _open_evidence,
    "compare": _compare,
    "wait_for": lambda s: rl.wait_for(s.lab, s.bench.waiting[0], until="in-flight", progress=False)["id"].tolist(),
    "save": _save,
    "report": partial(_report, parts=(lambda s: rl.doctor(s.lab), _ask("overview"))),
    "report_with_plot": partial(_report, parts=(lambda s: rl.plot(rl.ask(s.lab, "overview")), lambda _: "*text*")),
    "incident_report": lambda s: _is_page(rl.incident_report(s.lab, s.path("html"))),
    "audit_log": lambda s: "outcome" in rl.audit_log(s.bench.audit),
    "panel": _panel,
    **{f"plot_{name}": partial(_plot, read=read) for name, read in PLOTTED.items()},
}
"""Each returns values that do not change between two calls."""


def _frame(frame: Any) -> Any:
    return [list(frame.columns), frame.astype(str).values.tolist()]


def _is_page(path: Path) -> bool:
    return path.read_text("utf-8").rstrip().endswith("</html>")


# --- one session


def run(order: SessionOrder) -> SessionReport:
    report, chance = SessionReport(), random.Random(order.seed)  # noqa: S311 - times, no secrets
    session = Session(order)
    _learn(session, order, report)
    session.close()
    before = _open_resources()
    for number in range(order.interrupts):
        verb = chance.choice(order.verbs)
        limit = report.seconds[verb]
        if chance.random() < 0.7:
            _ = session.lab
        else:  # the connection is made within the interrupted call
            limit += report.seconds.get("connect", 0)
        _interrupt(session, verb, chance.random() * limit, report)
        _use(session, verb, report)
        if number % 25 == 24 or number == order.interrupts - 1:
            session.close()
            _check_nothing_is_left(before, verb, report)
    _check_folder(session, report)
    return report


def _learn(session: Session, order: SessionOrder, report: SessionReport) -> None:
    """Use each verb twice: the first use also loads libraries."""
    for verb in (*order.verbs, *order.verbs):
        started = time.perf_counter()
        report.right[verb] = _to_plain(VERBS[verb](session))
        report.seconds[verb] = time.perf_counter() - started


def _interrupt(session: Session, verb: str, delay: float, report: SessionReport) -> None:
    lock, fired, over = threading.Lock(), threading.Event(), threading.Event()

    def fire() -> None:
        with lock:
            if not over.is_set():
                fired.set()
                os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(delay, fire)
    timer.daemon = True
    raised = False
    try:
        try:
            timer.start()
            VERBS[verb](session)
        finally:
            with lock:  # from here on nothing new is sent, and earlier requests arrive
                over.set()
            time.sleep(0.02)
    except KeyboardInterrupt:
        raised = True
    except Exception:  # noqa: BLE001 - every error is reported
        report.failures.append(f"{verb} after {delay:.3f} s: raised another error\n{traceback.format_exc()}")
    timer.cancel()
    timer.join()
    report.raised += raised


def _use(session: Session, verb: str, report: SessionReport) -> None:
    try:
        got = _to_plain(VERBS[verb](session))
    except Exception:  # noqa: BLE001 - every error is reported
        report.failures.append(f"{verb} after an interrupt:\n{traceback.format_exc()}")
        return
    if got != report.right[verb]:
        report.failures.append(f"{verb} after an interrupt: {got!r:.300} and not {report.right[verb]!r:.300}")


def _to_plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _open_resources() -> set[str]:
    """Return the threads, sockets and files of this process that a library's first use does not explain."""
    import psutil

    process = psutil.Process()
    threads = {thread.name for thread in threading.enumerate()}
    sockets = {f"socket {c.laddr} {c.raddr} {c.status}" for c in process.net_connections()}
    return threads | sockets | {f"file {each.path}" for each in process.open_files()}


def _check_nothing_is_left(before: set[str], verb: str, report: SessionReport) -> None:
    ends = time.monotonic() + SETTLED
    while True:
        gc.collect()
        left = {each for each in _open_resources() - before if not each.endswith(NOT_OURS)}
        if not left:
            return
        if time.monotonic() > ends:
            report.failures.append(f"left after an interrupt of {verb}: {sorted(left)}")
            return
        time.sleep(0.05)


def _check_folder(session: Session, report: SessionReport) -> None:
    """Check that no incomplete file has the name of a complete one, and no hidden file is left."""
    for path in session.folder.iterdir():
        if path.suffix not in {".csv", ".xlsx", ".parquet", ".html", ".evidence"} or path.name.startswith("."):
            report.failures.append(f"left in the folder: {path.name}")
        elif path.suffix == ".html" and not _is_page(path):
            report.failures.append(f"half a page: {path.name}")
        elif path.suffix == ".parquet" and path.read_bytes()[-4:] != b"PAR1":
            report.failures.append(f"half a file: {path.name}")
        elif path.suffix == ".evidence":
            with rl.open_evidence(path):
                pass


# --- sessions on a real server


@dataclass
class InterruptField:
    """A server for sessions, and the ids that can still be restarted."""

    bench: InterruptBench
    ended: list[str]
    env: dict[str, str] = field(default_factory=dict)

    def take(self, count: int) -> tuple[str, ...]:
        taken, self.ended[:] = self.ended[:count], self.ended[count:]
        assert len(taken) == count, "not enough ended invocations"
        return tuple(taken)

    def interrupt(self, count: int, *, verbs: Sequence[str] = tuple(VERBS), seed: int = 0) -> SessionReport:
        times = 3 * count // len(verbs) + 5  # the most that a session chooses one verb
        ids = self.take(2 * (2 + 2 * times)) if "execute" in verbs else ()
        order = SessionOrder(self.bench, tuple(verbs), count, seed, ids)
        done = subprocess.run(
            [sys.executable, "-m", "support.interrupts"],
            input=json.dumps(asdict(order)),
            cwd=TESTS,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            timeout=SESSION_LIMIT + 10 * count,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return SessionReport(**json.loads(done.stdout))

    def audit_failures(self) -> tuple[int, list[str]]:
        """Return how many changes the audit log has, and where it is incomplete or differs from the server."""
        time.sleep(1)  # a request that the server accepted is visible within milliseconds
        log = rl.audit_log(self.bench.audit)
        ours = log[log["reason"].eq(WHY)]
        failures = [f"no result: {row}" for row in log[log["outcome"].isna()].to_dict("records")]
        if "truncated" in log.attrs:
            failures.append(log.attrs["truncated"])
        with rl.connect(self.bench.url, read_only=True) as lab:
            for row in ours[ours["action"].eq("restart_as_new")].to_dict("records"):
                each = rl.audit_log(self.bench.audit, change=row["change"])
                there = lab.sql(RESTARTS, ids=row["targets"], progress=False)["restarted_from"].tolist()
                failures += [
                    f"{outcome} and {there.count(id_)} restarts of {id_}: {row}"
                    for id_, outcome in zip(each["id"], each["outcome"], strict=True)
                    if not _agrees(outcome, there.count(id_))
                ]
            keys = set(lab.sql(STATES, progress=False)["service_key"])
            for row in ours[ours["action"].eq("modify_service_state")].to_dict("records"):
                is_there = row["targets"][0].partition("/")[2] in keys
                if not _agrees(row["outcome"], int(is_there)):
                    failures.append(f"{row['outcome']}, and the state is {'there' if is_there else 'not there'}: {row}")
        return len(log), failures


def _agrees(outcome: str | None, times: int) -> bool:
    if outcome in {"done", "accepted"}:
        return times == 1
    return times <= 1 if outcome == "unknown" else times == 0


def main() -> None:
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process ignores it
    content = json.loads(sys.stdin.read())
    bench = {**content.pop("bench")}
    bench["waiting"] = tuple(bench["waiting"])
    order = SessionOrder(InterruptBench(**bench), **content)
    report = run(order)
    sys.stdout.write(json.dumps(asdict(report)))


if __name__ == "__main__":
    main()
