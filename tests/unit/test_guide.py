"""The guide: it builds without warnings, its links work, and its code matches the public names."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.questions.catalog import names
from restate_lab.guide import actions, columns, faults, questions
from restate_lab.guide.__main__ import GUIDE, names_of_pictures, with_pictures
from restate_lab.magics.magic import _VERBS
from restate_lab.magics.parser import parse
from support.suggested import check

ROOT = Path(__file__).parents[2]
GENERATED = {"actions": actions, "columns": columns, "faults": faults, "questions": questions}
TEXTS = {page.stem: page.read_text("utf-8") for page in sorted(GUIDE.glob("*.md"))}
TEXTS |= {name: str(module.__doc__) for name, module in GENERATED.items()}
PAGES = tuple(TEXTS)
TEXTS |= {
    "README": (ROOT / "README.md").read_text("utf-8"),
    "help": "\n".join(inspect.getdoc(getattr(rl, name)) or "" for name in rl.__all__),
}


@pytest.mark.long  # the build takes most of a minute
def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    """One command builds all pages offline; names have anchors, links lead somewhere, and pictures exist."""
    docs, pictures = tmp_path / "docs", tmp_path / "screenshots"
    pictures.mkdir()
    for name in ("kill-plan", "overview-wide-light", "overview-wide-dark"):
        shutil.copy(ROOT / ".github" / "images" / "panels.png", pictures / f"{name}.png")
    command = [sys.executable, "-m", "restate_lab.guide", docs, "--pictures", pictures]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "what-is-wrong-doctor-light" in done.stdout
    assert "kill-plan" not in done.stdout
    pages = {page.name: page.read_text(encoding="utf-8") for page in docs.glob("*.html")}
    assert {f"{page}.html" for page in PAGES} == set(pages) - {"search.html"}
    assert "kill-plan.png" in pages["act-safely.html"]
    assert re.search(r"only-light.*overview-wide-light.*only-dark.*overview-wide-dark", pages["browse.html"], re.DOTALL)
    assert_anchors(set(re.findall(r'id="restate_lab\.([\w.]+)"', pages["reference.html"])))
    assert "restate_lab.actions.plan.model.Plan" not in "".join(pages.values()), "types are named as users import them"
    for name, page in pages.items():
        assert_links_lead_somewhere(docs / name, page)


def assert_anchors(anchors: set[str]) -> None:
    """Assert that public names, errors, and the attributes and methods of the results are in the reference."""
    assert {*rl.__all__} - {"errors"} <= anchors
    assert {f"errors.{name}" for name in errors.__all__} - {"errors.tracebacks"} <= anchors
    assert {"Plan.execute", "Diagnosis.by_severity", "Lab.sql", "Panel.state", "AdminClient.list_services"} <= anchors


def assert_links_lead_somewhere(file: Path, page: str) -> None:
    """Assert that the targets of links exist and that the page loads nothing from elsewhere."""
    assert re.findall(r'<(?:script|img|iframe)[^>]+src="https?:|<link[^>]+href="https?:', page) == []
    for target in re.findall(r'(?:href|src)="(?!https?:|data:|mailto:)([^"]+)"', page):
        path, _, place = target.partition("#")
        led_to = file.parent / path.partition("?")[0] if path else file
        assert led_to.is_file(), (file.name, target)
        assert not place or f'id="{place}"' in led_to.read_text(encoding="utf-8"), (file.name, target)


def test_a_page_without_its_pictures_explains_how_to_make_them(tmp_path: Path) -> None:
    for folder in (None, tmp_path, tmp_path / "nowhere"):
        page = with_pictures(TEXTS["act-safely"], folder)
        assert page.count("--pictures build/screenshots") == 1
        assert "{figure}" not in page
    assert len(set(names_of_pictures())) == len(names_of_pictures())


def test_pages_for_learners_lead_on() -> None:
    """The front page leads to every page, in the order of the navigation, and a learner's page to the next one."""
    links = re.findall(r"^- \[.*?\]\(([\w-]+)\.md\)", TEXTS["index"], re.MULTILINE)
    navigation = re.findall(
        r"^([a-z][\w-]+)$", "".join(re.findall(r"```\{toctree\}(.*?)```", TEXTS["index"], re.DOTALL)), re.MULTILINE
    )
    assert links == navigation
    assert set(links) == set(PAGES) - {"index"}
    for page, following in pairwise(links[:10]):
        assert re.search(rf"\*\*Next:\*\* \[.*\]\({following}\.md\)\n$", TEXTS[page]), page


def test_trust_names_tests_that_exist() -> None:
    """Each row of the tables names an existing test, and the numbers of faults and gateways are right."""
    rows = re.findall(r"^\| (?!Tried|---).*\|$", TEXTS["trust"], re.MULTILINE)
    tests = re.findall(r"`(tests/[\w/]+\.py)` \|$", TEXTS["trust"], re.MULTILINE)
    assert len(rows) == len(tests)
    assert [test for test in tests if not (ROOT / test).is_file()] == []
    assert f" {len(faults.FAULTS)} faults " in TEXTS["trust"]
    assert f" {len(faults.GATEWAYS)} responses " in TEXTS["trust"]


def pieces(text: str) -> list[str]:
    """Return the pieces of code in a text that name a part of restate_lab."""
    cells = [code for code in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE) if "%" not in code]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    spans = [code for _, code in re.findall(r"(?<!`)(`{1,2})(?!`)(.+?)\1", prose, re.DOTALL)]
    lines = re.findall(r"^ {4,}(?:\w+ = )?((?:rl|lab)\.[^#\n]*)", prose, re.MULTILINE)
    spans += [line for line in lines if line.count("(") == line.count(")")]
    spans = [re.sub(r"(: )?…", r"\1...", " ".join(code.split()).removeprefix(".")) for code in spans]
    return cells + [code for code in spans if re.search(r"\b(rl|lab)\.(?!<TAB>|py\b)", code)]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_code_in_the_guide_compiles_and_calls_existing_functions_and_parameters(text: str) -> None:
    for code in pieces(text):
        check(code)


def test_the_reference_has_each_form_of_the_magic() -> None:
    rows = re.findall(r"^\| `(%{1,2})restate ?(.*?)` \|", TEXTS["reference"], re.MULTILINE)
    requests = [parse(line, "SELECT 1" if sign == "%%" else None) for sign, line in rows]
    assert {request.verb for request in requests} == set(_VERBS)
    assert {request.text for request in requests if request.verb == "frames"} == {"on", "off"}


def test_the_catalogues_are_whole() -> None:
    """Every question and every action has its section, and the menu of ``help(rl)`` has every public name."""
    assert re.findall(r"^## (\w+)$", TEXTS["questions"], re.MULTILINE) == names()
    assert re.findall(r"^## (\w+)$", TEXTS["actions"], re.MULTILINE) == list(ACTIONS)
    menu = set(
        re.findall(r"\w+", " ".join(re.findall(r"^- .*?(?=^- |^The)", rl.__doc__ or "", re.DOTALL | re.MULTILINE)))
    )
    assert set(rl.__all__) <= menu
