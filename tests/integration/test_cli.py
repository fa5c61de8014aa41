"""The commands that read, against real servers of every kind."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import shlex
import struct
import subprocess
import termios
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab.analysis.journal.drawing import journal_document
from restate_lab.cli import app
from restate_lab.cli._options import SourceOptions
from restate_lab.cli._page import IN_PYTHON, TextPage
from restate_lab.cli.shell_code import writer
from support.bench import wait_for
from support.clusters import NEWEST, Cluster, Clusters
from support.forked import restate_lab
from support.surfaces import foreign_texts

NOBODY = "inv_1" + "0" * 33
PYTHON = re.compile(r"\brl\.|\blab\.|in Python")
SECTIONS = ["Deadlocks", "Root blockers", "Awakeables that are not resolved", "Promises that are not completed"]


def call(cluster: Cluster, *arguments: str, text: str | None = None) -> Any:
    return CliRunner().invoke(app, [*arguments, "--cluster", cluster.admin_url], input=text)


@pytest.mark.parametrize(
    ("payloads", "shown", "hidden"),
    [
        ((), ("24 failing",), ("region", "currency", "eu-west")),
        (("--payloads", "shape"), ("gateway.region", "hidden"), ("eu-west", "EUR")),
        (("--payloads", "values"), ('gateway.region = "eu-west"', "none of"), ()),
    ],
    ids=["none", "shape", "values"],
)
def test_contrast_names_the_planted_cause_as_far_as_it_may_read(
    incident: Cluster, payloads: tuple[str, ...], shown: tuple[str, ...], hidden: tuple[str, ...]
) -> None:
    asked = ("contrast", "--service", "Settlements", "--status", "failed", *payloads)
    text, document = call(incident, *asked), call(incident, *asked, "--json")
    assert text.exit_code == document.exit_code == 0, text.stderr
    for each in hidden:
        assert each not in text.stdout + document.stdout, each
    for each in shown:
        assert each in text.stdout, each
    assert not PYTHON.search(text.stdout)
    first = json.loads(document.stdout)["conditions"][0]
    assert (first["failing_with"], first["failing"]) == (24, 24)
    rows = call(incident, *asked, "--csv", "-").stdout
    assert rows.splitlines()[0].startswith('"group","role","condition"')


def test_contrast_of_a_service_that_does_not_exist_is_an_error(incident: Cluster) -> None:
    told = call(incident, "contrast", "--service", "Settlement")
    assert told.exit_code == 2
    assert "Did you mean 'Settlements'?" in told.stderr


def test_the_doctor_ends_with_code_3_if_a_cluster_has_problems(incident: Cluster) -> None:
    # On a cluster that has just started, retries are only a note.
    storm = re.compile(r"^(CRITICAL|WARNING) \d+ invocations of Payments/charge retry", re.MULTILINE)
    told = wait_for(lambda: call(incident, "doctor"), lambda told: storm.search(told.stdout), within=200)
    assert told.exit_code == 3
    assert re.search(rf"next: restate-lab plan cancel inv_1.* -e {incident.admin_url}", told.stdout)
    assert "next: restate-lab why inv_1" in told.stdout
    (planned,) = re.findall(r"plan: restate-lab (plan resume --question .* -p handler=charge .*)", told.stdout)
    assert re.search(r"resume \d+ of \d+ invocations", CliRunner().invoke(app, shlex.split(planned)).stdout)
    every = call(incident, "plan", "resume", "--question", "retry_storm_ids", "--json")
    assert "will fail again: 3 Loyalty/redeem have no deployment (RT0011)" in json.loads(every.stdout)["warnings"][0]
    assert not PYTHON.search(told.stdout)
    lines = told.stdout.splitlines()
    headlines = [line for line in lines if line.startswith(("CRITICAL ", "WARNING "))]
    assert any("invocations of Payments/charge retry the step “charge card”" in line for line in headlines)
    assert re.search(r"^  for [\w ]+ · retry_storm · [0-9a-f]{16}$", told.stdout, re.MULTILINE)
    assert re.match(r"\d+ critical\b", lines[0])
    assert lines[0] == lines[-1]
    found = json.loads(call(incident, "doctor", "--check", "deadlocks", "--json").stdout)
    assert found["worst"] == "critical"
    assert found["findings"][0]["suggested_code"].startswith('rl.plan(lab, "cancel", ')
    assert set(found["findings"][0]["ids"]) & set(incident.roles.values())
    assert [each["check"] for each in found["checked"]] == ["deadlocks"]


def test_the_doctor_on_a_healthy_cluster(healthy: Cluster) -> None:
    """Nothing critical is code 0, and --quiet then prints nothing; checks that ran out of time are code 4."""
    checks = ("doctor", "--quiet", "--check", "paused", "--check", "retry_storm")
    quiet = call(healthy, *checks)
    assert (quiet.exit_code, quiet.output) == (0, "")
    hurried = call(healthy, *checks, "--timeout", "0s")
    assert hurried.exit_code == 4
    assert "Not checked: " in hurried.stdout


def test_why_explains_an_invocation_and_an_unknown_one_is_code_1(incident: Cluster) -> None:
    id_ = incident.ids("hot_key_holder")[0]
    told = call(incident, "why", id_)
    assert told.exit_code == 0
    assert id_ in told.stdout
    assert re.search(r"^now +suspended ", told.stdout, re.MULTILINE)
    assert re.search(r"^blocks +\d+", told.stdout, re.MULTILINE)
    assert f"restate-lab plan cancel {id_} -e {incident.admin_url}" in told.stdout
    assert not PYTHON.search(told.stdout)
    assert json.loads(call(incident, "why", id_, "--json").stdout)["id"] == id_
    nobody = call(incident, "why", NOBODY)
    assert nobody.exit_code == 1
    assert nobody.stdout == ""
    assert call(incident, "why", "inv_nonsense").exit_code == 2


def test_waits_lists_deadlocks_and_ends_with_code_3(incident: Cluster) -> None:
    told = call(incident, "waits", "--top", "1")
    assert told.exit_code == 3
    lines = told.stdout.splitlines()
    assert re.match(r"3 deadlocks · ", lines[0])
    assert [line.partition(" (")[0] for line in lines if line.endswith("):")] == SECTIONS
    assert re.search(rf"next: restate-lab plan cancel inv_1\w+ -e {incident.admin_url}", told.stdout)
    assert re.search(r"- blocks \d+: Account/acme-retail/audit inv_1\w+ is suspended", told.stdout)
    assert re.search(r"\d+ more; --top \d+ shows all", told.stdout)
    found = json.loads(call(incident, "waits", "--json").stdout)
    assert {row["certain"] for row in found["deadlocks"]} == {True}
    edges = call(incident, "waits", "--part", "edges", "--csv", "-")
    assert edges.stdout.count("\n") == len(found["edges"]) + 1


def test_journal(incident: Cluster) -> None:
    """The entries of an invocation and of its callees are a tree with bars; a failing step has its error below it."""
    caller = incident.ids("storm_caller")[0]
    told = call(incident, "journal", caller, "--depth", "2")
    assert told.exit_code == 0, told.stderr
    lines = told.stdout.splitlines()
    at = next(at for at, line in enumerate(lines) if "Run charge card" in line)
    assert re.match(r"3    Run charge card +↻ (backing-off|running) .*[▓╳]", lines[at])
    assert re.search(r"\d+ failed attempts.*ProviderDown\(", lines[at + 1])
    assert re.match(r"5 entries: 1 (backing-off|running), 1 waiting, 3 done", lines[-3])
    assert lines[-1] == f"next: restate-lab why {caller} -e {incident.admin_url}"
    found = json.loads(call(incident, "journal", caller, "--json").stdout)
    assert [row["entry_type"] for row in found["entries"]] == ["Input", "Call"]
    assert call(incident, "journal", NOBODY).exit_code == 1


@pytest.mark.server
def test_no_line_is_wider_than_the_terminal(clusters: Clusters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    played = clusters.get(NEWEST, "incident")
    target = SourceOptions(played.admin_url)
    with rl.connect(played.admin_url, read_only=True) as lab:
        diagnosis, waits = rl.doctor(lab), rl.waits(lab)
        explanations = [rl.why(lab, played.ids(role)[0]) for role in ("hot_key_holder", "storm_caller")]
        journal = rl.journal(lab, played.ids("storm_caller")[0], depth=2)
    for width in (80, 120, 200):
        monkeypatch.setenv("COLUMNS", str(width))
        terminal = Terminal()
        documents = [result.document() for result in (diagnosis, waits, *explanations)]
        for document in (*documents, journal_document(journal)):
            TextPage(terminal).document(document, writer(target))
        lines = [line.strip() for line in terminal.getvalue().splitlines()]
        assert foreign_texts("\n".join(line for line in lines if not line.startswith(IN_PYTHON)), "shell") == []
        wide = [line for line in terminal.getvalue().splitlines() if cell_len(line) > width]
        assert [line for line in wide if " " in line.strip(" \\") and "'SELECT" not in line] == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_every_reading_command_takes_evidence_and_needs_no_cluster(newest: Cluster, tmp_path: Path) -> None:
    path = str(tmp_path / "frozen")
    assert call(newest, "freeze", path, "--service", "agent").stdout.strip() == path
    runner = CliRunner()
    statement = "SELECT count(*) AS n FROM sys_invocation WHERE target_service_name = 'agent'"
    frozen = json.loads(runner.invoke(app, ["sql", statement, "--evidence", path, "--json"]).stdout)
    assert frozen == json.loads(call(newest, "sql", statement, "--json").stdout)
    assert runner.invoke(app, ["why", newest.roles["agent_denver"], "--evidence", path]).exit_code == 0
    assert call(newest, "freeze", path).exit_code == 2
    assert call(newest, "sql", "SELECT 1", "--evidence", path).exit_code == 2


@pytest.mark.server
def test_no_traceback_for_what_is_not_there_or_not_allowed(newest: Cluster, tmp_path: Path) -> None:
    """A cluster that is down, a folder without evidence, a full disk: one line on stderr, and 1 or 2."""
    mistakes: list[tuple[list[str], int]] = [
        (["sql", "SELECT 1", "-e", "http://127.0.0.1:9"], 1),
        (["doctor", "-e", "http://127.0.0.1:9"], 1),
        (["doctor", "-e", "no-such-environment"], 1),
        (["waits", "-e", "http://127.0.0.1:9"], 1),
        (["journal", "inv_nope", "-e", newest.admin_url], 2),
        (["doctor", "--check", "nope", "-e", newest.admin_url], 2),
        (["doctor", "--evidence", str(tmp_path)], 1),
        (["ask", "overview", "-e", newest.admin_url, "--csv", "/dev/full/x.csv"], 2),
        (["why", "inv_nope", "-e", newest.admin_url], 2),
        (["sql", "DELETE FROM sys_invocation", "-e", newest.admin_url], 2),
        (["freeze", str(tmp_path), "-e", newest.admin_url], 2),
        (["report", str(tmp_path / "n.ipynb"), "-o", str(tmp_path / "o.html")], 2),
        (["compare", str(tmp_path / "nowhere"), "-e", newest.admin_url], 2),
    ]
    for arguments, code in mistakes:
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == code, (arguments, done.stderr, done.exception)
        assert isinstance(done.exception, SystemExit), arguments  # any other exception is a traceback
        assert done.stdout == "", arguments
        assert done.stderr.startswith("restate-lab: "), (arguments, done.stderr)


@pytest.mark.server
def test_a_terminal_gets_a_table_that_fits(newest: Cluster) -> None:
    statement = "SELECT id, target, 'x' || chr(27) || '[31m' || repeat('long ', 30) AS text FROM sys_invocation LIMIT 2"
    shown = at_a_terminal(90, "sql", statement, "-e", newest.admin_url)
    lines = shown.splitlines()
    assert max(map(len, lines[:7])) == 90
    assert "\x1b" not in "".join(lines[:7])
    assert all(re.match(r"inv_…\w{4,} ", each) for each in lines[3:7:2])
    assert all(each.startswith("    x‹U+001B›[31mlong long") for each in lines[4:7:2])
    assert lines[7] == "\x1b[2mwhole ids: --full-ids\x1b[0m"
    assert lines[8].startswith(f"\x1b[2m2 rows · {newest.admin_url.removeprefix('http://')}, restate ")
    whole = at_a_terminal(90, "sql", statement, "-e", newest.admin_url, "--full-ids").splitlines()
    assert all(len(each.split()[0]) == 38 for each in whole[3:7:2])


@pytest.mark.server
def test_the_overview_of_the_incident_fits_a_screen(clusters: Clusters) -> None:
    """22 rows have at most 40 lines of at most 100 columns in a terminal; in a pipe they are complete."""
    played = clusters.get(NEWEST, "incident")
    lines = at_a_terminal(100, "ask", "overview", "-e", played.admin_url).splitlines()
    with rl.connect(played.admin_url, read_only=True) as lab:
        frame = rl.ask(lab, "overview")
    assert len(frame) >= 20
    assert len(lines) <= 40
    assert max(cell_len(re.sub(r"\x1b\[\d*m", "", line)) for line in lines) <= 100
    piped = call(played, "ask", "overview").stdout.splitlines()
    assert piped[0].split() == list(frame.columns)
    assert set(frame["oldest_id"]) & set("\n".join(piped).split())


@pytest.mark.server
def test_a_pipe_that_closes_is_no_error(newest: Cluster) -> None:
    statement = "SELECT repeat('x', 300) AS text FROM generate_series(1, 20000)"
    command = [*restate_lab(), "sql", statement, "-e", newest.admin_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.readline()
        assert running.stdout.readline() == b"x" * 300 + b"\n"
        running.stdout.close()
        assert running.stderr.read() == b""


def at_a_terminal(width: int, *arguments: str) -> str:
    """Return the output of a command at a terminal of that width; stderr is that terminal, too."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    env["TERM"] = "xterm-256color"
    with subprocess.Popen([*restate_lab(), *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=env) as running:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # Linux reports this when the other side is closed
            pass
        finally:
            os.close(ours)
        assert running.wait(30) == 0, shown
    return shown.decode().replace("\r\n", "\n")
