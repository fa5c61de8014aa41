"""Run a replay in a thread of its own, with an event loop of its own and a time limit.

A kernel and a test can have a running loop, so a replay has its own. Code can hang in an await, or block its thread;
the caller's thread waits, and ends both as far as Python can. The thread is a daemon: code that cannot be ended does
not keep the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Generic, TypeVar

from restate_lab.testing.errors import ReplayTimedOut
from restate_lab.testing.frames import CodePlace, place_in_frames, stack_of

T = TypeVar("T")
_GRACE = 0.5  # seconds for the code after each way to end it
_POLL = 0.2  # seconds between two looks at a thread that is over its limit, but at the prompt of a debugger
_DEBUGGERS = ("bdb", "pdb", "_pydevd_bundle", "pydevd", "debugpy")


class _Ended(BaseException):
    """Raised in the thread of a replay that is over its limit; code that catches ``Exception`` does not catch it."""


@dataclass(slots=True)
class ReplayThread(Generic[T]):
    """One replay: ``work`` is called in the thread and awaited there.

    ``phase`` begins a part with a limit of its own. ``on_end`` is called in the loop at the end of the limit, so that
    the attempt can end. ``cleanup`` is closed in the thread when the code has ended, also if it was ended late.
    """

    work: Callable[[ReplayThread[T]], Awaitable[T]]
    on_end: Callable[[], object] = field(default=lambda: None)
    cleanup: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _what: str = ""
    _limit: float | None = None
    _ends: float | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _task: asyncio.Task[T] | None = None
    _is_here: bool = False
    _done: threading.Event = field(default_factory=threading.Event)
    _value: list[T] = field(default_factory=list)
    _error: BaseException | None = None

    def phase(self, what: str, limit: float | None) -> None:
        """Begin a part of the work; ``what`` is the subject of the message at its limit (seconds; None: no limit)."""
        self._what, self._limit = what, limit
        self._ends = None if limit is None else time.monotonic() + limit

    def run(self) -> T:
        """Do the work, and return its value or raise its error.

        Raises:
            ReplayTimedOut: a part was over its limit.
        """
        thread = threading.Thread(target=self._main, name="restate-lab-replay", daemon=True)
        thread.start()
        try:
            is_over = not self._wait(thread)
        except BaseException:
            self._end(thread)
            raise
        if is_over:
            at = place_in_frames(stack_of(_frame_of(thread))) or place_in_frames(self._awaiting())
            self._end(thread)
            raise ReplayTimedOut(self._over(at))
        if self._error is not None:
            raise self._error
        return self._value[0]

    def run_here(self) -> T:
        """Do the work in the thread of the caller, without limits, and return its value or raise its error."""
        self._is_here = True
        self._main()
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.exception()  # asyncio would report an exception that nothing has read
        if self._error is not None:
            raise self._error
        return self._value[0]

    def _over(self, at: CodePlace | None) -> str:
        where = f" at {at}" if at else ""
        return f"{self._what} did not end within {self._limit:g} s{where}."

    def _wait(self, thread: threading.Thread) -> bool:
        """Return whether the work is done, or else its limit is over; not at the prompt of a debugger."""
        while True:
            ends = self._ends
            left = None if ends is None else max(0.0, ends - time.monotonic())
            if self._done.wait(_POLL if left is None else min(left, _POLL)):
                return True
            if ends is None or self._limit is None or ends != self._ends or time.monotonic() < ends:
                continue
            if not _is_debugged(thread):
                return False
            self.phase(self._what, self._limit)  # the time at the prompt does not count

    def _awaiting(self) -> list[FrameType]:
        """Return the frames of the coroutines in which the work is suspended, innermost first."""
        coroutine: Any = self._task.get_coro() if self._task is not None else None
        frames = []
        while getattr(coroutine, "cr_frame", None) is not None:
            frames.append(coroutine.cr_frame)
            coroutine = coroutine.cr_await
        return frames[::-1]

    def _end(self, thread: threading.Thread) -> None:
        """End the work: by the end of its request, by a cancellation, and by an exception in its thread."""
        for way in (self.on_end, self._cancel):
            with contextlib.suppress(RuntimeError):  # the loop is closed
                if self._loop is not None:
                    self._loop.call_soon_threadsafe(way)
            if self._done.wait(_GRACE):
                return
        if thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(_Ended))
            self._done.wait(_GRACE)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _main(self) -> None:
        loop = self._loop = asyncio.SelectorEventLoop()  # another, such as uvloop, connects without Python's sockets
        executor = ThreadPoolExecutor(thread_name_prefix="restate-lab-replay")
        loop.set_default_executor(executor)
        try:
            self._task = loop.create_task(_as_coroutine(self.work(self)))
            self._value.append(loop.run_until_complete(self._task))
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            self._error = error
        finally:
            self._finish(loop, executor)

    def _finish(self, loop: asyncio.AbstractEventLoop, executor: ThreadPoolExecutor) -> None:
        """End what the code left in its loop. Tasks that do not end keep this thread and its limits, not the caller."""
        loop.set_exception_handler(lambda *_: None)  # such tasks are not logged
        while tasks := asyncio.all_tasks(loop):
            for task in tasks:
                task.cancel()
            with contextlib.suppress(BaseException):
                loop.run_until_complete(asyncio.wait(tasks, timeout=_GRACE))
            if asyncio.all_tasks(loop):
                self._done.set()
                if self._is_here:
                    break
        with contextlib.suppress(BaseException):
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
        executor.shutdown(wait=False, cancel_futures=True)
        self.cleanup.close()
        self._done.set()


async def _as_coroutine(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _frame_of(thread: threading.Thread) -> FrameType | None:
    return sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - the only way to the frames of a thread


def _is_debugged(thread: threading.Thread) -> bool:
    """Return whether a thread is in a debugger: it waits for a person."""
    modules = (str(frame.f_globals.get("__name__", "")) for frame in stack_of(_frame_of(thread)))
    return any(name.partition(".")[0] in _DEBUGGERS for name in modules)
