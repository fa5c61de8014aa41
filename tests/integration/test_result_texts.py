"""Each public result of a real incident fits on a screen: 40 lines of 100 characters."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote_plus

import pytest

import restate_lab as rl
from restate_lab.document.text import ROWS, count_rows
from support.clusters import Cluster

pytestmark = pytest.mark.server


@pytest.fixture
def lab(incident: Cluster) -> Iterator[rl.Lab]:
    with rl.connect(incident.admin_url) as connected:
        yield connected


def results(lab: rl.Lab, folder: Path) -> Iterator[tuple[str, object]]:
    """Yield each kind of result, and what it is about."""
    rows = lab.sql("SELECT id, status FROM sys_invocation ORDER BY id")
    yield "lab", lab
    yield "doctor", rl.doctor(lab)
    yield "upgrade", rl.doctor(lab, checks="upgrade")
    yield "waits", rl.waits(lab)
    for status, id_ in rows.groupby("status")["id"].first().items():
        yield f"why {status}", rl.why(lab, id_)
        yield f"journal {status}", rl.journal(lab, id_)
    longest = rl.ask(lab, "largest_journals", limit=None)["id"][0]
    yield "longest journal", rl.journal(lab, longest)
    for action in ("cancel", "kill", "purge", "resume", "pause", "restart_as_new"):
        yield f"plan {action}", rl.plan(lab, action, list(rows["id"]))
    yield "redrive", rl.redrive(lab, lab.sql("SELECT id FROM sys_invocation WHERE completion_result = 'failure'"))
    agents = rl.agent_runs(lab)
    yield "conversation", rl.conversation(lab, agents["id"][0])
    rl.freeze(lab, folder / "incident.evidence", progress=False)
    with rl.open_evidence(folder / "incident.evidence") as evidence:
        yield "evidence", evidence
        yield "compare", rl.compare(evidence, lab)
    yield "before_after", rl.before_after(lab, lab.now - timedelta(minutes=1), window="1min")
    yield "contrast", rl.contrast(lab, "failed", payloads=True)
    yield "contrast of retried ones", rl.contrast(lab, "backing-off")
    yield "find", rl.find(lab, "ord-", service="Payments", progress=False)
    yield "state", rl.state(lab, "Account", "acme-retail")
    yield "questions", rl.questions()
    yield "overview", rl.ask(lab, "overview")


def test_print_str_and_repr_of_each_result_fit_on_a_screen(lab: rl.Lab, tmp_path: Path) -> None:
    needed = {name: max(count_rows(str(result)), count_rows(repr(result))) for name, result in results(lab, tmp_path)}
    assert {name: rows for name, rows in needed.items() if rows > ROWS} == {}


def test_each_card_links_to_its_page_if_there_is_a_server(lab: rl.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTATE_LAB_SERVE", "https://lab.example.com/")
    run = rl.agent_runs(lab)["id"][0]
    journal = rl.journal(lab, run)
    pages = {
        "": rl.doctor(lab),
        "waits": rl.waits(lab),
        f"invocation/{run}": rl.why(lab, run),
        f"invocation/{run}#": rl.conversation(lab, run),
        "contrast?service=Payments&handler=charge&status=failed": rl.contrast(lab, "failed", service="Payments"),
    }
    links = {name.rstrip("#"): result.link for name, result in pages.items()} | {
        f"invocation/{run}/": journal.attrs["link"]
    }
    for name, link in links.items():
        path = name.rstrip("/")
        assert link == f"https://lab.example.com/{path}{'&' if '?' in path else '?'}source={quote_plus(lab.name)}"
    for card in (*pages.values(), journal):
        assert 'rel="noopener noreferrer"' in card._repr_html_()
    assert rl.contrast(lab, [run]).link == rl.contrast(lab, "failed", payloads="shape").link == ""


def test_a_short_plan_has_each_effect(lab: rl.Lab) -> None:
    plan = rl.plan(lab, "kill", list(lab.sql("SELECT id FROM sys_invocation")["id"]))
    effects = str(plan).partition("What will happen:\n")[2].partition("\n\n")[0].splitlines()
    assert len(effects) == plan.rows.groupby(["status", "effect"]).ngroups
    assert "… and " in str(plan)
