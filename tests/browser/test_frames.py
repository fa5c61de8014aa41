"""Frames in JupyterLab after ``%load_ext restate_lab``: short ids that are copied whole, folded texts, both themes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from support.accessibility import faint_texts
from support.jupyter import LabPage, write_notebook

MESSAGE = "no answer from the payment service " * 4
STATEMENT = "SELECT id, status, created_at, trace_id FROM sys_invocation ORDER BY id"
CELLS = (
    "%load_ext restate_lab\nimport pandas as pd\nimport restate_lab as rl\nlab = rl.connect()",
    f"frame = lab.sql({STATEMENT!r})\nframe['message'] = {MESSAGE!r}\nframe['markup'] = '<b>x</b>'\nframe",
    "frame.groupby('status').agg(n=('id', 'count'))",
    "%restate frames off",
    "frame",
)
SELECTED = "cell => { const s = getSelection(); s.selectAllChildren(cell); return s.toString(); }"
COLOUR = "cell => getComputedStyle(cell).color"
OF_THEME = "cell => { cell.style.color = 'var(--jp-ui-font-color1)'; return getComputedStyle(cell).color; }"


def cell_of(table: Locator, text: str) -> Locator:
    return table.locator("td", has_text=re.compile(text)).first


@pytest.mark.long  # unit/test_notebook_frames.py has the content of each cell
def test_frames_are_readable_in_both_themes_and_copied_whole(page: LabPage, notebooks: Path, screenshots: Path) -> None:
    write_notebook(notebooks / "frames.ipynb", *CELLS)
    page.open("frames.ipynb")
    page.run_all()
    outputs = page.page.locator(".jp-CodeCell .jp-OutputArea")
    readable = outputs.nth(1)
    expect(readable).to_contain_text("Without a value: trace_id.")
    expect(readable).to_contain_text("Ages count from")
    id_ = cell_of(readable, "^inv_")
    assert id_.evaluate(SELECTED).strip() == page.value("frame.id[0]")
    assert id_.bounding_box()["width"] < 120  # type: ignore[index]
    assert cell_of(readable, " ago$").evaluate(SELECTED).strip().endswith("ago")
    expect(cell_of(readable, "<b>x</b>")).to_have_text("<b>x</b>")
    folded = readable.locator("details").first
    lines = folded.locator("div")
    expect(lines).not_to_be_visible()
    folded.locator("summary").click()
    expect(lines).to_have_text(MESSAGE)
    for theme in ("Light", "Dark"):
        page.theme(f"JupyterLab {theme}")
        expect(cell_of(readable, "<b>x</b>")).to_be_visible()
        colour = cell_of(readable, "<b>x</b>").evaluate(COLOUR)
        assert colour == id_.evaluate(OF_THEME)
        assert faint_texts(readable.locator(".jp-OutputArea-output")) == []
        page.page.screenshot(path=screenshots / f"frames-{theme.lower()}.png")
    expect(outputs.nth(2).locator("table.dataframe")).to_have_count(1)
    expect(outputs.nth(4).locator("table.dataframe")).to_have_count(1)
