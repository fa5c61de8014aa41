"""The rows of a journal as they are drawn: the state of each entry, the place of its bar, and its text in the card."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import pairwise
from random import Random
from typing import Any

import pandas as pd
import pytest

from restate_lab.analysis.journal.bars import JournalBars, journal_bars
from restate_lab.analysis.journal.drawing import (
    FUTURE,
    SCALES,
    journal_document,
    journal_html,
    payload_blocks,
    time_scale,
)
from restate_lab.document.html import blocks_html, html_of
from restate_lab.document.text import text_of
from restate_lab.errors import ArgumentError
from restate_lab.status import OUTCOMES
from support.pictures import NOW, contrast, journal

START = (NOW - pd.Timedelta("1h")).to_pydatetime()
READ = START + timedelta(seconds=100)
ID = "inv_a"


def attempts(status: str = "backing-off", **more: Any) -> dict[str, Any]:
    plain = {"target": "Cart/do", "status": status, "failed_attempts": 7, "last_failure": "[500 Internal] boom"}
    times = {"last_start_at": None, "next_retry_at": (READ + timedelta(seconds=8)).isoformat()}
    return plain | times | {"command_index": None, "errors": [[2, [(START + timedelta(seconds=3)).isoformat()]]]} | more


def failing_journal(status: str = "backing-off", **more: Any) -> pd.DataFrame:
    """Return two entries that are done and an open one with failing attempts."""
    frame = journal(list("abc"), retries=pd.array([0, 0, 1], dtype="Int64"), last_error=[None, None, "boom <b>"])
    frame.attrs |= {"read_at": READ.isoformat(), "status": status, "invocations": {ID: attempts(status, **more)}}
    return frame


def outcomes(bars: JournalBars) -> list[str]:
    return [row.outcome for row in bars.rows]


@pytest.mark.parametrize("status", ["backing-off", "running", "paused"])
def test_an_open_entry_fails_while_attempts_fail_and_waits_while_the_invocation_waits(status: str) -> None:
    (*_, row) = journal_bars(failing_journal(status)).rows
    assert (row.outcome, row.error, row.attempts_text) == ("retrying", "boom <b>", "7 failed attempts")
    assert row.attempts == (START + timedelta(seconds=3),)
    assert row.next_attempt == READ + timedelta(seconds=8)
    assert row.end is None
    waiting = failing_journal("suspended", failed_attempts=None, last_failure=None)
    assert outcomes(journal_bars(waiting)) == ["done", "done", "waiting"]


def test_a_failure_has_a_row_of_its_own_if_no_open_entry_causes_it() -> None:
    done = failing_journal().assign(status="done", open=False)
    (*_, row) = journal_bars(done).rows
    assert (row.entry_type, row.label, row.outcome) == ("Handler", "code after entry 2", "retrying")
    assert (row.value, row.failed_attempts) == ("boom", 7)
    other = failing_journal(command_index=0).assign(command_index=pd.array([0, 1, 2], dtype="Int64"))
    assert outcomes(journal_bars(other)) == ["done", "done", "waiting", "retrying"]


def test_outcomes_of_entries_that_have_ended() -> None:
    frame = journal(list("abcd"), status=["failed", "abandoned", None, "done"], open=False, entry_type="Call")
    bars = journal_bars(frame.assign(failure=["no", None, None, None], callee=[None, None, None, "inv_b"]))
    assert outcomes(bars) == ["failed", "pending", "pending", "done"]
    assert bars.rows[0].error == "no"
    assert [row.can_expand for row in bars.rows] == [False, False, False, True]


@pytest.mark.parametrize("kind", SCALES)
def test_positions_grow_up_to_now_and_future_times_are_right_of_it(kind: str) -> None:
    bars = journal_bars(failing_journal())
    scale = time_scale(bars, kind)  # type: ignore[arg-type]
    places = [scale.position(START + timedelta(milliseconds=ms)) for ms in (0, 1, 900, 1_000, 1_900, 2_000, 100_000)]
    assert places == sorted(set(places))
    assert (places[0], places[-1]) == (0.0, pytest.approx(1 - FUTURE))
    assert 1 - FUTURE < scale.position(READ + timedelta(seconds=8)) < 1
    ticks = scale.ticks()
    assert (ticks[0].label, ticks[-1].label) == ("02:40:00", "now")
    letters = 160 / 6.6  # of the narrowest axis
    labels_fit = [letters * (after.position - tick.position) >= len(tick.label) for tick, after in pairwise(ticks)]
    assert all(labels_fit)


def test_log_and_fit_give_the_first_second_more_room_than_linear() -> None:
    bars = journal_bars(failing_journal())
    linear, log, fit = (time_scale(bars, kind).position(START + timedelta(seconds=1)) for kind in SCALES)
    assert linear == pytest.approx(0.0092)
    assert min(log, fit) > 0.3
    with pytest.raises(ArgumentError, match="unknown scale 'sqrt'; choose from linear, log, fit"):
        time_scale(bars, "sqrt")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", SCALES)
def test_positions_are_between_0_and_1_without_entries_or_times(kind: str) -> None:
    for frame in (journal([]), journal(["a"]).assign(completed=START, status="done", open=False)):
        frame.attrs |= {"read_at": START.isoformat(), "status": "succeeded"}
        scale = time_scale(journal_bars(frame), kind)  # type: ignore[arg-type]
        assert 0 <= scale.position(START) <= 1
        assert scale.ticks()


def test_a_long_journal_keeps_the_first_the_latest_and_the_entries_that_did_not_succeed() -> None:
    frame = journal([f"step {number}" for number in range(10_000)])
    frame.loc[5_000, "status"] = "failed"
    bars = journal_bars(frame, 100)
    assert (len(bars.rows), bars.hidden) == (100, 9_900)
    labels = [row.label for row in bars.rows]
    assert labels[:20] == [f"step {number}" for number in range(20)]
    assert "step 5000" in labels
    assert labels[-1] == "step 9999"
    assert "9,900 more not shown" in html_of(journal_document(frame, rows=100))
    assert "… and 9,990 more" in text_of(journal_document(frame, rows=10))


@pytest.mark.parametrize("seed", range(30))
def test_the_rows_of_a_limit_are_those_of_the_whole_journal(seed: int) -> None:
    """Callees, signals, calls, and handlers that fail between entries: only the work is less."""
    chance = Random(seed)  # noqa: S311 - for a test
    ids = sorted(chance.choices([ID, "inv_b", "inv_c"], k=chance.randrange(90)))
    count = len(ids)
    frame = journal(
        [f"step {number}" for number in range(count)],
        invocation_id=ids,
        depth=[1 if id_ == ID else 2 for id_ in ids],
        index=pd.array(chance.choices([None, *range(500)], [100, *[1] * 500], k=count), dtype="Int64"),
        status=chance.choices(["done", "failed", "open", "abandoned", None], [20, 1, 2, 1, 1], k=count),
        entry_type=chance.choices(["Run", "Call", "Signal"], k=count),
        callee=chance.choices([None, "inv_b", "inv_d"], k=count),
        command_index=pd.array(range(count), dtype="Int64"),
        retries=pd.array(chance.choices([0, 2], [9, 1], k=count), dtype="Int64"),
    )
    command = chance.choice([None, chance.randrange(100)])
    states = {ID: attempts(command_index=command), "inv_b": attempts(chance.choice(["paused", "suspended"]))}
    frame.attrs |= {"read_at": READ.isoformat(), "status": "backing-off", "invocations": states}
    whole = journal_bars(frame)
    assert whole.counts == Counter(outcomes(whole))
    for most in (1, 5, 21, 40, 60):
        assert journal_bars(frame, most) == whole.limit(most)


def test_the_bar_of_a_failing_entry_reaches_to_now_with_its_error_and_the_next_attempt() -> None:
    html = journal_html(failing_journal())
    (bar,) = [each for each in html.split("<div") if "width:" in each and f"{OUTCOMES['retrying'].colour}," in each]
    assert "margin-left:min(1.840%" in bar
    assert "width:90.160%" in bar
    assert "boom &lt;b&gt;" in html
    assert "boom <b>" not in html
    assert "border:2px solid #e8710a;border-radius:var(--rl-pill,999px)" in html


def test_rows_of_a_callee_are_folded_unless_one_did_not_succeed() -> None:
    frame = journal(
        list("abc"), depth=[1, 2, 2], invocation_id=[ID, "inv_b", "inv_b"], entry_type=["Call", "Run", "Run"]
    )
    frame["status"] = ["done"] * 3
    parents = [row.parent for row in journal_bars(frame).rows]
    assert parents == [None, "inv_a/0", "inv_a/0"]
    done, failed = journal_html(frame), journal_html(frame.assign(status=["done", "done", "failed"]))
    assert ("<details><summary" in done, "<details open><summary" in failed) == (True, True)
    assert "2 entries of a" in done


@pytest.mark.parametrize("ground", ["#ffffff", "#111111"])
def test_colors_of_outcomes_have_the_contrast_of_wcag(ground: str) -> None:
    assert {name: contrast(each.colour, ground) >= 3 for name, each in OUTCOMES.items()} == dict.fromkeys(
        OUTCOMES, True
    )


def test_the_card_of_an_empty_journal_has_the_reason() -> None:
    frame = journal([])
    frame.attrs["note"] = "its journal was purged"
    assert "There is no journal: its journal was purged." in journal_html(frame)


def test_a_bar_with_a_thousand_attempts_is_not_black() -> None:
    times = [(START + timedelta(seconds=3 + number / 12)).isoformat() for number in range(1000)]
    html = journal_html(failing_journal(errors=[[2, times]], failed_attempts=1000))
    assert 40 < html.count("rgb(0 0 0 / 75%)") / 2 < 90
    assert "1,000 failed attempts" in html


def test_payloads_of_the_first_entries_are_shown_with_secrets_masked() -> None:
    html = blocks_html(*payload_blocks(journal(["step"] * 101, payload=[{"token": "hunter2"}] * 101)))
    shown = [html.count(text) for text in ("<details>", "The first 100 of 101 entries", "hunter2")]
    assert shown == [100, 1, 0]
