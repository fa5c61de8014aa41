"""The standard streams of a command, whose failures must not change its exit code.

Python has None for a stream that is closed, and ends with exit code 120 if it cannot flush stdout or stderr at the end.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import typer

_LAST_DESCRIPTOR = 2  # of the standard streams


@contextmanager
def standard_streams() -> Iterator[None]:
    """Replace the standard streams during a block, so that each exists, and the process can end with any exit code.

    Reading from a closed stdin, and writing to a stdout that is closed, full or not read any more, raise OSError with
    the name of the stream. A message that stderr does not accept is dropped.
    """
    before = sys.stdin, sys.stdout, sys.stderr
    _fill_descriptors()
    out = _Stdout(_descriptor_of(sys.stdout), "w", closefd=False)
    err = _Stderr(_descriptor_of(sys.stderr), "w", closefd=False)
    sys.stdin = sys.stdin or io.TextIOWrapper(io.BufferedReader(_ClosedStdin()))
    sys.stdout, sys.stderr = _text_stream(out, sys.stdout), _text_stream(err, sys.stderr)
    streams = sys.stdout, sys.stderr
    try:
        yield
    finally:
        for stream in streams:
            with suppress(OSError):  # the command has reported it, or its exit code has
                stream.flush()
        out.is_over = True  # the rest cannot be written
        sys.stdin, sys.stdout, sys.stderr = before


def print_line(text: str) -> None:
    """Print a line on stdout; on stderr, as everything afterwards, if stdout is closed, full or not read any more."""
    try:
        typer.echo(text)
    except OSError:
        sys.stdout = sys.stderr
        typer.echo(text)


class _Stream(io.FileIO):
    def _write_all(self, data: memoryview) -> None:
        """Write everything: a disk that becomes full takes a part first, and no error is raised for it."""
        done = 0
        while done < len(data):
            written = super().write(data[done:])
            if written is None:  # the descriptor does not block, and its reader is slower
                select.select([], [self], [])
            done += written or 0


class _Stdout(_Stream):
    """Writes to stdout; an error has the name of the stream. When it ``is_over``, nothing is written any more."""

    is_over = False

    def write(self, data: Any, /) -> int:
        """Write to the descriptor."""
        rest = memoryview(data).cast("B")
        if self.is_over:
            return rest.nbytes
        try:
            self._write_all(rest)
        except OSError as error:
            if error.errno == errno.EBADF:
                raise OSError(errno.EBADF, "standard output is closed") from error
            error.filename = "standard output"
            raise
        return rest.nbytes


class _Stderr(_Stream):
    """Writes to stderr, and drops what it does not accept."""

    def write(self, data: Any, /) -> int:
        """Write to the descriptor."""
        rest = memoryview(data).cast("B")
        with suppress(OSError):
            self._write_all(rest)
        return rest.nbytes


class _ClosedStdin(io.RawIOBase):
    def readable(self) -> bool:
        return True

    def readinto(self, _: Any, /) -> int:
        raise OSError(errno.EBADF, "standard input is closed")


def _fill_descriptors() -> None:
    """Open the closed ones of the first three descriptors: else a file or connection that is opened later gets one.

    The output of a child process would then be written into that file.
    """
    while (descriptor := os.open(os.devnull, os.O_RDONLY)) <= _LAST_DESCRIPTOR:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - positional only
    os.close(descriptor)


def _descriptor_of(stream: TextIO | None) -> int:
    """Return the descriptor of a stream; for a closed one, a descriptor that accepts nothing."""
    return os.open(os.devnull, os.O_RDONLY) if stream is None else stream.fileno()


def _text_stream(raw: io.FileIO, replaced: TextIO | None) -> io.TextIOWrapper:
    """Return a text stream with the encoding and the buffering of the one that it replaces."""
    if replaced is None:
        return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="replace")
    is_line_buffered = getattr(replaced, "line_buffering", False)
    through = getattr(replaced, "write_through", False)  # with PYTHONUNBUFFERED, Python also has no buffer below
    buffer: Any = raw if through else io.BufferedWriter(raw)
    return io.TextIOWrapper(
        buffer, replaced.encoding, replaced.errors, line_buffering=is_line_buffered, write_through=through
    )
