"""The magic: it parses its line, calls one function and returns the result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, magics_class, needs_local_scope, no_var_expand
from IPython.display import display

from restate_lab._public import did_you_mean, missing_members, nearest_names
from restate_lab._text import plural
from restate_lab.analysis.ask import run_any_question
from restate_lab.analysis.questions.parameters import parse_texts
from restate_lab.client.lab import connect
from restate_lab.client.sql.bind import parameter_names
from restate_lab.client.sql.error_marker import mark_errors
from restate_lab.errors import ArgumentError, Truncated
from restate_lab.magics.completion import MagicCompleter, TableCatalog
from restate_lab.magics.frames import FrameFormatter
from restate_lab.magics.parser import MagicRequest, parse
from restate_lab.progress import notify
from restate_lab.source import Source

_NAME = "restate"
_FIRST_ROWS = 5  # rows shown of a frame that is assigned to a variable


@magics_class
class RestateMagics(Magics):
    """The magics of one shell and their current source."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._ip = shell
        self.source: Source | None = None
        self.completion = MagicCompleter(shell)
        self.frames = FrameFormatter(shell)

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def restate(self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None) -> Any:
        """Query a Restate cluster in SQL or with a named question.

        ::

            %restate                             show the current cluster and return its Lab
            %restate connect                     connect to the cluster of the restate CLI
            %restate connect prod --read-only    connect to an environment of the CLI or an address (http://…)
            %restate use old                     use the Lab or Evidence in the variable `old`
            %restate frames off                  show frames of restate_lab as pandas does; `on` shows them readable
            stuck = %restate SELECT id FROM sys_invocation WHERE target_service_name = :service
            %restate --ask wakes_next until=2h   run a named question; rl.questions() lists them
            %restate --ask callers ids=:stuck    pass the variable `stuck` as a parameter

            %%restate -o frame --timeout 300
            SELECT …                             assign the result to `frame` and show its first 5 rows

        In SQL, ``:name`` is the value of the variable with that name. ``{x}`` and ``$x`` are not replaced.
        """
        names = {**self._ip.user_ns, **(local_ns or {})}
        request = parse(line, cell)
        result = _VERBS[request.verb](self, request, names)
        if not request.out:
            return result
        self._ip.user_ns[request.out] = result
        shape = f"{plural(len(result), 'row')} × {plural(len(result.columns), 'column')}"
        first = f", the first {_FIRST_ROWS}" if len(result) > _FIRST_ROWS else ""
        print(f"{request.out}: {shape}{first}")  # noqa: T201 - a person reads it
        display(result.head(_FIRST_ROWS))  # type: ignore[no-untyped-call]
        return None

    def use_source(self, source: Source) -> Source:
        """Make this source the current one."""
        self.source = source
        self.completion.catalog = TableCatalog(source)
        return source

    def current_source(self) -> Source:
        """Return the current source; if there is none, connect to the cluster that the restate CLI would use."""
        return self.source or self.use_source(connect())


def register(ip: InteractiveShell) -> None:
    """Register the magics, their completion and readable frames; this first removes those of an earlier load."""
    unregister(ip)
    magics = RestateMagics(ip)
    ip.register_magics(magics)
    ip.Completer.custom_matchers.append(magics.completion.matcher)
    magics.frames.switch(on=True)


def unregister(ip: InteractiveShell) -> None:
    """Remove the magics, their completion and readable frames; a Lab in a variable of the user stays open."""
    magics = ip.magics_manager.registry.pop(RestateMagics.__name__, None)
    if magics is None:
        return
    magics.frames.switch(on=False)
    for kind in ("line", "cell"):
        ip.magics_manager.magics[kind].pop(_NAME, None)
    matchers = ip.Completer.custom_matchers
    matchers[:] = [matcher for matcher in matchers if matcher != magics.completion.matcher]


def _status(magics: RestateMagics, _: MagicRequest, __: Mapping[str, Any]) -> Source:
    return magics.current_source()


def _connect(magics: RestateMagics, request: MagicRequest, _: Mapping[str, Any]) -> Source:
    return magics.use_source(connect(request.text or None, read_only=request.read_only))


def _use(magics: RestateMagics, request: MagicRequest, names: Mapping[str, Any]) -> Source:
    source = _get_variable(request.text, names)
    if missing_members(source):
        raise ArgumentError(f"{request.text} is of type {type(source).__name__}; use takes a Lab or Evidence.")
    return magics.use_source(source)


def _frames(magics: RestateMagics, request: MagicRequest, _: Mapping[str, Any]) -> None:
    magics.frames.switch(on=request.text == "on")


def _ask(magics: RestateMagics, request: MagicRequest, names: Mapping[str, Any]) -> Any:
    texts = {name: text for name, text in request.parameters.items() if not _is_variable(text)}
    variables = {
        name: _get_variable(text[1:], names) for name, text in request.parameters.items() if _is_variable(text)
    }
    values = parse_texts(request.text, texts) | variables
    frame = run_any_question(magics.current_source(), request.text, timeout=request.timeout, **values)
    if "truncated" in frame.attrs:
        notify(f"{Truncated.__name__}: {frame.attrs['truncated']['message']}")
    return frame


def _sql(magics: RestateMagics, request: MagicRequest, names: Mapping[str, Any]) -> Any:
    values: dict[str, Any] = {}
    with mark_errors(request.text, values):
        values.update({name: names[name] for name in parameter_names(request.text) if name in names})
        return magics.current_source().sql(request.text, params=values, timeout=request.timeout)


_VERBS = {"status": _status, "connect": _connect, "use": _use, "frames": _frames, "ask": _ask, "sql": _sql}


def _is_variable(text: str) -> bool:
    return text.startswith(":") and text[1:].isidentifier()


def _get_variable(name: str, names: Mapping[str, Any]) -> Any:
    if name not in names:
        hint = did_you_mean(nearest_names(name, names))
        raise ArgumentError(f"there is no variable {name} in this notebook. {hint}".rstrip())
    return names[name]
