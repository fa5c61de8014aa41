"""The style rules that no tool checks: imports, and what the repository must not contain."""

from __future__ import annotations

import ast
import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from support.structure import STRUCTURE

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "restate_lab"
MODULES = sorted(PACKAGE.rglob("*.py"))


def tracked() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def test_below_the_panels_progress_is_plain() -> None:
    """Only panels pass a notebook's bar: nothing else imports tqdm.auto or tqdm.notebook."""
    for module in MODULES:
        if PACKAGE / "panels" not in module.parents:
            source = module.read_text(encoding="utf-8")
            assert not {"tqdm.auto", "tqdm.notebook"} & set(source.replace('"', " ").split()), module


def test_every_module_has_a_docstring() -> None:
    assert [name for name, tree in STRUCTURE.trees.items() if not ast.get_docstring(tree)] == []


def test_no_module_imports_another_one_by_its_name() -> None:
    """Then the layers would not be checked; the package itself, which has the public names, is the lowest layer."""
    named = [
        f"{name}:{node.lineno}"
        for name, tree in STRUCTURE.trees.items()
        for node in ast.walk(tree)
        if name != "restate_lab" and isinstance(node, ast.Call) and _names_a_module(node)
    ]
    assert named == []


def _names_a_module(call: ast.Call) -> bool:
    """Return whether a call of any function that imports has the name of one of our modules."""
    first = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else ""
    return "import" in ast.unparse(call.func) and str(first).startswith("restate_lab")


@pytest.mark.parametrize("text", ["importlib.import_module({})", "import_extra({}, 'x')", "__import__({})"])
def test_an_import_by_name_is_found(text: str) -> None:
    calls = [ast.walk(ast.parse(text.format(repr(name)))) for name in ("restate_lab.serve", "numpy")]
    found = [[_names_a_module(node) for node in each if isinstance(node, ast.Call)] for each in calls]
    assert found == [[True], [False]]


KNOWS_SOURCES = {"client", "evidence"}  # it has the classes, and is_lab(), which decides whether changes are possible


def test_no_verb_asks_which_source_it_has() -> None:
    """A source describes itself with ``live`` and ``coverage``; a change calls ``require_lab()``."""
    asking = [
        f"{name}:{node.lineno}"
        for name, tree in STRUCTURE.trees.items()
        if KNOWS_SOURCES.isdisjoint(name.split(".")[1:2])
        for node in ast.walk(tree)
        if _asks_which_source(node)
    ]
    assert asking == []


def _asks_which_source(node: ast.AST) -> bool:
    """Return True if a node is isinstance(…, Lab), type(source) is …, hasattr(source, …) or similar."""
    if isinstance(node, ast.Compare):
        calls = [each for each in (node.left, *node.comparators) if isinstance(each, ast.Call)]
        return any(ast.unparse(each) in {"type(source)", "type(lab)"} for each in calls)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or len(node.args) < 2:
        return False
    subject, kinds = node.args[:2]
    if node.func.id in {"isinstance", "issubclass"}:
        return bool({"Lab", "Evidence"} & {getattr(each, "id", getattr(each, "attr", "")) for each in ast.walk(kinds)})
    return node.func.id == "hasattr" and ast.unparse(subject).rpartition(".")[2] in {"source", "lab"}


def test_notebooks_have_no_outputs() -> None:
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(notebook.read_text("utf-8"))["cells"]
        assert not [c for c in cells if c.get("outputs") or c.get("execution_count")], notebook.name


def test_no_machine_paths_and_no_lock_files() -> None:
    """The repository has no path of a developer's machine, also within packed files, and no lock file."""
    forbidden = [f"{Path.home()}/".encode(), f"{ROOT}/".encode()]
    for file in tracked():
        assert not file.name.endswith((".lock", "package-lock.json")), file
        if file.suffix != ".png" and file != Path(__file__):
            contents = _packed_contents(file) if file.suffix == ".zip" else [file.read_bytes()]
            assert not [path for path in forbidden for content in contents if path in content], file


def _packed_contents(file: Path) -> list[bytes]:
    with zipfile.ZipFile(file) as packed:
        return [packed.read(name) for name in packed.namelist()]
