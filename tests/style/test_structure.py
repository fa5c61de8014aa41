"""The structure of the package: figures with thresholds, and the rules of the layout.

Import cycles between siblings, private modules and layers are contracts of import-linter, in ``pyproject.toml``.
``python tests/support/structure.py`` prints the figures.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from support.structure import PACKAGE, STRUCTURE, TESTS, Structure, Weight

THRESHOLDS = {
    "lines of a module, most": 500,
    "percent with one importer and under 60 lines": 5,
    "most modules in a folder": 30,
    "import cycles": 0,
    "names of several classes": 0,
    "lines of a function, median": 5,
    "lines of a function, 90th percentile": 20,
    "lines of a function, 99th percentile": 45,
}
"""The maximum of each figure. No limit is so tight that it invites dense lines."""
CEILINGS = {"package": Weight(58_912, 367_751), "tests": Weight(57_227, 419_206)}
"""The most statements and expressions. Lower them with the change that makes the code smaller."""
LEAST_MEDIAN = 130
SMALL_FOR_A_REASON = {
    "restate_lab.demo.services.refunds": "a service with a planted bug, whose module a notebook copies",
    "restate_lab.demo.stories": "the table of the stories; each is a module of its own",
    "restate_lab.demo.stories.agents": "a story",
    "restate_lab.guide.actions": "`help()` shows the page by this name",
    "restate_lab.guide.questions": "`help()` shows the page by this name",
    "restate_lab.panels.grid.static": "reads a grid's model; what it draws with has more users",
    "restate_lab.mcp": "works without the extra: all other importers of the SDK are loaded by it",
    "restate_lab.serve.pages": "the table of the pages; a module has those of one topic",
    "restate_lab.serve": "works without the extra: all other importers of the web server are loaded by it",
    "restate_lab.client.admin": "the public class, made of one module for each kind of operation",
}
VERBS = (
    "actions/plan",
    "actions/redrive",
    "actions/state",
    "analysis/agents",
    "analysis/before_after",
    "analysis/contrast",
    "analysis/doctor",
    "analysis/journal",
    "analysis/waits",
    "analysis/why",
)
"""Packages whose ``__init__`` is a verb, and whose ``reader`` turns SQL into rows."""
LATE = re.compile(
    r"^(?:import|from) (?:duckdb|mcp|mcp_types|nbconvert|polars|restate_lab\.mcp\.server)\b", re.MULTILINE
)
"""Modules that few tests need and that are slow to import: every worker imports every module of tests."""
READS_SQL = {
    "client": "it binds, checks and completes statements",
    "evidence": "it answers them",
    "history": "as evidence, from the tables of an archive",
    "status": "the expression of a status in SQL",
    "demo": "what the demo waits for",
    "query": "examples in the help of `restate-lab sql`",
}
"""Modules and packages besides readers that contain SQL, with the reason."""
SQL = re.compile(r"\bSELECT\b.*\bFROM\s+(?:sys_\w+|state)\b", re.DOTALL)


@pytest.mark.parametrize("figure", THRESHOLDS)
def test_figures(figure: str) -> None:
    assert STRUCTURE.figures[figure] <= THRESHOLDS[figure], _report(figure)


@pytest.mark.parametrize(("part", "structure"), [("package", STRUCTURE), ("tests", Structure(TESTS))])
def test_ceilings(part: str, structure: Structure) -> None:
    """The code has at most the statements and at most the expressions that an earlier change reached."""
    weight, ceiling = structure.weight, CEILINGS[part]
    assert weight.statements <= ceiling.statements
    assert weight.expressions <= ceiling.expressions


def test_modules_are_no_closets() -> None:
    """Half of the modules have 130 lines or more, and a small one with a single importer states its reason."""
    assert STRUCTURE.figures["lines of a module, median"] >= LEAST_MEDIAN
    assert set(STRUCTURE.small_with_one_importer) == set(SMALL_FOR_A_REASON)


def _report(figure: str) -> str:
    details = {
        "import cycles": STRUCTURE.cycles,
        "names of several classes": STRUCTURE.repeated_classes,
        "percent with one importer and under 60 lines": STRUCTURE.small_with_one_importer,
    }
    return f"{figure}: {details.get(figure, '')}"


def _statements(tree: ast.Module) -> Iterator[int]:
    """Yield the lines of strings that are SQL statements; docstrings are not."""
    parents = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, parents) and _documented(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(each.value) if isinstance(each, ast.Constant) else "sys_x" for each in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            text = node.value
        else:
            continue
        if SQL.search(text):
            yield node.lineno


def _documented(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)


def test_sql_is_in_readers() -> None:
    """Statements are in the .sql files of a package and in readers; ``READS_SQL`` lists the exceptions."""
    found = {
        f"{name}:{line}"
        for name, tree in STRUCTURE.trees.items()
        if not READS_SQL.keys() & set(name.split(".")) and name.rpartition(".")[2] != "reader"
        for line in _statements(tree)
    }
    assert found == set()


@pytest.mark.parametrize("package", VERBS)
def test_packages_of_verbs_have_one_interior(package: str) -> None:
    """``__init__`` is the verb, and one module turns SQL into rows."""
    assert (PACKAGE / package / "__init__.py").is_file()
    assert (PACKAGE / package / "reader.py").is_file()


def test_functions_import_what_few_tests_need() -> None:
    """A test imports such a module in its function, and only the workers that run the test load the module."""
    assert [path for path in TESTS.rglob("*.py") if LATE.search(path.read_text("utf-8"))] == []


def test_one_module_interprets_the_flags_of_servers() -> None:
    """Only `server.py` looks up a feature: it knows which features a version has without reporting them."""
    pattern = re.compile(r"features\.get\(|features\[")
    found = [path for path in PACKAGE.rglob("*.py") if pattern.search(path.read_text("utf-8"))]
    assert [path.relative_to(PACKAGE).as_posix() for path in found] == ["server.py"]
