"""Each public result of a real incident fits on a screen: 40 lines of 100 characters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote_plus

import pytest

import restate_lab as rl
from restate_lab.document.text import ROWS, count_rows
from restate_lab.panels.panel.findings import details_html
from restate_lab.panels.panel.state import VIEWS
from support.clusters import Cluster
from support.surfaces import foreign_texts, text_of_page

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
    needed, foreign = {}, {}
    for name, result in results(lab, tmp_path):
        needed[name] = max(count_rows(str(result)), count_rows(repr(result)))
        foreign[name] = foreign_texts(str(result), "notebook")
    assert {name: rows for name, rows in needed.items() if rows > ROWS} == {}
    assert {name: texts for name, texts in foreign.items() if texts} == {}


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


def test_a_panel_shows_no_python_and_no_command(lab: rl.Lab) -> None:
    """Each view, invocation and comparison; what the panel cannot do is a block with code, whose title says so."""
    views = [{"view": name} for name in VIEWS] + [{"open": id_} for id_ in lab.sql(_ONE_OF_EACH)["id"]]
    with contextlib.closing(rl.Panel(lab, refresh=None)) as panel:
        assert panel.wait(timeout=60)
        for state in views:
            panel.state = state
            assert panel.wait(timeout=60)
            foreign = foreign_texts(text_of_page(panel._html()))
            assert (state, panel.error, foreign) == (state, "", [])
        rows = panel.findings.content["rows"]
        assert rows
        assert panel.diagnosis is not None
        details = [details_html(panel.diagnosis, number) for number in range(len(rows))]
        assert [foreign_texts(text_of_page(each)) for each in details] == [[]] * len(rows)


_ONE_OF_EACH = "SELECT min(id) AS id FROM sys_invocation GROUP BY status, target_handler_name"
