"""The files of a test in each language: what they are named, how they run once, and their texts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restate_lab.debugging.to_test.masking import parse_masks
from restate_lab.debugging.to_test.python import PACKAGE, check_app, testing_code, write_test
from restate_lab.debugging.to_test.trial import NOT_RUN, MaskTrial, TrialOutcome, outcome_in_node, outcome_in_python
from restate_lab.debugging.typescript import HELPER, NOT_REFUSED_IN_NODE, RUNNERS, SUFFIXES, files_of, run_once
from restate_lab.errors import ArgumentError
from restate_lab.testing import Record
from restate_lab.testing.journal import Journal
from restate_lab.testing.network import NOT_REFUSED
from restate_lab.testing.outcome import CONTINUES, RETURNS, WAITS

_PYTEST = "pytest"
_NODE_COMMANDS = {"node": "node --test", "vitest": "vitest run"}


@dataclass(frozen=True, slots=True)
class WritingOptions:
    """How a test is written; ``to_test`` describes the options."""

    app: Any
    mask: str | Iterable[str] | None = None
    force: bool = False
    standalone: bool = False
    allow_network: bool = False
    runner: str | None = None

    def __post_init__(self) -> None:
        """Check the options that need no reading, and keep the masks: an iterator would be used up.

        Raises:
            ArgumentError: the app, a mask or the runner is invalid.
        """
        masks = self.mask if isinstance(self.mask, str) or self.mask is None else tuple(self.mask)
        object.__setattr__(self, "mask", masks)
        parse_masks(masks)
        runners = RUNNERS if self.is_for_node else (_PYTEST,)
        if self.runner not in {None, *runners}:
            raise ArgumentError(f"runner is {self.runner!r}; for this app, choose from {', '.join(runners)}.")
        if not self.is_for_node:
            check_app(self.app)

    @property
    def is_for_node(self) -> bool:
        """Return whether the app is a file in TypeScript or JavaScript, such as "src/app.ts:orders"."""
        return isinstance(self.app, str) and Path(self.app.rpartition(":")[0] or self.app).suffix in SUFFIXES


class PythonForm:
    """A test for pytest. ``planned`` has the names of all files, ``shared`` of those that several tests use.

    ``not_refused`` can use the network in a replay all the same.
    """

    command, not_refused = _PYTEST, NOT_REFUSED

    def __init__(self, options: WritingOptions, stem: str) -> None:
        self._options, self._stem = options, stem
        self._copied = testing_code() if options.standalone else {}
        self.planned = {_record_name(stem): "", f"test_{stem}.py": "", **self._copied}
        self.shared = frozenset(self._copied)

    def run(self, record: Record) -> TrialOutcome:
        """Return what the code does with a record."""
        outcome = record.outcome(self._options.app, allow_network=self._options.allow_network)
        return outcome_in_python(record, outcome)

    def texts(self, trial: MaskTrial) -> dict[str, str]:
        """Return the text of each file by its name, the record first and the test second."""
        journal, name = trial.record.journal, _record_name(self._stem)
        package, last = PACKAGE if self._copied else "", _last(journal)
        test = write_test(self._stem, name, self._options.app, kind=_kind(trial), last=last, package=package)
        return {name: journal.to_json(), f"test_{self._stem}.py": test, **self._copied}


class NodeForm:
    """A test for Node.js, with the attributes of ``PythonForm``."""

    shared, not_refused = frozenset({HELPER}), NOT_REFUSED_IN_NODE

    def __init__(self, options: WritingOptions, folder: Path, stem: str) -> None:
        self._options, self._folder, self._stem = options, folder, stem
        self._runner = options.runner or RUNNERS[0]
        self.command = _NODE_COMMANDS[self._runner]
        self.planned = {_record_name(stem): "", f"{stem}.test.mjs": ""}

    def run(self, record: Record) -> TrialOutcome:
        """Return what the code does with a record."""
        allows = self._options.allow_network
        return outcome_in_node(record, run_once(record, self._options.app, folder=self._folder, allow_network=allows))

    def texts(self, trial: MaskTrial) -> dict[str, str]:
        """Return the text of each file by its name, the record first and the test second."""
        journal, test = trial.record.journal, f"{self._stem}.test.mjs"
        files = files_of(
            self._options.app,
            folder=self._folder,
            stem=self._stem,
            runner=self._runner,
            kind=_kind(trial),
            last=_last(journal),
        )
        return {_record_name(self._stem): journal.to_json(), test: files[test], HELPER: files[HELPER]}


def form_of(options: WritingOptions, folder: Path, stem: str) -> PythonForm | NodeForm:
    """Return the form for the language of the app."""
    return NodeForm(options, folder, stem) if options.is_for_node else PythonForm(options, stem)


def _record_name(stem: str) -> str:
    return f"journals/{stem}.json"


def _kind(trial: MaskTrial) -> str:
    """Return what the test is for: a failure to correct, in a step or not, or a path that must stay."""
    journal, outcome = trial.record.journal, trial.outcome
    if journal.error is not None:
        return "in_step" if journal.error.in_step else "fails"
    kind = outcome.kind
    if kind == NOT_RUN:
        kind = RETURNS if _has_output(journal) else WAITS if journal.status == "suspended" else CONTINUES
    if kind == RETURNS and _has_output(journal):
        return "ends" if journal.masked else "returns"
    return {RETURNS: "continues", WAITS: "waits", CONTINUES: "continues"}.get(kind, "fails")


def _last(journal: Journal) -> int:
    """Return the index of the last recorded entry before the Output."""
    return len(journal.entries) - 1 - _has_output(journal)


def _has_output(journal: Journal) -> bool:
    return bool(journal.entries) and journal.entries[-1]["type"] == "Command: Output"
