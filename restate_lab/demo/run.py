"""``restate-lab demo``: from nothing to a notebook on a real cluster, and back to nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, MappingProxyType

from restate_lab.demo.embedded import Embedded
from restate_lab.demo.faults import FOLDER_VARIABLE
from restate_lab.demo.install import find_server, server_at
from restate_lab.demo.jupyter import JupyterLab
from restate_lab.demo.stories import STORIES
from restate_lab.environment import kernel_environment
from restate_lab.errors import RestateLabError
from restate_lab.reports.notebook.runner import run_notebook

__all__ = ["NOTEBOOKS", "copy_notebooks", "notebook_environment", "run_demo", "working_folder"]

NOTEBOOKS = MappingProxyType({"incident": "01_what_is_wrong.ipynb", "first-look": "02_ask_in_sql.ipynb"})
"""Story → the notebook that is opened with it."""
POLL_INTERVAL = 0.5  # seconds between two checks that everything still runs
SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


def run_demo(
    *,
    server: Path | None = None,
    keep: Path | None = None,
    vqueues: bool = False,
    browser: bool = True,
    once: bool = False,
    story: str = "incident",
) -> int:
    """Start the demo, run it until it is stopped, and return the exit code.

    ``server`` is the path of a restate-server; None finds or installs one. ``keep`` is a folder that is kept and used
    again the next time; None uses a temporary one. ``once`` executes the notebook of the story without a browser and
    exits. ``story`` is one of ``STORIES``; a folder that was kept continues with its own.

    Raises:
        RestateLabError: something did not start; the message has its last words.

    """
    if os.name == "nt":
        raise RestateLabError("the demo does not work on Windows; restate_lab.connect(url) does")
    with exit_on_signals(), working_folder(keep) as folder:
        binary = server_at(server) if server else find_server()
        copy_notebooks(folder / "notebooks")
        _print("Starting restate-server and the sample services …")
        with Embedded(binary, folder, vqueues=vqueues, story=STORIES[story]) as demo:
            version, admin, ingress = demo.server.version, demo.server.admin_url, demo.server.ingress_url
            _print(f"restate-server {version} runs at {admin}, its ingress at {ingress}.")
            notebook = NOTEBOOKS[story]
            return _execute(demo, notebook, kept=keep is not None) if once else _open(demo, notebook, browser=browser)


def copy_notebooks(folder: Path) -> None:
    """Copy the notebooks into a folder; one that is there already may have been worked on, and stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for notebook in _notebook_sources():
        if not (folder / notebook.name).exists():
            shutil.copyfile(notebook, folder / notebook.name)


def _notebook_sources() -> list[Path]:
    here = Path(__file__).resolve()
    for folder in (here.parent / "notebooks", here.parents[2] / "notebooks"):
        if found := sorted(folder.glob("*.ipynb")):
            return found
    raise RestateLabError("this installation of restate_lab has no notebooks; install it again")


def notebook_environment(folder: Path, admin_url: str, ingress_url: str) -> dict[str, str]:
    """Return the environment in which ``restate_lab.connect()`` finds the demo of a folder and nothing else."""
    config = folder / "restate"
    config.mkdir(exist_ok=True)
    (config / "config.toml").write_text(f'[demo]\nadmin_base_url = "{admin_url}"\ningress_base_url = "{ingress_url}"\n')
    inherited = {name: value for name, value in kernel_environment().items() if not name.startswith("RESTATE_")}
    return inherited | {
        FOLDER_VARIABLE: str(folder),
        "RESTATE_ADMIN_URL": admin_url,
        "RESTATE_CLI_CONFIG_HOME": str(config),
        "RESTATE_ENVIRONMENT": "demo",
        "RESTATE_INGRESS_URL": ingress_url,
        "RESTATE_LAB_AUDIT": str(folder / "audit"),
    }


def _execute(demo: Embedded, name: str, *, kept: bool) -> int:
    notebook = demo.folder / "notebooks" / name
    _print(f"Executing {notebook.name}, read-only …\n")
    run = run_notebook(notebook, demo.folder / "executed" / notebook.name, env=_environment(demo))
    _print(run.text + "\n")
    _print(f"{run}" + (f"; the executed copy is {run.executed}" if kept else ""))
    if run.failure:
        sys.stderr.write(f"\n{run.notebook.name}, {run.failure}\n")
    return 0 if run.ok else 1


def _open(demo: Embedded, notebook: str, *, browser: bool) -> int:
    _print("Starting JupyterLab …")
    with JupyterLab(demo.folder / "notebooks", demo.folder / "jupyter", env=_environment(demo)) as jupyter:
        url = jupyter.url(notebook)
        opened = browser and webbrowser.open(_write_redirect(url, demo.folder))
        _print(
            f"JupyterLab is {'open in your browser' if opened else 'ready'}:\n\n    {url}\n\nCtrl-C ends everything."
        )
        with contextlib.suppress(KeyboardInterrupt):
            _watch(demo, jupyter)
        _print("\nStopping …")
    return 0


def _environment(demo: Embedded) -> dict[str, str]:
    return notebook_environment(demo.folder, demo.server.admin_url, demo.server.ingress_url)


def _watch(demo: Embedded, jupyter: JupyterLab) -> None:
    """Return when the person has shut JupyterLab down; raise when something else has ended."""
    while jupyter.process.exit_code is None:
        demo.check()
        time.sleep(POLL_INTERVAL)


def _write_redirect(url: str, folder: Path) -> str:
    """Write a page for the browser to open: on its command line other users of the machine would read the token."""
    page = folder / "open.html"
    with os.fdopen(os.open(page, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={url}"><a href="{url}">JupyterLab</a>\n')
    return page.as_uri()


@contextlib.contextmanager
def exit_on_signals() -> Iterator[None]:
    """Turn the first signal into KeyboardInterrupt or SystemExit, so that every ``with`` inside cleans up.

    The signals after it are ignored until the block has ended: cleaning up is under way.
    """
    before = {number: signal.signal(number, _exit) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signals come with both
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


@contextlib.contextmanager
def working_folder(keep: Path | None) -> Iterator[Path]:
    """Give the demo's folder: that one, for one demo at a time, or a temporary one."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="restate-lab-", ignore_cleanup_errors=True) as temporary:
            yield Path(temporary)
        return
    folder = keep.expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder):
        yield folder


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    import fcntl  # noqa: PLC0415 - not on Windows, where this module can still be imported

    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RestateLabError(f"another demo is running in {folder}") from error
        yield


def _print(text: str) -> None:
    # The terminal may be gone, and that must not keep anything from being cleaned up.
    with contextlib.suppress(OSError):
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
