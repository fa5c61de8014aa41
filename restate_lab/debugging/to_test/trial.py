"""Run a record once before it is written, with its masks, and find the masks that change what the code does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restate_lab.debugging.to_test.masking import ALWAYS, Mask, MaskedRecord, mask_record
from restate_lab.errors import ArgumentError
from restate_lab.testing import Outcome, Record
from restate_lab.testing.journal import journal_of

Run = Callable[[Record], Outcome]


@dataclass(frozen=True, slots=True)
class MaskTrial:
    """A record with its masks, and what the code did with it; ``changed_by`` names the masks that change that."""

    masked: MaskedRecord
    record: Record
    outcome: Outcome
    without_masks: Outcome
    changed_by: tuple[str, ...] = ()
    kept_names: tuple[str, ...] = ()
    """What keeps names with a masked text: "entry 4", "fields"; the code has them, or else it would have diverged."""

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
                f"{self.outcome}; without {'them' if many else 'it'}, it {self.without_masks}. Nothing was written. "
                f"Mask other values, or pass force=True to write the test with this outcome."
            )


def try_masks(record: Record, masks: Sequence[Mask], run: Run) -> MaskTrial:
    """Run a record without and with its masks; ``run`` returns the outcome of a record.

    Names that contain a masked text are masked only if the code computes them: it then diverges with the recorded name.
    The same holds for names of fields, all together.
    """
    document = json.loads(record.journal.to_json())
    expected = run(record)
    trials = [_fit_names(document, masks, run, expected, fields=True)]
    if trials[0].changed_by and trials[0].masked.has_fields:
        trials.append(_fit_names(document, masks, run, expected, fields=False))
    best = next((each for each in trials if not each.changed_by), trials[0])
    if not best.changed_by:
        return best
    alone = {each.label: _fit_names(document, [each], run, expected, fields=True) for each in (*ALWAYS, *masks)}
    guilty = tuple(label for label, trial in alone.items() if trial.changed_by)
    return MaskTrial(best.masked, best.record, best.outcome, expected, guilty or best.changed_by)


def _fit_names(
    document: Mapping[str, Any], masks: Sequence[Mask], run: Run, expected: Outcome, *, fields: bool
) -> MaskTrial:
    """Mask the names of those entries at which the code diverges from the recorded ones."""
    names: set[int] = set()
    while True:
        masked = mask_record(document, masks, names=names, fields=fields)
        record = read_masked(masked.record)
        outcome = run(record) if masked.count else expected
        entry, is_same = outcome.entry, _is_same(outcome, expected)
        if not is_same and entry is not None and entry in masked.named and entry not in names:
            names.add(entry)
            continue
        kept = [f"entry {each}" for each in masked.named if each not in names]
        kept += ["fields"] if masked.has_fields and not fields else []
        labels = () if is_same else tuple(each.label for each in masks if masked.hits[each.label])
        return MaskTrial(masked, record, outcome, expected, labels, tuple(kept))


def read_masked(document: Mapping[str, Any]) -> Record:
    """Return the record of a document, as it will be read from its file."""
    return Record(journal_of(json.dumps(document), name="the record"))


def _is_same(one: Outcome, other: Outcome) -> bool:
    """Return whether two outcomes are the same except for texts: the kind, the place, and the type of the error."""
    return _facts(one) == _facts(other)


def _facts(outcome: Outcome) -> tuple[Any, ...]:
    place = (outcome.at.file, outcome.at.line) if outcome.at else None
    command = (outcome.next or "").partition(" ")[0]
    kind = outcome.failure.type if outcome.failure else type(outcome.exception).__name__
    return (
        outcome.outcome,
        place,
        kind,
        command,
        outcome.passed,
        outcome.entry,
        len(outcome.steps),
        len(outcome.waits_for),
    )
