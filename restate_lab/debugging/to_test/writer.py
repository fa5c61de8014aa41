"""Write a record and its test into a folder, after one run of the handler on the record with its masks."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from restate_lab._text import join, plural, verb_form
from restate_lab.debugging import as_errors
from restate_lab.debugging.to_test.files import check_files, check_folder, write_files
from restate_lab.debugging.to_test.forms import WritingOptions, form_of
from restate_lab.debugging.to_test.masking import ALWAYS, Mask, parse_masks
from restate_lab.debugging.to_test.python import stem_of
from restate_lab.debugging.to_test.result import RecordedTest
from restate_lab.debugging.to_test.trial import MaskTrial, try_masks
from restate_lab.testing import Record

_PLURALS = {"number": "numbers", "date or UUID": "dates or UUIDs", "encrypted payload": "encrypted payloads"}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where and when a record was read."""

    name: str
    version: str
    read_at: datetime


def write_recorded_test(record: Record, folder: Path, options: WritingOptions, origin: Origin) -> RecordedTest:
    """Run the handler on the record, and write the record and a test for it into the folder.

    Raises:
        ArgumentError: a file exists, or a mask changes the outcome. Nothing is written then.
    """
    masks, journal = (*ALWAYS, *parse_masks(options.mask)), record.journal
    form = form_of(options, folder, stem_of(journal.service, journal.handler, journal.id))
    check_files(folder, form.planned, shared=form.shared, force=options.force)
    with as_errors():
        trial = try_masks(record, masks, form.run)
    if not options.force:
        trial.check()
    paths = write_files(folder, form.texts(trial), shared=form.shared, force=options.force)
    return RecordedTest(
        source=origin.name,
        version=origin.version,
        read_at=origin.read_at,
        id=journal.id,
        target=f"{journal.service}/{journal.handler} {journal.id}",
        outcome=trial.outcome.text,
        is_as_recorded=trial.outcome.is_as_recorded,
        paths=paths,
        entries=len(journal.entries),
        masked=dict(trial.masked.hits),
        notes=(
            *_mask_notes(trial, masks),
            f"note: a run of the test does not refuse the network to {form.not_refused}",
        ),
        command=f"{form.command} {shlex.quote(str(paths[1]))}",
    )


def write_test_of_file(path: Path, folder: str | os.PathLike[str], options: WritingOptions) -> RecordedTest:
    """Write a test for a record file, as ``write_recorded_test`` does.

    Raises:
        NotReplayable: the file is not a record.
    """
    target = check_folder(folder)
    with as_errors():
        record = Record.load(path)
    return write_recorded_test(record, target, options, Origin(str(path), "", datetime.now(UTC)))


def _mask_notes(trial: MaskTrial, masks: Iterable[Mask]) -> list[str]:
    """Return what the masks did and did not do, one sentence each."""
    masked, notes = trial.masked, []
    unused = [each.label for each in masks if each not in ALWAYS and not masked.hits[each.label]]
    if unused and not masked.unread:
        notes.append(f"note: the record has no text for the {verb_form(len(unused), 'mask', 'masks')} {join(unused)}")
    if masked.unread:
        entries = verb_form(len(masked.unread), "entry", "entries")
        notes.append(
            f"note: {entries} {join(map(str, masked.unread))} cannot be read as JSON and was masked as a whole"
        )
    if masked.kept.total():
        kept = join(plural(count, kind, _PLURALS[kind]) for kind, count in masked.kept.items() if count)
        notes.append(f"note: below masked values, {kept} {verb_form(masked.kept.total(), 'was', 'were')} kept")
    if masked.with_words:
        having = f"{plural(len(masked.with_words), 'entry has', 'entries have')} a word of a masked text"
        notes.append(f"note: {having}, such as entry {masked.with_words[0]}: review the record")
    if masked.count:
        notes.append("note: the test does not compare payloads, because the record is masked")
    if trial.kept:
        notes.append(f"note: a masked text was kept where the code has it itself: {join(trial.kept)}")
    if not masked.count:
        notes.append("note: the record has inputs and results; review it before you commit it")
    return notes
