"""What do the failing ones share? Apps with a planted cause on real servers, on evidence, and on a history."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import restate_lab as rl
from support.clusters import KINDS, NEWEST
from support.contrast_apps import APPS, CANARY, MORE, PLANTED, RELEASED, App
from support.contrast_bench import ContrastBench, running_contrast_bench

pytestmark = pytest.mark.server

LEVELS = (False, "shape", True)
IDS = [app.name for app in APPS]
IN_PAYLOADS = {"input", "header"}


@pytest.fixture(scope="module", params=KINDS)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContrastBench]:
    with running_contrast_bench(request.param, tmp_path_factory.mktemp("contrast")) as bench:
        bench.play(APPS)
        yield bench


@pytest.fixture(scope="module")
def copies(bench: ContrastBench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, rl.Source]]:
    """Give evidence and a history of the same server, both with payloads."""
    folder = tmp_path_factory.mktemp("copies")
    rl.freeze(bench.lab, folder / "evidence", payloads=True)
    rl.archive(bench.lab, folder / "archive", cluster_name="bench", payloads=True)
    with rl.open_evidence(folder / "evidence") as evidence, rl.open_history(folder / "archive") as history:
        yield {"evidence": evidence, "history": history}


def contrast_of(source: rl.Source, app: App, payloads: Any = True) -> rl.Contrast:
    service = "Carts" if app.is_keyed else "Shop"
    return rl.contrast(source, app.outcome, service=service, handler=app.name, payloads=payloads)


def check(found: rl.Contrast, app: App) -> None:
    """Check that the planted property is in the first place, if it can be known at this level of payloads."""
    if LEVELS.index(found.payloads) < LEVELS.index(app.level):
        assert not IN_PAYLOADS & set(found.conditions["where"]), str(found)
        return
    first = found.conditions[found.conditions["group"] == 1]
    assert not first.empty, str(found)
    hidden = app.path.rpartition(".")[0] + ".*" if "." in app.path else "*"
    known = {app.path} if found.payloads is True or app.where not in IN_PAYLOADS else {app.path, hidden}
    assert (first["where"].iloc[0], first["path"].iloc[0] in known) == (app.where, True), str(found)
    assert first["failing_with"].iloc[0] == first["failing"].iloc[0]
    assert first["healthy_with"].iloc[0] == 0


@pytest.mark.parametrize("payloads", [False, pytest.param("shape", marks=pytest.mark.long), True])
@pytest.mark.parametrize("app", APPS, ids=IDS)
def test_the_planted_property_is_named_first(bench: ContrastBench, app: App, payloads: Any) -> None:
    found = contrast_of(bench.lab, app, payloads)
    check(found, app)
    totals = found.sides.set_index("side")["total"]
    if app.outcome != "slow":
        assert totals["failing"] == PLANTED


@pytest.mark.parametrize("payloads", [False, "shape"])
@pytest.mark.parametrize("app", APPS, ids=IDS)
def test_no_value_no_key_and_no_name_of_a_map_is_in_the_output(bench: ContrastBench, app: App, payloads: Any) -> None:
    """The canary is in each of them, and in the planted region, header and keys; True shows the region and the key."""
    found = contrast_of(bench.lab, app, payloads)
    frames = (found.conditions, found.attributes, found.sides, found.handlers, found.not_read)
    texts = [str(found), repr(found), found.summary, found._repr_html_(), str(found.queries), str(found.decision)]
    texts += [
        text for frame in frames for text in (frame.to_json(date_format="iso"), frame.to_html(), str(frame.attrs))
    ]
    assert [text for text in texts if CANARY in text] == []
    if app.name in {"region", "keyed"}:
        assert CANARY in str(contrast_of(bench.lab, app))


@pytest.mark.parametrize("copy", ["evidence", "history"])
def test_a_copy_of_the_server_has_the_same_answer(copies: dict[str, rl.Source], copy: str) -> None:
    """A history has only ended invocations."""
    for app in APPS:
        if copy == "evidence" or app.outcome in {"failed", "slow"}:
            check(contrast_of(copies[copy], app), app)
    if copy == "history":
        with pytest.raises(rl.errors.NotOnThisServer, match="only invocations that have ended"):
            rl.contrast(copies[copy], "paused")


def test_ids_findings_and_both_sides_can_be_passed(bench: ContrastBench) -> None:
    """A read-only connection is enough; the healthy side can be passed, too."""
    app = APPS[0]
    statement = "SELECT id, created_at, completion_result FROM sys_invocation WHERE target_handler_name = :name"
    with rl.connect(bench.url, read_only=True) as lab:
        rows = lab.sql(statement, name=app.name)
        failing, healthy = (rows[rows["completion_result"] == each] for each in ("failure", "success"))
        check(rl.contrast(lab, failing, healthy=healthy["id"], payloads=True), app)
        check(rl.contrast(lab, list(failing["id"]), payloads="shape"), app)
        findings = rl.doctor(lab).findings
        paused = findings[findings["check"] == "paused"].iloc[0]
        check(rl.contrast(lab, paused, payloads=True), APPS[2])


def test_of_all_handlers_that_with_most_failing_is_compared(bench: ContrastBench) -> None:
    found = rl.contrast(bench.lab, "failed")
    assert set(found.handlers["handler"]) >= {app.name for app in APPS if app.outcome == "failed"}
    assert any("other handler" in reason for reason in found.reasons)


@pytest.mark.long
def test_the_planted_property_of_twenty_further_apps_is_named_first(tmp_path: Path) -> None:
    with running_contrast_bench(NEWEST, tmp_path) as bench:
        bench.play(MORE)
        for app in MORE:
            for payloads in LEVELS:
                check(contrast_of(bench.lab, app, payloads), app)


@pytest.mark.long
def test_a_deployment_is_named_together_with_the_time_at_which_it_came(tmp_path: Path) -> None:
    with running_contrast_bench(NEWEST, tmp_path) as bench:
        deployment = bench.play_release(RELEASED)
        found = contrast_of(bench.lab, RELEASED, payloads=False)
    first = found.conditions[found.conditions["group"] == 1]
    assert deployment in set(first["value"]), str(found)
    assert "created_at" in set(first["path"]), str(found)
