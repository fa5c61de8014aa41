"""The record of each page in the audit log, written before the page is shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.types import Scope

from restate_lab._text import escape_invisible
from restate_lab.audit import AuditLog
from restate_lab.errors import RestateLabError
from restate_lab.redaction import MASK, is_secret_name, mask_user_info
from restate_lab.serve.access import CODE

_MOST_RECORDED = 2_000  # characters of the parameters
_LONGEST_PATH = 200  # characters


class AccessRecords:
    """The records of the pages that viewers load; all methods run in the event loop.

    A record is on the disk when ``write`` returns. Records of viewers that wait at the same time are written together,
    so that fifty viewers wait as long as one.
    """

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._waiting: list[tuple[Mapping[str, Any], asyncio.Future[str | None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def write(self, scope: Scope, params: Mapping[str, Sequence[str]], **details: Any) -> str | None:
        """Record a request with these parameters; return why it cannot be recorded, or None.

        ``details`` are fields of ``AuditLog.read``.
        """
        client = scope.get("client")
        record = {
            "tool": escape_invisible(f"serve {scope['path'][:_LONGEST_PATH]}", lines=False),
            "arguments": _text_of(params),
            **dict.fromkeys(("source", "rows", "bytes", "milliseconds", "error")),
            **details,
            "client": escape_invisible(client[0][:_LONGEST_PATH], lines=False) if client else "",
        }
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((record, future))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        problem: str | None = await future
        return problem

    async def _write_all(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            problem: str | None = None
            try:
                await asyncio.to_thread(self._audit.read_all, [record for record, _ in waiting])
            except RestateLabError as error:
                problem = str(error)
            except Exception as error:  # noqa: BLE001 - its viewers would wait forever
                problem = f"the audit record cannot be written ({type(error).__name__})"
            for _, future in waiting:
                if not future.done():
                    future.set_result(problem)


def _text_of(params: Mapping[str, Sequence[str]]) -> str:
    shown = {name: MASK if name == CODE or is_secret_name(name) else values for name, values in params.items()}
    text = escape_invisible(mask_user_info(json.dumps(shown, ensure_ascii=False)), lines=False)
    return text if len(text) <= _MOST_RECORDED else f"{text[:_MOST_RECORDED]}…"
