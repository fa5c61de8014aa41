"""Errors as a kernel shows them: every kind in one notebook, with a real server."""

from __future__ import annotations

from collections.abc import Sequence

import nbformat
import pytest

from restate_lab.demo.notebook import run_notebook
from support.clusters import Cluster

pytestmark = pytest.mark.server

NOBODY = "http://127.0.0.1:9"
ERRORS = (
    ("lab.sql('SELECT id FROM sys_invocatoin')", "UnknownName", "sys_invocation"),
    ("lab.sql('''\nSELEC id\nFROM sys_invocation''')", "StatementError", "Did you mean 'SELECT'?"),
    (
        "lab.sql('SELECT 1 WHERE 1 = :service', servce=1)",
        "ParameterError",
        ":service has no value. There is a value for",
    ),
    ("lab.sql('UPDATE sys_invocation SET id = 1')", "StatementError", "UPDATE at line 1, column 1 was not sent"),
    (
        "with lab.stream('SELECT id FROM sys_invocation ORDR BY id') as reader:\n    list(reader)",
        "QueryRefused",
        "at line 1, column 36",
    ),
    ("rl.ask(lab, 'retry_strom')", "ArgumentError", "Did you mean 'retry_storm'"),
    (
        "rl.ask(lab, 'retry_storm', service='agnet')",
        "ArgumentError",
        "No service 'agnet' on {name}. Did you mean 'agent'?",
    ),
    ("def look(name):\n    return lab.admin.get_service(name)\n\nlook('agnt')", "NotFound", "Did you mean 'agent'?"),
    ("lab.admin.kill_invocation('inv_1' + 33 * 'a', reason='INC-42')", "ReadOnly", "is read-only"),
    (f"rl.connect('{NOBODY}', token='s3cret')", "Unreachable", "is this its admin address"),
    (
        "rl.connect('{url}', ingress_url='" + NOBODY + "').ingress.send('agent', 'run')",
        "Unreachable",
        "its ingress address",
    ),
    ("import asyncio\nasync def check():\n    rl.ask(lab, 'strom')\nawait check()", "ArgumentError", "'strom'"),
)
"""Cells, the name of the error that each ends with, and a part of its message."""
MOST_LINES = 8


@pytest.fixture(scope="module")
def cells(newest: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Sequence[nbformat.NotebookNode]:
    folder = tmp_path_factory.mktemp("errors")
    sources = [f"import restate_lab as rl\nlab = rl.connect({newest.admin_url!r}, read_only=True)"]
    sources += [source.replace("{url}", newest.admin_url) for source, *_ in ERRORS]
    sources += ["rl.tracebacks('full')", "rl.ask(lab, 'retry_strom')"]
    raises = {"tags": ["raises-exception"]}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each, metadata=raises) for each in sources])
    nbformat.write(notebook, folder / "errors.ipynb")
    run = run_notebook(folder / "errors.ipynb", folder / "out.ipynb", read_only=False)
    assert run.failure == ""
    return nbformat.read(folder / "out.ipynb", as_version=4).cells


def test_an_error_has_at_most_eight_lines_and_no_secret(
    cells: Sequence[nbformat.NotebookNode], newest: Cluster
) -> None:
    name = newest.admin_url.removeprefix("http://")
    for cell, (_, kind, message) in zip(cells[1:], ERRORS, strict=False):
        lines = "\n".join(cell.outputs[-1].traceback).replace("\x1b[1m", "").replace("\x1b[22m", "").splitlines()
        assert lines[0].startswith(f"{kind}: "), lines
        assert message.format(name=name) in lines[0], lines
        assert len(lines) <= MOST_LINES, lines
        assert ", line " in lines[-1], lines
        assert "s3cret" not in str(lines)


def test_full_tracebacks_are_ipythons_own(cells: Sequence[nbformat.NotebookNode]) -> None:
    shown = "\n".join(cells[-1].outputs[-1].traceback)
    assert "Traceback" in shown
    assert "restate_lab/analysis/questions" in shown
