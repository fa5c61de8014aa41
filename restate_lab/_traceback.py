"""Render an error as one short block for a notebook: its message, its notes, and the line of the cell that raised it.

If an exception has ``_render_traceback_``, IPython shows its result instead of the traceback; ``errors`` defines it.
"""

from __future__ import annotations

import linecache
import os
import re
import sys
from collections.abc import Iterator
from traceback import walk_tb
from types import CodeType, TracebackType

from restate_lab._text import escape_invisible, truncate

_MOST_LINES = 5  # of a message: more lines would hide the output above it
_WIDTH = 110  # characters of the user's line of code
_BOLD, _NORMAL = "\x1b[1m", "\x1b[22m"  # no colors: on JupyterLab's red background they are hard to read
_MAGIC = re.compile(r"\bget_ipython\(\)\.run_(?:line|cell)_magic\(")
# A line with one of these terms can have a token, and users share the output of a cell more often than its code.
_SECRET = re.compile(r"token|secret|passw|api[-_]?key|authoriz|credential|cookie|://[^/\s]*@", re.IGNORECASE)
_LITERAL = re.compile(r"""(?P<quote>["'])(?:\\.|(?!(?P=quote)).)*(?P=quote)?""")


def render_block(error: BaseException) -> list[str]:
    """Return the lines of the block, with the name of the class in bold.

    A note of the exception is for example the marked place in a statement.
    """
    first, *more = _message_lines(str(error))
    block = [f"{_embolden(type(error).__name__)}: {first}", *more]
    notes = (_escape(line) for note in getattr(error, "__notes__", ()) for line in str(note).splitlines())
    block += [_embolden(line) if line.strip() == "^" else line for line in notes]
    return [*block, *_user_lines(error.__traceback__)]


def _message_lines(message: str) -> list[str]:
    lines = [_escape(line) for line in message.splitlines()] or [""]
    hidden = len(lines) - _MOST_LINES
    if hidden > 1:
        lines[_MOST_LINES:] = [f"… {hidden} more lines; to see them: import sys; print(sys.last_value)"]
    return lines


def _escape(line: str) -> str:
    return escape_invisible(line, lines=False)


def _user_lines(traceback: TracebackType | None) -> list[str]:
    """Return the user's line that raised the error, and before it the line of the cell if it is a different one."""
    places = list(_user_places(traceback))
    chosen = [places[0], places[-1]] if len(places) > 1 else places
    return [_format_place(code, number, text) for code, number, text in chosen]


def _user_places(traceback: TracebackType | None) -> Iterator[tuple[CodeType, int, str]]:
    """Yield the running lines of cells, outermost first; a kernel runs cells in the module ``__main__``."""
    for frame, number in walk_tb(traceback):
        if frame.f_globals.get("__name__") != "__main__":
            continue
        text = linecache.getline(frame.f_code.co_filename, number).strip()
        if text and not _MAGIC.search(text):  # skips the code that IPython generates for a magic
            yield frame.f_code, number, text


def _format_place(code: CodeType, number: int, text: str) -> str:
    within = "cell" if code.co_name.startswith("<") else f"{code.co_name}()"
    shown = _LITERAL.sub(r"\g<quote>•••\g<quote>", text) if _SECRET.search(text) else text
    return f"{within}, line {number}: {truncate(_escape(shown), _WIDTH)}"


def _embolden(text: str) -> str:
    """Return the text in bold, unless NO_COLOR or ``%colors nocolor`` disables control sequences."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    is_plain = os.environ.get("NO_COLOR") or str(getattr(shell, "colors", "")).lower() == "nocolor"
    return text if is_plain else f"{_BOLD}{text}{_NORMAL}"
