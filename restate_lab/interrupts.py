"""Handle Ctrl-C and the stop button: hold interrupts back while work must be completed, and raise them during waits.

Python raises KeyboardInterrupt in the main thread between any two bytecodes, also between the end of a ``with`` block
and the first line of ``__exit__``. Therefore ``try … finally`` cannot guarantee that a record is written. The only
reliable place is the handler of SIGINT: a Shield replaces it during a block.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class _InterruptHandler:
    """The handler of SIGINT while a Shield is used: it raises an interrupt, or holds it for later."""

    def __init__(self, previous: Callable[[int, FrameType | None], Any]) -> None:
        self.previous = previous
        self.pid = os.getpid()
        self.is_open = False
        self.is_held = False
        self.was_raised = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self.pid:  # another thread forked this process, in which the block does not continue
            signal.signal(signal.SIGINT, self.previous)
            self.is_open = True
        self.is_held = True
        self.release()

    def release(self) -> None:
        if self.is_held and self.is_open:
            # Closed first: a second interrupt must not be raised before the block can close it.
            self.is_held = self.is_open = False
            try:
                self.previous(signal.SIGINT, None)
            except BaseException:
                self.was_raised = True
                raise


class Shield:
    """Hold interrupts back during a ``with`` block; an interrupt that arrived is raised when the block has ended.

    While the audit log or an archive is written, an interrupt would leave a change without its outcome, or tables that
    do not match. Imports have no Shield: as with pandas, an interrupt of one may need a restart of the kernel.

    ``let_through(act)`` calls ``act`` within the block, and interrupts are raised during that call. Shields can be
    nested. Only the main thread gets a KeyboardInterrupt, so a Shield does nothing in other threads. It also does
    nothing if SIGINT has no Python handler.
    """

    def __init__(self) -> None:
        self._handler: _InterruptHandler | None = None
        self._is_outermost = False
        self._was_open = False

    @property
    def was_raised(self) -> bool:
        """Return whether an interrupt was raised in the main thread; other threads can see that only here."""
        return self._handler is not None and self._handler.was_raised

    def __enter__(self) -> Self:
        if not _is_main_thread():
            return self
        present = signal.getsignal(signal.SIGINT)
        if isinstance(present, _InterruptHandler) and present.pid == os.getpid():
            self._handler = present
            self._was_open, present.is_open = present.is_open, False
        elif callable(present):
            self._install(_InterruptHandler(present.previous if isinstance(present, _InterruptHandler) else present))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        handler = self._handler
        if handler is None:
            return
        if self._is_outermost and isinstance(
            signal.getsignal(signal.SIGINT), _InterruptHandler
        ):  # otherwise the block has set another handler
            signal.signal(signal.SIGINT, handler.previous)
        handler.is_open = self._is_outermost or self._was_open
        handler.release()

    def let_through(self, act: Callable[[], T]) -> T:
        """Return ``act()``; an interrupt that arrives during the call, or was held back before, is raised in it."""
        handler = self._handler
        if handler is None or not _is_main_thread():
            return act()
        was_open, handler.is_open = handler.is_open, True
        try:
            handler.release()
            return act()
        finally:
            handler.is_open = was_open

    def take(self) -> bool:
        """Return whether an interrupt is held back, and clear it: the caller handles it."""
        if self._handler is None:
            return False
        is_held, self._handler.is_held = self._handler.is_held, False
        return is_held

    def _install(self, handler: _InterruptHandler) -> None:
        self._handler, self._is_outermost = handler, True
        try:
            signal.signal(signal.SIGINT, handler)
        except ValueError:  # the main thread of a subinterpreter handles no signals
            self._handler = None


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
