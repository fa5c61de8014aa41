"""Rules of alerts: what they match, and what a wrong file says."""

from __future__ import annotations

import re
import shlex
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer.main

import restate_lab
from restate_lab.alerts.metrics import MetricsState
from restate_lab.alerts.rules import _KEYS, Rules, load_rules
from restate_lab.analysis.doctor.model import Subject
from restate_lab.cli import app
from restate_lab.errors import ArgumentError

GOOD = """
[[rule]]
check = "retry_storm"
service = "Payments"
min_severity = "critical"
for = "5m"

[[rule]]
check = "old_deployments"
mute = true

[[rule]]
question = "backlog_by_key"
service = "Account"
params = { limit = 20 }
min_rows = 3
severity = "critical"

[[rule]]
check = "*"
min_severity = "note"
severity = "warning"
"""


def rules_of(folder: Path, text: str) -> Rules:
    path = folder / "rules.toml"
    path.write_text(text, "utf-8")
    return load_rules(path)


def test_a_finding_follows_the_first_rule_for_its_check_and_service(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, GOOD)
    storm = rules.rule_for("retry_storm", Subject("Payments/charge", ("Payments",)))
    assert (storm.hold, storm.allows("critical"), storm.allows("warning")) == (timedelta(minutes=5), True, False)
    other = rules.rule_for("retry_storm", Subject("agent/run", ("agent",)))
    assert (other.check, other.severity, other.allows("note")) == ("*", "warning", True)
    assert not rules.rule_for("old_deployments", Subject("unused")).allows("critical")
    (question,) = rules.questions
    assert (question.question, question.params) == ("backlog_by_key", {"limit": 20, "service": "Account"})
    assert (question.min_rows, question.severity) == (3, "critical")


def test_a_rule_with_a_former_name_of_a_check_has_its_present_name(tmp_path: Path) -> None:
    former, now = (rules_of(tmp_path, GOOD.replace("retry_storm", name)) for name in ("retry_storms", "retry_storm"))
    assert former == now


def test_without_rules_critical_findings_and_warnings_are_alerts_and_notes_are_not() -> None:
    rule = Rules().rule_for("paused", Subject("A/b", ("A",)))
    assert [rule.allows(each) for each in ("critical", "warning", "note")] == [True, True, False]
    assert Rules().rule_for("incomplete", Subject("")).hold == timedelta(minutes=5), "not after one slow visit"
    assert not Rules().rule_for("unreachable", Subject("")).hold


RULE = "# first line\n[[rule]]\n"
WRONG = {
    "[[rule]\n": (1, "not valid TOML"),
    'interval = "5m"\n': (1, "unknown key 'interval'"),
    f'{RULE}check = "deadlock"\n': (3, "unknown check 'deadlock'; Did you mean 'deadlocks'?"),
    f'{RULE}question = "retrystorm"\n': (3, "unknown question 'retrystorm'; Did you mean 'retry_storm"),
    f'{RULE}check = "paused"\n\nseverty = "note"\n': (5, "unknown key 'severty'; Did you mean 'severity'"),
    f'{RULE}check = "paused"\nseverity = "high"\n': (4, "severity is 'high'; choose from critical, warning, note"),
    f'{RULE}check = "paused"\nmin_severity = 1\n': (4, "min_severity is 1; choose from critical, warning, note"),
    f'{RULE}check = "paused"\nfor = "soon"\n': (4, "for is 'soon'; use seconds, a text such as '30s'"),
    f'{RULE}check = "paused"\nfor = -1\n': (4, "must not be negative"),
    f'{RULE}check = "paused"\nmute = "yes"\n': (4, "mute is 'yes'; use true or false"),
    f'{RULE}check = "paused"\nservice = ""\n': (4, "service is ''; it must be a name"),
    f'{RULE}check = "paused"\nmin_rows = 2\n': (4, "unknown key 'min_rows'"),
    f'{RULE}question = "paused"\nmin_rows = 0\n': (4, "min_rows is 0; it must be a number of rows, 1 or more"),
    f'{RULE}question = "paused"\nparams = {{ key = "x" }}\n': (4, "paused has no parameter 'key'; choose from"),
    f'{RULE}question = "paused"\nparams = 3\n': (4, "params is 3; it is a table"),
    f"{RULE}mute = true\n": (2, "a rule needs either check or question"),
    f'{RULE}check = "paused"\nquestion = "paused"\n': (2, "not both"),
    f'{RULE}question = "paused"\n[[rule]]\nquestion = "paused"\n': (5, "rule 2 asks the same question as rule 1"),
    f'{RULE}check = "paused"\n[[rule]]\ncheck = "x"\n': (5, "unknown check 'x'"),
    'rule = "paused"\n': (1, "rule is not a list of tables"),
    f"{RULE}check = 3\n": (3, "unknown check 3"),
}
ABSURD = {
    f"a = {'[' * 100_000}": "nested too deeply",
    f"a = {'{b = ' * 100_000}": "nested too deeply",
    f"{RULE}question = 'paused'\nmin_rows = {'9' * 10_000}": "not valid TOML: Exceeds the limit",
    f"{RULE}check = 'paused'\nseverity = 0x{'f' * 10_000}": "not valid TOML: Exceeds the limit",
    f"{RULE}check = 'paused'\nfor = 0x{'f' * 10_000}": "not valid TOML: int too large",
    f"{RULE}check = 'paused'\nfor = nan": "for is nan",
    f"{RULE}check = 'paused'\nfor = 1979-05-27T07:32:00Z": "for is",
    f"{RULE}check = 'paused'\nfor = 2026-02-30": "not valid TOML",
    "a.b = 1\na.b.c = 2": "not valid TOML",
    "\x00": "not valid TOML",
}


@pytest.mark.parametrize("text", ABSURD, ids=lambda text: text[-40:])
def test_a_file_with_absurd_nesting_numbers_or_times_is_one_error_of_the_argument(tmp_path: Path, text: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(ABSURD[text])):
        rules_of(tmp_path, text)


@pytest.mark.parametrize(("text", "line", "said"), [(text, *expected) for text, expected in WRONG.items()])
def test_the_error_of_a_wrong_file_has_the_line_and_the_allowed_values(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    with pytest.raises(ArgumentError) as raised:
        rules_of(tmp_path, text)
    assert said in str(raised.value)
    assert "rules.toml" in str(raised.value)
    assert f"line {line}" in str(raised.value)


def test_rules_and_commands_of_the_guide_are_valid_and_it_names_each_key_and_metric(tmp_path: Path) -> None:
    page = (Path(restate_lab.__file__).parent / "guide" / "watch.md").read_text("utf-8")
    (rules,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(rules_of(tmp_path, rules).rules) == 6
    (lines,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    commands: Any = typer.main.get_command(app)
    for line in lines.splitlines():
        _, name, *arguments = shlex.split(line)
        commands.commands[name].make_context(name, arguments)
    keys = {key for keys in _KEYS.values() for key in keys}
    assert keys == set(re.findall(r"^(\w+) =", rules, re.MULTILINE))
    names = {family.name for family in MetricsState().collect()}
    assert names <= {name.removesuffix("_total") for name in re.findall(r"`(restate_lab_\w+)`", page)}


def test_a_missing_file_and_a_file_that_is_not_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="cannot be read: No such file"):
        load_rules(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ArgumentError, match="not UTF-8"):
        load_rules(tmp_path / "binary.toml")
