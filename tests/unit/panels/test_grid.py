"""The grid without a browser: messages in, messages out, and the selection."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from restate_lab.errors import ArgumentError
from restate_lab.panels._base.content import SILENCE, Views
from restate_lab.panels.grid import Grid, table as grid_table

FRAME = pd.DataFrame(
    {
        "id": ["inv_a", "inv_b", "inv_c", "inv_d", "inv_e"],
        "status": ["failed", "running", "scheduled", None, "running"],
        "retry_count": pd.array([3, None, 10, 1, 3], dtype="Int64"),
        "last_failure": ["Timeout (1.5 s)", None, "refused", "timeout", "100 %"],
    }
)


class Front:
    """A view of a grid that records its messages, in the form in which they are sent."""

    def __init__(self, grid: Grid, sent: list[dict[str, Any]]) -> None:
        self.grid = grid
        self.sent = sent
        self.say("alive", in_sight=True, state=True)

    def say(self, kind: str, **fields: Any) -> None:
        self.raw({"type": kind, "view": "v1", **fields})

    def raw(self, content: Any) -> None:
        self.grid.receive(content)

    def last(self, kind: str) -> dict[str, Any]:
        return next(message for message in reversed(self.sent) if message["type"] == kind)

    @property
    def state(self) -> dict[str, Any]:
        return self.last("state")

    def page(self, start: int = 0, count: int = 50, **fields: Any) -> dict[str, Any]:
        self.say("page", seq=7, start=start, count=count, **fields)
        return self.last("page")

    def numbers(self) -> dict[str, int]:
        """Return the number of each row in view, by its first cell."""
        return {row[2][0]: row[0] for row in self.page()["rows"] if isinstance(row, list)}

    def order(self) -> str:
        """Return the last letter of each id in view, from top to bottom."""
        return "".join(name[-1] for name in self.numbers())


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Give the messages of grids, each written and read as in transport."""
    messages: list[dict[str, Any]] = []

    def send(_: Grid, content: dict[str, Any], buffers: object = None) -> None:
        messages.append(json.loads(json.dumps(content, ensure_ascii=False, allow_nan=False).encode()))

    monkeypatch.setattr(Grid, "send", send)
    return messages


@pytest.fixture
def front(sent: list[dict[str, Any]]) -> Iterator[Front]:
    """Give a view of a grid with FRAME."""
    front = Front(Grid(FRAME, noun="invocations"), sent)
    yield front
    front.grid.close()


# Selection


def test_selection_is_kept_by_id(front: Front) -> None:
    """The selection survives sorting, filtering and refreshing, and hidden selected rows are counted."""
    numbers = front.numbers()
    front.say("select", row=numbers["inv_a"], on=True)
    front.say("select", row=numbers["inv_d"], on=True)
    front.say("sort", column="retry_count", descending=True)
    front.say("filter", text="refused")
    assert front.grid.selected == ["inv_a", "inv_d"]
    assert front.state["chosen"] == "2 selected, 2 hidden by the filter"
    front.grid.refresh(FRAME[::-1].iloc[:4])  # without inv_a
    assert front.grid.selected == ["inv_d"]
    assert front.state["chosen"] == "1 selected, 1 hidden by the filter, 1 selected is outside of this filter"
    front.grid.refresh(FRAME)
    front.say("filter", text="")
    assert front.grid.selected == ["inv_a", "inv_d"]
    assert front.state["chosen"] == "2 selected"
    page = front.page()
    assert [row[2][0] for row in page["rows"] if row[1]] == ["inv_a", "inv_d"]
    assert (page["view"], page["seq"]) == ("v1", 7)


def test_a_late_message_acts_on_the_row_that_was_seen_or_on_none(front: Front) -> None:
    numbers = front.numbers()
    front.grid.refresh(FRAME.iloc[[4, 3, 1, 0]])
    front.say("select", row=numbers["inv_b"], on=True)
    assert front.grid.selected == ["inv_b"]
    front.say("select", row=numbers["inv_c"], on=True)
    assert front.grid.selected == ["inv_b"]
    assert "inv_c is no longer in the table" in front.state["error"]


def test_another_run_of_an_id_is_another_row(sent: list[dict[str, Any]]) -> None:
    """A selected row is deselected when its id has another run, also after it was gone; a stale click is reported."""
    early, late = pd.Timestamp("2026-11-26T09Z"), pd.Timestamp("2026-11-26T10Z")
    frame = pd.DataFrame({"id": ["a", "b", "c", "d"], "created_at": [early, early, early, pd.NaT]})
    front = Front(Grid(frame, run="created_at"), sent)
    numbers = [row[0] for row in front.page()["rows"]]
    front.grid.selected = ["a", "b", "c", "d"]
    changed: list[list[str]] = []
    front.grid.on_select(lambda grid: changed.append(grid.selected))
    front.grid.refresh(frame.assign(created_at=[late, early, early, pd.NaT]).iloc[[0, 1, 3]])
    assert front.grid.selected == ["b", "d"]
    assert front.state["chosen"] == (
        "2 selected, 1 selected is outside of this filter, 1 deselected: a new run with the same id"
    )
    front.say("select", row=numbers[0], on=True)
    assert front.state["error"] == "a now has a new run with the same id in the table; check it and repeat."
    front.grid.refresh(frame.assign(created_at=[late, early.as_unit("ms"), late, pd.NaT]))
    assert front.grid.selected == ["b", "d"], "c is back, as another run"
    assert front.state["chosen"] == "2 selected, 2 deselected: a new run with the same id"
    assert changed == [["b", "d"]] * 2
    assert list(front.grid.selected_rows["created_at"]) == [early, pd.NaT]
    front.say("select", row=front.page()["rows"][0][0], on=True)
    assert front.state["chosen"] == "3 selected"


def test_a_range_follows_the_order_shown(front: Front) -> None:
    """A range has all rows between two rows on the screen; a shorter one from the same row replaces it."""
    numbers = front.numbers()
    front.say("select", row=numbers["inv_b"], on=True)
    front.say("sort", column="retry_count")  # d a e c b
    members = front.state["members"]
    front.say("extend", start=numbers["inv_d"], end=numbers["inv_c"], members=members)
    assert front.grid.selected == ["inv_" + letter for letter in "abcde"]
    front.say("extend", start=numbers["inv_d"], end=numbers["inv_a"], members=members)
    assert front.grid.selected == ["inv_a", "inv_b", "inv_d"]
    front.say("filter", text="inv_e")
    front.say("extend", start=numbers["inv_d"], end=numbers["inv_e"], members=front.state["members"])
    assert front.grid.selected == ["inv_a", "inv_b", "inv_d"]
    assert "the filter hides inv_d" in front.state["error"]


def test_all_means_what_was_seen(front: Front) -> None:
    """Select-all takes the filtered rows, adds to the selection, and does nothing on an outdated order."""
    front.say("select", row=front.numbers()["inv_e"], on=True)
    front.say("filter", text="TIMEOUT")
    assert front.state["lines"] == 0
    front.say("filter", text="timeout")
    seen = front.state["members"]
    front.grid.refresh(FRAME.iloc[1:])
    front.say("select_all", on=True, members=seen)
    assert front.grid.selected == ["inv_e"]
    assert "nothing was selected" in front.state["error"]
    front.grid.refresh(FRAME)
    front.say("select_all", on=True, members=front.state["members"])
    assert front.grid.selected == ["inv_a", "inv_d", "inv_e"]
    assert (front.state["checked"], front.state["error"]) == ("all", "")
    front.say("select_all", on=False, members=front.state["members"])
    assert front.grid.selected == ["inv_e"]


def test_new_values_refuse_no_selection(front: Front) -> None:
    """A selection is refused only if rows that it depends on were added, removed or moved, not for new values."""
    numbers, seen = front.numbers(), front.state["members"]
    front.grid.refresh(FRAME.assign(retry_count=range(5)))
    front.say("select_all", on=True, members=seen)
    assert (len(front.grid.selected), front.state["members"]) == (5, seen)
    front.say("clear")
    front.grid.refresh(FRAME.iloc[[0, 1, 2, 4, 3]])
    front.say("extend", start=numbers["inv_a"], end=numbers["inv_c"], members=seen)
    assert front.grid.selected == ["inv_a", "inv_b", "inv_c"], "rows moved, but not these"
    front.say("extend", start=numbers["inv_a"], end=numbers["inv_d"], members=seen)
    assert "Rows were added, removed or moved" in front.state["error"]
    front.say("select_all", on=True, members=seen)
    assert len(front.grid.selected) == 5, "all of them, in whatever order"


def test_rows_do_not_move_under_the_pointer(front: Front) -> None:
    """While the pointer or the focus is in the table, rows keep their places; later, or on request, they are sorted."""
    front.say("sort", column="retry_count", descending=True)  # c a e d b
    front.say("hold", on=True)
    more = FRAME.assign(retry_count=[0, 1, 2, 3, 4]).iloc[1:]
    more.loc[5] = ["inv_f", "running", 99, None]
    front.grid.refresh(more)
    assert front.order() == "cedbf"
    assert front.state["is_out_of_order"]
    front.say("sort_again")
    assert front.order() == "fedcb"
    assert not front.state["is_out_of_order"]
    front.say("hold", on=False)
    front.grid.refresh(FRAME)
    assert front.order() == "caedb"


def test_a_cleared_selection_can_be_restored(front: Front) -> None:
    """Clearing reports the number of deselected rows and can be undone, also after a refresh, until a selection."""
    front.grid.selected = ["inv_a", "inv_c", "inv_d"]
    front.say("clear")
    assert (front.grid.selected, front.state["chosen"], front.state["cleared"]) == ([], "", 3)
    front.grid.refresh(FRAME.iloc[1:])
    front.say("restore")
    assert (front.grid.selected, front.state["cleared"]) == (["inv_c", "inv_d"], 0)
    front.say("clear")
    front.say("select", row=front.numbers()["inv_b"], on=True)
    front.say("restore")
    assert front.grid.selected == ["inv_b"]


def test_code_selects_ids_in_one_step_and_an_unknown_id_selects_nothing(front: Front) -> None:
    heard: list[list[str]] = []
    front.grid.on_select(lambda grid: heard.append(grid.selected))
    front.grid.selected = FRAME.id[3:]
    assert front.grid.selected == ["inv_d", "inv_e"]
    with pytest.raises(ArgumentError, match="1 ids are not in the table, for example 'inv_x'"):
        front.grid.selected = ["inv_a", "inv_x"]
    front.say("clear")
    assert heard == [["inv_d", "inv_e"], []]


# Order and filter


@pytest.mark.parametrize(
    ("column", "descending", "expected"),
    [
        ("retry_count", False, "daecb"),
        ("retry_count", True, "caedb"),
        ("status", False, "cbead"),
        ("last_failure", False, "eacdb"),
        (None, False, "abcde"),
    ],
)
def test_sorting(column: str | None, descending: bool, expected: str, front: Front) -> None:
    """Nulls come last, equal rows stay in the frame's order, and a status sorts by its place in the life cycle."""
    front.say("sort", column=column, descending=descending)
    assert [cells[0][-1] for _, _, cells in front.page()["rows"]] == list(expected)
    assert front.order() == expected


@pytest.mark.parametrize(
    "values",
    [
        [[2], [10, 1], None, []],
        [{"b": 1}, {"a": 2}, None, {}],
        ["text", 5, None, b"\xff"],
        pd.Series(["cut within an emoji \ud83d", "x", None, "z"], dtype=object),
        pd.Series(["y", "x", None, "x"], dtype="category"),
        pd.Series(["y", "x", None, "x"], dtype=pd.ArrowDtype(pa.string())),
        pd.to_datetime(["2026-01-02", "2026-01-01", None, "2027-01-01"]).tz_localize("Europe/Zurich"),
        [float("nan"), 2.0, None, float("inf")],
        [None, None, None, None],
        [date(2026, 1, 2), date(2026, 1, 1), None, date(2027, 1, 1)],
        [Decimal("1.50"), Decimal(1), None, Decimal(10)],
    ],
)
def test_every_type_can_be_sorted_and_filtered_and_has_its_nulls_last(values: Any, sent: list[dict[str, Any]]) -> None:
    front = Front(Grid(pd.DataFrame({"id": [1, 2, 3, 4], "value": values})), sent)
    nulls = [cells[1] is None for _, _, cells in front.page()["rows"]]
    for descending in (False, True):
        front.say("sort", column="value", descending=descending)
        assert front.state["error"] == ""
        assert [cells[1] is None for _, _, cells in front.page()["rows"]] == sorted(nulls)
    front.say("filter", text="x")
    assert front.state["error"] == ""


@pytest.mark.parametrize(
    ("text", "within", "expected"),
    [
        ("timeout", None, "ad"),
        ("Timeout", None, "a"),
        ("(1.5", None, "a"),
        (".*", None, ""),
        ("%", None, "e"),
        ("10", None, "e"),
        ("r", "status", "be"),
        ("nan", None, ""),
        ("inv_c", None, "c"),
    ],
)
def test_filtering(text: str, within: str | None, expected: str, front: Front) -> None:
    """The filter finds the exact text in text columns; a capital in it makes the case count; nulls never match."""
    front.say("filter", text=text, within=within)
    assert front.order() == expected


def test_the_filter_looks_where_a_reader_can(front: Front) -> None:
    """Hidden columns do not match, so that the reason for each row is visible."""
    front.grid.columns = ["status", "id"]
    front.say("filter", text="refused")
    assert front.state["count"] == "0 of 5 invocations match"
    front.say("column", column="last_failure", shown=True)
    assert front.state["count"] == "1 of 5 invocations match"
    assert front.grid.columns == ["status", "id", "last_failure"]
    front.say("filter", text="1", within="retry_count")
    assert "cannot filter retry_count, which has no text" in front.state["error"]


def test_columns_come_and_go(front: Front) -> None:
    """Columns come back in the frame's order, the last one stays, and a refresh may add others."""
    front.say("column", column="status", shown=False)
    front.say("column", column="status", shown=True)
    assert front.grid.columns == list(FRAME)
    front.grid.columns = ["status"]
    front.say("column", column="status", shown=False)
    assert front.grid.columns == ["status"]
    assert "at least one column must stay visible" in front.state["error"]
    front.say("width", column="status", pixels=333)
    assert front.state["columns"][0] | {"width": 333, "name": "status"} == front.state["columns"][0]
    front.say("sort", column="status")
    front.grid.refresh(FRAME[["id", "retry_count"]])
    assert (front.grid.columns, front.state["sort"]) == (["id", "retry_count"], None)


# How columns look


def test_the_owner_says_how_columns_look(sent: list[dict[str, Any]]) -> None:
    """Heads, ages, countdowns and short ids are drawn as the owner sets them; tooltips have the exact value."""
    at = pd.Timestamp("2026-11-26T10:00:00Z")
    id_ = "inv_18GUzKHVrU7E2hkYZyDmQpZFTB2VK3k8Ep"
    frame = pd.DataFrame({"id": [id_, "short"], "created_at": [at, pd.NaT], "text": ["x" * 90, None]})
    grid = Grid(frame, heads={"created_at": "age"}, ages=["created_at"], ids=["id"], flex="text")
    front = Front(grid, sent)
    assert [(column["label"], column["form"]) for column in front.state["columns"]] == [
        ("id", "id"),
        ("age", "age"),
        ("text", "text"),
    ]
    first, second = (cells for _, _, cells in front.page()["rows"])
    assert first[0] == ["inv_…k8Ep", id_]
    assert first[1] == ["2026-11-26 10:00:00", "2026-11-26T10:00:00Z", at.timestamp() * 1000]
    assert second == ["short", None, None]
    front.say("width", column="text", pixels=200)
    assert [column["flex"] for column in front.state["columns"]] == [False, False, False], "a width that was set holds"
    with pytest.raises(ArgumentError, match="created_at: list a column in only one of ages, countdowns and ids"):
        Grid(frame, ages=["created_at"], countdowns=["created_at"])


def test_ages_follow_the_clock_or_the_time_of_recorded_data(front: Front) -> None:
    assert (front.state["ticks"], round(front.state["clock"] / 1000 - time.time(), -1)) == (True, 0)
    states = len(front.sent)
    front.grid.controller.broadcast()
    assert len(front.sent) == states, "nothing is sent if only time has passed"
    frozen = Front(Grid(FRAME, frozen_at=datetime(2026, 11, 26, 10, tzinfo=UTC)), front.sent)
    assert (frozen.state["ticks"], frozen.state["clock"]) == (False, 1_795_687_200_000)


# Groups

GROUPS = pd.DataFrame(
    {
        "id": list("abcdefgh"),
        "n": [5, 1, 7, 2, 8, 3, 6, 4],
        "text": ["x", "y", "x", "x", "y", "x", "x", "x"],
        "group": ["g", None, "g", "pair", "g", "pair", "g", None],
        "why": "same error",
    }
)


@pytest.fixture
def grouped(sent: list[dict[str, Any]]) -> Front:
    """Give a view of a grid with a group of a, c, e and g."""
    return Front(Grid(GROUPS, group="group", group_label="why"), sent)


def _shown(front: Front) -> str:
    """Return the ids in view, with + for the line of a group."""
    return "".join("+" if isinstance(row, dict) else row[2][0] for row in front.page()["rows"])


def _group(front: Front) -> dict[str, Any]:
    return next(row for row in front.page()["rows"] if isinstance(row, dict))


def test_a_group_is_one_row_and_a_line(grouped: Front) -> None:
    """Of three rows or more only the first in the current order is shown, whatever sorts and filters; others expand."""
    assert _shown(grouped) == "a+bdfh"
    assert (grouped.state["lines"], grouped.state["count"]) == (6, "8 rows")
    grouped.say("sort", column="n", descending=True)
    assert _shown(grouped) == "e+hfdb"
    line = _group(grouped)
    assert line == {"number": line["number"], "size": 4, "label": "same error", "expanded": False, "checked": "none"}
    grouped.say("expand", row=line["number"], on=True)
    assert _shown(grouped) == "e+cgahfdb"
    assert [len(row) for row in grouped.page()["rows"]] == [3, 5, 4, 4, 4, 3, 3, 3, 3], "members say so"
    grouped.say("filter", text="x")
    assert _shown(grouped) == "c+gahfd"
    grouped.say("filter", text="y")
    assert _shown(grouped) == "eb", "one of a group is none"
    grouped.grid.grouped = False
    grouped.say("filter", text="")
    assert _shown(grouped) == "ecgahfdb", "e 8, c 7, g 6, a 5: sorted, each for itself"


def test_columns_that_make_groups_are_hidden_unless_they_are_chosen(grouped: Front) -> None:
    assert [column["name"] for column in grouped.state["columns"]] == ["id", "n", "text"]
    grouped.grid.columns = ["id", "why"]
    assert [column["name"] for column in grouped.state["columns"] if column["shown"]] == ["id", "why"]


def test_a_group_is_selected_as_a_whole(grouped: Front) -> None:
    """Its line selects all its filtered rows; a range includes the rows behind the line."""
    number = _group(grouped)["number"]
    grouped.say("select", row=number, on=True)
    assert (grouped.grid.selected, _group(grouped)["checked"]) == (list("aceg"), "all")
    rows = grouped.numbers()
    grouped.say("select", row=rows["a"], on=False)
    assert _group(grouped)["checked"] == "some"
    grouped.say("clear")
    members = grouped.state["members"]
    grouped.say("extend", start=number, end=rows["d"], members=members)
    assert grouped.grid.selected == list("bcdeg"), "not a, which has a line for itself"
    grouped.say("extend", start=number, end=number, members=members)
    assert grouped.grid.selected == list("ceg")
    grouped.say("filter", text="x")
    grouped.say("clear")
    grouped.say("select", row=number, on=True)
    assert grouped.grid.selected == list("acg")
    grouped.say("open_row", row=number)
    assert "Reload the page" in grouped.state["error"]
    grouped.grid.refresh(GROUPS.iloc[1:4])
    grouped.say("expand", row=number, on=True)
    assert "this group is no longer in the table" in grouped.state["error"]


# Pages


def test_a_page_reads_the_rows_it_shows(sent: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a million rows a page reads and sends only its own, wherever it is."""
    n = 1_000_000
    front = Front(Grid(pd.DataFrame({"id": np.arange(n), "value": np.arange(n) * 2})), sent)
    read: list[int] = []
    value = grid_table.GridTable.value
    monkeypatch.setattr(
        grid_table.GridTable, "value", lambda self, position, name: read.append(position) or value(self, position, name)
    )
    rows = front.page(start=n - 20, count=200)["rows"]
    assert [cells for _, _, cells in rows] == [[str(k), str(2 * k)] for k in range(n - 20, n)]
    assert set(read) == set(range(n - 20, n))
    assert len(read) == 40


def test_a_page_reports_the_current_line_of_a_row(front: Front) -> None:
    number = front.numbers()["inv_d"]
    front.say("sort", column="retry_count")
    assert front.page(find=number)["found"] == 0
    front.say("filter", text="refused")
    assert front.page(find=number)["found"] is None


def test_a_huge_value_is_cut_and_says_so(sent: list[dict[str, Any]]) -> None:
    """A value of a megabyte is never sent whole: 200 characters, 1,000 in the tooltip, 65,536 on request."""
    huge = "x" * (1 << 20)
    nested = {"key": [huge] * 3}
    front = Front(Grid(pd.DataFrame({"id": [huge, "short"], "value": [nested, 1]})), sent)
    number, _, cells = front.page()["rows"][0]
    assert [len(cells[0][0]), len(cells[0][1])] == [201, 1_001 + len("\n(1,048,576 characters in all)")]
    assert cells[1][1].endswith("…\n(there is more)")
    front.say("detail", seq=1, row=number, column="id")
    assert front.last("detail")["text"] == "x" * 65_536 + "…\n(1,048,576 characters in all)"
    front.say("select", row=number, on=True)
    assert front.grid.selected == [huge]


# Possible arguments


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"id": ["a", None]}), "1 rows have no value or a repeated one in id"),
        (pd.DataFrame({"id": ["a", "b", "a"]}), "1 rows have no value or a repeated one in id"),
    ],
)
def test_a_frame_that_cannot_be_shown(frame: pd.DataFrame, message: str, front: Front) -> None:
    """A frame without usable ids is refused with an error, and the grid keeps its rows."""
    with pytest.raises(ArgumentError, match=message):
        front.grid.refresh(frame)
    assert len(front.page()["rows"]) == 5


def test_the_server_has_more(front: Front) -> None:
    """A note above the rows reports rows that were not read: from the total, from attrs, or from the caller."""
    front.grid.refresh(FRAME, total=3_210)
    assert front.state["note"] == "5 of 3,210 invocations on the server are loaded."
    cut = FRAME.copy()
    cut.attrs["truncated"] = {"message": "The limit of 5 rows cut off more."}
    front.grid.refresh(cut)
    assert front.state["note"] == "The limit of 5 rows cut off more."
    front.grid.refresh(cut, note="")
    assert front.state["note"] == ""


# Possible messages

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KINDS = ["alive", "page", "detail", "select", "extend", "select_all", "open_row", "sort", "filter", "column", "width"]
FIELDS = ["row", "on", "start", "end", "count", "seq", "members", "column", "descending", "text", "pixels", "shown"]


@given(st.fixed_dictionaries({"type": st.sampled_from(KINDS) | JSON, "view": st.just("v1") | JSON}), st.data())
def test_nothing_that_is_said_breaks_the_grid(content: dict[str, Any], data: st.DataObject) -> None:
    """Whatever message a view sends, the grid does not raise, does not lose a row, and still answers."""
    content |= data.draw(st.dictionaries(st.sampled_from(FIELDS), JSON | st.sampled_from(list(FRAME)), max_size=4))
    with pytest.MonkeyPatch.context() as patch:
        messages: list[dict[str, Any]] = []
        patch.setattr(Grid, "send", lambda _, sent, __=None: messages.append(json.loads(json.dumps(sent).encode())))
        front = Front(Grid(FRAME), messages)
        front.raw(content)
        front.say("filter", text="")
        assert len(front.page()["rows"]) == 5
        front.grid.close()


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {"type": "page"},
        {"type": "nothing", "view": "v1"},
        {"type": "select", "view": "v1", "row": "0", "on": True},
        {"type": "select", "view": "v1", "row": 99, "on": True},
        {"type": "page", "view": "v1", "seq": 1, "start": 0, "count": 10**9},
        {"type": "sort", "view": "v1", "column": "nowhere"},
        {"type": "filter", "view": "v1", "text": "\ud800"},
        {"type": "clear", "view": "v1", "extra": 1},
        {"type": "width", "view": "v1", "column": "id", "pixels": -5},
    ],
)
def test_a_wrong_message_is_said_in_the_grid(content: Any, front: Front) -> None:
    """An invalid message changes nothing and shows a line of text; the next valid one removes it."""
    unset = {"error": None, "clock": None}
    before = front.state | unset
    front.raw(content)
    assert front.state["error"]
    assert front.grid.controller.error == front.state["error"]
    assert front.state | unset == before
    front.say("sort", column="id")
    assert front.state["error"] == ""


def test_a_view_cannot_set_the_code_of_the_grid(front: Front) -> None:
    before = front.grid._esm
    front.grid.set_state({"_esm": "export default {}"})
    assert front.grid._esm == before
    assert "tried to set _esm" in front.state["error"]


# Without rows


def test_an_empty_table_says_why(front: Front) -> None:
    """The owner gives the reason for an empty table, and may offer a next step."""
    cleared: list[bool] = []
    front.grid.set_empty("No invocation failed.", "Clear", lambda: cleared.append(True))
    assert (front.state["empty"], front.state["empty_action"]) == ("No invocation failed.", "Clear")
    front.say("empty_action")
    assert cleared == [True]


# Callbacks


def test_enter_in_the_filter_passes_its_text_on(front: Front) -> None:
    assert not front.state["can_search"]
    texts: list[str] = []
    front.grid.on_search(texts.append)
    front.say("search", text="503")
    assert (front.state["can_search"], front.state["rows"], texts) == (True, 5, ["503"])


def test_opening_is_not_selecting(front: Front) -> None:
    """An opened row's id goes to the callbacks, is marked in all views, and is not selected."""
    opened: list[Any] = []
    front.grid.on_open(opened.append)
    number = front.numbers()["inv_c"]
    front.say("open_row", row=number)
    assert (opened, front.grid.selected, front.state["opened"]) == (["inv_c"], [], number)


def test_an_error_in_a_callback_is_shown_and_the_others_are_called(front: Front) -> None:
    opened: list[Any] = []

    def fail(_: Any) -> None:
        raise ValueError("no such <b>invocation</b>")

    front.grid.on_open(fail)
    front.grid.on_open(opened.append)
    front.say("open_row", row=front.numbers()["inv_a"])
    assert opened == ["inv_a"]
    assert front.state["error"] == "ValueError: no such <b>invocation</b>"


def test_a_callback_may_wait_for_a_thread_that_refreshes_the_grid(front: Front) -> None:
    done: list[bool] = []

    def wait(_: Any) -> None:
        thread = threading.Thread(target=lambda: front.grid.refresh(FRAME.iloc[:2]), daemon=True)
        thread.start()
        thread.join(10)
        done.append(not thread.is_alive())

    front.grid.on_open(wait)
    front.say("open_row", row=front.numbers()["inv_a"])
    assert done == [True]
    assert len(front.page()["rows"]) == 2


def test_a_view_never_sees_half_of_a_refresh(front: Front) -> None:
    wide = pd.DataFrame({"id": [f"inv_{n}" for n in range(2_000)], "retry_count": range(2_000)})
    stop = threading.Event()

    def refresh() -> None:
        while not stop.is_set():
            front.grid.refresh(wide)
            front.grid.refresh(FRAME)

    thread = threading.Thread(target=refresh)
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for _ in range(150):
            front.say("sort", column="retry_count")
            assert len(front.page(count=200)["rows"]) in {5, 200}
            assert front.grid.controller.error == ""
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(switching)


# Views


def test_views_that_fall_silent() -> None:
    """A hidden view is not in sight; one that is silent for too long is closed."""
    now = [0.0]
    views = Views(lambda: now[0])
    views.hear("a", in_sight=True)
    views.hear("b", in_sight=False)
    assert views.any_in_sight()
    views.hear("a", in_sight=False)
    assert not views.any_in_sight()
    views.hear("a", in_sight=True)
    now[0] = SILENCE - 1
    assert views.any_in_sight()
    now[0] = SILENCE + 1
    assert not views.any_in_sight()
    for number in range(1000):
        views.hear(str(number), in_sight=True)


def test_a_grid_without_a_view_sends_nothing(sent: list[dict[str, Any]]) -> None:
    grid = Grid(FRAME)
    grid.refresh(FRAME)
    grid.selected = ["inv_a"]
    assert sent == []


# Without a kernel


def test_the_table_beside_the_widget() -> None:
    """The output has a table of the first 100 rows as escaped text, with notes about selected and hidden rows."""
    frame = pd.DataFrame({"id": [f"<b>{n}</b>" for n in range(250)], "status": "running", "n": range(250)})
    frame["at"] = pd.Timestamp("2026-11-25T03:00Z")
    grid = Grid(frame, noun="invocations")
    grid.receive({"type": "sort", "view": "v1", "column": "n", "descending": True})
    grid.selected = ["<b>249</b>", "<b>1</b>"]
    html = grid.static_html()
    assert html.count("<tr>") == 101
    assert html.count("✓") == 1
    assert "&lt;b&gt;249&lt;/b&gt;" in html
    assert "<b>" not in html
    assert "at (UTC)" in html
    assert "2026-11-25 03:00:00" in html
    for line in ("250 invocations", "2 selected", "Showing the first 100 of 250 rows."):
        assert f">{line}</div>" in html
    assert repr(grid) == "<Grid: 250 invocations; 2 selected>"


def test_the_table_beside_the_widget_has_ages_and_the_time_from_which_they_count() -> None:
    frame = pd.DataFrame({"id": ["inv_a"], "age": pd.Timestamp("2026-11-25T03:00Z")})
    html = Grid(frame, ages=("age",), frozen_at=datetime(2026, 11, 25, 3, 36, tzinfo=UTC)).static_html()
    assert ">age</th>" in html
    assert ">36m ago</td>" in html
    assert "Ages count from 2026-11-25 03:36:00 UTC." in html


def test_a_grid_can_be_made_before_the_first_read() -> None:
    grid = Grid(noun="invocations")
    assert (grid.selected, grid.columns) == ([], ["id"])
    grid.refresh(FRAME)
    grid.selected = ["inv_b"]
    grid.refresh(FRAME.iloc[:0])
    assert grid.selected == []
    assert "0 invocations" in grid.static_html()
    with pytest.raises(ArgumentError, match="unknown time zone 'Mars/Base'"):
        Grid(tz="Mars/Base")


def test_a_column_grows_with_its_texts_and_does_not_shrink() -> None:
    """A text that is written later is not cut while there is room, and a refresh with shorter texts moves nothing."""
    grid = Grid(pd.DataFrame({"id": ["a"], "now": ["…"]}))
    widths = []
    for text in ("…", "backing-off, with the same error", "running"):
        grid.refresh(pd.DataFrame({"id": ["a"], "now": [text]}))
        widths += [each["width"] for each in grid.controller.model.columns() if each["name"] == "now"]
    assert widths[0] < widths[1] == widths[2]
    grid.close()
