"""Raise an exception of production in the user's own code, in this process."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from restate_lab import errors, testing
from restate_lab._public import explained, public
from restate_lab.analysis.ids import ids_in, invocation_id_in
from restate_lab.client.arguments import check_seconds
from restate_lab.client.schema import translate_errors
from restate_lab.debugging.entries import describe_journal, follow, say
from restate_lab.debugging.reader import read_journal_of
from restate_lab.durations import DurationInput
from restate_lab.reads import begin
from restate_lab.source import Source
from restate_lab.testing import Outcome, Record

__all__ = ["Outcome", "as_errors", "debug", "record_of"]
public(Outcome)
_ERRORS: Mapping[type[testing.ReplayError], type[errors.RestateLabError]] = MappingProxyType(
    {
        testing.AppNotFound: errors.ArgumentError,
        testing.HandlerNotFound: errors.ArgumentError,
        testing.UnusableRecord: errors.NotReplayable,
        testing.NetworkUsed: errors.NetworkRefused,
        testing.ReplayTimedOut: errors.TimedOut,
    }
)


@translate_errors
def record_of(source: Source, invocation_id: str, /, *, timeout: DurationInput = "30s") -> Record:
    """Return the recorded journal of an invocation, to run it on code in this process, or to save it for a test.

    ``invocation_id`` is an id, or any text with exactly one. The headers of the input are in the record, but not in the
    file that ``save`` writes.

    Raises:
        NotFound: there is no such invocation.
        NotReplayable: its journal was purged, has no payloads or masked ones, or has the form of an old server.
        TimedOut: it was not read within ``timeout``.
    """
    id_ = invocation_id_in(invocation_id)
    return Record(read_journal_of(begin(source, "record_of", timeout), id_))


@explained
def debug(
    source: Source,
    invocation_id: str | os.PathLike[str],
    app: Any,
    /,
    *,
    answers: Mapping[str, Any] | None = None,
    results: Mapping[str, Any] | None = None,
    run_steps: Iterable[str] = (),
    check_payloads: bool | None = None,
    allow_network: bool = False,
    timeout: DurationInput = "30s",
    handler_timeout: DurationInput | None = "10s",
) -> Outcome:
    """Print a recorded journal beside the code that runs on it in this process, and raise the exception of production.

        rl.debug(lab, id, "shop.app:app")        # KeyError: 'price', with the frames of your code only
        %debug                                   # in the next cell

    Each entry is printed once, with its recorded result and the line of code that issues it. Secret headers and fields
    with a secret name are masked. If the code raises nothing, the outcome says what it did: it returns, continues with
    a new command, waits, diverges, or needs the result of a step that has none. **No step runs**, each gets its
    recorded result, and no server is needed. **Code outside of steps runs**, and so does the module of the app. The
    network and new processes are refused to both, but libraries in C or Rust, and threads that ran before, can use
    them.

    ``invocation_id``: an id, any text with exactly one, or the path of a record file. ``app``:
    "package.module:attribute", "package.module:create_app()", or an object: an app, an app of FastAPI or Starlette in
    which it is mounted, a service, a handler function. A module stays imported: after an edit, reload it or use
    ``%autoreload 2``. In a notebook, ``breakpoint()`` waits for a debugger client; use ``pdb.set_trace()``. ``answers,
    results, run_steps, check_payloads`` and ``allow_network`` are those of ``restate_lab.testing.Record.run``.
    ``timeout`` is the limit for reading the journal, ``handler_timeout`` for each call of the handler (None: without a
    limit); the time at a prompt of pdb does not count.

    Raises:
        Exception: what the handler raises.
        NotFound: there is no such invocation.
        NotReplayable: its journal was purged, has no payloads or masked ones, or has the form of an old server.
        ArgumentError: there is no such app or handler, or another argument is invalid.
        NetworkRefused: the code used the network, or started a program, outside of a step.
        TimedOut: the journal was not read, or the code did not end, in time.
    """
    __tracebackhide__ = True
    record = read_record(source, invocation_id, timeout=timeout)
    limit = None if handler_timeout is None else check_seconds("handler_timeout", handler_timeout)
    attempts = itertools.count()

    def print_entries(context: Any) -> None:
        if next(attempts) == 0:
            follow(record.journal, context, say)

    with as_errors():
        say(describe_journal(record.journal))
        outcome = record.outcome(
            app,
            answers=answers,
            results=results,
            run_steps=run_steps,
            check_payloads=check_payloads,
            timeout=limit,
            allow_network=allow_network,
            on_enter=print_entries,
        )
    if outcome.exception is not None:
        raise outcome.exception
    return outcome


def read_record(source: Source, invocation_id: str | os.PathLike[str], *, timeout: DurationInput) -> Record:
    """Return the record in a file, or of an invocation of a source."""
    if is_record_file(invocation_id):
        return load_record(invocation_id)
    return record_of(source, invocation_id, timeout=timeout)  # type: ignore[arg-type]  # it checks the type


def is_record_file(value: object) -> bool:
    """Return whether a value is a path, or a text without an id that is the path of a file."""
    if not isinstance(value, str) or ids_in(value):
        return isinstance(value, os.PathLike)
    try:
        return Path(value).is_file()
    except OSError:  # the text is too long for a path
        return False


def load_record(path: str | os.PathLike[str]) -> Record:
    """Return the record in a file.

    Raises:
        NotReplayable: there is no such file, or it is not a record.
    """
    with as_errors():
        return Record.load(path)


@contextlib.contextmanager
def as_errors() -> Iterator[None]:
    """Raise the errors of a replay within the block as those of restate_lab, with the same message."""
    try:
        yield
    except tuple(_ERRORS) as error:
        raise _ERRORS[type(error)](str(error)) from error
    except ValueError as error:  # a name or a value in answers or results
        raise errors.ArgumentError(str(error)) from error
