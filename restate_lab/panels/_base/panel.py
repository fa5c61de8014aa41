"""The base of the panel: it reads in a thread, shows errors, reports the cost of reading, and ends with close().

A subclass implements ``_read`` (returns the content), ``_show`` (shows it) and ``code``. ``_read`` runs in the thread
of the panel or of the caller, one at a time, and must not touch widgets. ``_show`` runs after it in the same thread: it
can set traits from any thread, and must not print.
"""

from __future__ import annotations

import threading
import time
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any

import ipywidgets as widgets
import pandas as pd
import traitlets
from IPython.display import HTML, display

from restate_lab._html import without_code
from restate_lab._text import escape_invisible, format_duration, format_time, truncate
from restate_lab.calls import without_options
from restate_lab.client.arguments import check_seconds
from restate_lab.durations import DurationInput, to_timedelta
from restate_lab.errors import ArgumentError, RestateLabError
from restate_lab.panels._base import controls
from restate_lab.panels._base.content import close_all
from restate_lab.panels._base.files import PanelFiles
from restate_lab.panels._base.front_end import NOT_JUPYTER, UNANSWERED, AnswerWatch, CellWatch
from restate_lab.panels._base.head import Head
from restate_lab.panels._base.problem import ReadFailure, kind_of
from restate_lab.panels._base.refresher import LOST, SHARE, Pace, Refresher
from restate_lab.panels._base.source import PanelSource, place_of, why_read_only
from restate_lab.progress import redirect_messages
from restate_lab.reads import Stopped
from restate_lab.source import Source, check_supported
from restate_lab.tokens import INLINE

_LINE = f"font:{INLINE['f3']}/1.6 {INLINE['sans']};margin:4px 0"
_DRAWING = 0.3  # seconds
_KEPT_FOR = 60.0  # seconds between two copies of the same content in the notebook: each one is a change of the file
# Without a kernel, JupyterLab shows "model not found" in place of the widget below the copy.
_SAVED = f'<div style="{_LINE}">A saved copy of the panel. To use the panel, run the cell.</div>'
_COPY_STYLE = """.jp-WindowedPanel-viewport .rl-saved {{max-height:640px;overflow:auto}}
.jp-OutputArea-child:has(.rl-saved[data-panel="{copy}"]) + .jp-OutputArea-child:not(:has(.rl-panel)) {{display:none}}"""


class LivePanel(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """The base of one panel over a source; use a subclass.

    ``refresh`` is the time between two reads while the panel is visible, for example "10s"; None reads only on request.
    Reading takes at most about a tenth of the time. In the view "queues" it takes a thousandth, unless the rows would
    be older than 90 s. A query has a time limit of 30 s, or less if ``connect(timeout=…)`` of the source sets less.

    After a failed read, the panel tries again after 2 s, 4 s, 8 s … up to 30 s. Each attempt starts with a cheap
    request. The panel reads as soon as the server responds to it or to another read on the same connection.

    A subclass creates its widgets, calls ``super().__init__``, sets ``self.body`` and then calls ``self.refresh()``.
    Handlers use ``self.guard(…)``. A handler that needs another read calls ``self.ask()``, which does not block.
    """

    keep = True
    """Whether a saved notebook has the rows; False leaves one line with the code. Set it before the panel is shown."""
    sql = traitlets.Unicode("", help="The statement of the last read, which runs with ``params``.")

    _finalizer: weakref.finalize[..., Any] | None = None
    _parts: tuple[Any, ...] = ()
    _kept_at: tuple[str, float] | None = None
    _is_unanswered = False

    def __init__(self, source: Source, /, *, refresh: DurationInput | None = 5.0) -> None:
        self.source = source
        self.closed = threading.Event()
        self.reads = PanelSource(source, self.closed)
        self._reading = threading.RLock()
        self._generation = 0
        self._wrong: dict[str, str] = {}
        self._read_at: datetime | None = None
        self._took = 0.0
        self._problem: ReadFailure | None = None
        self._failed_at = 0.0
        self._every = _seconds(refresh)
        frozen = not source.live
        live = None if frozen else self._every is not None
        access = "read-only" if why_read_only(source) else "writable"
        self.head = Head(source.name, place_of(source), access=access, live=live)  # the version needs a request
        pace = Pace(None if frozen else self._every)
        self.refresher = Refresher(self._round, pace=pace, is_wanted=lambda: self.head.is_shown, is_back=self._is_back)
        self.head.on_answer = self._note_answer
        self.files = PanelFiles(guard=self.guard, show=self.head.show_file)
        self._answers = AnswerWatch(lambda: self.head.is_answered or self.closed.is_set(), self._note_no_answer)
        self._cells = CellWatch(self._close_if_replaced)
        self.head.on_left = self._close_if_replaced
        self.head.on_refresh = self.guard(self.ask)
        self.head.on_live = self.guard(self._set_live)
        self.head.on_shown = self.guard(lambda shown: self.refresher.wake() if shown else None, by_reader=False)
        super().__init__(children=[self.head])
        self.add_class("rl-panel")
        self._finalizer = weakref.finalize(self, _end, self.closed, self.refresher)

    # The parts of a subclass

    @abstractmethod
    def _read(self) -> Any:
        """Read all content from ``self.reads`` and return it; must not touch widgets."""

    @abstractmethod
    def _show(self, found: Any) -> None:
        """Show the content in the widgets."""

    @property
    @abstractmethod
    def code(self) -> str:
        """Return the code that creates this panel or its frame."""

    @property
    def link(self) -> str:
        """Return the address of the page of ``restate-lab serve`` with the current content, as "Copy link" copies it.

        It has no token. It is "" without the variable RESTATE_LAB_SERVE, in the views "state" and "deployments", and if
        it would be too long, such as for a filter with more than 50 ids.
        """
        return self.head.link

    def _static(self) -> Iterable[str]:
        """Return escaped HTML of the content, for pages without widgets."""
        return ()

    @property
    def _share(self) -> int:
        """Return in how many parts of the time one part is for reading, at most."""
        return SHARE

    # For code

    @property
    def params(self) -> Mapping[str, Any]:
        """Return the values of the statement's ``:name`` parameters."""
        return {}

    @property
    def frame(self) -> pd.DataFrame:
        """Return the rows that the panel shows."""
        return pd.DataFrame()

    @property
    def error(self) -> str:
        """Return the error that the panel shows, or "" if there is no error."""
        return "\n".join(filter(None, (self._problem_text(), self.head.banner, self.head.error)))

    @property
    def body(self) -> tuple[widgets.Widget, ...]:
        """Return the widgets below the head; you can also set them."""
        return tuple(self.children[1:])

    @body.setter
    def body(self, parts: Iterable[widgets.Widget]) -> None:
        self.children = (self.head, *parts)

    # Reading

    def refresh(self) -> None:
        """Read now and return after the result is shown; an error appears in the panel and in ``error``."""
        self._round()

    def ask(self, *_: object) -> None:
        """Read soon, in the thread of the panel; the result of a read in progress is discarded."""
        self._generation += 1
        self.refresher.ask()

    def wait(self, *, timeout: DurationInput = "60s") -> bool:
        """Wait at most ``timeout`` until the requested reads are shown; return whether they are."""
        return self.refresher.wait(check_seconds("timeout", timeout))

    def click(self, control: str, /, *, row: Any = None) -> None:
        """Click a visible control by its name, as a user does; errors appear in ``error``.

            panel.click("select", row=id)
            panel.click("Resume")                          # makes the plan; nothing is sent
            panel.wait(action=True)
            panel.fill("reason", "INC-42: the API is back")
            panel.click("Resume 1 invocation")             # sends it

        A click has the same rules as in the page: an action needs its plan, the reason, and the number if there are
        many. The name is the text on a button, a check box or the title of a section; a number or "…" at its
        end can be omitted. Other names:

        - "Refresh", "live", "Report", the views and the way back ("‹ Invocations")
        - the presets of the list, "status paused", "service Payments", "window 1h", "Clear all", "Group"
        - with ``row``, the id of a row or of an invocation in the journal: "open", "select", "expand"
        - without ``row``: "select all" and "clear selection", if one table is visible
        - with ``row``, the number of a finding: "Show", "Why", "Plan resume"
        - "Note", after ``fill("note", text)``; with ``row`` it acknowledges the finding for an hour, or as
          ``fill("until", "4h")`` says
        - if one list is visible: "Export csv", "Export xlsx", "Copy ids"
        - in the view "queues": "Will it drain?"
        - in the view "waits" with ``row``, an id: "open box", "list waiting"; without ``row``: "Show the whole graph"

        Raises:
            ArgumentError: not exactly one visible control has this name; the message has the names.
        """
        controls.click(self, control, row)

    def fill(self, field: str, value: Any, /) -> None:
        """Enter a value into a visible field by its label, such as "reason"; a list takes the text of a choice.

        "search" filters the rows of the list that are loaded; a text with an id opens it, and several ids are listed.
        The filters of the list are "filter text contains", "filter handler" and so on.

        Raises:
            ArgumentError: not exactly one visible field has this label, or the list does not have the choice.
        """
        controls.fill(self, field, value)

    def close(self) -> None:
        """End the threads of the panel, close its widgets, and forget its content."""
        # ipywidgets also closes incomplete widgets, and closed ones again.
        if self._finalizer is not None and self._finalizer.alive:
            self._finalizer()
            self._cells.stop()
            self.files.close()
            self._close_parts()
            self.layout.close()
            self.head.show("sql", "")  # IPython keeps the panel in Out
        super().close()
        self.children = ()

    def _close_if_replaced(self) -> None:
        """Close the panel if neither a cell, a view nor a variable has it any more, unless it still acts."""
        if self._cells.is_replaced(self) and not self.head.is_open and not self._is_acting():
            self._cells.forget(self)
            self.close()

    def _is_acting(self) -> bool:
        """Return whether something that the user started must end first, such as a change or an export."""
        return not self.files.wait(0)

    def _check_open(self) -> None:
        if self.closed.is_set():
            raise ArgumentError(f"this panel is closed. To see its content again: {self.code}")

    def _close_parts(self) -> None:
        for part in (*self._parts, *self.children):
            close_all(part)
        self._parts = ()

    def let_draw(self) -> None:
        """Wait briefly in a thread of the panel, so that the page draws its rows before the next requests."""
        self.closed.wait(_DRAWING)

    def ends_with(self, part: Any, /) -> None:
        """Register a part that is closed together with the panel."""
        self._parts = (*self._parts, part)

    # Messages to the user

    def guard(self, act: Callable[..., object], /, *, by_reader: bool = True) -> Callable[..., None]:
        """Return a handler that calls ``act`` and shows its errors, which would otherwise be lost.

        The next action of the user removes the shown error and the shown file; a refresh does not.
        """

        def handle(*arguments: Any) -> None:
            try:
                if by_reader:
                    self._tell_error("handler", None)
                    self.head.file = {}
                with redirect_messages(self.say):
                    act(*arguments)
            except Exception as error:  # noqa: BLE001 - a panel's handler: it is shown in the panel
                self.fail(error)

        return handle

    def say(self, text: str, /) -> None:
        """Show one line of text about an event; safe from any thread."""
        self.head.show("event", without_options(text))

    def fail(self, error: Exception, /) -> None:
        """Show the error as text; safe from any thread."""
        if not isinstance(error, Stopped):
            self._tell_error("handler", error)

    def _tell_error(self, of: str, error: Exception | None) -> None:
        self._wrong[of] = "" if error is None else _message_of(error)
        self.head.show("error", "\n".join(dict.fromkeys(filter(None, self._wrong.values()))))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.head.place or self.source.name}>"

    def _ipython_display_(self) -> None:
        """Show the panel as two outputs: its current content, which a saved notebook keeps, and the widget.

        Notebooks prefer a widget to the HTML in the same output, even if its kernel has gone. The view of the widget
        hides the other output.
        """
        if self.closed.is_set():
            text = escape(f"This panel is closed. To see its content again: {self.code}")
            display({"text/html": f'<div style="{_LINE}">{text}</div>'}, raw=True)  # type: ignore[no-untyped-call]
            return
        self._cells.note_shown()
        widget = super()._repr_mimebundle_() or {}
        self._kept_at = self._keep_copy(update=False)
        display({**widget, "text/html": ""}, raw=True)  # type: ignore[no-untyped-call] # IPython has no types
        self._answers.start()

    def _note_no_answer(self) -> None:
        self._is_unanswered = True
        self._kept_at = self._keep_copy(update=True)

    def _note_answer(self) -> None:
        if self._is_unanswered:
            self._is_unanswered = False
            self._kept_at = self._keep_copy(update=True)

    def _keep_copy(self, *, update: bool) -> tuple[str, float]:
        """Write the current content to the notebook; return what it is of, and the time."""
        note = UNANSWERED if self._is_unanswered else _SAVED
        content = self._html() if self.keep else f'<div style="{_LINE}">{escape(self.code)}</div>'
        style = _COPY_STYLE.format(copy=self.head.copy)
        html = f'<div class="rl-saved" data-panel="{self.head.copy}"><style>{style}</style>{note}{content}</div>'
        options = {"raw": True, "display_id": self.head.copy, "update": update}
        display({"text/html": html}, **options)  # type: ignore[no-untyped-call] # IPython has no types
        return self.code, time.monotonic()

    def _keep_current_copy(self) -> None:
        """Write the content to the notebook again if the panel shows something else, or after some time."""
        if self._kept_at is not None:
            code, at = self._kept_at
            if code != self.code or time.monotonic() - at >= _KEPT_FOR:
                self._kept_at = self._keep_copy(update=True)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Return the widget, and its current content as static HTML for pages without widgets."""
        return {**(super()._repr_mimebundle_(**kwargs) or {}), "text/html": self._html()}

    def _display_(self) -> Any:
        """Return what marimo shows: the current content, without the widget, whose parts it cannot show together."""
        return HTML(f"{NOT_JUPYTER}{self._html()}")  # type: ignore[no-untyped-call] # IPython has no types

    def _html(self) -> str:
        head = f"<b>{escape(self.head.heading)}</b> {escape(self.head.access)} {escape(self.head.place)}"
        read = f"read at {format_time(self._read_at)}" if self._read_at else ""
        texts = (read, escape_invisible(self._problem_text()), self.head.banner, self.head.error)
        lines = [escape(text) for text in texts if text]
        top = "".join(f'<div style="{_LINE}">{line}</div>' for line in (head, *lines))
        with without_code():
            return f"<div>{top}{''.join(self._static())}</div>"

    # One round

    def _round(self) -> None:
        with self._reading:
            if self.closed.is_set():
                return
            self.head.busy = True
            started = time.monotonic()
            try:
                with redirect_messages(self._say_while_reading):
                    self._try_to_read(started)
            except Exception as error:  # noqa: BLE001 - a panel's thread: it is shown in the panel
                self._note_failure(error, time.monotonic() - started)
            finally:
                self.refresher.done()
                self.head.show_cost(self._read_at, self._cost())
                self.head.busy = False
            self._keep_current_copy()

    def _try_to_read(self, started: float) -> None:
        """Read; if the server was lost, first check with a cheap request that it responds."""
        if self._problem is not None:
            unreached = self.reads.probe_error(was_away=self._problem.kind == "away")
            if unreached is not None:
                self._note_problem(unreached, unreached, time.monotonic() - started)
                return
        try:
            self._read_and_show(started)
        except LOST as error:
            took = time.monotonic() - started
            self._note_problem(error, self.reads.probe_error(error), took)

    def _read_and_show(self, started: float) -> None:
        generation = self._generation
        check_supported(self.source, "a panel")
        found = self._read()
        self.head.place = place_of(self.source, self.source.version)
        self._took = time.monotonic() - started
        self.refresher.pace.share = self._share
        self.refresher.pace.record_success(self._took)
        self._read_at = datetime.now(UTC)
        self._set_problem(None)
        if generation == self._generation:
            self._tell_error("read", None)
            self._show(found)
        self.show_code()

    def show_code(self) -> None:
        """Show the statement and the code of the current content."""
        self.head.show("sql", _with_values(self.sql, self.params))
        self.head.code = self.code

    def _note_failure(self, error: Exception, took: float) -> None:
        """Show an error that does not resolve by itself."""
        self.refresher.pace.record_failure(error, took)
        if not isinstance(error, Stopped):
            self._set_problem(None)
            self._tell_error("read", error)

    def _note_problem(self, error: RestateLabError, unreached: RestateLabError | None, took: float) -> None:
        """Show that the panel cannot read at present, and the time of the next attempt."""
        kind = kind_of(error, unreached)
        pace = self.refresher.pace
        pace.record_failure(unreached if isinstance(unreached, LOST) else error, took, is_slow=kind == "slow")
        now, before = datetime.now(UTC), self._problem
        self._failed_at = time.monotonic()
        self._set_problem(
            ReadFailure(
                kind=kind,
                name=self.source.name,
                since=before.since if before and before.kind == kind else now - timedelta(seconds=took),
                shown_at=self._read_at,
                next_at=now + timedelta(seconds=pace.wait or 0.0),
                limit=self.reads.allowed,
                detail=_message_of(error),
            )
        )

    def _set_problem(self, problem: ReadFailure | None) -> None:
        self._problem = problem
        self.head.show_problem(problem)
        self.head.banner = ""

    def _problem_text(self) -> str:
        problem = self._problem
        return "" if problem is None else problem.text(datetime.now(UTC))

    def _is_back(self) -> bool:
        """Return whether the server responded to another read of the connection since this panel lost it."""
        return self._problem is not None and self._problem.kind == "away" and self.reads.answered_since(self._failed_at)

    def _say_while_reading(self, text: str) -> None:
        """Show the message of a read while it waits, until the read ends."""
        if self._problem is None:
            self.head.show("banner", f"{text}.{self._age()}")

    def _age(self) -> str:
        return f" Showing {format_time(self._read_at, show_zone=False)}." if self._read_at else ""

    def _cost(self) -> str:
        if self._read_at is None:
            return ""
        pace = self.refresher.pace
        text = f"read at {format_time(self._read_at)} in {format_duration(self._took)}"
        if pace.wait is None or pace.failures:
            return text
        share = 100 * pace.took / (pace.wait + pace.took)
        return f"{text}, every {format_duration(pace.wait)} while visible: {share:.1f} % of the time is spent reading"

    def _set_live(self, on: bool) -> None:
        self.refresher.set_every((self._every or 5.0) if on else None)
        self.head.show_cost(self._read_at, self._cost())


def _end(closed: threading.Event, refresher: Refresher) -> None:
    closed.set()
    refresher.stop()


def _seconds(refresh: DurationInput | None) -> float | None:
    if refresh is None or refresh is False:
        return None
    seconds = to_timedelta(refresh, name="refresh").total_seconds()
    if not seconds:
        raise ArgumentError(
            f"refresh is {refresh!r}, but must be greater than 0 seconds, or None to read only on request."
        )
    return seconds


def _message_of(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return (
        without_options(text)
        if isinstance(error, ArgumentError)
        else f"{type(error).__name__}: {without_options(text)}"
    )


def _with_values(sql: str, params: Mapping[str, Any]) -> str:
    shown = "\n".join(f":{name} = {_value(value)}" for name, value in params.items())
    return f"{sql.strip()}\n\n{shown}" if sql and shown else sql.strip()


def _value(value: Any) -> str:
    text = value.isoformat() if isinstance(value, datetime) else repr(value)
    return truncate(text, 300)
