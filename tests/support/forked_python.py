"""``python -I -S forked_python.py ADDRESS CODE ARGUMENTS…`` is ``python -c CODE ARGUMENTS…``, forked by a host.

Its streams, environment, folder, size of files and signals are those of this process, which ends with its exit code.
This process imports only what starts in milliseconds, so not pathlib. If it is killed, the code gets SIGTERM.
"""

import contextlib
import json
import os
import resource
import signal
import socket
import sys

NUMBER = 4  # bytes of each number on the socket: a length, an ID of a process, an exit code
FORWARDED = (signal.SIGINT, signal.SIGTERM)
KILLED = bytes([256 - signal.SIGKILL])
SIGNALED = 192  # exit codes from here on are 256 less the number of a signal


def main(address: str, *program: str) -> None:
    """Let the host run the program, forward signals to it, and end as it ends."""
    streams = [number for number in range(3) if os.path.exists(f"/proc/self/fd/{number}")]  # noqa: PTH110
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)  # until there is a program
    options = {"streams": streams, "file_size": resource.getrlimit(resource.RLIMIT_FSIZE)[0]}
    where = {"cwd": os.getcwd(), "env": dict(os.environ)}  # noqa: PTH109
    request = json.dumps({"program": ["-c", *program], **options, **where}).encode()
    watched, _ = os.pipe()  # it closes with this process
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    socket.send_fds(connection, [len(request).to_bytes(NUMBER, "big")], [watched, *streams])
    connection.sendall(request)
    group = int.from_bytes(connection.recv(NUMBER), "big")

    def forward(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)

    for number in FORWARDED:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    code = int.from_bytes(connection.recv(NUMBER) or KILLED, "big")
    if code > SIGNALED:
        with contextlib.suppress(OSError):  # of SIGKILL
            signal.signal(256 - code, signal.SIG_DFL)
        os.kill(os.getpid(), 256 - code)
    os._exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
