"""The end of a command: an error becomes one message and an exit code, a warning one line; a broken pipe is silent."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

from restate_lab.errors import ArgumentError, RestateLabError, StatementError

__all__ = ["ERROR", "USAGE", "exit_on_error", "warn"]

ERROR, USAGE, INTERRUPTED = 1, 2, 130


@contextmanager
def exit_on_error(statement: str = "", values: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Print an error of this block on stderr, and end with its exit code; a bug keeps its traceback.

    In an error about ``statement`` the place is marked; ``values`` are those of its parameters.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _show_warning
        try:
            yield
            sys.stdout.flush()  # while a broken pipe is still ours to pass over
        except RestateLabError as error:
            from restate_lab.magics.error_marker import mark_error  # noqa: PLC0415 - takes a second, which --help need not

            _print_message(mark_error(error, statement, values))
            raise typer.Exit(USAGE if isinstance(error, ArgumentError | StatementError) else ERROR) from error
        except BrokenPipeError:  # whoever read has enough
            raise
        except OSError as error:  # a file that cannot be read or written, a full disk
            _print_message(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
            raise typer.Exit(ERROR) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error


def warn(text: str) -> None:
    """Print a text on stderr, in one line."""
    from restate_lab.magics.error_marker import one_line  # noqa: PLC0415 - as above

    _print_message(one_line(Warning(text)))


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    warn(f"{category.__name__}: {message}")


def _print_message(text: str) -> None:
    typer.echo(f"restate-lab: {text}", err=True)
