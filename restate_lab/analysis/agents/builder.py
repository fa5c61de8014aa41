"""Build a conversation: read the journals of an invocation, of its session and of the agents that it called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from restate_lab._text import plural
from restate_lab.analysis.agents.entries import AgentEntry, Content, ShapeFunction, is_named_like_model, with_models
from restate_lab.analysis.agents.notes import (
    ENCODED,
    WITHOUT_PAYLOADS,
    WITHOUT_STATUS,
    describe_encoded,
    describe_uncounted,
    describe_unread,
)
from restate_lab.analysis.agents.prices import PriceTable
from restate_lab.analysis.agents.reader import AgentReader, ModelSteps, Row, contents_of, is_too_deep, lacks_payloads
from restate_lab.analysis.agents.result import Conversation
from restate_lab.analysis.agents.turns import Turn, turns_of
from restate_lab.analysis.ids import describe_missing
from restate_lab.analysis.journal.entries import OPEN, entries_of
from restate_lab.analysis.journal.errors import NO_ERRORS, UNKNOWN, attempt_errors
from restate_lab.analysis.journal.reader import Invocation, JournalReader, Ranges
from restate_lab.errors import ArgumentError, NotFound
from restate_lab.links import page_link
from restate_lab.payload_json import EncryptedPayload
from restate_lab.protocol.entries import is_encrypted
from restate_lab.reads import Reads
from restate_lab.result import unread
from restate_lab.status import UNKNOWN as NO_STATUS

_MOST_ENTRIES = 20_000
_BEFORE, _AFTER = 20, 60  # entries that are read around a response of a model in a longer journal
_MOST_CALLEES = 50
_MOST_IN_SESSION = 100
_CALLS = frozenset({"Call", "OneWayCall", "AttachInvocation"})
_NOTHING = "no step of this invocation has the shape of a model response"
_OWN_SHAPE = (
    "if {target} is an agent, its responses have a shape of your own; pass shapes=[function], which returns a "
    "ModelStep for such a payload (rl.journal shows the entries)"
)


class SearchedJournal(NamedTuple):
    """A journal of which ``size`` entries were searched: the indexes of those that look like a response of a model."""

    id: str
    size: int = 0
    indexes: Sequence[int] = ()


@dataclass(slots=True)
class ConversationBuilder:
    """Reads the journals of one conversation; ``notes`` has the parts that are missing, with the reasons."""

    reads: Reads
    reader: AgentReader
    journals: JournalReader
    shapes: Sequence[ShapeFunction]
    prices: PriceTable
    searched: SearchedJournal | None = None
    notes: list[str] = field(default_factory=list)
    models: int = 0  # calls of models, also those without a response
    _known: set[str] = field(default_factory=set)

    def conversation(self, id_: str, *, depth: int = 1, session: bool = False) -> Conversation:
        """Return the conversation of an invocation, with called agents down to ``depth``, or of its whole session.

        Raises:
            NotFound: it does not exist, or no longer exists.
            ArgumentError: ``session`` without a key.
        """
        now = self.reads.now  # first: matching the tools can take the rest of the time
        rows = self.reader.chosen([id_])
        if not rows:
            raise NotFound(describe_missing(self.reads, id_), status=404)
        row = rows[id_]
        ids = self._session(row) if session else [id_]
        turns = [turn for each in ids for turn in self._turns(each, level=1, depth=depth)]
        if row["status"] == NO_STATUS:
            self.notes.append(WITHOUT_STATUS)
        if not self.models:
            self.notes.insert(0, _NOTHING if self.notes else f"{_NOTHING}; {_OWN_SHAPE.format(target=row['target'])}")
        return Conversation(
            id=id_,
            target=str(row["target"]),
            status=str(row["status"]),
            source=self.reads.name,
            version=self.reads.version,
            read_at=now,
            turns=tuple(turns),
            not_read=unread(turns=self.notes, cost=[self.prices.note] if self.prices.note else []),
            session=None if row["key"] is None else f"{row['service']}/{row['key']}",
            queries=tuple(self.reads.queries),
            link=page_link(self.reads, "invocation", id_),
        )

    def _session(self, row: Row) -> list[str]:
        if row["key"] is None:
            raise ArgumentError(
                f"session=True needs an invocation of a virtual object or a workflow; {row['target']} has no key. Call "
                f"rl.conversation without session."
            )
        rows = self.reader.session(row, _MOST_IN_SESSION)
        if len(rows) == _MOST_IN_SESSION:
            self.notes.append(f"only the {_MOST_IN_SESSION} newest invocations of the object were read")
        return [*rows, *([] if row["id"] in rows else [row["id"]])]

    def _turns(self, id_: str, *, level: int, depth: int) -> list[Turn]:
        self._known.add(id_)
        entries = self._entries(id_)
        self.models += sum(each.is_model_call for each in entries)
        turns: list[Turn] = []
        for turn in turns_of(id_, entries, self.prices, depth=level, check=self.reads.check):
            turns.append(turn)
            if level < depth and turn.callee and turn.callee not in self._known and turn.entry_type in _CALLS:
                turns += self._callee(turn.callee, level=level + 1, depth=depth)
        return turns

    def _callee(self, id_: str, *, level: int, depth: int) -> list[Turn]:
        if len(self._known) > _MOST_CALLEES + _MOST_IN_SESSION:
            if not any("called invocations" in note for note in self.notes):
                self.notes.append(f"some called invocations were not read: at most {_MOST_CALLEES} are")
            return []
        return self._turns(id_, level=level, depth=depth)

    def _entries(self, id_: str) -> list[AgentEntry]:
        rows = self.journals.rows([id_])
        if not rows:
            self.notes.append(f"{id_} no longer exists")
            return []
        size = rows[id_]["journal_size"] or 0
        ranges = self._ranges(id_, size) if size > _MOST_ENTRIES else ()
        if ranges is None:
            return []
        table = self.journals.read([id_], columns=self.reader.content_columns, ranges=ranges)
        invocation = self.journals.invocations(rows, table, {})[id_]
        if not invocation.entries.num_rows:
            self.notes.append(f"{id_} has no journal: it has not started, was purged, or its journal was not retained")
            return []
        invocation = _without_unknowns(invocation, ranges[-1][0]) if ranges else invocation
        contents = contents_of(table, self.reader.decoding)
        entries = with_models(_agent_entries(invocation, contents), self.shapes, self.reads.check)
        missing = sum(each.is_excluded for each in contents.values())
        missing += sum(
            is_too_deep(each.content.value, each.unmasked_value)
            for each in entries
            if each.entry.entry_type == "Run" and each.model is None and each.content.value
        )
        self.notes += describe_unread(missing, id_)
        values = [value for each in contents.values() for value in (each.value, each.argument) if value]
        encrypted = sum(map(is_encrypted, values))
        if encrypted:
            payloads = plural(encrypted, "payload")
            self.notes.append(f"the SDK encrypted {payloads} of {id_}; connect(decode=…) decodes payloads for showing")
        if lacks_payloads(table):
            self.notes.append(f"{id_}: {WITHOUT_PAYLOADS}")
        self.notes += describe_uncounted([each.model for each in entries if each.model], id_)
        self.notes += describe_encoded({each.at: ENCODED for each in entries if _is_encoded_call(each)}, id_)
        return entries

    def _ranges(self, id_: str, size: int) -> Ranges | None:
        """Return the parts of a very long journal near its calls of models; None, with a note, if they are too long."""
        if self.searched is not None and (self.searched.id, self.searched.size) == (id_, size):
            indexes = self.searched.indexes
        else:
            indexes = list(self.reader.model_steps([id_], self.shapes, has_text=False).get(id_, ModelSteps({})).steps)
        around = [(max(0, at - _BEFORE), at + _AFTER) for at in sorted(indexes)]
        ranges: list[tuple[int, int]] = []
        for first, last in [(0, _BEFORE), *around, (max(0, size - _AFTER), size)]:
            if ranges and first <= ranges[-1][1] + 1:
                ranges[-1] = (ranges[-1][0], max(last, ranges[-1][1]))
            else:
                ranges.append((first, last))
        many = f"{id_} has {size:,} entries"
        if sum(last - first for first, last in ranges) > _MOST_ENTRIES:
            self.notes.append(f"{many}, and too many of them are near calls of models; such a conversation is not read")
            return None
        self.notes.append(
            f"{many}; only those near its calls of models were read, which are all in the conversation. Other steps, "
            f"and results of tools that came much later, are missing"
        )
        return ranges


def _is_encoded_call(each: AgentEntry) -> bool:
    """Return whether an entry has the name of a call of a model, and bytes that are not encrypted in a known form."""
    if not is_named_like_model(each.entry.entry_type, each.entry.name, ()):
        return False
    return isinstance(each.unmasked_value, bytes) and not isinstance(each.unmasked_value, EncryptedPayload)


def _without_unknowns(invocation: Invocation, last: int) -> Invocation:
    """Return a journal of which only parts were read, without a status where the result may be in another part.

    Everything from the index ``last`` was read. Errors are kept if they were recorded there; the numbers of commands
    in them count the commands of the whole journal.
    """
    table = invocation.entries
    is_unknown = pc.and_(pc.equal(table["status"], pa.scalar(OPEN)), pc.less(table["index"], pa.scalar(last)))
    status = pc.if_else(pc.fill_null(is_unknown, pa.scalar(value=False)), pa.scalar(None, pa.string()), table["status"])
    position = table.column_names.index("status")
    events = [replace(each, command_index=None) for each in invocation.events or () if (each.after_index or 0) >= last]
    return replace(
        invocation,
        entries=table.set_column(position, table.schema.field("status"), status),
        events=events if invocation.events is not None else None,
        attempts=invocation.attempts if events else None,
    )


def _agent_entries(invocation: Invocation, contents: Mapping[int, Content]) -> list[AgentEntry]:
    table, default = invocation.entries, NO_ERRORS if invocation.events is not None else UNKNOWN
    errors = attempt_errors(table, invocation.events or (), invocation.attempts)
    return [
        AgentEntry(entry, _content(entry, contents), errors.get(position, default))
        for position, entry in enumerate(entries_of(table))
    ]


def _content(entry: Any, contents: Mapping[int, Content]) -> Content:
    """Return the result of an entry with its argument; a command without a result has its own value."""
    own = contents.get(entry.index, Content()) if entry.index is not None else Content()
    if entry.completion_index is None or entry.completion_index == entry.index:
        return own
    result = contents.get(entry.completion_index, Content())
    return result._replace(argument=own.argument)
