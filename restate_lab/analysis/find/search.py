"""Search inputs and state, the newest invocations first, until the end of the window or the first limit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from restate_lab._text import join, truncate
from restate_lab.analysis.find.needle import Needle, masked
from restate_lab.analysis.find.reader import MOST_BYTES, MOST_ROWS, FindReader
from restate_lab.analysis.find.result import format_size
from restate_lab.analysis.journal.encoding import OF_EVERY_CALL, input_entry_of
from restate_lab.analysis.journal.reader import CHUNK
from restate_lab.errors import TimedOut
from restate_lab.payload_json import NOT_DECODED, Decoding
from restate_lab.progress import Progress
from restate_lab.protocol.entries import is_encrypted
from restate_lab.reads import Row, Stopped
from restate_lab.redaction import is_secret_header, is_secret_name

MOST_MATCHES = 1_000
"""The search ends after this many invocations that have the text."""
_LONGEST = 20_000  # characters of a shown payload
_LARGE = f"of more than {MOST_BYTES >> 20} MiB"
_ENCRYPTED = "encrypted by the SDK (a connection with decode= searches what it decodes)"
_NOT_DECODED = "that the function decode= did not decode"
_MALFORMED = "of an unknown form"
_NOT_ARCHIVED = "archived without payloads"
_NOT_KEPT = "whose journal was not kept, or is not in the source"


class _LimitReached(Exception):
    """A limit of the search was reached; the message names it."""


@dataclass
class PayloadSearch:
    """One search, and its matches so far.

    - ``matches`` and ``states``: the rows of the frames of the result
    - ``looked``: invocations that were searched, without a part of a chunk at the end; ``back_to``: the creation of
      the oldest one
    - ``total``: the invocations in the window; None if there are more than are searched
    - ``size``: the bytes of inputs and values that arrived; ``most`` is their limit
    - ``end``: the limit that ended the search; "" if it reached the end of the window
    - ``unsearched``: why inputs were not searched, and how many
    """

    reader: FindReader
    needle: Needle
    most: float
    decoding: Decoding | None
    payloads: bool
    matches: list[Row] = field(default_factory=list)
    states: list[Row] = field(default_factory=list)
    looked: int = 0
    total: int | None = 0
    back_to: datetime | None = None
    size: int = 0
    end: str = ""
    unsearched: Counter[str] = field(default_factory=Counter)
    unsearched_values: Counter[str] = field(default_factory=Counter)

    def search_invocations(self, since: datetime, service: str | None, line: Progress) -> None:
        """Search the keys and inputs of the invocations that were created since a time."""
        rows = self.reader.invocations(since, service)
        self.total = len(rows) if len(rows) <= MOST_ROWS else None
        most = min(len(rows), MOST_ROWS)
        for start in range(0, most, CHUNK):
            part = rows.slice(start, min(CHUNK, most - start)).to_pylist()
            if not self._until_a_limit(partial(self._search_part, part, partial(line.update, start, most))):
                return
            self.looked += len(part)
            self.back_to = part[-1]["created_at"]
        if len(rows) > MOST_ROWS:
            self.end = f"at most {MOST_ROWS:,} invocations are searched (pass a service=)"

    def search_state(self, service: str) -> None:
        """Search the values in the state of a service, if no limit was reached before."""
        if not self.end:
            self._until_a_limit(partial(self._search_values, service))

    def _until_a_limit(self, search: Callable[[], None]) -> bool:
        """Search until a limit is reached; return whether none was."""
        reads = self.reader.reads
        try:
            search()
        except _LimitReached as limit:
            self.end = str(limit)
        except TimedOut:
            self.end = "the time limit of the connection was reached" if reads.seconds_left else self._out_of_time
        except Stopped:
            self.end = "the search was stopped"
        return not self.end

    @property
    def _out_of_time(self) -> str:
        return f"the limit of {self.reader.reads.limit} was reached (timeout=)"

    def _check(self) -> None:
        """Raise _LimitReached at a limit."""
        if self.size > self.most:
            raise _LimitReached(f"the limit of {format_size(self.most)} was reached (max_bytes=)")
        if len(self.matches) + len(self.states) >= MOST_MATCHES:
            raise _LimitReached(f"{MOST_MATCHES:,} places have the text (pass a longer one)")
        if not self.reader.reads.seconds_left:
            raise _LimitReached(self._out_of_time)

    def _search_part(self, part: Sequence[Row], update: Callable[[], None]) -> None:
        update()  # it can stop the search
        rows = {row["id"]: row for row in part}
        with closing(self.reader.inputs(list(rows))) as entries:
            for entry, size in entries:
                self.size += size
                if (row := rows.pop(entry["id"], None)) is not None:
                    self._search_input(row, entry)
                self._check()
        for row in rows.values():
            self._add(row, self._places_in_row(row))
        if rows:
            is_null = self.reader.without_text(sorted(rows))
            without_payload = _NOT_ARCHIVED if self.reader.reads.has("origins.origin") else _MALFORMED
            reasons = {True: without_payload, False: _LARGE, None: _NOT_KEPT}
            self.unsearched.update(reasons[is_null.get(id_)] for id_ in rows)

    def _search_input(self, row: Row, entry: Row) -> None:
        places = self._places_in_row(row)
        try:
            read = input_entry_of(entry, self.decoding)
        except ValueError:
            self.unsearched[_MALFORMED if self.reader.has_content(entry) else _NOT_ARCHIVED] += 1
            self._add(row, places)
            return
        places += [
            f"header {name}"
            for name, value in read.headers.items()
            if name not in OF_EVERY_CALL and not is_secret_header(name) and self.needle.is_in(value)
        ]
        places += self._places_in(read.payload, "input", self.unsearched)
        self._add(row, places, read.payload)

    def _places_in_row(self, row: Row) -> list[str]:
        names = {"target_service_key": "key", "idempotency_key": "idempotency key"}
        return [label for name, label in names.items() if self.needle.is_in(row.get(name) or "")]

    def _places_in(self, payload: bytes, name: str, unsearched: Counter[str]) -> list[str]:
        """Return the paths in a payload that have the text, each below ``name``."""
        if reason := self._why_unsearchable(payload):
            unsearched[reason] += 1
            return []
        text = _text_of(payload)
        if not self.needle.may_be_in(text):
            return []
        return [f"{name}{path}" for path in self.needle.places(masked(text))]

    def _add(self, row: Row, places: Sequence[str], payload: bytes = b"") -> None:
        if places:
            shown = {"payload": _shown(payload)} if self.payloads else {}
            self.matches.append(
                {
                    "id": row["id"],
                    "created_at": row["created_at"],
                    "service": row["target_service_name"],
                    "handler": row["target_handler_name"],
                    "path": join(places),
                    **shown,
                }
            )

    def _search_values(self, service: str) -> None:
        with closing(self.reader.values(service)) as values:
            for row in values:
                value = row["value"] or b""
                self.size += len(value)
                self.unsearched_values[_LARGE] += int(len(value) < row["value_length"])
                places = self._places_in(self._decoded(value), "value", self.unsearched_values)
                if places and not is_secret_name(row["key"]):
                    shown = {"payload": _shown(value)} if self.payloads else {}
                    self.states.append(
                        {
                            "service": service,
                            "key": row["service_key"],
                            "name": row["key"],
                            "path": join(places),
                            **shown,
                        }
                    )
                self._check()

    def _why_unsearchable(self, payload: bytes) -> str:
        """Return why a payload cannot be searched; "" if it can."""
        if is_encrypted(payload):
            return _ENCRYPTED
        return _NOT_DECODED if self.decoding and payload.startswith(NOT_DECODED) else ""

    def _decoded(self, payload: bytes) -> bytes:
        return self.decoding(payload) if self.decoding else payload


def _text_of(payload: bytes) -> str:
    """Return a payload as text; parts that are not UTF-8 become other characters."""
    return payload.decode("utf-8", "replace")


def _shown(payload: bytes) -> str:
    if is_encrypted(payload):
        return "encrypted by the SDK"
    return truncate(masked(_text_of(payload)), _LONGEST)
