"""The source with the rows of a test, which the test may change: for data that no server will show, and for panels.

A test that needs other columns adds them to `_COLUMNS`. `support.history_rows` has weeks of rows.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from restate_lab.audit import AuditLog
from support.table_source import TableSource, table_of

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
BEFORE = NOW - timedelta(hours=2)

_TEXT, _NUMBER, _FLAG, _TIME = pa.large_string(), pa.uint64(), pa.bool_(), pa.timestamp("ms", "+00:00")
_LENGTH, _NUMBERS = pa.duration("ms"), pa.list_(pa.uint32())
_TYPES = {
    **dict.fromkeys(("retry_count", "value_length", "key_length"), _NUMBER),
    **dict.fromkeys(("journal_size", "journal_commands_size", "index", "after_journal_entry_index"), pa.uint32()),
    **dict.fromkeys(("min_service_protocol_version", "max_service_protocol_version"), pa.uint32()),
    **dict.fromkeys(("in_flight", "completed", "has_lock", "queue_is_paused"), _FLAG),
    **dict.fromkeys(("sequence_number", "num_inbox", "num_errors", "retry_attempts", "num_attempts"), _NUMBER),
    "pinned_service_protocol_version": pa.uint32(),
    "partition_key": pa.uint64(),
    **dict.fromkeys(("completion_retention", "journal_retention"), _LENGTH),
    **dict.fromkeys(("suspended_waiting_for_completions", "suspended_waiting_for_signals"), _NUMBERS),
    "services": pa.list_(_TEXT),
    "value": pa.large_binary(),
    "public": _FLAG,
    "revision": _NUMBER,
}
_COLUMNS = {
    "sys_invocation_status": """id partition_key vqueue_id pinned_service_protocol_version status
        target target_service_name target_handler_name target_service_key
        target_service_ty invoked_by invoked_by_service_name invoked_by_id invoked_by_target pinned_deployment_id
        created_at modified_at inboxed_at running_at completed_at scheduled_at scheduled_start_at completion_result
        completion_failure completion_retention journal_retention journal_size journal_commands_size restarted_from
        idempotency_key suspended_waiting_for_completions suspended_waiting_for_signals scope limit_key""",
    "sys_invocation_state": """id in_flight retry_count next_retry_at last_start_at last_failure
        last_failure_error_code last_failure_related_command_name last_attempt_deployment_id last_attempt_server""",
    "sys_journal": "id index entry_type name entry_lite_json entry_json appended_at",
    "sys_journal_events": "id event_type event_json appended_at after_journal_entry_index",
    "sys_deployment": "id endpoint ty created_at min_service_protocol_version max_service_protocol_version services",
    "sys_service": "name ty revision public deployment_id",
    "sys_inbox": "id service_name service_key",
    "sys_keyed_service_status": "service_name service_key invocation_id",
    "sys_promise": "service_name service_key key completed scope",
    "state": "scope service_name service_key key value value_utf8 value_length key_length",
}
_VQUEUES = {
    "sys_vqueues": """id entry_id entry_kind stage status has_lock run_at sequence_number created_at transitioned_at
        num_attempts""",
    "sys_vqueue_entry_status": """entry_id vqueue_id entry_kind stage status next_at num_errors retry_attempts
        deployment first_attempt_at""",
    "sys_vqueue_meta": """id service_name scope lock_name limit_key num_inbox queue_is_paused last_start_at
        last_finish_at""",
    "sys_scheduler": """id status head_entry_id num_inbox scheduled_at blocked_on blocked_on_json lock_block_duration
        concurrency_rules_block_duration deployment_concurrency_block_duration invoker_concurrency_block_duration
        invoker_throttling_block_duration invoker_memory_block_duration throttling_rules_block_duration""",
    "sys_locks": "lock_name scope acquired_by",
}
"""The tables of a server with vqueues, as far as our statements read them."""
_RESULTS = {"succeeded": "success", "failed": "failure"}


class SampleRows(TableSource):
    """Tables with the rows given; others are empty, except for one service and its deployment.

    Tables ("state") and columns ("state.scope") in ``without`` do not exist. The tables of vqueues exist only with
    ``vqueues``.
    """

    def __init__(
        self,
        *,
        name: str = "made",
        now: datetime = NOW,
        without: tuple[str, ...] = (),
        vqueues: bool = False,
        **tables: list[dict[str, Any]],
    ) -> None:
        tables.setdefault("sys_deployment", [{"id": "dp_1", "endpoint": "http://svc", "created_at": BEFORE}])
        tables.setdefault("sys_service", [{"name": "Svc", "deployment_id": "dp_1"}])
        schemas = {
            table: pa.schema([(each, _type(each)) for each in names.split() if f"{table}.{each}" not in without])
            for table, names in (_COLUMNS | (_VQUEUES if vqueues else {})).items()
            if table not in without
        }
        super().__init__({table: table_of(schema, tables.get(table, [])) for table, schema in schemas.items()}, now=now)
        self.name, self.features = name, {"vqueues": vqueues}


class LiveRows(SampleRows):
    """Rows that panels accept as a live connection; nothing is sent anywhere."""

    transport = SimpleNamespace(audit=AuditLog())
    address = "http://127.0.0.1:1"
    ingress = SimpleNamespace(address="http://127.0.0.1:2")
    live = True
    read_only = False


def invocation(
    id_: str | int, status: str = "suspended", *, service: str = "Svc", handler: str = "run", **columns: Any
) -> dict[str, Any]:
    """Return a row of sys_invocation_status, two hours old; "succeeded" and "failed" are completed ones."""
    row = {"id": sample_id(id_) if isinstance(id_, int) else id_, "status": status, "target": f"{service}/{handler}"}
    row |= {"target_service_name": service, "target_handler_name": handler}
    row |= {"created_at": BEFORE, "modified_at": BEFORE}
    if status in _RESULTS:
        row |= {"status": "completed", "completion_result": _RESULTS[status]}
    return row | columns


def waiting_columns(*completions: int, signals: tuple[int, ...] = ()) -> dict[str, list[int]]:
    """Return the columns of the invocations that wait for these; signal 1, cancellation, is always among them."""
    return {
        "suspended_waiting_for_completions": list(completions),
        "suspended_waiting_for_signals": [1, *signals],
    }


def command(id_: str, index: int, kind: str, **details: Any) -> dict[str, Any]:
    lite = json.dumps({"Command": {kind: details}})
    return {"id": id_, "index": index, "entry_type": f"Command: {kind}", "name": "a step", "entry_lite_json": lite}


def sample_id(number: int) -> str:
    return f"inv_1{number:033}"


def _type(column: str) -> pa.DataType:
    by_ending = _TIME if column.endswith("_at") else _LENGTH if column.endswith("_block_duration") else _TEXT
    return _TYPES.get(column, by_ending)
