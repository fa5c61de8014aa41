"""The picture of a watch: the kind that is drawn, its numbers, and the text if there is nothing to draw."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex

from restate_lab.errors import ArgumentError
from restate_lab.plots import plot_watch
from restate_lab.status import STATUSES
from support.pictures import all_text, draw, watch_frame

KINDS = ("status", "retries", "backlog", "deployment")


def all_kinds(*names: str) -> pd.DataFrame:
    made = pd.concat([watch_frame(names, what) for what in KINDS], ignore_index=True)
    made.attrs = watch_frame(names).attrs
    return made


def heights(ax: Axes) -> dict[str, list[float]]:
    """Return the points of the lines by the beginning of their name."""
    return {str(line.get_label()).split("  ")[0]: list(line.get_ydata()) for line in ax.lines}


def test_statuses_stand_on_top_of_each_other() -> None:
    """Areas in the order and the colours of the statuses, as high as the counts; the last counts are in the legend."""
    frame = watch_frame(("suspended", "pending", "of tomorrow"))
    ax = draw(plot_watch(frame))
    areas = [each for each in ax.collections if isinstance(each, PolyCollection)]
    assert [each.get_label() for each in areas] == ["pending", "suspended", "of tomorrow"]
    assert to_hex(areas[0].get_facecolor()[0]) == STATUSES["pending"].colour
    tops = [float(each.get_paths()[0].vertices[:, 1].max()) for each in areas]
    assert tops == [31.0, 61.0, 93.0]
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["of tomorrow  22", "suspended  20", "pending  21"]


@pytest.mark.parametrize("what", KINDS)
def test_the_kind_that_is_meant_is_drawn(what: str) -> None:
    """``what`` chooses; without it the only available kind is drawn, and the status if there are several."""
    frame = all_kinds("one", "two")
    chosen = all_text(draw(plot_watch(frame, what=what)))  # type: ignore[arg-type]
    part = frame[frame["what"] == what]
    part.attrs = frame.attrs
    assert chosen == all_text(draw(plot_watch(part)))
    assert (chosen == all_text(draw(plot_watch(frame)))) == (what == "status")


def test_lines_have_the_numbers_of_the_frame() -> None:
    """Retries are drawn by their rate, which the first poll does not have; waiting or draining calls by number."""
    frame = all_kinds("one", "two")
    assert heights(draw(plot_watch(frame, what="retries")))["Cart/two"][1:] == [3.5, 6.0]
    ax = draw(plot_watch(frame, what="backlog"))
    assert heights(ax) == {"Cart/two": [31, 26, 21], "Cart/one": [30, 25, 20]}
    assert "20, drains in 5m" in all_text(ax)
    assert "two  21, drains in 5m" in all_text(draw(plot_watch(frame, what="deployment")))


def test_beyond_six_lines_the_rest_is_one() -> None:
    """The six highest have a line each; the others are added up."""
    ax = draw(plot_watch(watch_frame([f"key {n}" for n in range(9)], "backlog")))
    drawn = heights(ax)
    assert len(drawn) == 7
    assert "Cart/key 8" in drawn
    assert drawn["others (3)"] == [30 + 31 + 32, 25 + 26 + 27, 20 + 21 + 22]


def test_what_is_unknown_is_a_gap() -> None:
    """A key that was not read in a poll has no point there, and no number at the end."""
    frame = watch_frame(("one", "two"), "backlog")
    frame.loc[frame.index[-1], "n"] = pd.NA
    ax = draw(plot_watch(frame))
    assert pd.isna(heights(ax)["Cart/two"][-1])
    assert "Cart/two  ?" in all_text(ax)


def test_there_is_nothing_to_draw() -> None:
    """A kind without data, and a single poll, are reported as text."""
    assert "No calls waited for a key." in all_text(draw(plot_watch(watch_frame(("one",)), what="backlog")))
    first = watch_frame(("one",)).iloc[:1]
    assert "Waiting for the second poll." in all_text(draw(plot_watch(first)))


def test_there_is_no_such_kind() -> None:
    """An unknown kind is refused with the list of valid ones."""
    with pytest.raises(ArgumentError, match="unknown what='queue'; choose from status, retries, backlog, deployment"):
        plot_watch(watch_frame(("one",)), what="queue")  # type: ignore[arg-type]


def test_gaps_are_said() -> None:
    """Failed polls are in the title."""
    frame = watch_frame(("one",))
    frame.attrs["failed"] = [{"after": "…", "error": "…"}]
    assert "1 more failed" in all_text(draw(plot_watch(frame)))
