"""The guide: it builds without a warning, and names nothing that is not there."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import restate_lab as rl
from restate_lab import guide
from restate_lab.actions.table import ACTIONS
from restate_lab.analysis.question_files import names
from restate_lab.client.admin import AdminClient
from restate_lab.client.ingress import IngressClient

PAGES = [
    each.name for each in pkgutil.iter_modules(guide.__path__, "restate_lab.guide.") if "__main__" not in each.name
]


def text(page: str) -> str:
    return importlib.import_module(page).__doc__ or ""


def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    """One command writes a page for each of the guide's modules, for the errors and for the public names."""
    command = [sys.executable, "-W", "error", "-m", "restate_lab.guide", str(tmp_path / "docs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    pages = {page.relative_to(tmp_path / "docs").as_posix() for page in (tmp_path / "docs").rglob("*.html")}
    assert {f"{page.replace('.', '/')}.html" for page in PAGES} <= pages
    assert {"restate_lab.html", "restate_lab/errors.html"} <= pages
    public = (tmp_path / "docs" / "restate_lab.html").read_text(encoding="utf-8")
    assert [name for name in rl.__all__ if name != "errors" and f'id="{name}"' not in public] == []


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_what_is_there(page: str) -> None:
    """Each name of the toolkit in a page's code exists."""
    for code in re.findall(r"`([^`]+)`", text(page)):
        for name in re.findall(r"\brl\.(\w+)", code):
            assert name in rl.__all__, code
        for name in re.findall(r"\blab\.(\w+)", code):
            assert hasattr(rl.Lab, name), code
        for name in re.findall(r"\blab\.admin\.(\w+)", code):
            assert hasattr(AdminClient, name), code
        for name in re.findall(r"\blab\.ingress\.(\w+)", code):
            assert hasattr(IngressClient, name), code
        for name in re.findall(r'rl\.ask\(\w+, "(\w+)"', code):
            assert name in {*names(), "name"}, code


def test_the_catalogues_are_whole() -> None:
    """Every question and every action has its section, and the front page leads to every page."""
    assert re.findall(r"^## (\w+)$", text("restate_lab.guide.questions"), re.MULTILINE) == names()
    assert re.findall(r"^## (\w+)$", text("restate_lab.guide.actions"), re.MULTILINE) == list(ACTIONS)
    assert set(re.findall(r"^- `(\w+)`", text("restate_lab.guide"), re.MULTILINE)) == {
        page.rpartition(".")[2] for page in PAGES
    }
