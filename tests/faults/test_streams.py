"""Commands whose streams are closed or full, and whose files cannot be written: what they did, report and do again."""

from __future__ import annotations

import errno
import itertools
import json
import os
import pty
import re
import select
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab.cli import app
from restate_lab.history.shards import ShardLayout
from restate_lab.history.store import locate_store
from restate_lab.mcp.approvals import ApprovalRequest, ApprovalStore
from support.archives import DAY, SampleArchive, run as ended_run
from support.bench import wait_for
from support.demos import processes_in
from support.fault_verbs import FaultBench
from support.faults import reads_give_up_after
from support.forked import python
from support.plan_racers import REASON
from support.tcp_relay import Fault, tcp_relay

pytestmark = pytest.mark.server

RESTARTS = "SELECT restarted_from FROM sys_invocation_status WHERE restarted_from IN :ids"
PROGRAM = "from restate_lab.cli import main; main()"
SHELL = {
    "normal": 'exec "$@"',
    "stdout is full": 'exec "$@" >/dev/full',
    "stdout has no reader": 'exec "$@"',
    "stdout is closed": 'exec "$@" >&-',
    "stdin is closed": 'exec "$@" <&-',
    "stderr is closed": 'exec "$@" 2>&-',
    "no file can be written": 'ulimit -f 0; exec "$@"',
}
"""How a shell starts a command in each state."""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Command:
    """A command that changes something, with what shows the change, and the exit code of a second try."""

    arguments: Sequence[str]
    effect: Callable[[], object]
    after: object
    again: int = 0


@pytest.fixture
def url(bench: FaultBench) -> str:
    return str(bench.lab.settings.admin_url)


@contextmanager
def state_in(folder: Path) -> Iterator[None]:
    """Use the audit log, the plans and the approvals in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        patch.setenv("RESTATE_LAB_AUDIT", str(folder / "audit"))
        yield


def start(folder: Path, arguments: Sequence[str], state: str = "normal", program: str = PROGRAM) -> Done:
    """Run a command in a process of its own, whose streams or files have this state."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        out = writer if state == "stdout has no reader" else PIPE
        command = _in_state(state, program, arguments)
        done = subprocess.run(
            command, stdout=out, stderr=PIPE, env=_environment(folder), text=True, timeout=120, check=False
        )
    finally:
        os.close(writer)
    return Done(done.returncode, done.stdout or "", done.stderr)


def _in_state(state: str, program: str, arguments: Sequence[str]) -> list[str]:
    return ["sh", "-c", SHELL[state], "sh", *python(), program, *arguments]


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "XDG_STATE_HOME": str(folder), "RESTATE_LAB_AUDIT": str(folder / "audit")}


def answered(folder: Path, arguments: Sequence[str], state: str = "normal") -> Done:
    """Run a command that asks in a terminal, and type the requested text."""
    ours, theirs = pty.openpty()
    command, env = _in_state(state, PROGRAM, arguments), _environment(folder)
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=PIPE, env=env, text=True) as process:
        os.close(theirs)
        shown, answer = "", None
        while part := _read_terminal(ours):
            shown += part
            if answer is None and "Answer:" in shown:
                answer = re.search(r"To approve, type: (\S+ [a-z0-9]{4})", " ".join(shown.split()))
                os.write(ours, f"{answer and answer[1]}\n".encode())
        os.close(ours)
        assert process.stderr is not None
        return Done(process.wait(30), shown, process.stderr.read())


def _read_terminal(terminal: int) -> str:
    ready, _, _ = select.select([terminal], [], [], 30)
    try:
        return os.read(terminal, 65536).decode("utf-8", "replace") if ready else ""
    except OSError:  # the other end is closed
        return ""


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


def plan_of(url: str, *ids: str) -> str:
    made = call("plan", "restart-as-new", *ids, "--json", "-e", url)
    assert made.exit_code == 0, made.output
    return str(json.loads(made.stdout)["plan"])


def take(bench: FaultBench, count: int) -> list[str]:
    return [next(bench.ended) for _ in range(count)]


def restarts(bench: FaultBench, ids: list[str]) -> list[str]:
    return sorted(bench.lab.sql(RESTARTS, ids=ids, progress=False)["restarted_from"])


def execution(bench: FaultBench, url: str, _: Path) -> Command:
    ids = sorted(take(bench, 2))
    arguments = ["execute", plan_of(url, *ids), "--reason", REASON, "-e", url]
    return Command(arguments, lambda: (restarts(bench, ids), list(rl.audit_log()["outcome"])), (ids, ["done"]), again=1)


def planning(bench: FaultBench, url: str, folder: Path) -> Command:
    plans = folder / "restate_lab" / "plans"
    return Command(
        ["plan", "purge", *take(bench, 1), "-e", url],
        lambda: sorted({each.suffix for each in plans.glob("*")}),
        [".json"],
    )


def noting(_: FaultBench, url: str, __: Path) -> Command:
    return Command(["note", "INC-42: called the provider", "-e", url], lambda: len(rl.audit_log(notes=True)), 1)


def calling(bench: FaultBench, url: str, _: Path) -> Command:
    key = f"INC-42-{uuid.uuid4()}"
    statement = "SELECT count(*) AS n FROM sys_invocation_status WHERE idempotency_key = :key"
    return Command(
        ["call", "Bulk/answer", "42", "--reason", REASON, "--idempotency-key", key, "-e", url],
        lambda: int(bench.lab.sql(statement, key=key, progress=False)["n"].iloc[0]),
        1,
    )


def archiving(_: FaultBench, url: str, folder: Path) -> Command:
    where = folder / "archive"
    arguments = [
        "archive",
        str(where),
        "--cluster-name",
        "prod",
        "--service",
        "Drawer",
        "--shard",
        "drawers",
        "-e",
        url,
    ]
    return Command(arguments, lambda: count_runs(where), 1)


def freezing(_: FaultBench, url: str, folder: Path) -> Command:
    path = folder / "x.evidence"

    def effect() -> object:
        return path.exists() and rl.open_evidence(path).sql("SELECT count(*) AS n FROM sys_invocation")["n"].tolist()

    return Command(["freeze", str(path), "--service", "Drawer", "-e", url], effect, [1], again=2)


def compacting(_: FaultBench, __: str, folder: Path) -> Command:
    where = sample_archive(folder)
    return Command(["history", "compact", str(where)], lambda: (count_runs(where), count_files(where)), (3, 2))


def vacuuming(_: FaultBench, __: str, folder: Path) -> Command:
    where = sample_archive(folder)
    unused = where / "invocations" / "of-a-killed-archiver.parquet"
    unused.write_text("")
    os.utime(unused, (0, 0))
    return Command(["history", "vacuum", str(where)], lambda: (count_runs(where), unused.exists()), (3, False))


def releasing(bench: FaultBench, _: str, folder: Path) -> Command:
    where = folder / "released"
    rl.archive(bench.lab, where, cluster_name="prod", service="Drawer", shard="drawers")

    def shards() -> list[str]:
        return sorted(ShardLayout.of(locate_store(where).open("invocations"), "prod").active)

    return Command(["history", "release", str(where), "--shard", "drawers"], shards, [], again=2)


def deleting(_: FaultBench, __: str, folder: Path) -> Command:
    where = str(sample_archive(folder))
    return Command(
        ["history", "delete-before", where, "2026-11-22", "--confirm", where], lambda: count_runs(Path(where)), 2
    )


def approving(_: FaultBench, __: str, folder: Path) -> Command:
    expires = datetime.now(UTC) + timedelta(minutes=10)
    ApprovalStore().save(ApprovalRequest("plan-1a2b3c4d", "Kill it.", "To approve, type:", "1", "digest", expires))
    approvals = folder / "restate_lab" / "approvals"
    return Command(["mcp", "approve", "plan-1a2b3c4d"], lambda: len(list(approvals.glob("*.approved"))), 1)


COMMANDS = {
    "execute": execution,
    "plan": planning,
    "note": noting,
    "call": calling,
    "archive": archiving,
    "freeze": freezing,
    "history compact": compacting,
    "history vacuum": vacuuming,
    "history release": releasing,
    "history delete-before": deleting,
    "mcp approve": approving,
}
STATES = [state for state in SHELL if state != "normal"]
DAILY = [
    ("execute", "stdout is full"),
    ("execute", "stdout has no reader"),
    ("plan", "stdout is full"),
    ("note", "stdout is closed"),
    ("call", "stdout has no reader"),
    ("call", "no file can be written"),
    ("archive", "stdout has no reader"),
    ("freeze", "stdin is closed"),
    ("history compact", "stdin is closed"),
    ("history vacuum", "stdout is closed"),
    ("history release", "stderr is closed"),
    ("history delete-before", "no file can be written"),
    ("mcp approve", "stderr is closed"),
    ("note", "no file can be written"),
]
"""The cells of the day: each command once, and each state at least twice."""


def sample_archive(folder: Path) -> Path:
    """Write an archive with one day of one invocation and one of two."""
    archive = SampleArchive(folder / "sample")
    archive.visit(DAY + timedelta(hours=30), [ended_run(1, DAY + timedelta(hours=3))])
    for number in (2, 3):
        archive.visit(DAY + timedelta(hours=60 + number), [ended_run(number, DAY + timedelta(hours=50))])
    return archive.path


def count_runs(where: Path) -> int:
    store = locate_store(where)
    return int(store.open("invocations").count()) if store.exists() else 0


def count_files(where: Path) -> int:
    return len(locate_store(where).open("invocations").file_uris())


@dataclass(frozen=True)
class Cell:
    """A command in a state of its streams or files, in a folder of its own."""

    name: str
    state: str
    folder: Path
    command: Command
    before: object

    def run(self, state: str) -> Done:
        """Run the command in a process."""
        return (answered if self.name == "mcp approve" else start)(self.folder, self.command.arguments, state)

    def check(self, first: Done) -> None:
        """Check the report and the effect of the first run, and that a second one acts on nothing twice."""
        acts, code = self._expected()
        assert (first.code, self.command.effect()) == (code, self.command.after if acts else self.before), first
        assert "Traceback" not in first.err, first.err
        if code == 0 and self.state.startswith("stdout"):
            assert re.fullmatch(r"(?s).*restate-lab: .*; the result could not be printed \(.*", first.err), first.err
            assert "othing was" not in first.err, first.err
        second = self._run_again()
        assert (second.code, self.command.effect()) == (self.command.again if acts else 0, self.command.after), second

    def _run_again(self) -> Done:
        if self.name == "mcp approve":
            return self.run("normal")
        result = call(*self.command.arguments)  # in this process, which is faster
        return Done(result.exit_code, result.stdout, result.stderr)

    def _expected(self) -> tuple[bool, int]:
        """Return whether the command acts, and its exit code."""
        if self.state == "no file can be written":
            return False, 1
        if self.name == "mcp approve" and not self.state.startswith("stderr"):
            return False, 2  # no terminal
        return True, int(self.name == "plan" and self.state.startswith("stdout"))


def try_cells(bench: FaultBench, folder: Path, cells: Sequence[tuple[str, str]]) -> None:
    """Run each cell, two at a time, and check it."""
    prepared = []
    for number, (name, state) in enumerate(cells):
        (place := folder / str(number)).mkdir()
        with state_in(place):
            command = COMMANDS[name](bench, str(bench.lab.settings.admin_url), place)
            prepared.append(Cell(name, state, place, command, command.effect()))
    with ThreadPoolExecutor(2) as pool:
        first = list(pool.map(lambda cell: cell.run(cell.state), prepared))
    faults = {}
    for cell, done in zip(prepared, first, strict=True):
        with state_in(cell.folder):
            try:
                cell.check(done)
            except AssertionError as error:
                faults[cell.name, cell.state] = str(error)
    assert not faults, "\n\n".join(f"{cell}: {text}" for cell, text in faults.items())


def test_a_change_whose_streams_or_files_fail(bench: FaultBench, tmp_path: Path) -> None:
    """The exit code is that of the outcome, stderr is true, and a second try acts on nothing twice."""
    try_cells(bench, tmp_path, DAILY)


@pytest.mark.long
@pytest.mark.parametrize("name", COMMANDS)
def test_each_change_in_each_state(bench: FaultBench, tmp_path: Path, name: str) -> None:
    states = [state for state in STATES if (name, state) != ("mcp approve", "stdout has no reader")]  # a terminal
    try_cells(bench, tmp_path, [(name, state) for state in states])


READS = {
    ("doctor", "stdout is closed"): "standard output is closed",
    ("waits", "stdout is closed"): "standard output is closed",
    ("plan cancel -", "stdin is closed"): "standard input is closed",
}


def test_a_command_that_only_reads_reports_a_closed_stream_in_one_line(url: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(lambda cell: start(tmp_path, [*cell[0].split(), "-e", url], cell[1]), READS)
        for (name, _), message, result in zip(READS, READS.values(), done, strict=True):
            assert (result.code, result.out) == (1, ""), name
            assert re.fullmatch(rf"restate-lab: .*{message}\.?\n", result.err), result.err


@pytest.mark.long  # a report takes seconds
def test_a_report_that_was_written_is_named_with_the_exit_code_of_the_verdict(url: str, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    done = start(tmp_path, ["report", "-o", str(path), "--length", "short", "-e", url], "stdout is full")
    message = (
        rf"restate-lab: the report was written to {path}; the result could not be printed (No space left on device"
    )
    assert (done.code, path.exists(), message in " ".join(done.err.split())) == (0, True, True), done


def test_a_demo_that_cannot_print_reports_its_error(tmp_path: Path) -> None:
    """The program that it starts ends at once; ``test_a_demo_starts_and_ends`` has a server."""
    arguments = ["demo", "--no-browser", "--server", "/bin/false"]
    with ThreadPoolExecutor(2) as pool:
        for done in pool.map(lambda state: start(tmp_path, arguments, state), ("stdout is full", "stdout is closed")):
            assert (done.code, done.out) == (1, "")
            assert re.match(r"Starting .*\nrestate-lab: /bin/false exited with code 1; ", done.err), done.err


@pytest.mark.long
@pytest.mark.parametrize("state", [state for state in STATES if state != "no file can be written"])
def test_a_demo_starts_and_ends(server: Path, tmp_path: Path, state: str) -> None:
    """Its lines are on the stream that is left, and Ctrl-C ends it with 0."""
    arguments = ["demo", "--no-browser", "--story", "first-look", "--server", str(server)]
    printed = tmp_path / "printed"
    reader, writer = os.pipe()
    os.close(reader)
    with printed.open("w") as lines:
        out = writer if state == "stdout has no reader" else lines
        command, env = _in_state(state, PROGRAM, arguments), _environment(tmp_path) | {"TMPDIR": str(tmp_path)}
        process = subprocess.Popen(command, stdout=out, stderr=lines, env=env)
    os.close(writer)
    try:
        wait_for(lambda: "Press Ctrl-C to stop" in printed.read_text() or process.poll() is not None, within=130)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, printed.read_text()
    finally:
        process.kill()
    assert "Traceback" not in printed.read_text()
    assert not processes_in(tmp_path)
    assert not list(tmp_path.glob("restate-lab-*"))


def refuse(patch: pytest.MonkeyPatch, call_of_os: str, folder: Path, number: int, *, passes: int = 0) -> None:
    """Let a function of ``os`` fail in a folder with this errno, from its call ``passes`` on."""
    function, calls = getattr(os, call_of_os), itertools.count()

    def failing(path: Any, *args: Any, **options: Any) -> Any:
        if folder in Path(os.fsdecode(path)).parents and next(calls) >= passes:
            raise OSError(number, os.strerror(number), str(path))
        return function(path, *args, **options)

    patch.setattr(os, call_of_os, failing)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS], ids=["ENOSPC", "EROFS"])
@pytest.mark.parametrize(
    ("call_of_os", "folder", "recorded"), [("open", "audit", []), ("rename", "restate_lab/plans", ["not sent"])]
)
def test_an_execution_that_cannot_write_before_its_first_request_sends_nothing(
    bench: FaultBench, url: str, tmp_path: Path, call_of_os: str, folder: str, recorded: list[str], number: int
) -> None:
    """Neither the claim nor the intent: the plan can be executed afterwards, once."""
    ids = take(bench, 1)
    with state_in(tmp_path):
        arguments = ["execute", plan_of(url, *ids), "--reason", REASON, "-e", url]
        with pytest.MonkeyPatch.context() as patch:
            refuse(patch, call_of_os, tmp_path / folder, number)
            refused = call(*arguments)
        assert (refused.exit_code, restarts(bench, ids)) == (1, []), refused.output
        assert os.strerror(number) in " ".join(refused.stderr.split())
        assert [call(*arguments).exit_code for _ in range(2)] == [0, 1]
        assert restarts(bench, ids) == ids
        assert rl.audit_log()["outcome"].tolist() == [*recorded, "done"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS], ids=["ENOSPC", "EROFS"])
def test_a_result_that_cannot_be_recorded_keeps_the_exit_code(
    bench: FaultBench, url: str, tmp_path: Path, number: int
) -> None:
    """The request was sent: stderr says that the record is missing, and the plan is used up."""
    ids = take(bench, 1)
    with state_in(tmp_path):
        arguments = ["execute", plan_of(url, *ids), "--reason", REASON, "-e", url]
        with pytest.MonkeyPatch.context() as patch:
            refuse(patch, "open", tmp_path / "audit", number, passes=1)
            done = call(*arguments)
        assert (done.exit_code, restarts(bench, ids)) == (0, ids), done.output
        message = " ".join(done.stderr.split())
        assert "the outcome of the change is done, but the audit record cannot be written" in message
        assert "othing was sent" not in message
        again = call(*arguments)
        assert (again.exit_code, restarts(bench, ids)) == (1, ids)
        assert "was started before" in " ".join(again.stderr.split())
        assert rl.audit_log()["outcome"].tolist() == [None]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS], ids=["ENOSPC", "EROFS"])
def test_a_plan_and_a_note_that_cannot_be_written_are_not_there(
    bench: FaultBench, url: str, tmp_path: Path, number: int
) -> None:
    with state_in(tmp_path):
        for name, words in (("plan", "could not be stored: "), ("note", "the audit record cannot be written in")):
            command = COMMANDS[name](bench, url, tmp_path)
            with pytest.MonkeyPatch.context() as patch:
                refuse(patch, "open", tmp_path, number)
                refused = call(*command.arguments)
            assert (refused.exit_code, words in " ".join(refused.stderr.split())) == (1, True), refused.output
            assert bool(refused.stdout) is (name == "plan"), "the plan is shown all the same"
            assert not command.effect()
            assert (call(*command.arguments).exit_code, command.effect()) == (0, command.after)


def test_a_connection_that_fails_before_the_first_request_gives_the_plan_back(
    bench: FaultBench, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restate_lab.actions.reader.RETRY_WITHIN", 0.2)
    reads_give_up_after(1.0, monkeypatch)
    ids = take(bench, 1)
    fault = Fault(b"/query", number=1, times=1000, passes=0, end="reset", armed=False)  # after the identity
    with state_in(tmp_path), tcp_relay(url, fault=fault) as relay:
        arguments = ["execute", plan_of(relay.url, *ids), "--reason", REASON, "-e", relay.url]
        fault.armed = True
        refused = call(*arguments)
        fault.armed = False
        assert (refused.exit_code, restarts(bench, ids)) == (3, []), refused.output
        assert "No request was sent: the plan can be executed again" in " ".join(refused.stderr.split())
        assert [call(*arguments).exit_code for _ in range(2)] == [0, 1]
        assert restarts(bench, ids) == ids


KILLED = """import os, signal
rename = os.rename
def claim(*args):
    {}
    os.kill(os.getpid(), signal.SIGKILL)
os.rename = claim
from restate_lab.cli import main; main()"""


def test_a_process_that_is_killed_before_its_claim_leaves_the_plan(bench: FaultBench, url: str, tmp_path: Path) -> None:
    """The claim comes just before the first request; the plan is executed afterwards, once."""
    ids = take(bench, 1)
    with state_in(tmp_path):
        arguments = ["execute", plan_of(url, *ids), "--reason", REASON, "-e", url]
        assert start(tmp_path, arguments, program=KILLED.format("pass")).code == -signal.SIGKILL
        assert restarts(bench, ids) == []
        assert [call(*arguments).exit_code for _ in range(2)] == [0, 1]
        assert restarts(bench, ids) == ids
        assert rl.audit_log()["outcome"].fillna("killed").tolist() == ["killed", "done"]


def test_a_process_that_is_killed_after_its_claim_has_used_up_its_plan(
    bench: FaultBench, url: str, tmp_path: Path
) -> None:
    ids = take(bench, 1)
    with state_in(tmp_path):
        arguments = ["execute", plan_of(url, *ids), "--reason", REASON, "-e", url]
        assert start(tmp_path, arguments, program=KILLED.format("rename(*args)")).code == -signal.SIGKILL
        again = call(*arguments)
        assert (again.exit_code, restarts(bench, ids)) == (1, [])
        message = " ".join(again.stderr.split())
        assert "was started before" in message
        assert "If it shows none, the process was killed, and its requests may have been sent" in message
        assert rl.audit_log()["outcome"].tolist() == [None]


def test_an_execution_that_another_one_overtakes_sends_nothing(bench: FaultBench, url: str, tmp_path: Path) -> None:
    """Both are alive and have read the targets; the second one to claim neither sends nor gives the plan back."""
    ids, others = take(bench, 1), []
    rename = os.rename

    def overtaken(*args: Any) -> None:
        patch.undo()
        others.append(call(*arguments).exit_code)
        rename(*args)

    with state_in(tmp_path), pytest.MonkeyPatch.context() as patch:
        arguments = ["execute", plan_of(url, *ids), "--reason", REASON, "-e", url]
        patch.setattr(os, "rename", overtaken)
        late = call(*arguments)
        assert (others, late.exit_code, call(*arguments).exit_code) == ([0], 1, 1), late.output
        assert "can be executed again" not in " ".join(late.stderr.split())
        assert restarts(bench, ids) == ids
        assert rl.audit_log()["outcome"].tolist() == ["not sent", "done"]
