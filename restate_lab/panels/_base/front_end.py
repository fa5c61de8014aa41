"""Whether a front end shows a panel: a page with Jupyter widgets answers as soon as it has received the panel.

The kernel hears no answer while it runs a cell, so only seconds count in which it is free. A runner of notebooks, such
as nbclient, nbconvert or papermill, is not a front end and never answers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from html import escape
from typing import Any

from IPython import get_ipython

from restate_lab.status import COLOURS
from restate_lab.tokens import INLINE

SECONDS = 5
_STEP = 1.0  # second
_LATE = 0.5  # seconds; a step that is later was delayed by a cell
_WITHOUT_CONTROLS = (
    "So it has no controls here, and the content below is a copy that is not updated. Without panels, rl.doctor(lab) "
    "and rl.why(lab, id) show cards, and panel.frame has the rows."
)


def _message(reason: str) -> str:
    style = f"border-left:3px solid {COLOURS['warning']};padding:2px 8px;margin:4px 0;max-width:100ch"
    font = f"font:{INLINE['f3']}/1.5 {INLINE['sans']}"
    text = escape(f"{reason} {_WITHOUT_CONTROLS}")
    return f'<div class="rl-unanswered" role="status" style="{style};{font}">{text}</div>'


UNANSWERED = _message(
    f"No front end answered this panel within {SECONDS} seconds. A panel needs a front end with Jupyter widgets and "
    "anywidget: in JupyterLab, install anywidget where JupyterLab itself is installed, and reload the page."
)
"""The message for a kernel of Jupyter, as HTML."""
NOT_JUPYTER = _message("A panel needs a front end of Jupyter, and this is another one.")
"""The message for marimo, as HTML."""


class AnswerWatch:
    """Calls ``missing`` once if no front end has answered in the first ``SECONDS`` in which the kernel was free.

    ``is_over`` is whether a front end has answered, or the panel was closed. Everything runs in the thread of the
    kernel that shows the panel.
    """

    def __init__(self, is_over: Callable[[], bool], missing: Callable[[], object]) -> None:
        self._is_over, self._missing = is_over, missing
        self._is_started = False

    def start(self) -> None:
        """Begin to wait, once; does nothing without a kernel that a person uses."""
        loop = None if self._is_started else _loop_of_kernel()
        if loop is not None:
            self._is_started = True
            self._wait(loop, 0)

    def _wait(self, loop: asyncio.AbstractEventLoop, free: int) -> None:
        due = loop.time() + _STEP

        def look() -> None:
            seconds = 0 if loop.time() - due > _LATE else free + 1
            if self._is_over():
                return
            if seconds < SECONDS:
                self._wait(loop, seconds)
            else:
                self._missing()

        loop.call_later(_STEP, look)


def _loop_of_kernel() -> asyncio.AbstractEventLoop | None:
    """Return the event loop of the kernel that runs this cell for a person; None in a script or for a runner.

    A runner does not let the code of a cell ask for input, and every front end does.
    """
    kernel: Any = getattr(get_ipython(), "kernel", None)
    if not hasattr(kernel, "get_parent"):
        return None
    content = kernel.get_parent("shell").get("content", {})
    if not content.get("allow_stdin"):
        return None
    with contextlib.suppress(RuntimeError):  # not in the thread of a cell
        return asyncio.get_running_loop()
    return None
