"""Run a handler on a recorded journal in a terminal: alone, with pdb, or with debugpy for an editor.

The replay is in the main thread, because it has the terminal, and because debuggers find it there. There is no time
limit: a person reads. It has up to three attempts, and a debugger gets the first.
"""

from __future__ import annotations

import bdb
import importlib
import json
import pdb  # noqa: T100 - a person asks for it
import sys
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any

from restate_lab.debugging import as_errors
from restate_lab.debugging.entries import describe_failure, describe_journal, follow, plain, say
from restate_lab.errors import ArgumentError
from restate_lab.testing import Outcome, Record
from restate_lab.testing.frames import stack_of
from restate_lab.testing.outcome import DIVERGES, FAILS
from restate_lab.testing.replay import Options, replay_journal

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_SKIPPED = ("restate", "restate.*", "asyncio.*", "contextlib", "restate_lab.testing.*", "restate_lab.debugging.*")
HandOver = Callable[[FrameType], object]
"""Called with the frame of the handler before it runs, so that a debugger stops at its first line."""


def run_session(
    record: Record, app: Any, *, hand_over: HandOver | None = None, allow_network: bool = False
) -> Outcome | None:
    """Print the entries of a record beside the code that runs on it, and what became of the replay; also return it.

    None: a person ended it with the command quit of pdb.

    Raises:
        ArgumentError: there is no such app or handler.
        NotReplayable: the app cannot follow this record.
        NetworkRefused: the code used the network, or started a program, outside of a step.
    """
    journal, entered = record.journal, False

    def enter(context: Any) -> None:
        nonlocal entered
        _end_pdb()  # of the attempt before
        if not entered:
            follow(journal, context, say)
        if not entered and hand_over is not None:
            _stop_in(context.handler, hand_over)
        entered = True

    say(describe_journal(journal))
    options = Options({}, frozenset(), not journal.masked, None, allow_network, enter, is_here=True)
    try:
        with as_errors():
            outcome = replay_journal(journal, journal.messages, app, options)
    finally:
        _end_pdb()
    if isinstance(outcome.exception, bdb.BdbQuit):
        say("The replay was ended.")
        return None
    if not entered:
        say("The handler was not found in the app, so its entries are not shown, and no debugger stopped.")
    say(_describe_end(record, outcome))
    return outcome


def _stop_in(handler: Any, hand_over: HandOver) -> None:
    """Call ``hand_over`` when the SDK calls the function of a handler: a coroutine has a frame before it runs."""
    function = handler.fn

    def call(*args: Any) -> Any:
        handler.fn = function
        coroutine = function(*args)
        hand_over(coroutine.cr_frame)
        return coroutine

    handler.fn = call


def stop_with_pdb(frame: FrameType) -> None:
    """Open the prompt of pdb at the first line that runs in a frame; it does not step into the SDK."""
    debugger = pdb.Pdb(skip=_SKIPPED, nosigint=True)
    debugger.reset()
    debugger.botframe = stack_of(sys._getframe())[-1]  # noqa: SLF001 - not a coroutine, in which pdb stops at each await
    debugger.set_next(frame)
    sys.settrace(debugger.trace_dispatch)


def _end_pdb() -> None:
    """End the tracing of pdb, which would go on in the code around the handler."""
    if isinstance(getattr(sys.gettrace(), "__self__", None), pdb.Pdb):
        sys.settrace(None)


def stop_with_debugpy(frame: FrameType) -> None:
    """Suspend this thread at the first line that runs in a frame, for the client of debugpy."""
    pydevd = importlib.import_module("pydevd")  # a part of debugpy, without types
    pydevd.settrace(stop_at_frame=frame, trace_only_current_thread=True, notify_stdin=False)


def listen(address: tuple[str, int]) -> None:
    """Open a port for debugpy, print the ``launch.json`` for it, and wait for a client.

    Raises:
        ArgumentError: debugpy is not installed, or the port cannot be opened.
    """
    try:
        import debugpy  # noqa: PLC0415, T100 - only this option needs it
    except ImportError as error:
        raise ArgumentError("--listen needs debugpy: pip install debugpy") from error
    host, port = address
    try:
        debugpy.listen(address)  # noqa: T100 - a person asked for it
    except (OSError, RuntimeError) as error:
        raise ArgumentError(f"the debugger cannot listen on {host}:{port}: {error}") from error
    say(f"{_launch_json(host, port)}\nWaiting for a debugger on {host}:{port} …")
    debugpy.wait_for_client()  # noqa: T100
    debugpy.debug_this_thread()  # it looks up this machine once, which a replay would refuse


def parse_address(text: str) -> tuple[str, int]:
    """Return the host and the port of "[HOST:]PORT"; the host is 127.0.0.1 if it is not named.

    Raises:
        ArgumentError: the port is not a number, or the host is another machine's: a client can run code.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or _LOOPBACK[0]
    if not port.isascii() or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ArgumentError(f"invalid address {text!r} for a debugger; write [HOST:]PORT, such as 5678.")
    if host not in _LOOPBACK:
        raise ArgumentError(
            f"{host} is not a loopback address: anyone who can connect to a debugger can run code. Use "
            f"127.0.0.1:{port}, and a tunnel of ssh from another machine."
        )
    return host, int(port)


def _launch_json(host: str, port: int) -> str:
    """Return the text of a ``launch.json`` with which VS Code attaches to the port."""
    configuration = {
        "name": "restate-lab debug",
        "type": "debugpy",
        "request": "attach",
        "connect": {"host": host, "port": port},
        "justMyCode": True,
    }
    return json.dumps({"version": "0.2.0", "configurations": [configuration]}, indent=2)


def _describe_end(record: Record, outcome: Outcome) -> str:
    """Return the end of a replay beside the error in production."""
    production = record.journal.error
    text = str(replace(outcome, production=None)) if outcome.outcome == DIVERGES else str(outcome)
    here = f"Here:          {plain(text)}"
    if production is None:
        return here
    same = ""
    if outcome.outcome == FAILS:
        same = " (the same error)" if outcome.is_as_in_production else " (another error)"
    return f"{here}\nIn production: {describe_failure(production)}{same}"
