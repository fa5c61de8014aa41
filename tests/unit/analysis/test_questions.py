"""Asking: the choice of the file, the binding of values, the notes about the result, and the refusals."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from restate_lab.analysis.ask import ask
from restate_lab.analysis.questions import NO_INVOCATION, questions, run_question
from restate_lab.analysis.questions.catalog import names
from restate_lab.errors import ArgumentError, NotOnThisServer, Truncated
from support.row_source import RowSource
from support.sample_rows import SampleRows, invocation, sample_id
from support.shaped import reshape

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
OLD = ("sys_invocation_status", "sys_invocation_state", "sys_journal", "sys_journal_events", "state.key", "sys_promise")
NEW = (*OLD, "state.scope", "sys_vqueue_entry_status", "sys_journal.raw_length")


@dataclass
class Told(RowSource):
    frame: pd.DataFrame
    has: tuple[str, ...] = NEW
    features: Mapping[str, bool] = field(default_factory=dict)
    name: str = "told"
    version: str = "1.7.12"
    now: datetime = NOW
    asked: list[dict[str, Any]] = field(default_factory=list)

    def tables(self) -> pd.DataFrame:
        pairs = [(need.partition(".")[0], need.partition(".")[2] or "id") for need in self.has]
        return pd.DataFrame(pairs, columns=["table", "column"])

    def rows(self, statement: str, params: Mapping[str, Any], *, timeout: Any = None) -> pd.DataFrame:
        self.asked.append({"sql": statement, "timeout": timeout, **params})
        return reshape(self.frame.copy(), statement)


def source(count: int = 1, **kinds: Any) -> Any:
    return Told(pd.DataFrame({"id": [f"inv_{number}" for number in range(count)]}), **kinds)


def test_the_full_list_has_every_question_with_all_columns_sorted_by_name() -> None:
    listed = questions(full=True)
    short = questions()
    assert list(short.columns) == ["name", "question", "parameters", "cost"]
    card = short._repr_html_()  # type: ignore[operator]
    assert [name for name in names() if f">{name}<" not in card] == []
    assert "Which invocations are in the retry storm?" in card
    assert ("service=none" in card, "at_least=3" in card) == (False, True), "only the parameters of its own"
    assert "a row: one handler and its models" in listed._repr_html_()  # type: ignore[operator]
    assert list(listed.columns) == ["name", "question", "row", "parameters", "cost", "needs"]
    assert list(listed["name"]) == names()
    assert set(listed["cost"]) <= {"point", "scan", "heavy"}
    row = listed.set_index("name").loc["state_sizes"]
    assert row["parameters"] == "service=none, limit=1000"
    assert row["needs"] == "state"


def test_attrs_record_the_request_as_json_values() -> None:
    frame = ask(source(), "oldest_unmoved", service="agent", older_than="5m", timeout=7)
    attrs = frame.attrs
    assert json.loads(json.dumps(attrs)) == attrs
    assert attrs["question"] == "oldest_unmoved"
    assert attrs["sql"].startswith("WITH entries AS (\n")  # with its parts, as it was sent
    assert attrs["params"] == {"now": NOW.isoformat(), "service": "agent", "older_than": "300s", "limit": 100}
    assert (attrs["source"], attrs["version"], attrs["read_at"]) == ("told", "1.7.12", NOW.isoformat())
    assert datetime.fromisoformat(attrs["asked_at"]).utcoffset() == timedelta(0)
    assert attrs["seconds"] >= 0
    assert "truncated" not in attrs


def test_the_values_in_attrs_can_be_passed_again_with_the_same_effect() -> None:
    first, second = source(), source()
    frame = ask(first, "error_onset", since="2h", bin=timedelta(seconds=90), timeout=None)
    ask(second, "error_onset", timeout=None, **frame.attrs["params"])
    assert first.asked == second.asked


@pytest.mark.parametrize(
    ("has", "scope"), [(NEW, "    scope,\n"), ((*OLD, "state"), "    CAST(NULL AS VARCHAR) AS scope,\n")]
)
def test_columns_decide_the_statement_and_not_the_version(has: tuple[str, ...], scope: str) -> None:
    assert scope in ask(source(has=has), "state_sizes").attrs["sql"]


def test_a_source_without_a_table_is_refused_with_its_name_and_nothing_is_sent() -> None:
    without = source()
    with pytest.raises(
        NotOnThisServer, match=r"blocked_heads .* told \(restate 1\.7\.12, without vqueues\).*feature vq"
    ):
        ask(without, "blocked_heads")
    with pytest.raises(NotOnThisServer, match=r"paused is not .* needs sys_journal_events"):
        ask(source(has=("sys_invocation_status",)), "paused")
    assert without.asked == []


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("retrystorm", "retry_storm"),
        ("Blocked_Keys", "blocked_keys"),
        ("promises", "open_promises"),
        ("zzz", r"questions\(\)"),
    ],
)
def test_a_misspelled_or_partial_question_name_suggests_the_likely_one(asked: str, nearest: str) -> None:
    with pytest.raises(ArgumentError, match=nearest):
        ask(source(), asked)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (
            {"servce": "x"},
            r"no parameter 'servce'\. Did you mean 'service'\? Its parameters are: service=none, older_than=0s, limit=",
        ),
        ({"older_than": "soon"}, "older_than is 'soon'"),
        ({"older_than": None}, "older_than of .* must not be None"),
        ({"limit": -1}, "limit is -1"),
        ({"limit": True}, "limit is True"),
        ({"limit": "10"}, "limit is '10'"),
        ({"service": 7}, "service is 7"),
        ({"now": "2026-11-25T03:00:00"}, "now is .* without a zone"),
    ],
)
def test_wrong_parameters_are_refused_with_the_known_names_before_anything_is_sent(
    params: dict[str, Any], said: str
) -> None:
    quiet = source()
    with pytest.raises(ArgumentError, match=said):
        ask(quiet, "oldest_unmoved", **params)
    assert quiet.asked == []


def test_one_id_a_list_a_series_and_a_frame_are_accepted_as_ids() -> None:
    ids = ["inv_1a", "inv_1b"]
    for given in (ids, tuple(ids), pd.Series(ids), pd.Index(ids), pd.DataFrame({"id": ids})):
        asked = source()
        ask(asked, "callers", ids=given)
        assert asked.asked[0]["ids"] == ids
    for odd, said in (([], "empty"), ([1], "contains 1"), (pd.DataFrame({"x": ids}), "without a column id")):
        with pytest.raises(ArgumentError, match=said):
            ask(source(), "callers", ids=odd)
    with pytest.raises(ArgumentError, match="callers requires ids="):
        ask(source(), "callers")


def test_a_result_with_more_rows_than_the_limit_is_cut_with_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(ask(source(3), "overview", limit=3)) == 3
    with pytest.warns(Truncated, match="overview has more than 2 rows") as caught:
        frame = ask(source(3), "overview", limit=2)
    assert (len(frame), frame.attrs["truncated"]["limit"], frame.attrs["params"]["limit"]) == (2, 2, 2)
    assert caught[0].filename == __file__
    everything = source(3)
    assert len(ask(everything, "overview", limit=None)) == 3
    assert everything.asked[0]["limit"] == 2**62


def test_run_question_has_the_note_about_a_limit_in_attrs_and_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = run_question(source(3), "overview", limit=2)
        both = run_question(source(10_001), "paused", limit=5)
    assert rows.attrs["truncated"]["limit"] == len(rows) == 2
    assert "only the first 10,000 invocations were checked" in both.attrs["truncated"]["message"]
    with pytest.warns(Truncated):
        asked = ask(source(3), "overview", limit=2)
    pd.testing.assert_frame_equal(rows, asked, check_flags=False)


def test_without_ids_another_question_gives_them_within_the_same_service() -> None:
    asked = source(2)
    ask(asked, "paused", service="agent")
    first, second = asked.asked
    assert (first["status"], first["service"], first["limit"]) == ("paused", "agent", 10_001)
    assert second["ids"] == ["inv_0", "inv_1"]
    with pytest.warns(Truncated, match="only the first 10,000 invocations were checked"):
        frame = ask(source(10_001), "paused", limit=None)
    assert frame.attrs["params"]["ids"] == {"count": 10_000, "first": [f"inv_{number}" for number in range(10)]}
    alone = source()
    ask(alone, "paused", ids="inv_1x")
    assert [each["ids"] for each in alone.asked] == [["inv_1x"]]


def test_without_ids_from_its_first_question_a_question_has_no_rows() -> None:
    nobody = source(0)
    assert len(ask(nobody, "paused")) == 0
    assert nobody.asked[1]["ids"] == [NO_INVOCATION]


def test_a_heavy_question_prints_one_line_with_its_name_and_data(capsys: pytest.CaptureFixture[str]) -> None:
    ask(source(), "state_sizes")
    assert capsys.readouterr().err == "state_sizes is a heavy question: it reads every value of every state.\n"
    ask(source(), "overview")
    assert capsys.readouterr().err == ""


def test_now_moves_the_time_that_ages_count_from_and_is_in_attrs() -> None:
    asked = source()
    frame = ask(asked, "terminal_failures", now="2026-11-24T12:00:00+01:00", since="1h")
    assert asked.asked[0]["since"] == datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
    assert frame.attrs["read_at"] == "2026-11-24T11:00:00+00:00"


def test_a_run_that_began_after_the_call_is_not_the_caller_although_it_has_its_id() -> None:
    rows = [invocation(1), invocation(2, invoked_by_id=sample_id(1)), invocation(3, invoked_by_id=sample_id(4))]
    rows.append(invocation(4, created_at=NOW))
    frame = ask(SampleRows(sys_invocation_status=rows), "callers", ids=[sample_id(2), sample_id(3)])
    assert list(frame["id"]) == [sample_id(2), sample_id(1), sample_id(3)]
