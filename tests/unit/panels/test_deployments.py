"""The deployments view without a browser: order, verdicts, the pins of each, and the offered actions."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.questions import run_question
from restate_lab.errors import ArgumentError
from restate_lab.panels.deployments import DeploymentsView
from restate_lab.panels.invocations import InvocationsView
from restate_lab.panels.panel import Panel
from support.sample_rows import NOW, LiveRows, SampleRows, invocation

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
def make_view(no_doctor: None, make: Callable[..., Panel]) -> Callable[..., Panel]:
    """Give a function that makes panels with the deployments."""
    return partial(make, view="deployments")


def view_of(panel: Panel) -> DeploymentsView:
    assert isinstance(panel.view, DeploymentsView)
    return panel.view


def click(panel: Panel, deployment: str) -> None:
    panel.click("open", row=deployment)
    assert panel.wait(timeout=60)


def live(**options: Any) -> LiveRows:
    """Return a source with an Admin API, which has the revisions."""
    source: Any = LiveRows(**TABLES)
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


def test_the_worst_is_first(make_view: Callable[..., Panel]) -> None:
    """A deployment that was removed too early is first, with the names of its services; one that can go is last."""
    source = live()
    panel = make_view(source)
    assert panel.error == ""
    assert panel.frame.equals(run_question(source, "deployment_pins"))
    assert source.sql(panel.sql, params=panel.params).equals(panel.frame)
    table = view_of(panel).grid.frame.set_index("id")
    assert table["verdict"].to_dict() == {
        "dp_gone": "✖ removed, still needed",
        "dp_old": "▲ old, needed by 1",
        "dp_new": "latest of 2 services",
        "dp_idle": "can be removed",
    }
    assert list(table.index) == ["dp_gone", "dp_old", "dp_new", "dp_idle"]
    assert table["services"].to_dict() == {
        "dp_gone": "Svc (removed)",
        "dp_old": "Svc r2",
        "dp_new": "Svc r3, Cart r3",
        "dp_idle": "Svc r1",
    }
    assert table["suspended"].to_dict() == {"dp_gone": 0, "dp_old": 1, "dp_new": 0, "dp_idle": 0}
    assert view_of(panel).totals.text.strip() == (
        "3 registered deployments · 1 can be removed · 1 removed, but still needed by 1 invocation"
    )


@pytest.mark.parametrize(
    ("deployment", "facts", "is_movable"),
    [
        ("dp_idle", ["can_be_removed", "delete_deployment('dp_idle', force=True"], False),
        ("dp_old", ["1 suspended", "runs the same steps"], True),
        ("dp_gone", ["It served Svc", "register one first"], True),
        (
            "dp_new",
            ["latest revision of Cart, Svc", "1 invocation without a pinned deployment"],
            False,
        ),
    ],
)
def test_a_click_offers_what_is_safe(
    make_view: Callable[..., Panel],
    monkeypatch: pytest.MonkeyPatch,
    deployment: str,
    facts: list[str],
    is_movable: bool,
) -> None:
    """Code removes one that is not needed, after another check; a button plans a move away from an old one."""
    panel = make_view(live())
    view = view_of(panel)
    click(panel, deployment)
    assert panel.code == f"rl.Panel(lab, view='deployments', open={deployment!r})"
    assert [each for each in facts if each not in view.detail.text] == []
    code = [block["text"] for block in view.detail.blocks if block["code"]]
    assert bool(code) == (deployment == "dp_idle")
    for each in code:
        ast.parse(each)
    planned: list[Any] = []
    monkeypatch.setattr(InvocationsView, "plan", lambda _, action, ids: planned.append((action, list(ids))))
    if is_movable:
        panel.click(view.plan_button.description)
        assert planned == [(ACTIONS.MOVE_TO, [invocation({"dp_old": 1, "dp_gone": 2}[deployment], "")["id"]])]
        return
    with pytest.raises(ArgumentError, match="no visible control"):
        panel.click(view.plan_button.description)


def test_evidence_offers_no_change_and_says_why(make_view: Callable[..., Panel]) -> None:
    """On evidence and on a read-only connection nothing can be moved, and the view gives the reason."""
    panel = make_view(SampleRows(**TABLES), open="dp_idle")
    view = view_of(panel)
    assert "is read-only" in view.totals.text
    assert "delete_deployment" not in view.detail.text
    assert dict(view.grid.frame.set_index("id")["services"])["dp_new"] == "Cart r3, Svc r3"
    click(panel, "dp_old")
    assert (view.buttons.layout.display, view.plan_button.layout.display) == ("", "none")
    assert "connection is read-only" in view_of(make_view(live(read_only=True))).totals.text


def test_no_password_and_no_markup_is_shown(make_view: Callable[..., Panel]) -> None:
    """A password in an address is masked, and hostile text stays text."""
    panel = make_view(live(), open="dp_old")
    page = panel._repr_mimebundle_()["text/html"] + view_of(panel).detail.text
    assert "http://•••@old" in page
    assert [each for each in ("hush", "<img", "\u202e") if each in page] == []


def test_one_that_is_gone_after_a_refresh_is_said_to_be(make_view: Callable[..., Panel]) -> None:
    """An open deployment that is removed, and an unknown one, offer nothing."""
    source = live()
    panel = make_view(source, open="dp_idle")
    source.put(sys_deployment=TABLES["sys_deployment"][1:])
    panel.refresh()
    assert "This deployment does not exist" in view_of(panel).detail.text
    assert "delete_deployment" not in view_of(panel).detail.text


def test_a_deployment_has_a_type(make_view: Callable[..., Panel]) -> None:
    """The table shows which deployments are functions of AWS Lambda; of a removed one the type is not known."""
    arn = {**TABLES["sys_deployment"][0], "endpoint": "arn:aws:lambda:eu-central-1:1:function:name:1"}
    panel = make_view(SampleRows(**{**TABLES, "sys_deployment": [arn, *TABLES["sys_deployment"][1:]]}))
    assert panel.wait(timeout=60)
    types = view_of(panel).grid.frame.set_index("id")["type"].dropna()
    assert types.to_dict() == {"dp_idle": "lambda", "dp_old": "http", "dp_new": "http"}
