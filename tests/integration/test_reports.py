"""Reports on real servers of every kind: the ready one, every addition, and the guide's line for a notebook."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pyarrow as pa
import pytest

import restate_lab as rl
from restate_lab.environment import python_environment
from restate_lab.errors import ArgumentError
from restate_lab.reports.pdf import find_chromium
from restate_lab.source import SourceWrapper
from support.clusters import NEWEST, Cluster
from support.sample_reports import Page

PACKAGE = Path(rl.__file__).parent
CHAPTERS = (
    "What is wrong",
    "Timeline",
    "The worst findings in detail",
    "What the failing ones share",
    "Invocations",
    "Wait-for graph",
    "Retries",
    "Failures and pauses",
    "Latency and throughput",
    "Deployments",
    "Actions taken",
    "Appendix: how the data was read",
)


@pytest.fixture
def lab(incident: Cluster, tmp_path: Path) -> Iterator[rl.Lab]:
    with rl.connect(incident.admin_url, audit=tmp_path / "audit") as connected:
        yield connected


def test_an_incident_report_has_every_chapter_with_causes_ids_pictures_and_sql(
    lab: rl.Lab, incident: Cluster, tmp_path: Path
) -> None:
    source = _CountingValues(lab)
    path = rl.incident_report(source, tmp_path / "inc.html", summary="The provider is down.")
    page = Page(path.read_text("utf-8"))
    numbered = re.findall(r"(\d+)</span> ([^<]+)</h2>", page.html)
    assert numbered == [(str(n), title) for n, title in enumerate(CHAPTERS, 1)]
    assert "Not read" not in page.text
    assert "omitted, because" not in page.text
    shared = page.text.partition("What the failing ones share")[2]
    assert "24 invocations of Settlements/settle failed permanently" in shared
    assert "eu-west" not in page.html
    verdict = re.search(r'<p class="verdict">([^<]+)</p>', page.html)
    assert verdict is not None
    assert re.fullmatch(
        r"15 invocations of Payments/charge retry the step “charge card”, up to \d+ attempts, since \d\d:\d\d UTC "
        r"\(HTTP 503\); they block 3 Orders/place\.",
        verdict[1],
    )
    order = ("Incident at Payments/charge on", verdict[1], "The provider is down.", "affected", "in flight", "Contents")
    places = [page.text.index(each) for each in (*order, "1 What is wrong")]
    assert places == sorted(places)
    lanes = re.findall(r'<div class="lane-name" title="([^"]+)">', page.html)
    assert {"Payments/charge", "created", "ended", "new errors", "paused", "deployments", "restarts"} <= set(lanes)
    assert re.search(r"<summary[^>]*>\d+ more: \d critical", page.html)
    assert page.text.count("deployment registered") > 2  # a row for many of them, and each of them folded below
    assert not {"lab.at(", "rl.plan("} & set(re.findall(r"\b(?:rl|lab)\.\w+\(", page.text))  # no next step in Python
    for text in ("charge card", "acme-retail", "deadlock", "RT0016", incident.version, lab.name, "rl.ask(source,"):
        assert text in page.text
    for role in ("hot_key_holder", "paused_by_hand", "deadlock_self"):
        assert incident.roles[role] in page.html
    assert sum(tag == "img" for tag, _ in page.tags) >= 4
    assert not list(page.loaded_addresses())
    assert not list(page.active_parts())
    folded = [each for tag, each in page.tags if tag == "details" and each.get("class") == "sql"]
    assert len(folded) >= 9
    assert "FROM sys_invocation" in page.text
    assert len(source.sent) > 40
    assert {what: times for what, times in source.sent.items() if times > 1} == {}, "a statement was sent twice"


def test_a_short_report_has_five_findings_the_timeline_and_the_actions_without_sql(lab: rl.Lab, tmp_path: Path) -> None:
    page = Page(rl.incident_report(lab, tmp_path / "short.html", length="short").read_text("utf-8"))
    titles = re.findall(r"</span> ([^<]+)</h2>", page.html)
    assert titles == ["What is wrong", "Timeline", "Actions taken"]
    assert page.html.count('<div role="listitem"') == 5
    assert re.search(r"\d+ more: \d critical", page.text)
    assert not [tag for tag, _ in page.tags if tag == "details"]
    assert "SELECT" not in page.text
    assert "Not in this short report: The worst findings in detail, What the failing ones share" in page.text
    with pytest.raises(ArgumentError, match="unknown length 'brief'; choose 'short' or 'full'"):
        rl.incident_report(lab, tmp_path / "brief.html", length="brief")  # type: ignore[arg-type]


ASKED = {"frame", "doctor", "why", "waits", "journal", "plan", "state", "comparison", "panel", "overview"}


@pytest.mark.long
def test_each_result_can_be_added_and_an_executed_plan_has_its_outcome(
    lab: rl.Lab, incident: Cluster, tmp_path: Path
) -> None:
    storm, overview = rl.ask(lab, "retry_storm_ids"), rl.ask(lab, "overview")
    plan = rl.plan(lab, "resume", storm.head(5))
    holder = incident.ids("hot_key_holder")[0]
    frozen = rl.open_evidence(rl.freeze(lab, tmp_path / "before"))
    outcome = plan.execute(reason="INC-42: the gateway is back")
    panels = [rl.Panel(lab), rl.Panel(lab, view="overview")]
    things = {
        "frame": (overview, "table"),
        "axes": (rl.plot(overview), "picture"),
        "doctor": (rl.doctor(lab), "findings"),
        "why": (rl.why(lab, holder), "card"),
        "waits": (rl.waits(lab), "picture card"),
        "journal": (rl.journal(lab, holder), "card table"),
        "plan": (plan, "card table"),
        "outcome": (outcome, "table"),
        "state": (rl.state(lab, "Account", "acme-retail"), "card"),
        "comparison": (rl.compare(frozen, lab), "prose"),
        "panel": (panels[0], "card"),
        "overview": (panels[1], "card"),
        "text": ("a note", "prose"),
    }
    report = rl.Report("Everything", source=lab)
    for name, (thing, parts) in things.items():
        report = report.add(thing, caption=f"caption of {name}")
        found = " ".join(type(each).__name__.lower() for each in report.sections[-1].parts)
        assert found.startswith(parts), (name, found)
        assert bool(report.sections[-1].statements) == (name in ASKED), name
    for panel in panels:
        panel.close()
    path = report.write(tmp_path / "all.html")
    page = Page(path.read_text("utf-8"))
    assert not list(page.loaded_addresses())
    assert not list(page.active_parts())
    for text in (holder, "Result of resume", "INC-42: the gateway is back", "under_audit", storm["id"][0], "a note"):
        assert text in page.text
    assert all(f"caption of {name}" in page.text for name in things)
    assert "allowed on this connection" in page.text
    frozen.close()


class _Counting(SourceWrapper):
    """A source that counts each statement."""

    def __init__(self, source: rl.Source) -> None:
        super().__init__(source)
        self.sent: Counter[str] = Counter()

    def stream(self, statement: str, /, **options: Any) -> AbstractContextManager[pa.RecordBatchReader]:
        self.sent[statement.strip()] += 1
        return super().stream(statement, **options)


def test_a_judgement_carries_what_was_sent_for_it(lab: rl.Lab, incident: Cluster) -> None:
    """It has exactly the requests that were sent, as often as they were sent, as JSON; a report of it shows them."""
    holder, other = incident.ids("hot_key_holder")[0], rl.ask(lab, "retry_storm_ids")["id"][0]
    calls: list[Callable[[Any], Any]] = [
        rl.doctor,
        rl.waits,
        lambda source: rl.why(source, holder),
        lambda source: rl.journal(source, holder, depth=2),
        lambda source: rl.journal_diff(source, holder, other),
    ]
    for call in calls:
        source = _Counting(lab)
        made = call(source)
        queries = made.attrs["queries"] if isinstance(made, pd.DataFrame) else made.queries
        assert {each["sql"]: each["times"] for each in queries} == dict(source.sent)
        json.dumps(queries)
        (section,) = rl.Report("r").add(made).sections
        assert {each.sql for each in section.statements} == set(source.sent)


@pytest.mark.long  # the test of redacted evidence writes its report, too
def test_evidence_is_reported_on_as_a_cluster_is(lab: rl.Lab, incident: Cluster, tmp_path: Path) -> None:
    """The report of a frozen cluster has the same findings, its sha256, and states that it is read-only."""
    with rl.open_evidence(rl.freeze(lab, tmp_path / "frozen")) as frozen:
        page = Page(rl.incident_report(frozen, tmp_path / "frozen.html").read_text("utf-8"))
        live = rl.doctor(frozen)
        assert frozen.digest in page.text
        assert "not possible: frozen evidence is read-only" in page.text
        assert "Frozen evidence has no audit log" in page.text
        assert f"{len(live.by_severity('critical'))} critical" in page.text


class _CountingValues(_Counting):
    """A source that counts each statement with its values."""

    def stream(self, statement: str, /, **options: Any) -> AbstractContextManager[pa.RecordBatchReader]:
        values = {name: value for name, value in options.items() if name not in {"timeout", "progress"}}
        self.sent[f"{statement}\n{values}"] += 1
        return SourceWrapper.stream(self, statement, **options)

    @property
    def now(self) -> datetime:
        self.sent["now"] += 1
        return super().now

    def tables(self) -> pd.DataFrame:
        self.sent["tables"] += 1
        return super().tables()


@pytest.mark.parametrize("incident", [NEWEST], indirect=True)
def test_what_was_redacted_in_the_freeze_is_in_no_report(lab: rl.Lab, tmp_path: Path) -> None:
    path = rl.freeze(lab, tmp_path / "masked", redact=["failures"])
    with rl.open_evidence(path) as frozen:
        page = Page(rl.incident_report(frozen, tmp_path / "masked.html").read_text("utf-8"))
    everything = page.html + "".join(
        base64.b64decode(each["href"].partition(",")[2]).decode() for _, each in page.tags if "download" in each
    )
    assert "charge card" in everything
    for text in ("ProviderDown", "card declined", "insufficient_funds", "SEPA transfer"):
        assert text not in everything


@pytest.mark.parametrize("incident", [NEWEST], indirect=True)
def test_a_missing_table_is_named_as_a_gap_in_its_chapter(lab: rl.Lab, tmp_path: Path) -> None:
    tables = ["sys_invocation_status", "sys_invocation_state", "sys_deployment", "sys_service"]
    with rl.open_evidence(rl.freeze(lab, tmp_path / "part", tables=tables)) as part:
        page = Page(rl.incident_report(part, tmp_path / "part.html").read_text("utf-8"))
    assert "The diagnosis is incomplete." in page.text
    assert "Not checked" in page.text
    assert "Not read" in page.text
    assert [title for _, title in re.findall(r"(\d+)</span> ([^<]+)</h2>", page.html)] == list(CHAPTERS)


@pytest.fixture(scope="module")
def program() -> str:
    try:
        return find_chromium()
    except rl.errors.MissingProgram as error:
        pytest.skip(str(error))


SIZES = {"A4": (594.96, 841.92), "Letter": (612.0, 792.0)}


@pytest.mark.server
def test_the_report_as_pdf(newest: Cluster, program: str, tmp_path: Path) -> None:
    """A PDF is complete, on the requested paper, with numbered pages, and its text can be searched."""
    pages = {}
    with rl.connect(newest.admin_url, read_only=True) as lab:
        for paper, size in SIZES.items():
            options: Any = {"title": "INC-42", "paper": paper, "length": "full" if paper == "Letter" else None}
            path = rl.incident_report(lab, tmp_path / f"{paper}.pdf", progress=False, **options)
            content = path.read_bytes()
            pages[paper] = len(re.findall(rb"/Type /Page\b", content))
            assert content.startswith(b"%PDF-")
            assert content.rstrip().endswith(b"%%EOF")
            assert len(content) < 5_000_000
            box = re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", content)
            assert box is not None
            assert (float(box[1]), float(box[2])) == pytest.approx(size, abs=1)
            assert b"/JavaScript" not in content
    assert pages["A4"] <= 3 < pages["Letter"], "a PDF is short unless all chapters are asked for"
    if pdftotext := shutil.which("pdftotext"):
        done = subprocess.run([pdftotext, "-layout", str(path), "-"], capture_output=True, text=True, check=True)
        text = " ".join(done.stdout.split())
        for each in (*CHAPTERS, "Statements", "1 / "):
            assert each in text
        assert "All rows:" not in text
    assert [each.name for each in tmp_path.iterdir() if "unfinished" in each.name] == []


SLOW = """
import sys, time
import restate_lab as rl
from restate_lab.reports import report
write = report.write_pdf
def slowly(html, path):
    write(html, path)
    path.write_bytes(path.read_bytes()[:1000])
    print("half", flush=True)
    time.sleep(60)
report.write_pdf = slowly
rl.Report("r").add("text").write(sys.argv[1], overwrite=True)
"""


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=str)
def test_an_end_in_the_middle_leaves_no_broken_pdf(number: signal.Signals, program: str, tmp_path: Path) -> None:
    """Killed or interrupted, the old PDF stays, and half of the new one has a name that marks it as unfinished."""
    path = tmp_path / "r.pdf"
    path.write_text("before")
    command = [sys.executable, "-c", SLOW, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"half\n"
        os.kill(running.pid, number)
    assert path.read_text() == "before"
    left = [each.suffix for each in tmp_path.iterdir() if each != path]
    assert left == ([".unfinished"] if number == signal.SIGKILL else [])


CELL = """
import os
import restate_lab as rl
lab = rl.connect()
service = os.environ["SERVICE"]
print(*lab.sql("SELECT id FROM sys_invocation WHERE target_service_name = :service", service=service)["id"])
try:
    lab.admin.kill_invocation(os.environ["AGENT"], reason="from a notebook")
except rl.errors.ReadOnly:
    print("refused by a read-only connection")
"""


@pytest.mark.server
def test_the_line_of_the_guide_executes_a_notebook_read_only(newest: Cluster, tmp_path: Path) -> None:
    """Jupyter writes the page, a parameter is an environment variable, and a change is refused."""
    lines = (PACKAGE / "guide" / "report.md").read_text("utf-8").splitlines()
    (line,) = (each for each in lines if "nbconvert" in each)
    cells = [nbformat.v4.new_code_cell(CELL)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "notebook.ipynb")
    agent = newest.roles["agent_denver"]
    env = python_environment(RESTATE_ADMIN_URL=newest.admin_url, SERVICE="agent", AGENT=agent)
    env |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}", "HOME": str(tmp_path)}
    command = ["/bin/sh", "-c", line]
    subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True, timeout=120)
    page = (tmp_path / "notebook.html").read_text("utf-8")
    assert agent in page
    assert "refused by a read-only connection\n" in page
