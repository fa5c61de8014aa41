"""The file of a record: it can be reviewed, it is the same after it was read, and a damaged one is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from restate_lab.testing import Record, UnusableRecord
from restate_lab.testing.journal import Failure, journal_of
from support.local_app import PLACED, app, record, value

SECRET = "Bearer swordfish"
HEADERS = {**value("{}"), "headers": [["authorization", SECRET], ["x-tenant", "acme"]]}
ERROR = Failure("KeyError", "KeyError('price')", 500, 3, file="/app/shop.py", line=41, function="place")
WHOLE = record("place", *PLACED, error=ERROR, status="paused", sdk="restate-sdk-python/1.3.0")
HOSTILE = '"\\\n\t</script>\'\'\'"""{{}}%s\u2028\u202e\x00\x1b[31m\U000e0041é☕'


def members(**changes: Any) -> str:
    content = {**json.loads(WHOLE.journal.to_json()), **changes}
    return json.dumps({name: each for name, each in content.items() if each is not ...})


def test_a_record_is_the_same_after_it_was_a_file(tmp_path: Path) -> None:
    path = WHOLE.save(tmp_path / "place.json")
    again = Record.load(path)
    assert again == WHOLE
    assert again.journal.messages == WHOLE.journal.messages
    assert again.run(app).next == "Run 'ship'"
    assert Record.load(__file__, str(path)) == WHOLE
    assert Record.load(tmp_path / "test_x.py", "place.json") == WHOLE


def test_a_file_has_one_line_for_each_entry() -> None:
    """A review shows which entry changed, and each value is text."""
    text = WHOLE.journal.to_json()
    lines = text.splitlines()
    at = lines.index('"entries": [')
    assert [json.loads(line.removesuffix(",")) for line in lines[at + 1 : -2]] == list(PLACED)
    assert lines[at + 2] == '{"type": "Command: Run", "result_completion_id": 1, "name": "price"},'
    assert '"seed": "7",' in lines
    assert text.endswith("\n]\n}\n")
    assert json.loads(text)["format"] == 1


def test_headers_of_the_input_are_not_in_the_file() -> None:
    """They can be secrets. Those of calls are compared, so they stay."""
    call = {**PLACED[4], "headers": [["x-tenant", "acme"]]}
    text = record("place", HEADERS, *PLACED[1:4], call).journal.to_json()
    assert SECRET not in text
    assert "authorization" not in text
    assert '"headers": [["x-tenant", "acme"]]' in text


def test_hostile_text_is_visible_and_the_same_again() -> None:
    """Each character that cannot be seen is escaped, so that a review shows it."""
    hostile = replace(
        record("place", value(HOSTILE), {**PLACED[1], "name": HOSTILE}).journal,
        key=HOSTILE,
        status=HOSTILE,
        error=Failure(HOSTILE, HOSTILE),
    )
    text = hostile.to_json()
    assert all(line.isprintable() for line in text.splitlines())
    assert "\u2028" not in text
    assert "é☕" in text
    assert journal_of(text, name="x") == hostile


def test_bytes_that_are_not_text_are_the_same_again() -> None:
    binary = record("place", {"type": "Command: Input", "value": {"base64": "AP8="}}).journal
    assert journal_of(binary.to_json(), name="x").messages == binary.messages
    assert binary.messages[0][1].endswith(b"\x00\xff")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "x is not a record: it is not JSON"),
        ("[" * 100_000, "x is not a record: it is not JSON"),
        ("[]", "x is not a record: it has no format"),
        ("{}", "x is not a record: it has no format"),
        (members(format=2), "x has the format 2; this version reads format 1. Update restate-lab."),
        (members(service=...), "x is not a complete record: it has no 'service'"),
        (members(service=3), "service is not a text"),
        (members(id_bytes="?"), "x is not a complete record"),
        (members(id_bytes="AAAA"), "id_bytes has 3 bytes instead of 24"),
        (members(protocol=4), "protocol is 4; it is 5 to 7"),
        (members(seed="x"), "x is not a complete record"),
        (members(entries=3), "x is not a complete record"),
        (members(entries=[3]), "x is not a complete record"),
        (members(entries=[{}]), "an entry of an unknown form: the type 'None'"),
        (members(entries=[{"type": "Command: Run", "nam": "a"}]), "unknown field 'nam'"),
        (members(error={"typ": 1}), "x is not a complete record"),
        (members(error=3), "x is not a complete record"),
    ],
)
def test_a_file_that_is_no_record_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UnusableRecord, match=problem):
        journal_of(text, name="x")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.json").write_bytes(b"\xff")
    for name in ("none.json", "binary.json", "."):
        with pytest.raises(UnusableRecord, match="cannot be read as a record"):
            Record.load(tmp_path / name)


def test_a_record_names_no_code() -> None:
    """A record is data: none of its members is imported or evaluated."""
    assert set(json.loads(WHOLE.journal.to_json())) == {
        *("format", "service", "handler", "key", "id", "id_bytes", "protocol", "seed", "scope", "limit_key"),
        *("idempotency_key", "created_at", "sdk", "status", "error", "masked", "entries"),
    }
    assert repr(WHOLE) == f"<Record Orders/place {WHOLE.journal.id}, 6 entries>"
