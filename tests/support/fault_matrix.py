"""The fault matrix: the outcome of each verb under each fault, from the guide's table; tests are made from it.

`restate_lab.guide.faults` explains the outcomes. Every report of a change is compared with the data on the server. In
no case is a response shorter, a file incomplete, or an action done twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from restate_lab.guide.faults import FAULTS, Fault

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
    """Yield verb, fault and outcome of every cell."""
    for fault, row in MATRIX.items():
        for verb, outcome in row.items():
            yield verb, fault, outcome
