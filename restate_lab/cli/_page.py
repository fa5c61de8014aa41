"""A page of text for people: styled and wrapped in a terminal, one line per paragraph in a pipe.

Text from a cluster is never interpreted as markup, and its control characters never reach the terminal. Rich does not
draw the tables of frames because it is slow: 40,000 cells took 14 s, and ``_table.TerminalTable`` less than 1 s.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
from collections.abc import Iterable
from typing import Any, TextIO, TypeAlias

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from restate_lab._text import escape_invisible
from restate_lab.cli._in_a_shell import in_a_shell
from restate_lab.document import Document
from restate_lab.document.text import COLUMNS, TextLayout, TextRow, Write, python_of
from restate_lab.tokens import TERMINAL

Part: TypeAlias = "str | tuple[str, str]"  # a text, or a text and its style

_COMMAND, _DIM = "cyan", "dim"
_OFF = frozenset({"0", "false"})  # of FORCE_COLOR, as in other tools
IN_PYTHON = "in Python:"  # before calls that no command makes
_PIPE = 100  # columns without a terminal
_NARROWEST = 24  # minimum width of a paragraph beside its indent
_LONG = 24  # rows; below a longer document its title is repeated
_WORD = r"""(?:'[^']*'|"[^"]*"|\\.|[^\s'"\\])+"""
_PART_OF_COMMAND = re.compile(rf"(?:-\w|--[a-z-]+) (?!-){_WORD}|{_WORD}")
"""One argument of a shell command, or an option with its value."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise the error that is handled; Rich would end the process with exit code 1."""
        raise sys.exception() or BrokenPipeError


class TextPage:
    """Print paragraphs and commands on a stream; a ``width`` of None means that the stream is not a terminal.

    Colors are off in a pipe, with NO_COLOR, with FORCE_COLOR=0 and with TERM=dumb; another FORCE_COLOR turns them on in
    a pipe.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self.width = shutil.get_terminal_size().columns if self._stream.isatty() else None
        self._console = _Console(
            file=self._stream,
            width=self.width or _PIPE,
            color_system=None if os.environ.get("NO_COLOR") or os.environ.get("FORCE_COLOR") in _OFF else "auto",
            markup=False,
            emoji=False,
            highlight=False,
        )
        if isinstance(self._stream, io.TextIOWrapper):
            self._stream.reconfigure(errors="replace")  # for terminals that cannot show a character

    def document(self, document: Document, write: Write = python_of, **limits: Any) -> None:
        """Print a result, with calls in the syntax of ``write``; ``limits`` are fields of `TextLayout`."""
        rows = list(TextLayout(write, width=self.width or COLUMNS, **limits).rows(document))
        self._row(rows[0], "bold ")
        for row in rows[1:]:
            self._row(row)
        if len(rows) > _LONG:
            self.blank()
            self._row(rows[0], "bold ")

    def _row(self, row: TextRow, weight: str = "") -> None:
        if row.is_code:
            self.commands(row.parts[0].text, first=row.first.text)
            return
        parts = [(in_a_shell(each.text), weight + TERMINAL.get(each.tone, "")) for each in row.parts]
        self.paragraph(*parts, first=row.first.text, style=TERMINAL.get(row.first.tone, ""))

    def blank(self) -> None:
        self._print(Text())

    def paragraph(self, *parts: Part, first: str = "", style: str = _DIM) -> None:
        """Print texts, each with its style, as one paragraph.

        ``first`` starts the first line, in ``style``; the other lines are indented by its width.
        """
        text = Text.assemble(*map(_escape_part, parts))
        margin = cell_len(first)
        lines = [text] if self.width is None else text.wrap(self._console, max(self.width - margin, _NARROWEST))
        for at, line in enumerate(lines or [Text()]):
            line.rstrip()
            self._print(_with_prefix(first if at == 0 else " " * margin, style).append_text(line))

    def lines(self, text: str) -> None:
        for line in text.splitlines() or [""]:
            indent = len(line) - len(line.lstrip())
            self.paragraph(line[indent:], first=line[:indent])

    def verbatim(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._stream.write(f"{escape_invisible(line)}\n")

    def commands(self, text: str, *, first: str = "") -> None:
        """Print the lines of a shell command with dimmed comments; a terminal continues long lines after a backslash.

        An argument is never split, so the copied text runs. An argument that is wider than the terminal stays whole,
        and so does a line of Python.
        """
        margin, is_python = cell_len(first), text.startswith(IN_PYTHON)
        for at, line in enumerate(text.splitlines()):
            start = first if at == 0 else " " * margin
            if line.startswith("#"):
                self.paragraph((line, _DIM), first=start)
                continue
            for number, part in enumerate([line] if is_python else self._command_lines(line, margin)):
                prefix = start if number == 0 else " " * (margin + 2)
                self._print(_with_prefix(prefix, _DIM).append(escape_invisible(part, lines=False), _COMMAND))

    def _command_lines(self, command: str, margin: int) -> list[str]:
        if self.width is None or margin + cell_len(command) <= self.width:
            return [command]
        lines = [""]
        for part in _PART_OF_COMMAND.findall(command):
            longer = f"{lines[-1]} {part}".strip()
            # two columns for the indent of continuation lines, and two for the backslash
            if lines[-1] and cell_len(longer) > self.width - margin - 4:
                lines.append(part)
            else:
                lines[-1] = longer
        return [*(f"{line} \\" for line in lines[:-1]), lines[-1]]

    def _print(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True)


def _with_prefix(prefix: str, style: str) -> Text:
    """Return a line that starts with a text in this style; appended text does not take the style."""
    return Text().append(escape_invisible(prefix, lines=False), style if prefix.strip() else None)


def _escape_part(part: Part) -> Part:
    if isinstance(part, str):
        return escape_invisible(part, lines=False)
    return escape_invisible(part[0], lines=False), part[1]
