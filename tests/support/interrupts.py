"""Random interrupts: the verbs, their world, and the rules for a session after Ctrl-C.

``python -m support.interrupts`` is one session. It reads an order in JSON from standard input, interrupts itself with
SIGINT, uses the session afterwards, and writes a Report in JSON. A fresh session is interrupted at its first use of a
verb, when libraries are loaded; a warm one has used every verb before. Nothing heavy is imported here at the top: the
modules that a session has loaded are a part of the test.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

WHY = "a test of interrupts"
AGAIN = ("sql", "doctor", "plot_status", "waits", "set_state")
"""The verbs that are used after each interrupt of a fresh session, in addition to the interrupted one."""
NOT_OURS = (".ttf", ".so", "tqdm_monitor")
"""Resources that libraries keep open for the whole process after their first use: tqdm has one thread for its bars."""
SETTLED = 5.0  # seconds within which threads and sockets of an interrupted call have ended


@dataclass(frozen=True)
class InterruptWorld:
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
    """The work of one session: this many interrupts in these verbs; only this session restarts the ids in ``ended``.

    ``seconds`` and ``right`` are the duration and the result of each verb without an interrupt; if they are missing,
    the session measures and returns them.
    """

    ground: InterruptWorld
    kind: str
    verbs: tuple[str, ...]
    interrupts: int
    seed: int
    ended: tuple[str, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    right: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class SessionReport:
    """The results of a session: ``failures`` are empty if all is well; ``loaded`` are modules loaded unshielded."""

    sent: int = 0
    raised: int = 0
    late: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    right: dict[str, Any] = field(default_factory=dict)
    loaded: dict[str, list[str]] = field(default_factory=dict)


class Session:
    """A session of a user: the package, one connection, and names that no other call uses."""

    def __init__(self, order: SessionOrder) -> None:
        import restate_lab as rl

        self.rl = rl
        self.ground = order.ground
        self.folder = Path(order.ground.folder) / f"session-{uuid.uuid4().hex}"
        self.folder.mkdir()
        self._numbers = itertools.count()
        self._ended = iter(order.ended)
        self._lab: Any = None

    @property
    def lab(self) -> Any:
        if self._lab is None:
            self._lab = self.rl.connect(self.ground.url, audit=self.ground.audit)
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


# --- the verbs: each returns values that do not change between two calls

LATER = """SELECT id, target, status, created_at FROM sys_invocation_status
WHERE target_service_name = 'Bulk' AND status = 'scheduled' ORDER BY id"""
ENDS = """SELECT target_service_name, target_handler_name, 12.5 AS ms FROM sys_invocation_status
WHERE status = 'scheduled'"""


def connect(s: Session) -> Any:
    with s.rl.connect(s.ground.url, audit=s.ground.audit) as lab:
        return lab.version


def sql(s: Session) -> Any:
    return _frame(s.lab.sql(LATER, progress=False))


def arrow(s: Session) -> Any:
    return str(s.lab.arrow(LATER, progress=False).to_pylist())


def stream(s: Session) -> Any:
    with s.lab.stream(LATER) as reader:
        return sum(batch.num_rows for batch in reader)


def to_parquet(s: Session) -> Any:
    path = s.path("parquet")
    s.lab.to_parquet(LATER, path, progress=False)
    return path.read_bytes()[-4:] == b"PAR1"


def tables(s: Session) -> Any:
    return len(s.lab.tables()) > 0


def admin(s: Session) -> Any:
    return _frame(s.lab.admin.list_services().frame()[["name"]])


def ingress(s: Session) -> Any:
    return s.lab.ingress.call("Bulk", "answer", 7)


def ask(s: Session) -> Any:
    return _frame(s.rl.ask(s.lab, "blocked_keys"))


def journal(s: Session) -> Any:
    return _frame(s.rl.journal(s.lab, s.ground.waiting[0])[["index", "entry_type", "name", "status"]])


def journal_diff(s: Session) -> Any:
    return _frame(s.rl.journal_diff(s.lab, *s.ground.waiting[:2])[["entry_type", "name", "difference"]])


def waits(s: Session) -> Any:
    found = s.rl.waits(s.lab)
    return len(found.edges), repr(found)[:20], bool(found._repr_html_())


def why(s: Session) -> Any:
    found = s.rl.why(s.lab, s.ground.waiter)
    return found.status, bool(found._repr_html_())


def doctor(s: Session) -> Any:
    found = s.rl.doctor(s.lab, timeout="60s")
    return sorted(found.findings), bool(str(found)), bool(found._repr_html_())


def plan(s: Session) -> Any:
    made = s.rl.plan(s.lab, "cancel", list(s.ground.waiting))
    return len(made.targets), bool(made._repr_html_())


def execute(s: Session) -> Any:
    made = s.rl.plan(s.lab, "restart_as_new", s.ended())
    return made.execute(reason=WHY)["outcome"].tolist()


def move_to(s: Session) -> Any:
    return _frame(s.rl.move_to(s.lab, list(s.ground.waiting), deployment="latest").frame[["id", "excluded"]])


def state(s: Session) -> Any:
    return dict(s.rl.state(s.lab, "Drawer", "first")), len(s.rl.state(s.lab, "Drawer", "first").frame())


def set_state(s: Session) -> Any:
    return dict(s.rl.set_state(s.lab, "Drawer", s.key(), {"n": 1}, reason=WHY, timeout="10s"))


def freeze(s: Session) -> Any:
    with s.rl.open_evidence(s.rl.freeze(s.lab, s.path("evidence"), service="Depot", progress=False)) as evidence:
        return len(evidence.sql("SELECT id FROM sys_invocation"))


def open_evidence(s: Session) -> Any:
    with s.rl.open_evidence(s.ground.evidence) as evidence:
        return _frame(evidence.sql("SELECT id, status, target FROM sys_invocation ORDER BY id"))


def compare(s: Session) -> Any:
    with s.rl.open_evidence(s.ground.evidence) as evidence:
        return bool(s.rl.compare(evidence, evidence)._repr_html_())


def watch(s: Session) -> Any:
    return len(s.rl.watch(s.lab, every="1s", until="1s", progress=False)) > 0


def wait_for(s: Session) -> Any:
    return s.rl.wait_for(s.lab, s.ground.waiting[0], until="in-flight", progress=False)["id"].tolist()


def save(s: Session) -> Any:
    names = [s.rl.save(s.rl.ask(s.lab, "overview"), s.path(suffix)).suffix for suffix in ("csv", "xlsx", "parquet")]
    return sorted(names)


def report(s: Session) -> Any:
    made = s.rl.Report("INC-1", source=s.lab).add(s.rl.doctor(s.lab)).add(s.rl.ask(s.lab, "overview"))
    return _is_page(made.write(s.path("html")))


def report_with_plot(s: Session) -> Any:
    made = s.rl.Report("INC-1", source=s.lab).add(s.rl.plot_status(s.rl.ask(s.lab, "overview"))).add("*text*")
    return _is_page(made.write(s.path("html")))


def incident_report(s: Session) -> Any:
    return _is_page(s.rl.incident_report(s.lab, s.path("html")))


def audit_log(s: Session) -> Any:
    return "outcome" in s.rl.audit_log(s.ground.audit)


def panel(s: Session) -> Any:
    made = s.rl.Panel(s.lab, refresh=None)
    try:
        return len(made.frame) > 0
    finally:
        made.close()


def plot_status(s: Session) -> Any:
    return _describe_plot(s.rl.plot_status(s.rl.ask(s.lab, "overview")))


def plot_throughput(s: Session) -> Any:
    return _describe_plot(s.rl.plot_throughput(s.rl.ask(s.lab, "throughput")))


def plot_latency(s: Session) -> Any:
    return _describe_plot(s.rl.plot_latency(s.rl.ask(s.lab, "latency")))


def plot_latency_distribution(s: Session) -> Any:
    return _describe_plot(s.rl.plot_latency_distribution(s.lab.sql(ENDS, progress=False)))


def plot_retries(s: Session) -> Any:
    return _describe_plot(s.rl.plot_retries(s.rl.ask(s.lab, "retry_storm")))


def plot_backlog(s: Session) -> Any:
    return _describe_plot(s.rl.plot_backlog(s.rl.ask(s.lab, "backlog_by_key")))


def plot_state_sizes(s: Session) -> Any:
    return _describe_plot(s.rl.plot_state_sizes(s.rl.ask(s.lab, "state_sizes")))


def plot_journal(s: Session) -> Any:
    return _describe_plot(s.rl.plot_journal(s.rl.journal(s.lab, s.ground.waiting[0])))


def plot_waits(s: Session) -> Any:
    return _describe_plot(s.rl.plot_waits(s.rl.waits(s.lab)))


def plot_watch(s: Session) -> Any:
    return _describe_plot(s.rl.plot_watch(s.rl.watch(s.lab, every="1s", until="1s", progress=False)))


VERBS: Mapping[str, Callable[[Session], Any]] = {
    verb.__name__: verb
    for verb in (
        connect, sql, arrow, stream, to_parquet, tables, admin, ingress, ask, journal, journal_diff, waits, why, doctor,
        plan, execute, move_to, state, set_state, freeze, open_evidence, compare, watch, wait_for, save, report,
        report_with_plot, incident_report, audit_log, panel, plot_status, plot_throughput, plot_latency,
        plot_latency_distribution, plot_retries, plot_backlog, plot_state_sizes, plot_journal, plot_waits, plot_watch,
    )
}  # fmt: skip
KEEPS_ITS_RESULT = {"watch", "plot_watch"}
"""An interrupt ends a watch, which returns its rows so far."""


def _frame(frame: Any) -> Any:
    return [list(frame.columns), frame.astype(str).values.tolist()]


def _is_page(path: Path) -> bool:
    return path.read_text("utf-8").rstrip().endswith("</html>")


def _describe_plot(ax: Any) -> Any:
    """Return the beginning of the title, after the figure was drawn and closed."""
    from matplotlib import pyplot as plt

    ax.figure.canvas.draw()
    title = ax.get_title(loc="left")[:8]
    plt.close("all")
    return title


# --- one session


def run(order: SessionOrder) -> SessionReport:
    """Carry an order out in this process."""
    report, chance = SessionReport(), random.Random(order.seed)  # noqa: S311 - times, no secrets
    session = Session(order)
    if order.kind == "trace":
        _trace(session, order, report)
        return report
    if not order.right or order.kind == "warm":
        _learn(session, order, report)
        session.close()
        if order.kind == "learn":
            return report
    before = _open_resources()
    for number in range(order.interrupts):
        verb = chance.choice(order.verbs)
        seconds = report.seconds or order.seconds
        limit = seconds[verb]
        if chance.random() < 0.7:
            _ = session.lab
        else:  # the connection is made within the interrupted call
            limit += seconds.get("connect", 0)
        _interrupt(session, verb, chance.random() * limit, report)
        again = AGAIN if order.kind == "fresh" else ()
        for each in (verb, *again):
            _use(session, each, verb, report, report.right or order.right)
        if order.kind == "fresh" or number % 25 == 24 or number == order.interrupts - 1:
            session.close()
            _check_nothing_is_left(before, verb, report)
    _check_folder(session, report)
    return report


def _learn(session: Session, order: SessionOrder, report: SessionReport) -> None:
    for verb in order.verbs:
        if verb != "connect":
            _ = session.lab
        for _ in range(1 if order.kind == "learn" else 2):
            started = time.perf_counter()
            report.right[verb] = _to_plain(VERBS[verb](session))
            report.seconds[verb] = time.perf_counter() - started


def _interrupt(session: Session, verb: str, delay: float, report: SessionReport) -> None:
    """Call a verb and interrupt it after this many seconds."""
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
    report.sent += fired.is_set()
    report.raised += raised
    report.late += not fired.is_set()


def _use(session: Session, verb: str, interrupted: str, report: SessionReport, right: Mapping[str, Any]) -> None:
    """Use a verb without an interrupt."""
    try:
        got = _to_plain(VERBS[verb](session))
    except Exception:  # noqa: BLE001 - every error is reported
        report.failures.append(f"{verb} after an interrupt of {interrupted}:\n{traceback.format_exc()}")
        return
    if got != right[verb]:
        report.failures.append(f"{verb} after an interrupt of {interrupted}: {got!r:.300} and not {right[verb]!r:.300}")


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
            with session.rl.open_evidence(path):
                pass


# --- which modules are loaded while an interrupt can reach them


class _Recorder:
    """A finder that finds nothing: it records the modules that the main thread loads without a Shield."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self.names.append(name)


def _trace(session: Session, order: SessionOrder, report: SessionReport) -> None:
    """Record for each verb, at its first use, which modules it loads without a Shield."""
    recorder = _Recorder()
    sys.meta_path.insert(0, recorder)
    for verb in order.verbs:
        recorder.names = []
        VERBS[verb](session)
        report.loaded[verb] = recorder.names
    session.close()


def main() -> None:
    """Run one session."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process ignores it
    content = json.loads(sys.stdin.read())
    ground = {**content.pop("ground")}
    ground["waiting"] = tuple(ground["waiting"])
    order = SessionOrder(InterruptWorld(**ground), **content)
    report = run(order)
    sys.stdout.write(json.dumps(asdict(report)))


if __name__ == "__main__":
    main()
