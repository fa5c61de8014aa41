"""A plan without a server: executed once, in time, by one thread, and shown as text."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from restate_lab._text import escape_invisible
from restate_lab.actions.change import Change, ExecutionRequest, SharedExecution
from restate_lab.actions.execution.outcomes import ActionOutcome, outcome_frame
from restate_lab.actions.plan import model, plan
from restate_lab.actions.plan.failures import (
    _NAMES,
    RepeatedFailure,
    RepeatedFailures,
    add_failures,
    find_repeated_failures,
)
from restate_lab.actions.plan.impact import COLUMNS as IMPACT_COLUMNS
from restate_lab.actions.plan.model import LIFETIME, Plan
from restate_lab.actions.plan.steps import find_open_steps, step_frame
from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.failure_reasons import FailureReason, fails_again
from restate_lab.errors import (
    ArgumentError,
    AuditFailed,
    Interrupted,
    OutcomeUnknown,
    PlanExpired,
    ReadOnly,
    TimedOut,
    Unreachable,
)
from restate_lab.reads import Reads
from restate_lab.result import unread
from support.row_source import RowSource
from support.sample_rows import BEFORE, LiveRows, SampleRows, invocation

WHY = "INC-42"
HOSTILE = "Cart/<b>\x1b[2J\nk/add"


def an_id(number: int) -> str:
    return f"inv_1{number:033}"


def made(
    number: int = 3, action: ACTIONS = ACTIONS.CANCEL, *, read_only: bool = False, target: str = "Cart/a/add"
) -> Plan:
    ids = [an_id(each) for each in range(number + 1)]
    rows = pd.DataFrame({"id": ids, "target": target, "service": "Cart", "status": "running"})
    rows["age"] = rows["idle_for"] = pd.Timedelta(hours=2, minutes=13)
    rows["effect"] = ["told"] * number + [None]
    rows["excluded"] = [None] * number + ["it has ended"]
    rows["callee_of"] = None
    return Plan(
        change=Change(action),
        frame=rows,
        impact=pd.DataFrame([("key", None, target, None, ids[0], "becomes free")], columns=list(IMPACT_COLUMNS)),
        prefixes=pd.DataFrame({"id": [], "from_index": [], "entry": [], "result": []}),
        restarted=frozenset(),
        read_at=datetime.now(UTC),
        source="prod",
        version="1.7.12",
        address="http://admin:9070",
        server="restate 1.7.12, without vqueues",
        _ids=tuple(ids[:number]),
        _lab=SimpleNamespace(read_only=read_only),  # type: ignore[arg-type]
    )


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[ExecutionRequest]:
    orders: list[ExecutionRequest] = []

    def execute(lab: Any, order: ExecutionRequest, *, progress: Any = None, stop: Any = None) -> pd.DataFrame:
        orders.append(order)
        time.sleep(0.01)
        return outcome_frame([ActionOutcome(id_, "done") for id_ in order.ids])

    monkeypatch.setattr(model, "execute", execute)
    return orders


def failing(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(model, "execute", execute)


def test_exactly_the_reviewed_ones_are_acted_on(sent: list[ExecutionRequest]) -> None:
    """The request has the targets, the reason and no excluded invocation; a plan with an edited frame sends none."""
    plan_ = made()
    targets = plan_.targets
    for column, value in (("excluded", "edited"), ("id", an_id(9))):
        before = plan_.frame.loc[0, column]
        plan_.frame.loc[0, column] = value
        with pytest.raises(ArgumentError, match="frame was changed"):
            plan_.execute(reason=WHY)
        plan_.frame.loc[0, column] = before
    outcome = plan_.execute(reason=WHY)
    assert [order.ids for order in sent] == [targets] == [tuple(map(an_id, range(3)))]
    assert sent[0].reason == WHY
    assert plan_.outcome is outcome
    assert plan_.targets == targets


def test_of_several_threads_one_executes_the_plan(sent: list[ExecutionRequest]) -> None:
    plan_, refused = made(), []

    def run() -> None:
        try:
            plan_.execute(reason=WHY)
        except PlanExpired as error:
            refused.append(error)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(sent), len(refused)) == (1, 7)


@pytest.mark.parametrize("clock", ["wall", "monotonic"])
def test_a_plan_expires_by_either_clock(sent: list[ExecutionRequest], clock: str) -> None:
    """The monotonic clock stops while a laptop sleeps, and the other can be set back: the larger age counts."""
    plan_ = made()
    old = LIFETIME + timedelta(seconds=1)
    if clock == "wall":
        plan_ = replace(plan_, read_at=plan_.read_at - old)
    else:
        plan_ = replace(plan_, _shared=SharedExecution(started=time.monotonic() - old.total_seconds()))
    with pytest.raises(PlanExpired, match="15 minutes"):
        plan_.execute(reason=WHY)
    with pytest.raises(PlanExpired, match="15 minutes"):
        plan_.first(1).execute(reason=WHY)
    assert sent == []


@pytest.mark.parametrize(
    ("action", "number", "expect", "says"),
    [
        (ACTIONS.CANCEL, 100, None, None),
        (ACTIONS.CANCEL, 101, None, "expect=101"),
        (ACTIONS.CANCEL, 101, 101, None),
        (ACTIONS.CANCEL, 101, 100, "expect=101"),
        (ACTIONS.CANCEL, 2, 3, "expect=2"),
        (ACTIONS.CANCEL, 1, True, "expect must be a whole number or None; got True"),
        (ACTIONS.KILL, 10, None, None),
        (ACTIONS.KILL, 11, None, "expect=11"),
        (ACTIONS.PURGE, 11, None, "expect=11"),
        (ACTIONS.PURGE_JOURNAL, 11, None, "expect=11"),
        (ACTIONS.RESTART_AS_NEW, 100, None, None),
    ],
)
def test_large_ones_need_the_exact_number(
    sent: list[ExecutionRequest], action: ACTIONS, number: int, expect: int | None, says: str | None
) -> None:
    """Above the limit the number is required; a wrong one is always refused, and the message has the right one."""
    plan_ = made(number, action)
    if says is None:
        plan_.execute(reason=WHY, expect=expect)
    else:
        with pytest.raises(ArgumentError, match=says):
            plan_.execute(reason=WHY, expect=expect)
    assert bool(sent) == (says is None)


def test_a_read_only_connection_is_reported_before_the_reason_is_checked(sent: list[ExecutionRequest]) -> None:
    with pytest.raises(ReadOnly):
        made(read_only=True).execute(reason="")
    assert sent == []


@pytest.mark.parametrize("reason", ["", "  \n", None])
def test_without_a_reason_nothing_is_sent_and_the_plan_stays_usable(sent: list[ExecutionRequest], reason: Any) -> None:
    plan_ = made()
    with pytest.raises(ArgumentError, match="reason"):
        plan_.execute(reason=reason)
    assert sent == []
    plan_.execute(reason=WHY)


def test_what_was_not_sent_can_be_tried_again(monkeypatch: pytest.MonkeyPatch, sent: list[ExecutionRequest]) -> None:
    """After AuditFailed the plan is unchanged; after a later error it is used up, and so are its targets."""
    plan_ = made()
    with monkeypatch.context() as patch:
        failing(AuditFailed("disk full"), patch)
        with pytest.raises(AuditFailed):
            plan_.execute(reason=WHY)
    assert not plan_.is_executed
    part = plan_.first(1)
    with monkeypatch.context() as patch:
        failing(OutcomeUnknown("lost"), patch)
        with pytest.raises(OutcomeUnknown):
            part.execute(reason=WHY)
    with pytest.raises(PlanExpired):
        part.execute(reason=WHY)
    plan_.execute(reason=WHY)
    assert sent[-1].ids == (an_id(1), an_id(2))


def test_an_interrupted_plan_keeps_its_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    plan_ = made()
    failing(Interrupted("you", outcome_frame([ActionOutcome(an_id(0), "done")])), monkeypatch)
    with pytest.raises(Interrupted):
        plan_.execute(reason=WHY)
    assert plan_.outcome is not None
    assert len(plan_.outcome) == 1


def test_an_interrupt_after_the_last_read_keeps_the_outcome_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything was done before the interrupt: it is raised as Interrupted, with the whole outcome."""
    plan_ = made()
    outcome = outcome_frame([ActionOutcome(an_id(0), "done")])

    def execute(*_: Any, **__: Any) -> pd.DataFrame:
        signal.raise_signal(signal.SIGINT)
        return outcome

    monkeypatch.setattr(model, "execute", execute)
    with pytest.raises(Interrupted) as caught:
        plan_.execute(reason=WHY)
    assert caught.value.outcome is outcome
    assert plan_.outcome is outcome


def test_smaller_plans() -> None:
    """only() accepts the same ids as plan() and refuses other ones; first() counts those that would be acted on."""
    plan_ = made()
    assert plan_.only(pd.DataFrame({"id": [an_id(1)]})).targets == (an_id(1),)
    assert plan_.only([an_id(3)]).targets == ()
    assert plan_.first(2).targets == (an_id(0), an_id(1))
    assert plan_.first(99).targets == plan_.targets
    assert plan_.only([an_id(1)]).impact.empty
    assert len(plan_.first(1).impact) == 1
    with pytest.raises(ArgumentError, match="not in the plan"):
        plan_.only([an_id(7)])
    with pytest.raises(ArgumentError):
        plan_.first(-1)


def test_where_it_acts_comes_first() -> None:
    """Text and card begin with the environment; the line is one line; text from a cluster stays text."""
    plan_ = made(3, ACTIONS.KILL, target=HOSTILE)
    text, card = str(plan_), plan_._repr_html_()
    assert text.splitlines()[:2] == [
        "prod: kill 3 of 4 invocations (1 excluded)",
        "http://admin:9070 (restate 1.7.12, without vqueues)",
    ]
    assert card.index("prod: kill 3 of 4") < card.index("http://admin:9070")
    assert "\n" not in repr(plan_)
    assert repr(plan_) == (
        "<Plan of prod at http://admin:9070 (restate 1.7.12, without vqueues): kill 3 of 4, nothing sent yet>"
    )
    assert "<b>\x1b" not in card
    assert "&lt;b&gt;" in card
    assert "\x1b" not in text
    assert "without clean-up" in text
    assert "without clean-up" in card
    assert 'plan.execute(reason="…")' in text
    assert "2h 13m" in text


@pytest.mark.parametrize("action", ACTIONS)
def test_each_plan_says_whether_it_can_be_undone(action: ACTIONS) -> None:
    """One sentence is the line below the title: in the text, the card, and the texts for an approval and a review."""
    plan_ = made(2, action)
    assert re.fullmatch(r"Undo: (yes|no|partly)\. [^.]+\.", plan_.undo)
    assert len(plan_.undo) <= 80
    for text in (str(plan_), plan_.approval_text):
        assert text.splitlines()[3] == plan_.undo
    assert plan_.undo in plan_._repr_html_()


def test_the_card_of_a_plan_folds_the_invocations_and_not_the_next_step() -> None:
    """Between the effects and the next step, one closed line stands for the ids of the invocations."""
    card = made(8, ACTIONS.KILL)._repr_html_()
    (folded,) = re.findall(r"<details.*?</details>", card, re.DOTALL)
    rest = card.replace(folded, "")
    assert re.sub(r"<[^>]*>", "", folded.partition("</summary>")[0]).strip() == "Invocations (8)"
    assert all(an_id(number) in folded and an_id(number) not in rest for number in range(8))
    assert rest.index("What will happen") < card.index(folded) < card.index("Nothing was sent")


def with_targets(targets: list[str], affected: list[str], limitations: tuple[str, ...]) -> Plan:
    """Return a plan to kill running invocations of these targets, with these callees."""
    base = made(len(targets), ACTIONS.KILL)
    frame = base.frame.assign(target=[*targets, "Cart/a/add"])
    callees = [("call", an_id(5_000 + at), text, "running", an_id(0), text) for at, text in enumerate(affected)]
    impact = pd.DataFrame(callees, columns=list(IMPACT_COLUMNS))
    return replace(base, frame=frame, impact=impact, not_read=unread(impact=limitations))


def check_text_for_approval(plan_: Plan) -> None:
    """Check that a person sees each part of a plan, and how many rows of it are omitted."""
    text = plan_.approval_text
    lines = text.split("\n")
    number, affected = len(plan_.targets), len(plan_.impact)
    assert len(text) < 20_000
    assert all(line == escape_invisible(line, lines=False) for line in lines)
    assert lines[0].startswith(f"prod: kill {number:,} of {number + 1:,} invocations")
    for warning in plan_.warnings:
        assert f"WARNING {warning}" in lines
    for limitation in plan_.reasons:
        assert f"Note: {limitation}." in lines
    shown_ids = [found[1] for line in lines if (found := re.match(r"(?:- |  )(inv_\w+)", line))]
    assert shown_ids == list(plan_.targets[:10])
    for title, total in ((f"Invocations ({number:,}):", number), ("Also affected:", affected)):
        if total:
            shown = [line for line in lines[lines.index(title) + 1 :] if not line.startswith("  id ")]
            assert all(line.startswith(("  ", "- ")) for line in shown[: min(total, 10)])
            rest = f"  … and {total - 10:,} more; the tool show_plan lists them"
            assert (shown[10] == rest) if total > 10 else rest not in shown
    assert "plan.execute" not in text


@pytest.mark.parametrize("number", [10, 11, 1_000])
@pytest.mark.parametrize("key", ["k" * 3_000, "\u202e" * 300, "a\nInvocations:\n" * 500, "\U000e0049" * 9 + "\x1b[2J"])
def test_no_key_hides_the_rest_of_a_plan(number: int, key: str) -> None:
    """A long or hostile key is shortened with a mark in its cell; everything else of the plan is in the text."""
    targets = [f"Locker/{at}{key}/hold" for at in range(number)]
    plan_ = with_targets(targets, targets, ("not shown: later calls of the targets", "only 3 were read"))
    check_text_for_approval(plan_)
    assert plan_._repr_html_().count("more</div>") == (number > 8) + (number > 25)
    assert plan_.approval_text.count(" more characters …") == (3 * min(number, 10) if len(key) > 99 else 0)
    assert plan_.approval_text.count("/hold") == 3 * min(number, 10)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(max_size=400), min_size=1, max_size=14), st.lists(st.text(max_size=400), max_size=14))
def test_any_plan_is_approved_as_a_whole(targets: list[str], affected: list[str]) -> None:
    """The text of any plan has the warnings, the limitations, the lists, and the number of rows that it omits."""
    check_text_for_approval(with_targets(targets, affected, ("only the first 3 callees were followed",)))


def test_a_warning_about_one_callee_has_the_singular() -> None:
    warnings = {number: with_targets(["A/b"], ["C/d"] * number, ()).warnings for number in (1, 2)}
    assert any("1 callee is also killed" in each for each in warnings[1])
    assert any("2 callees are also killed" in each for each in warnings[2])


def test_names_of_repeated_steps_are_few_and_one_line_each() -> None:
    """A warning names the most frequent steps, similar ones as one; hostile and long names are shortened."""
    names = ["charge card"] * 3 + [f"weather {city}" for city in ("Denver", "Paris", "Rome", "Oslo", "Bern", "Kyiv")]
    names += ["<u>\x1b[2J\nk", "n" * 500, "", "a", "z"]
    rows = [{"id": an_id(at), "step": name, "entry_index": 1, "since": None} for at, name in enumerate(names)]
    plan_ = replace(made(len(rows), ACTIONS.PAUSE), open_steps=step_frame([*rows, rows[0]]))
    (warning,) = plan_.warnings
    assert warning.startswith(
        "14 invocations are in a step that is executed again after the pause: weather … (6), charge "
    )
    assert warning.endswith(" and 2 more.")
    assert "a step without a name (1)" in warning
    assert f"WARNING {warning}" in str(plan_).splitlines()
    assert f"WARNING {warning}" in plan_.approval_text.splitlines()
    assert "<u>" not in plan_._repr_html_()
    assert max(map(len, warning.split(", "))) < 150
    assert plan_.only([an_id(0)]).warnings == (
        "1 invocation is in a step that is executed again after the pause: charge card (1).",
    )
    assert "on the other deployment" in replace(plan_, change=Change(ACTIONS.MOVE_TO)).warnings[0]


class _Journals(RowSource):
    """A source whose first read of journals succeeds; the second one fails if ``error`` is set."""

    name, version, now, live = "prod", "1.8.1", datetime(2026, 11, 25, tzinfo=UTC), True
    features: Mapping[str, bool] = {}

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[list[str]] = []

    def rows(self, statement: str, params: Any, **_: Any) -> pd.DataFrame:
        self.asked.append(params["ids"])
        if self.error is not None and len(self.asked) > 1:
            raise self.error
        return pd.DataFrame(
            {"id": params["ids"], "step": "charge", "entry_index": 1, "since": pd.Timestamp(0, tz="UTC")}
        )


@pytest.mark.parametrize("error", [TimedOut("took\ntoo long"), Unreachable("connection refused")])
def test_steps_that_were_not_read_are_a_limitation(error: Exception) -> None:
    """A failed read of steps is stated, the steps read before it stay, and the number of journals is limited."""
    targets = pd.DataFrame({"id": [an_id(at) for at in range(2_001)], "effect": ""})
    assert find_open_steps(Reads(_Journals(error)), ACTIONS.PAUSE, targets).limitations == ()
    (effect,) = ACTIONS.PAUSE.rule.repeating
    partly = find_open_steps(Reads(_Journals(error)), ACTIONS.PAUSE, targets.head(501).assign(effect=effect))
    assert (len(partly.frame), len(partly.limitations)) == (500, 1)
    assert partly.limitations[0].startswith("not read: the steps that are executed again, or some of them (")
    assert "\n" not in partly.limitations[0]
    source = _Journals()
    whole = find_open_steps(Reads(source), ACTIONS.PAUSE, targets.assign(effect=effect))
    assert [len(ids) for ids in source.asked] == [500] * 4
    assert (len(whole.frame), *whole.limitations) == (
        2_000, "steps that are executed again: only the first 2,000 of 2,001 were read",
    )  # fmt: skip


FAILED_AS = {
    "gone": ("backing-off", "dp_0", "RT0011", "not found"),
    "gone, paused by hand": ("paused", "dp_0", None, None),
    "gone, asleep": ("suspended", "dp_0", None, None),
    "changed": ("backing-off", "dp_1", "RT0016", "found a mismatch"),
    "changed, paused": ("paused", "dp_1", "RT0016", "found a mismatch"),
    "changed, went on": ("suspended", "dp_1", "RT0016", "found a mismatch"),
    "foreign": ("backing-off", "dp_1", "RT0007", "Unexpected variant in async result: {}"),
    "foreign, paused": ("paused", "dp_1", None, "Unexpected variant in async result: {}"),
    "down": ("backing-off", "dp_1", "RT0010", "connection refused"),
    "not pinned": ("backing-off", None, "RT0007", "HTTP 503"),
    "handler": ("paused", "dp_1", "RT0007", "HTTP 503"),
    "running": ("running", "dp_1", None, None),
}
"""Name → status, pinned deployment, code and message of the last error; dp_1 and the later dp_2 are registered."""
REMOVED, MISMATCH, FOREIGN = "its deployment dp_0 was removed", "the code does not match its journal (RT0016)", (
    "its journal has a result that the code did not ask for"
)  # fmt: skip


def failing_rows() -> tuple[SampleRows, pd.DataFrame]:
    """Return a source with one invocation for each case, and the rows of a plan for them."""
    statuses, states, events, targets = [], [], [], []
    for number, (name, (status, deployment, code, message)) in enumerate(FAILED_AS.items()):
        id_ = an_id(number)
        stored = status if status in {"paused", "suspended"} else "invoked"
        statuses.append(
            invocation(id_, stored, service="Svc", handler=name, pinned_deployment_id=deployment, partition_key=number)
        )
        if stored == "invoked":
            error = {"last_failure": message, "last_failure_error_code": code}
            states.append({"id": id_, "retry_count": 2, "in_flight": status == "running", **error})
        if message is not None or status == "paused":
            failure = {"error_message": message, "restate_doc_error_code": code} if message else None
            event = {"last_failure": failure} if status == "paused" else failure or {}
            kind = "Paused" if status == "paused" else "TransientError"
            text = json.dumps({"ty": kind, **event})
            events.append({"id": id_, "event_type": kind, "event_json": text, "appended_at": BEFORE})
        targets.append({"id": id_, "status": status, "effect": "retried now"})
    source = SampleRows(
        sys_invocation_status=statuses,
        sys_invocation_state=states,
        sys_journal_events=events,
        sys_deployment=[{"id": id_, "services": ["Svc"], "endpoint": "http://svc"} for id_ in ("dp_1", "dp_2")],
        sys_service=[{"name": "Svc", "deployment_id": "dp_2"}],
    )
    return source, pd.DataFrame(targets)


@pytest.mark.parametrize(
    ("action", "deployment", "expected"),
    [
        (ACTIONS.RESUME, None, {"gone": REMOVED, "changed": MISMATCH, "foreign": FOREIGN}),
        (ACTIONS.RESUME, "keep", {"gone": REMOVED, "changed": MISMATCH, "foreign": FOREIGN}),
        (ACTIONS.RESUME, "latest", {"foreign": FOREIGN}),
        (ACTIONS.RESUME, "dp_1", {"changed": MISMATCH, "foreign": FOREIGN}),
        (ACTIONS.MOVE_TO, "latest", {"foreign": FOREIGN}),
        (ACTIONS.RESTART_AS_NEW, None, {}),
        (ACTIONS.RESTART_AS_NEW, "keep", {"gone": REMOVED}),
        (ACTIONS.CANCEL, None, {}),
    ],
)
def test_a_plan_has_the_targets_that_fail_again(
    action: ACTIONS, deployment: str | None, expected: dict[str, str]
) -> None:
    """A removed deployment, a mismatch and a foreign result fail again, unless the next attempt is elsewhere."""
    source, targets = failing_rows()
    found = find_repeated_failures(Reads(source), Change(action, deployment), targets)
    wanted = {name: expected.get(name.partition(",")[0]) for name in FAILED_AS if name != "changed, went on"}
    assert {each.handler: each.text for each in found.by_id.values()} == {
        f"Svc/{name}": text for name, text in wanted.items() if text
    }
    assert found.limitations == ()
    shown = add_failures(targets, found)["effect"]
    assert sum(text.startswith("retried now; will fail again: ") for text in shown) == len(found.by_id)


def test_a_service_without_a_deployment_cannot_be_restarted() -> None:
    """The server refuses these, so the plan warns of them."""
    source, targets = failing_rows()
    source.put(sys_service=[])
    found = find_repeated_failures(Reads(source), Change(ACTIONS.RESTART_AS_NEW), targets)
    assert len(found.by_id) == len(targets)
    assert {each.text for each in found.by_id.values()} == {"no deployment has the service Svc"}


def test_a_warning_counts_the_targets_that_fail_again_by_handler() -> None:
    """A smaller plan counts only its own targets; the list of handlers is short, and a failed read is stated."""
    several = {FailureReason.MISMATCH: 3, FailureReason.REMOVED: 2, FailureReason.STALE_TIMER: 1}
    reasons = [reason for reason, number in several.items() for _ in range(number)]
    by_id = {an_id(at): RepeatedFailure(f"S/{reason.name}", reason, "why") for at, reason in enumerate(reasons)}
    plan_ = replace(made(8, ACTIONS.RESUME), _failures=RepeatedFailures(by_id))
    warning = (
        "6 of 8 will fail again: 3 S/MISMATCH do not match their journals (RT0016), 2 S/REMOVED have no deployment "
        "(RT0011), 1 S/STALE_TIMER has a foreign result in its journal."
    )
    assert plan_.warnings == (warning,)
    assert f"WARNING {warning}" in str(plan_)
    assert warning in plan_._repr_html_()
    assert plan_.only([an_id(0), an_id(7)]).warnings == (
        "1 of 2 will fail again: 1 S/MISMATCH does not match its journal (RT0016).",
    )
    assert plan_.only([an_id(7)]).warnings == ()
    many = {an_id(at): RepeatedFailure(f"S/{at}", FailureReason.RESPONSE, "why") for at in range(9)}
    assert RepeatedFailures(many).warning(list(many)).endswith(", 4 more groups.")
    assert set(_NAMES) == {reason for reason in FailureReason if fails_again(reason)}
    source: Any = _Journals(Unreachable("connection\nrefused"))
    source.asked.append([])
    targets = pd.DataFrame({"id": [an_id(0)], "status": "paused"})
    (limitation,) = find_repeated_failures(Reads(source), Change(ACTIONS.RESUME), targets).limitations
    assert limitation == "not read: which targets will fail again (connection refused)"


def test_a_digest_is_of_exactly_one_change() -> None:
    """The digest differs if a target, its run, its index, the action, an option or the address differs."""
    plan_ = replace(made(3), _created={an_id(at): datetime(2026, 11, 28, tzinfo=UTC) for at in range(3)})
    others = [
        replace(plan_, change=Change(ACTIONS.KILL)),
        replace(plan_, address="http://admin:9071"),
        replace(plan_, change=Change(plan_.action, "dp_1")),
        replace(plan_, change=Change(plan_.action, from_index=2)),
        replace(plan_, change=Change(plan_.action, from_indexes=dict.fromkeys(plan_.targets, 1))),
        replace(plan_, _ids=plan_._ids[:2]),
        replace(plan_, _ids=(*plan_._ids[:2], an_id(7))),
        replace(plan_, _created=plan_._created | {an_id(1): datetime(2026, 11, 29, tzinfo=UTC)}),
    ]
    assert len({plan_.digest, *(each.digest for each in others)}) == 1 + len(others)
    assert replace(plan_).digest == plan_.digest


def test_a_plan_needs_a_live_cluster() -> None:
    """Evidence can only be read; the error for a wrong action, or another action's option, lists the valid ones."""
    evidence: Any = SampleRows(name="inc-42.evidence")
    with pytest.raises(ArgumentError, match=r"live cluster.*can only be read"):
        plan(evidence, "kill", [])
    lab: Any = LiveRows()
    for action, options, says in (
        ("stop", {}, "cancel, kill, pause"),
        ("kill", {"deployment": "latest"}, "deployment.*resume, restart_as_new, move_to"),
        ("resume", {"from_index": 1}, "from_index.*restart_as_new"),
        ("restart_as_new", {"from_index": -1}, "from_index"),
        ("restart_as_new", {"include_callees": True}, "include_callees.*cancel, kill, pause, resume"),
        ("resume", {"deployment": "newest"}, "'latest', 'keep'"),
        ("move_to", {}, "restate_lab.move_to"),
    ):
        with pytest.raises(ArgumentError, match=says):
            plan(lab, action, [], **options)


def test_the_reason_can_be_the_first_argument(sent: list[ExecutionRequest]) -> None:
    made(1).execute(WHY)
    assert [each.reason for each in sent] == [WHY]
    for placeholder in ("…", "...", '"…"', "reason"):
        with pytest.raises(ArgumentError, match="reason has the placeholder"):
            made(1).execute(placeholder)
    with pytest.raises(ArgumentError, match=r"execute\(\) has an argument twice: plan\.execute\(reason="):
        made(1).execute(WHY, reason=WHY)  # type: ignore[misc]
    assert len(sent) == 1


def test_a_plan_without_invocations_says_so_and_nothing_about_undoing() -> None:
    for empty in (made(0).first(0), made(2).first(0)):
        assert "It changes nothing." in str(empty)
        assert "There is nothing to do." in str(empty)
    none = replace(made(0), frame=made(0).frame.iloc[:0])
    assert "Nothing to do: cancel of no invocation" in str(none)
