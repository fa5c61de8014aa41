"""Run a command, and stop it when the parent process has ended for any reason.

Start this as a script: ``python -I process_guard.py FD COMMAND…``. It needs only the standard library. FD is the read
end of a pipe; only the parent has the other end. The pipe closes when the parent ends, even after ``kill -9``. The exit
code is that of the command.
"""

from __future__ import annotations

import itertools
import select
import signal
import subprocess
import sys

GRACE = 5.0  # seconds from SIGTERM to SIGKILL
POLL_INTERVAL = 0.5  # seconds; how often the guard checks whether the command has ended


def main(pipe: int, command: list[str]) -> int:
    """Run the command, stop it when the pipe closes, and return its exit code."""
    # SIGTERM goes to the whole process group. It ends the command, and then this process ends, too.
    signal.signal(signal.SIGTERM, _wait_for_command)
    inherited = tuple(int(fd) for option, fd in itertools.pairwise(command) if option == "--fd")
    process = subprocess.Popen(command, pass_fds=inherited)
    while process.poll() is None:
        readable, _, _ = select.select([pipe], [], [], POLL_INTERVAL)
        if readable:
            return _end(process)
    return process.returncode


def _wait_for_command(number: int, frame: object) -> None:
    """Do nothing; this is a handler, because the command would inherit an ignored signal."""


def _end(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    try:
        return process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
