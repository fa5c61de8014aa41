"""The rules of ``watch``: which findings and questions become alerts, from a TOML file.

Without a file, each finding of severity critical or warning is an alert. A file adds to this: a finding follows the
first ``[[rule]]`` that matches its check and service, and each rule with a question is an alert of its own.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from restate_lab._public import did_you_mean, nearest_names
from restate_lab._text import join
from restate_lab.alerts.outlook import EVIDENCE_DELETED, WILL_NOT_DRAIN
from restate_lab.analysis.doctor.checks import CHECKS
from restate_lab.analysis.doctor.model import FORMER_CHECKS, Severity, Subject
from restate_lab.analysis.questions.catalog import names as question_names
from restate_lab.analysis.questions.parameters import parameters_of
from restate_lab.durations import to_timedelta
from restate_lab.errors import ArgumentError

ANY = "*"
OWN_CHECKS: Mapping[str, str] = {
    "unreachable": "the cluster cannot be read",
    "incomplete": "some checks or questions could not run",
    "archive": "a visit of the archive failed",
    WILL_NOT_DRAIN: "a backlog grows",
    EVIDENCE_DELETED: "the evidence of an open finding is deleted in less than 2 hours",
}
"""The checks of ``watch`` itself, and the problem that each of them reports; ``outlook`` has the opt-in checks."""
SEVERITIES = tuple(each.value for each in Severity)
_DEFAULT = Severity.WARNING.value
_KEYS = {
    "check": ("check", "service", "min_severity", "severity", "for", "mute"),
    "question": ("question", "params", "service", "min_rows", "severity", "for", "mute"),
}
_TABLE = re.compile(r"^[ \t]*\[\[[ \t]*rule[ \t]*\]\]", re.MULTILINE)
_KEY = re.compile(r"^[ \t]*\[*[\"']?([\w-]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. ``check`` or ``question`` is set; ``hold`` is the time for which the problem must persist ("for")."""

    check: str = ""
    question: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    min_rows: int = 1
    service: str = ""
    min_severity: str = _DEFAULT
    severity: str = ""
    hold: timedelta = timedelta(0)
    mute: bool = False

    def matches(self, check: str, subject: Subject) -> bool:
        """Return whether the rule is for findings of this check about this subject."""
        return self.check in {ANY, check} and (not self.service or self.service in subject.services)

    def allows(self, severity: str) -> bool:
        """Return whether a finding of this severity becomes an alert."""
        return not self.mute and SEVERITIES.index(severity) <= SEVERITIES.index(self.min_severity)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules in their order; a finding that no rule matches follows ``default``.

    One visit can be too slow for all checks, so ``incomplete`` must persist by default.
    """

    rules: tuple[Rule, ...] = ()
    default: Rule = Rule(check=ANY)
    incomplete: Rule = Rule(check="incomplete", hold=timedelta(minutes=5))

    @property
    def questions(self) -> tuple[Rule, ...]:
        """Return the rules with a question that are not muted."""
        return tuple(rule for rule in self.rules if rule.question and not rule.mute)

    def asks(self, check: str) -> bool:
        """Return whether a rule names a check that runs only then; a rule for all checks is not enough."""
        return any(rule.check == check and not rule.mute for rule in self.rules)

    def rule_for(self, check: str, subject: Subject) -> Rule:
        """Return the rule of a finding."""
        default = self.incomplete if check == self.incomplete.check else self.default
        return next((rule for rule in self.rules if rule.check and rule.matches(check, subject)), default)


def load_rules(path: Path) -> Rules:
    """Read a file of rules.

    Raises:
        ArgumentError: the file cannot be read, is not TOML, or has an unknown key, name or value; the message has the
            line and the allowed values.
    """
    try:
        text = path.read_text("utf-8")
        document = tomllib.loads(text)
        return _RuleReader(path, text).read(document)
    except OSError as error:
        raise ArgumentError(f"the rules {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ArgumentError(f"{path} is not UTF-8 text; rules are a TOML file.") from error
    except ArgumentError:
        raise
    except RecursionError as error:
        raise ArgumentError(f"{path} is not valid: its values are nested too deeply; rules are flat tables.") from error
    except (ValueError, ArithmeticError) as error:  # also a number with thousands of digits
        raise ArgumentError(f"{path} is not valid TOML: {error}.") from error


@dataclass(frozen=True, slots=True)
class _RuleReader:
    """Check the rules of a document; errors have the line of the rule or of the key."""

    path: Path
    text: str

    def read(self, document: Mapping[str, Any]) -> Rules:
        for key in document:
            if key != "rule":
                raise self._error(None, key, f"unknown key {key!r}; the file has only [[rule]] tables")
        tables = document.get("rule", [])
        if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
            raise self._error(None, "rule", "rule is not a list of tables; begin each rule with [[rule]]")
        rules = [self._rule(at, table) for at, table in enumerate(tables)]
        self._check_unique(rules)
        return Rules(tuple(rules))

    def _rule(self, at: int, table: Mapping[str, Any]) -> Rule:
        kinds = [kind for kind in _KEYS if kind in table]
        if len(kinds) != 1:
            raise self._error(at, "", "a rule needs either check or question" + (", not both" if kinds else ""))
        (kind,) = kinds
        for key in table:
            if key not in _KEYS[kind]:
                hint = did_you_mean(nearest_names(key, _KEYS[kind]))
                allowed = f"a rule with {kind} has {join(_KEYS[kind], 9)}"
                raise self._error(at, key, f"unknown key {key!r}; {hint} {allowed}".replace("  ", " "))
        if kind == "question":
            return self._question_rule(at, table)
        return Rule(
            check=self._name(at, table, "check", (ANY, *CHECKS, *OWN_CHECKS)),
            service=self._text(at, table, "service"),
            min_severity=self._severity(at, table, "min_severity") or _DEFAULT,
            **self._common(at, table),
        )

    def _question_rule(self, at: int, table: Mapping[str, Any]) -> Rule:
        question = self._name(at, table, "question", question_names())
        params = table.get("params", {})
        if not isinstance(params, dict):
            raise self._error(at, "params", f"params is {params!r}; it is a table, for example {{ limit = 10 }}")
        service = self._text(at, table, "service")
        params = dict(params) | ({"service": service} if service else {})
        known = [each.name for each in parameters_of(question)]
        for name in params:
            if name not in known:
                message = f"{question} has no parameter {name!r}; choose from {join(known, 20) or 'none'}"
                raise self._error(at, name if name in table else "params", message)
        return Rule(question=question, params=params, min_rows=self._rows(at, table), **self._common(at, table))

    def _common(self, at: int, table: Mapping[str, Any]) -> dict[str, Any]:
        mute = table.get("mute", False)
        if not isinstance(mute, bool):
            raise self._error(at, "mute", f"mute is {mute!r}; use true or false")
        return {"severity": self._severity(at, table, "severity"), "hold": self._hold(at, table), "mute": mute}

    def _name(self, at: int, table: Mapping[str, Any], key: str, known: Sequence[str]) -> str:
        name = table[key]
        if key == "check" and isinstance(name, str):
            name = FORMER_CHECKS.get(name, name)
        if name in known:
            return str(name)
        hint = did_you_mean(nearest_names(str(name), known))
        raise self._error(at, key, f"unknown {key} {name!r}; {hint} Choose from {join(known, 99)}".replace("  ", " "))

    def _text(self, at: int, table: Mapping[str, Any], key: str) -> str:
        value = table.get(key, "")
        if not isinstance(value, str) or (key in table and not value):
            raise self._error(at, key, f"{key} is {value!r}; it must be a name in quotes")
        return value

    def _severity(self, at: int, table: Mapping[str, Any], key: str) -> str:
        value = table.get(key, "")
        if key in table and value not in SEVERITIES:
            raise self._error(at, key, f"{key} is {value!r}; choose from {join(SEVERITIES)}")
        return str(value)

    def _hold(self, at: int, table: Mapping[str, Any]) -> timedelta:
        try:
            return to_timedelta(table.get("for", 0), name="for")
        except ArgumentError as error:
            raise self._error(at, "for", str(error).rstrip(".")) from error

    def _rows(self, at: int, table: Mapping[str, Any]) -> int:
        rows = table.get("min_rows", 1)
        if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
            raise self._error(at, "min_rows", f"min_rows is {rows!r}; it must be a number of rows, 1 or more")
        return rows

    def _check_unique(self, rules: Sequence[Rule]) -> None:
        first: dict[tuple[str, str], int] = {}
        for at, rule in enumerate(rules):
            identity = (rule.question, repr(sorted(rule.params.items())))
            if rule.question and (before := first.setdefault(identity, at)) != at:
                raise self._error(at, "question", f"rule {at + 1} asks the same question as rule {before + 1}")

    def _error(self, at: int | None, key: str, message: str) -> ArgumentError:
        return ArgumentError(f"{self.path}, line {self._line(at, key)}: {message}.")

    def _line(self, at: int | None, key: str) -> int:
        starts = [match.start() for match in _TABLE.finditer(self.text)]
        begin = starts[at] if at is not None and at < len(starts) else 0
        end = starts[at + 1] if at is not None and at + 1 < len(starts) else len(self.text)
        ends = [match.end() for match in _KEY.finditer(self.text, begin, end) if match[1] == key]
        position = ends[0] if ends else self.text.find("[[", begin) if at is not None else begin
        return self.text.count("\n", 0, max(position, 0)) + 1
