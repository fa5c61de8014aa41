"""CONTRIBUTING: what it names exists, its examples run when they are pasted, and its layers are those of the linter."""

from __future__ import annotations

import ast
import builtins
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import restate_lab as rl
from restate_lab.actions import rules
from restate_lab.analysis.doctor.checks import CHECKS
from restate_lab.analysis.doctor.context import Check
from restate_lab.analysis.questions import catalog
from restate_lab.client.schema import FAMILIES, selected_columns
from restate_lab.panels.panel import Panel, state
from support.archives import DAY, SERVER_SCHEMA, SampleArchive, run
from support.sample_rows import BEFORE, NOW, SampleRows, invocation, sample_id
from support.structure import PACKAGE

ROOT = PACKAGE.parent
CONTRIBUTING = (ROOT / ".github" / "CONTRIBUTING.md").read_text("utf-8")
SINGLE, *RECIPES = re.split(r"^### (?=A (?:column of a finding|result|block)$)", CONTRIBUTING, flags=re.MULTILINE)
EXAMPLES = dict(re.findall(r"`(restate_lab/[\w/]+\.py)`[^`]*:\n\n```python\n(.*?)```", SINGLE, re.DOTALL))
CHANGE = re.compile(r"`([\w./]+)`[^`]*:\n\n```(?:diff|python)\n(.*?)```", re.DOTALL)
(QUESTION,) = re.findall(r"```sql\n(.*?)```", CONTRIBUTING, re.DOTALL)
LONGEST_EXAMPLE = 20
SCHEMA = json.loads(SERVER_SCHEMA)["tables"]
CHECK_FILE, VIEW_FILE = "restate_lab/analysis/doctor/checks/outliers.py", "restate_lab/panels/overview.py"


def test_contributing_names_what_is_there() -> None:
    paths = re.findall(r"(?<![\w/.])(?:\w+\.(?:md|toml)|(?:restate_lab|tests|\.ci|\.github)/[\w./@]*)", CONTRIBUTING)
    added = {path for each in RECIPES for path, _ in CHANGE.findall(each)}
    assert [path for path in paths if path not in added and not (ROOT / path).exists()] == []
    names = re.findall(r"`(\w+)` in\s+`([\w./]+)`", CONTRIBUTING)
    names += [(name, path) for path, name in re.findall(r"(tests/[\w/]+\.py)::(\w+)", CONTRIBUTING)]
    definition = r'^ *(?:class |def |id = ")?{}\b'
    missing = [
        f"{name} in {path}"
        for name, path in names
        if not re.search(definition.format(name), (ROOT / path).read_text("utf-8"), re.MULTILINE)
    ]
    assert missing == []
    assert len(names) > len(EXAMPLES)


@pytest.mark.parametrize("path", EXAMPLES)
def test_an_example_of_contributing_fits_into_its_module(path: str) -> None:
    """An example can be pasted: it is short, and the module has all of its names."""
    code, names = EXAMPLES[path], _pasted(path)
    assert code.count("\n") <= LONGEST_EXAMPLE
    nodes = list(ast.walk(ast.parse(code)))
    bound = {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    assert used - bound - names.keys() - vars(builtins).keys() == set()


def _pasted(path: str) -> dict[str, Any]:
    """Return the names of a module in which an example was pasted."""
    names = dict(vars(importlib.import_module(path.removesuffix(".py").replace("/", "."))))
    exec(EXAMPLES[path], names)  # noqa: S102 - our own text
    return names


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SampleRows:
    """Give two invocations that start in 40 days and one that starts tomorrow, with the pasted question."""
    (tmp_path / "far_schedules.sql").write_text(QUESTION, "utf-8")
    files = [*catalog._files(), tmp_path / "far_schedules.sql"]
    monkeypatch.setattr(catalog, "_files", lambda: iter(files))
    rows = [
        invocation(sample_id(number), "scheduled", scheduled_at=BEFORE, scheduled_start_at=NOW + timedelta(days=days))
        for number, days in enumerate((41, 40, 1))
    ]
    return SampleRows(sys_invocation_status=rows)


def test_the_question_of_contributing_is_answered(source: SampleRows) -> None:
    """Its header is complete, its columns are known, and it returns the rows that it describes."""
    assert len(QUESTION.splitlines()) <= LONGEST_EXAMPLE
    assert {column.name for column in selected_columns(QUESTION)} <= FAMILIES.keys()
    assert list(rl.ask(source, "far_schedules")["id"]) == [sample_id(0), sample_id(1)]
    assert list(rl.ask(source, "far_schedules", after="1h", limit=5)["id"]) == [sample_id(n) for n in range(3)]


def test_the_check_of_contributing_reports_its_finding(source: SampleRows, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function and the row of the table run in the doctor, and the finding has its ids, calls and subject."""
    (row,) = re.findall(r"`(Check\([^`]+\))`", CONTRIBUTING)
    names = _pasted(CHECK_FILE)
    check = eval(row, names | {"Check": Check})  # noqa: S307 - our own text
    monkeypatch.setitem(CHECKS, check.name, check)
    diagnosis = rl.doctor(source, checks=check.name)
    (finding,) = diagnosis.findings.to_dict("records")
    assert finding["title"] == "2 invocations start in more than 30 days"
    assert (finding["check"], finding["where"], finding["count"]) == ("far_schedules", "Svc/run", 2)
    assert finding["ids"] == [sample_id(0), sample_id(1)]
    assert diagnosis.subjects[0].services == ("Svc",)
    for code in (finding["suggested_code"], finding["evidence_code"]):
        assert len(eval(code, {"rl": rl, "lab": source})) == 2  # noqa: S307 - the code is what is tested
    assert rl.doctor(SampleRows(), checks=check.name).findings.empty


def test_the_view_of_contributing_shows_its_rows(source: SampleRows, monkeypatch: pytest.MonkeyPatch) -> None:
    """A panel with the pasted view reads the question and closes."""
    view = _pasted(VIEW_FILE)["SchedulesView"]
    ((name, label),) = re.findall(r'`"(\w+)": "(\w+)",`', CONTRIBUTING)
    monkeypatch.setattr(state, "VIEWS", {**state.VIEWS, name: label})
    monkeypatch.setattr(Panel, "run_doctor", lambda _: None)
    build = Panel._build_view
    monkeypatch.setattr(
        Panel, "_build_view", lambda panel, key: view(panel, tz=panel._tz) if key == name else build(panel, key)
    )
    panel = Panel(source, view=name)
    try:
        panel.wait()
        assert panel.error == ""
        assert list(panel.view.grid.frame["id"]) == [sample_id(0), sample_id(1)]
    finally:
        panel.close()


def test_the_action_of_contributing_is_the_rule() -> None:
    """The rule that it shows is the one in the module, so that its form is that of the other rules."""
    assert EXAMPLES["restate_lab/actions/rules.py"] in Path(rules.__file__).read_text("utf-8")
    assert len(EXAMPLES) == SINGLE.count("```python")


def test_each_of_the_last_examples_reaches_every_surface_in_the_files_that_it_names(tmp_path: Path) -> None:
    """The examples are carried out in a copy, which a new process imports."""
    unwritten = shutil.ignore_patterns("*.pyc.*")  # another worker writes them
    for part in ("restate_lab", "tests/support"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=unwritten)
    (tmp_path / "tests" / "unit").mkdir()
    for part in ("tests/unit/test_document.py", "pyproject.toml"):
        shutil.copy2(ROOT / part, tmp_path / part)
    for recipe in RECIPES:
        changes = CHANGE.findall(recipe)
        assert 2 * len(changes) == recipe.partition("\n## ")[0].count("```"), "the place of each change is known"
        for path, code in changes:
            _carry_out(tmp_path / path, code)
        (number,) = re.findall(r"\b(\d) files", recipe)
        assert len({path for path, _ in changes if not path.startswith("tests/")}) == int(number)
    shutil.unpack_archive(ROOT / "tests" / "samples" / "formats" / "evidence-2" / "evidence.zip", tmp_path / "evidence")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{tmp_path}/tests:{tmp_path}/tests/unit"}
    command = [sys.executable, "-m", "support.pasted", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    package, drawn = json.loads(done.stdout)
    assert Path(package).is_relative_to(tmp_path)
    assert [(text, surface) for text, each in drawn.items() for surface in each if text not in each[surface]] == []


def _carry_out(file: Path, code: str) -> None:
    """Change a file as a diff describes it without line numbers, or add Python to its end."""
    text = file.read_text("utf-8") if file.exists() else ""
    if file.suffix == ".py" and not code.startswith((" ", "+", "-")):
        file.write_text(f"{text}\n\n{code}" if text else code, "utf-8")
        return
    for change in code.split("@@\n"):
        lines = change.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] != "+")
        assert text.count(before) == 1, f"{file}: {before}"
        text = text.replace(before, "".join(line[1:] for line in lines if line[0] != "-"))
    file.write_text(text, "utf-8")


def test_the_groups_are_the_layers_that_are_checked() -> None:
    """The groups of packages, one after the other, are the layers of import-linter, and every package is described."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contract = next(each for each in config["tool"]["importlinter"]["contracts"] if each["id"] == "layers")
    section = CONTRIBUTING.partition("## How it is built")[2].partition("\n## ")[0]
    groups = re.findall(r"^\| [a-z ]+ \| (.+) \|$", section, re.MULTILINE)
    assert 5 < len(groups) < 9
    assert " → ".join(groups).replace("\\|", "|").split(" → ") == contract["layers"]
    described = set(re.findall(r"`restate_lab/(\w+)/", section))
    assert {each.parent.name for each in PACKAGE.glob("*/__init__.py")} <= described


def test_the_page_of_tables_has_each_table_of_a_source(tmp_path: Path) -> None:
    page = CONTRIBUTING.partition("## What a source knows")[2].partition("\n## ")[0]
    assert page.count("\n") < 50
    rows = re.findall(r"^\| (`.+?) \| .+ \| (.+) \|$", page, re.MULTILINE)
    archived = {name for names, where in rows if where != "no" for name in re.findall(r"`(\w+)`", names)}
    archive = SampleArchive(tmp_path / "history")
    archive.visit(DAY, [run(1, DAY)])
    with rl.open_history(archive.path) as history:
        tables = history.tables()
    assert archived == set(tables["table"])
    there = set(tables["table"] + "." + tables["column"])
    named = re.findall(r"`((?:sys_\w+|visits)\.\w+)`", page)
    assert set(named) <= there
    assert {"sys_journal.raw", "sys_journal.entry_json"} <= {
        f"{table}.{name}" for table, columns in SCHEMA.items() for name, *_ in columns
    }
    for name in re.findall(r"`(needs_\w+|is_for_\w+)`", page):
        assert name in Check.__dataclass_fields__
