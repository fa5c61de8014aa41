"""Comparing two sources: every kind of change is found, and data that was not compared is never "nothing changed"."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from restate_lab.errors import ArgumentError, EvidenceWarning, Truncated
from restate_lab.evidence.compare import Comparison, compare
from restate_lab.evidence.freeze import freeze
from restate_lab.evidence.store import open_evidence
from restate_lab.source import Source
from support.sample_rows import BEFORE, NOW, SampleRows, invocation, sample_id

LATER = NOW + timedelta(minutes=37, seconds=5)
HOUR = timedelta(hours=1)


def later(**tables: Any) -> SampleRows:
    return SampleRows(name="made", now=LATER, **tables)


def rows(frame: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """Return the rows of these columns, nulls as None."""
    plain = frame[list(columns)].astype(object)
    return [tuple(None if pd.isna(cell) else cell for cell in row) for row in plain.itertuples(index=False, name=None)]


def state(key: str, value: bytes, **columns: Any) -> dict[str, Any]:
    row = {"service_name": "Cart", "service_key": "a", "key": key, "value": value, "value_length": len(value)}
    return row | columns


def waiting(key: str, *numbers: int) -> dict[str, list[dict[str, Any]]]:
    about = {"target_service_name": "Cart", "target_service_key": key, "inboxed_at": NOW - HOUR}
    return {
        "sys_inbox": [{"id": sample_id(number), "service_name": "Cart", "service_key": key} for number in numbers],
        "sys_invocation_status": [invocation(number, "inboxed", **about) for number in numbers],
    }


def both(*made: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    tables: dict[str, list[dict[str, Any]]] = {}
    for each in made:
        for table, found in each.items():
            tables[table] = tables.get(table, []) + found
    return tables


def test_each_kind_of_change_of_an_invocation_is_one_row_in_this_order() -> None:
    ended = {"completed_at": NOW - 2 * HOUR}
    before = SampleRows(
        sys_invocation_status=[
            invocation(2, "succeeded", **ended, completion_retention=2 * HOUR + timedelta(minutes=20)),
            invocation(3, "succeeded", **ended, completion_retention=24 * HOUR),
            invocation(4),
            invocation(5, "invoked"),
            invocation(6, journal_size=3),
            invocation(7, pinned_deployment_id="dp_1"),
            invocation(8),
            invocation(9, "invoked"),
        ],
        sys_invocation_state=[
            {"id": sample_id(5), "in_flight": True, "retry_count": 2},
            {"id": sample_id(9), "in_flight": False, "retry_count": 4},
        ],
    )
    after = later(
        sys_invocation_status=[
            invocation(1, "scheduled", journal_size=None),
            invocation(4, "failed", completion_failure="[409] cancelled"),
            invocation(5, "invoked"),
            invocation(6, journal_size=7),
            invocation(7, pinned_deployment_id="dp_2"),
            invocation(8),
            invocation(9, "paused"),
        ],
        sys_invocation_state=[{"id": sample_id(5), "in_flight": True, "retry_count": 5}],
    )
    frame = compare(before, after).invocations
    assert rows(frame, "id", "change", "status_before", "status_after", "past_retention") == [
        (sample_id(1), "created", None, "scheduled", None),
        (sample_id(2), "removed", "succeeded", None, True),
        (sample_id(3), "removed", "succeeded", None, False),
        (sample_id(4), "status", "suspended", "cancelled", None),
        (sample_id(9), "status", "backing-off", "paused", None),
        (sample_id(5), "retries", "running", "running", None),
        (sample_id(6), "journal", "suspended", "suspended", None),
        (sample_id(7), "deployment", "suspended", "suspended", None),
    ]
    about = frame.set_index("id")
    assert rows(about.loc[[sample_id(5)]], "retry_count_before", "more_retries", "retries_at_least") == [(2, 3, False)]
    assert rows(about.loc[[sample_id(9)]], "more_retries", "retries_at_least") == [(None, True)], "the server forgot"
    assert about.loc[sample_id(6), "more_entries"] == 4
    assert about.loc[sample_id(7), "pinned_deployment_id_after"] == "dp_2"
    assert frame.attrs["in_both"] == 6


def test_the_number_of_retries_after_progress_is_marked_as_a_lower_bound() -> None:
    before = SampleRows(
        sys_invocation_status=[invocation(1, "invoked"), invocation(2, "invoked"), invocation(3, "inboxed")],
        sys_invocation_state=[{"id": sample_id(1), "retry_count": 7}, {"id": sample_id(2), "retry_count": 3}],
    )
    after = later(
        sys_invocation_status=[
            invocation(1, "invoked", journal_size=9),
            invocation(2, "invoked"),
            *(invocation(number, "invoked", journal_size=1) for number in (3, 4)),
        ],
        sys_invocation_state=[
            {"id": sample_id(number), "retry_count": count} for number, count in ((1, 4), (2, 3), (3, 6), (4, 2))
        ],
    )
    found = compare(before, after).invocations.set_index("id")
    told = {number: (found.loc[sample_id(number), "more_retries"], found.loc[sample_id(number), "retries_at_least"])
            for number in (1, 3, 4)}  # fmt: skip
    assert told[1] == (3, True)
    assert told[3][0] == 5
    assert told[4][0] == 1
    assert sample_id(2) not in found.index


@pytest.mark.parametrize("vqueues", [False, True])
def test_long_back_offs_have_their_attempts_with_and_without_vqueues(vqueues: bool) -> None:
    row = invocation(1, "invoked")
    entry = {"entry_id": sample_id(1), "status": "backing-off", "stage": "inbox", "retry_attempts": 9}
    tables: dict[str, Any] = {"sys_vqueue_entry_status": [entry]} if vqueues else {
        "sys_invocation_state": [{"id": sample_id(1), "in_flight": False, "retry_count": 9}]
    }  # fmt: skip
    before = SampleRows(vqueues=vqueues, sys_invocation_status=[row])
    found = compare(before, later(vqueues=vqueues, sys_invocation_status=[row], **tables)).invocations
    assert rows(found, "status_before", "status_after", "retry_count_after") == [("ready", "backing-off", 9)]


def test_values_of_equal_length_are_compared_and_are_not_in_the_result() -> None:
    before = SampleRows(state=[state("same", b"1"), state("other", b"one"), state("gone", b"xy")])
    after = later(state=[state("same", b"1"), state("other", b"two"), state("new", b"secret")])
    found = compare(before, after)
    assert rows(found.state, "key", "change", "bytes_before", "bytes_after") == [
        ("gone", "removed", 2, None),
        ("new", "added", None, 6),
        ("other", "changed", 3, 3),
    ]
    assert "secret" not in str(found.state.to_dict())
    assert found.state["sha256_after"].dropna().str.fullmatch("[0-9a-f]{64}").all()
    assert len(found.not_read) == 0


def test_values_without_payloads_are_compared_by_length_and_counted_as_not_compared() -> None:
    before = SampleRows(without=("state.value",), state=[state("same", b"1"), state("other", b"one"), state("x", b"1")])
    after = later(state=[state("same", b"1"), state("other", b"two"), state("x", b"12")])
    found = compare(before, after)
    assert rows(found.state, "key", "bytes_after", "sha256_after") == [("x", 2, None)]
    assert "2 values of equal length, whose content may differ: before has no state.value" in str(found)
    assert "not everything was compared" in repr(found)


def test_values_in_scopes_that_a_side_does_not_know_are_counted_and_the_rest_is_compared(tmp_path: Path) -> None:
    scoped = [state("x", b"1", scope=name) for name in (None, "eu", "us")]
    before = SampleRows(without=("state.scope",), state=[state("x", b"2")])
    found = compare(before, later(state=scoped))
    assert rows(found.state, "key", "scope", "change") == [("x", None, "changed")]
    assert "2 values of after in a scope cannot be compared: before has no state.scope" in str(found)
    path = frozen(SampleRows(state=scoped), tmp_path / "a", payloads=True, redact="state.scope")
    with open_evidence(path) as masked:
        found = compare(masked, later(state=[*scoped[:1], state("x", b"3", scope="eu")]))
    assert found.state.empty
    assert "2 values of before in a scope cannot be compared: before has no state.scope (masked" in str(found)
    both_know = compare(SampleRows(state=scoped), later(state=[*scoped[:2], state("x", b"3", scope="us")]))
    assert rows(both_know.state, "scope", "change") == [("us", "changed")]


def test_each_changed_field_of_deployments_and_services_is_a_row_without_passwords() -> None:
    one = {"id": "dp_1", "endpoint": "http://me:hunter2@one/", "ty": "http"}
    before = SampleRows(
        sys_deployment=[one, {"id": "dp_2", "endpoint": "http://two/"}],
        sys_service=[{"name": "Cart", "deployment_id": "dp_1", "revision": 1}],
    )
    after = later(
        sys_deployment=[one | {"endpoint": "http://me:hunter2@moved/"}, {"id": "dp_3", "endpoint": "http://three/"}],
        sys_service=[{"name": "Cart", "deployment_id": "dp_3", "revision": 2}],
    )
    found = compare(before, after)
    assert rows(found.deployments, "kind", "name", "change", "field", "before", "after") == [
        ("deployment", "dp_1", "changed", "endpoint", "http://•••@one/", "http://•••@moved/"),
        ("deployment", "dp_2", "removed", "endpoint", "http://two/", None),
        ("deployment", "dp_3", "added", "endpoint", None, "http://three/"),
        ("service", "Cart", "changed", "deployment_id", "dp_1", "dp_3"),
        ("service", "Cart", "changed", "revision", "1", "2"),
    ]
    assert "service Cart" not in str(found).splitlines()[3]
    assert "hunter2" not in str(found) + found._repr_html_()


def test_the_backlog_has_changed_keys_with_the_largest_change_first() -> None:
    before = SampleRows(**both(waiting("hot", 1), waiting("cold", 2, 3)))
    after = later(**both(waiting("hot", 1, 4, 5, 6), waiting("new", 7)))
    backlog = compare(before, after).backlog
    assert rows(backlog, "target_service_key", "waiting_before", "waiting_after", "more") == [
        ("hot", 1, 4, 3),
        ("cold", 2, 0, -2),
        ("new", 0, 1, 1),
    ]
    assert backlog["oldest_wait_after"].max() == HOUR + (LATER - NOW)


def test_beyond_the_limit_invocations_completed_on_both_sides_are_excluded_first() -> None:
    old = [invocation(number, "succeeded") for number in range(20, 30)]
    before = SampleRows(sys_invocation_status=[*old, invocation(1), invocation(2, journal_size=3)])
    after = later(sys_invocation_status=[*old, invocation(1, "succeeded"), invocation(2, journal_size=8)])
    with pytest.warns(Truncated, match="completed on both sides"):
        found = compare(before, after, limit=5)
    assert rows(found.invocations, "id", "change") == [(sample_id(1), "status"), (sample_id(2), "journal")]
    assert found.invocations.attrs["truncated"]["limit"] == 5
    many = [invocation(number) for number in range(1, 10)]
    with pytest.warns(Truncated, match="the 3 with the first ids"):
        found = compare(SampleRows(sys_invocation_status=many), later(sys_invocation_status=many[1:]), limit=3)
    assert rows(found.invocations, "id", "change") == [(sample_id(1), "removed")]
    with pytest.warns(Truncated, match="before has more than 1 keys with waiting calls"):
        found = compare(SampleRows(**both(waiting("a", 1, 2), waiting("b", 3))), later(**waiting("b", 3)), limit=1)
    assert rows(found.backlog, "target_service_key", "waiting_before", "waiting_after") == [
        ("a", 2, 0),
        ("b", None, 1),
    ]
    values = [state(f"k{number}", b"1234") for number in range(5)]
    with pytest.warns(Truncated, match="Changes by service: Cart -2 values, -8 bytes"):
        found = compare(SampleRows(state=values), later(state=values[2:]), limit=4)
    assert found.state.empty
    assert "state        not compared: 5 values are more than limit=4" in str(found)


def test_a_frame_without_its_table_is_empty_and_its_line_has_the_reason() -> None:
    before, after = SampleRows(), later(without=("sys_inbox", "state", "sys_invocation_state", "sys_deployment"))
    found = compare(before, after)
    lines = str(found).splitlines()
    assert lines[4] == "state        not compared: after has no state.service_name (this server has no such column)"
    assert lines[5].startswith("deployments  not compared: after has no sys_deployment.id")
    assert lines[6].startswith("backlog      not compared: ")
    assert "sys_inbox" in found.not_read["reason"].iloc[-1]
    assert lines[3] == "invocations  nothing changed (not everything was compared)"
    whole = found.not_read[found.not_read["whole"]]
    assert whole["part"].tolist() == ["state", "deployments", "backlog"]
    assert list(found.state.columns) == list(compare(SampleRows(), later()).state.columns)


def test_the_text_has_a_line_for_each_part_and_the_card_escapes_text_of_the_cluster() -> None:
    hostile = "<script>alert('x')</script>\nnext"
    tables = both(
        waiting("hot\nkey", *range(10, 40)),
        {"sys_invocation_status": [invocation(number, target=hostile) for number in range(1, 9)]},
        {"state": [state(hostile, b"1", service_name=hostile)], "sys_service": [{"name": hostile}]},
    )
    found = compare(SampleRows(name=f"prod {hostile}"), later(**tables))
    lines = str(found).splitlines()
    assert len(lines) == 7
    assert lines[3] == "invocations  38 created (pending 30, suspended 8)"
    assert "0 → 30 calls waiting; Cart/hot key 0 → 30" in lines[6]
    assert "37m 5s later, 2026-11-25 03:37:05 UTC" in lines[1]
    assert "\n" not in repr(found)
    assert repr(found).startswith("<Comparison of prod ")
    html = found._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "… and 26 more" in html
    for frame in (found.invocations, found.state, found.deployments, found.backlog, found.not_read):
        assert json.loads(json.dumps(frame.attrs)) == frame.attrs


def test_a_source_compared_with_itself_has_no_change() -> None:
    tables = both(waiting("a", 1, 2), {"state": [state("x", b"1")], "sys_service": [{"name": "Cart"}]})
    source = SampleRows(**tables)
    found = compare(source, source)
    assert [len(getattr(found, part)) for part in ("invocations", "state", "deployments")] == [0, 0, 0]
    assert repr(found).endswith("0s later, 2026-11-25 03:00:00 UTC: nothing changed>")
    assert "backlog      nothing changed (2 calls waiting)" in str(found)


@pytest.mark.parametrize(
    ("before", "after", "options", "message"),
    [
        (later(), SampleRows(), {}, "pass the earlier source first"),
        (SampleRows(), later(), {"limit": 0}, "limit must be a whole number from 1"),
        (SampleRows(), later(), {"limit": "all"}, "limit must be"),
    ],
)
def test_a_later_source_first_or_a_wrong_limit_is_refused(
    before: Source, after: Source, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        compare(before, after, **options)


def test_a_summary_states_that_no_invocation_is_in_both_sources() -> None:
    found = compare(SampleRows(sys_invocation_status=[invocation(1)]), later(sys_invocation_status=[invocation(2)]))
    assert "no invocation is in both sources; they may be different clusters" in str(found)


def frozen(source: SampleRows, path: Path, **options: Any) -> Path:
    freeze(source, path, progress=False, **options)
    return path


def test_invocations_outside_of_a_scoped_freeze_are_neither_created_nor_removed(tmp_path: Path) -> None:
    before = SampleRows(sys_invocation_status=[invocation(1), invocation(2), invocation(3)])
    after = later(sys_invocation_status=[invocation(1, "succeeded"), invocation(2, "paused"), invocation(4)])
    with open_evidence(frozen(before, tmp_path / "a", ids=[sample_id(1), sample_id(3)])) as part:
        found = compare(part, after)
        assert rows(found.invocations, "id", "change") == [(sample_id(3), "removed"), (sample_id(1), "status")]
        assert "so created invocations, and invocations outside of this part, are excluded" in str(found)
        assert "backlog      not compared: before contains only a part of the cluster (ids 2)" in str(found)
    with open_evidence(frozen(after, tmp_path / "b", ids=[sample_id(2), sample_id(4)])) as part:
        found = compare(before, part)
        assert rows(found.invocations, "id", "change") == [(sample_id(4), "created"), (sample_id(2), "status")]


def test_of_two_scoped_freezes_only_invocations_in_both_are_compared(tmp_path: Path) -> None:
    before = SampleRows(sys_invocation_status=[invocation(1), invocation(2)])
    after = later(sys_invocation_status=[invocation(2, "paused"), invocation(3)])
    one, other = frozen(before, tmp_path / "a", since="2h"), frozen(after, tmp_path / "b", since="3h")
    with open_evidence(one) as first, open_evidence(other) as second:
        found = compare(first, second)
    assert rows(found.invocations, "id", "change") == [(sample_id(2), "status")]
    assert "both sides contain only a part" in str(found)
    assert "1 invocation only in before's part excluded" in str(found)


def test_a_removed_run_and_the_new_run_of_its_id_are_two_rows() -> None:
    again = {"created_at": NOW + HOUR / 4}
    before = SampleRows(sys_invocation_status=[invocation(1, "succeeded"), invocation(2), invocation(3)])
    after = later(
        sys_invocation_status=[invocation(1, "succeeded", **again), invocation(2, "paused", **again), invocation(3)],
        sys_invocation_state=[{"id": sample_id(2), "retry_count": 4}],
    )
    frame = compare(before, after).invocations
    assert rows(frame, "id", "change", "status_before", "status_after") == [
        (sample_id(1), "created", None, "succeeded"),
        (sample_id(2), "created", None, "paused"),
        (sample_id(1), "removed", "succeeded", None),
        (sample_id(2), "removed", "suspended", None),
    ]
    assert frame["created_at"].tolist() == [NOW + HOUR / 4] * 2 + [BEFORE] * 2
    assert frame.attrs["in_both"] == 1
    assert "2 created" in repr(compare(before, after))
    assert " changed" not in repr(compare(before, after))


@pytest.mark.parametrize("limit", [None, 3], ids=["all", "cut"])
@pytest.mark.filterwarnings("ignore::restate_lab.errors.Truncated")
def test_each_run_of_an_id_is_compared_with_itself(limit: int | None) -> None:
    again, first = {"created_at": NOW + HOUR / 4}, {"created_at": NOW - 5 * HOUR}
    ended = invocation(1, "succeeded", **first)
    before = SampleRows(
        sys_invocation_status=[ended, invocation(1, "invoked"), invocation(2)],
        sys_invocation_state=[{"id": sample_id(1), "in_flight": True, "retry_count": 3}],
    )
    after = later(
        sys_invocation_status=[ended, invocation(1, "failed"), invocation(1, "invoked", **again), invocation(2)],
        sys_invocation_state=[{"id": sample_id(1), "in_flight": True, "retry_count": 2}],
    )
    frame = compare(before, after, limit=limit).invocations
    assert rows(frame, "id", "change", "status_before", "status_after", "retry_count_before", "retry_count_after") == [
        (sample_id(1), "created", None, "running", None, 2),
        (sample_id(1), "status", "running", "failed", 3, None),
    ]
    assert frame["created_at"].tolist() == [NOW + HOUR / 4, BEFORE]


def test_a_waiting_call_with_an_earlier_ended_run_counts_once() -> None:
    tables = waiting("hot", 1)
    tables["sys_invocation_status"].append(invocation(1, "succeeded", created_at=NOW - 5 * HOUR))
    found = compare(SampleRows(**tables), later(**both(waiting("hot", 1), waiting("hot", 2))))
    assert rows(found.backlog, "target_service_key", "waiting_before", "waiting_after") == [("hot", 1, 2)]


def test_within_a_part_the_old_run_of_an_id_was_removed_and_the_new_run_created(tmp_path: Path) -> None:
    again = {"created_at": NOW + HOUR / 4}
    before = SampleRows(sys_invocation_status=[invocation(1, "succeeded"), invocation(2)])
    after = later(sys_invocation_status=[invocation(1, "succeeded", **again), invocation(2), invocation(3)])
    changes = [(sample_id(1), "created"), (sample_id(1), "removed")]
    one, other = frozen(before, tmp_path / "a", ids=[sample_id(1)]), frozen(after, tmp_path / "b", ids=[sample_id(1)])
    with open_evidence(one) as first, open_evidence(other) as second:
        for found in (compare(first, after), compare(before, second), compare(first, second)):
            assert rows(found.invocations, "id", "change") == changes


def test_runs_of_an_id_are_not_distinguished_without_created_at() -> None:
    two = [invocation(1, "succeeded"), invocation(1, "failed", created_at=NOW), invocation(2)]
    after = later(sys_invocation_status=[invocation(1, "failed"), invocation(2, "paused")])
    found = compare(SampleRows(sys_invocation_status=two, without=("sys_invocation_status.created_at",)), after)
    assert (sample_id(2), "status") in rows(found.invocations, "id", "change")
    assert "runs with the same id are not distinguished: before has no sys_invocation_status.created_at" in str(found)


def test_a_masked_column_counts_as_missing(tmp_path: Path) -> None:
    tables = both({"state": [state("x", b"1")]}, waiting("a", 1))
    before, after = SampleRows(**tables), later(**both({"state": [state("x", b"2")]}, waiting("b", 1)))
    path = frozen(before, tmp_path / "a", payloads=True, redact=["state.value", "sys_inbox.service_key"])
    with open_evidence(path) as evidence:
        found: Comparison = compare(evidence, after)
    assert re.search(r"before has no state\.value \(masked when it was frozen\)", str(found))
    assert found.backlog.empty
    assert "backlog      not compared: before has no sys_inbox.service_key" in str(found)


def test_unverified_evidence_can_be_compared(tmp_path: Path) -> None:
    with (
        pytest.warns(EvidenceWarning),
        open_evidence(frozen(SampleRows(), tmp_path / "a"), verify=False) as evidence,
    ):
        assert "nothing changed" in repr(compare(evidence, later()))
