"""Stories from the rows of a test: which run of a reused id is a member, limits, missing data, and bad input."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from restate_lab.analysis.story import discovery, story
from restate_lab.errors import ArgumentError, NotFound, ResultTooLarge, TimedOut
from restate_lab.history.opening import open_history
from support.archives import DAY, SampleArchive, run as archived_run
from support.story_rows import StoryRows, at, call, id_of, promise, run, send

A, B, C, D = map(id_of, range(1, 5))
OLD = "prom_1NMyOAvDK2CcBjUH4Rmb7eGBp0DNNDnmsAAAAAQ"


def edges(source: Any, id_: str = A, **options: Any) -> list[tuple[str, str, str]]:
    names = {A: "A", B: "B", C: "C", D: "D"}
    found = story(source, id_, **options)
    rows = found.edges[["source", "kind", "target"]].itertuples(index=False, name=None)
    return [(names.get(source, "old"), kind, names.get(target, "old")) for source, kind, target in rows]


FLOW = {"target_service_name": "Flow", "target_service_key": "w", "target_service_ty": "workflow"}


def named(kind: str, id_: str, at: float) -> tuple[float, str, Any]:
    return at, kind, {"target": {"InvocationId": id_}, "completion_id": 9}


SECOND_CALLER = [run(A, 10, 20, entries=call(B, 11, 19)), run(B, 5, 18, invoked_by_id=C)]
RUNS: dict[str, tuple[list[dict[str, Any]], list[tuple[str, str, str]], str]] = {
    "a call names the run that it created": (
        [run(A, 0, 20, entries=call(B, 11, 19)), run(B, 11.001, 18, invoked_by_id=A)],
        [("A", "call", "B")],
        "",
    ),
    "a second call names the run from before": (SECOND_CALLER, [("A", "call", "B")], "called by a run"),
    "a call does not name a later run of another caller": (
        [run(A, 10, 20, entries=call(B, 11, 19)), run(B, 12, 18, invoked_by_id=C)],
        [],
        "only later runs",
    ),
    "a call does not name a run that its caller created after the result": (
        [run(A, 0, 60, entries=call(B, 11, 19)), run(B, 40, 49, invoked_by_id=A)],
        [],
        "only later runs",
    ),
    "a one-way call does not name the run of the next one": (
        [run(A, 0, 60, entries=[*send(B, 11), *send(B, 40)]), run(B, 40, 49, invoked_by_id=A)],
        [("A", "one-way call", "B")],
        "only later runs",
    ),
    "a child of an earlier run of its caller is no member": (
        [run(A, 10, 20, entries=call(C, 11, 19)), run(B, 12, 13, invoked_by_id=A), run(C, 11, 19, invoked_by_id=A)],
        [("A", "call", "C")],
        "",
    ),
    "a child from before its caller is no member": (
        [run(A, 10, 20, is_purged=True), run(B, 5, 6, invoked_by_id=A)],
        [],
        "the journal of 1 invocation",
    ),
    "a child of a run whose journal was purged": (
        [run(A, 10, 20, is_purged=True), run(B, 12, 30, invoked_by_id=A)],
        [("A", "invoked", "B")],
        "the journal of 1 invocation",
    ),
    "a child created long after its caller ended is no member": (
        [run(A, 10, 20, is_purged=True), run(B, 40, 50, invoked_by_id=A)],
        [],
        "after a member had ended",
    ),
    "a child of a killed caller that created it at its end": (
        [run(A, 10, 20, is_killed=True, lost=1), run(B, 21, 22, invoked_by_id=A)],
        [("A", "invoked", "B")],
        "the journal of 1 invocation",
    ),
    "a restart": ([run(A, 0, 10), run(B, 20, 30, restarted_from=A)], [("A", "restart", "B")], ""),
    "a restart of an earlier run is no member": ([run(A, 25, 30), run(B, 20, 30, restarted_from=A)], [], ""),
    "copied entries belong to the first run": (
        [
            run(A, 0, 10, entries=call(C, 1, 2)),
            run(B, 20, 30, restarted_from=A, entries=call(C, 1, 2)),
            run(C, 1, 2, invoked_by_id=A),
        ],
        [("A", "call", "C"), ("A", "restart", "B")],
        "",
    ),
    "a promise is completed by the last one before its result": (
        [
            run(A, 10, 20, **FLOW, entries=promise("GetPromise", 11, 15)),
            run(B, 1, 2, **FLOW, entries=promise("CompletePromise", 1, 1)),
            run(C, 12, 16, **FLOW, entries=promise("CompletePromise", 14, 14)),
            run(D, 30, 31, **FLOW, entries=promise("PeekPromise", 30, 30)),
            run(id_of(9), 40, 41, **FLOW, entries=promise("CompletePromise", 40, 40)),
        ],
        [("C", "promise", "A"), ("C", "promise", "D")],
        "",
    ),
    "a promise of a member that another edge has added later": (
        [
            run(A, 10, 12, **FLOW, entries=promise("GetPromise", 11, 12)),
            run(B, 13, 14, restarted_from=A),
            run(C, 15, 17, **FLOW, restarted_from=B, entries=promise("CompletePromise", 16, 16, key="q")),
            run(D, 18, 19, **FLOW, entries=promise("PeekPromise", 18, 18, key="q")),
        ],
        [("A", "restart", "B"), ("B", "restart", "C"), ("C", "promise", "D")],
        "",
    ),
    "a promise that was waited for is not completed before": (
        [
            run(A, 10, 20, **FLOW, entries=promise("GetPromise", 11, 15)),
            run(B, 1, 2, **FLOW, entries=promise("CompletePromise", 1, 1)),
            run(C, 14, 14, **FLOW | {"target_service_key": "v"}, entries=promise("CompletePromise", 14, 14)),
        ],
        [],
        "",
    ),
    "an invocation that is attached, and one whose result is read": (
        [
            run(A, 10, 30, entries=[named("AttachInvocation", B, 11), named("GetInvocationOutput", C, 12)]),
            run(B, 5, 20),
            run(C, 6, 7),
        ],
        [("A", "attach", "B"), ("A", "output", "C")],
        "",
    ),
    "an attach to a key is not resolved": (
        [run(A, 10, 30, entries=[(11, "AttachInvocation", {"target": {"WorkflowId": {"key": "w"}}})])],
        [],
        "a target by its key",
    ),
    "an awakeable of an old form is not decoded": (
        [run(A, 0, 10, entries=[(1, "CompleteAwakeable", {"id": OLD, "result": "Success"})])],
        [],
        "an old form",
    ),
    "the earlier run of an id in a history": (
        [
            run(A, 0, 10, entries=call(B, 1, 5)),
            run(id_of(2, 1), 1, 5, invoked_by_id=A, entries=send(C, 2)),
            run(B, 30, 40, invoked_by_id=D, entries=send(C, 31)),
            run(id_of(3, 2), 2, 3, invoked_by_id=B),
            run(C, 31, 32, invoked_by_id=B),
            run(D, 29, 50, entries=call(B, 30, 41)),
        ],
        [("A", "call", "old"), ("old", "one-way call", "old")],
        "",
    ),
}


@pytest.mark.parametrize("rule", RUNS)
def test_the_run_of_an_id(rule: str) -> None:
    rows, expected, reason = RUNS[rule]
    source = StoryRows(*rows)
    assert edges(source) == expected
    found = story(source, A, search=True)
    assert list(found.edges["kind"]) == [kind for _, kind, _ in expected]
    assert reason in " ".join(found.reasons)
    assert bool(reason) == bool(found.reasons)


def test_the_later_run_of_an_id_in_a_history() -> None:
    rows, _, _ = RUNS["the earlier run of an id in a history"]
    assert edges(StoryRows(*rows), B) == [("D", "call", "B"), ("B", "one-way call", "C")]
    assert story(StoryRows(*rows), id_of(2, 1)).ids == [A, id_of(2, 1), id_of(3, 2)]


def test_a_history_has_the_earlier_run_of_a_caller(tmp_path: Path) -> None:
    archive = SampleArchive(tmp_path)
    caller = archived_run(0, DAY, journal_size=9)
    child = archived_run(1, DAY, invoked_by_id=caller["id"])
    archive.visit(DAY + timedelta(hours=1), [caller, child])
    later = archived_run(0, DAY + timedelta(days=1))
    archive.visit(DAY + timedelta(days=2), [later], repeated=[caller["id"]])
    with open_history(archive.path) as history:
        found = story(history, child["id"], search=True)
        assert found.ids == [f"{caller['id']}@2026-11-19T23:59:59.000Z", child["id"]]
        assert list(found.edges["kind"]) == ["invoked"]
        assert story(history, caller["id"]).ids == [caller["id"]]


def test_a_frame_selects_its_runs() -> None:
    source = StoryRows(run(A, 0, 10), run(id_of(2, 1), 1, 5), run(B, 30, 40))
    frame = pd.DataFrame({"id": [B], "created_at": [at(1)]})
    assert story(source, frame).ids == [id_of(2, 1)]
    with pytest.raises(NotFound, match="has no invocation"):
        story(source, frame.assign(created_at=at(3)))


def test_traces_connect_invocations_without_a_caller() -> None:
    rows = [run(id_, place, 20 + place, trace_id="t1") for place, id_ in enumerate((A, B, C))]
    rows.append(run(D, 3, 4, trace_id="t1", invoked_by_id=C))
    rows[2]["entries"] = call(D, 3, 4)
    expected = [("A", "trace", "B"), ("A", "trace", "C"), ("C", "call", "D")]
    assert edges(StoryRows(*rows), D) == expected
    assert edges(StoryRows(*rows), None, trace="t1") == expected
    assert set(story(StoryRows(*rows), trace="t1").members["found_by"]) == {"trace"}


def test_a_story_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "MOST_MEMBERS", 3)
    ids = [id_of(number) for number in range(10, 16)]
    rows = [run(A, 0, 60, entries=[entry for id_ in ids for entry in send(id_, 1)])]
    rows += [run(id_, 1, 2, invoked_by_id=A) for id_ in ids]
    found = story(StoryRows(*rows), A)
    assert len(found.members) == 3
    assert "4 connected invocations were not followed" in " ".join(found.reasons)
    chain = [run(id_of(n), n, 60, entries=send(id_of(n + 1), n + 1), invoked_by_id=id_of(n - 1)) for n in range(1, 9)]
    monkeypatch.setattr(discovery, "MOST_MEMBERS", 100)
    monkeypatch.setattr(discovery, "MOST_ROUNDS", 4)
    short = story(StoryRows(*chain), A)
    assert len(short.members) == 5
    assert "4 steps" in " ".join(short.reasons)


def test_a_timeout_returns_the_known_part() -> None:
    """After each number of statements, the result has the known members and the reason; before the first, nothing."""
    rows = [run(A, 0, 10, entries=call(B, 1, 5)), run(B, 1, 5, invoked_by_id=A)]
    whole = StoryRows(*rows)
    story(whole, A)
    sizes = []
    for most in range(len(whole.asked)):
        source = StoryRows(*rows)
        answer = source.rows

        def slow(statement: str, params: Any, *, source: Any = source, answer: Any = answer, most: int = most) -> Any:
            if len(source.asked) >= most:
                raise TimedOut("story() did not finish")
            return answer(statement, params)

        source.rows = lambda statement, params, slow=slow, **_: slow(statement, params)  # type: ignore[method-assign]
        try:
            found = story(source, A)
        except TimedOut:
            assert not sizes
            continue
        assert "did not finish" in " ".join(found.reasons)
        sizes.append(len(found.members))
    assert sizes == sorted(sizes)
    assert {1, 2} == set(sizes)


def test_a_search_of_too_many_journals_is_stated() -> None:
    source = StoryRows(run(A, 0, 10, entries=call(B, 1, 5)), run(B, 1, 5, invoked_by_id=A))
    answer = source.rows

    def rows(statement: str, params: Any, **_: Any) -> Any:
        if "CompleteAwakeable" in statement:
            raise ResultTooLarge("the result has more than 2 GiB", rows=1, size=1)
        return answer(statement, params)

    source.rows = rows  # type: ignore[method-assign]
    found = story(source, A, search=True)
    assert found.ids == [A, B]
    assert not found.searched
    assert "more than 2 GiB" in found.reasons[0]


@pytest.mark.parametrize(
    "without", [["sys_journal"], ["sys_journal_events"], ["sys_invocation_status.idempotency_key"]], ids=str
)
def test_missing_tables_are_stated(without: list[str]) -> None:
    rows = [run(A, 0, 10, entries=call(B, 1, 5)), run(B, 1, 5, invoked_by_id=A)]
    source = StoryRows(*rows, without=[each for each in without if "." not in each])
    found = story(source, A)
    assert found.ids == [A, B]
    has_journal = "sys_journal" not in without
    assert list(found.edges["kind"]) == ["call" if has_journal else "invoked"]
    assert ("journal of 2" in " ".join(found.reasons)) != has_journal
    assert found.members["failed_attempts"].isna().all() == ("sys_journal_events" in without)


REFUSED = {
    "needs one of these": {},
    "needs one of these: ids": {"what": A, "key": "Svc/1"},
    "at least one": {"what": []},
    "not an invocation id": {"what": "inv_1"},
    "2 invocation ids": {"what": f"{A} and {B}"},
    "since is": {"key": "Svc/1", "since": "yesterday"},
    "belongs to 2 services": {"key": "1"},
    "timeout": {"what": A, "timeout": "soon"},
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input(message: str) -> None:
    other = {"target_service_name": "Other", "target_service_key": "1"}
    source = StoryRows(run(A, 3590, None, target_service_key="1"), run(B, 3590, None, **other))
    options = dict(REFUSED[message])
    with pytest.raises(ArgumentError, match=message):
        story(source, options.pop("what", None), **options)


@pytest.mark.parametrize("options", [{"what": C}, {"key": "Svc/2"}, {"key": "2"}, {"trace": "t"}], ids=str)
def test_nothing_to_begin_with(options: dict[str, Any]) -> None:
    source = StoryRows(run(A, 3590, None, target_service_key="1"))
    with pytest.raises(NotFound, match="has no invocation"):
        story(source, options.pop("what", None), **options)


def test_requested_ids_that_are_missing() -> None:
    found = story(StoryRows(run(A, 0, 10), run(B, 0, 10)), [A, B, C])
    assert found.ids == [A, B]
    assert C in found.reasons[0]


def test_a_key_may_contain_a_slash() -> None:
    rows = [run(A, 3590, None, target_service_key="1"), run(B, 3591, None, target_service_key="Svc/1")]
    assert story(StoryRows(*rows), key="Svc/1").ids == [A]
    assert story(StoryRows(*rows), key="Svc/Svc/1").ids == [B]
    assert story(StoryRows(*rows[1:]), key="Svc/1").ids == [B]
    with pytest.raises(NotFound, match="created since"):
        story(StoryRows(*rows), key="Svc/1", since="1s")
