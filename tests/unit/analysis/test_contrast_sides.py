"""Both sides of a comparison: which invocations are failing, which healthy ones are comparable, and bad arguments."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from restate_lab.analysis.contrast import compare_sides, reader as contrast_reader
from restate_lab.analysis.contrast.conditions import prefix_of
from restate_lab.analysis.contrast.failing import choose_failing
from restate_lab.analysis.contrast.healthy import choose_healthy
from restate_lab.analysis.contrast.model import MISSING, Counted
from restate_lab.analysis.contrast.reader import ContrastReader, SideCondition, sample_of
from restate_lab.analysis.contrast.sides import ContrastRequest, ContrastSides
from restate_lab.analysis.doctor.model import Finding, Severity
from restate_lab.analysis.suggestions import ask_call
from restate_lab.errors import ArgumentError, NotOnThisServer
from restate_lab.reads import begin
from restate_lab.source import Coverage
from support.sample_rows import BEFORE, LiveRows, SampleRows, invocation, sample_id

HOUR = timedelta(hours=1)
Row = dict[str, Any]


def run(
    number: int, status: str = "succeeded", *, after: timedelta = timedelta(0), ms: int = 10, **columns: Any
) -> Row:
    created = BEFORE + after + timedelta(seconds=number % 60)
    ended = {"completed_at": created + timedelta(milliseconds=ms)} if status in {"succeeded", "failed"} else {}
    failure = {"completion_failure": "[500] declined"} if status == "failed" else {}
    return invocation(number, status, created_at=created, journal_size=3) | ended | failure | columns


def runs(numbers: range, status: str = "succeeded", **columns: Any) -> list[Row]:
    return [run(number, status, **columns) for number in numbers]


FAILED, HEALTHY = runs(range(1, 21), "failed"), runs(range(100, 150))


def sides_of(source: SampleRows, failing: Any, healthy: Any = None, **options: Any) -> ContrastSides:
    reader = ContrastReader(begin(source, "contrast"))
    request = ContrastRequest(failing=failing, healthy=healthy, **options)
    sides = choose_failing(reader, request)
    if not sides.statement:
        choose_healthy(reader, request, sides)
    return sides


def source_of(*rows: Row, **tables: Any) -> SampleRows:
    return SampleRows(sys_invocation_status=list(rows), **tables)


def ids(rows: Sequence[Row]) -> set[str]:
    return {row["id"] for row in rows}


def ids_of(rows: Sequence[Any]) -> set[str]:
    return {row["id"] for row in rows}


def test_healthy_ones_of_the_same_time_come_first() -> None:
    """Successful ones of other hours are not compared if there are enough from the hour of the failing ones."""
    other = runs(range(200, 400), after=-5 * HOUR)
    sides = sides_of(source_of(*FAILED, *HEALTHY, *other), "failed")
    assert ids_of(sides.healthy.rows) == ids(HEALTHY)
    assert (sides.failing.total, sides.healthy.total) == (20, 50)
    assert sides.has_times
    assert not sides.not_read


@pytest.mark.parametrize(("after", "which"), [(-3 * HOUR, "before"), (1.5 * HOUR, "after")])
def test_in_a_full_outage_another_time_is_compared_and_named(after: timedelta, which: str) -> None:
    healthy = runs(range(100, 150), after=after)
    sides = sides_of(source_of(*FAILED, *healthy), "failed")
    assert ids_of(sides.healthy.rows) == ids(healthy)
    assert not sides.has_times
    assert "the healthy ones were created in the" in sides.not_read[0]
    assert which in sides.not_read[0]


def test_a_window_widens_the_time_of_the_failing_ones() -> None:
    earlier = runs(range(200, 230), after=-3 * HOUR)
    source = source_of(*FAILED, *HEALTHY, *earlier)
    assert ids_of(sides_of(source, "failed", window=4 * HOUR).healthy.rows) == ids([*HEALTHY, *earlier])


def test_failing_ones_older_than_every_kept_healthy_one_are_counted_and_excluded() -> None:
    old = [row | {"status": "paused", "completion_result": None} for row in runs(range(1, 6), after=-90 * HOUR)]
    new = runs(range(10, 16), "paused")
    sides = sides_of(source_of(*old, *new, *HEALTHY), "paused")
    assert ids_of(sides.failing.rows) == ids(new)
    assert sides.not_read == ["5 failing invocations older than every healthy one that is still kept"]


def test_of_several_handlers_that_with_most_failing_is_compared_and_all_have_rates() -> None:
    few = runs(range(30, 35), "failed", target_handler_name="refund")
    sides = sides_of(source_of(*FAILED, *few, *HEALTHY), "failed")
    assert sides.target == "Svc/run"
    assert sides.handlers.to_dict("list") == {
        "service": ["Svc", "Svc"],
        "handler": ["run", "refund"],
        "failing": [20, 5],
        "healthy": [50, 0],
        "percent": [pytest.approx(100 * 20 / 70), 100.0],
    }
    assert "1 other handler: Svc/refund (5)" in sides.not_read[0]


def test_a_restart_of_a_failing_one_is_on_neither_side() -> None:
    again = [run(40, "failed", restarted_from=sample_id(1)), run(160, restarted_from=sample_id(2))]
    own = run(161, restarted_from=sample_id(120))
    sides = sides_of(source_of(*FAILED, *HEALTHY, *again, own), "failed")
    assert ids_of(sides.failing.rows) == ids(FAILED)
    assert ids_of(sides.healthy.rows) == ids([*HEALTHY, own])
    assert [reason[:9] for reason in sides.not_read] == ["1 failing", "1 healthy"]


def test_invocations_in_progress_are_healthy_if_they_passed_the_step_of_the_failing_ones() -> None:
    """With few successful ones, those in their first attempt count that ended the step at which the others stopped."""
    stuck, passed, before = (
        runs(range(1, 9), "paused"),
        runs(range(10, 20), "suspended"),
        runs(range(20, 26), "invoked"),
    )
    retried = run(30, "invoked")
    journal = [
        *(entry for row in stuck for entry in (step(row["id"], 1, "reserve"), done(row["id"], 2, 1))),
        *(step(row["id"], 3, "charge") for row in stuck),
        *(entry for row in [*passed, retried] for entry in (step(row["id"], 1, "charge"), done(row["id"], 2, 1))),
        *(step(row["id"], 1, "reserve") for row in before),
    ]
    state = [{"id": retried["id"], "retry_count": 4, "in_flight": False}]
    source = source_of(*stuck, *passed, *before, retried, sys_journal=journal, sys_invocation_state=state)
    sides = sides_of(source, "paused")
    assert ids_of(sides.healthy.rows) == ids(passed)
    assert "10 in progress passed the step" in sides.healthy.chosen
    assert not sides_of(source, "paused", reads_steps=False).healthy.rows


def step(id_: str, index: int, name: str) -> Row:
    lite = f'{{"Command":{{"Run":{{"completion_id":{index},"name":"{name}"}}}}}}'
    return {"id": id_, "index": index, "entry_type": "Command: Run", "name": name, "entry_lite_json": lite}


def done(id_: str, index: int, completion: int, result: str = "Success") -> Row:
    lite = (
        f'{{"Notification":{{"ty":{{"Completion":"Run"}},"id":{{"CompletionId":{completion}}},"result":"{result}"}}}}'
    )
    return {"id": id_, "index": index, "entry_type": "Notification: Run", "entry_lite_json": lite}


def test_slow_ones_are_the_slowest_tenth_and_the_faster_half_is_healthy() -> None:
    rows = [run(number, ms=100 + number) for number in range(1, 101)]
    sides = sides_of(source_of(*rows), "slow")
    slow, fast = ids_of(sides.failing.rows), ids_of(sides.healthy.rows)
    assert slow <= ids(rows[88:])
    assert len(slow) in range(9, 12)
    assert fast <= ids(rows[:52])
    assert len(fast) in range(49, 53)
    assert "those between are excluded" in sides.healthy.chosen


def test_equal_durations_and_too_few_of_them_are_stated() -> None:
    equal = [run(number) for number in range(1, 101)]
    assert "take equally long, 10 ms" in sides_of(source_of(*equal), "slow").statement
    assert "and the slowest tenth needs 40" in sides_of(source_of(*equal[:30]), "slow").statement


def test_a_sample_is_the_same_on_the_server_and_here() -> None:
    source = source_of(*FAILED, *HEALTHY)
    sides = sides_of(source, "failed", sample=10)
    assert [row["id"] for row in sides.failing.rows] == sample_of(ids(FAILED), 10)
    assert sides.failing.total == 20
    assert sides.healthy.total is None
    by_id = sides_of(source, sorted(ids(FAILED)), sample=10)
    assert [row["id"] for row in by_id.failing.rows] == sample_of(ids(FAILED), 10)
    assert not ids_of(by_id.healthy.rows) & ids(FAILED)


def test_all_rows_are_counted_by_column_and_by_the_prefix_of_the_key() -> None:
    failed = [
        row | {"target_service_key": f"obsidian-{at}", "invoked_by_service_name": "Backfill"}
        for at, row in enumerate(FAILED)
    ]
    healthy = [
        row | {"target_service_key": "pine" if at % 2 else None, "invoked_by": "ingress"}
        for at, row in enumerate(HEALTHY)
    ]
    source = source_of(*failed, *healthy)
    reader = ContrastReader(begin(source, "contrast"))
    sides = sides_of(source, "failed", sample=10)
    assert sides.failing.condition
    assert sides.healthy.condition
    totals = reader.totals(sides.failing.condition, sides.healthy.condition)
    assert (totals.failing, totals.healthy) == (20, 50)
    counted = {
        each.attribute.path: {
            value: (int(a), int(b)) for value, a, b in zip(each.values, each.failing, each.healthy, strict=True)
        }
        for each in totals.counted
    }
    assert counted["caller"] == {"Backfill": (20, 0), "ingress": (0, 50)}
    assert counted["target_service_key"] == {"obsidian-": (20, 0), MISSING: (0, 50)}


OTHER_CALLER = [row | {"invoked_by_service_name": "Backfill"} for row in FAILED]
STOPPED = runs(range(40, 45), "failed", completion_failure="[409] killed")


def test_the_count_of_the_handlers_also_counts_the_columns_of_both_sides() -> None:
    """If the healthy side has the time of all successful invocations, a scan of both sides has the same counts."""
    source = source_of(*OTHER_CALLER, *STOPPED, *HEALTHY, run(300, "failed", target_handler_name="other"))
    sides = sides_of(source, "failed", sample=10)
    assert sides.failing.condition
    assert sides.healthy.condition
    scanned, known = (
        ContrastReader(begin(source, "contrast")).totals(sides.failing.condition, sides.healthy.condition, known=each)
        for each in ((), sides.known_groups())
    )
    assert (known.failing, known.healthy) == (scanned.failing, scanned.healthy) == (20, 50)
    assert list(map(_values, known.counted)) == list(map(_values, scanned.counted))


def _values(counted: Counted) -> tuple[Any, ...]:
    counts = zip(counted.values, counted.failing.tolist(), counted.healthy.tolist(), strict=True)
    return counted.attribute, {value: both for value, *both in counts}


@pytest.mark.parametrize("failing", ["failed", [row["id"] for row in OTHER_CALLER]], ids=["kind", "ids"])
@pytest.mark.parametrize("after", [timedelta(0), -5 * HOUR], ids=["all healthy", "also older"])
def test_both_sides_are_counted_with_a_scan_only_if_older_or_newer_healthy_ones_exist(
    failing: Any, after: timedelta
) -> None:
    source = source_of(*OTHER_CALLER, *STOPPED, *HEALTHY, *runs(range(200, 230), after=after))
    result = compare_sides(source, failing, sample=12, reads_steps=False)
    is_all = after == timedelta(0)
    assert result.sides["total"].tolist() == [20, 80 if is_all else 50]
    scans = [each["sql"] for each in result.queries if "AS is_failing" in each["sql"] or "SELECT count" in each["sql"]]
    keys = [each for each in scans if "split_part" in each]
    assert len(scans) - len(keys) == (0 if is_all else 1)


def test_a_sample_of_many_invocations_of_a_server_is_the_same_and_knows_that_a_row_has_disappeared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [*FAILED, *HEALTHY]
    small = sides_of(LiveRows(sys_invocation_status=rows), "failed", sample=15)
    monkeypatch.setattr(contrast_reader, "_MANY", 10)
    large = sides_of(LiveRows(sys_invocation_status=rows), "failed", sample=15)
    assert (large.failing, large.healthy) == (small.failing, small.healthy)
    gone = large.healthy.rows[0]["id"]
    left = sides_of(Purging(gone, sys_invocation_status=rows), "failed", sample=15)
    assert len(left.healthy.rows) == 14
    assert left.healthy.total is None


def test_a_sample_of_a_known_number_is_chosen_in_a_share_of_the_partition_keys_if_these_are_random(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With keys, all invocations of a key are in one place, so the whole range is read."""
    monkeypatch.setattr(contrast_reader, "_MANY", 10)
    rows = [row | {"partition_key": number * 2**60, "scope": None} for number, row in enumerate(HEALTHY[:16])]
    rows = [
        row | {"id": sample_id(1000 + 100 * number + copy)} for number in range(10) for copy, row in enumerate(rows)
    ]
    expected = {sample_id(1000 + 100 * number + copy) for number in range(10) for copy in range(12)}
    for keys, is_share in (({}, True), ({"target_service_key": "a"}, False), ({"scope": "a"}, False)):
        every = [*FAILED, *(row | keys for row in rows)]
        chosen = ids_of(sides_of(LiveRows(sys_invocation_status=every), "failed", sample=40).healthy.rows)
        assert len(chosen) == 40
        assert (set(chosen) <= expected) is is_share


class Purging(LiveRows):
    """A server that purges one invocation between the two statements of a sample."""

    def __init__(self, gone: str, **tables: Any) -> None:
        super().__init__(**tables)
        self.gone = gone

    def stream(self, statement: str, /, **options: Any) -> AbstractContextManager[pa.RecordBatchReader]:
        if "id IN :ids" in statement:
            statement = statement.replace("id IN :ids", f"id IN :ids AND id <> '{self.gone}'")
        return super().stream(statement, **options)


def test_a_server_counts_the_prefixes_that_the_sample_has() -> None:
    """A prefix ends with the first separator that has text after it; a space is not a separator."""
    keys = ["obsidian-1", "a b-1", "two words", "x:y-1", "a-", "-a", "plain", "ü_1", "https://a.example"]
    rows = [row | {"target_service_key": key} for key in keys for row in FAILED[:1]]
    reader = ContrastReader(begin(source_of(*rows), "contrast"))
    failing = SideCondition("status = 'completed'", {})
    totals = reader.totals(failing, SideCondition("status = 'suspended'", {}))
    counted = next(each for each in totals.counted if each.attribute.path == "target_service_key")
    assert set(counted.values) == {prefix_of(key) or MISSING for key in keys}


def finding(*ids_: str) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        title="20 fail",
        where="Svc/run",
        count=20,
        ids=ids_,
        evidence=ask_call("paused"),
        suggested=(),
    )


@pytest.mark.parametrize(
    "targets",
    [
        sorted(ids(FAILED)),
        pd.DataFrame(FAILED),
        finding(*ids(FAILED)),
        pd.DataFrame([{"title": "20 fail", "ids": sorted(ids(FAILED))}]),
        pd.DataFrame([{"title": "20 fail", "ids": sorted(ids(FAILED))}]).iloc[0],
        {"title": "20 fail", "ids": sorted(ids(FAILED))},
    ],
    ids=["ids", "frame", "finding", "frame of a finding", "row of a finding", "dict of a finding"],
)
def test_every_form_of_the_failing_ones_selects_the_same(targets: Any) -> None:
    sides = sides_of(source_of(*FAILED, *HEALTHY), targets)
    assert (ids_of(sides.failing.rows), ids_of(sides.healthy.rows)) == (ids(FAILED), ids(HEALTHY))


def test_ids_that_do_not_exist_and_new_runs_are_counted() -> None:
    frame = pd.DataFrame(FAILED)[["id", "created_at"]]
    frame.loc[0, "created_at"] -= HOUR
    frame.loc[len(frame)] = {"id": sample_id(999), "created_at": BEFORE}
    sides = sides_of(source_of(*FAILED, *HEALTHY), frame)
    assert len(sides.failing.rows) == 19
    assert sides.not_read == [
        "1 failing id that the source does not have",
        "1 failing id with a new run since the frame was read",
    ]


@pytest.mark.parametrize("absent", [0, 3_000])
def test_ids_are_looked_up_before_a_sample_of_them_is_read(absent: int) -> None:
    """Only ids that exist are counted, and the sample has only invocations of the compared handler."""
    others = runs(range(30, 46), "failed", target_handler_name="refund")
    source = source_of(*FAILED, *others, *HEALTHY, *runs(range(200, 230), target_handler_name="refund"))
    gone = [sample_id(10_000 + number) for number in range(absent)]
    sides = sides_of(source, [*gone, *sorted(ids([*FAILED, *others]))], sample=12)
    assert sides.handlers["failing"].tolist() == [20, 16]
    assert (len(sides.failing.rows), sides.failing.total) == (12, 20)
    assert all(sides.has_row(row) for row in sides.failing.rows)
    missing = ["3,000 failing ids that the source does not have"] if absent else []
    assert [each for each in sides.not_read if "does not have" in each] == missing


def test_healthy_ids_are_looked_up_before_a_sample_of_them_is_read() -> None:
    others = runs(range(200, 240), target_handler_name="refund")
    gone = [sample_id(10_000 + number) for number in range(600)]
    source = source_of(*FAILED, *HEALTHY, *others)
    sides = sides_of(source, sorted(ids(FAILED)), [*gone, *sorted(ids([*HEALTHY, *others]))], sample=12)
    assert (len(sides.healthy.rows), sides.healthy.total) == (12, 50)
    assert sides.not_read == [
        "600 healthy ids that the source does not have",
        "40 healthy invocations of other handlers than Svc/run",
    ]


@pytest.mark.parametrize(
    ("failing", "healthy", "options", "message"),
    [
        ([sample_id(998), sample_id(999)], None, {}, "None of the other 1 ids exists there, either"),
        (sorted(ids(FAILED)), [sample_id(1), sample_id(101)], {}, "1 invocation is on both sides: inv_1"),
        ("fialed", None, {}, "unknown kind 'fialed' of failing invocations. Did you mean 'failed'"),
        ("failed", None, {"service": "Paymets"}, "No service 'Paymets'"),
        (sorted(ids(FAILED)), None, {"service": "Svc"}, "service= and handler= belong to a kind"),
        (finding("dp_1"), None, {}, "the finding has no ids of invocations"),
        (pd.DataFrame([{"ids": [sample_id(1)]}] * 2), None, {}, "the frame has 2 findings"),
    ],
    ids=["no id exists", "both sides", "kind", "service", "service of ids", "deployments", "several findings"],
)
def test_wrong_arguments_are_refused(failing: Any, healthy: Any, options: Any, message: str) -> None:
    with pytest.raises(ArgumentError) as error:
        sides_of(source_of(*FAILED, *HEALTHY), failing, healthy, **options)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("rows", "failing", "healthy", "statement"),
    [
        ([], "failed", None, "no invocation has failed"),
        (HEALTHY, "backing-off", None, "no invocation is backing off"),
        (
            [*FAILED[:3], *HEALTHY],
            "failed",
            None,
            "too few to compare: 3 failing invocations of Svc/run, and at least 4",
        ),
        (FAILED, "failed", None, "no healthy invocation of Svc/run to compare with"),
        ([*FAILED, *HEALTHY[:2]], "failed", None, "too few to compare with: 2 healthy invocations of Svc/run"),
        ([*FAILED, *HEALTHY], [], None, "no failing invocation was passed"),
        (
            [*FAILED, run(300, target_handler_name="other")],
            "failed",
            [sample_id(300)],
            "none of the 1 healthy id is an invocation of Svc/run",
        ),
    ],
    ids=["empty", "none", "few failing", "no healthy", "few healthy", "no ids", "healthy of another handler"],
)
def test_sides_that_cannot_be_compared_are_stated(rows: Any, failing: Any, healthy: Any, statement: str) -> None:
    assert sides_of(source_of(*rows), failing, healthy).statement.startswith(statement)


def test_a_source_with_ended_invocations_only_has_no_open_ones_to_compare() -> None:
    class Ended(SampleRows):
        coverage = Coverage(open_invocations=False)

    source = Ended(sys_invocation_status=[*FAILED, *HEALTHY])
    with pytest.raises(NotOnThisServer, match="has only invocations that have ended"):
        sides_of(source, "paused")
    assert ids_of(sides_of(source, "failed").healthy.rows) == ids(HEALTHY)
