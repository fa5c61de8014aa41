"""A server with short retention, load on it, and archivers that are killed: the ledger knows what the archive owes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

import restate_lab as rl
from restate_lab import errors
from restate_lab.client.lab import Lab
from restate_lab.demo.embedded import start_services
from restate_lab.environment import clean_environment
from support.bench import wait_for, wait_until_served
from support.demo.nodes import Node
from support.restartable import restartable

SERVICES = Path(__file__).with_name("archive_services.py")
ARCHIVERS = Path(__file__).with_name("archivers.py")
KEPT = timedelta(seconds=12)
KEPT_LONG = timedelta(seconds=90)
"""Longer than a visit takes while other work slows down the machine: a run that no visit can read is not owed."""
_PROGRAM = """import os, runpy
os.environ["KEPT_SECONDS"] = "{seconds}"
runpy.run_path({services!r}, run_name="__main__")
"""
ENDED = """SELECT id, created_at, completed_at, completion_result, journal_size, target_handler_name AS handler,
target_service_name AS service FROM sys_invocation_status WHERE completed_at IS NOT NULL"""
EVENTS = "SELECT id, count(*) AS n FROM sys_journal_events GROUP BY id"


@dataclass(frozen=True)
class Visit:
    """One visit process: its times on this machine's clock, which is the server's, and how it ended.

    ``options`` are those of ``archive``: {}, or a shard with its services.
    """

    options: Mapping[str, Any]
    started: datetime
    ended: datetime
    code: int
    message: str


@dataclass
class Ledger:
    """All ended runs that the server showed.

    ``first_seen`` is when the first response with a run was there, ``last_seen`` when the last one was requested.
    """

    rows: dict[tuple[str, datetime], dict[str, Any]] = field(default_factory=dict)
    first_seen: dict[tuple[str, datetime], datetime] = field(default_factory=dict)
    last_seen: dict[tuple[str, datetime], datetime] = field(default_factory=dict)
    journal_purged: set[str] = field(default_factory=set)
    events: dict[str, int] = field(default_factory=dict)

    def look(self, lab: Lab) -> None:
        """Read the ended runs; one that was seen before has not changed."""
        at = now()
        rows, seen = lab.arrow(ENDED, progress=False).to_pylist(), now()
        for row in rows:
            key = (row["id"], row["created_at"])
            before = self.rows.setdefault(key, row)
            self.first_seen.setdefault(key, seen)
            if before != row:
                assert row == {**before, "journal_size": 0}, "only purge_journal changes an ended run"
                self.rows[key] = row
                self.journal_purged.add(row["id"])
            self.last_seen[key] = at
        ended = {id_ for id_, _ in list(self.rows)}  # other runs can get more events; two threads look at the end
        events = lab.arrow(EVENTS, progress=False).to_pylist()
        self.events |= {row["id"]: row["n"] for row in events if row["id"] in ended}

    def owed(self, visits: list[Visit]) -> dict[tuple[str, datetime], dict[str, Any]]:
        """Return the runs that were there during the whole of a visit that succeeded."""
        good = [visit for visit in visits if visit.code == 0]
        return {
            key: row
            for key, row in self.rows.items()
            if any(
                self.first_seen[key] < each.started
                and each.ended < self.last_seen[key]
                and row["service"] in each.options.get("service", (row["service"],))
                for each in good
            )
        }


def now() -> datetime:
    return datetime.now().astimezone()


@dataclass
class ArchiveBench:
    """The server, a connection to it, the ledger, and the archivers of one folder."""

    server: Node
    lab: Lab
    folder: Path
    where: str
    ledger: Ledger = field(default_factory=Ledger)
    visits: list[Visit] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    """More settings of the archivers: those of a store."""
    shards: dict[str, list[str]] = field(default_factory=dict)
    """The services of each shard; an archiver visits the whole cluster if there are none."""
    sent: int = 0
    purged: set[str] = field(default_factory=set)
    """The ids of runs that were purged: a visit may never have seen them, and no gap contains them."""
    next_settings: dict[str, str] = field(default_factory=dict)
    """More settings of the server when it is restarted."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _began: dict[int, tuple[Mapping[str, Any], datetime]] = field(default_factory=dict)

    def play_load(self) -> None:
        """Send calls until the end: many ordinary ones, failures, reused keys, purges and restarts."""
        chance = random.Random(1)  # noqa: S311 - no secret
        done: list[str] = []
        for turn in range(10_000):
            if self._stop.wait(0.25):
                return
            with contextlib.suppress(errors.RestateLabError):
                self._send(turn, done)
                if done and turn % 4 == 3:
                    id_ = done.pop(chance.randrange(len(done)))
                    self.purged.add(id_)
                    if turn // 4 % 2:
                        self.ledger.journal_purged.add(id_)
                        self.lab.admin.purge_journal(id_, reason="INC-42")
                    else:
                        self.lab.admin.purge_invocation(id_, reason="INC-42")
                elif done and turn % 4 == 1:
                    self.lab.admin.restart_as_new_invocation(done[0], reason="INC-42")

    def _send(self, turn: int, done: list[str]) -> None:
        ingress = self.lab.ingress
        for handler, count in (("book", 25), ("refuse", 2), ("stumble", 1), ("never", 1)):
            ingress.call("Ledger", "spread", [handler, self.sent, count])
            self.sent += count
        ingress.call("Account", "add", turn, key=f"account {turn % 3}")
        for number in range(3):
            ingress.send("Parcel", "post", number)
            self.sent += 1
        # these get the same id again once their earlier run has expired or was purged
        for service, handler, options in (
            ("Order", "run", {"key": f"order {turn % 12}"}),
            ("Ledger", "book", {"idempotency_key": f"again {turn % 10}"}),
        ):
            with contextlib.suppress(errors.Conflict):
                done.append(str(ingress.send(service, handler, self.sent, **options).invocation_id))
                self.sent += 1
        if turn % 6 == 5 and len(done) > 6:
            again = done[-6]
            self.purged.add(again)
            self.lab.admin.purge_invocation(again, reason="INC-42")

    def keep_ledger(self) -> None:
        """Read the ended runs until the end, also while the server restarts."""
        while not self._stop.wait(0.3):
            with contextlib.suppress(errors.RestateLabError):
                self.ledger.look(self.lab)

    def files(self) -> int:
        return sum(len(names) for _, _, names in os.walk(self.where))

    def visit_once(self, archivers: subprocess.Popen[str], kill: str = "", shard: str | None = None) -> None:
        """Start a visit and wait for its end; ``kill`` is "", "any time" or "writes"."""
        before = self.files()
        pid = self._start(archivers, {"shard": shard, "service": self.shards[shard]} if shard else {})
        if kill:
            self._kill(pid, kill, before)
        wait_for(lambda: pid not in self._began, within=300)

    def _kill(self, pid: int, kill: str, before: int) -> None:
        chance = random.Random(pid)  # noqa: S311 - no secret
        lengths = [(each.ended - each.started).total_seconds() for each in self.visits if each.code == 0]
        length = min(lengths, default=1.0)
        if kill == "writes" and not self.env:  # the files of a store are not seen here
            while pid in self._began and self.files() == before:
                time.sleep(0.002)
            length /= 3
        time.sleep(chance.random() * length)
        if pid in self._began:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _start(self, archivers: subprocess.Popen[str], options: Mapping[str, Any]) -> int:
        assert archivers.stdin is not None
        with self._lock:
            self._next_pid: int | None = None
            self._next_options = options
            archivers.stdin.write(json.dumps(options) + "\n")
            archivers.stdin.flush()
            return int(wait_for(lambda: self._next_pid))

    def follow(self, archivers: subprocess.Popen[str]) -> None:
        assert archivers.stdout is not None
        for line in archivers.stdout:
            kind, pid, *rest = line.split(maxsplit=3)
            if kind == "pid":
                self._began[int(pid)] = self._next_options, datetime.fromtimestamp(float(rest[0])).astimezone()
                self._next_pid = int(pid)
            elif kind == "exit":
                self.visits.append(Visit(*self._began.pop(int(pid)), now(), int(rest[0]), rest[1]))

    def run(
        self,
        rounds: int,
        *,
        restart_at: int,
        pause: float = 0.3,
        away: float = 0,
        layouts: Sequence[dict[str, list[str]]] = ({},),
    ) -> None:
        """Play the load with archivers: each round has one or two at once, and two thirds of the rounds a kill.

        ``away`` is how long no archiver runs after the restart, in seconds. ``layouts`` are the services of shards, one
        after another: each round has all shards at once, and visits are on their way when a layout ends.
        """
        threads = [threading.Thread(target=self.play_load), threading.Thread(target=self.keep_ledger)]
        for thread in threads:
            thread.start()
        kinds = ("", "writes", "any time", "writes")
        try:
            with self.archivers() as archivers:
                for turn in range(rounds):
                    layout = layouts[turn * len(layouts) // rounds]
                    if turn and layout != self.shards:
                        self._round(archivers, "", two=False, during=self.release)
                        self.release()  # a visit may have made its shard active again
                    self.shards = layout
                    self._round(archivers, kinds[turn % 4], two=turn % 2 == 1)
                    if turn == restart_at:
                        self.server.kill()
                        self._round(archivers, "", two=False)
                        self.server.environment |= self.next_settings
                        self.server.start()
                        wait_for(self.server.is_ready)
                        time.sleep(away)
                    time.sleep(pause)
                for _ in range(2):
                    self._round(archivers, "", two=False)
                self.ledger.look(self.lab)
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _round(
        self, archivers: subprocess.Popen[str], kill: str, *, two: bool, during: Callable[[], None] | None = None
    ) -> None:
        """Visit all shards, or the whole cluster, at once; ``two`` are archivers of the same shard. One is killed."""
        shards: list[str | None] = [*self.shards] or [None]
        begun = len(self.visits) % len(shards)
        first, *others = [*shards[begun:], *shards[:begun], *([shards[begun]] if two else [])]
        threads = [threading.Thread(target=self.visit_once, args=(archivers, "", each)) for each in others]
        threads += [threading.Thread(target=during)] if during else []
        for thread in threads:
            thread.start()
        self.visit_once(archivers, kill, first)
        for thread in threads:
            thread.join()

    def release(self) -> None:
        """End the active shards, or the archiver of the whole cluster."""
        time.sleep(random.Random(len(self.visits)).random() / 2)  # noqa: S311 - no secret
        with contextlib.suppress(errors.ArgumentError), rl.open_history(self.where) as history:
            history.release()

    @contextlib.contextmanager
    def archivers(self) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, str(ARCHIVERS), self.server.admin_url, self.where]
        with subprocess.Popen(
            command, env=clean_environment(**self.env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            follower = threading.Thread(target=self.follow, args=(process,))
            follower.start()
            yield process
            assert process.stdin is not None
            process.stdin.close()
            follower.join()


@contextlib.contextmanager
def running_archive_bench(
    kind: str, folder: Path, where: str | None = None, *, kept: timedelta = KEPT
) -> Iterator[ArchiveBench]:
    """Start a server of a kind that keeps runs for this time, with the services."""
    settings = {"RESTATE_WORKER__CLEANUP_INTERVAL": "2s"}
    with contextlib.ExitStack() as stack:
        program = folder / "services.py"
        program.write_text(_PROGRAM.format(seconds=kept.total_seconds(), services=str(SERVICES)))
        process, uri = start_services(folder, str(program))
        stack.enter_context(process)
        node = stack.enter_context(restartable(kind, folder / "data", env=settings))
        lab = stack.enter_context(rl.connect(node.admin_url, ingress_url=node.ingress_url, audit=folder / "audit"))
        lab.admin.create_deployment(uri=uri)
        lab.admin.modify_service("Order", workflow_completion_retention=kept)
        wait_until_served(lab, "Ledger", "book", 0)
        yield ArchiveBench(node, lab, folder, where or str(folder / "archive"))


def tables_of(where: str) -> dict[str, pa.Table]:
    """Return all rows of an archive, read by deltalake alone."""
    from deltalake import DeltaTable

    names = ("invocations", "journal", "events", "samples", "deployments", "services", "agent_steps", "visits")
    return {name: pa.table(DeltaTable(f"{where}/{name}").scan()) for name in names}


def check_archive(bench: ArchiveBench) -> dict[str, int]:
    """Check that nothing owed is missing, nothing is double and nothing differs; return the counts."""
    tables = tables_of(bench.where)
    runs = {(row["id"], row["created_at"]): row for row in tables["invocations"].to_pylist()}
    assert len(runs) == tables["invocations"].num_rows, "a run is there twice"
    entries = _by_run(tables["journal"], ("index",))
    events = _by_run(tables["events"], ("after_journal_entry_index", "appended_at", "event_hash"))
    owed = bench.ledger.owed(bench.visits)
    assert not owed.keys() - runs.keys(), "an owed run is missing"
    for key, row in bench.ledger.rows.items():
        if key in runs:
            for name in ("completed_at", "completion_result"):
                assert runs[key][name] == row[name], (key, name)
    without = [
        key
        for key in owed
        if runs[key]["journal_size"] and key not in entries and key[0] not in bench.ledger.journal_purged
    ]
    assert not without, "an owed journal is missing"
    for key, indexes in entries.items():
        is_purged = key[0] in bench.ledger.journal_purged  # after the journal was read, and before the run
        size = len(indexes) if is_purged else runs[key]["journal_size"]
        assert sorted(indexes) == [(index,) for index in range(size)], "a journal is incomplete"
    stumbled = {key for key in owed if runs[key]["target_handler_name"] == "stumble"}
    assert stumbled <= events.keys(), "events are missing"
    known = {key: bench.ledger.events[key[0]] for key in stumbled if key[0] in bench.ledger.events}
    assert all(len(events[key]) == count for key, count in known.items()), "owed events are missing"
    visits = tables["visits"].to_pylist()
    numbers = [(row["shard"], row["visit"]) for row in visits if row["visit"] is not None]
    for shard in {shard for shard, _ in numbers}:
        of_shard = sorted(number for each, number in numbers if each == shard)
        assert of_shard == list(range(1, len(of_shard) + 1)), "each transaction has one record"
    assert sum(row["new_runs"] for row in visits) == len(runs)
    assert not {row["note"] for row in visits} - {None}, "killed archivers leave nothing unusual"
    lost = check_coverage(bench, runs)
    firsts: set[str] = set()
    for key in sorted(runs, key=lambda key: key[1]):
        assert runs[key]["repeated"] == (key[0] in firsts), "a later run of an id is marked"
        firsts.add(key[0])
    return {
        "sent": bench.sent,
        "seen": len(bench.ledger.rows),
        "owed": len(owed),
        "archived": len(runs),
        "lost in a gap": lost,
        "repeated": sum(row["repeated"] for row in runs.values()),
        "entries": tables["journal"].num_rows,
        "events": tables["events"].num_rows,
        "visits": len(bench.visits),
        "killed": sum(each.code == -signal.SIGKILL for each in bench.visits),
        "failed": sum(each.code == 1 for each in bench.visits),
        "records failed": sum(row["outcome"] == "failed" for row in visits),
        "repaired": sum(row["outcome"] == "repaired" for row in visits),
        "transactions": len(numbers),
        "shards": len({shard for shard, _ in numbers}),
    }


def check_coverage(bench: ArchiveBench, runs: Collection[tuple[str, datetime]]) -> int:
    """Check that a gap contains each run that was seen and is not archived, and return their number."""
    with rl.open_history(bench.where) as history:
        coverage = history.coverage
    last = coverage.until
    assert last is not None
    lost = [
        row
        for key, row in bench.ledger.rows.items()
        if key not in runs and key[0] not in bench.purged and bench.ledger.first_seen[key] < last
    ]
    # a history claims nothing about the time before its first run: the first visit may be slow
    lost = [row for row in lost if coverage.since is None or coverage.since <= row["completed_at"]]
    for row in lost:
        gaps = [each for each in coverage.gaps if each.handler == row["handler"]]
        key = (row["id"], row["created_at"])
        times = [ledger[key] for ledger in (bench.ledger.first_seen, bench.ledger.last_seen)]
        is_explained = any(each.since <= row["completed_at"] <= each.until for each in gaps)
        assert is_explained, ("an unexplained hole", row, times, gaps)
    return len(lost)


def _by_run(table: pa.Table, key: tuple[str, ...]) -> dict[tuple[str, datetime], list[tuple[Any, ...]]]:
    """Return run → the keys of its rows, which must differ."""
    rows: dict[tuple[str, datetime], list[tuple[Any, ...]]] = {}
    for row in table.select(["id", "created_at", *key]).to_pylist():
        rows.setdefault((row["id"], row["created_at"]), []).append(tuple(row[name] for name in key))
    assert all(len(set(each)) == len(each) for each in rows.values()), "a row is there twice"
    return rows
