"""Every verb under every fault, against a real server: the right result, or one clear error."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

import restate_lab as rl
from restate_lab.actions import reader
from restate_lab.actions.execution import sender
from restate_lab.client import _recovery
from restate_lab.client.admin import state as admin_state
from restate_lab.guide import faults
from restate_lab.guide.faults import EVIDENCE, FAULTS, GROUPS, Fault
from support.fault_verbs import CHANGING, SQL, VERBS, FaultBench, open_frozen, outcome
from support.faults import FAULT_CASES, body_of, reads_give_up_after
from support.tcp_relay import tcp_relay

READS = ("sql", "arrow", "stream", "to_parquet", "ask", "journal", "waits", "why", "doctor", "plan", "freeze")


def _row(fault: Fault) -> dict[str, str]:
    row = {"connect": fault.connect, **dict.fromkeys(READS, fault.reads)}
    row |= {"execute": fault.execute, "set_state": fault.set_state}
    return {verb: word for verb, word in row.items() if word}


MATRIX: Mapping[str, Mapping[str, str]] = {fault.name: _row(fault) for fault in FAULTS}


def _change(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


_TABLE = "sys_invocation_status.parquet"
DAMAGES: Mapping[str, Callable[[Path], object]] = {
    "nothing": lambda _: None,
    "a table is cut": _change(_TABLE, lambda content: content[:-20]),
    "a bit of a table is flipped": _change(
        _TABLE, lambda content: bytes([*content[:99], content[99] ^ 1, *content[100:]])
    ),
    "a table is missing": lambda folder: (folder / _TABLE).unlink(),
    "the manifest is cut": _change("manifest.json", lambda content: content[: len(content) // 2]),
    "the manifest is missing": lambda folder: (folder / "manifest.json").unlink(),
    "there is no folder": lambda folder: folder.rename(folder.with_name("elsewhere")),
}
"""The effect on the evidence folder, by the outcome in the guide."""


def cells() -> Iterator[tuple[str, str, str]]:
    for fault, row in MATRIX.items():
        for verb, word in row.items():
            yield verb, fault, word


pytestmark = pytest.mark.server

Cell = tuple[str, str]
Run = Callable[[str, str], str]
AT_ONCE = 40
HANGS = 240.0
"""Seconds after which a cell counts as hung; the slowest needs a hundredth of it."""
AT_NIGHT = {
    *("temporary 503", "temporary 504", "429 without a body", "closed once", "503", "504", "reset within"),
    *("silence within", "cut gzip", "change: 502", "done: 504", "done: 500"),
}
"""Faults that are handled in the same lines as another one, which is tested by day."""
SAME = {"arrow", "stream"}
"""Verbs through which sql reads, which is tested by day."""
CELLS = [
    pytest.param(
        verb, fault, word, id=f"{verb}-{fault}", marks=[pytest.mark.long] if fault in AT_NIGHT or verb in SAME else []
    )
    for verb, fault, word in cells()
]


@pytest.fixture(scope="module")
def outcomes(bench: FaultBench, request: pytest.FixtureRequest) -> Iterator[tuple[Mapping[Cell, Future[str]], Run]]:
    """Run all collected cells, some at a time: most of them wait. Also give a function that runs one of them again."""
    chosen = [
        item.callspec.params  # type: ignore[attr-defined]
        for item in request.session.items
        if item.module is request.module and hasattr(item, "callspec") and "fault" in item.callspec.params
    ]
    with tcp_relay(bench.lab.settings.admin_url) as line, rl.connect(line.url, check=False) as lab:
        lab.arrow(SQL, progress=False)
        arrow = body_of(bytes(line.answers[-1]))
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(AT_ONCE) as pool:
        reads_give_up_after(4.9, patch)
        patch.setattr(reader, "RETRY_WITHIN", 5.0)
        patch.setattr(_recovery, "_SETTLES_WITHIN", 0.5)  # the server stays up, only connections break
        patch.setattr(sender, "CALL_TIMEOUT", 2.0)
        patch.setattr(admin_state, "_SEEN_WITHIN", 1.0)

        def run(verb: str, fault: str) -> str:
            return outcome(bench, verb, FAULT_CASES[fault].make(arrow), FAULT_CASES[fault].seconds)

        tried: dict[Cell, Future[str]] = {}
        for is_changing in (False, True):  # reads see the effect of changes
            now = [(each["verb"], each["fault"]) for each in chosen if (each["verb"] in CHANGING) is is_changing]
            tried |= {cell: pool.submit(run, *cell) for cell in reversed(now)}  # the last faults take longest
            for future in tried.values():
                future.exception(HANGS)
        yield tried, run


@pytest.mark.parametrize(("verb", "fault", "word"), CELLS)
def test_every_verb_under_every_fault(
    outcomes: tuple[Mapping[Cell, Future[str]], Run], verb: str, fault: str, word: str
) -> None:
    """The outcome of each verb is the one in the matrix; alone, if it lacked time while the others ran."""
    tried, run = outcomes
    result = tried[verb, fault].result()
    assert (result if result == word else run(verb, fault)) == word


@pytest.mark.parametrize("damage", EVIDENCE)
def test_damaged_evidence_opens_as_it_was_frozen_or_not_at_all(bench: FaultBench, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "x.evidence"
    shutil.copytree(bench.folder / "good-freeze" / "x.evidence", folder)
    DAMAGES[damage](folder)
    try:
        came = "right" if open_frozen(folder) == bench.good["freeze"] else "something else"
    except rl.errors.RestateLabError as error:
        came = type(error).__name__
    assert came == EVIDENCE[damage]


def test_the_matrix_is_whole() -> None:
    """Every fault of the guide is tried with every verb that it can affect, and is in one of its groups."""
    assert list(MATRIX) == [fault.name for fault in FAULTS]
    assert set(MATRIX) == set(FAULT_CASES)
    assert {fault.group for fault in FAULTS} == set(GROUPS)
    assert {verb for row in MATRIX.values() for verb in row} == set(VERBS)
    assert all(set(row) in ({"execute", "set_state"}, set(VERBS)) for row in MATRIX.values())
    assert set(DAMAGES) == set(EVIDENCE)
    page = str(faults.__doc__)
    assert all(f"| {fault.description} |" in page for fault in FAULTS)
    assert all(f"| {damage} |" in page for damage in EVIDENCE)
