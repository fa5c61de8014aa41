"""Archivers as processes that can be killed: ``python archivers.py URL WHERE`` forks one visit for each line.

A line has the options of ``archive`` as JSON: {} or a shard with its services.

The parent imports everything once and never opens a table, so each visit is a new process within milliseconds. It
prints "pid <pid> <time of the fork>" for each line on stdin, and "exit <pid> <code> <message>" when a visit has ended.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from typing import Any

import deltalake  # noqa: F401 - imported before the fork

import restate_lab as rl
from restate_lab.history.archive import archive

CLUSTER = "tested"


def main(url: str, where: str) -> None:
    lock = threading.Lock()  # a thread that prints during a fork would leave its lock to the child
    for line in sys.stdin:
        reader, writer = os.pipe()
        with lock:
            began = time.time()
            pid = os.fork()
            if pid == 0:
                visit(url, where, json.loads(line), writer)
            os.close(writer)
            say(f"pid {pid} {began}")
        threading.Thread(target=wait, args=(pid, reader, lock)).start()


def visit(url: str, where: str, options: dict[str, Any], writer: int) -> None:
    code = 1
    try:
        with rl.connect(url, read_only=True, check=False) as lab:
            archive(lab, where, cluster_name=CLUSTER, timeout="1m", progress=False, **options)
        code = 0
    except Exception:  # noqa: BLE001 - the test reads it
        os.write(writer, traceback.format_exc().encode()[-1500:])
    finally:
        os._exit(code)


def wait(pid: int, reader: int, lock: threading.Lock) -> None:
    with os.fdopen(reader) as messages:
        text = messages.read()
    _, status = os.waitpid(pid, 0)
    with lock:
        say(f"exit {pid} {os.waitstatus_to_exitcode(status)} {text.strip()!r}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:3])
