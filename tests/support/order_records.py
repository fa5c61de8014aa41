"""Records of the order services, for which no server is needed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from restate_lab.analysis.ids import decode_invocation_id
from restate_lab.testing import Record
from restate_lab.testing.journal import Failure, Journal

ID = "inv_1lIyp2ByO1ey35cGbU0hywb06imDxMEZvH"
APP, FIXED, QUIET = (f"support.order_services:{name}" for name in ("app", "fixed", "quiet"))
ORDER = {"customer": {"email": "ann@example.org", "name": "Ann"}, "sku": "mug", "count": 2}
ERROR = Failure("KeyError", "KeyError('price')", 500, 4)


def order_record(
    order: Mapping[str, Any] = ORDER,
    *,
    stock: int = 5,
    quote: Any = {"amount": 3},  # noqa: B006 - it is only read
    error: Failure | None = ERROR,
    ends: Sequence[Mapping[str, Any]] = (),
    has_quote: bool = True,
    **head: Any,
) -> Record:
    """Return the record of an order; ``ends`` are further entries, such as an Output."""
    entries = [
        {"type": "Command: Input", "value": json.dumps(order), "headers": [["authorization", "Bearer input-header"]]},
        {"type": "Command: Run", "result_completion_id": 1, "name": "stock"},
        {"type": "Notification: Run", "completion_id": 1, "value": json.dumps(stock)},
        {"type": "Command: Run", "result_completion_id": 2, "name": f"quote {order['customer']['email']}"},
    ]
    if has_quote:
        entries.append({"type": "Notification: Run", "completion_id": 2, "value": json.dumps(quote)})
    facts: dict[str, Any] = {"protocol": 6, "seed": 7, "status": "paused", "sdk": "restate-sdk-python/1.3.0"} | head
    return Record(
        Journal(
            service="Orders",
            handler="place",
            id=ID,
            id_bytes=decode_invocation_id(ID) or b"",
            entries=(*entries, *ends),
            created_at="2026-11-28T12:00:00.123Z",
            error=error,
            **facts,
        )
    )
