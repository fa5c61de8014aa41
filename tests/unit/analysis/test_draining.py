"""Which backlogs drain: the counts of calls in a window, those that are stuck, and the answer for each backlog."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import restate_lab as rl
from restate_lab.analysis.draining.model import describe, sentence_about
from restate_lab.errors import ArgumentError, NotOnThisServer, TimedOut, Truncated, Unreachable
from restate_lab.frames import records
from restate_lab.source import Coverage, CoverageGap
from support.archives import SampleArchive
from support.sample_rows import NOW, SampleRows, invocation, sample_id

MINUTE = timedelta(minutes=1)
LONG_AGO = NOW - timedelta(hours=5)
_NUMBERS = count(1)
Rows = list[dict[str, Any]]


def calls(ended: int, waiting: int, *, begun: int = 0, last: int = 0, **columns: Any) -> Rows:
    """Return ``ended`` calls that end in each of 30 minutes until ``last`` ones ago, ``begun`` that begin, and others.

    ``waiting`` counts all that wait. The calls that end began before the window.
    """
    columns = {"completion_retention": timedelta(days=1), "created_at": LONG_AGO} | columns
    times = [NOW - minute * MINUTE - timedelta(seconds=20) for minute in range(last, 30)]
    rows: Rows = []
    for at in times:
        rows += [invocation(next(_NUMBERS), "succeeded", **columns, completed_at=at) for _ in range(ended)]
        rows += [invocation(next(_NUMBERS), "inboxed", **columns | {"created_at": at}) for _ in range(begun)]
    return rows + [invocation(next(_NUMBERS), "inboxed", **columns) for _ in range(waiting - begun * len(times))]


def held(waiting: int, *, key: str = "stuck", since: timedelta = timedelta(minutes=12), begun: int = 0) -> Any:
    """Return the tables of a key that one call has held, and of the calls that wait for it."""
    holder = invocation(
        next(_NUMBERS), "suspended", created_at=LONG_AGO, running_at=NOW - since, target_service_key=key
    )
    queue = calls(0, waiting, begun=begun, target_service_key=key)
    inbox = [{"id": row["id"], "service_name": "Svc", "service_key": key} for row in queue]
    holds = {"service_name": "Svc", "service_key": key, "invocation_id": holder["id"]}
    return [holder, *queue], {"sys_inbox": inbox, "sys_keyed_service_status": [holds]}


def ask(*rows: dict[str, Any], tables: Any = None, **params: Any) -> list[dict[Any, Any]]:
    services = [{"name": name, "deployment_id": "dp_1"} for name in {each["target_service_name"] for each in rows}]
    source = SampleRows(sys_invocation_status=list(rows), sys_service=services, **(tables or {}))
    return records(rl.ask(source, "draining", **params))


def shown(row: dict[Any, Any]) -> tuple[Any, ...]:
    names = ("waiting", "stuck", "arrivals", "completions", "answer", "empty_in")
    return tuple(row[name] for name in names)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (calls(10, 200), (200, 0, 0, 10, "draining", 20 * MINUTE)),
        (calls(10, 3), (3, 0, 0, 10, "draining", MINUTE)),
        (calls(4, 200, begun=2), (200, 0, 2, 4, "draining", 100 * MINUTE)),
        (calls(2, 200, begun=4), (200, 0, 4, 2, "growing", None)),
        (calls(0, 200, begun=1), (200, 0, 1, 0, "growing", None)),
        (calls(3, 200, begun=3), (200, 0, 3, 3, "standing still", None)),
        (calls(0, 200), (200, 0, 0, 0, "standing still", None)),
        (calls(10, 200, last=12), (200, 0, 0, 6, "standing still", None)),
        (calls(0, 200, completion_retention=timedelta(minutes=20)), (200, 0, None, None, "unknown", None)),
        (calls(10, 200, completion_retention=timedelta()), (200, 0, None, None, "unknown", None)),
    ],
    ids=["drains", "few", "busy", "grows", "only arrivals", "equal", "nothing", "ended before", "kept 20m", "not kept"],
)
def test_the_answer_compares_what_came_with_what_ended(rows: Rows, expected: tuple[Any, ...]) -> None:
    (row,) = ask(*rows)
    assert shown(row) == expected
    assert (row["answer"] == "unknown") <= ("ended calls are kept for" in (row["reason"] or ""))


def test_a_shorter_window_is_enough_for_a_short_retention() -> None:
    kept = calls(10, 200, completion_retention=timedelta(minutes=20))
    assert ask(*kept, window="20m")[0]["answer"] == "draining"
    for window in ("0s", "31d"):
        with pytest.raises(ArgumentError, match=r"window is .*; use 1s to 30d\."):
            ask(*kept, window=window)


@pytest.mark.parametrize("stuck", [1, 60, 400])
def test_stuck_calls_are_in_no_rate_and_no_time(stuck: int) -> None:
    """A key that one call holds for ever does not delay the others, and its calls do not end with them."""
    rows, tables = held(stuck)
    *parts, whole = ask(*rows, *calls(10, 300), tables=tables)
    assert shown(whole) == (300 + stuck, stuck, 0, 10, "draining", 30 * MINUTE)
    assert describe(whole) == f"empty in 30m at this rate (stuck: {stuck} behind a held key)"
    assert [(row["key"], *shown(row)) for row in parts] == [("stuck", stuck, stuck, 0, 0, "standing still", None)] * (
        stuck >= 10
    )


def test_arrivals_at_a_held_key_grow_it_and_are_in_no_rate_of_the_service() -> None:
    rows, tables = held(60, begun=1)
    answers = {row["level"]: shown(row) for row in ask(*rows, *calls(10, 300), tables=tables)}
    assert answers == {
        "key": (60, 60, 0, 0, "growing", None),
        "service": (360, 60, 0, 10, "draining", 30 * MINUTE),
    }


def test_a_key_whose_holder_changes_is_not_stuck() -> None:
    rows, tables = held(60, since=timedelta(minutes=9))
    assert {row["stuck"] for row in ask(*rows, tables=tables)} == {0}
    assert {row["stuck"] for row in ask(*rows, tables=tables, window="24m")} == {60}


def queue(id_: str, obstacle: str, waiting: int, **columns: Any) -> tuple[Rows, dict[str, Rows]]:
    """Return calls that wait in a vqueue of a scope, and the tables of vqueues."""
    rows = calls(0, waiting, scope=id_, **columns)
    on = json.dumps({"blocked_rule": "x", "blocked_level": columns.get("level", "scope")})
    head = {"id": id_, "status": "blocked", "blocked_on": "limit-key-concurrency", "blocked_on_json": on}
    return rows, {
        "sys_vqueues": [
            {"id": id_, "entry_id": row["id"], "entry_kind": "invocation", "stage": "inbox", "status": "new"}
            for row in rows
        ],
        "sys_vqueue_meta": [
            {
                "id": id_,
                "service_name": "Svc",
                "scope": id_,
                "limit_key": columns.get("limit_key"),
                "queue_is_paused": obstacle == "paused",
                "num_inbox": waiting,
            }
        ],
        "sys_scheduler": [head] if obstacle == "full" else [],
    }


def moved(scope: str, minutes: int, **columns: Any) -> dict[str, Any]:
    """Return a call of a scope that started so many minutes ago."""
    return invocation(
        next(_NUMBERS), "invoked", created_at=LONG_AGO, running_at=NOW - minutes * MINUTE, scope=scope, **columns
    )


@pytest.mark.parametrize(
    ("obstacle", "other", "reason"),
    [
        ("paused", None, "stuck: 40 in a paused queue"),
        ("full", None, "stuck: 40 under a full limit"),
        ("full", moved("tenant", 12, limit_key="a"), "stuck: 40 under a full limit"),
        ("full", moved("tenant", 3, limit_key="a"), None),
        ("paused", moved("tenant", 3, limit_key="a"), "stuck: 40 in a paused queue"),
        ("", None, None),
    ],
    ids=["paused", "full", "full and old", "full and moving", "paused and moving", "free"],
)
def test_a_paused_queue_and_a_limit_that_does_not_move_are_stuck(
    obstacle: str, other: dict[str, Any] | None, reason: str | None
) -> None:
    rows, tables = queue("tenant", obstacle, 40, limit_key="a")
    running = [other | {"target_service_name": "Other"}] if other else []
    answers = ask(*rows, *running, tables={**tables, "vqueues": True})
    whole, part = (next(row for row in answers if row["level"] == level) for level in ("service", "queue"))
    assert (whole["level"], part["level"], part["scope"], part["limit_key"]) == ("service", "queue", "tenant", "a")
    assert (whole["reason"], part["reason"]) == (reason, reason)
    assert whole["stuck"] == part["stuck"] == (40 if reason else 0)


def test_running_retrying_scheduled_and_suspended_calls_do_not_wait() -> None:
    later = {"scheduled_at": NOW, "scheduled_start_at": NOW + timedelta(hours=1)}
    rows = [
        *(invocation(1, "inboxed"), invocation(2, "invoked"), invocation(3, "invoked"), invocation(4, "invoked")),
        *(invocation(5, "scheduled", **later), invocation(6, "suspended"), invocation(7, "paused")),
    ]
    states = [{"id": rows[2]["id"], "in_flight": True}, {"id": rows[3]["id"], "in_flight": False, "retry_count": 3}]
    assert ask(*rows, tables={"sys_invocation_state": states})[0]["waiting"] == 2


def test_calls_that_began_and_are_suspended_do_not_make_a_backlog_grow() -> None:
    asleep = [invocation(next(_NUMBERS), created_at=NOW - MINUTE) for _ in range(500)]
    assert ask(*asleep, *calls(0, 2))[0]["answer"] == "standing still"


def test_delayed_calls_arrive_when_they_start() -> None:
    begun = {"scheduled_at": LONG_AGO, "scheduled_start_at": NOW - 10 * MINUTE}
    later = {"scheduled_at": LONG_AGO, "scheduled_start_at": NOW + 10 * MINUTE}
    assert ask(*calls(0, 30, **begun), *calls(0, 30, **later))[0]["arrivals"] == 1


def test_hot_keys_and_queues_have_rows_of_their_own_and_equal_keys_of_services_are_apart() -> None:
    frame = ask(
        *calls(10, 50, service="Cart"),
        *calls(1, 150, begun=3, service="Cart", target_service_key="hot"),
        *calls(1, 9, service="Cart", target_service_key="small"),
        *calls(5, 100, service="Mail", target_service_key="hot"),
        *calls(5, 40, service="Mail", scope="tenant-1", limit_key="a"),
    )
    found = {sentence_about(row).split(",")[0]: shown(row)[2:5] for row in frame}
    assert found == {
        "The backlog of Cart/hot": (3, 1, "growing"),
        "The backlog of Cart": (3, 12, "draining"),
        "The backlog of Mail": (0, 10, "draining"),
        "The backlog of Mail/hot": (0, 5, "draining"),
        "The backlog of Mail in scope tenant-1 with limit key a": (0, 5, "draining"),
    }
    assert [row["answer"] for row in frame] == ["growing", *["draining"] * 4], "those that grow first"


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            calls(10, 90),
            "The backlog of Svc, 90 waiting, is draining: empty in 9m at this rate; 0.0 arrive and 10.0 end a minute.",
        ),
        (calls(2, 200, begun=4), "The backlog of Svc, 200 waiting, is growing: 4.0 arrive and 2.0 end a minute."),
        (
            calls(10, 2, last=12),
            (
                "The backlog of Svc, 2 waiting, is standing still: 0.0 arrive and 6.0 end a minute; "
                "nothing has ended in the last 10m."
            ),
        ),
        (
            calls(0, 200, completion_retention=timedelta()),
            "The backlog of Svc, 200 waiting, has an unknown end: ended calls are kept for 0s, and the window is 30m.",
        ),
    ],
    ids=["drains", "grows", "still", "unknown"],
)
def test_a_row_is_one_sentence(rows: Rows, sentence: str) -> None:
    assert sentence_about(ask(*rows)[0]) == sentence


class ArchivedRows(SampleRows):
    """Rows of a cluster and of its archive since yesterday."""

    missing_until: timedelta | None = None
    began = NOW - timedelta(days=1)

    @property
    def coverage(self) -> Coverage:
        gap = CoverageGap(service="Svc", handler="run", since=self.began, until=NOW - MINUTE, reason="too few visits")
        return Coverage(since=self.began, gaps=(gap,) if self.missing_until else ())


def test_an_archive_keeps_ended_calls_and_its_gaps_are_unknown() -> None:
    source = ArchivedRows(sys_invocation_status=calls(10, 200, completion_retention=MINUTE))
    assert rl.ask(source, "draining")["answer"].tolist() == ["draining"]
    source.missing_until = MINUTE
    assert rl.ask(source, "draining")["reason"].tolist() == ["ended calls may be missing: too few visits"]
    source.missing_until, source.began = None, NOW - MINUTE
    assert rl.ask(source, "draining")["reason"].tolist() == [
        "the archive does not reach back to the beginning of the window"
    ]


QUESTIONS = [("draining", {}), ("stuck_without", {"deployment": "dp_1"})]


@pytest.mark.parametrize(("question", "params"), QUESTIONS)
def test_each_source_has_a_stated_result(question: str, params: dict[str, Any], tmp_path: Path) -> None:
    """An empty source has no rows with all columns, an archive alone has no open calls, and errors keep their kind."""
    empty = rl.ask(SampleRows(), question, **params)
    assert empty.empty
    assert {"reason", "service"} <= set(empty.columns)
    archive = SampleArchive(tmp_path / "history")
    archive.visit(NOW)
    with rl.open_history(archive.path) as history, pytest.raises(NotOnThisServer, match="has only ended ones"):
        rl.ask(history, question, **params)
    with pytest.raises((Unreachable, TimedOut), match=r"127\.0\.0\.1:9"):
        rl.ask(rl.connect("http://127.0.0.1:9", check=False), question, timeout="0.1s", **params)
    with pytest.raises(ArgumentError, match="'Svcc'"):
        rl.ask(SampleRows(), question, service="Svcc", **params)


def leaving(**tables: Any) -> SampleRows:
    """Return a source with two deployments: one has Old and Both, the other Both and Other."""
    rows = [
        invocation(1, "suspended", service="Old", pinned_deployment_id="dp_old"),
        invocation(2, "inboxed", service="Old"),
        invocation(3, "inboxed", service="Both"),
        invocation(4, "invoked", service="Both", pinned_deployment_id="dp_old"),
        invocation(5, "scheduled", service="Old"),
        invocation(6, "succeeded", service="Old", pinned_deployment_id="dp_old"),
        invocation(7, "paused", service="Both", pinned_deployment_id="dp_new"),
        invocation(8, "inboxed", service="Both", target_service_key="k", created_at=NOW),
    ]
    latest = {"Old": "old", "Both": "new"}
    defaults: dict[str, Any] = {
        "sys_invocation_status": rows,
        "sys_invocation_state": [{"id": sample_id(4), "in_flight": True}],
        "sys_service": [{"name": name, "deployment_id": f"dp_{at}"} for name, at in latest.items()],
        "sys_deployment": [
            {"id": "dp_old", "services": ["Old", "Both"], "created_at": NOW},
            {"id": "dp_new", "services": ["Both", "Other"], "created_at": NOW},
        ],
        "sys_inbox": [{"id": sample_id(8), "service_name": "Both", "service_key": "k"}],
        "sys_keyed_service_status": [{"service_name": "Both", "service_key": "k", "invocation_id": sample_id(4)}],
    }
    return SampleRows(**defaults | tables)


def test_the_calls_that_need_a_deployment_are_stuck_without_it() -> None:
    frame = rl.ask(leaving(), "stuck_without", deployment="dp_old")
    stuck = {row["id"]: (row["status"], row["cause"]) for row in records(frame)}
    assert stuck == {
        sample_id(1): ("suspended", "pinned"),
        sample_id(2): ("pending", "service"),
        sample_id(4): ("running", "pinned"),
        sample_id(5): ("scheduled", "service"),
        sample_id(8): ("pending", "key"),
    }
    assert frame["reason"].iloc[-1] == f"waits for the key Both/k, which {sample_id(4)} holds"
    assert frame["created_at"].is_monotonic_increasing
    assert frame.attrs["not_read"] == []
    of_service = rl.ask(leaving(), "stuck_without", deployment="dp_old", service="Both")
    assert set(of_service["id"]) == {sample_id(4), sample_id(8)}
    with pytest.warns(Truncated, match="more than 2 rows"):
        assert len(rl.ask(leaving(), "stuck_without", deployment="dp_old", limit=2)) == 2
    assert len(rl.ask(leaving(), "stuck_without", deployment="dp_old", limit=None)) == 5


def test_nothing_is_stuck_without_an_unused_deployment_and_an_unknown_one_is_refused() -> None:
    source = leaving(
        sys_invocation_status=[invocation(3, "inboxed", service="Both")],
        sys_service=[{"name": "Both", "deployment_id": "dp_old"}],
    )
    frame = rl.ask(source, "stuck_without", deployment="dp_old")
    assert frame.empty
    assert frame.attrs["not_read"] == [
        "handlers that the next deployment of a service does not have: only a live cluster has them"
    ]
    with pytest.raises(ArgumentError, match=r"No deployment 'dp_odd' on made\. Did you mean 'dp_old'"):
        rl.ask(source, "stuck_without", deployment="dp_odd")
