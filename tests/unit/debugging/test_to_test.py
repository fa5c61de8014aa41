"""A test that is written from a record: what it does before and after the fix, with masks, and without restate_lab."""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import restate_lab as rl
from restate_lab.errors import ArgumentError
from restate_lab.testing import Record, StepWithoutResult
from restate_lab.testing.journal import Failure
from restate_lab.testing.network import NOT_REFUSED
from support.order_records import APP, FIXED, ORDER, QUIET, order_record
from support.order_services import RAN
from support.sample_rows import SampleRows

EMAIL, NAME = "ann@example.org", "Ann"
TESTS = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # they take seconds to load
Write = Callable[..., rl.RecordedTest]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(record: Record | None = None, **options: Any) -> rl.RecordedTest:
        file = (record or order_record()).save(tmp_path / "record.json")
        (tmp_path / "tests").mkdir(exist_ok=True)
        return rl.to_test(SampleRows(), file, tmp_path / "tests", **{"app": APP, **options})

    return write


def run_pytest(test: Path, *blocked: str) -> subprocess.CompletedProcess[str]:
    """Run a written test as its user does; ``blocked`` are packages that cannot be imported."""
    program = f"import sys, pytest\nsys.modules |= dict.fromkeys({blocked!r})\nsys.exit(pytest.main(sys.argv[1:]))"
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(test.parent), "-c", os.devnull]
    command = [sys.executable, "-c", program, str(test), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=TESTS, env=ENVIRONMENT, timeout=200)


def call(test: Path) -> None:
    """Call the function of a written test; a process of its own takes seconds."""
    runpy.run_path(str(test))[test.stem]()


def replaced_id(record: Record, end: str = "y") -> Record:
    """Return the record with the id of another invocation."""
    return Record(replace(record.journal, id=record.journal.id[:-1] + end))


def test_a_failure_gives_a_test_that_fails_at_its_line_until_the_code_is_corrected(write: Write) -> None:
    made = write()
    assert made.outcome.startswith("fails as in production: KeyError('price') at ")
    assert "order_services.py:" in made.outcome
    assert made.is_as_recorded
    journal, test = made.paths
    assert (journal.name, test.name) == ("orders_place_mdxmezvh.json", "test_orders_place_mdxmezvh.py")
    with pytest.raises(KeyError, match="price"):
        call(test)
    test.write_text(test.read_text().replace(APP, FIXED))
    call(test)
    assert RAN == []


def test_what_was_written_is_shown(write: Write) -> None:
    made = write()
    lines = str(made).splitlines()
    assert lines[4] == f"journal     {made.paths[0]}: 5 entries, no header of the input, nothing masked"
    assert lines[-1] == f"After the fix, run: pytest {made.paths[1]}"
    assert list(made.files["content"]) == ["journal", "test"]
    assert made.outcome.replace("'", "&#39;") in made._repr_html_()
    assert "input-header" not in made.paths[0].read_text()


def test_a_second_call_replaces_no_file_without_force(write: Write) -> None:
    made = write()
    made.paths[1].write_text("mine")
    with pytest.raises(ArgumentError, match="already exists; pass force=True to replace it"):
        write()
    assert made.paths[1].read_text() == "mine"
    write(force=True)
    assert "record.run" in made.paths[1].read_text()


def test_a_masked_record_fails_at_the_same_line_and_has_none_of_the_texts(write: Write) -> None:
    """The name of a step that the code computes from a masked text is masked with it."""
    made = write(mask=["$.customer.email", "name"])
    assert made.outcome.startswith("fails as in production: KeyError('price')")
    assert made.masked == {"$.customer.email": 1, "name": 1}
    text = made.paths[0].read_text()
    assert EMAIL not in text
    assert NAME not in text
    assert f'"name": "quote {"x" * 15}"' in text
    with pytest.raises(KeyError, match="price"):
        call(made.paths[1])
    corrected = Record.load(made.paths[0]).run(FIXED)
    assert corrected.continues_past(4)
    assert Record.load(made.paths[0]).reproduces(APP)
    assert not Record.load(made.paths[0]).reproduces(FIXED)


def test_a_name_that_the_code_has_itself_is_kept(write: Write) -> None:
    """The word is masked in the input, and the step with this name is still the recorded one."""
    made = write(order_record({**ORDER, "sku": "stock"}), mask="sku")
    assert json.loads(made.paths[0].read_text())["entries"][1]["name"] == "stock"
    assert "note: a masked text was kept where the code has it itself: entry 1" in str(made)


def test_a_mask_that_changes_the_outcome_is_named_and_nothing_is_written(write: Write, tmp_path: Path) -> None:
    book = order_record({**ORDER, "sku": "book"}, error=None)
    with pytest.raises(ArgumentError, match=r"the mask of sku changes the outcome: the code fails: .* pass force=True"):
        write(book, mask=["email", "sku"])
    assert list((tmp_path / "tests").iterdir()) == []
    made = write(book, mask=["email", "sku"], force=True)
    assert made.outcome.startswith("fails: KeyError('price')")


def test_a_mask_without_a_text_is_reported(write: Write) -> None:
    assert "note: the record has no text for the mask $.emial" in str(write(mask="$.emial"))


def test_notes_name_what_was_kept_and_what_has_a_word_of_a_masked_text(write: Write) -> None:
    order = {**ORDER, "customer": {**ORDER["customer"], "address": {"city": "Bad Berka", "paid": True}}}
    notes = write(order_record({**order, "note": "to Berka"}), mask="address").notes
    assert not any("below masked values" in each for each in notes)
    assert "note: 1 entry has a word of a masked text, such as entry 0: review the record" in notes
    order["customer"]["address"]["zip"] = 99438
    notes = write(order_record(order), mask="address", force=True).notes
    assert "note: below masked values, 1 number was kept" in notes
    assert not any("a word of" in each for each in notes)


def test_the_text_of_an_error_is_masked(write: Write) -> None:
    error = Failure("TerminalError", "no stock for Ann", 409, 4)
    output = {"type": "Command: Output", "failure": {"code": 409, "message": "no stock for Ann"}}
    made = write(order_record(stock=0, error=error, ends=[output], status="failed"), mask="name")
    assert made.outcome.startswith("fails as in production: TerminalError('no stock for xxx'")
    assert NAME not in made.paths[0].read_text()


def test_a_failure_inside_of_a_step_is_not_said_to_be_shown(write: Write) -> None:
    error = Failure("OSError", "OSError('no route')", 500, 3, in_step=True)
    made = write(order_record(has_quote=False, error=error))
    assert made.outcome.startswith("stops at step 'quote ann@example.org', which failed in production with OSError(")
    assert made.is_as_recorded
    assert "inside of a step" in made.paths[1].read_text()
    with pytest.raises(StepWithoutResult):
        call(made.paths[1])
    assert RAN == []


@pytest.mark.parametrize(
    ("sku", "app", "ends", "assertion"),
    [
        (
            "book",
            APP,
            [{"type": "Command: Output", "value": '{"sent_to": "ann@example.org"}'}],
            "outcome.returns(record.returned)",
        ),
        ("book", APP, [], "continues_past(4)"),
        ("mug", FIXED, [], "continues_past(4)"),
    ],
)
def test_a_path_without_a_failure_gives_a_test_that_passes(
    write: Write, sku: str, app: str, ends: list[Any], assertion: str
) -> None:
    made = write(order_record({**ORDER, "sku": sku}, error=None, ends=ends), app=app)
    assert made.is_as_recorded
    assert assertion in made.paths[1].read_text()
    call(made.paths[1])


@pytest.mark.parametrize(("mask", "kind"), [(None, "returns"), ("sku", "ends")])
def test_a_test_of_a_returned_value_fails_with_a_step_more_or_another_value(
    mask: str | None, kind: str, write: Write
) -> None:
    """A masked record proves that the code ended, and not with which value."""
    ends = [{"type": "Command: Output", "value": "null"}]
    made = write(order_record({**ORDER, "sku": "none"}, error=None, ends=ends), app=QUIET, mask=mask)
    assert ("record.returned" in made.paths[1].read_text()) == (kind == "returns")
    call(made.paths[1])
    for wrong, is_wrong in ((FIXED, True), (QUIET.replace("quiet", "loud"), kind == "returns")):
        test = made.paths[1].with_name(f"{made.paths[1].stem}.py")
        test.write_text(test.read_text().replace(QUIET, wrong))
        with pytest.raises(AssertionError) if is_wrong else contextlib.nullcontext():
            call(test)
        test.write_text(test.read_text().replace(wrong, QUIET))


def test_the_card_the_test_and_the_guide_name_all_that_can_use_the_network(write: Write) -> None:
    made = write()
    for limit in ("grpcio", "librdkafka", "libpq", "ctypes", "threads that ran before", "with _thread", "debugpy"):
        assert limit in NOT_REFUSED
    assert f"note: a run of the test does not refuse the network to {NOT_REFUSED}" in made.notes
    guide = Path(rl.__file__).with_name("guide") / "before-a-deployment.md"  # the sample of a test, and the text
    texts = {made._repr_html_(): 1, made.paths[1].read_text(): 1, guide.read_text("utf-8"): 2}
    for text, times in texts.items():
        assert " ".join(text.replace("    # ", "").split()).count(NOT_REFUSED) == times


def test_code_that_does_not_fail_as_in_production_is_reported(write: Write) -> None:
    made = write(app=FIXED)
    assert made.outcome == "continues with Run 'ship'; it does not fail as in production, with KeyError('price')"
    assert made.is_as_recorded is False


def test_a_standalone_test_needs_no_restate_lab(write: Write) -> None:
    made = write(standalone=True)
    assert {each.parent.name for each in made.paths[2:]} == {"restate_lab_testing", "testing", "protocol"}
    failed = run_pytest(made.paths[1], "restate_lab")
    assert 'return quote["price"]' in failed.stdout
    assert "KeyError: 'price'" in failed.stdout
    assert "1 failed" in failed.stdout


def test_the_copied_code_is_shared_by_tests_and_not_replaced_if_it_was_changed(write: Write) -> None:
    made = write(standalone=True)
    other = order_record()
    write(replaced_id(other), standalone=True)
    made.paths[2].write_text("# mine")
    with pytest.raises(ArgumentError, match=r"restate_lab_testing/__init__\.py already exists"):
        write(replaced_id(other, "x"), standalone=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"app": "support.order_services:nothing"}, "has no Restate app 'nothing'"),
        ({"app": "support.no_such_module:app"}, "there is no module"),
        ({"app": object()}, "app must be a text; got an object"),
        ({"mask": "$["}, "is not a JSON path"),
    ],
)
def test_invalid_arguments_are_errors_and_nothing_is_written(
    write: Write, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message.replace("$", r"\$")):
        write(**options)
    assert list((tmp_path / "tests").iterdir()) == []


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    file = order_record().save(tmp_path / "record.json")
    with pytest.raises(ArgumentError, match="nowhere does not exist; create it"):
        rl.to_test(SampleRows(), file, tmp_path / "nowhere", app=APP)
