"""pdb for a replay: it stops at the entries of the journal, at the line of the user's code that issues them.

The commands of the SDK's state machine are counted at its methods. To stop, tracing is turned off, the prompt is opened
at the frame of the user, and tracing is turned on again for the command of the person: a trace function that was
installed within the SDK would stop in the SDK.
"""

from __future__ import annotations

import inspect
import pdb  # noqa: T100 - this is a debugger
import sys
from types import CodeType, FrameType, TracebackType
from typing import Any, TextIO

from restate_lab._text import escape_invisible
from restate_lab.debugging.stepping.entries import JournalCursor
from restate_lab.testing.frames import is_machinery, is_own_code, user_frame

_SKIPPED = ("restate", "restate.*", "asyncio.*", "contextlib", "restate_lab.testing.*", "restate_lab.debugging.*")
_COROUTINE = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
HELP = "ne: next entry · entries: list them · until N: to entry N · c: to the end · q: quit · h: the commands of pdb"


class SessionQuit(SystemExit):
    """The person ended the session; no code of a handler catches it as an error."""


class EntryPdb(pdb.Pdb):
    """A prompt of pdb with commands for the entries of the journal that is replayed.

    ``stop_at`` is the index of the entry at which the first prompt is; None is the first line of the handler.
    """

    def __init__(
        self, cursor: JournalCursor, *, stop_at: int | None = None, stdin: TextIO | None, stdout: TextIO | None
    ) -> None:
        super().__init__(stdin=stdin, stdout=stdout, skip=_SKIPPED, nosigint=True)
        self.use_rawinput = stdin is None
        self.cursor = cursor
        self._stop_at = stop_at
        self._is_next = False
        self._is_over = False
        self._is_quit = False
        self._first: CodeType | None = None
        self._folder = ""

    def attach(self, context: Any) -> None:
        """Follow the attempt that has this context of the SDK, and no later one of the replay."""
        if self._is_over or self._folder:
            self.detach()
            return
        self.cursor.follow(context, self._arrive)
        code = getattr(inspect.unwrap(context.handler.fn), "__code__", None)
        self._folder = code.co_filename if code is not None else "?"
        if code is None:
            self._is_next = self._stop_at is None
        elif self._stop_at is None:
            self._first = code
            self._trace_from(sys._getframe())  # noqa: SLF001 - frames are what a debugger is about

    def detach(self) -> None:
        """End the session: nothing stops any more."""
        self._is_over, self._is_next, self._stop_at, self._first = True, False, None, None
        sys.settrace(None)
        self.clear_all_breaks()

    def open_at(self, trace: TracebackType) -> None:
        """Open the prompt at the line that failed, after the replay."""
        self.detach()
        self.reset()
        self.interaction(None, trace)

    def break_here_now(self, *_: object, **__: object) -> None:
        """Open the prompt at the user's line that has called ``breakpoint()``."""
        sys.settrace(None)
        self._stop(sys._getframe().f_back)  # noqa: SLF001

    def _arrive(self, line: str, frame: FrameType) -> None:
        at = self.cursor.index
        if self._is_quit:
            raise SessionQuit
        if self._is_next or (self._stop_at is not None and (at is None or at >= self._stop_at)):
            sys.settrace(None)
            self._is_next, self._stop_at = False, None
            self.message(f">> {line}")
            self._stop(frame)

    def _stop(self, frame: FrameType | None) -> None:
        """Open the prompt at the user's line that led to a frame."""
        at = user_frame(frame)
        if at is None:
            return
        self.reset()
        each: FrameType | None = at
        while each is not None:
            each.f_trace = self.trace_dispatch
            self.botframe = each
            each = each.f_back
        self.interaction(at, None)
        if self.breaks or self.stopframe is not self.botframe:
            sys.settrace(self.trace_dispatch)

    def _trace_from(self, frame: FrameType) -> None:
        """Trace calls from now on, without a stop."""
        self.reset()
        self.botframe = frame
        self._set_stopinfo(frame, None, -1)  # type: ignore[attr-defined]
        sys.settrace(self.trace_dispatch)

    def dispatch_call(self, frame: FrameType, arg: None) -> Any:
        """Stop at the first line of the handler."""
        if self._first is not None and frame.f_code is self._first:
            self._first = None
            self.message(f">> entry {self.cursor.line_of(0)}")
            self.set_step()
            return self.trace_dispatch
        return super().dispatch_call(frame, arg)

    def user_call(self, frame: FrameType, argument_list: None) -> None:
        """Stop where a function begins; not where a coroutine goes on, which looks the same."""
        if not frame.f_code.co_flags & _COROUTINE:
            super().user_call(frame, argument_list)

    def user_return(self, frame: FrameType, return_value: Any) -> None:
        """Stop where a function returns; not where a coroutine awaits, which looks the same."""
        if not frame.f_code.co_flags & _COROUTINE:
            super().user_return(frame, return_value)

    def stop_here(self, frame: FrameType) -> bool:
        """Return whether to stop in a frame; a single step does not enter what the SDK calls, but the user's code."""
        return super().stop_here(frame) and (frame is self.stopframe or not self._is_within_sdk(frame))

    def get_stack(self, f: FrameType | None, t: TracebackType | None) -> tuple[list[tuple[FrameType, int]], int]:
        """Return the stack within the handler, without the SDK's frames, and the index of the current frame."""
        stack, index = super().get_stack(f, t)
        names = [str(frame.f_globals.get("__name__", "")) for frame, _ in stack]
        outside = max((at for at, name in enumerate(names) if name.startswith("restate_lab.testing.")), default=-1)
        kept = [
            at for at in range(outside + 1, len(stack)) if not is_machinery(stack[at][0].f_code.co_filename)
        ] or range(len(stack))
        current = max((place for place, at in enumerate(kept) if at <= index), default=0)
        return [stack[at] for at in kept], current

    def _is_within_sdk(self, frame: FrameType) -> bool:
        each: FrameType | None = frame
        while each is not None:
            file = each.f_code.co_filename
            if file == self._folder or is_own_code(file):
                return False
            if is_machinery(file):
                return True
            each = each.f_back
        return True

    def do_ne(self, arg: str) -> bool:  # noqa: ARG002
        """Ne: continue to the next entry of the journal that the code issues."""
        return self._go(None)

    def do_until(self, arg: str) -> bool | None:
        """Until N: continue to entry N of the journal, as entries lists them.

        Without N, and as unt, it is the command of pdb: continue until a line with a greater number.
        """
        if not arg:
            return bool(super().do_until(arg))
        at = self.cursor.command_at(int(arg)) if arg.isdecimal() else None
        if at is None:
            self.error(f"there is no entry {arg} with a command; entries lists them, and unt N is for lines")
            return None
        if self.cursor.index is None or at <= self.cursor.index:
            self.error(f"entry {at} has passed")
            return None
        return self._go(at)

    do_unt = pdb.Pdb.do_until

    def do_entries(self, arg: str) -> None:  # noqa: ARG002
        """Entries: list the commands and signals of the journal with their recorded results."""
        for line in self.cursor.lines():
            self.message(line)

    def do_quit(self, arg: str) -> bool:  # noqa: ARG002
        """Quit, q: end the replay."""
        self._is_quit = True
        sys.settrace(None)
        raise SessionQuit

    do_q = do_exit = do_EOF = do_quit  # noqa: N815 - the names of pdb

    def do_run(self, arg: str) -> None:  # noqa: ARG002
        """Run: not available; quit, and start the command again."""
        self.error("a replay cannot start again; quit, and start the command again")

    do_restart = do_run

    def message(self, msg: object) -> None:
        """Print a text, in which invisible characters are escaped."""
        super().message(escape_invisible(str(msg)))

    def error(self, msg: object) -> None:
        """Print an error, in which invisible characters are escaped."""
        super().error(escape_invisible(str(msg)))

    def _go(self, at: int | None) -> bool:
        if self._is_over:
            self.error("the replay has ended")
            return False
        self._is_next, self._stop_at = at is None, at
        self.set_continue()
        return True
