"""A source with the rows of an order and of its calls: the journals are empty, so only rows name the callers."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pyarrow as pa

from support.sample_rows import NOW, LiveRows, invocation, sample_id

ATTACK = "<img src=x onerror=alert(1)></script>\x1b[31m\u202etxt"
ORDER, CHARGE, HOSTILE_CALL, OTHER = map(sample_id, (1, 2, 3, 9))
VIEW = """
CREATE VIEW sys_invocation AS
SELECT i.*, s.* EXCEPT (id), CAST(NULL AS INTEGER UNSIGNED) AS last_failure_related_command_index
FROM sys_invocation_status i LEFT JOIN sys_invocation_state s ON s.id = i.id"""


def source_of(*, equal: int = 0, **options: Any) -> CalledRows:
    """Return an order that called two handlers, one with a hostile name, and an invocation of another story."""
    begin = NOW - timedelta(minutes=2)
    called = {"invoked_by": "service", "invoked_by_id": ORDER, "created_at": begin + timedelta(seconds=1)}
    rows = [
        invocation(1, service="Orders", handler="place", created_at=begin),
        invocation(2, "backing-off", service="Payments", handler="charge", **called),
        invocation(3, "running", service=ATTACK, handler="run", **called),
        invocation(9, "running", service="Other", handler="run", created_at=begin),
    ]
    ended = {"completed_at": begin + timedelta(seconds=5)} | called
    rows += [invocation(n, "succeeded", service="Rows", handler="store", **ended) for n in range(100, 100 + equal)]
    return CalledRows(sys_invocation_status=rows, **options)


class CalledRows(LiveRows):
    """Rows whose reads wait for ``go_on`` while it is not set; a wait ends when the panel stops the read."""

    go_on = threading.Event()

    def __init__(self, **tables: Any) -> None:
        super().__init__(**tables)
        self._context.sql(VIEW).collect()
        self._schemas["sys_journal"] = self._schemas["sys_journal"].append(pa.field("completed", pa.bool_()))
        self.put(sys_journal=[])

    def stream(self, statement: str, /, **options: Any) -> AbstractContextManager[pa.RecordBatchReader]:
        while not self.go_on.wait(0.01) and options["progress"]:
            options["progress"].update(0, 0)
        return super().stream(statement, **options)
