"""The plots of agents: lengths of bars, their notes, and parts that are not drawn."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from restate_lab.analysis.agents.turns import Turn
from restate_lab.errors import ArgumentError
from restate_lab.plots import plot_agent_run, plot_spend
from support.pictures import NOW, agent_run, draw, spend, texts


def bars(ax: object) -> list[tuple[float, float, float]]:
    patches = [each for each in ax.patches if isinstance(each, Rectangle)]  # type: ignore[attr-defined]
    return [(round(each.get_y() + each.get_height() / 2), each.get_x(), each.get_width()) for each in patches]


def test_a_bar_has_its_wasted_tokens_and_a_note_with_runs_cost_and_saved_tokens() -> None:
    ax = plot_spend(spend(["a", "b"]))
    assert sum(width for row, _, width in bars(ax) if row == 0) == 2000
    assert [width for row, _, width in bars(ax) if row == 1] == [900, 100]
    assert {"1 run · $0.0200 · 7 tokens saved", "used  2,800", "wasted  200"} <= {*texts(ax)} | {
        each.get_text() for each in ax.get_legend().get_texts()
    }


def test_runs_are_counted_on_the_day_of_the_zone() -> None:
    runs = spend(["a", "b", "c"]).assign(created_at=[NOW, NOW - pd.Timedelta("30h"), NOW - pd.Timedelta("4h")])
    names = [label.get_text() for label in plot_spend(runs, by="day").get_yticklabels()]
    assert names == ["23 Nov 2026", "24 Nov 2026", "25 Nov 2026"]
    names = [label.get_text() for label in plot_spend(runs, by="day", tz="Asia/Tokyo").get_yticklabels()]
    assert names == ["24 Nov 2026", "25 Nov 2026"]


def test_runs_without_tokens_are_counted_and_so_are_runs_without_a_price() -> None:
    runs = spend(["a", "a", "b"]).assign(
        spent_tokens=pd.array([10, 20, None], dtype="Int64"), models=None, cost=[0.5, None, None]
    )
    shown = texts(plot_spend(runs, by="model"))
    assert any("1 run with unknown tokens" in text for text in shown)
    assert "2 runs · $0.5000 (1 without a price) · 14 tokens saved" in shown
    with pytest.raises(ArgumentError, match="by is 'week'"):
        plot_spend(runs, by="week")  # type: ignore[arg-type]


def test_a_turn_is_a_bar_that_ends_when_the_journal_was_read_if_it_is_open() -> None:
    run = agent_run(["x/run", "first", "second"])
    plain = Turn("inv_a", 1, "tool", "unknown", tool="plain")
    asks = Turn("inv_b", 2, "step", "journal", entry_type="Signal", name="approval", started=run.turns[0].started)
    ax = plot_agent_run(replace(run, turns=(plain, *run.turns, asks)))
    day = timedelta(days=1)
    widths = [width for _, _, width in bars(ax)]
    assert widths[1] == pytest.approx((run.read_at - run.turns[1].started) / day)  # type: ignore[operator]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second", "↳ approval"]
    assert "59m 59s so far · 3 failed attempts" in texts(ax)
    assert [each.get_text() for each in ax.get_legend().get_texts()] == ["tool  1", "person  1", "failing  1"]
    cancelled = plot_agent_run(replace(run, turns=(*run.turns, replace(asks, name="cancel"))))
    assert "person  1" not in {each.get_text() for each in cancelled.get_legend().get_texts()}


def test_a_long_note_is_not_cut() -> None:
    run = agent_run(["x/run", "first", "second"])
    ax = draw(plot_agent_run(replace(run, turns=(replace(run.turns[-1], attempts=123_456),))))
    (note,) = [text for text in ax.texts if "123,456 failed attempts" in text.get_text()]
    assert note.get_window_extent().x1 < ax.figure.bbox.x1


def test_a_tool_with_an_awakeable_and_other_entries_waits_for_a_person() -> None:
    run = agent_run(["x/run", "first"])
    asks = replace(run.turns[0], role="tool", tool="ask_manager", entry_type="OneWayCall, Signal", attempts=0)
    ax = plot_agent_run(replace(run, turns=(asks,)))
    assert [each.get_text() for each in ax.get_legend().get_texts()] == ["person  1"]


def test_texts_arguments_results_and_errors_are_in_no_picture() -> None:
    secrets = {"text": "canary", "arguments": {"a": "canary"}, "result": "canary", "error": "canary"}
    run = agent_run(["x/run", "first"])
    assert "canary" not in " ".join(texts(plot_agent_run(replace(run, turns=(replace(run.turns[0], **secrets),)))))
