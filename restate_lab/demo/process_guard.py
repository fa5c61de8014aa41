"""Run one command and end it when the process that started this has ended, however that happened.

Started as a script (it needs the standard library only): ``python -I process_guard.py FD COMMAND…``, where FD is the
read end of a pipe whose other end only the parent holds. The pipe closes when the parent ends, even by
``kill -9``; the command's exit code is passed on.
"""

from __future__ import annotations

import itertools
import select
import signal
import subprocess
import sys

GRACE = 5.0  # seconds from SIGTERM to SIGKILL
POLL_INTERVAL = 0.5  # seconds between two checks whether the command has ended


def main(pipe: int, command: list[str]) -> int:
    """Return the exit code of the command, which is ended when the pipe closes."""
    # A stop is sent to the whole process group: the command ends by it, and this process by the command's end.
    signal.signal(signal.SIGTERM, _wait_for_command)
    process = subprocess.Popen(command, pass_fds=_inherited_descriptors(command))
    while process.poll() is None:
        readable, _, _ = select.select([pipe], [], [], POLL_INTERVAL)
        if readable:
            return _end(process)
    return process.returncode


def _wait_for_command(number: int, frame: object) -> None:
    """Do nothing; a handler, because an ignored signal would be ignored by the command too."""


def _inherited_descriptors(command: list[str]) -> tuple[int, ...]:
    return tuple(int(fd) for option, fd in itertools.pairwise(command) if option == "--fd")


def _end(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    try:
        return process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
