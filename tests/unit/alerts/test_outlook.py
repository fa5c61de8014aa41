"""The opt-in checks of ``watch``: backlogs that will not drain, and evidence of open findings that is deleted soon."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from restate_lab.alerts.outlook import EVIDENCE_DELETED, WILL_NOT_DRAIN, growing_backlogs
from restate_lab.alerts.reader import ClusterReader
from restate_lab.alerts.rules import Rule, Rules, load_rules
from restate_lab.alerts.store import AlertStore
from support.backlog_rows import backlog
from support.compared_rows import charges
from support.sample_rows import LiveRows

Visit = Callable[[list[dict[str, Any]]], list[tuple[str, str]]]
GROWS, DRAINS = backlog(200, ended=2, begun=3), backlog(200, ended=10)
STILL = backlog(200, ended=0)


@pytest.fixture
def visit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Visit]:
    """Give a function that visits a cluster with rows and returns the changes of the alerts of the opt-in checks."""
    monkeypatch.setattr("restate_lab.analysis.doctor.additions._FLOOR", 600.0)  # more time than a busy machine needs
    rules = Rules((Rule(check=WILL_NOT_DRAIN), Rule(check=EVIDENCE_DELETED), Rule(check="backlog", mute=True)))
    reader = ClusterReader(name="prod", option="x", rules=rules, commands=lambda *_: None, timeout=600.0)
    with contextlib.closing(AlertStore(tmp_path / "watch.sqlite")) as store:

        def make(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
            connect_to(monkeypatch, rows)
            result = reader.visit(store.known_alerts("prod", datetime.now(UTC)))
            assert not result.error
            changes = store.record(result)
            return [(event.value, alert.subject) for event, alert in changes if alert.rule in rules_of(rules)]

        yield make


def rules_of(rules: Rules) -> set[str]:
    return {each.check for each in rules.rules}


def connect_to(monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]]) -> LiveRows:
    source = LiveRows(sys_invocation_status=rows)
    monkeypatch.setattr("restate_lab.alerts.reader.connect", lambda *_, **__: contextlib.nullcontext(source))
    return source


def test_a_backlog_that_grows_opens_an_alert_that_ends_when_it_drains(visit: Visit) -> None:
    assert visit(STILL) == [], "a backlog that is standing still opens nothing"
    assert visit(GROWS) == [("opened", "Svc")]
    assert visit(GROWS) == []
    assert visit(STILL) == [], "a backlog that is standing still ends nothing"
    assert visit(DRAINS) == [("resolved", "Svc")]
    assert visit(DRAINS) == []


def test_a_backlog_near_the_limit_does_not_flap() -> None:
    """A backlog that is standing still or unknown opens and ends nothing; a growing part is not reported twice."""
    row: dict[str, Any] = dict.fromkeys(("key", "scope", "limit_key", "reason", "empty_in"))
    row |= {"level": "service", "service": "Svc", "waiting": 90, "arrivals": 3.0, "completions": 3.0}
    for answer, near in (("standing still", [True]), ("unknown", [True]), ("draining", []), ("growing", [False])):
        assert [each.is_near for each in growing_backlogs([row | {"answer": answer}])] == near
    parts = [row | {"answer": "growing"}, row | {"answer": "growing", "level": "key", "key": "k", "waiting": 60}]
    assert [(each.subject.name, each.is_near) for each in growing_backlogs(parts)] == [("Svc", True), ("Svc/k", False)]


def failing(hours: float) -> list[dict[str, Any]]:
    """Return failed calls whose evidence is deleted in so many hours, and the healthy ones beside them."""
    rows = charges(25)
    return [row | {"journal_retention": timedelta(hours=hours, minutes=30)} for row in rows]


def test_evidence_of_an_open_finding_that_is_deleted_soon_is_an_alert_until_that_is_over(visit: Visit) -> None:
    subject = "terminal_failures Payments/charge"
    assert visit(failing(5)) == []
    assert visit(failing(2.5)) == [], "near the limit, nothing opens"
    assert visit(failing(1.5)) == [("opened", subject)]
    assert visit(failing(2.5)) == [], "near the limit, nothing ends"
    assert visit(failing(5)) == [("resolved", subject)]


def test_without_a_rule_that_names_them_the_checks_read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    source = connect_to(monkeypatch, GROWS)
    muted = Rules((Rule(check="backlog", mute=True), Rule(check="*"), Rule(check=WILL_NOT_DRAIN, mute=True)))
    reader = ClusterReader(name="prod", option="x", rules=muted, commands=lambda *_: None, timeout=600.0)
    result = reader.visit()
    assert [each for each in source.asked if "AS stuck_arrivals" in each] == []
    assert {each.rule for each in result.alerts} & {WILL_NOT_DRAIN, EVIDENCE_DELETED} == set()


def test_a_rules_file_can_name_the_checks_and_a_rule_for_all_checks_does_not(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('[[rule]]\ncheck = "will_not_drain"\nfor = "10m"\n\n[[rule]]\ncheck = "evidence_deleted"\n')
    rules = load_rules(path)
    assert rules.asks(WILL_NOT_DRAIN)
    assert rules.asks(EVIDENCE_DELETED)
    assert not Rules((Rule(check="*"),)).asks(WILL_NOT_DRAIN)
