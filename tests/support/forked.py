"""Services of tests start without importing their libraries: one process has imported them, and is forked for each.

The SDK takes half a second of processor time to import, the libraries of agents more than two seconds, and a complete
run starts about a hundred programs with services. `Host` is that process, one per run: ``python forked.py SOCKET``. It
imports the libraries with the first program. A program gets its own environment, log and group of processes with a
guard, as from `demo.process.Process`, and ends with the process that requested it. A command of the command line takes
a second of processor time to import: `restate_lab` returns one that the host starts.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import multiprocessing
import multiprocessing.connection
import os
import resource
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from restate_lab.demo.embedded import DEMO_SERVICES
from restate_lab.demo.process import Process, Stoppable
from restate_lab.demo.process_guard import GRACE
from restate_lab.environment import python_environment

SDK = ("restate", "hypercorn.asyncio", "restate_lab.demo.services_host")
COMMANDS = tuple(
    f"restate_lab.{name}"
    for name in ("cli._output", "cli._page", "analysis.waits", "analysis.doctor", "history.opening", "history.archive")
)
AGENTS = ("agents", "openai.resources", "restate.ext.openai")
READY_WITHIN = 20.0  # seconds; a tenth is usual
ENV = {"NO_PROXY": "127.0.0.1", "OPENAI_AGENTS_DISABLE_TRACING": "1"}
"""What the libraries of the agents read when they are imported, as in `demo.embedded.model_settings`."""
ADDRESS = "TESTS_HOST"
"""The variable with the address of the host of the run."""
_STDERR = 2
_NUMBER = 4  # bytes of each number on the socket: a length, an ID of a process, an exit code
_FORK = multiprocessing.get_context("fork")


class Host(Stoppable):
    """The process that is forked; ``address`` is its unix socket. A process of the run can use it by its address."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="restate-lab-"))
        self.address = str(self._folder / "socket")
        self._process = Process(
            [sys.executable, __file__, self.address],
            env=python_environment(HOME=str(self._folder), **ENV),
            log=self._folder / "log",
        )

    def stop(self) -> None:
        """Stop the process; each program that it started must have ended."""
        guards = psutil.Process(self._process.pid).children(recursive=True)[1:]
        _, alive = psutil.wait_procs(guards, timeout=5)
        self._process.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
        assert not alive, [process.as_dict(["pid", "ppid"]) for process in alive]


class _Guard:
    """The guard of a forked program, with the methods of a `subprocess.Popen` that `Process` calls."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.returncode: int | None = None
        self.pid = int.from_bytes(connection.recv(_NUMBER))

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self._receive()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(["a forked program"], timeout or 0)
            self._receive()
        assert self.returncode is not None
        return self.returncode

    def _receive(self) -> None:
        code = self._connection.recv(_NUMBER)
        self.returncode = int.from_bytes(code) if code else -signal.SIGKILL
        self._connection.close()


class Forked(Process):
    """A Python program that serves a socket; it ends with ``stop()`` or with this process."""

    def __init__(
        self, address: str, program: Sequence[str], *, env: Mapping[str, str], log: Path, pass_fds: tuple[int]
    ) -> None:
        self.log = log
        request = json.dumps({"program": program, "env": dict(env), "cwd": str(Path.cwd())}).encode()
        watched, self._lifeline = os.pipe()
        try:
            with log.open("ab") as output:
                connection = _connect(address)
                socket.send_fds(connection, [len(request).to_bytes(_NUMBER)], [watched, output.fileno(), *pass_fds])
                connection.sendall(request)
            self._guard = _Guard(connection)  # type: ignore[assignment] # it has the same methods as a Popen
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(watched)


def process_starter(address: str) -> Callable[..., Process]:
    """Return what `demo.embedded` starts a process with, so that Python's programs are forked by the host."""

    def start(command: Sequence[str], **options: Any) -> Process:
        if command[0] != sys.executable:
            return Process(command, **options)
        return Forked(address, command[1:-2], **options)  # without "--fd N", which pass_fds repeats

    return start


def restate_lab() -> list[str]:
    """Return the command ``restate-lab``, forked by the host of the run if there is one."""
    return [*python(), "from restate_lab.cli import main; main()"]


def python() -> list[str]:
    """Return the command ``python -c``, forked by the host of the run if there is one."""
    if address := os.environ.get(ADDRESS):
        _connect(address).close()  # once the host has started
        return [sys.executable, "-I", "-S", str(Path(__file__).with_name("forked_python.py")), address]
    return [sys.executable, "-c"]


def _connect(address: str) -> socket.socket:
    deadline = time.monotonic() + READY_WITHIN
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(address)
        except OSError:
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return connection


def main(address: str) -> None:
    """Start a program for each connection, in a fork of this process, which has no other thread."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that a guard that has ended is not left as a zombie
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(100)
        while True:
            connection, _ = listening.accept()
            with connection:
                length, fds, _, _ = socket.recv_fds(connection, _NUMBER, 4)
                if not length:  # it was only tried whether this process has started
                    continue
                request = json.loads(connection.recv(int.from_bytes(length), socket.MSG_WAITALL))
                _import_libraries(request["program"])
                _FORK.Process(target=_guard, args=(connection, listening, fds, request)).start()
            for fd in fds:
                os.close(fd)


def _import_libraries(program: Sequence[str]) -> None:
    has_agents = program[-1] == DEMO_SERVICES[-1] or "agent_services" in program[0]
    for name in COMMANDS if program[0] == "-c" else (*SDK, *(AGENTS if has_agents else ())):
        importlib.import_module(name)
    gc.freeze()  # a collection in a fork would copy each page of these objects


def _guard(connection: socket.socket, listening: socket.socket, fds: Sequence[int], request: dict[str, Any]) -> None:
    """Run the program, stop it when the pipe closes, and send its exit code, as `demo.process_guard` does."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    listening.close()
    watched, *others = fds
    with contextlib.suppress(OSError):  # the process that requested the program may have ended
        connection.sendall(os.getpid().to_bytes(_NUMBER))
    program = _FORK.Process(target=_run, args=(connection, watched, others, request))
    program.start()
    for fd in others:
        os.close(fd)
    # SIGTERM and Ctrl-C go to the whole group of processes. They end the program, and then this process ends, too.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    if watched in multiprocessing.connection.wait([watched, program.sentinel]):
        program.terminate()
        program.join(GRACE)
        program.kill()
    program.join()
    with contextlib.suppress(OSError):
        connection.sendall(((program.exitcode or 0) & 255).to_bytes(_NUMBER))


def _run(connection: socket.socket, watched: int, fds: Sequence[int], request: dict[str, Any]) -> None:
    """Run a program as Python does, with the arguments, environment and folder of the request."""
    connection.close()
    os.close(watched)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    if request["program"][0] == "-c":
        _run_code(dict(zip(request["streams"], fds, strict=True)), request)
    else:
        _run_program(*fds, request["program"])


def _run_program(log: int, served: int, program: Sequence[str]) -> None:
    for fd in (1, 2):
        os.dup2(log, fd)
    program = [*program, "--fd", str(served)]
    if program[0] == "-m":
        sys.path[0], sys.argv = str(Path.cwd()), program[1:]
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[0], sys.argv = str(Path(program[0]).parent), program
        runpy.run_path(program[0], run_name="__main__")


def _run_code(streams: Mapping[int, int], request: dict[str, Any]) -> None:
    """Run code with these standard streams, and end, with the functions that Python calls for ``python -c``."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        before = getattr(sys, f"__{name}__")
        stream = None
        if number in streams:
            os.dup2(streams[number], number)
            form = {"encoding": before.encoding, "errors": before.errors, "closefd": False}
            stream = os.fdopen(number, "w" if number else "r", 1 if number == _STDERR else -1, **form)
            stream.buffer.raw.name = f"<{name}>"
        else:
            os.close(number)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_size"], request["file_size"]))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _, code, *arguments = request["program"]
    sys.path[0], sys.argv = "", ["-c", *arguments]
    python = ctypes.pythonapi
    python.Py_Exit(-python.PyRun_SimpleString(code.encode()))


if __name__ == "__main__":
    main(sys.argv[1])
