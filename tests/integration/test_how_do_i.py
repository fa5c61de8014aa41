"""Each row of the guide's table "How do I …" and each Python cell of its pages runs, on a server with the incident.

On the same server, an incident is gone through in a shell.
"""

from __future__ import annotations

import inspect
import json
import re
import shlex
import shutil
import uuid
import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
import pytest
import typer.main
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab.cli import app
from restate_lab.demo.embedded import Embedded
from restate_lab.demo.stories.incident import INCIDENT
from restate_lab.demo.stories.steps import ids
from support.clusters import NEWEST, running_demo
from support.raw_server import raw_server, respond_with
from support.shell import shell

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "restate_lab" / "guide"
CELL = re.compile(r"^```(python|bash)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = {
    page.stem: page
    for page in (ROOT / "README.md", *sorted(GUIDE.glob("*.md")))
    if "```python" in page.read_text("utf-8")
}
CELLS = {code.strip() for page in PAGES.values() for _, code in CELL.findall(page.read_text("utf-8"))}
EVIDENCE = "inc-42.evidence"
FAILED = "SELECT id, created_at FROM sys_invocation WHERE completion_result = 'failure' LIMIT 20"
YOURS = {
    "http://127.0.0.1:9070": "{admin_url}",
    "http://127.0.0.1:4318": "{collector}",
    "http://new:9080": "{new}",
    "SELECT … FROM invocations": "SELECT count(*) FROM invocations",
    "SELECT …": "SELECT id, target FROM sys_invocation",
    "s3://bucket/": "",
    "getpass.getpass()": "'token'",
    "shop.app:app": "restate_lab.demo.services.orders.payments:payments",
    "reason=…": "reason='INC-42'",
    "execute(…)": "execute(reason='INC-42')",
    "as reader: …": "as reader: rows = reader.read_all()",
    'every="30s", until="10m"': 'every="1s", until="2s"',
    'both.at("30s")': 'both.at("1s")',  # the archive of this test is only some seconds old
}
"""The parts of the text that readers replace, or that take too long for a test, and their values in the tests."""
NO_CODE = {
    *("RESTATE_LAB_READ_ONLY=1", "RESTATE_AUTH_TOKEN", "config.toml"),
    "RESTATE_LAB_READ_ONLY=1 jupyter nbconvert --execute --to html notebook.ipynb",
    *("RESTATE_LAB_SERVE", "restate-lab serve", "?at=14:05Z"),
    'rl.open_history("s3://bucket/history", engine=spark)',
    'RESTATE_LAB_SCREENSHOTS=build/screenshots .venv/bin/pytest -m "" tests/browser tests/integration/test_plots.py',
    "python -m restate_lab.guide --pictures build/screenshots",
    "restate-lab to-test inv_1… --app shop.app:app",
    *("%debug", "restate-lab debug shop.app:app inv_1… --pdb", "restate-lab debug shop.app:app inv_1… --listen 5678"),
    *("build/docs", "pip install 'restate-lab[docs]'", "python -m restate_lab.guide"),
}
"""Variables, files, addresses, commands with the id of an invocation, and what other tests run: the guide, Spark."""
AT_NIGHT = dict.fromkeys(("report", "browse", "agents", "history", "write a report of an incident?"), pytest.mark.long)
"""The slowest pages, and the row that writes three reports; by day, the rows call the same verbs."""


def rows() -> dict[str, list[str]]:
    page = (GUIDE / "how-do-i.md").read_text("utf-8")
    (table,) = re.findall(r"^\| How do I … \| Call \|\n\|---\|---\|\n(.*?)\n\n", page, re.DOTALL | re.MULTILINE)
    cells = [line.strip("| ").split(" | ", maxsplit=1) for line in table.splitlines()]
    return {question: re.findall(r"`([^`]+)`", call) for question, call in cells}


@pytest.fixture(scope="module")
def own(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """Start a server with the incident, which the CLI's environments "demo" and "prod" name."""
    folder = tmp_path_factory.mktemp("guide")
    with running_demo(NEWEST, folder, story=INCIDENT) as demo, pytest.MonkeyPatch.context() as patch:
        address = f'admin_base_url = "{demo.server.admin_url}"\ningress_base_url = "{demo.server.ingress_url}"\n'
        (folder / "config.toml").write_text(f"[demo]\n{address}[prod]\n{address}")
        patch.setenv("RESTATE_CLI_CONFIG_HOME", str(folder))
        patch.setenv("RESTATE_ENVIRONMENT", "demo")
        patch.setenv("RESTATE_LAB_AUDIT", str(folder / "audit"))
        with rl.connect() as lab:
            rl.freeze(lab, folder / EVIDENCE)
        cells = [nbformat.v4.new_code_cell("service = None\nevidence = None", metadata={"tags": ["parameters"]})]
        cells.append(nbformat.v4.new_code_cell("service, evidence"))
        nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "notebook.ipynb")
        yield demo


@pytest.fixture(scope="module")
def collector() -> Iterator[str]:
    with raw_server(respond_with(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")) as server:
        yield server.address


@pytest.fixture
def here(own: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with the files that the rows use: evidence, a notebook, and a folder of tests."""
    shutil.copytree(own.folder / EVIDENCE, tmp_path / EVIDENCE)
    shutil.copy(own.folder / "notebook.ipynb", tmp_path)
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Names(dict[str, Any]):
    """The names that the calls use, created at first use; ``id`` is another invocation each time."""

    numbers = count()

    def __init__(self, demo: Embedded, lab: rl.Lab) -> None:
        import duckdb
        import polars as pl

        super().__init__(rl=rl, lab=lab, timedelta=timedelta, pl=pl, duckdb=duckdb, zlib=zlib)
        self.storm = ids(demo.roles, "storm_503") + ids(demo.roles, "storm_timeout")
        self.makers: dict[str, Callable[[], Any]] = {
            "stuck": lambda: rl.ask(lab, "retry_storm_ids", service="Payments"),
            "frame": lambda: self["stuck"],
            "plan": lambda: rl.plan(lab, "resume", self["stuck"]),
            "diagnosis": lambda: rl.doctor(lab),
            "ids": lambda: ids(demo.roles, "on_old_deployment"),
            "failed": lambda: lab.sql(FAILED),
            "good": lambda: demo.roles["agent_detroit"],
            "bad": lambda: demo.roles["agent_denver"],
            "new": lambda: new_code(demo),
            "deployment": lambda: demo.roles["orders_deployment"],
            "old": lambda: rl.open_evidence(EVIDENCE),
            "history": lambda: rl.open_history("history"),
            "panel": lambda: rl.Panel(lab, service="agent"),
        }

    def __missing__(self, name: str) -> Any:
        if name == "id":
            return self.storm[next(self.numbers) % len(self.storm)]
        self[name] = self.makers[name]()
        return self[name]


@pytest.mark.server
@pytest.mark.parametrize("question", [pytest.param(row, marks=AT_NIGHT.get(row, ())) for row in rows()])
def test_a_row_runs(
    question: str, own: Embedded, collector: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if any("rl.freeze(" in code for code in rows()[question]):
        shutil.rmtree(EVIDENCE)
    with rl.connect() as lab, shell(capsys) as cells:
        if "that archive" in question:
            rl.archive(lab, "history", cluster_name="prod")
        names, call = Names(own, lab), ""
        for code in (code for code in rows()[question] if code not in NO_CODE | CELLS):  # cells run with their page
            code = filled_in(code, own, collector)  # noqa: PLW2901
            if code.startswith("restate-lab"):
                run_command(code)
            elif code.startswith("%"):
                ran = cells.run(code + ("\nSELECT 1 AS one" if code.startswith("%%") else ""))
                assert ran.error is None
            elif code.startswith(("--", ".")) or code.isidentifier():
                assert_known(code)
            elif option := re.match(r"(\w+)=", code):
                assert option[1] in inspect.signature(getattr(rl, call)).parameters, code
            else:
                run_line(code, names)
                call = (re.findall(r"\brl\.(\w+)\(", code) or [call])[0]


@pytest.mark.server
@pytest.mark.parametrize("page", [pytest.param(page, marks=AT_NIGHT.get(page, ())) for page in PAGES])
def test_the_cells_of_a_page_run(
    page: str,
    own: Embedded,
    collector: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each Python cell runs in a shell of IPython after the cells before it, and each command parses."""
    monkeypatch.chdir(tmp_path)
    results = []
    with shell(capsys) as cells:
        for language, code in CELL.findall(PAGES[page].read_text("utf-8")):
            if language == "bash":
                parse_commands(code)
                continue
            cell = cells.run(filled_in(code, own, collector))
            assert cell.error is None, (code, cell.error)
            results.append(cell.value)
        for value in [*results, *cells.ip.user_ns.values()]:
            if isinstance(value, rl.Panel | rl.Evidence | rl.History | rl.Lab):
                value.close()


@pytest.mark.server
def test_an_incident_is_gone_through_in_a_shell(own: Embedded, tmp_path: Path) -> None:
    """Acknowledge the finding, resume what it names, note the end, and hand over a report with all of it in order."""
    incident = f"INC-{uuid.uuid4().hex[:6]}"  # a repeated run of this test has notes of its own
    down, back, told = (f"{incident}: {what}" for what in ("the API is down", "the API is back", "told the shop"))
    finding = next(each for each in found_in_a_shell() if each["check"] == "retry_storm")
    about = ("--finding", finding["fingerprint"], "--until", "2h", "--json")
    assert in_a_shell("note", down, *about)["is_new"]
    (known,) = (each for each in found_in_a_shell() if each["fingerprint"] == finding["fingerprint"])
    assert known["known"]
    assert known["note"].endswith(f": {down}")
    plan = in_a_shell("plan", "resume", "--service", "Payments", "--status", "retrying", "--json")
    outcomes = in_a_shell("execute", plan["plan"], "--reason", back, "--json")
    assert {each["outcome"] for each in outcomes} == {"done"}
    assert in_a_shell("note", told, "--json")["is_new"]
    assert not in_a_shell("note", told, "--json")["is_new"]
    assert [each["text"] for each in in_a_shell("audit", "--notes", "--json")][-2:] == [down, told]
    path = tmp_path / "incident.html"
    printed = CliRunner().invoke(app, ["report", "-o", str(path), "--summary", incident]).stdout.splitlines()
    text = re.sub(r"<[^>]+>", "", path.read_text("utf-8"))
    name, summary, worst = printed
    assert (name, incident in text, worst in text) == (str(path), True, True)
    assert re.match(r"\d+ critical", summary)
    taken = text.rpartition("Actions taken")[2]
    assert sorted((told, back, down), key=taken.index) == [down, back, told]
    again = CliRunner().invoke(app, ["report", "-o", str(path)])
    assert (again.exit_code, "--overwrite" in again.output) == (2, True)


def found_in_a_shell() -> list[dict[str, Any]]:
    """Return the findings of the doctor as its command prints them."""
    return list(in_a_shell("doctor", "--json", code=3)["findings"])


def in_a_shell(*arguments: str, code: int = 0) -> Any:
    """Run a command, and return the document that it prints."""
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == code, ran.output
    return json.loads(ran.stdout)


def filled_in(code: str, own: Embedded, collector: str) -> str:
    """Return the code with values for the parts that readers replace."""
    for yours, ours in YOURS.items():
        if yours in code:
            new = new_code(own) if "{new}" in ours else ""
            code = code.replace(yours, ours.format(admin_url=own.server.admin_url, new=new, collector=collector))
    return code


def new_code(own: Embedded) -> str:
    """Return the address of the new code of the shop, which is not registered."""
    (shop,) = [uri for uri in own.api.deployments().values() if urlsplit(uri).path == "/"]
    return f"{shop}checkout-corrected"


def parse_commands(code: str) -> None:
    """Parse each command of restate-lab as the shell would, without running it."""
    commands: Any = typer.main.get_command(app)
    for line in code.splitlines():
        program, *arguments = shlex.split(line)
        if Path(program).name == "restate-lab":
            commands.commands[arguments[0]].make_context(arguments[0], arguments[1:])


def run_line(code: str, names: Names) -> None:
    """Run a line as a cell would, and its result has a repr; a panel is closed."""
    try:
        made = eval(code, {}, names)  # noqa: S307 - our own text
    except SyntaxError:
        made = exec(code, {}, names)  # noqa: S102 - our own text
    if hasattr(made, "close"):
        made.close()
    assert made is None or repr(made)


def run_command(line: str) -> None:
    """Run a command of the shell; the demo has its own tests, so only its options are checked."""
    _, command, *arguments = shlex.split(line)
    if command == "demo":
        told = CliRunner().invoke(app, ["demo", "--help"])
        assert all(argument in told.output for argument in arguments)
        return
    if command in {"mcp", "serve", "execute"}:  # they run until they are stopped, or need a plan; they have own tests
        parse_commands(line)
        return
    ran = CliRunner().invoke(app, [command, *arguments])
    is_critical = command == "doctor" and "upgrade" not in arguments
    assert ran.exit_code == (3 if is_critical else 0), ran.output


def assert_known(word: str) -> None:
    """Find an option of the report, a command, or the suffix of a file that `save` writes, in the help."""
    if word.startswith("."):
        assert word in str(inspect.getdoc(rl.save))
    elif word.startswith("--"):
        assert word.split(maxsplit=1)[0] in CliRunner().invoke(app, ["report", "--help"]).output
    else:
        assert CliRunner().invoke(app, [word, "--help"]).exit_code == 0
