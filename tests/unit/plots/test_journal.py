"""A journal's timeline against its frame."""

from __future__ import annotations

import matplotlib.dates as md
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex

from restate_lab.plots import plot_journal
from restate_lab.status import STATUSES
from support.pictures import NOW, all_text, draw, journal, texts

SECOND = 1 / 86_400
BEGIN = float(md.date2num((NOW - pd.Timedelta("1h")).to_pydatetime()))


def boxes(ax: object) -> dict[str, dict[int, tuple[float, float]]]:
    """Return where the bars begin and end, in seconds since the journal's begin, by status and row."""
    found: dict[str, dict[int, tuple[float, float]]] = {}
    for collection in ax.collections:  # type: ignore[attr-defined]
        if isinstance(collection, PolyCollection):
            corners = [path.vertices for path in collection.get_paths()]
            found[str(collection.get_label())] = {
                round(corner[:, 1].mean() - 0.0): (
                    round((corner[:, 0].min() - BEGIN) / SECOND, 2),
                    round((corner[:, 0].max() - BEGIN) / SECOND, 2),
                )
                for corner in corners
            }
    return found


def test_bars_are_where_the_entries_were() -> None:
    """A bar reaches from started to completed; an open one, hatched, to the time of reading."""
    frame = journal(["a", "b", "c"])
    frame.attrs["read_at"] = (NOW - pd.Timedelta("1h") + pd.Timedelta("20s")).isoformat()
    ax = draw(plot_journal(frame, tz="Asia/Kathmandu"))
    assert boxes(ax) == {"done": {0: (0, 0.9), 1: (1, 1.9)}, "waiting": {2: (2, 20)}}
    looks = {each.get_label(): each for each in ax.collections}
    assert looks["waiting"].get_hatch()
    assert to_hex(looks["done"].get_facecolor()[0]) == STATUSES["succeeded"].colour
    assert ax.get_xlabel() == "time (Asia/Kathmandu)"
    assert {"0 Run a", "1 Run b", "2 Run c", "900ms", "18s, waiting"} <= set(texts(ax))
    assert "08:25" in ax.xaxis.get_offset_text().get_text()
    assert "02:40" not in all_text(ax), "that would be UTC"
    assert ax.get_title(loc="left") == "a"
    assert "inv_1aaa" in all_text(ax)


def test_what_took_no_time_can_be_seen() -> None:
    """An entry of 0 ms is at least a pixel wide."""
    frame = journal(["a", "b", "c"])
    frame["completed"] = frame["started"]
    ax = draw(plot_journal(frame.assign(status="done", open=False)))
    pixels = [ax.transData.transform(path.vertices)[:, 0] for path in ax.collections[0].get_paths()]
    assert min(np.ptp(each) for each in pixels) > 1


def test_all_in_one_millisecond() -> None:
    """A journal that took no time at all still has an axis of time."""
    frame = journal(["a", "b", "c"]).assign(started=NOW, completed=NOW, status="done", open=False)
    ax = draw(plot_journal(frame))
    assert (ax.get_xlim()[1] - ax.get_xlim()[0]) / SECOND == pytest.approx(0.02, rel=0.1)


def test_what_is_not_known_is_not_made_up() -> None:
    """Open since an unknown time: a mark at the time of reading. Abandoned: up to its invocation's last entry."""
    status = ["abandoned", "done", "open", None]
    frame = journal(["a", "b", "c", "d"], status=status, open=[False, False, True, False])
    frame.loc[[0, 2, 3], "completed"] = pd.NaT
    frame.loc[2, "started"] = pd.NaT
    frame.attrs["read_at"] = (NOW - pd.Timedelta("1h") + pd.Timedelta("10s")).isoformat()
    ax = draw(plot_journal(frame))
    found = boxes(ax)
    assert found["abandoned"][0] == (0, 3)
    assert found["waiting"][2] == pytest.approx((10, 10), abs=0.05)
    assert found["not known"][3] == pytest.approx((3, 3), abs=0.05)
    assert len([line for line in ax.lines if line.get_marker() == "<"]) == 1
    assert {"waiting", "abandoned", "not known", "open, start not known"} <= set(texts(ax))


def test_without_any_time_it_is_said() -> None:
    """Entries without a time have no bar, and are counted."""
    frame = journal(["a", "b", "c"])
    frame.loc[0, ["started", "completed"]] = pd.NaT
    assert "1 entries without a time" in all_text(draw(plot_journal(frame)))
    frame[["started", "completed"]] = pd.NaT
    assert "None of the 3 entries has a time." in all_text(draw(plot_journal(frame.assign(open=False, status="done"))))


def test_a_note_says_why_there_is_none() -> None:
    """If there is no journal, the picture has the same reason as the frame."""
    frame = journal([])
    frame.attrs["note"] = "its journal was purged"
    assert "There is no journal:\nits journal was purged." in texts(plot_journal(frame))


def test_retries_are_marked_and_counted() -> None:
    """A cross is at the end of each retried entry, and its row has the number of retries."""
    frame = journal(
        list("abcd"), retries=pd.array([0, 1, 44, None], dtype="Int64"), retries_at_least=[False] * 2 + [True] * 2
    )
    ax = draw(plot_journal(frame))
    (crosses,) = [line for line in ax.lines if line.get_marker() == "x"]
    assert crosses.get_ydata().tolist() == [1, 2]
    assert (crosses.get_xdata() - BEGIN) / SECOND == pytest.approx([1.9, 2.9])
    assert {"900ms, 1 retry", "900ms, at least 44 retries"} <= set(texts(ax))


def test_a_failing_entry_is_not_drawn_as_a_healthy_one() -> None:
    """It is orange, with its error on the bar, its attempts as ticks, and the next one as a circle right of now."""
    begin, facts = (NOW - pd.Timedelta("1h")).to_pydatetime(), {"last_start_at": None, "command_index": None}
    facts |= {"target": "Cart/do", "status": "backing-off", "failed_attempts": 9, "last_failure": "boom"}
    facts |= {"errors": [[1, [(begin + pd.Timedelta("3s")).isoformat()]]]}
    facts |= {"next_retry_at": (begin + pd.Timedelta("90s")).isoformat()}
    frame = journal(["a", "b"], retries=pd.array([0, 9], dtype="Int64"), last_error=[None, "no provider"])
    frame.attrs |= {"read_at": (begin + pd.Timedelta("80s")).isoformat(), "invocations": {"inv_a": facts}}
    ax = draw(plot_journal(frame))
    assert boxes(ax)["failing"] == {1: (1, 80)}
    (failing,) = [each for each in ax.collections if each.get_label() == "failing"]
    assert to_hex(failing.get_facecolor()[0]) == STATUSES["backing-off"].colour
    marks = {line.get_marker(): (np.asarray(line.get_xdata()) - BEGIN) / SECOND for line in ax.lines}
    assert marks["|"] == pytest.approx([3])
    assert 80 < marks["o"][0] < (ax.get_xlim()[1] - BEGIN) / SECOND
    assert {"no provider", "1m 19s, failing, 9 retries", "failed attempt", "next attempt"} <= set(texts(ax))
    between = draw(plot_journal(frame.assign(status="done", open=False)))
    assert {"– Handler code after entry 1", "boom"} <= set(texts(between))


def test_callees_are_indented() -> None:
    """The name of a callee's entry begins further right, and its bar is thinner."""
    frame = journal(list("abc"), depth=[1, 2, 3])
    ax = draw(plot_journal(frame.assign(status="done", open=False)))
    left = [label.get_window_extent().x0 for label in ax.get_yticklabels()]
    assert len(set(left)) == 1, "flush left, so that spaces indent"
    spaces = [len(label.get_text()) - len(label.get_text().lstrip()) for label in ax.get_yticklabels()]
    assert spaces == [0, 5, 10]
    heights = [np.ptp(path.vertices[:, 1]) for path in ax.collections[0].get_paths()]
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) == 3


def test_names_do_not_reach_into_the_axes() -> None:
    """Left-aligned names end before the Axes begin."""
    ax = draw(plot_journal(journal(["a", "W" * 60, "שלום" * 9])))
    assert max(label.get_window_extent().x1 for label in ax.get_yticklabels()) <= ax.get_window_extent().x0


@pytest.mark.parametrize("count", [1_000, 10_000])
def test_a_long_journal_is_a_few_artists(count: int) -> None:
    """Thousands of entries are a collection per status; some are named, the important ones first."""
    frame = journal([f"step {number}" for number in range(count)])
    frame.loc[count // 2, "status"] = "failed"
    ax = draw(plot_journal(frame))
    assert sum(len(rows) for rows in boxes(ax).values()) == count
    assert len(ax.collections) == 3
    assert len(ax.patches) == 0
    assert len(ax.lines) <= 3
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert 20 < len(names) <= 60
    assert f"{count // 2:,} Run step {count // 2}" in names
    assert f"{count - 1:,} Run step {count - 1}" in names
    assert len(ax.texts) <= 62
    places = sorted(label.get_window_extent().y0 for label in ax.get_yticklabels())
    assert min(np.diff(places)) > 8, "names do not lie on each other"
