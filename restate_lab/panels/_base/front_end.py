"""Whether a front end shows a panel, and whether a notebook still has it.

A page with Jupyter widgets answers as soon as it has received a panel. The kernel hears no answer while it runs a cell,
so only seconds count in which it is free. A runner of notebooks, such as nbclient, nbconvert or papermill, is not a
front end and never answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
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


class CellWatch:
    """Which cells of a notebook show an object; ``look`` is called after each cell has run, until ``stop``.

    A front end without ids of cells is not watched. A cell that runs again without showing the object has replaced it.
    """

    def __init__(self, look: Callable[[], object]) -> None:
        self._look = look
        self._shell: Any = None
        self._cells: set[str] = set()  # the cells that showed the object in their last run
        self._running: set[str] = set()  # the cell that has shown it and still runs

    def note_shown(self) -> None:
        """Note that the cell that runs now shows the object."""
        cell = _request().get("metadata", {}).get("cellId")
        if cell is None:
            return
        self._cells.add(cell)
        self._running.add(cell)
        if self._shell is None:
            self._shell = get_ipython()
            self._shell.events.register("post_run_cell", self._note_run)

    def stop(self) -> None:
        """End the calls of ``look``."""
        if self._shell is not None:
            self._shell.events.unregister("post_run_cell", self._note_run)
            self._shell = None

    def is_replaced(self, shown: object) -> bool:
        """Return whether the cells that showed the object ran again without it, and no variable has it.

        A list, a dict or an attribute of a variable counts, too. The outputs that IPython keeps do not.
        """
        if self._shell is None or self._cells:
            return False
        variables = [value for name, value in list(self._shell.user_ns.items()) if name != "Out" and name[:1] != "_"]
        return not any(shown is each for value in variables for each in (value, *gc.get_referents(value)))

    def forget(self, shown: object) -> None:
        """Remove an object that was replaced from the outputs that IPython keeps, such as ``Out[3]`` and ``_3``."""
        names = self._shell.user_ns
        for kept in (names, self._shell.user_ns_hidden, names.get("Out", {})):
            for name in [name for name, value in list(kept.items()) if value is shown]:
                del kept[name]

    def _note_run(self, result: Any) -> None:
        if result is not None and result.execution_count is not None:  # otherwise the run has no number
            cell = result.info.cell_id
            if cell not in self._running:
                self._cells.discard(cell)
            self._running.discard(cell)
        self._look()


def _loop_of_kernel() -> asyncio.AbstractEventLoop | None:
    """Return the event loop of the kernel that runs this cell for a person; None in a script or for a runner.

    A runner does not let the code of a cell ask for input, and every front end does.
    """
    if not _request().get("content", {}).get("allow_stdin"):
        return None
    with contextlib.suppress(RuntimeError):  # not in the thread of a cell
        return asyncio.get_running_loop()
    return None


def _request() -> dict[str, Any]:
    """Return the message that the kernel works on; {} without a kernel."""
    kernel: Any = getattr(get_ipython(), "kernel", None)
    request: dict[str, Any] = kernel.get_parent("shell") if hasattr(kernel, "get_parent") else {}
    return request
