"""Error handling for commands: errors become a message and an exit code, warnings become one line."""

from __future__ import annotations

import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import FrameType
from typing import Any

import typer

from restate_lab._text import escape_invisible
from restate_lab.cli._in_a_shell import in_a_shell
from restate_lab.errors import ArgumentError, RestateLabError, StatementError
from restate_lab.progress import redirect_messages

ERROR, USAGE, BAD, INCOMPLETE, INTERRUPTED = 1, 2, 3, 4, 130


@dataclass(slots=True)
class _Change:
    """The change that a command has made: "" before it, and then a short text, with the exit code of its outcome."""

    text: str = ""
    shown_by: str = ""
    code: int = 0


_CHANGE: ContextVar[_Change] = ContextVar("change")  # of the block of exit_on_error


def note_change(text: str, *, shown_by: str = "", code: int = 0) -> None:
    """State that this command has changed something, and the exit code of the outcome.

    From here on, an error in the block of ``exit_on_error`` is a failure to show the outcome: a full disk under the
    output, a reader that is gone, a file that exists. It becomes one line with this text and the command ``shown_by``,
    and the exit code is ``code``.
    """
    change = _CHANGE.get()
    change.text, change.shown_by, change.code = text, shown_by, code


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Print errors raised in this block on stderr and exit with their exit code; a bug keeps its traceback.

    An error in a statement also shows the line with a marker under the position. After ``note_change``, the exit code
    is that of the change.
    """
    with warnings.catch_warnings(), redirect_messages(_print_note):
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, category, *_, **__: warn(f"{category.__name__}: {message}")
        try:
            with _exit_as_note_change():
                yield
                sys.stdout.flush()  # so that a broken pipe is raised here
        except RestateLabError as error:
            _print_message("\n".join([_one_line(error), *getattr(error, "__notes__", ())]))
            raise typer.Exit(USAGE if isinstance(error, ArgumentError | StatementError) else ERROR) from error
        except BrokenPipeError:  # the reader of the pipe has closed it
            raise
        except OSError as error:  # a file that cannot be read or written, a full disk
            _print_message(_reason_of(error))
            raise typer.Exit(ERROR) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error


@contextmanager
def _exit_as_note_change() -> Iterator[None]:
    change = _Change()
    token = _CHANGE.set(change)
    try:
        yield
    except typer.Exit:
        raise
    except (Exception, KeyboardInterrupt) as error:
        if not change.text:
            raise
        if not isinstance(error, RestateLabError | OSError | KeyboardInterrupt):  # a bug
            traceback.print_exc()
        advice = f": {change.shown_by} shows it" if change.shown_by else ""
        _print_message(f"{change.text}; the result could not be printed ({_reason_of(error)}){advice}.")
        raise typer.Exit(INTERRUPTED if isinstance(error, KeyboardInterrupt) else change.code) from error
    finally:
        _CHANGE.reset(token)


def _reason_of(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{f': {error.filename}' if error.filename else ''}"
    return _one_line(error).rstrip(".")


@contextmanager
def warn_on_output_error(what: str) -> Iterator[None]:
    """Continue if this block cannot print, with a warning on stderr: ``what`` could not be printed."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        warn(f"{what} could not be printed ({_reason_of(error)}).")


def interrupt_on_sigterm() -> None:
    """Handle SIGTERM like Ctrl-C, which work that must be completed holds back."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    handler: Any = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # a shell starts a background command with SIGINT ignored
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)


def warn(text: str) -> None:
    _print_message(_one_line(Warning(text)), style="bold yellow")


def _one_line(error: BaseException) -> str:
    return escape_invisible(in_a_shell(" ".join(str(error).split())), lines=False) or type(error).__name__


def _print_note(text: str) -> None:
    from restate_lab.cli._page import TextPage

    TextPage(sys.stderr).paragraph((in_a_shell(text), "dim"))


def _print_message(text: str, *, style: str = "bold red") -> None:
    """Print the first line wrapped and the others unchanged, because they contain a position marker."""
    from restate_lab.cli._page import TextPage

    page = TextPage(sys.stderr)
    message, *rest = text.split("\n")
    page.paragraph(message, first="restate-lab: ", style=style)
    page.verbatim(rest)
