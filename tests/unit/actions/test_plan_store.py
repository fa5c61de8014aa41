"""Stored plans: one name for exactly one content, executed once, and only by their user for a while."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from restate_lab.actions.plan.store import PlanStore, StoredPlan, StoredTarget
from restate_lab.errors import ArgumentError, PlanExpired, RestateLabError
from restate_lab.identity import ClusterIdentity

ID = "inv_1" + "a" * 33
CREATED = "2026-05-01T10:00:00.123000+00:00"


def stored(**changes: Any) -> StoredPlan:
    target = StoredTarget(ID, CREATED, "paused", None, None)
    server = "restate 1.7.12, with vqueues"
    plan = StoredPlan("resume", "latest", None, "prod", "http://127.0.0.1:9070", server, datetime.now(UTC), (target,))
    return replace(plan, **changes)


@pytest.fixture
def store(tmp_path: Path) -> PlanStore:
    return PlanStore(tmp_path / "plans")


def file_of(store: PlanStore, plan: StoredPlan) -> Path:
    return store._files.path / f"{plan.name}.json"


def test_a_plan_is_loaded_unchanged_and_executed_once(store: PlanStore) -> None:
    plan = stored(targets=(StoredTarget(ID, CREATED, "failed", 3, is_restarted=False),))
    store.save(plan)
    assert store.load(plan.name) == plan
    store.claim(plan)
    for call in (lambda: store.load(plan.name), lambda: store.claim(plan)):
        with pytest.raises(PlanExpired, match="was started before"):
            call()


def test_a_copy_of_an_executed_plan_is_not_executed_again(store: PlanStore) -> None:
    plan = stored()
    store.save(plan)
    store.claim(plan)
    store.save(plan)
    for call in (lambda: store.load(plan.name), lambda: store.claim(plan)):
        with pytest.raises(PlanExpired, match="was started before"):
            call()


def test_only_the_user_can_read_the_files(store: PlanStore) -> None:
    plan = stored()
    store.save(plan)
    assert stat.S_IMODE(file_of(store, plan).stat().st_mode) == 0o600
    assert stat.S_IMODE(store._files.path.stat().st_mode) == 0o700


def test_each_part_of_a_plan_is_part_of_its_name() -> None:
    """A file with another action, option, address, time, or target, or another status of it, has another name."""
    plan = stored()
    target = plan.targets[0]
    others: dict[str, Any] = {"from_index": 2, "made_at": plan.made_at + timedelta(microseconds=1)}
    others |= {"cluster": ClusterIdentity(frozenset({("dp_1", CREATED)})), "format": 3}
    others["targets"] = (target._replace(status="suspended"),)
    texts = {each.name: f"{getattr(plan, each.name)}x" for each in fields(plan) if each.name not in others}
    names = {replace(plan, **{name: value}).name for name, value in (texts | others).items()}
    assert len(names | {plan.name}) == len(fields(plan)) + 1
    assert stored().name != replace(stored(), made_at=plan.made_at).name, "two equal plans are two plans"


def _with_other_mode(path: Path) -> None:
    path.chmod(0o640)


def _in_an_open_folder(path: Path) -> None:
    path.parent.chmod(0o770)


def _with_other_target(path: Path) -> None:
    path.write_text(path.read_text().replace(ID, "inv_1" + "b" * 33))


def _from_another_plan(path: Path) -> None:
    path.write_text(stored(action="kill").to_json())


def _newer(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 3, "more": True}))


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "another mode": (_with_other_mode, "can be changed or read by others"),
    "an open folder": (_in_an_open_folder, "plans can be changed or read by others"),
    "another target": (_with_other_target, "was changed after its review"),
    "another plan": (_from_another_plan, "was changed after its review"),
    "a newer format": (_newer, "has format 3, and this restate_lab reads format 2"),
    "no file": (Path.unlink, "does not exist for this user on this machine"),
    **{
        f"damage {n}": ((lambda path, text=text: path.write_text(text)), "was changed after its review")
        for n, text in enumerate(("", "[]", "{}", "null", '{"format": "x"}', "\0" * 100, "[" * 5_000))
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_not_what_was_stored_is_refused(store: PlanStore, name: str) -> None:
    change, message = REFUSED[name]
    plan = stored()
    store.save(plan)
    change(file_of(store, plan))
    with pytest.raises(ArgumentError, match=message):
        store.load(plan.name)


def test_a_file_of_another_user_is_refused(store: PlanStore, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, user = stored(), os.getuid()
    store.save(plan)
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    with pytest.raises(ArgumentError, match="can be changed or read by others"):
        store.load(plan.name)


@pytest.mark.parametrize("age", [timedelta(minutes=16), -timedelta(minutes=16)], ids=["old", "from the future"])
def test_a_plan_is_valid_for_15_minutes(store: PlanStore, age: timedelta) -> None:
    plan = stored(made_at=datetime.now(UTC) - age)
    store.save(plan)
    for call in (lambda: store.load(plan.name), lambda: store.claim(plan)):
        with pytest.raises(PlanExpired, match="expired at"):
            call()


@pytest.mark.parametrize(
    "name", ["../x", "plan-1", "plan-0123456789abcdez", "", "x" * 10_000, "plan-0123456789abcdef/.."]
)
def test_only_names_of_the_known_form_name_a_file(store: PlanStore, name: str) -> None:
    with pytest.raises(ArgumentError, match="invalid plan"):
        store.load(name)


def test_a_plan_of_an_assistant_has_another_command(store: PlanStore) -> None:
    with pytest.raises(RestateLabError, match="restate-lab mcp approve plan-1a2b3c4d"):
        store.load("plan-1a2b3c4d")


def test_of_many_threads_that_claim_one_plan_one_gets_it(store: PlanStore, quick_switches: None) -> None:
    start = Barrier(8)

    def claim(plan: StoredPlan) -> bool:
        start.wait()
        try:
            store.claim(plan)
        except PlanExpired:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        for _ in range(40):
            plan = stored()
            store.save(plan)
            assert sum(threads.map(claim, [plan] * 8)) == 1
