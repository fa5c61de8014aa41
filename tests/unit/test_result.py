"""The text of a result: it fits on a screen of 40 lines of 100 characters, also with hostile and very many values."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest

import restate_lab as rl
from restate_lab.analysis.doctor.diagnosis import CheckGap, Diagnosis, build_diagnosis
from restate_lab.analysis.doctor.model import Finding, Severity
from restate_lab.analysis.suggestions import ask_call
from restate_lab.document.text import ROWS, count_rows
from restate_lab.export.json_text import json_text
from restate_lab.result import Result
from support.sample_rows import NOW, SampleRows, invocation, sample_id

HOSTILE = "<script>x</script>\u202e\x1b[2J" + "name " * 2_000 + "\n" * 60


def diagnosis(count: int, title: str) -> Diagnosis:
    call = ask_call("overview")
    findings = [
        Finding(
            severity=Severity.CRITICAL if number < 3 else Severity.NOTE,
            title=f"{number} {title}",
            details=f"{title} again",
            where=title,
            count=1,
            ids=(sample_id(number),),
            evidence=call,
            suggested=(call,),
        )
        for number in range(count)
    ]
    gaps = [CheckGap(f"check {number}", title, "x", applies=True) for number in range(count)]
    options: dict[str, Any] = {"source": title, "version": "1.7.12", "at": NOW, "seconds": 1.0, "skipped": 0}
    return build_diagnosis(findings=findings, checked=[], gaps=gaps, **options)


@pytest.mark.parametrize("title", ["invocations of Payments/charge retry", HOSTILE], ids=["plain", "hostile"])
@pytest.mark.parametrize("count", [0, 1, 25, 60])
def test_a_diagnosis_has_the_titles_that_fit_and_calls_for_the_worst(count: int, title: str) -> None:
    found = diagnosis(count, title)
    for text in (str(found), repr(found)):
        assert count_rows(text) <= ROWS
        assert "\x1b" not in text
    if count == 25:
        assert str(found).count("NOTE ") == 22
        assert 'next: rl.ask(lab, "overview")' in str(found)
    if count == 60:
        assert " more" in str(found)
        assert "the frames of the result have everything." in str(found)


def test_results_about_hostile_rows_fit_on_a_screen() -> None:
    names = {"target": HOSTILE, "target_service_name": HOSTILE, "target_handler_name": HOSTILE}
    numbers = range(1, 120)
    source = SampleRows(
        name=f"prod {HOSTILE}",
        sys_invocation_status=[invocation(number, "invoked", **names) for number in numbers],
        sys_invocation_state=[
            {"id": sample_id(number), "in_flight": False, "retry_count": 9, "last_failure": HOSTILE}
            for number in numbers
        ],
        state=[
            {"service_name": HOSTILE, "service_key": str(number), "key": HOSTILE, "value": b"x", "value_length": 1}
            for number in numbers
        ],
    )
    before = SampleRows(name="before", now=NOW - timedelta(hours=1))
    results = (rl.doctor(source), rl.waits(source), rl.why(source, sample_id(1)), rl.compare(before, source))
    for result in results:
        for text in (str(result), repr(result)):
            assert count_rows(text) <= ROWS, type(result)
    for frame in (rl.ask(source, "overview"), rl.doctor(source).findings, rl.questions(), rl.doctor(source).checked):
        assert len(repr(frame).splitlines()) <= ROWS
        assert str(frame) == repr(frame)


def test_each_result_has_the_fields_of_its_json() -> None:
    public = [getattr(rl, name) for name in rl.__all__]
    kinds = [kind for kind in public if isinstance(kind, type) and issubclass(kind, Result)]
    assert len(kinds) >= 14
    for kind in kinds:
        names = {name.partition(".")[0] for name in kind._json}
        assert names <= {*dir(kind), *(each.name for each in fields(kind))}, kind
    data = diagnosis(3, "retry").to_json()
    assert list(data) == [
        *("verdict", "worst", "source", "version", "read_at", "seconds", "findings", "not_read", "checked"),
    ]
    assert json.loads(json_text(data))["findings"][2]["title"] == "2 retry"
