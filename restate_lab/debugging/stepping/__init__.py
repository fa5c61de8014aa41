"""Step through the code of a handler on a recorded journal, in a terminal or in an editor.

The replay is in the main thread, because it has the terminal, and because debuggers find it there. There is no time
limit: a person reads.
"""

from __future__ import annotations

import bdb
import contextlib
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TextIO

from restate_lab._text import escape_invisible
from restate_lab.debugging import as_errors
from restate_lab.debugging.stepping.entries import JournalCursor, describe_failure, plain
from restate_lab.debugging.stepping.prompt import HELP, EntryPdb, SessionQuit
from restate_lab.debugging.stepping.remote import EntryBreak, listen
from restate_lab.errors import ArgumentError
from restate_lab.testing import Outcome, Record
from restate_lab.testing.outcome import DIVERGES, FAILS
from restate_lab.testing.replay import Options, replay_journal


def step_through(
    record: Record,
    app: Any,
    *,
    stop_at: int | None = None,
    address: tuple[str, int] | None = None,
    allow_network: bool = False,
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
) -> Outcome | None:
    """Replay a record on an app with a prompt of pdb, or for a client of debugpy at ``address`` (host, port).

    ``stop_at`` is the index of the entry at which the first stop is; None is the first line of the handler, and with an
    ``address`` no stop. ``stdin`` and ``stdout`` are those of the prompt; None is the terminal. Returns what became of
    the replay, which is also printed; None if the person ended it.

    Raises:
        ArgumentError: there is no such app or handler, no such entry, or the address cannot be used.
        NotReplayable: the app cannot follow this record.
        NetworkRefused: the code used the network, or started a program, outside of a step.
    """
    out = stdout or sys.stdout
    cursor = JournalCursor(record.journal)
    first = _entry(cursor, stop_at)
    _say(out, _describe(record))
    if address is not None:
        listen(*address, say=lambda text: _say(out, text))
        return _finish(record, _replay(record, app, EntryBreak(cursor, first), allow_network=allow_network), out)
    prompt = EntryPdb(cursor, stop_at=first, stdin=stdin, stdout=stdout)
    _say(out, HELP)
    try:
        with _own_breakpoints(prompt):
            outcome = _replay(record, app, prompt, allow_network=allow_network)
    except (SessionQuit, bdb.BdbQuit):
        _say(out, "The replay was ended.")
        return None
    _finish(record, outcome, out)
    if outcome.exception is not None and outcome.exception.__traceback__ is not None:
        with contextlib.suppress(SessionQuit):
            prompt.open_at(outcome.exception.__traceback__)
    return outcome


def _replay(record: Record, app: Any, debugger: EntryPdb | EntryBreak, *, allow_network: bool) -> Outcome:
    journal = record.journal
    options = Options({}, frozenset(), not journal.masked, None, allow_network, debugger.attach)
    try:
        with as_errors(), _restate_logs_shown():
            outcome = replay_journal(journal, journal.messages, app, options)
    finally:
        if isinstance(debugger, EntryPdb):
            debugger.detach()
    if isinstance(outcome.exception, bdb.BdbQuit):  # of a pdb.set_trace() in the code
        raise outcome.exception
    return outcome


def _entry(cursor: JournalCursor, stop_at: int | None) -> int | None:
    if stop_at is None:
        return None
    at = cursor.command_at(stop_at)
    if at is None:
        raise ArgumentError(
            f"entry {stop_at} is not in the journal, or no command is at or after it; its last entry is "
            f"{len(cursor.journal.entries) - 1}."
        )
    return at


def _describe(record: Record) -> str:
    journal = record.journal
    key = f" {journal.key!r}" if journal.key else ""
    error = "not known" if journal.error is None else describe_failure(journal.error)
    return (
        f"{plain(f'{journal.service}/{journal.handler}{key} {journal.id}')}, {len(journal.entries)} entries. "
        f"No step runs; code outside of steps runs.\nIn production: {error}"
    )


def _finish(record: Record, outcome: Outcome, out: TextIO) -> Outcome:
    """Print the end of a replay beside the error in production."""
    production = record.journal.error
    text = str(replace(outcome, production=None)) if outcome.outcome == DIVERGES else str(outcome)
    _say(out, f"Here:          {plain(text)}")
    if production is None:
        return outcome
    same = ""
    if outcome.outcome == FAILS:
        same = " (the same error)" if outcome.is_as_in_production else " (another error)"
    _say(out, f"In production: {describe_failure(production)}{same}")
    return outcome


@contextlib.contextmanager
def _own_breakpoints(prompt: EntryPdb) -> Iterator[None]:
    """Open this prompt for ``breakpoint()`` in the code."""
    before = sys.breakpointhook
    sys.breakpointhook = prompt.break_here_now
    try:
        yield
    finally:
        sys.breakpointhook = before


@contextlib.contextmanager
def _restate_logs_shown() -> Iterator[None]:
    """Show what the code logs: the SDK's filter hides it in a replay, and all of this is one.

    The filter belongs to loggers that exist only after the import of the app, so its decision is replaced.
    """
    try:
        from restate.logging import RestateLoggingFilter  # noqa: PLC0415 - only a replay needs the SDK
    except ImportError:
        yield
        return
    before = RestateLoggingFilter.filter
    RestateLoggingFilter.filter = logging.Filter.filter  # type: ignore[method-assign]
    try:
        yield
    finally:
        RestateLoggingFilter.filter = before  # type: ignore[method-assign]


def _say(out: TextIO, text: str) -> None:
    out.write(f"{escape_invisible(text)}\n")
    out.flush()
