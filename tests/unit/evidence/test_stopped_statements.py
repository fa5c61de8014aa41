"""Statements over files end at their timeout and at an interrupt, also while the engine computes no batch."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import restate_lab as rl
from restate_lab.evidence.freeze import freeze
from support.freezable import Freezable, invocation

PROGRAM = """
import sys
import restate_lab as rl

JOIN = '''SELECT count(*) FROM sys_invocation_status a JOIN sys_invocation_status b ON a.id <> b.id
JOIN sys_invocation_status c ON c.id > b.id JOIN sys_invocation_status d ON d.id > a.id AND d.id < c.id'''
MANY = "(SELECT value FROM generate_series(1, 1000000))"
evidence = rl.open_evidence(sys.argv[1])
try:
    evidence.sql(f"SELECT count(*) FROM {MANY} a JOIN {MANY} b ON a.value <> b.value", timeout="500ms")
except rl.errors.TimedOut as error:
    print(error, flush=True)
print("ready", flush=True)
print(len(evidence.sql("SELECT id FROM sys_invocation_status", timeout="6s")), flush=True)
try:
    evidence.sql(JOIN)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("frozen") / "join.evidence"
    freeze(Freezable(sys_invocation_status=[invocation(number) for number in range(2_000)]), path)
    return path


def test_a_join_of_billions_of_rows_ends_at_its_timeout_and_at_an_interrupt(folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert "the query was stopped at its timeout after 0 rows" in process.stdout.readline()
            assert process.stdout.readline() == "ready\n"
            assert process.stdout.readline() == "2000\n", "other statements do not wait for the one that was stopped"
            threading.Timer(0.3, process.send_signal, [signal.SIGINT]).start()
            assert process.stdout.readline() == "interrupted\n"
            assert process.wait(20) == 0
        finally:
            process.kill()


def test_the_thread_of_a_statement_ends_with_its_rows_and_when_it_is_closed(folder: Path) -> None:
    with rl.open_evidence(folder) as evidence:
        with evidence.stream("SELECT a.id FROM sys_invocation_status a CROSS JOIN sys_invocation_status b") as reader:
            assert len(reader.read_next_batch())
            assert engine_threads()
        with pytest.raises(rl.errors.QueryRefused):
            evidence.sql("SELECT 1 / (length(id) - length(id)) FROM sys_invocation_status")
        evidence.sql("SELECT 1")
    for thread in engine_threads():
        thread.join(10)
    assert not engine_threads()


def engine_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "restate_lab engine"]
