"""One interface for progress: a bar in a notebook or a line in a terminal, for calls that take longer than a second.

A notebook is detected by objects of its kernel in Python's builtins, so that this module does not import IPython.
Without a terminal or notebook (cron, a pipe, a log) nothing is shown. Panels pass their own bar.

The bar in a notebook is not ``tqdm.auto``, because that is a widget. A notebook file only keeps a widget's first text
(such as "1,000 of 5,000", also after the call has ended), and a report shows a notice instead of a widget.
"""

from __future__ import annotations

import builtins
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from html import escape
from typing import Any, Protocol

DELAY = 1.0  # seconds before anything is shown
EVERY = 0.2  # seconds between two lines


class Progress(Protocol):
    """An object that receives the progress of a call, and can show it."""

    def update(self, rows: int, size: int) -> None:
        """Receive the progress; it can be the same as before.

        A read passes the rows and bytes (``size``) that have arrived so far. A plan passes the number of processed
        invocations, and their total.
        """

    def close(self) -> None:
        """Remove the line."""


class NoProgress:
    """Shows nothing."""

    def update(self, rows: int, size: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class _ProgressLine:
    """One line or bar; it is shown when the call has taken longer than a second."""

    def __init__(self, what: str, layout: str) -> None:
        self._what = what
        self._layout = layout
        self._started = time.monotonic()
        self._next = self._started + DELAY
        self._bar: _ProgressBar | None = None

    def update(self, rows: int, size: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY
        if self._bar is None:
            self._bar = _create_bar(self._what, self._layout, self._started)
        self._set_values(self._bar, rows, size)
        self._bar.refresh()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _set_values(self, bar: _ProgressBar, rows: int, size: int) -> None:
        raise NotImplementedError


class RowsLine(_ProgressLine):
    """Shows the rows and MB that have arrived so far in a read."""

    def __init__(self, what: str = "reading") -> None:
        super().__init__(what, "{desc}: {n:,} rows{postfix}, {elapsed}")

    def _set_values(self, bar: _ProgressBar, rows: int, size: int) -> None:
        bar.n = rows
        bar.set_postfix_str(f"{size / 1e6:,.1f} MB", refresh=False)


class InvocationsLine(_ProgressLine):
    """Shows how many of its invocations a plan has processed."""

    def __init__(self, what: str) -> None:
        super().__init__(what, "{desc}: {n:,} of {total:,}, {elapsed}")

    def _set_values(self, bar: _ProgressBar, rows: int, size: int) -> None:
        bar.n, bar.total = rows, size


class StepsLine(_ProgressLine):
    """Shows the current one of several named steps: "chapter 3 of 8, waits"; it is shown from the first step on."""

    def __init__(self, what: str, names: Sequence[str]) -> None:
        super().__init__(what, "{desc} {n:,} of {total:,}{postfix}, {elapsed}")
        self._names = names
        self._next = self._started

    def _set_values(self, bar: _ProgressBar, rows: int, size: int) -> None:
        bar.n, bar.total = rows, size
        bar.set_postfix_str(self._names[rows - 1], refresh=False)


def progress_of(wanted: bool | Progress | None, line: Callable[[], Progress]) -> Progress:
    """Return the progress object of a call: a new ``line`` for None and True, a silent one for False, or ``wanted``."""
    if wanted is False:
        return NoProgress()
    return line() if wanted is None or wanted is True else wanted


class _ProgressBar(Protocol):
    n: float
    total: float | None
    start_t: float

    def set_postfix_str(self, s: str, refresh: bool) -> None: ...
    def refresh(self) -> bool | None: ...
    def close(self) -> None: ...


def _create_bar(what: str, layout: str, started: float) -> _ProgressBar:
    display = _display()
    bar: _ProgressBar
    if display is not None:
        bar = _NotebookBar(what, layout, display)
    else:
        from tqdm.std import tqdm  # noqa: PLC0415 - only slow calls need it

        # disable=None: only in a terminal
        bar = tqdm(desc=what, bar_format=layout, leave=False, file=sys.stderr, delay=1e-9, disable=None)
    bar.start_t = time.time() - (time.monotonic() - started)
    return bar


def _display() -> Any:
    """Return the ``display`` function of the current kernel; None in a terminal and without IPython."""
    return getattr(builtins, "display", None) if in_notebook() else None


def in_notebook() -> bool:
    """Return whether this code runs in a kernel, such as that of a notebook."""
    shell = getattr(builtins, "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class _NotebookBar:
    """A bar below the cell, which is removed when it is closed; it has the required part of tqdm's interface."""

    def __init__(self, what: str, layout: str, display: Any) -> None:
        self.n: float = 0
        self.total: float | None = None
        self.start_t = time.time()
        self._what = what
        self._layout = layout
        self._postfix = ""
        self._handle = display(_ProgressDisplay("", ""), display_id=True)

    def set_postfix_str(self, s: str, refresh: bool) -> None:  # noqa: ARG002 - tqdm's signature
        self._postfix = f", {s}"

    def refresh(self) -> None:
        minutes, seconds = divmod(int(time.time() - self.start_t), 60)
        text = self._layout.format(
            desc=self._what, n=self.n, total=self.total, postfix=self._postfix, elapsed=f"{minutes:02}:{seconds:02}"
        )
        share = "" if self.total is None else f' max="{self.total}" value="{self.n}"'
        self._handle.update(_ProgressDisplay(f"<progress{share}></progress> {escape(text)}", text))

    def close(self) -> None:
        self._handle.update(_ProgressDisplay("", ""))


class _ProgressDisplay:
    def __init__(self, html: str, text: str) -> None:
        self._html = html
        self._text = text

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._text


_RECEIVER: ContextVar[Callable[[str], object] | None] = ContextVar("receiver", default=None)


def notify(text: str) -> None:
    """Show one line: with the receiver of ``redirect_messages``, below the cell of a notebook, or on stderr.

    A notebook shows stderr as a red box, like an error.
    """
    receiver, display = _RECEIVER.get(), _display()
    if receiver is not None:
        receiver(text)
    elif display is not None:
        display(_ProgressDisplay(_quiet(text), text))
    else:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - a person reads it


@contextmanager
def notify_during(text: str) -> Iterator[None]:
    """Show one line to the user as ``notify`` does; a notebook shows it only while the block runs."""
    display = _display()
    if display is None or _RECEIVER.get() is not None:
        notify(text)
        yield
        return
    handle = display(_ProgressDisplay(_quiet(text), text), display_id=True)
    try:
        yield
    finally:
        handle.update(_ProgressDisplay("", ""))


def _quiet(text: str) -> str:
    return f'<div style="opacity:.7">{escape(text)}</div>'


def warn(text: str, category: type[Warning], *, stacklevel: int) -> None:
    """Issue a warning, or show its text with the receiver of ``redirect_messages``.

    ``stacklevel`` is that of ``warnings.warn`` in the caller of this function.
    """
    receiver = _RECEIVER.get()
    if receiver is not None:
        receiver(text)
        return
    warnings.warn(text, category, stacklevel=stacklevel + 1)


@contextmanager
def redirect_messages(receiver: Callable[[str], object]) -> Iterator[None]:
    """Send the messages of this block and thread to ``receiver``; the output of a panel's thread would go to a cell."""
    token = _RECEIVER.set(receiver)
    try:
        yield
    finally:
        _RECEIVER.reset(token)


class SharedProgress:
    """The progress of all reads of one statement; a read does not end it."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._rows = self._size = 0

    def update(self, rows: int, size: int) -> None:
        """Pass the progress of one read on."""
        self._rows, self._size = rows, size
        self._shown.update(rows, size)

    def tick(self) -> None:
        """Pass the last progress on while the engine computes, so that an object can end the statement."""
        self._shown.update(self._rows, self._size)

    def close(self) -> None:
        """Do nothing: more reads can follow."""

    def end(self) -> None:
        """Close the shown progress."""
        self._shown.close()
