"""The deployments without a browser: verdicts, what pins each, and the code that is offered for which."""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from restate_lab.analysis.questions import run_question
from restate_lab.panels.deployments import DeploymentsPanel
from support.sample_tables import NOW, LiveTables, SampleTables, invocation

ATTACK = "http://svc/<img src=x onerror=alert(1)>\u202e"
DEPLOYMENTS = [
    {"id": "dp_idle", "endpoint": ATTACK, "services": ["Svc"]},
    {"id": "dp_old", "endpoint": "http://user:p@hush@old", "services": ["Svc"]},
    {"id": "dp_new", "endpoint": "http://new", "services": ["Svc", "Cart"]},
]
TABLES: dict[str, list[dict[str, Any]]] = {
    "sys_deployment": [
        {"created_at": NOW, "min_service_protocol_version": 5, "max_service_protocol_version": 7, **row}
        for row in DEPLOYMENTS
    ],
    "sys_service": [
        {"name": name, "ty": "service", "revision": 3, "deployment_id": "dp_new"} for name in ("Svc", "Cart")
    ],
    "sys_invocation_status": [
        invocation(1, "suspended", pinned_deployment_id="dp_old"),
        invocation(2, "paused", pinned_deployment_id="dp_gone"),
        invocation(3, "completed", pinned_deployment_id="dp_idle"),
        invocation(4, "inboxed"),
    ],
}


@pytest.fixture
def make(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., DeploymentsPanel]]:
    """Give what makes panels; when the test is over they are closed, and left neither a thread nor a line."""
    made: list[DeploymentsPanel] = []

    def make(source: Any, **options: Any) -> DeploymentsPanel:
        made.append(DeploymentsPanel(source, **options))
        return made[-1]

    yield make
    for panel in made:
        panel.close()
    assert [each.name for each in threading.enumerate() if each.name.startswith("restate-lab")] == []
    assert capsys.readouterr() == ("", "")


def live(**options: Any) -> LiveTables:
    """Return a source with an Admin API, which knows the revisions."""
    source: Any = LiveTables(**TABLES)
    models = [
        SimpleNamespace(
            id=row["id"],
            services=[SimpleNamespace(name=name, revision=number + 1) for name in row["services"]],
            min_protocol_version=5,
            max_protocol_version=7,
            sdk_version="sdk/1",
        )
        for number, row in enumerate(DEPLOYMENTS)
    ]
    source.admin = SimpleNamespace(list_deployments=lambda: models)
    for name, value in options.items():
        setattr(source, name, value)
    return source


def test_verdicts_and_revisions(make: Callable[..., DeploymentsPanel]) -> None:
    """Each deployment has its revisions, what is pinned to it, and whether it could go; a gone one is there, too."""
    source = live()
    panel = make(source)
    assert panel.error == ""
    assert panel.frame.equals(run_question(source, "deployment_pins"))
    assert source.sql(panel.sql, params=panel.params).equals(panel.frame)
    shown = panel._grid.frame.set_index("id")
    assert dict(shown["verdict"]) == {
        "dp_idle": "can go",
        "dp_old": "still needed by 1",
        "dp_new": "latest of 2 services",
        "dp_gone": "gone, still needed",
    }
    services = {"dp_idle": "Svc r1", "dp_old": "Svc r2", "dp_new": "Svc r3, Cart r3"}
    assert dict(shown["services"].dropna()) == services
    assert dict(shown["suspended"]) == {"dp_idle": 0, "dp_old": 1, "dp_new": 0, "dp_gone": 0}
    assert panel._summary.text.strip() == (
        "3 deployments; 1 could go. 1 more was removed while work was still pinned to it."
    )


@pytest.mark.parametrize(
    ("deployment", "has", "lacks"),
    [
        ("dp_idle", ["can_be_removed", "delete_deployment('dp_idle', force=True"], ["move_to"]),
        ("dp_old", ["rl.move_to(lab, pinned", "1 suspended"], ["delete_deployment"]),
        ("dp_gone", ["rl.move_to(lab, pinned", "register one first"], ["delete_deployment"]),
        ("dp_new", ["latest revision of Cart, Svc", "going to it as things are: 1"], ["delete_", "move_to"]),
    ],
)
def test_code_is_offered_for_what_is_safe(
    make: Callable[..., DeploymentsPanel], deployment: str, has: list[str], lacks: list[str]
) -> None:
    """Removal is offered for what nothing needs, and asks once more; a move for what is pinned to an older one."""
    panel = make(live())
    text = panel.look_at(deployment)
    assert [each for each in has if each not in text] == []
    assert [each for each in lacks if each in text] == []
    for block in panel._detail.blocks:
        if block["code"]:
            ast.parse(block["text"])
    assert (panel._button.layout.display == "") == (deployment in {"dp_old", "dp_gone"})


def test_evidence_offers_no_change_and_says_why(make: Callable[..., DeploymentsPanel]) -> None:
    """On what can only be read the same is known, no code changes anything, and the panel says why."""
    panel = make(SampleTables(**TABLES))
    assert "can only be read" in panel._repr_mimebundle_()["text/html"]
    assert "nothing can be changed" in panel._summary.text
    assert "delete_deployment" not in panel.look_at("dp_idle")
    assert dict(panel._grid.frame.set_index("id")["services"])["dp_new"] == "Cart r3, Svc r3"
    assert "may only read" in make(live(read_only=True))._summary.text


def test_no_password_and_no_markup_is_shown(make: Callable[..., DeploymentsPanel]) -> None:
    """A password in an address is masked, and hostile text stays text."""
    panel = make(live())
    panel.look_at("dp_old")
    page = panel._repr_mimebundle_()["text/html"] + panel._detail.text
    assert "hush" not in page
    assert "http://•••@old" in page
    assert "<img" not in page
    assert "\u202e" not in page


def test_one_that_is_gone_after_a_refresh_is_said_to_be(make: Callable[..., DeploymentsPanel]) -> None:
    """What was open and is not there any more offers nothing."""
    source = live()
    panel = make(source)
    panel.look_at("dp_idle")
    source.put("sys_deployment", TABLES["sys_deployment"][1:])
    panel.refresh()
    assert "not there any more" in panel._detail.text
    assert "delete_deployment" not in panel._detail.text
    panel.handled(panel.look_at)("dp_other")
    assert "no deployment 'dp_other'" in panel.error
