"""Execute a notebook of the demo unattended; read-only by default, because its code can change the cluster."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
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

_LIMIT = 600.0  # seconds for one cell
_SLICE = 0.5  # seconds
_COLORS = re.compile(r"\x1b\[[\d;]*m")


@dataclass(frozen=True, slots=True)
class NotebookRun:
    """An executed copy with the text of its outputs; ``failure`` has the cell that stopped it and its error, or ""."""

    executed: Path
    read_only: bool
    seconds: float
    text: str
    failure: str

    def __str__(self) -> str:
        outcome = "stopped by an error" if self.failure else "executed"
        mode = "read-only" if self.read_only else "changes allowed"
        return f"{self.executed.name}: {outcome} in {format_duration(self.seconds)}, {mode}"


def run_notebook(
    notebook: Path, executed: Path, *, read_only: bool = True, env: Mapping[str, str] | None = None
) -> NotebookRun:
    """Execute a notebook with this Python interpreter in its folder, and write the copy, even if a cell fails.

    ``read_only`` makes every connection of the notebook block changes. ``env`` is the complete environment; None means
    ``kernel_environment()``.
    """
    content = nbformat.read(notebook, as_version=4)
    client = NotebookClient(
        content,
        timeout=_LIMIT,
        kernel_manager_class=_CurrentPythonManager,
        resources={"metadata": {"path": str(notebook.parent.absolute())}},
    )
    variables = {
        **(kernel_environment() if env is None else env),
        **({"RESTATE_LAB_READ_ONLY": "1"} if read_only else {}),
    }
    variables.pop("MPLBACKEND", None)  # with the backend of a script, the notebook would show no pictures
    started = time.monotonic()
    try:
        failure = _execute(client, variables)
    finally:
        executed.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(executed, overwrite=True) as unfinished:
            nbformat.write(content, unfinished)
    text = "\n\n".join(_visible_texts(content))
    return NotebookRun(executed, read_only, time.monotonic() - started, text, failure)


class _CurrentPythonManager(AsyncKernelManager):
    """Starts kernels with the current interpreter and ignores the kernels installed on the machine."""

    @default("kernel_spec_manager")
    def _current_python_specs(self) -> KernelSpecManager:
        return _CurrentPythonSpecs(parent=self)


class _CurrentPythonSpecs(KernelSpecManager):
    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name=kernel_name, language="python")


def _execute(client: NotebookClient, env: Mapping[str, str]) -> str:
    """Execute the notebook, and return the cell that failed with its error; "" if none did."""
    begun: list[NotebookNode] = []
    client.on_cell_start = lambda cell, cell_index: begun.append(cell)  # noqa: ARG005 - names of nbclient
    with tempfile.TemporaryFile() as log:
        try:
            _run(client, env=env, stdout=log, stderr=log)
        except CellExecutionError as error:
            details = error.traceback
        except CellControlSignal as error:  # the time limit
            details = str(error)
        except RuntimeError as error:  # the kernel died; only its log can show why
            log.seek(0)
            details = f"{error}\n{log.read().decode(errors='replace')}"
        else:
            return ""
    number = sum(cell.cell_type == "code" for cell in begun)
    head = f"cell {number} failed:\n\n{indent(begun[-1].source, '    ')}" if begun else "the kernel did not start:"
    return f"{head}\n\n{_COLORS.sub('', details).strip()}"


def _run(client: NotebookClient, **options: Any) -> None:
    """Execute the notebook in another thread: in the main thread, nbclient would replace the signal handlers.

    If the caller is interrupted, the kernel is killed, which ends the execution.
    """
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(asyncio.run, client.async_execute(**options))
        try:
            while not running.done():  # short waits: a signal that another thread receives does not end a wait
                wait([running], _SLICE)
        except BaseException:
            while not running.done():  # the kernel may only be started later
                kernel: Any = client.km
                if kernel is not None and kernel.has_kernel:
                    kernel.provisioner.process.kill()
                wait([running], _SLICE)
            raise
        running.result()


def _visible_texts(content: NotebookNode) -> Iterator[str]:
    for cell in content.cells:
        if cell.cell_type == "markdown":
            yield from (line for line in cell.source.splitlines() if line.startswith("#"))
        elif cell.cell_type == "code":
            yield from (text for output in cell.outputs if (text := _output_text(output)))


def _output_text(output: NotebookNode) -> str:
    if output.output_type == "stream":
        return _COLORS.sub("", output.text).rstrip()
    if output.output_type == "error":
        return ""
    if "image/png" in output.data:
        return "[a picture]"
    return str(output.data.get("text/plain", "")).rstrip()
