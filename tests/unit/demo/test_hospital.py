"""The hospital as data: its tables, and no name from the order system."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from restate import TerminalError

from restate_lab.demo import services
from restate_lab.demo.stories import incident
from restate_lab.demo.stories.incident import INCIDENT
from restate_lab.demo.stories.steps import Send, StoryStep, ids
from support.demo.hospital import FAULTS, HOSPITAL, NOTES, SHELF, SHELF_ALIKE, VICTIMS
from support.demo.services import hospital
from support.demo.services.deployments import DEPLOYMENTS
from support.demo.services.hospital.appointments import Confirmations, MessageLost

OURS = {"hospital", "wholesale", "porters", "discharge"}


def served(paths: Iterable[str]) -> set[str]:
    """Return the names of the services and handlers at those paths."""
    services = [each for (path, _), here in DEPLOYMENTS.items() if path in paths for each in here]
    return {each.name for each in services} | {handler for each in services for handler in each.handlers}


def durable_steps(folder: Path) -> set[str]:
    return {
        step for file in folder.rglob("*.py") for step in re.findall(r'run_typed\(f?"(.+?)"', file.read_text("utf-8"))
    }


def keys(story: Iterable[StoryStep]) -> set[str]:
    parts = [step.handler.split("/") for step in story if isinstance(step, Send)]
    return {"/".join(key) for _, *key, _ in parts if key}


def test_tables_name_every_role_once() -> None:
    """Faults, victims and notes are roles of the story, and none is in two of the tables."""
    roles = {step.role: step.role for step in HOSPITAL}
    tables = [*FAULTS, *VICTIMS, *NOTES]
    assert len(set(tables)) == len(tables)
    assert all(ids(roles, role) for role in tables)


def test_shares_no_name_with_the_order_system() -> None:
    """No service, handler, step, key or role has a name of the other stories."""
    others = {path for path, _ in DEPLOYMENTS} - OURS
    assert not served(OURS) & served(others)
    mine, everybodys = (durable_steps(Path(package.__file__).parent) for package in (hospital, services))
    assert len(mine) > 10
    assert not mine & everybodys
    assert not keys(HOSPITAL) & keys(INCIDENT)
    assert not {*FAULTS, *VICTIMS} & {*incident.FAULTS, *incident.VICTIMS}


def test_a_careless_pattern_finds_two_shelves() -> None:
    """The key of the hot shelf, used as a LIKE pattern, also matches a shelf without any waiting call."""
    pattern = re.escape(SHELF).replace("%", ".*").replace("_", ".")
    assert re.fullmatch(pattern, SHELF_ALIKE)


def test_text_messages() -> None:
    """The first one to a Polish number is lost, the second arrives; an invalid number is a terminal failure."""
    confirmations = Confirmations()
    with pytest.raises(MessageLost, match="bramka SMS nie odpowiada"):
        confirmations.send("P-1", "+48 22 1")
    assert confirmations.send("P-1", "+48 22 1") == "to +48 22 1: we expect you, P-1"
    with pytest.raises(TerminalError, match="is no phone number"):
        confirmations.send("P-2", "o30 1")
