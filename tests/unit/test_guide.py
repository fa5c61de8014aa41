"""The guide: it builds without a warning, and names nothing that is not there."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import restate_lab as rl
from restate_lab import guide
from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.questions.catalog import names
from restate_lab.analysis.questions.parameters import parameters_of
from restate_lab.guide import tour

ROOT = Path(__file__).parents[2]
PAGES = [
    each.name for each in pkgutil.iter_modules(guide.__path__, "restate_lab.guide.") if "__main__" not in each.name
]


def text(page: str) -> str:
    return importlib.import_module(page).__doc__ or ""


def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    """One command writes a page for each text, for the errors and the public names; links and pictures are there."""
    docs, pictures = tmp_path / "docs", tmp_path / "screenshots"
    pictures.mkdir()
    shutil.copy(ROOT / ".github" / "images" / "panels.png", pictures / "kill-plan.png")
    command = [sys.executable, "-W", "error", "-m", "restate_lab.guide", docs, "--pictures", pictures]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "not there: what-is-wrong-doctor-light" in done.stdout
    assert "kill-plan" not in done.stdout
    pages = {page.relative_to(docs).as_posix(): page.read_text(encoding="utf-8") for page in docs.rglob("*.html")}
    assert {f"{page.replace('.', '/')}.html" for page in PAGES} <= set(pages)
    assert {"restate_lab.html", "restate_lab/errors.html"} <= set(pages)
    assert [name for name in rl.__all__ if name != "errors" and f'id="{name}"' not in pages["restate_lab.html"]] == []
    assert {'id="Plan.execute"', 'id="Diagnosis.verdict"'} <= set(re.findall(r'id="[\w.]+"', pages["restate_lab.html"]))
    assert "restate_lab.actions.plan.model.Plan" not in "".join(pages.values()), "types are named as users import them"
    assert "![" not in "".join(pages.values())
    for name, page in pages.items():
        for target in re.findall(r'(?:href|src)="(?!https?:|data:|\$)([^"]+)"', page):
            path, _, place = target.partition("#")
            led_to = (docs / name).parent / path if path else docs / name
            assert led_to.is_file(), (name, target)
            assert not place or f'id="{place}"' in led_to.read_text(encoding="utf-8"), (name, target)


def test_the_tour_without_pictures_says_how_they_are_made(tmp_path: Path) -> None:
    """A folder that is not there, or has none, is no error: the page has the two commands in their place."""
    for folder in (None, tmp_path, tmp_path / "nowhere"):
        assert "--pictures build/screenshots" in tour.render_page(folder)
        assert "![" not in tour.render_page(folder)


TEXTS = {page.rpartition(".")[2]: page for page in PAGES} | {"README": "README", "help": "help"}
BEHIND = {"rl": rl, "lab": rl.Lab, "lab.admin": rl.AdminClient, "lab.ingress": rl.IngressClient}
METHODS = {"execute": rl.Plan.execute, "first": rl.Plan.first, "add": rl.Report.add, "write": rl.Report.write}
"""What the names in the texts are; a method of a call's answer is known by its own name."""


def pieces(page: str) -> list[str]:
    """Return the pieces of code in a text that name something of the toolkit."""
    if page == "README":
        told = (ROOT / "README.md").read_text("utf-8")
    elif page == "help":
        told = "\n".join(inspect.getdoc(getattr(rl, name)) or "" for name in rl.__all__)
    else:
        told = text(page)
    spans = re.findall(r"```.*?```|(?<!`)(`{1,2})(?!`)(.+?)\1", told, re.DOTALL)
    lines = re.findall(r"^ {4,}(?:\w+ = )?((?:rl|lab)\.[^#\n]*)", told, re.MULTILINE)
    spans += [("", line) for line in lines if line.count("(") == line.count(")")]
    return [code for _, code in spans if re.search(r"\b(rl|lab)\.(?!<TAB>|py\b)", code)]


@pytest.mark.parametrize("page", TEXTS.values(), ids=TEXTS)
def test_code_in_the_texts_fits_what_it_calls(page: str) -> None:
    """Each piece of code compiles, and its calls name functions, parameters and questions that there are."""
    for code in pieces(page):
        tree = ast.parse(re.sub(r"(: )?…", r"\1...", " ".join(code.split()).removeprefix(".")))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and (owner := BEHIND.get(ast.unparse(node.value))):
                assert hasattr(owner, node.attr), code
            if isinstance(node, ast.Call) and (called := behind(node.func)):
                assert_fits(called, node, code)


def behind(function: ast.expr) -> Any:
    """Return what is called, None where that is none of ours."""
    if not isinstance(function, ast.Attribute):
        return None
    owner = BEHIND.get(ast.unparse(function.value))
    return getattr(owner, function.attr) if owner else METHODS.get(function.attr)


def assert_fits(called: Any, call: ast.Call, code: str) -> None:
    """Bind the arguments as Python would; an ellipsis stands for all that is not written down."""
    open_end = any(isinstance(each, ast.Constant) and each.value is ... for each in call.args)
    positional = [None for each in call.args if not (isinstance(each, ast.Constant) and each.value is ...)]
    signature = inspect.signature(called)
    if next(iter(signature.parameters), "") == "self":
        positional.insert(0, None)
    named = {each.arg: None for each in call.keywords if each.arg}
    (signature.bind_partial if open_end or not call.args + call.keywords else signature.bind)(*positional, **named)
    if called is rl.ask and len(call.args) > 1 and isinstance(call.args[1], ast.Constant):
        question = call.args[1].value
        assert question in {*names(), "name"}, code
        takes = {"timeout", "now", "parameter"} | {each.name for each in parameters_of(question)}
        assert set(named) <= takes, code


def test_the_catalogues_are_whole() -> None:
    """Every question and every action has its section, and the front page leads to every page."""
    assert re.findall(r"^## (\w+)$", text("restate_lab.guide.questions"), re.MULTILINE) == names()
    assert re.findall(r"^## (\w+)$", text("restate_lab.guide.actions"), re.MULTILINE) == list(ACTIONS)
    assert set(re.findall(r"^- `(restate_lab\.guide\.\w+)`", text("restate_lab.guide"), re.MULTILINE)) == set(PAGES)
    menu = set(
        re.findall(r"\w+", " ".join(re.findall(r"^- .*?(?=^- |^The)", rl.__doc__ or "", re.DOTALL | re.MULTILINE)))
    )
    assert set(rl.__all__) <= menu
