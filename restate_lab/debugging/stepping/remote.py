"""debugpy for a replay: an editor such as VS Code connects to a port of this machine, and sets breakpoints.

debugpy is a dependency of ipykernel. Its protocol has no breakpoints on entries of a journal, so ``EntryBreak``
suspends the thread at the user's line that issues one entry.
"""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from restate_lab.debugging.stepping.entries import JournalCursor
from restate_lab.errors import ArgumentError
from restate_lab.testing.frames import user_frame

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


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


def launch_json(host: str, port: int) -> str:
    """Return the text of a ``launch.json`` with which VS Code attaches to the port."""
    configuration = {
        "name": "restate-lab debug",
        "type": "debugpy",
        "request": "attach",
        "connect": {"host": host, "port": port},
        "justMyCode": True,
    }
    return json.dumps({"version": "0.2.0", "configurations": [configuration]}, indent=2)


def listen(host: str, port: int, *, say: Callable[[str], object]) -> None:
    """Open the port, and wait for a debugger; ``say`` is called with the ``launch.json`` before the wait.

    Raises:
        ArgumentError: debugpy is not installed, or the port cannot be opened.
    """
    try:
        import debugpy  # noqa: PLC0415, T100 - only this option needs it
    except ImportError as error:
        raise ArgumentError("--listen needs debugpy: pip install debugpy") from error
    try:
        debugpy.listen((host, port))  # noqa: T100 - a person asked for it
    except (OSError, RuntimeError) as error:
        raise ArgumentError(f"the debugger cannot listen on {host}:{port}: {error}") from error
    say(f"{launch_json(host, port)}\nWaiting for a debugger on {host}:{port} …")
    debugpy.wait_for_client()  # noqa: T100


class EntryBreak:
    """Suspend a replay at one entry, for the client of debugpy."""

    def __init__(self, cursor: JournalCursor, stop_at: int | None) -> None:
        self.cursor = cursor
        self._stop_at = stop_at

    def attach(self, context: Any) -> None:
        """Follow the attempt that has this context of the SDK, until the entry has come."""
        if self._stop_at is not None:
            self.cursor.follow(context, self._arrive)

    def _arrive(self, _: str, frame: FrameType) -> None:
        at = self.cursor.index
        if self._stop_at is not None and (at is None or at >= self._stop_at):
            self._stop_at = None
            _suspend(user_frame(frame))


def _suspend(frame: FrameType | None) -> None:
    """Suspend this thread at a frame; ``debugpy.breakpoint()`` would suspend it only after the line."""
    pydevd = importlib.import_module("pydevd")  # a part of debugpy, without types
    debugger, thread = pydevd.get_global_debugger(), threading.current_thread()
    if debugger is None or frame is None:
        return
    debugger.set_suspend(thread, importlib.import_module("_pydevd_bundle.pydevd_comm_constants").CMD_SET_BREAK)
    debugger.set_trace_for_frame_and_parents(thread.ident, frame)
    debugger.do_wait_suspend(thread, frame, "line", None)
