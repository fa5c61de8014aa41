"""The fault matrix: what comes of each verb under each fault, as data; tests are made from it, and so is its table.

Words: "right" is what the same call gives on a good line, to the last cell. A name is that of the one error that is
raised. "incomplete" is the doctor's verdict when it could not look at everything. Of a change: "done" has happened
once and is seen, "unknown" and OutcomeUnknown say that nobody can tell, "not sent" and "refused" that it has not
happened; whatever is said is compared with what the server shows. In no case is there a shorter answer, a file that
is not whole, or an action that happened twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from support.fault_verbs import VERBS
from support.faults import TROUBLES

__all__ = ["MATRIX", "OPEN", "cells", "markdown"]

READS = ("sql", "arrow", "stream", "to_parquet", "ask", "journal", "waits", "why", "plan", "freeze")
_RIGHT = dict.fromkeys((*READS, "doctor"), "right")


def _passes(*, connect: str = "right", execute: str = "done", set_state: str = "done") -> dict[str, str]:
    """Return a row of a fault that reads outlive."""
    return {"connect": connect, **_RIGHT, "execute": execute, "set_state": set_state}


def _stays(error: str, *, connect: str | None = None, execute: str = "not sent", **others: str) -> dict[str, str]:
    """Return a row of a fault that no read outlives: the same error everywhere."""
    row = {"connect": connect or error, **dict.fromkeys((*READS, "doctor"), error)}
    return row | {"execute": execute, "set_state": error} | others


MATRIX: Mapping[str, Mapping[str, str]] = {
    "429 for a moment": _passes(connect="RateLimited"),
    "429 without a word": _passes(connect="RateLimited"),
    "502 for a moment": _passes(connect="Unreachable"),
    "503 for a moment": _passes(connect="Unreachable"),
    "504 for a moment": _passes(connect="Unreachable"),
    "reset once": _passes(connect="Unreachable"),
    "closed once": _passes(connect="Unreachable"),
    "head cut once": _passes(connect="Unreachable"),
    "end lost once": _passes() | dict.fromkeys((*READS, "doctor", "set_state"), "QueryInterrupted"),
    "a slow line": _passes(),
    "429": _stays("RateLimited"),
    "502": _stays("Unreachable"),
    "503": _stays("Unreachable"),
    "504": _stays("Unreachable"),
    "a login page": _stays("ServerFailed"),
    "a redirect": _stays("ServerFailed"),
    "an expired token": _stays("AccessDenied"),
    "another type": _stays("ServerFailed", connect="right"),
    "no gzip": _stays("ServerFailed"),
    "cut gzip": _stays("QueryInterrupted", connect="right"),
    "junk": _stays("ServerFailed"),
    "silence": _stays("TimedOut"),
    "silence within": _stays("TimedOut"),
    "too slow": _stays("TimedOut"),
    "reset": _stays("Unreachable"),
    "reset within": _stays("Unreachable"),
    "end lost": _stays("QueryInterrupted", connect="right"),
    "end mended": _stays("QueryInterrupted", connect="right"),
    "change: 429": {"execute": "done", "set_state": "RateLimited"},
    "change: 503": {"execute": "done", "set_state": "Unreachable"},
    "change: 502": {"execute": "unknown", "set_state": "OutcomeUnknown"},
    "change: 401": {"execute": "refused", "set_state": "AccessDenied"},
    "change: a redirect": {"execute": "unknown", "set_state": "ServerFailed"},
    "done: 502": {"execute": "done", "set_state": "OutcomeUnknown"},
    "done: 504": {"execute": "done", "set_state": "OutcomeUnknown"},
    "done: 500": {"execute": "done", "set_state": "OutcomeUnknown"},
    "done: a page": {"execute": "done", "set_state": "done"},
    "done: no gzip": {"execute": "done", "set_state": "OutcomeUnknown"},
    "done: reset": {"execute": "done", "set_state": "OutcomeUnknown"},
    "done: cut": {"execute": "done", "set_state": "OutcomeUnknown"},
    "done: silence": {"execute": "done", "set_state": "OutcomeUnknown"},
    "unseen": {"execute": "done", "set_state": "OutcomeUnknown"},
}


def _change(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


_TABLE = "sys_invocation_status.parquet"
OPEN: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda _: None, "right"),
    "a table is cut": (_change(_TABLE, lambda content: content[:-20]), "EvidenceBroken"),
    "a bit of a table is flipped": (
        _change(_TABLE, lambda content: bytes([*content[:99], content[99] ^ 1, *content[100:]])),
        "EvidenceBroken",
    ),
    "a table is missing": (lambda folder: (folder / _TABLE).unlink(), "EvidenceBroken"),
    "the manifest is cut": (_change("manifest.json", lambda content: content[: len(content) // 2]), "EvidenceBroken"),
    "the manifest is missing": (lambda folder: (folder / "manifest.json").unlink(), "EvidenceBroken"),
    "there is no folder": (lambda folder: folder.rename(folder.with_name("elsewhere")), "ArgumentError"),
}
"""What comes of opening evidence, by what happened to its folder; it asks no server."""


def cells() -> Iterator[tuple[str, str, str]]:
    """Give verb, fault and outcome of every cell."""
    for fault, row in MATRIX.items():
        for verb, outcome in row.items():
            yield verb, fault, outcome


def markdown() -> str:
    """Return the matrix as a table, a line for each fault and a column for each verb, and the one of opening."""
    lines = [["fault", "what it is", *VERBS], ["---"] * (2 + len(VERBS))]
    lines += [[fault, TROUBLES[fault].words, *(row.get(verb, "") for verb in VERBS)] for fault, row in MATRIX.items()]
    opening = [["what happened to the folder", "open"], ["---"] * 2]
    opening += [[damage, word] for damage, (_, word) in OPEN.items()]
    return "\n".join("".join(f"| {' | '.join(line)} |\n" for line in table) for table in (lines, opening))
