"""Each call that a result shows is accepted, and runs if it only reads: in Python, in a shell, and on a page."""

from __future__ import annotations

import html
import io
import re
import shlex
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main
from click.testing import Result
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab.cli import app
from restate_lab.cli._options import SourceOptions
from restate_lab.cli._page import TextPage
from restate_lab.cli.shell_code import writer
from restate_lab.errors import EvidenceWarning, Truncated
from restate_lab.source import Source
from support.clusters import NEWEST, PLAIN, Clusters, KindServer
from support.page_servers import running_pages
from support.suggested import calls_in, check

SOURCES = ("incident", "empty", "saturated", "archive")
AT_NIGHT = ("without vqueues", "evidence")
PAGES = ("/", "/waits", "/queues", "/agents", "/invocations?status=failed")
CHANGES = re.compile(r"lab\.(?:admin\.(?:create|delete|resume|update|upsert)|ingress)|\.execute\(")
OPEN = re.compile(r"\.\.\.|…|\bapp\b|\bAPP\b")  # parts that the user fills in
COMMAND = re.compile(r"restate-lab [a-z]+(?:-[a-z]+)? ?[^\n#`|]*")
NOT_HEALTHY = {0, 3, 4}  # exit codes of a diagnosis


@dataclass(frozen=True)
class Opened:
    """A source, the cluster that it is from, and the options that open it in a shell."""

    source: Source
    lab: rl.Lab
    options: SourceOptions


@pytest.fixture(params=[*SOURCES, *(pytest.param(name, marks=pytest.mark.long) for name in AT_NIGHT)])
def opened(
    request: pytest.FixtureRequest, clusters: Clusters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Opened]:
    with ExitStack() as stack:
        if request.param == "empty":
            address = stack.enter_context(KindServer(NEWEST)).admin_url
        else:
            kind = PLAIN if request.param == "without vqueues" else NEWEST
            address = clusters.get(kind, "saturated" if request.param == "saturated" else "incident").admin_url
        monkeypatch.chdir(tmp_path)  # for files of the calls
        monkeypatch.setenv("RESTATE_ADMIN_URL", address)  # for commands in sentences, which name no cluster
        lab = stack.enter_context(rl.connect(address, read_only=True, audit=tmp_path / "audit"))
        where = tmp_path / "copy.evidence"
        if request.param == "archive":
            rl.archive(lab, where, cluster_name="incident")
            yield Opened(stack.enter_context(rl.open_history(where)), lab, SourceOptions(evidence=where))
        elif request.param == "evidence":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", EvidenceWarning)  # invocations that changed meanwhile
                rl.freeze(lab, where)
            yield Opened(stack.enter_context(rl.open_evidence(where)), lab, SourceOptions(evidence=where))
        else:
            yield Opened(lab, lab, SourceOptions(address))


def test_each_suggested_call_runs(opened: Opened, tmp_path: Path) -> None:
    """A call that changes something, or of which the user must fill in a part, has existing names and arguments."""
    diagnosis = rl.doctor(opened.source)
    ids = [row["ids"][0] for row in diagnosis.findings.drop_duplicates("check").to_dict("records") if row["ids"]]
    ids = [id_ for id_ in ids if id_.startswith("inv_")]
    results = [diagnosis, *(rl.why(opened.source, id_) for id_ in ids)]
    if opened.source.coverage.open_invocations:
        results.append(rl.waits(opened.source))
    if opened.source is opened.lab:
        results.append(rl.doctor(opened.lab, checks="upgrade"))
    calls = [code for result in results for code in calls_of(result)]
    assert calls
    for code in one_of_each_form(calls):
        run_call(code, opened, diagnosis)
    lines = [line for result in results for line in COMMAND.findall(printed(result, opened.options))]
    assert lines
    for line in one_of_each_form(lines):
        run_command(line)
    with running_pages({"prod": opened.source}, tmp_path) as pages, pages.client() as viewer:
        for path in PAGES:
            page = viewer.get(path)
            assert page.status_code == 200, path
            for code in calls_in(plain(page.text)):
                check(code)


def calls_of(result: Any) -> Iterator[str]:
    """Give the calls in the text, the card and the columns of a result."""
    name = {rl.Diagnosis: "findings", rl.Explanation: "options", rl.Waits: "deadlocks"}[type(result)]
    cells = [str(cell) for row in getattr(result, name).to_numpy() for cell in row]
    for text in (str(result), plain(result._repr_html_()), *cells):
        yield from calls_in(text)


def printed(result: Any, options: SourceOptions) -> str:
    """Return what the command line prints of a result."""
    output = io.StringIO()
    page = TextPage(output)
    page.document(result.document(), writer(options))
    return output.getvalue()


def plain(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page))


def one_of_each_form(calls: Iterable[str]) -> list[str]:
    """Return one of the calls that differ only in ids."""
    return sorted({re.sub(r"\b(inv|dp|sign|prom)_\w+", "", call): call for call in calls}.values())


def run_call(code: str, opened: Opened, diagnosis: rl.Diagnosis) -> None:
    """Run a call that only reads or plans; in a copy of a cluster, a plan is one of the cluster."""
    check(code)
    if CHANGES.search(code) or OPEN.search(code):
        return
    is_of_cluster = re.match(r"lab\.admin|rl\.(plan|move_to|freeze|redrive)\b", code)
    names = {"rl": rl, "lab": opened.lab if is_of_cluster else opened.source, "diagnosis": diagnosis}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Truncated)
        eval(code, names)  # noqa: S307 - the code is what is tested


def run_command(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    if name in {"plan", "execute"} or OPEN.search(line):
        commands: Any = typer.main.get_command(app)
        commands.commands[name].make_context(name, arguments)
        return
    ran: Result = CliRunner().invoke(app, [name, *arguments])
    assert ran.exit_code in (NOT_HEALTHY if name in {"doctor", "waits"} else {0}), (line, ran.output)
