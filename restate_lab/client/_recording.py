"""ChangeRecord one change in the audit log: its intent before the first request, and its result even after Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from restate_lab.audit import AuditLog
from restate_lab.interrupts import Shield


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """One change in the audit log, with one request or many.

    ``change`` is its id there. ``send(method, path, *, success, timeout=None, **request)`` sends a request once and
    raises the errors of ``Transport.change``. ``result`` is written when the block ends: it has the outcome of the last
    request, unless the caller replaces it. Within the block an interrupt is raised only while a request is sent, and in
    functions called by ``shield.let_through``. ``sent`` is set before the first byte of the first request is sent.
    """

    change: str
    send: Callable[..., httpx.Response]
    result: dict[str, Any]
    shield: Shield
    sent: threading.Event


@contextmanager
def record_change(
    audit: AuditLog, action: str, targets: Sequence[str], send: Callable[..., httpx.Response], **details: Any
) -> Iterator[ChangeRecord]:
    """Write the intent of a block, and its result when the block ends for any reason.

    ``send`` gets the arguments of ``ChangeRecord.send``, and ``result``, ``shield`` and ``sent``. An interrupt outside
    of a request is held back until the result is written.

    Raises:
        AuditFailed: the intent could not be written; nothing was sent.
    """
    with Shield() as shield:
        change = audit.intent(action, targets, **details)
        result: dict[str, Any] = {"outcome": "not sent"}
        sent = threading.Event()

        def send_once(method: str, path: str, **request: Any) -> httpx.Response:
            return send(method, path, result=result, shield=shield, sent=sent, **request)

        try:
            yield ChangeRecord(change, send_once, result, shield, sent)
        except BaseException as error:
            result.setdefault("error", repr(error))
            raise
        finally:
            audit.result(change, **result)


def interrupt_tick(shield: Shield) -> Callable[[], None]:
    """Return a tick that stops waiting for a response, in any thread, after an interrupt in the main thread."""

    def tick() -> None:
        if shield.was_raised:
            raise httpx.ReadError("waiting for the response was interrupted")

    return tick
