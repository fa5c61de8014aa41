"""Each call in a text of the package, such as an error message, is one that Python would accept."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import restate_lab
from restate_lab.calls import without_options
from support.suggested import calls_in, check, texts_of

PACKAGE = Path(restate_lab.__file__).parent
FILES = {str(each.relative_to(PACKAGE)): each for kind in ("py", "j2", "js") for each in PACKAGE.rglob(f"*.{kind}")}
MAY_CALL = re.compile(r"\b(?:rl|lab|plan)\.|SuggestedCall|ask_call")
"""What a file with a call contains. To find the calls takes seconds, so the tests do it and not the collection."""
WITH_CALLS = sorted(name for name, file in FILES.items() if MAY_CALL.search(file.read_text("utf-8")))
UNKNOWN = ("Y", "{")  # a part that the program composes, from which no code can be made


@pytest.mark.parametrize("name", WITH_CALLS)
def test_names_and_arguments_exist(name: str) -> None:
    for code in {code for text in texts_of(FILES[name]) for code in calls_in(text)}:
        try:
            compile(code, name, "eval")
        except SyntaxError:
            assert any(part in code for part in UNKNOWN), code
        else:
            check(code)


@pytest.mark.parametrize(
    "code",
    [
        "lab.admin.list_deployments().frame()",  # a property
        "rl.doctor(lab).finding",
        'rl.ask(lab, "retry_storms")',
        'rl.ask(lab, "retry_storm", servise="Payments")',
        "rl.whi(lab, id)",
        "rl.why(lab, id, depths=2)",
    ],
)
def test_a_call_that_would_fail_is_found(code: str) -> None:
    with pytest.raises((AssertionError, AttributeError)):
        check(code)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("the timeout of 300ms is over; set a longer one with timeout=", "the timeout of 300ms is over"),
        ("It did not finish; pass a longer timeout=, or request less data", "It did not finish"),
        ("A payload is encrypted. Connect with connect(decode=f) to read it.", "A payload is encrypted."),
        ("No service has this name. Did you mean Payments?", "No service has this name. Did you mean Payments?"),
    ],
)
def test_a_surface_without_code_names_no_argument(message: str, shown: str) -> None:
    assert without_options(message) == shown
