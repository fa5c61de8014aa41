"""One change in the audit log: the intent before its first request, the result after its last, also after Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from restate_lab.audit import AuditLog
from restate_lab.interrupts import Shield

__all__ = ["Record", "interrupt_tick", "record_change"]


@dataclass(frozen=True, slots=True)
class Record:
    """One change in the audit log, of one request or of many.

    ``change`` is its id there. ``send(method, path, *, success, timeout=None, **request)`` sends a request once and
    raises as ``Transport.change`` does. ``result`` is what will be written when the block ends: what came of the last
    request, unless the caller replaces it. Within the block an interrupt arrives only while a request is sent and in
    what ``shield.let_through`` calls.
    """

    change: str
    send: Callable[..., httpx.Response]
    result: dict[str, Any]
    shield: Shield


@contextmanager
def record_change(
    audit: AuditLog, action: str, targets: Sequence[str], send: Callable[..., httpx.Response], **details: Any
) -> Iterator[Record]:
    """Write the intent of a block, and its result whatever ends the block.

    ``send`` is called as ``Record.send`` is, with ``result`` and ``shield`` too. An interrupt outside of a request is
    held back until the result is written.

    Raises:
        AuditFailed: the intent could not be written; nothing was sent.
    """
    with Shield() as shield:
        change = audit.intent(action, targets, **details)
        result: dict[str, Any] = {"outcome": "not sent"}

        def send_once(method: str, path: str, **request: Any) -> httpx.Response:
            return send(method, path, result=result, shield=shield, **request)

        try:
            yield Record(change, send_once, result, shield)
        except BaseException as error:
            result.setdefault("error", repr(error))
            raise
        finally:
            audit.result(change, **result)


def interrupt_tick(shield: Shield) -> Callable[[], None]:
    """Return a tick that ends the wait for an answer in any thread once an interrupt has ended the main thread's."""

    def tick() -> None:
        if shield.was_raised:
            raise httpx.ReadError("the wait for the answer was interrupted")

    return tick
