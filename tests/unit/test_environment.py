"""Child processes get the variables that they need, and no other secrets."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import nbformat
import pytest

import restate_lab
from restate_lab.demo.notebook import run_notebook
from restate_lab.environment import (
    clean_environment,
    kernel_environment,
    npm_environment,
    pip_environment,
    python_environment,
)
from restate_lab.reports.pdf import write_pdf

PACKAGE = Path(restate_lab.__file__).parent
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "canary-aws",
    "GITHUB_TOKEN": "canary-github",
    "DATABASE_URL": "postgres://u:canary-database@h/db",
    "OPENAI_API_KEY": "canary-openai",
    "JUPYTER_TOKEN": "canary-jupyter",
    "RESTATE_OTHER_SECRET": "canary-restate",
    "RESTATE_AUTH_TOKEN": "canary-own",
}
INHERITS_A_CLEAN_ONE = {"process_guard.py"}  # demo/process.py starts it with a clean environment
STARTS = {"Popen", "run", "call", "check_call", "check_output", "npm", "Process"}


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def test_only_a_kernel_gets_the_token() -> None:
    for env in (clean_environment(), python_environment(), npm_environment(), pip_environment()):
        assert "canary" not in json.dumps(env)
        assert "PATH" in env
    kernel = kernel_environment()
    assert [name for name, value in kernel.items() if "canary" in value] == ["RESTATE_AUTH_TOKEN"]


def test_every_process_is_started_with_an_environment_of_its_own() -> None:
    found = [
        (path.name, any(word.arg == "env" for word in node.keywords))
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name not in INHERITS_A_CLEAN_ONE
        and any(word in (code := path.read_text(encoding="utf-8")) for word in ("subprocess", "npm(", "Process("))
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and _starts_a_process(node)
    ]
    assert {"pdf.py", "process.py", "install.py", "server.py", "embedded.py", "jupyter.py"} <= {f for f, _ in found}
    assert [name for name, has_env in found if not has_env] == []


def _starts_a_process(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(value=ast.Name(id="subprocess"), attr=name):
            return name in STARTS
        case ast.Name(id=("npm" | "Process")):
            return True
    return False


def test_chromium_gets_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "chromium"
    pdf = "for a in $*; do case $a in --print-to-pdf=*) printf '%%PDF-1.4 %%%%EOF' > ${a#*=};; esac; done"
    program.write_text(f"#!/bin/sh\nenv > {tmp_path}/seen\n{pdf}\n")
    program.chmod(0o755)
    monkeypatch.setenv("CHROMIUM", str(program))
    write_pdf("<p>x</p>", tmp_path / "x.pdf")
    seen = (tmp_path / "seen").read_text()
    assert "PATH=" in seen
    assert "canary" not in seen


def test_the_kernel_of_a_notebook_gets_its_token_and_no_other_secret(tmp_path: Path) -> None:
    code = f"import json, os; open({str(tmp_path / 'seen')!r}, 'w').write(json.dumps(dict(os.environ)))"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbformat.write(notebook, tmp_path / "n.ipynb")
    run_notebook(tmp_path / "n.ipynb", tmp_path / "executed.ipynb")
    seen = json.loads((tmp_path / "seen").read_text())
    assert [name for name, value in seen.items() if "canary" in value] == ["RESTATE_AUTH_TOKEN"]
