"""After the record: results that a person gives, recorded results that are replaced, and steps that really run."""

from __future__ import annotations

from typing import Any

import pytest
from restate import TerminalError

from restate_lab.testing import Diverges, StepWithoutResult
from support.local_app import ID, PLACED, STEPS, app, changed, record, value

ANSWERS: dict[str, Any] = {"Run price": {"price": 5}, "Payments/charge": {"id": 5}, "Run ship": "by air"}


@pytest.fixture(autouse=True)
def no_steps() -> None:
    STEPS.clear()


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 6])
def test_answers_lead_to_the_end_from_each_entry(length: int) -> None:
    """Open commands of the record get their answer, and new ones, too; what is recorded keeps its result."""
    outcome = record("place", *PLACED[:length]).run(app, answers=ANSWERS)
    paid = {"id": 3 if length == 6 else 5}
    assert outcome.outcome == "returns"
    assert outcome.returned == {"order": {"sku": "A"}, "paid": paid, "shipped": "by air"}
    assert STEPS == []


def test_the_first_command_without_an_answer_ends_the_run() -> None:
    outcome = record("place").run(app, answers={"Run price": {"price": 5}})
    assert (outcome.outcome, outcome.next, outcome.passed) == ("continues", "Call Payments/charge", 0)
    outcome = record("place", *PLACED).run(app, answers={"Run price": 1})
    assert outcome.next == "Run 'ship'"
    with pytest.raises(KeyError):
        record("place").run(app, answers={"Run price": {}})
    assert STEPS == []


def test_each_kind_of_result_can_be_given() -> None:
    """Also nothing, keys, signals, and a failure; a call gets an id."""
    answers = {
        "GetLazyState total": None,
        "GetLazyStateKeys": ["a", "b"],
        "Sleep nap": None,
        "awakeable": "rung",
        "signal bell": "ding",
        "AttachInvocation": "attached",
        "Payments/charge": TerminalError("too much", status_code=402),
    }
    outcome = record("everything").run(app, answers=answers)
    assert outcome.returned == [None, ["a", "b"], "rung", "ding", "attached", ID, "too much"]
    for name in answers:
        rest = {key: each for key, each in answers.items() if key != name}
        outcome = record("everything").outcome(app, answers=rest)
        assert outcome.outcome in {"continues", "waits"}
        assert name.rpartition(" ")[2].rpartition("/")[2].lower() in f"{outcome}".lower()


def test_a_step_runs_only_if_it_is_named() -> None:
    """An open one, or one after the record; its result is used."""
    outcome = record("place", *PLACED).run(app, run_steps=["ship"])
    assert outcome.returned["shipped"] == "by train"
    assert STEPS == ["ship"]
    outcome = record("place", *PLACED[:2]).run(app, run_steps="price", answers={"Payments/charge": 1, "Run ship": 2})
    assert outcome.returned == {"order": {"sku": "A"}, "paid": 1, "shipped": 2}
    assert STEPS == ["ship", "price"]
    assert record("place", *PLACED).run(app, run_steps=["price"]).next == "Run 'ship'"
    assert STEPS == ["ship", "price"]


def test_of_two_open_steps_both_are_named_before_one_runs() -> None:
    """An SDK runs both of them; the exception of the one that fails is raised."""
    two = [{"type": "Command: Run", "result_completion_id": at, "name": name} for at, name in ((1, "one"), (2, "two"))]
    open_steps = record("two_steps", value(), *two)
    for named in (["one"], ["two"], []):
        with pytest.raises(StepWithoutResult, match=r"stops at the steps 'one', 'two'"):
            open_steps.run(app, run_steps=named)
    assert STEPS == []
    with pytest.raises(OSError, match="the disk is full"):
        open_steps.run(app, run_steps=["one", "two"])
    assert "two" in STEPS  # its failure can end the attempt before the other begins
    assert len(STEPS) == len(set(STEPS))


def test_a_recorded_result_can_be_another_one() -> None:
    """The question "what if step price had returned this": ids and order stay."""
    outcome = record("place", *PLACED).run(app, results={"Payments/charge": {"id": 9}}, answers={"Run ship": "x"})
    assert outcome.returned["paid"] == {"id": 9}
    with pytest.raises(KeyError):
        record("place", *PLACED).run(app, results={"Run price": {}})
    with pytest.raises(TerminalError, match="sold out"):
        record("place", *PLACED).run(app, results={"Run price": TerminalError("sold out")})
    with pytest.raises(Diverges, match="entry 4"):
        record("place", *PLACED).run(app, results={"Run price": {"price": 4}})
    assert STEPS == []


def test_a_state_that_was_read_can_be_another_one() -> None:
    state = {"type": "Command: GetEagerState", "key": "total", "value": "1"}
    keys = {"type": "Command: GetEagerStateKeys", "state_keys": []}
    rest = {"GetLazyStateKeys": [], "Sleep nap": None}
    outcome = record("everything", value(), state, keys).run(app, results={"GetEagerState total": 7}, answers=rest)
    assert outcome.outcome == "waits"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"results": {"Run pay": 1}}, r"results has 'Run pay', which is not in the record; it has 'Run price', 'Pay"),
        ({"results": {"Run price": {1}}}, "the value for 'Run price' is not JSON"),
        ({"answers": {"Run ship": {1}}}, "the value for 'Run ship' is not JSON"),
    ],
)
def test_a_wrong_name_or_value_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        record("place", *PLACED).run(app, **options)


def test_a_result_of_an_open_command_is_an_answer() -> None:
    with pytest.raises(ValueError, match=r"has no recorded result; pass answers=\{'Run price': …\}"):
        record("place", *PLACED[:2]).run(app, results={"Run price": 1})
    assert changed(0)[0] == PLACED[0]
