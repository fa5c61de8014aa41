"""What a replay in this process reports: each outcome, with its line and its values; no server, and no step runs."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from restate import TerminalError

from restate_lab.testing import Diverges, Outcome, StepWithoutResult, UnusableRecord
from restate_lab.testing.journal import Failure
from support import local_app
from support.local_app import PLACED, STEPS, app, changed, record, value

APP = Path(local_app.__file__)
OUTPUT = {"type": "Command: Output", "value": "null"}
OPEN_RUN = {"type": "Command: Run", "result_completion_id": 1, "name": "price"}


@pytest.fixture(autouse=True)
def no_steps() -> None:
    STEPS.clear()


def line_of(text: str) -> int:
    return next(at for at, line in enumerate(APP.read_text().splitlines(), 1) if text in line)


def test_an_error_is_raised_with_the_frames_of_the_user_only() -> None:
    """The exception is that of the handler: its traceback begins there, and a debugger finds the locals."""
    broken = changed(2, value='{"prise": 3}')
    with pytest.raises(KeyError, match="price") as caught:
        record("place", *broken).run(app)
    frames = [each for each in traceback.extract_tb(caught.tb) if each.filename == str(APP)]
    assert [(each.name, each.lineno) for each in frames] == [
        ("place", line_of("await ctx.service_call(charge, price_of")),
        ("price_of", line_of('return price["price"]')),
    ]
    last = traceback.extract_tb(caught.tb)[-2:]
    assert last == frames
    assert not [each for each in traceback.extract_tb(caught.tb) if "/restate/" in each.filename]
    inner = caught.traceback[-1].frame.f_locals
    assert inner == {"price": {"prise": 3}}
    assert STEPS == []


def test_a_failure_that_ends_the_invocation_is_raised_as_such() -> None:
    entries = (value("{}"), OPEN_RUN, {"type": "Notification: Run", "completion_id": 1, "value": '{"price": 101}'})
    failure = {"type": "Command: Output", "failure": {"code": 402, "message": "too expensive"}}
    error = Failure("TerminalError", "too expensive", 402, 2)
    for recorded in ((), (failure,)):
        made = record("cheap", *entries, *recorded, error=error)
        with pytest.raises(TerminalError, match="too expensive") as caught:
            made.run(app)
        assert caught.value.status_code == 402
        assert made.reproduces(app)
        assert str(made.outcome(app).at).endswith(f"local_app.py:{line_of('raise TerminalError')}")


def test_code_that_goes_on_names_its_next_command() -> None:
    """A step by its name, and a call by its target, which the SDK's text does not have."""
    outcome = record("place", *PLACED).run(app)
    assert (outcome.outcome, outcome.next, outcome.passed) == ("continues", "Run 'ship'", 5)
    assert str(outcome) == "continues with Run 'ship'"
    assert [outcome.continues_past(entry) for entry in (4, 5, 6)] == [True, True, False]
    outcome = record("place", *PLACED[:4]).run(app)
    assert (outcome.next, outcome.passed) == ("Call Payments/charge", 3)
    assert STEPS == []


def test_a_recorded_result_does_not_stop_fixed_code() -> None:
    """The recorded Output is not sent: the code may end in another way, or go on."""
    assert record("place", *PLACED, OUTPUT).run(app).next == "Run 'ship'"
    shipped = (
        {"type": "Command: Run", "result_completion_id": 4, "name": "ship"},
        {"type": "Notification: Run", "completion_id": 4, "value": '"by air"'},
    )
    for recorded in ((), (OUTPUT,)):
        outcome = record("place", *PLACED, *shipped, *recorded).run(app)
        assert outcome.outcome == "returns"
        assert outcome.returned == {"order": {"sku": "A"}, "paid": {"id": 3}, "shipped": "by air"}
        assert outcome.continues_past(7)
    assert STEPS == []


@pytest.mark.parametrize("other", [True, 1.0, "1", None, [1], b"1"])
def test_a_returned_value_has_its_type(other: object) -> None:
    assert Outcome("returns", returned=1).returns(1)
    assert not Outcome("returns", returned=1).returns(other)
    assert not Outcome("returns", returned={"a": [1]}).returns({"a": [other]})
    assert Outcome("returns", returned={"a": other, "b": 1}).returns({"b": 1, "a": other})
    assert not Outcome("continues").returns(None)


@pytest.mark.parametrize(
    ("place", "fields", "recorded", "now"),
    [
        (1, {"name": "prices"}, "Run 'prices'", "Run 'price'"),
        (3, {"value": "2"}, "SetState 'count'", "with another value"),
        (4, {"parameter": "4"}, "Call Payments/charge", "with another parameter"),
        (4, {"handler": "refund"}, "Call Payments/refund", "with another handler name"),
    ],
)
def test_another_command_diverges_at_its_entry(place: int, fields: dict[str, str], recorded: str, now: str) -> None:
    with pytest.raises(Diverges) as caught:
        record("place", *changed(place, **fields)).run(app)
    assert (caught.value.entry, caught.value.recorded, caught.value.now) == (place, recorded, now)
    outcome = record("place", *changed(place, **fields)).outcome(app)
    assert outcome.at is not None
    assert outcome.at.function == "place"
    assert f"diverges at entry {place}: recorded {recorded}, now {now} at " in str(outcome)
    assert STEPS == []


def test_an_earlier_await_diverges() -> None:
    """Code that waits before it has issued the recorded commands never reaches them."""
    sleep = {"type": "Command: SetState", "key": "count", "value": "1"}
    with pytest.raises(Diverges, match="waits for Run 'price' before it has issued all recorded commands"):
        record("place", *PLACED[:2], sleep).run(app)


def test_a_step_without_a_result_is_named_and_does_not_run() -> None:
    """If two are open, both are named, because both would run."""
    error = Failure("OSError", "OSError('the disk is full')", 500, 2, in_step=True)
    with pytest.raises(StepWithoutResult, match=r"failed in production with OSError\('the disk is full'\)") as caught:
        record("place", *PLACED[:2], error=error).run(app)
    assert caught.value.steps == ("price",)
    two = [{"type": "Command: Run", "result_completion_id": at, "name": name} for at, name in ((1, "one"), (2, "two"))]
    with pytest.raises(StepWithoutResult) as caught:
        record("two_steps", value(), *two).run(app)
    assert caught.value.steps == ("one", "two")
    assert STEPS == []


def test_an_open_call_waits() -> None:
    outcome = record("place", *PLACED[:5]).run(app)
    assert (outcome.outcome, outcome.waits_for, outcome.passed) == ("waits", ("Call Payments/charge",), 4)
    assert [outcome.continues_past(entry) for entry in (3, 4)] == [True, False]


def test_code_that_swallows_every_error_runs_no_step() -> None:
    with pytest.raises(StepWithoutResult):
        record("swallow", value(), {**OPEN_RUN, "name": "a"}).run(app)
    assert record("swallow").run(app).next == "Run 'a'"
    assert STEPS == []


def test_an_error_of_the_sdk_has_no_line_of_the_user() -> None:
    """A result that is not JSON, and an input that is not: the exception is raised as it is."""
    with pytest.raises(TypeError, match="not JSON serializable"):
        record("unserializable").run(app)
    with pytest.raises(TerminalError, match="Unable to parse an input argument"):
        record("place", value("{")).run(app)


def test_the_same_error_is_that_of_production() -> None:
    """Its class, text and code; where the text has an address, its line."""
    broken = changed(2, value='{"prise": 3}')
    outcome = record("place", *broken).outcome(app)
    assert outcome.failure is not None

    def reproduces(**fields: object) -> bool:
        production = Failure(**{"type": "KeyError", "message": "KeyError('price')", "code": 500, **fields})
        return record("place", *broken, error=production).reproduces(app)

    assert reproduces()
    assert not reproduces(type="IndexError")
    assert not reproduces(message="KeyError('sku')")
    assert not reproduces(code=570)
    line, function = outcome.failure.line, outcome.failure.function
    assert reproduces(message="KeyError(<A at 0x7f00aa>)", line=line, function=function)
    assert not reproduces(message="KeyError(<A at 0x7f00aa>)", line=1, function=function)
    assert not record("place", *broken).reproduces(app)


def test_a_mismatch_in_production_says_what_to_do() -> None:
    error = Failure("", "Found a mismatch", 570, 1)
    outcome = record("place", *changed(1, name="at 17"), error=error).outcome(app)
    assert "no code follows this record; restart from a prefix" in str(outcome)


def test_two_replays_have_one_exception_each() -> None:
    """The hook is removed after each replay, also where the code fails."""
    broken = record("place", *changed(2, value='{"prise": 3}'))
    before = [handler.context_managers for handler in local_app.orders.handlers.values()]
    first, second = broken.outcome(app), broken.outcome(app)
    assert first.exception is not second.exception
    assert first == second
    assert [handler.context_managers for handler in local_app.orders.handlers.values()] == before


@pytest.mark.parametrize("protocol", [5, 6, 7])
def test_each_version_of_the_protocol_is_replayed(protocol: int) -> None:
    assert record("place", *PLACED, protocol=protocol).run(app).next == "Run 'ship'"


def test_payloads_are_not_compared_where_they_are_masked() -> None:
    """Names and types still are. A mask switches the checks off, and so does ``check_payloads=False``."""
    masked = changed(4, parameter="xxx")
    with pytest.raises(Diverges):
        record("place", *masked).run(app)
    assert record("place", *masked).run(app, check_payloads=False).next == "Run 'ship'"
    assert record("place", *masked, masked=("$.amount",)).run(app).next == "Run 'ship'"
    with pytest.raises(Diverges):
        record("place", *masked, masked=("$.amount",)).run(app, check_payloads=True)
    with pytest.raises(Diverges):
        record("place", *changed(1, name="prices")).run(app, check_payloads=False)


def test_an_outcome_is_text_in_which_nothing_is_hidden() -> None:
    """Names of the cluster are escaped."""
    hidden = "a\u202eb\x1b[2J"
    outcome = Outcome("diverges", entry=1, recorded=f"Run {hidden!r}", now="Run 'a'")
    assert str(outcome).isprintable()
    name = record("place", *changed(1, name=hidden)).outcome(app)
    assert str(name).isprintable()
    assert repr(name).startswith("<Outcome: diverges at entry 1")


def test_a_protocol_that_the_sdk_does_not_have_is_reported() -> None:
    with pytest.raises(UnusableRecord, match="protocol version 99"):
        record("place", *PLACED, protocol=99).run(app)
