"""Plots of weeks and months: the cells, lines, marks and points have the numbers of their frames."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from restate_lab import plots
from restate_lab.errors import ArgumentError
from support.pictures import NOW, all_text, before_after, days, draw, latency_days, texts

NAMES = ("Cart", "Orders")


def cells(ax: Axes) -> dict[tuple[int, int], str]:
    found = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    return {(round(each.get_x() + 0.46), round(each.get_y() + 0.46)): to_hex(each.get_facecolor()) for each in found}


def test_each_day_has_a_cell_with_the_color_of_its_percentage_of_failures() -> None:
    frame = days(NAMES)
    ax = draw(plots.plot_failure_calendar(frame))
    monday = frame["day"].min() - pd.Timedelta(days=frame["day"].min().weekday())
    places = {((day - monday).days // 7, day.weekday()): day for day in frame["day"]}
    found = cells(ax)
    assert found.keys() == places.keys()
    assert len(found) == 20, "one day has no invocation"
    percent = (100 * frame.groupby("day")["failed"].sum() / 2_000).to_dict()
    by_colour: dict[str, list[float]] = {}
    for place, colour in found.items():
        by_colour.setdefault(colour, []).append(percent[places[place]])
    ranges = sorted((min(each), max(each)) for each in by_colour.values())
    assert all(high <= limit for (_, high), limit in zip(ranges, (0.0, 0.1, 1.0, 5.0, 100.0), strict=True))
    assert all(high < low for (_, high), (low, _) in itertools.pairwise(ranges))
    assert {"2", "800", "Mon", "Sun"} <= set(texts(ax))


def test_a_calendar_shows_the_last_60_weeks_and_reports_it() -> None:
    frame = days(NAMES[:1])
    old = frame.assign(day=frame["day"] - pd.Timedelta(weeks=70))
    long = pd.concat([old, frame])
    long.attrs = frame.attrs
    ax = draw(plots.plot_failure_calendar(long))
    assert len(cells(ax)) == len(frame)
    assert "only the last 60 weeks" in all_text(ax)


def test_a_line_has_the_percentiles_of_its_handler_and_a_gap_for_a_missing_day() -> None:
    frame = latency_days(NAMES)
    for name in ("p50", "p90", "p99"):
        lines = draw(plots.plot_percentiles(frame, percentile=name)).lines
        for service, line in zip(NAMES, lines, strict=True):
            values = np.asarray(line.get_ydata(), dtype=float)
            assert len(values) == 21
            assert np.isnan(values[5])
            expected = frame.loc[frame["target_service_name"] == service, f"{name}_ms"]
            assert values[~np.isnan(values)].tolist() == expected.tolist()
        axes = lines[0].axes
        low, high = axes.get_ylim()
        assert len([tick for tick in axes.get_yticks() if low <= tick <= high]) > 1
        assert axes.get_ylabel() == f"duration ({name})"
    with pytest.raises(ArgumentError, match="percentile is 'p42'; choose from p50, p90, p99"):
        plots.plot_percentiles(frame, percentile="p42")  # type: ignore[arg-type]


def test_a_deployment_within_the_time_has_a_line_whose_number_is_in_the_legend() -> None:
    at = [NOW - pd.Timedelta(days=each) for each in (400, 3)]
    deployments = pd.DataFrame({"id": ["dp_of_last_year", "dp_new"], "created_at": at})
    ax = draw(plots.plot_percentiles(latency_days(NAMES), deployments=deployments))
    assert {"1", "1: dp_new registered 22 Nov 2026"} <= set(texts(ax))
    assert "dp_of_last_year" not in all_text(ax)
    assert {text.get_rotation() for text in ax.texts} == {0}, "no text stands on end"
    with pytest.raises(ArgumentError, match="sys_deployment"):
        plots.plot_percentiles(latency_days(NAMES), deployments=pd.DataFrame({"id": ["dp_1"]}))


def test_each_comparison_has_its_ratio_and_interval_and_changes_are_first() -> None:
    result = before_after(("Cart", "Orders", "agent"))
    rows = result.comparisons[result.comparisons["p"].notna()]
    ax = draw(plots.plot_before_after(result))
    intervals = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_zorder() == 2]
    points = [line for line in ax.lines if len(line.get_xdata()) == 1]
    assert len(points) == len(intervals) == len(rows)
    for row, point, interval in zip(rows.to_dict("records"), points, intervals, strict=True):
        before: Any = row["before"] if row["unit"] == "%" else 1
        offset = before if row["unit"] == "%" else 0
        ratios = [(offset + row[name]) / before for name in ("low", "change", "high")]
        assert point.get_xdata()[0] == pytest.approx(np.clip(ratios[1], 0.05, 20))
        assert list(interval.get_xdata()) == pytest.approx([np.clip(each, 0.05, 20) for each in (ratios[0], ratios[2])])
        assert (point.get_marker() == "D") is (row["verdict"] == "changed")
    assert result.summary in all_text(ax)


def test_a_failure_that_is_new_is_drawn_at_the_right_edge() -> None:
    result = before_after(("Cart", "Orders"))
    is_failure = result.comparisons["measure"] == "failures"
    result.comparisons.loc[is_failure, ["before", "low", "change", "high"]] = [0.0, 4.0, 8.0, 12.0]
    ax = draw(plots.plot_before_after(result))
    place = next(iter(result.comparisons.index[is_failure]))
    (point,) = [line for line in ax.lines if len(line.get_xdata()) == 1 and line.get_ydata()[0] == place]
    assert point.get_xdata()[0] == 20
