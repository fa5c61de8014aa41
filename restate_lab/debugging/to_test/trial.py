"""Run a record once before it is written, with its masks, and find the masks that change what the code does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restate_lab.debugging.to_test.masking import ALWAYS, Mask, MaskedRecord, mask_record
from restate_lab.debugging.typescript import NodeOutcome
from restate_lab.errors import ArgumentError
from restate_lab.protocol.mismatch import MISMATCH
from restate_lab.testing import Outcome, Record
from restate_lab.testing.journal import Failure, Journal, journal_of
from restate_lab.testing.outcome import CONTINUES, DIVERGES, FAILS, NO_RESULT, RETURNS, WAITS

NOT_RUN = "not run"
_COMPARED = 60  # characters of a message; a longer one is shortened in an outcome


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """What the code did with a record.

    ``kind`` is that of an ``Outcome``, or ``NOT_RUN``. ``facts`` are equal for outcomes that differ only in their
    texts. ``entry`` is the index of the entry at which the code diverges. Without a run, ``is_as_recorded`` has the
    value None.
    """

    kind: str
    text: str
    facts: tuple[Any, ...] = ()
    entry: int | None = None
    is_as_recorded: bool | None = None


Run = Callable[[Record], TrialOutcome]


@dataclass(frozen=True, slots=True)
class MaskTrial:
    """A record with its masks, and what the code did with it; ``changed_by`` names the masks that change that.

    ``kept`` is what keeps a masked text: "entry 4", "fields". The code has these texts itself: it followed the record
    although they were masked everywhere else.
    """

    masked: MaskedRecord
    record: Record
    outcome: TrialOutcome
    without_masks: TrialOutcome
    changed_by: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    def check(self) -> None:
        """Check that the masks change nothing.

        Raises:
            ArgumentError: the code does something else with the masked record.
        """
        if self.changed_by:
            masks = " and ".join(self.changed_by)
            many = len(self.changed_by) > 1
            raise ArgumentError(
                f"the {'masks' if many else 'mask'} of {masks} {'change' if many else 'changes'} the outcome: the code "
                f"{self.outcome.text}; without {'them' if many else 'it'}, it {self.without_masks.text}. Nothing was "
                f"written. Mask other values, or pass force=True to write the test with this outcome."
            )


def try_masks(record: Record, masks: Sequence[Mask], run: Run) -> MaskTrial:
    """Run a record without and with its masks.

    Names that contain a masked text are masked only if the code computes them: it then diverges with the recorded name.
    Names of fields are masked, all together, unless that changes the outcome.
    """
    document = json.loads(record.journal.to_json())
    expected = run(record)
    trial = _fit_names(document, masks, run, expected, fields=True)
    if trial.changed_by and trial.masked.has_fields:
        with_fields = _fit_names(document, masks, run, expected, fields=False)
        trial = trial if with_fields.changed_by else with_fields
    if not trial.changed_by:
        return trial
    alone = {each.label: _fit_names(document, [each], run, expected, fields=True) for each in masks}
    guilty = tuple(label for label, each in alone.items() if each.changed_by)
    return MaskTrial(trial.masked, trial.record, trial.outcome, expected, guilty or trial.changed_by)


def _fit_names(
    document: Mapping[str, Any], masks: Sequence[Mask], run: Run, expected: TrialOutcome, *, fields: bool
) -> MaskTrial:
    """Mask the names of those entries at which the code diverges from the recorded ones; of all if it was not run.

    An SDK compares the values of signals also if it compares no other payload. Such a value is kept if the code then
    takes the recorded path: it has the value itself.
    """
    names = set(range(len(document["entries"]))) if expected.kind == NOT_RUN else set[int]()
    values: set[int] = set()
    while True:
        masked = mask_record(document, masks, names=names, kept=values, fields=fields)
        record = Record(journal_of(json.dumps(masked.record), name="the record"))
        outcome = run(record) if masked.count else expected
        is_same = outcome.facts == expected.facts
        if outcome.kind == DIVERGES and outcome.entry is None and not names.issuperset(masked.named):
            names.update(masked.named)  # the entry is not known
            continue
        if not is_same and _adapt(outcome.entry, ((masked.named, names), (masked.changed, values))):
            continue
        kept = [f"entry {each}" for each in sorted({*masked.named} - names | values)]
        kept += ["fields"] if masked.has_fields and not fields else []
        labels = () if is_same else tuple(each.label for each in masks if masked.hits[each.label])
        return MaskTrial(masked, record, outcome, expected, labels or _unread(masks, masked, is_same), tuple(kept))


def _adapt(entry: int | None, ways: Sequence[tuple[Sequence[int], set[int]]]) -> bool:
    """Add the entry to the first set to which it can be added and does not belong yet; return whether there is one."""
    for places, chosen in ways:
        if entry is not None and entry in places and entry not in chosen:
            chosen.add(entry)
            return True
    return False


def _unread(masks: Sequence[Mask], masked: MaskedRecord, is_same: bool) -> tuple[str, ...]:
    """Return the masks of the user if the whole payload that they masked changes the outcome."""
    return () if is_same or not masked.unread else tuple(each.label for each in masks if each not in ALWAYS)


def outcome_in_python(record: Record, outcome: Outcome) -> TrialOutcome:
    """Return what Python code did with a record."""
    place = (outcome.at.file, outcome.at.line) if outcome.at else None
    failure = outcome.failure.type if outcome.failure else type(outcome.exception).__name__
    facts = (
        *(outcome.outcome, place, failure, (outcome.next or "").partition(" ")[0], outcome.passed, outcome.entry),
        *(len(outcome.steps), len(outcome.waits_for)),
    )
    is_as_recorded = _is_as_recorded(record.journal, outcome)
    return TrialOutcome(outcome.outcome, _describe(outcome), facts, outcome.entry, is_as_recorded)


def outcome_in_node(record: Record, outcome: NodeOutcome | None) -> TrialOutcome:
    """Return what code for Node.js did with a record; None is code that could not be run.

    Raises:
        ArgumentError: the code was not run, for a reason that the caller can change.
    """
    if outcome is None:
        return TrialOutcome(NOT_RUN, "the test was not run: node or @restatedev/restate-sdk was not found", (NOT_RUN,))
    if outcome.outcome == NOT_RUN:
        raise ArgumentError(f"{outcome.text}. Nothing was written.")
    error, text = record.journal.error, outcome.text
    is_as_recorded = _ends_as_recorded(error, outcome.outcome)
    if error is not None and is_as_recorded is None:
        is_type = not error.type or error.type in {outcome.error, "TerminalError"}
        is_text = bool(record.journal.masked) or error.message.partition("\n")[0][:_COMPARED] in text
        is_as_recorded = outcome.outcome == FAILS and is_type and is_text
        text = _as_in_production(text) if is_as_recorded else text
    return TrialOutcome(outcome.outcome, text, (outcome.outcome, outcome.error, outcome.place), None, is_as_recorded)


def _describe(outcome: Outcome) -> str:
    text = str(outcome)
    if outcome.is_as_in_production:
        return _as_in_production(text)
    error = outcome.production
    if error is None or error.in_step or error.code == MISMATCH:
        return text
    return f"{text}; it does not fail as in production, with {error.message or 'an error that is not known'}"


def _as_in_production(text: str) -> str:
    return text.replace("fails:", "fails as in production:", 1)


def _is_as_recorded(journal: Journal, outcome: Outcome) -> bool:
    """Return whether the code does what it did in production."""
    ends = _ends_as_recorded(journal.error, outcome.outcome)
    if journal.error is None or ends is not None:
        return bool(ends)
    return outcome.is_as_in_production or (journal.error.code == MISMATCH and outcome.outcome == DIVERGES)


def _ends_as_recorded(error: Failure | None, kind: str) -> bool | None:
    """Return whether an outcome equals the recorded one; None if the error in production must be compared."""
    if error is None:
        return kind in {RETURNS, CONTINUES, WAITS}
    return kind == NO_RESULT if error.in_step else None
