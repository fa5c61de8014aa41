"""Rules for every plot: its arguments, its result, and its legibility."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from datetime import UTC, timedelta, timezone
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

import restate_lab as rl
from restate_lab import plots
from restate_lab.analysis.questions.catalog import names as question_names
from restate_lab.errors import ArgumentError
from restate_lab.plots.colours import status_style
from restate_lab.plots.inputs import RequiredColumns
from restate_lab.status import STATUSES
from support.pictures import ATTRS, HOSTILE, PLOTS, all_text, contrast, draw, every_plot, is_visible, journal, texts

NAMES = ("Cart", "Orders", "agent")
CALLS = {
    "status": 'rl.ask(lab, "overview")',
    "throughput": 'rl.ask(lab, "throughput")',
    "latency": 'rl.ask(lab, "latency")',
    "latency parts": 'rl.ask(lab, "latency_parts")',
    "distribution": "docstring",
    "retries": 'rl.ask(lab, "retry_storm")',
    "backlog": 'rl.ask(lab, "backlog_by_key")',
    "state sizes": 'rl.ask(lab, "state_sizes")',
    "waits": "rl.waits(lab)",
    "agent run": "rl.conversation(lab, id)",
    "spend": "rl.agent_runs(lab)",
    "failure calendar": 'rl.ask(lab, "throughput_by_day")',
    "percentiles": 'rl.ask(lab, "latency_by_day")',
    "before and after": "rl.before_after(lab, deployment)",
}
QUESTION = re.compile(r'rl\.ask\(lab, "(\w+)"\)')


def at_night(value: str) -> Any:
    return pytest.param(value, marks=pytest.mark.long)


def test_each_kind_of_plot_is_a_public_function_with_a_sample() -> None:
    assert plots.__all__ == sorted(plots.__all__)
    functions = {name for name in vars(plots) if name.startswith("plot_")}
    assert {*plots.__all__} == {"plot", *functions} == {"plot", *(f"plot_{kind}" for kind in plots.KINDS)}
    assert {plot for plot, _ in PLOTS.values()} == set(plots.KINDS.values())


@every_plot
def test_a_result_is_drawn_by_its_type_or_question_and_any_frame_by_kind(name: str) -> None:
    function, made = PLOTS[name]
    result = made(NAMES)
    kind = function.__name__.removeprefix("plot_")
    expected = texts(function(result, tz="Asia/Tokyo"))
    assert texts(rl.plot(result, kind=kind, tz="Asia/Tokyo")) == expected
    if question := QUESTION.fullmatch(CALLS[name]):
        result.attrs["question"] = question[1]
    ax = Figure(figsize=(9, 4), layout="constrained").subplots()
    assert rl.plot(result, ax=ax) is ax
    assert texts(rl.plot(result, tz="Asia/Tokyo")) == expected


def test_every_question_with_a_plot_exists() -> None:
    assert set(plots.OF_QUESTIONS) == {match[1] for call in CALLS.values() if (match := QUESTION.fullmatch(call))}
    assert set(plots.OF_QUESTIONS) <= set(question_names())


def test_the_error_for_a_result_without_a_plot_names_what_can_be_drawn() -> None:
    with pytest.raises(ArgumentError, match=r"plot\(\) cannot draw 'list'; pass the result of waits"):
        rl.plot([1])
    paused = pd.DataFrame({"ms": [1.0]})
    paused.attrs["question"] = "paused"
    with pytest.raises(ArgumentError, match="The frame of 'paused' has no plot of its own; pass kind=, one of agent_r"):
        rl.plot(paused)
    with pytest.raises(ArgumentError, match="This frame has no plot of its own"):
        rl.plot(pd.DataFrame({"n": [1]}))
    with pytest.raises(ArgumentError, match=r"does not draw a journal, because its card has the bars: show the frame"):
        rl.plot(journal(["a"]))
    with pytest.raises(ArgumentError, match=r"unknown kind 'back_log'. Did you mean 'backlog'"):
        rl.plot(paused, kind="back_log")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="plot_status needs the columns"):
        rl.plot(paused, kind="status")
    with pytest.raises(ArgumentError, match="plot_waits needs the result of"):
        rl.plot(paused, kind="waits")


@every_plot
def test_without_axes_pyplot_makes_one_opaque_figure(name: str) -> None:
    plot, made = PLOTS[name]
    ax = draw(plot(made(NAMES)))
    assert [plt.figure(number) for number in plt.get_fignums()] == [ax.figure]
    assert ax.figure.get_facecolor()[3] == 1


@every_plot
def test_a_plot_on_axes_returns_them_and_pyplot_makes_nothing(name: str) -> None:
    plot, made = PLOTS[name]
    ax = Figure(figsize=(4, 3), layout="constrained").add_subplot(1, 2, 2)
    assert draw(plot(made(NAMES), ax=ax)) is ax
    assert plt.get_fignums() == []


def test_pyplot_is_not_imported_if_every_plot_gets_axes() -> None:
    program = """
import sys
sys.path[:0] = sys.argv[1:]
import restate_lab
assert "matplotlib" not in sys.modules
from matplotlib.figure import Figure
from support.pictures import PLOTS
for plot, made in PLOTS.values():
    plot(made(("Cart", "Orders")), ax=Figure().subplots())
assert "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *sys.path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@every_plot
def test_a_plot_changes_neither_the_frame_nor_its_attrs(name: str) -> None:
    plot, made = PLOTS[name]
    frame = made(NAMES)
    if isinstance(frame, pd.DataFrame):
        before, attrs = frame.copy(deep=True), dict(frame.attrs)
        plot(frame)
        pd.testing.assert_frame_equal(frame, before)
        assert frame.attrs == attrs


@every_plot
def test_a_filtered_or_sorted_frame_is_drawn_like_any_other(name: str) -> None:
    plot, made = PLOTS[name]
    frame = made(NAMES)
    if isinstance(frame, pd.DataFrame):
        other = frame.iloc[::-1].set_index(pd.Index(["a"] * len(frame)))
        assert sorted(texts(plot(other))) == sorted(texts(plot(frame)))


@every_plot
@pytest.mark.parametrize("given", [pd.DataFrame({"a": [1]}), "lab", None], ids=["another frame", "text", "nothing"])
def test_an_unreadable_argument_is_an_error_with_the_call_for_the_frame(name: str, given: Any) -> None:
    plot, _ = PLOTS[name]
    told = 'rl.ask(lab, "latency")' if name == "latency parts" else CALLS[name]
    with pytest.raises(ArgumentError, match=re.escape(told)):
        plot(given)


def test_the_error_for_a_wrong_frame_names_its_question_and_the_missing_columns() -> None:
    frame = pd.DataFrame({"target_service_name": ["Cart"]})
    frame.attrs["question"] = "paused"
    with pytest.raises(
        ArgumentError, match=r"\(the result of 'paused'\): target_handler_name, status, invocations\. Use"
    ):
        plots.plot_status(frame)


def test_text_in_place_of_numbers_is_an_error_with_the_name_of_the_column() -> None:
    frame = PLOTS["status"][1](NAMES).assign(invocations="many")
    with pytest.raises(ArgumentError, match="'invocations' must contain only numbers"):
        plots.plot_status(frame)


@every_plot
def test_invalid_axes_or_an_invalid_zone_is_an_error_without_a_figure(name: str) -> None:
    plot, made = PLOTS[name]
    for wrong in ({"ax": plt}, {"ax": [1, 2]}, {"tz": "Europe/Nowhere"}, {"tz": 7}, {"tz": ""}):
        with pytest.raises(ArgumentError):
            plot(made(NAMES), **wrong)
    assert plt.get_fignums() == []


@every_plot
def test_an_empty_frame_is_drawn_as_a_text(name: str) -> None:
    plot, made = PLOTS[name]
    given = made(NAMES)
    ax = draw(plot(given.iloc[:0] if isinstance(given, pd.DataFrame) else made(NAMES[:1])))
    assert not ax.axison
    assert [text for text in texts(ax) if re.match(r"(No|There is no) .+\.$", text)]


@every_plot
def test_source_version_and_time_are_below_the_title(name: str) -> None:
    plot, made = PLOTS[name]
    zone = timezone(timedelta(hours=2), "UTC+02:00")
    words = all_text(plot(made(NAMES), tz=zone))
    assert "prod $1$" in words
    assert "restate 1.7.12" in words
    assert re.search(r"2026-11-25 05:\d\d:\d\d UTC\+02:00", words)
    assert "UTC" in all_text(plot(made(NAMES), tz=UTC))


@every_plot
def test_an_incomplete_frame_has_a_note_in_its_picture(name: str) -> None:
    plot, made = PLOTS[name]
    given = made(NAMES)
    if isinstance(given, pd.DataFrame):
        given.attrs["truncated"] = {"limit": 1000, "message": "…"}
        assert "only the first 1,000 rows" in all_text(plot(given))


@every_plot
def test_hostile_text_is_visible_short_and_no_mathematics(name: str) -> None:
    plot, made = PLOTS[name]
    words = ""
    for names in (HOSTILE[:6], HOSTILE[6:]):  # six are all shown
        ax = draw(plot(made(names)))
        assert all(is_visible(text) and len(text) < 400 for text in texts(ax))
        with_dollar = [text for text in ax.findobj(Text) if "$" in text.get_text()]
        assert with_dollar
        assert not [text.get_text() for text in with_dollar if text.get_parse_math() or text.get_usetex()]
        words += all_text(ax)
    for shown in ("pay$ment$", "<script>", "line", "‹U+202E›evil", "nul", "xx…xx"):
        assert shown in words or name in {"throughput", "failure calendar"}, shown  # which have no names
    assert "line\nbreak" not in words


@every_plot
@pytest.mark.parametrize("ground", ["default", "dark_background", *map(at_night, ("transparent", "Solarize_Light2"))])
def test_text_has_a_contrast_of_4_5_on_every_background(name: str, ground: str) -> None:
    plot, made = PLOTS[name]
    style: Any = {"figure.facecolor": "none", "axes.facecolor": "none"} if ground == "transparent" else ground
    with plt.style.context(style):
        ax = plot(made(NAMES))
    around = ax.figure.get_facecolor()
    for text in ax.findobj(Text):
        box = text.get_bbox_patch()
        behind = box.get_facecolor() if box and text.get_text().replace(",", "").isdigit() else around
        if text.get_text() and text.get_visible():
            assert contrast(text.get_color(), behind) >= 4.5, text.get_text()


def test_two_statuses_with_one_hatch_differ_in_gray() -> None:
    looks = {word: status_style(word) for word in STATUSES} | {"of tomorrow": status_style("of tomorrow")}
    assert {word: each.colour for word, each in looks.items() if word in STATUSES} == {
        word: status.colour for word, status in STATUSES.items()
    }
    for one, first in looks.items():
        for other, second in looks.items():
            alike = one < other and first.hatch == second.hatch
            assert not alike or contrast(first.colour, second.colour) > 1.5, (one, other)


@pytest.mark.parametrize("name", plots.__all__)
def test_a_docstring_names_the_call_and_every_column_that_the_plot_reads(name: str) -> None:
    plot = getattr(plots, name)
    doc = inspect.getdoc(plot) or ""
    needs = [each for each in vars(sys.modules[plot.__module__]).values() if isinstance(each, RequiredColumns)]
    columns = {column for each in needs if each.plot == name for column in each.columns}
    assert columns <= set(re.findall(r"\w+", doc))
    assert all(call in doc for key, call in CALLS.items() if PLOTS[key][0] is plot and call != "docstring")


def test_axes_of_a_subfigure_take_the_colour_of_the_figure_behind_it() -> None:
    figure = Figure(facecolor="black")
    ax: Axes = figure.subfigures(1, 2)[0].subplots()
    plots.plot_backlog(PLOTS["backlog"][1](NAMES), ax=ax)
    assert contrast(ax.get_yticklabels()[0].get_color(), "black") > 10


def test_a_frame_with_lost_or_foreign_attrs_is_drawn_without_their_text() -> None:
    for plot, made in PLOTS.values():
        given = made(NAMES)
        if isinstance(given, pd.DataFrame):
            for attrs in ({}, {"params": None, "truncated": True, "read_at": "yesterday", "source": None}):
                given.attrs = attrs
                assert ATTRS["source"] not in all_text(plot(given))
            plt.close("all")


def test_every_plot_has_room_beside_the_others_on_one_figure() -> None:
    figure = Figure(figsize=(15, 17), layout="constrained")
    names = ("Cart", "a_service_with_a_long_name/and/a/longer/key", "agent")
    for (plot, made), ax in zip(PLOTS.values(), figure.subplots(5, 3).flat, strict=False):
        plot(made(names), ax=ax)
    draw(figure.axes[0])
    assert min(ax.get_window_extent().width for ax in figure.axes) > 150
