"""Axes of time."""

from __future__ import annotations

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
