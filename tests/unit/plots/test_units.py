"""Axes of time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from matplotlib.figure import Figure

from restate_lab.plots.units import format_time_axis

BEGIN = datetime(2026, 11, 25, 9, 41, 23, tzinfo=UTC)
SPANS = [timedelta(seconds=1.3**power) for power in range(70)]  # a second to three years


@pytest.mark.parametrize("few", [False, True], ids=["roomy", "few"])
def test_a_time_axis_of_any_length_has_one_to_ten_marks(few: bool) -> None:
    for span in SPANS:
        ax = Figure().subplots()
        ax.set_xlim(BEGIN, BEGIN + span)
        format_time_axis(ax.xaxis, UTC, few=few)
        low, high = sorted(ax.get_xlim())
        marks = [mark for mark in ax.xaxis.get_majorticklocs() if low <= mark <= high]
        assert 1 <= len(marks) <= 10, span


def test_a_date_on_a_time_axis_has_the_form_26_nov_2026() -> None:
    ax = Figure().subplots()
    ax.set_xlim(BEGIN, BEGIN + timedelta(hours=20))
    format_time_axis(ax.xaxis, UTC)
    formatter = ax.xaxis.get_major_formatter()
    labels = formatter.format_ticks(ax.xaxis.get_majorticklocs())
    assert "26 Nov" in labels
    assert all(re.fullmatch(r"\d\d:\d\d|26 Nov", label) for label in labels)
    assert formatter.get_offset() == "26 Nov 2026"
