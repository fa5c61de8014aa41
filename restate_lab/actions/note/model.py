"""The result of ``note``: the text, the end of the acknowledgement, and whether the note existed before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from restate_lab._public import public
from restate_lab.document import Document, Text
from restate_lab.notes import StoredNote, author_and_text, short_time
from restate_lab.result import Result

_OWN = "Notes are those of this user on this machine: other users, and watch of another user, do not see them."


@public
@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class Note(Result):
    """A note about a cluster; ``note()`` returns it.

    - ``.text, .time`` (UTC), ``.user, .host``: the text, when it was noted, the user and the machine.
    - ``.finding, .title, .severity, .count``: the fingerprint of the finding, and what it was when it was noted; None
      if the note is about none.
    - ``.until``: the end of the acknowledgement, UTC; None if the note acknowledges nothing.
    - ``.is_new``: False if the same note had been written before, and nothing was written now.
    - ``.ended``: why an acknowledgement that had been written before does not hold any more; "" if it holds.
    """

    _json = (
        *("note.id", "time", "text", "finding", "severity", "title", "count", "until", "user", "host"),
        *("note.address", "source", "is_new", "ended"),
    )
    note: StoredNote
    is_new: bool
    ended: str = ""

    @property
    def text(self) -> str:
        """Return the text of the note."""
        return self.note.text

    @property
    def time(self) -> datetime:
        """Return when it was noted, UTC."""
        return self.note.time

    @property
    def until(self) -> datetime | None:
        """Return the end of the acknowledgement, UTC; None if the note acknowledges nothing."""
        return self.note.until

    @property
    def finding(self) -> str | None:
        """Return the fingerprint of the finding; None if the note is about none."""
        return self.note.finding

    @property
    def title(self) -> str | None:
        """Return the title of the finding when it was noted."""
        return self.note.title

    @property
    def severity(self) -> str | None:
        """Return the severity of the finding when it was noted."""
        return self.note.severity

    @property
    def count(self) -> int | None:
        """Return the number of stuck invocations when it was noted, of all findings that the note covers."""
        return self.note.count

    @property
    def user(self) -> str | None:
        """Return the user of the note."""
        return self.note.user

    @property
    def host(self) -> str | None:
        """Return the machine on which it was noted."""
        return self.note.host

    @property
    def where(self) -> str:
        """Return the source and when it was noted."""
        return f"{self.source}, noted at {short_time(self.time, self.read_at)}"

    @property
    def summary(self) -> str:
        """Return the note on one line, with the end of the acknowledgement."""
        until = f"known until {short_time(self.until, self.read_at)}" if self.until else "noted"
        if not self.is_new:
            until = f"already {until}"
        if self.ended:
            until = "already noted"
        return f"{until[0].upper()}{until[1:]} {author_and_text(self.note)}"

    def document(self, _: tzinfo = UTC, /) -> Document:
        """Return the note, its finding, and whether it existed before as blocks."""
        about = [f"Finding: {self.severity} {self.title} · {self.finding}"] if self.finding else []
        again = []
        if not self.is_new:
            again.append("This note exists, and was not written again.")
        if self.ended:
            again.append(f"Its acknowledgement has ended: {self.ended}. To acknowledge again, use another text.")
        tone = "failed" if self.ended else "suspended" if self.until else "succeeded"
        return Document(self.summary, self.where, tuple(map(Text, (*about, *again))), tone, (_OWN,))
