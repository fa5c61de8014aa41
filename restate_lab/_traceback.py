"""An error as one short block for a notebook: its message, its notes, and the line of the cell that it came from.

IPython shows what ``_render_traceback_`` of an exception returns in place of its traceback; ``errors`` defines it.
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

__all__ = ["render_block"]

_MOST_LINES = 5  # of a message: more push what is above it out of sight
_WIDTH = 110  # characters of the user's own line
_BOLD, _NORMAL = "\x1b[1m", "\x1b[22m"  # no color: those of JupyterLab on its red ground are hard to read
_MAGIC = re.compile(r"\bget_ipython\(\)\.run_(?:line|cell)_magic\(")
# A line with one of these words may have a token in it, and the output of a cell is passed on more often than its code.
_SECRET = re.compile(r"token|secret|passw|api[-_]?key|authoriz|credential|cookie|://[^/\s]*@", re.IGNORECASE)
_LITERAL = re.compile(r"""(?P<quote>["'])(?:\\.|(?!(?P=quote)).)*(?P=quote)?""")


def render_block(error: BaseException) -> list[str]:
    """Return the lines of the block, the name of its class in bold.

    A note of the exception is such as the marked place in a statement.
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
        lines[_MOST_LINES:] = [f"… {hidden} more lines; to read them: import sys; print(sys.last_value)"]
    return lines


def _escape(line: str) -> str:
    return escape_invisible(line, lines=False)


def _user_lines(traceback: TracebackType | None) -> list[str]:
    """Return the user's line that the error came from, and before it the cell's own line where that is another one."""
    places = list(_user_places(traceback))
    chosen = [places[0], places[-1]] if len(places) > 1 else places
    return [_format_place(code, number, text) for code, number, text in chosen]


def _user_places(traceback: TracebackType | None) -> Iterator[tuple[CodeType, int, str]]:
    """Yield the lines of cells that were running, outermost first: each kernel runs them in the module ``__main__``."""
    for frame, number in walk_tb(traceback):
        if frame.f_globals.get("__name__") != "__main__":
            continue
        text = linecache.getline(frame.f_code.co_filename, number).strip()
        if text and not _MAGIC.search(text):  # not what IPython makes of a magic
            yield frame.f_code, number, text


def _format_place(code: CodeType, number: int, text: str) -> str:
    within = "cell" if code.co_name.startswith("<") else f"{code.co_name}()"
    shown = _LITERAL.sub(r"\g<quote>•••\g<quote>", text) if _SECRET.search(text) else text
    return f"{within}, line {number}: {truncate(_escape(shown), _WIDTH)}"


def _embolden(text: str) -> str:
    """Return the text in bold, unless NO_COLOR or ``%colors nocolor`` says that control sequences are not wanted."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    is_plain = os.environ.get("NO_COLOR") or str(getattr(shell, "colors", "")).lower() == "nocolor"
    return text if is_plain else f"{_BOLD}{text}{_NORMAL}"
