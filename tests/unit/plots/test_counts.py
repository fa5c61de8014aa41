"""Bars, points and lines against the numbers of their frames."""

from __future__ import annotations

import matplotlib.colors as mc
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from restate_lab import plots
from restate_lab.errors import ArgumentError
from restate_lab.plots.units import format_size
from restate_lab.status import STATUSES
from support.pictures import (
    HOSTILE,
    all_text,
    backlog,
    bars,
    draw,
    durations,
    latency,
    latency_parts,
    overview,
    retries,
    state_sizes,
    texts,
    throughput,
)

MANY = [f"Service{number}" for number in range(40)]


def rows(ax: object) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]  # type: ignore[attr-defined]


def test_each_service_has_a_bar_of_its_statuses_in_their_order_and_colors() -> None:
    frame = overview(["Cart", "Orders"], [*reversed(STATUSES), "of tomorrow"])
    ax = draw(plots.plot_status(frame))
    totals = frame.groupby("target_service_name")["invocations"].sum().sort_values(ascending=False)
    assert rows(ax) == list(totals.index)
    assert [bar.get_label() for bar in ax.containers] == [*STATUSES, "of tomorrow"]
    for status, lengths in bars(ax).items():
        of_status = frame[frame["status"] == status].set_index("target_service_name")["invocations"]
        assert lengths == [of_status[service] for service in totals.index]
    for bar in ax.containers[:-1]:
        assert {mc.to_hex(patch.get_facecolor()) for patch in bar} == {STATUSES[bar.get_label()].colour}
    assert [f"{total:,}" for total in totals if f"{total:,}" not in texts(ax)] == []
    assert f"failed  {frame[frame['status'] == 'failed']['invocations'].sum():,}" in texts(ax)


def test_the_bars_of_a_single_service_are_its_handlers() -> None:
    frame = overview(["a", "b", "c"]).assign(target_handler_name=list("aabbcc"), target_service_name="Cart")
    ax = plots.plot_status(frame)
    assert sorted(rows(ax)) == ["a", "b", "c"]
    assert ax.get_title(loc="left") == "Invocations by handler of Cart"


@pytest.mark.parametrize(
    ("plot", "made", "column"),
    [
        (plots.plot_status, overview, "invocations"),
        (plots.plot_backlog, backlog, "waiting"),
        (plots.plot_retries, retries, "invocations"),
        (plots.plot_state_sizes, state_sizes, "bytes"),
    ],
)
def test_of_40_services_the_30_largest_have_a_bar_and_ten_are_others(plot: object, made: object, column: str) -> None:
    frame = made(MANY)  # type: ignore[operator]
    ax = draw(plot(frame))  # type: ignore[operator]
    assert len(rows(ax)) == 31
    assert rows(ax)[-1] == "others (10)"
    assert sum(sum(lengths) for lengths in bars(ax).values()) == frame[column].sum()


def test_the_bars_of_backlog_retries_and_sizes_are_the_numbers_of_the_frame() -> None:
    names = ["a", "b", "c"]
    waiting = plots.plot_backlog(backlog(names))
    assert bars(waiting) == {"pending": [3, 2, 1]}
    assert rows(waiting) == ["Cart/c", "Cart/b", "Cart/a"]
    assert "3; oldest wait 1m 30s" in texts(waiting)
    tried = plots.plot_retries(retries(names), tz="Asia/Tokyo")
    assert bars(tried) == {"backing-off": [3, 2, 1]}
    assert rows(tried)[0] == "c/do\nstep “a” [RT0007]"
    assert "3 invocations, 30 attempts, at most 9 for one, next 12:41:05" in texts(tried)
    assert "1 invocation, 10 attempts, next 12:41:05" in texts(tried)
    assert "times in Asia/Tokyo" in all_text(tried)
    state = plots.plot_state_sizes(state_sizes(names))
    assert bars(state) == {"its largest value": [1536, 1024, 512], "all others": [1536, 1024, 512]}
    assert rows(state) == ["Cart/c in b", "Cart/b in a", "Cart/a"]
    assert "3 KiB, 3 values, largest c" in texts(state)


def test_the_note_of_the_longest_bar_has_room_inside_the_axes() -> None:
    ax = Figure(figsize=(8, 4), layout="constrained").add_subplot(1, 2, 1)
    draw(plots.plot_retries(retries(HOSTILE), ax=ax))
    longest = max(patch.get_width() for bar in ax.containers for patch in bar)
    assert ax.get_window_extent().width > 60
    assert ax.get_xlim()[1] > longest * 1.2


def test_successes_are_drawn_up_and_failures_down_summed_over_services() -> None:
    frame = throughput(["a", "b"]).drop(index=[5]).reset_index(drop=True)
    frame = pd.concat([frame, frame.assign(target_service_name="c")])
    frame.attrs = throughput(["a"]).attrs
    ax = draw(plots.plot_throughput(frame, tz="America/New_York"))
    sums = frame.groupby("span_start")[["succeeded", "failed", "cancelled", "killed"]].sum()
    steps = {patch.get_label(): patch.get_data() for patch in ax.patches}
    assert list(steps) == ["succeeded", "failed", "cancelled"]
    assert np.insert(sums["succeeded"].to_numpy(float), 5, 0).tolist() == steps["succeeded"].values.tolist()
    for end in ("failed", "cancelled"):
        heights = steps[end].baseline - steps[end].values
        assert np.insert(sums[end].to_numpy(float), 5, 0).tolist() == heights.tolist()
    marked = next(line for line in ax.lines if line.get_marker() == "v")
    assert len(marked.get_xdata()) == (sums["failed"] > 0).sum()
    assert ax.get_xlabel() == "time (America/New_York)"
    assert ax.get_ylabel() == "invocations per 1m"
    assert "the last span is incomplete" in all_text(ax)
    assert not [label for label in texts(ax) if label.startswith(("-", "−"))]


def test_a_day_by_the_second_is_drawn_in_at_most_120_round_spans_with_a_note() -> None:
    frame = throughput(["a"], count=86_400, bin_seconds=1)
    ax = draw(plots.plot_throughput(frame))
    up = next(patch for patch in ax.patches if patch.get_label() == "succeeded").get_data()
    assert len(up.values) <= 120
    assert up.values.sum() == frame["succeeded"].sum()
    assert ax.get_ylabel() == "invocations per 15m"
    assert "spans of 1s combined" in all_text(ax)


def test_markers_are_at_the_percentiles_of_the_frame_slowest_handler_first() -> None:
    frame = latency(["a", "b"])
    ax = draw(plots.plot_latency(frame))
    points = {line.get_label(): line.get_xdata().tolist() for line in ax.lines if str(line.get_label())[0] == "p"}
    assert points == {"p50": [20, 10], "p90": [400, 200], "p99": [6000, 3000]}
    assert rows(ax) == ["b/do  (n = 2)", "a/do  (n = 1)"]
    assert "20ms · 400ms · 6s" in texts(ax)
    assert {"1ms", "1s"} <= set(texts(ax))


def test_each_handler_of_latency_parts_has_a_queued_and_a_running_line() -> None:
    ax = draw(plots.plot_latency(latency_parts(["a", "b"])))
    lines = {str(line.get_label()): line for line in ax.lines}
    assert lines["queued_p99"].get_xdata().tolist() == [6000, 3000]
    assert lines["running_p99"].get_xdata().tolist() == [12000, 6000]
    assert lines["queued_p90"].get_markerfacecolor() != lines["queued_p90"].get_color()
    assert lines["running_p90"].get_markerfacecolor() == lines["running_p90"].get_color()


def test_only_the_30_slowest_handlers_are_drawn_with_a_note() -> None:
    ax = plots.plot_latency(latency(MANY))
    assert len(rows(ax)) == 30
    assert rows(ax)[0] == "Service39/do  (n = 40)"
    assert "10 faster handlers are not shown" in all_text(ax)


def test_a_duration_of_zero_has_a_place_on_the_logarithmic_axis() -> None:
    frame = latency(["a"]).assign(p50_ms=0.0, p90_ms=0.0, p99_ms=0.0)
    ax = draw(plots.plot_latency(frame))
    assert ax.transData.transform((0, 0))[0] == pytest.approx(ax.get_window_extent().x0)
    assert "0s · 0s · 0s" in texts(ax)


def test_a_line_rises_to_1_and_handlers_after_the_sixth_share_one_line() -> None:
    names = [f"S{number}" for number in range(8)]
    ax = draw(plots.plot_latency_distribution(durations(names)))
    lines = {str(line.get_label()).split("  ")[0]: line for line in ax.lines}
    assert list(lines) == ["S7/do", "S6/do", "S5/do", "S4/do", "S3/do", "S2/do", "others (2)"]
    slowest = lines["S7/do"]
    assert slowest.get_xdata().tolist() == [0, *range(11)]
    assert slowest.get_ydata() == pytest.approx(np.arange(12) / 11)
    assert "S7/do  n = 11, p50 5ms, p99 10ms" in texts(ax)
    assert "others (2)  n = 9, p50 2ms, p99 4ms" in texts(ax)
    assert len({str(line.get_linestyle()) + str(line.get_color()) for line in ax.lines}) == 7


def test_the_line_of_a_million_durations_has_at_most_2001_points() -> None:
    frame = durations(["a"]).loc[[0] * 100_000].reset_index(drop=True).assign(ms=np.arange(100_000.0))
    (line,) = plots.plot_latency_distribution(frame).lines
    assert len(line.get_xdata()) <= 2_001
    assert (line.get_xdata()[-1], line.get_ydata()[-1]) == (99_999, 1)


def test_rows_without_a_duration_are_counted_and_a_negative_one_is_refused() -> None:
    frame = durations(["a", "b"])
    assert "2 rows have no duration" in all_text(plots.plot_latency_distribution(frame.replace({"ms": {0.0: None}})))
    with pytest.raises(ArgumentError, match="cannot be negative"):
        plots.plot_latency_distribution(frame.assign(ms=-1.0))


def test_nulls_in_nullable_and_in_arrow_columns_are_not_drawn() -> None:
    frame = latency(["a", "b"]).assign(p99_ms=pd.array([None, 5000], dtype="Float64"))
    assert "20ms · 400ms · 5s" in texts(draw(plots.plot_latency(frame)))
    assert "10ms · 200ms · –" in texts(plots.plot_latency(frame))
    frame = overview(["a", "b"])
    for dtype in ("uint64", "int64[pyarrow]"):
        assert bars(plots.plot_status(frame.astype({"invocations": dtype}))) == bars(plots.plot_status(frame))


@pytest.mark.parametrize(
    ("count", "words"),
    [
        *((0, "0 B"), (1023, "1,023 B"), (1024, "1 KiB"), (205_807, "201 KiB"), (1024**2 - 1, "1 MiB")),
        *((3 * 2**30, "3 GiB"), (2**60, "1,048,576 TiB")),
    ],
)
def test_sizes_have_binary_units_and_three_digits(count: int, words: str) -> None:
    assert format_size(count) == words
