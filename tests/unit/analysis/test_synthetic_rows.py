"""Questions about data that no demo has: made rows, answered by DataFusion, the server's engine."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.analysis.ask import ask
from restate_lab.reads import Reads
from support.table_source import TableSource

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
TIME = pa.timestamp("ms", "+00:00")
STATUS = pa.schema(
    [
        *(pa.field(name, pa.large_string()) for name in ("id", "status", "vqueue_id", "target_service_name")),
        pa.field("target", pa.large_string()),
        *(pa.field(name, pa.large_string()) for name in ("target_handler_name", "target_service_key", "invoked_by_id")),
        *(pa.field(name, pa.large_string()) for name in ("invoked_by_target", "pinned_deployment_id")),
        *(pa.field(name, pa.large_string()) for name in ("completion_result", "completion_failure")),
        pa.field("suspended_waiting_future_json", pa.large_string()),
        pa.field("inboxed_at", TIME),
        *(pa.field(name, TIME) for name in ("created_at", "modified_at", "running_at", "completed_at")),
        *(pa.field(name, TIME) for name in ("scheduled_at", "scheduled_start_at")),
        *(pa.field(f"suspended_waiting_for_{what}", pa.list_(pa.uint32())) for what in ("completions", "signals")),
    ]
)
JOURNAL = pa.schema(
    [
        *(pa.field(name, pa.large_string()) for name in ("id", "entry_type", "name", "entry_lite_json")),
        pa.field("index", pa.uint32()),
    ]
)


FLAGS = {
    **dict.fromkeys(("has_lock", "in_flight", "queue_is_paused"), pa.bool_()),
    **dict.fromkeys(("next_at", "transitioned_at"), pa.timestamp("ms", "+00:00")),
    **dict.fromkeys(("num_inbox", "num_errors", "retry_count", "retry_attempts"), pa.uint64()),
}
ENTRY = {"entry_kind": "invocation", "stage": None, "next_at": None, "num_errors": None, "retry_attempts": None,
         "deployment": None}  # fmt: skip
DURATIONS = tuple(
    f"{what}_block_duration"
    for what in (
        "lock", "concurrency_rules", "deployment_concurrency", "invoker_concurrency", "invoker_throttling",
        "invoker_memory", "throttling_rules",
    )
)  # fmt: skip


def table(columns: str, *values: tuple[Any, ...]) -> pa.Table:
    """Return rows of these columns; columns that are not in FLAGS are texts. Entries are those of invocations."""
    names = columns.split()
    if "entry_id" in names:
        more = [name for name in ENTRY if name not in names]
        names, values = [*names, *more], tuple((*row, *(ENTRY[name] for name in more)) for row in values)
    schema = pa.schema([pa.field(name, FLAGS.get(name, pa.large_string())) for name in names])
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in values], schema=schema)


class Rows(TableSource):
    def __init__(
        self, status: list[dict[str, Any]], journal: list[dict[str, Any]] | None = None, **tables: pa.Table
    ) -> None:
        self.features = {"vqueues": "sys_vqueues" in tables}
        invocations = pa.Table.from_pylist(status, schema=STATUS)
        entries = pa.Table.from_pylist(journal or [], schema=JOURNAL)
        super().__init__({"sys_invocation_status": invocations, "sys_journal": entries, **tables}, now=NOW)


def invocation(id_: str, status: str = "suspended", **columns: Any) -> dict[str, Any]:
    before = NOW - timedelta(hours=2)
    named = {"target": f"Svc/{id_}", "target_service_name": "Svc", "target_handler_name": "run"}
    return {"id": id_, "status": status, "created_at": before, "modified_at": before, **named, **columns}


def command(id_: str, index: int, kind: str, **details: Any) -> dict[str, Any]:
    lite = json.dumps({"Command": {kind: details}})
    return {"id": id_, "index": index, "entry_type": f"Command: {kind}", "name": "step", "entry_lite_json": lite}


def waiting(*completions: int, signals: tuple[int, ...] = (1,)) -> dict[str, list[int]]:
    return {"suspended_waiting_for_completions": list(completions), "suspended_waiting_for_signals": list(signals)}


def test_only_a_wait_for_the_completion_of_a_run_is_found() -> None:
    source: Any = Rows(
        [
            invocation("inv_stuck", **waiting(2)),
            invocation("inv_either", **waiting(1, 2)),
            invocation("inv_asleep", **waiting(1)),
            invocation("inv_running", status="invoked", **waiting(2)),
        ],
        [
            command(id_, index, kind, completion_id=index)
            for id_ in ("inv_stuck", "inv_either", "inv_asleep", "inv_running")
            for index, kind in ((1, "Sleep"), (2, "Run"))
        ],
    )
    frame = ask(source, "suspended_on_run")
    assert list(zip(frame["id"], frame["step"], frame["entry_index"], strict=True)) == [
        ("inv_either", "step", 2),
        ("inv_stuck", "step", 2),
    ]
    assert list(frame["waiting_for"]) == [pd.Timedelta(hours=2)] * 2
    assert len(ask(source, "suspended_on_run", older_than="3h")) == 0
    assert len(ask(source, "suspended_on_run", service="Other")) == 0


def test_each_alternative_of_a_wait_has_a_row_and_an_unexplained_wait_is_unknown() -> None:
    wake_up_time = int(NOW.timestamp() * 1000)
    source: Any = Rows(
        [invocation("inv_race", **waiting(1, 9, signals=(1, 17, 3))), invocation("inv_over", status="completed")],
        [command("inv_race", 1, "Sleep", completion_id=1, wake_up_time=wake_up_time)],
    )
    frame = ask(source, "waiting_on")
    assert set(frame["id"]) == {"inv_race"}
    found = frame.set_index("waits_for")
    assert sorted(found.index) == ["Awakeable", "Signal", "Sleep", "Unknown"]
    assert found.loc["Sleep", "wakes_at"].replace(tzinfo=UTC) == NOW
    assert (found.loc["Awakeable", "signal"], found.loc["Signal", "signal"]) == (17, 3)


def test_results_within_a_combination_are_rows() -> None:
    """With protocol 7 the lists lack the results of a combination, at any depth; the JSON of the future has them."""
    future = {"FirstCompleted": [{"Single": {"SignalIndex": 1}}, {"AllCompleted": [
        {"Single": {"CompletionId": 12}}, {"FirstCompleted": [
            {"Single": {"SignalIndex": 17}}, {"Single": {"SignalName": 'x "CompletionId":7 y'}}]}]}]}  # fmt: skip
    row = invocation("inv_a", **waiting(signals=(1,)), suspended_waiting_future_json=json.dumps(future))
    source: Any = Rows([row], [command("inv_a", 1, "Sleep", completion_id=12, wake_up_time=1)])
    frame = ask(source, "waiting_on")
    assert list(frame["waits_for"]) == ["Sleep", "Awakeable"]
    assert list(ask(source, "open_awakeables")["signal"]) == [17]


def test_a_wait_without_a_column_is_one_for_a_signal_and_attaching_has_a_callee() -> None:
    source: Any = Rows(
        [invocation("inv_bell", **waiting()), invocation("inv_guest", **waiting(1))],
        [command("inv_guest", 1, "AttachInvocation", completion_id=1, target={"InvocationId": "inv_host"})],
    )
    frame = ask(source, "waiting_on").set_index("id")
    assert frame["waits_for"].to_dict() == {"inv_bell": "Signal", "inv_guest": "AttachInvocation"}
    assert frame.loc["inv_guest", "callee_id"] == "inv_host"


def test_latency_of_a_delayed_call_counts_from_its_planned_start() -> None:
    made, planned, done = (NOW - timedelta(minutes=minutes) for minutes in (60, 10, 9))
    at = {"created_at": made, "running_at": planned, "completed_at": done}
    delayed = {"target_handler_name": "delayed", "scheduled_at": made, "scheduled_start_at": planned}
    source: Any = Rows(
        [invocation("inv_a", status="completed", **at), invocation("inv_b", status="completed", **{**at, **delayed})],
        [],
    )
    latency = ask(source, "latency").set_index("target_handler_name")
    assert latency["p50_ms"].to_dict() == {"run": 51 * 60_000, "delayed": 60_000}
    parts = ask(source, "latency_parts").set_index("target_handler_name")
    assert parts["queued_p50_ms"].to_dict() == {"run": 50 * 60_000, "delayed": 0}
    assert parts["running_p50_ms"].to_dict() == {"run": 60_000, "delayed": 60_000}


def test_a_holder_that_backs_off_does_not_wait_for_its_own_key() -> None:
    """With vqueues the inbox also counts the holder and a call for tomorrow, and neither of them waits."""
    waits = {"status": "inboxed", "target_service_key": "k", "inboxed_at": NOW - timedelta(minutes=1)}
    source: Any = Rows(
        [
            invocation("inv_holder", status="invoked", target_service_key="k"),
            invocation("inv_waits", **waits),
            invocation("inv_tomorrow", status="scheduled", target_service_key="k"),
        ],
        sys_vqueue_meta=table("id lock_name scope service_name num_inbox", ("vq_1", "Svc/k", None, "Svc", 3)),
        sys_vqueues=table(
            "id entry_id stage status has_lock",
            ("vq_1", "inv_holder", "inbox", "backing-off", True),
            ("vq_1", "inv_waits", "inbox", "new", False),
            ("vq_1", "inv_tomorrow", "inbox", "scheduled", False),
        ),
        sys_vqueue_entry_status=table("entry_id status", ("inv_holder", "backing-off"), ("inv_waits", "new")),
        sys_locks=table("lock_name scope acquired_by", ("Svc/k", None, "inv_holder")),
        sys_invocation_state=table("id in_flight retry_count"),
    )
    blocked = ask(source, "blocked_keys").iloc[0]
    assert (blocked["waiting"], blocked["holder_id"], blocked["holder_status"]) == (1, "inv_holder", "backing-off")
    backlog = ask(source, "backlog_by_key").iloc[0]
    assert (backlog["waiting"], backlog["oldest_id"], backlog["target_service_key"]) == (1, "inv_waits", "k")
    assert set(ask(source, "overview")["status"]) == {"backing-off", "pending", "scheduled"}


def test_what_began_while_it_was_read_does_not_wait() -> None:
    """The scheduler's heads and the queues are read at two times: one that began in between is not a blocked head.

    An attempt is not a wait for a slot either while its queue knows of it, and the invoker does not.
    """
    source: Any = Rows(
        [invocation(f"inv_{name}", status="invoked") for name in ("began", "waits", "first")],
        sys_scheduler=table(
            f"id head_entry_id status num_inbox scheduled_at blocked_on blocked_on_json {' '.join(DURATIONS)}",
            ("vq_1", "inv_began", "ready", 1, *[None] * (3 + len(DURATIONS))),
            ("vq_2", "inv_waits", "scheduled", 1, *[None] * (3 + len(DURATIONS))),
        ),
        sys_vqueue_meta=table(
            "id lock_name scope limit_key service_name queue_is_paused num_inbox",
            *((id_, None, None, None, "Svc", False, 1) for id_ in ("vq_1", "vq_2")),
        ),
        sys_vqueues=table(
            "id entry_id stage status run_at sequence_number transitioned_at",
            ("vq_1", "inv_began", "running", "started", "1", "1", NOW),
            ("vq_2", "inv_waits", "inbox", "backing-off", "1", "1", NOW),
        ),
        sys_vqueue_entry_status=table(
            "entry_id status stage retry_attempts",
            ("inv_began", "started", "running", 2),
            ("inv_waits", "backing-off", "inbox", 2),
            ("inv_first", "started", "running", 1),
        ),
        sys_locks=table("lock_name scope acquired_by"),
        sys_invocation_state=table("id in_flight retry_count"),
    )
    heads = ask(source, "blocked_heads")
    assert list(zip(heads["id"], heads["blocked_on"], strict=True)) == [("inv_waits", "backing-off")]
    ready = Reads(source).frame("doctor/ready", limit=10)
    assert list(ready["id"]) == ["inv_first"]
