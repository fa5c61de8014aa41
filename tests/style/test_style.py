"""The style rules that no tool checks: sizes, names, imports, and what the repository must not contain."""

from __future__ import annotations

import ast
import json
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "restate_lab"
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST_MODULE = 500
LONGEST_FUNCTION = 40


def tracked() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(ROOT)))
def test_sizes(module: Path) -> None:
    """No module above 500 lines, no function above 40."""
    source = module.read_text(encoding="utf-8")
    assert source.count("\n") <= LONGEST_MODULE
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            lines = (node.end_lineno or 0) - node.lineno - (docstring.count("\n") + 1 if docstring else 0)
            assert lines <= LONGEST_FUNCTION, f"{node.name} has {lines} lines"


def test_below_the_panels_progress_is_plain() -> None:
    """Only panels pass a notebook's bar: nothing else imports tqdm.auto or tqdm.notebook."""
    for module in MODULES:
        if PACKAGE / "panels" not in module.parents:
            source = module.read_text(encoding="utf-8")
            assert not {"tqdm.auto", "tqdm.notebook"} & set(source.replace('"', " ").split()), module


def test_every_module_says_its_job() -> None:
    """Every module begins with its docstring."""
    assert [str(module) for module in MODULES if not ast.get_docstring(ast.parse(module.read_text("utf-8")))] == []


def test_no_rooms_without_a_name() -> None:
    """There is no ``utils`` and no ``helpers``."""
    assert [str(module) for module in MODULES if module.stem in {"utils", "helpers", "common", "misc"}] == []


KNOWS_SOURCES = {"client", "evidence"}  # it has the classes, and is_lab(), which decides whether changes are possible


def test_no_verb_asks_which_source_it_has() -> None:
    """A source describes itself with ``live`` and ``coverage``; a change calls ``require_lab()``."""
    asking = []
    for module in MODULES:
        if module.relative_to(PACKAGE).parts[0] not in KNOWS_SOURCES:
            tree = ast.parse(module.read_text("utf-8"))
            asking += [f"{module}:{node.lineno}" for node in ast.walk(tree) if _asks_which_source(node)]
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
    """Outputs and execution counts are stripped."""
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
