"""A document in every surface: its texts stay text, and a text for print() fits on a screen."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest

from restate_lab import Report
from restate_lab.cli._page import TextPage
from restate_lab.cli.shell_code import SourceOptions, writer
from restate_lab.document import (
    Block,
    Document,
    Facts,
    Fold,
    Gaps,
    Item,
    Items,
    Picture,
    Row,
    Table,
    Text,
    Word,
)
from restate_lab.document.html import blocks_html, html_of
from restate_lab.document.text import LAYOUTS, ROWS, TextLayout, count_rows, text_of
from restate_lab.frames import BuiltRows
from restate_lab.redaction import MASK
from restate_lab.result import Result
from restate_lab.serve.page import WebPage
from restate_lab.serve.rendering import render_page
from support.documents import hostile_document
from support.sample_rows import NOW

HOSTILE = "<script>alert(1)</script>\u202e\x1b[2J\nname"
SEEN = "<script>alert(1)</script>‹U+202E›‹U+001B›[2J"


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class Shown(Result):
    """A result with a document of the test."""

    __module__ = "restate_lab"  # a report shows results of the package
    shown: Document

    def document(self, _: tzinfo = UTC, /) -> Document:
        return self.shown

    @property
    def summary(self) -> str:
        return "shown"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def result(text: str = HOSTILE) -> Shown:
    return Shown(source="prod", version="1.7.12", read_at=NOW, shown=hostile_document(text))


def test_no_text_of_a_document_controls_a_terminal() -> None:
    for stream in (io.StringIO(), Terminal()):
        TextPage(stream).document(result().shown, writer(SourceOptions()))
        text = re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue())  # colors
        assert SEEN in text
        assert not {"\u202e", "\x1b"} & set(text)


def test_each_kind_of_block_is_drawn_as_text_and_as_html() -> None:
    blocks, kinds = hostile_document("x").blocks, set(get_args(Block))
    assert {type(each) for each in blocks if text_of(Document("", "", (each,))).strip()} == kinds - {Picture}
    assert {type(each) for each in blocks if blocks_html(each).strip()} == kinds


def test_no_text_of_a_document_is_markup_on_a_page_or_in_a_report(tmp_path: Path) -> None:
    page = render_page(WebPage("x", [result()], {}), name="")
    written = Report("x").add(result()).write(tmp_path / "x.html")
    for each in (page, written.read_text("utf-8")):
        assert "<script>alert" not in each
        assert SEEN in html.unescape(each)


def test_a_secret_is_masked_in_each_text_of_a_document_on_every_surface(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a secret that HTML escapes, in a picture, in calls, and in rows that are built later."""
    secret = "s3cret<&>'token"
    monkeypatch.setenv("SHOP_TOKEN", secret)
    shown = result(secret)
    masked = shown.shown.map(lambda text: text.replace(secret, MASK))
    surfaces = [text_of(masked), html_of(masked), html_of(masked, is_report=True)]
    surfaces.append(Report("x").add(shown).write(tmp_path / "x.html").read_text("utf-8"))
    for each in surfaces:
        assert MASK in each
        assert "s3cret" not in each


def test_a_mapped_document_keeps_its_rows_unbuilt_and_its_tones() -> None:
    built: list[int] = []

    def build(row: Mapping[Any, Any]) -> Item:
        built.append(row["at"])
        return Item(f"item {row['at']}", Word("critical", "critical"), anchor="item")

    rows = BuiltRows(pd.DataFrame({"at": range(1_000)}), build)
    mapped = Document("many", "prod", (Items(rows),), "failed").map(str.upper)
    assert (mapped.title, mapped.tone, built) == ("MANY", "failed", [])
    (items,) = mapped.blocks
    assert isinstance(items, Items)
    assert list(items.items[:2]) == [Item(f"ITEM {at}", Word("CRITICAL", "critical"), anchor="item") for at in (0, 1)]
    assert len(items.items) == 1_000
    assert len(built) == 2


@pytest.mark.parametrize("text", [HOSTILE, "name " * 5_000, ""])
def test_any_document_fits_on_a_screen(text: str) -> None:
    for each in (str(result(text)), text_of(Document(text, text, tuple(Text(text) for _ in range(12))))):
        assert count_rows(each) <= ROWS
        assert "\x1b" not in each


def test_a_document_of_very_many_blocks_has_its_first_ones_as_text() -> None:
    text = text_of(Document("many", "prod", tuple(Text(f"block {number}") for number in range(100))))
    assert count_rows(text) == ROWS
    assert "block 17" in text
    assert text.endswith("the frames of the result have everything.")


def test_a_text_without_everything_says_so_and_counts_what_it_omits() -> None:
    items = Items(tuple(Item(f"item {number}") for number in range(1_000)), "Items")
    text = text_of(Document("many", "prod", (items, Gaps([f"table {number}" for number in range(50)]))))
    assert "item 0\n" in text
    assert re.search(r"… and 9\d\d more", text)
    assert text.endswith("the frames of the result have everything.")
    assert "shortened" not in text_of(Document("few", "prod", (Items((Item("one"),)),)))


def test_a_report_has_whole_ids_and_severities_as_text_and_a_short_one_no_folds() -> None:
    id_ = "inv_10VxIBLqnLEz12xdlk263JMVdBOdv5dZJ2"
    item = Item(f"of {id_}", Word("critical", "critical"), more="the query", ids=[id_] * 9, count=9)
    others = (Facts((("blocker", id_),)), Gaps((id_,)), Items((Item(id_, Word("1.", "quiet")),)))
    folds = (Items((item, item), shown=1, more="1 more"), Fold("Notes", (Text("x"),)))
    shown = Document(id_, id_, (*folds, *others))
    report, short = html_of(shown, is_report=True), html_of(shown, is_report=True, is_short=True)
    assert report.count(id_) == 2 * 6 + 2 + len(others)
    assert report.count(">1.") == 1
    assert "ellipsis" not in report
    assert report.count(">critical</b>") == 2
    assert report.count("<details") == 2
    assert "<details" not in short
    assert "1 more" in short
    assert "Notes" in short


@pytest.mark.parametrize("text", [HOSTILE, "name " * 200, "x"])
def test_a_layout_has_at_most_as_many_rows_as_the_one_before_it(text: str) -> None:
    items = tuple(Item(f"{text} {number}", lines=(text,) * 3, about=((text, text),)) for number in range(50))
    shown = Document(text, text, (Items(items), *hostile_document(text).blocks))
    needed = [count_rows("\n".join(row.plain for row in layout.rows(shown))) for layout in LAYOUTS]
    assert needed == sorted(needed, reverse=True)


def test_a_text_has_what_pages_fold_without_the_asides() -> None:
    folds = (Fold("Known", (Text("first"),)), Fold("As text", (Text("second"),), is_aside=True))
    assert text_of(Document("few", "prod", folds)) == "few\nprod\n\nKnown:\nfirst"


def test_a_table_has_columns_and_in_a_narrow_terminal_each_value_has_the_name_of_its_column() -> None:
    rows = (Row(("Orders/place", Word("40", "failed"), "why")), Row(("Cart/add", "", "")))
    document = Document(
        "few", "prod", (Table(("handler", "failed", "reason"), rows, "Handlers", frozenset({"reason"})),)
    )
    assert text_of(document).splitlines()[3:] == [
        "Handlers:",
        "  handler       failed",
        "  Orders/place  40",
        "    reason: why",
        "  Cart/add",
    ]
    narrow = [row.plain for row in TextLayout(width=20).rows(document)]
    assert narrow[4:] == ["- Orders/place · failed 40", "    reason: why", "- Cart/add"]


def test_a_table_of_very_many_rows_builds_only_those_that_a_surface_shows() -> None:
    built = []

    def build(row: Mapping[Any, Any]) -> Row:
        built.append(row["number"])
        return Row((f"{row['number']}",))

    rows = BuiltRows(pd.DataFrame({"number": range(150_000)}), build)
    document = Document("many", "prod", (Table(("number",), rows, shown=12),))
    assert html_of(document).count("<td") == 12
    assert "… and 149,988 more" in html_of(document)
    assert len(built) == 12
    assert count_rows(text_of(document)) <= ROWS
    assert built == list(range(ROWS))
