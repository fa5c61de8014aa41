"""Execute a notebook unattended; read-only by default, because its code can change the cluster."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, CellExecutionError
from nbformat import NotebookNode
from traitlets import default

from restate_lab._files import write_atomically
from restate_lab._text import format_duration
from restate_lab.environment import kernel_environment
from restate_lab.progress import NoProgress, Progress
from restate_lab.reports.masking import Masker
from restate_lab.reports.notebook.masking import mask_notebook, render_terminal_text

READ_ONLY_VARIABLE = "RESTATE_LAB_READ_ONLY"
_SLICE = 0.5  # seconds
_CLEANS_UP_WITHIN = 8.0  # seconds; a kernel that does not respond is killed after five


@dataclass(frozen=True, slots=True)
class CellFailure:
    """The cell that stopped a notebook.

    ``number`` counts code cells from 1; 0 means that the kernel did not start. ``error`` is one line. ``details`` is
    the traceback.
    """

    number: int
    source: str
    error: str
    details: str

    def __str__(self) -> str:
        return f"cell {self.number} failed:\n\n{indent(self.source, '    ')}\n\n{self.details.strip() or self.error}"


@dataclass(frozen=True, slots=True)
class NotebookRun:
    """The result of an execution: the executed copy, the printed text, and the failure that stopped it, if any."""

    notebook: Path
    executed: Path
    read_only: bool
    seconds: float
    text: str
    failure: CellFailure | None

    @property
    def ok(self) -> bool:
        """Return whether every cell ran without an error."""
        return self.failure is None

    def __str__(self) -> str:
        outcome = (
            "executed" if self.failure is None else f"stopped at cell {self.failure.number} by {self.failure.error}"
        )
        mode = "read-only" if self.read_only else "changes allowed"
        return f"{self.notebook.name}: {outcome} in {format_duration(self.seconds)}, {mode}"


def run_notebook(
    notebook: Path,
    executed: Path,
    *,
    parameters: Mapping[str, Any] | None = None,
    read_only: bool = True,
    env: Mapping[str, str] | None = None,
    timeout: float | None = 600.0,
    kernel_arguments: Sequence[str] = (),
    masker: Masker | None = None,
    progress: Progress | None = None,
) -> NotebookRun:
    """Execute a notebook with this Python interpreter and write the executed copy, even if a cell fails.

    ``parameters`` are set in a new cell after the cell tagged ``parameters``, or at the top. ``read_only`` makes every
    connection of the notebook block changes. ``env`` is the complete environment; None means
    ``kernel_environment()``. ``timeout`` applies to each cell, in seconds; None means no limit. The working directory
    is the notebook's folder. ``masker`` masks secrets in the outputs before they are written. ``progress`` gets the
    number of the current code cell and the total; None shows nothing.

    Raises:
        ValueError: a parameter's name is not an identifier, or its value is not a literal.
        FileNotFoundError: the notebook does not exist.

    """
    content = nbformat.read(notebook, as_version=4)
    if parameters:
        _inject(content, parameters)
    content.metadata["restate_lab"] = {"read_only": read_only}
    client = NotebookClient(
        content,
        timeout=timeout,
        kernel_manager_class=_CurrentPythonManager,
        extra_arguments=list(kernel_arguments),
        resources={"metadata": {"path": str(notebook.parent.absolute())}},
    )
    started = time.monotonic()
    try:
        # With the backend of a script, the notebook would show no pictures.
        variables = {
            **(kernel_environment() if env is None else env),
            **({READ_ONLY_VARIABLE: "1"} if read_only else {}),
        }
        variables.pop("MPLBACKEND", None)
        failure = _execute(client, variables, progress or NoProgress())
    finally:
        if masker is not None:
            mask_notebook(content, masker)
        executed.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(executed, overwrite=True) as unfinished:
            nbformat.write(content, unfinished)
    seconds = time.monotonic() - started
    return NotebookRun(notebook, executed, read_only, seconds, "\n\n".join(_visible_texts(content)), failure)


class _CurrentPythonManager(AsyncKernelManager):
    """Starts kernels with the current interpreter and ignores the kernels installed on the machine."""

    @default("kernel_spec_manager")
    def _current_python_specs(self) -> KernelSpecManager:
        return _CurrentPythonSpecs(parent=self)


class _CurrentPythonSpecs(KernelSpecManager):
    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name=kernel_name, language="python")


def _inject(content: NotebookNode, parameters: Mapping[str, Any]) -> None:
    lines = [_assignment(name, value) for name, value in parameters.items()]
    tagged = (i for i, cell in enumerate(content.cells) if "parameters" in cell.metadata.get("tags", ()))
    cell = nbformat.v4.new_code_cell("\n".join(lines), metadata={"tags": ["injected-parameters"]})
    content.cells.insert(next(tagged, -1) + 1, cell)


def _assignment(name: str, value: object) -> str:
    if not name.isidentifier():
        raise ValueError(f"invalid parameter name {name!r}; use a Python identifier")
    try:
        ast.literal_eval(repr(value))
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"invalid parameter {name}: {value!r}; use a literal, such as a str or a list") from error
    return f"{name} = {value!r}"


def _execute(client: NotebookClient, env: Mapping[str, str], progress: Progress) -> CellFailure | None:
    started_cells: list[int] = []
    cells = sum(cell.cell_type == "code" for cell in client.nb.cells)

    def show_progress() -> None:
        if started_cells:
            progress.update(_cell_number(client.nb, started_cells), cells)

    client.on_cell_start = lambda cell, cell_index: started_cells.append(cell_index)  # noqa: ARG005 - nbclient passes these names
    with tempfile.TemporaryFile() as log, contextlib.closing(progress):
        try:
            _run_in_thread(client.async_execute(env=env, stdout=log, stderr=log), show_progress)
        except CellExecutionError as error:
            return _cell_failure(client.nb, started_cells, f"{error.ename}: {error.evalue}")
        except CellControlSignal as error:  # timeout
            return _cell_failure(client.nb, started_cells, str(error))
        except RuntimeError as error:  # the kernel died; only its log can show why
            log.seek(0)
            return _cell_failure(client.nb, started_cells, str(error), log.read().decode(errors="replace"))
    return None


def _run_in_thread(work: Coroutine[Any, Any, Any], show_progress: Callable[[], object] = lambda: None) -> None:
    """Run the work in another thread, and show the progress from this one.

    The caller may be a notebook, whose thread already has an event loop. In the main thread, nbclient would also
    replace the signal handlers. If the caller is interrupted, the work is cancelled and its kernel is shut down before
    this function returns.
    """
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[None] | None]] = Future()

    async def run() -> None:
        started.set_result((asyncio.get_running_loop(), asyncio.current_task()))
        await work

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(asyncio.run, run())
        try:
            while not running.done():  # short waits: a signal that another thread receives does not end a wait
                wait([running], _SLICE)
                show_progress()
            running.result()
        except BaseException:
            loop, task = started.result()
            while not running.done():  # asyncio can lose a cancellation that arrives together with the awaited result
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(task.cancel) if task else None
                wait([running], _CLEANS_UP_WITHIN)
            raise


def _cell_failure(content: NotebookNode, started_cells: list[int], error: str, log: str = "") -> CellFailure:
    first_line = error.strip().partition("\n")[0].removesuffix(".")
    if not started_cells:
        return CellFailure(0, "", first_line, log)
    number = _cell_number(content, started_cells)
    cell = content.cells[started_cells[-1]]
    lines = (line for output in cell.outputs if output.output_type == "error" for line in output.traceback)
    return CellFailure(number, cell.source, first_line, render_terminal_text(log or "\n".join(lines)))


def _cell_number(content: NotebookNode, started_cells: Sequence[int]) -> int:
    """Return the number of the last started code cell, counted from 1."""
    return sum(cell.cell_type == "code" for cell in content.cells[: started_cells[-1] + 1])


def _visible_texts(content: NotebookNode) -> Iterator[str]:
    for cell in content.cells:
        if cell.cell_type == "markdown":
            yield from (line for line in cell.source.splitlines() if line.startswith("#"))
        elif cell.cell_type == "code":
            yield from (text for output in cell.outputs if (text := _output_text(output)))


def _output_text(output: NotebookNode) -> str:
    if output.output_type == "stream":
        return render_terminal_text(str(output.text)).rstrip()
    if output.output_type == "error":
        return ""
    if "image/png" in output.data:
        return "[a picture]"
    return str(output.data.get("text/plain", "")).rstrip()
