"""Exported lists: their files, what they contain, and ids on the clipboard."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pandas as pd
import pytest

from restate_lab.panels._base import files
from restate_lab.panels.grid import Grid, controller
from restate_lab.panels.panel import Panel
from support.sample_source import SampleSource, invocations

FORMULA = '=HYPERLINK("http://evil.example","x")'
ROWS = invocations(
    {"id": 2, "status": "paused", "failure": FORMULA},
    {"id": 3, "status": "backing-off", "failure": "refused"},
    {"id": 1, "status": "killed", "failure": "[409] killed"},
)

pytestmark = pytest.mark.usefixtures("no_doctor")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr(Grid, "send", lambda _, content, buffers=None: messages.append(content))
    return messages


def export(panel: Panel, name: str) -> Path:
    """Click a button of an export, and return the file that the panel names."""
    panel.click(name)
    assert panel.wait(action=True)
    assert panel.error == ""
    return Path(panel.head.file["path"])


def text_of(workbook: Path) -> str:
    with ZipFile(workbook) as parts:
        return "".join(parts.read(name).decode() for name in parts.namelist())


def test_a_list_is_a_file_beside_the_notebook(make: Callable[..., Panel], folder: Path) -> None:
    """The name has the list and the time; a formula is text; a second file does not replace the first one."""
    panel = make(SampleSource(ROWS), status="all")
    first, second = export(panel, "Export csv"), export(panel, "Export csv")
    assert re.fullmatch(r"invocations-\d{8}-\d{6}\.csv", first.name)
    assert first.parent == second.parent == folder
    assert first != second
    assert len(list(folder.iterdir())) == 2
    frame = pd.read_csv(first)
    assert list(frame["id"]) == list(ROWS["id"])
    assert frame["failure"].iloc[0] == f"'{FORMULA}"
    assert "age" not in frame
    assert panel.head.file["name"] == f"Exported 3 rows: {second.name}"
    assert panel.head.file["href"] == second.name


def test_the_selected_rows_or_those_that_match_are_exported(make: Callable[..., Panel], folder: Path) -> None:
    panel = make(SampleSource(ROWS), status="all")
    panel.fill("search", "refused")
    text = text_of(export(panel, "Export xlsx"))
    assert ROWS["id"][1] in text
    assert not any(each in text for each in (ROWS["id"][0], ROWS["id"][2], "<f>"))
    panel.selected = [ROWS["id"][0]]
    file = export(panel, "Export csv")
    assert list(pd.read_csv(file)["id"]) == [ROWS["id"][0]]
    assert file.name.startswith("invocations-selected-")


def test_an_incomplete_list_says_so_in_its_name_and_in_the_line(make: Callable[..., Panel], folder: Path) -> None:
    panel = make(SampleSource(ROWS), status="all", limit=2)
    file = export(panel, "Export csv")
    assert file.name.startswith("invocations-incomplete-")
    assert panel.head.file["name"] == (f"Exported 2 rows: {file.name}. 2 of 3 invocations on the server are loaded")


def test_ids_are_copied_up_to_a_number_and_more_are_a_file(
    make: Callable[..., Panel], folder: Path, sent: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = make(SampleSource(ROWS), status="all")
    panel.click("Copy ids")
    ids = list(ROWS["id"])
    assert sent[-1] == {"type": "copy", "view": "click", "text": "\n".join(ids), "count": 3}
    assert not list(folder.iterdir())
    monkeypatch.setattr(controller, "MOST_COPIED", 2)
    file = export(panel, "Copy ids")
    assert (file.suffix, file.read_text().splitlines()) == (".txt", ids)


def test_a_table_without_an_export_ignores_the_message(sent: list[dict[str, Any]]) -> None:
    grid = Grid(ROWS)
    grid.receive({"type": "export", "view": "v1", "form": "ids"})
    assert [message for message in sent if message["type"] == "copy"] == []
    assert set(grid.controls(None)) == {"clear selection", "select all"}
    assert grid.controller.error == ""
    grid.close()


def test_an_export_that_fails_is_shown(
    make: Callable[..., Panel], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder in which nothing can be written is an error in the panel, and no file remains."""
    panel = make(SampleSource(ROWS), status="all")

    def fail(*_: object) -> None:
        raise PermissionError("this folder is read-only")

    monkeypatch.setattr(files, "_write_rows", fail)
    panel.click("Export csv")
    assert panel.files.wait(30)
    assert "this folder is read-only" in panel.error
    assert panel.head.file == {}
