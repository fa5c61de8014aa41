"""Serve programs with the TypeScript SDK, which is installed from npm into the developer's cache."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import platformdirs

from restate_lab.demo.faults import FOLDER_VARIABLE
from restate_lab.demo.install import _npm_install
from restate_lab.demo.process import Process
from restate_lab.environment import clean_environment
from support.bench import wait_for
from support.integrations.environments import NODE
from support.isolation import original_environment

VERSION = "1.17.2"
PROGRAM = Path(__file__).with_name("replay_services.mjs")


@contextlib.contextmanager
def typescript_services(folder: Path) -> Iterator[str]:
    """Serve the programs of a folder, and give the address."""
    program = Path(shutil.copy(PROGRAM, sdk_home()))  # Node.js looks for the SDK in the folder of the program
    with node_services(program, folder, {FOLDER_VARIABLE: str(folder)}) as uri:
        yield uri


@contextlib.contextmanager
def node_services(program: Path, folder: Path, env: Mapping[str, str]) -> Iterator[str]:
    """Run a program that serves at the port in its argument, and give the address; the folder gets its log."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(NODE), str(program), str(port)]
    variables = clean_environment(**env, RESTATE_LOGGING="WARN")
    with Process(command, env=variables, log=folder / "services.log") as services:
        wait_for(lambda: _is_listening(port) or services.exit_code is not None)
        assert services.exit_code is None, services.last_lines()
        yield f"http://127.0.0.1:{port}"


def sdk_home() -> Path:
    """Return the folder with the SDK in its ``node_modules``; it is installed if necessary."""
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
