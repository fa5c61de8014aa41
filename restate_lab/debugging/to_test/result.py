"""The result of ``to_test``: the files that were written, and what the test did when it was run before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path

import pandas as pd

from restate_lab._public import public
from restate_lab._text import format_timestamp, plural
from restate_lab.document import Block, Document, Facts, Text, Word
from restate_lab.result import Result


@public
@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class RecordedTest(Result):
    """A test that was written from a journal; ``to_test()`` returns it.

    - ``.paths``: the written files; the journal is the first, the test the second.
    - ``.outcome``: what the test did when it was run before it was written, as one sentence: "fails as in production:
      KeyError('price') at shop/orders.py:41".
    - ``.is_as_recorded``: whether this is the recorded failure or result; None if the test was not run.
    - ``.files``: one row per file: ``path``, ``content`` ("journal", "test", "copied code") and ``about``.
    - ``.masked``: the number of masked values by mask; "headers" and "secrets" are always applied.
    - ``.command``: the command that runs the test.
    """

    _json = (
        *("id", "outcome", "is_as_recorded", "source", "version", "read_at"),
        *("entries", "masked", "notes", "command", "files"),
    )
    id: str
    target: str
    outcome: str
    is_as_recorded: bool | None
    paths: tuple[Path, ...]
    entries: int
    masked: Mapping[str, int]
    notes: tuple[str, ...] = ()
    """What the reader of the record should know, one sentence each."""
    command: str = ""

    @property
    def where(self) -> str:
        """Return the source, its version and when it was read; for a record file, its path and when it was read."""
        return super().where if self.version else f"{self.source}, {format_timestamp(self.read_at)}"

    @property
    def summary(self) -> str:
        """Return what the test does."""
        return self.outcome

    @property
    def files(self) -> pd.DataFrame:
        """Return the written files."""
        contents = ["journal", "test", *["copied code"] * len(self.paths[2:])]
        abouts = [self._about_journal, self.outcome, *[""] * len(self.paths[2:])]
        rows = [(str(path), *row) for path, *row in zip(self.paths, contents, abouts, strict=True)]
        return self._of_source(pd.DataFrame(rows, columns=["path", "content", "about"], dtype=object))

    @property
    def _about_journal(self) -> str:
        count = sum(self.masked.values())
        masked = f"{plural(count, 'value')} masked" if count else "nothing masked"
        return f"{plural(self.entries, 'entry', 'entries')}, no header of the input, {masked}"

    def document(self, _: tzinfo = UTC, /) -> Document:
        """Return the files, the notes and the next step as blocks."""
        journal, test, *others = self.paths
        copied = [("testing code", f"{len(others)} files in {others[0].parent}")] if others else []
        files = (("journal", f"{journal}: {self._about_journal}"), ("test", str(test)), *copied)
        blocks: tuple[Block, ...] = (
            Facts((("invocation", self.target), *files)),
            *(Text(Word(each, "quiet")) for each in self.notes),
            *((Text(f"After the fix, run: {self.command}"),) if self.command else ()),
        )
        return Document(self.outcome, self.where, blocks, "failed" if self.is_as_recorded else "suspended")
