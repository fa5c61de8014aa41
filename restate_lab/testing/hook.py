"""Watch a handler from within: its exception, and the steps that it would run.

The SDK enters the context managers of a handler around the user's code. One more, for the time of a replay, sees each
exception with its traceback, also a ``TerminalError``, of which a response has only the text. It also replaces the
function that runs the body of a step: no body runs unless its step was named.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

_LOGGERS = ("restate.server", "restate.server_context")


@dataclass(slots=True)
class Observation:
    """The handler in one attempt, as the hook saw it.

    ``is_seen``: the handler was entered, so without an ``error`` it raised nothing. ``step_error`` is the
    exception of a step that ran. ``refused`` has the names of the steps that would have run.
    """

    error: BaseException | None = None
    trace: TracebackType | None = None
    step_error: BaseException | None = None
    refused: list[str] = field(default_factory=list)
    is_seen: bool = False


@dataclass(slots=True)
class HandlerHook:
    """Watches the attempts of one replay; it acts only in the thread in which it was made.

    ``steps`` are the names of the steps whose bodies may run. ``on_refusal`` is called for each other one.
    ``on_enter`` is called with the SDK's context before the user's code.
    """

    on_refusal: Callable[[], object]
    on_enter: Callable[[Any], object] = field(default=lambda _: None)
    steps: frozenset[str] = frozenset()
    seen: Observation = field(default_factory=Observation)
    _thread: int = field(default_factory=threading.get_ident)
    _names: dict[int, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def watching(self, handler: Any) -> Iterator[None]:
        """Watch a handler within the block; for None, a handler that was not found, only the log is read."""
        with self._reading_log():
            if handler is None:
                yield
                return
            manager = _Manager(self)
            handler.context_managers = [*(handler.context_managers or ()), manager]
            try:
                yield
            finally:
                left = [each for each in handler.context_managers if each is not manager]
                handler.context_managers = left or None

    def begin(self, steps: frozenset[str]) -> Observation:
        """Begin an attempt, in which the bodies of these steps may run."""
        self.steps, self.seen = steps, Observation()
        self._names.clear()
        return self.seen

    def note(self, error: BaseException | None, trace: TracebackType | None) -> None:
        """Keep the exception of the handler."""
        self.seen.error, self.seen.trace = error, trace

    def is_own(self) -> bool:
        """Return whether this is the thread of the replay: a server can use the same handler in another one."""
        return threading.get_ident() == self._thread

    def guard(self, context: Any) -> None:
        """Replace how an SDK's context runs the bodies of steps."""
        run_step, sys_run = context.create_run_coroutine, context.vm.sys_run

        def named(name: str) -> Any:
            run = sys_run(name)
            self._names[getattr(run, "handle", run)] = name
            return run

        async def guarded(handle: int, action: Any, *more: Any) -> None:
            name = self._names.get(handle, "")
            if name in self.steps:
                await run_step(handle, self._noting(action), *more)
                return
            self.seen.refused.append(name)
            self.on_refusal()

        context.vm.sys_run, context.create_run_coroutine = named, guarded

    def _noting(self, action: Any) -> Any:
        """Return a step's body that keeps its exception."""

        async def call_async() -> Any:
            try:
                return await action()
            except Exception as error:
                self.seen.step_error = error
                raise

        def call() -> Any:
            try:
                return action()
            except Exception as error:
                self.seen.step_error = error
                raise

        return call_async if inspect.iscoroutinefunction(action) else call

    @contextlib.contextmanager
    def _reading_log(self) -> Iterator[None]:
        """Keep the SDK's log records of this thread from handlers, and note their exception if there is no other."""

        def keep(record: logging.LogRecord) -> bool:
            if record.thread != self._thread:
                return True
            if not self.seen.is_seen and record.exc_info and record.exc_info[1] is not None:
                self.note(record.exc_info[1], record.exc_info[2])
            return False

        loggers = [logging.getLogger(name) for name in _LOGGERS]
        for each in loggers:
            each.addFilter(keep)
        try:
            yield
        finally:
            for each in loggers:
                each.removeFilter(keep)


@dataclass(slots=True, eq=False)
class _Manager:
    """A context manager around the handler, which the SDK calls for each attempt."""

    hook: HandlerHook

    def __call__(self) -> _Manager:
        return self

    async def __aenter__(self) -> None:
        from restate.server_context import current_context  # noqa: PLC0415 - only a replay needs the SDK

        if self.hook.is_own():
            self.hook.seen.is_seen = True
            context = current_context()
            self.hook.guard(context)
            self.hook.on_enter(context)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.hook.is_own():
            self.hook.note(error, trace)
