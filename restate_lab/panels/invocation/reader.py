"""Read one invocation for its panel: its status, explanation, journal, errors, callers and callees."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from restate_lab.analysis.agents.result import Conversation
from restate_lab.analysis.invocations.filters import ALL, Filters
from restate_lab.analysis.invocations.reader import read_rows
from restate_lab.analysis.journal import read_journal
from restate_lab.analysis.journal.entries import parse_object
from restate_lab.analysis.journal.errors import PAUSED, TRIED
from restate_lab.analysis.why import DEADLOCK, why
from restate_lab.analysis.why.explanation import Explanation
from restate_lab.client.schema import translate_errors
from restate_lab.errors import NotFound
from restate_lab.frames import records
from restate_lab.reads import Reads
from restate_lab.source import Source

_MOST_EVENTS = 50
_WITHIN = 8.0  # seconds for the explanation


@dataclass(frozen=True, slots=True)
class Errors:
    """The recorded errors, newest first (``at, code, message, step, journal_entry``); ``whole`` is the latest error."""

    frame: pd.DataFrame
    whole: str | None = None


@dataclass(frozen=True, slots=True)
class Related:
    """Another invocation; ``how`` is the relation to it: "blocks", "called by", "calls", "waits for" and so on."""

    how: str
    id: str
    target: str


@dataclass(frozen=True, slots=True)
class AgentContent:
    """Whether an invocation is an agent's; if it was requested, its conversation, or a problem with reading it."""

    is_agent: bool = False
    conversation: Conversation | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DeadlockContent:
    """The deadlock of an invocation: whether it is certain, and the ids and targets of the other members, in order."""

    is_certain: bool
    others: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class InvocationContent:
    """The data of one invocation; ``journal`` has the payloads if ``has_payloads`` is set.

    With ``has_new_conversation_only``, everything else is from the read before.
    """

    row: Mapping[str, Any]
    facts: Mapping[str, Any]
    why: Explanation
    journal: pd.DataFrame
    errors: Errors
    related: tuple[Related, ...] = ()
    has_payloads: bool = False
    agent: AgentContent = AgentContent()
    has_new_conversation_only: bool = False

    @property
    def deadlock(self) -> DeadlockContent | None:
        """Return the deadlock whose member this invocation is, or None."""
        links = records(self.why.chain)
        if not links or links[-1]["blocker"] != self.why.id:  # only the chain of a member returns to its start
            return None
        others = dict.fromkeys((str(link["id"]), str(link["target"] or link["id"])) for link in links[1:])
        return DeadlockContent(("root blocker", DEADLOCK) in self.why.facts, tuple(others))

    @property
    def failure(self) -> str | None:
        """Return the full text of the current or final failure, or None without a failure."""
        status = self.row["status"]
        if status in {"failed", "cancelled", "killed"}:
            return text_or_none(self.facts["completion_failure"])
        if status in {"backing-off", "paused", "running", "ready"}:
            found = text_or_none(self.facts["last_failure"])
            return found or (self.errors.whole if status in {"backing-off", "paused"} else None)
        return None


@translate_errors
def read_invocation(
    source: Source, invocation_id: str, *, payloads: bool = False, expand: Collection[str] = ()
) -> InvocationContent:
    """Read one invocation by its id, with the journals of the callees in ``expand``; uses only point reads.

    Raises:
        NotFound: the invocation does not exist (any more).
    """
    reads = Reads(source)  # not of the journal: its clock is read just before its entries
    row = _read_row(reads, invocation_id)
    facts = reads.rows("journal/facts", id=invocation_id)
    explanation = why(source, invocation_id, timeout=_WITHIN)
    if not row or not facts:
        raise NotFound(str(explanation), status=404)
    journal, _ = read_journal(Reads(source), invocation_id, payloads=payloads, expand=expand)
    return InvocationContent(
        row=row,
        facts=facts[0],
        why=explanation,
        journal=journal,
        errors=_read_errors(reads, invocation_id),
        related=_links(invocation_id, facts[0], explanation, journal),
        has_payloads=payloads,
    )


@translate_errors
def is_same_run(source: Source, content: InvocationContent) -> bool:
    """Return whether the invocation still has the run whose data this is."""
    row = _read_row(source, str(content.row["id"]))
    return bool(row) and row["created_at"] == content.row["created_at"]


def _read_row(source: Source, invocation_id: str) -> Mapping[str, Any]:
    """Return the row of the list for an invocation; an empty one if it does not exist."""
    rows = records(read_rows(source, Filters(status=(ALL,), id=(invocation_id,), limit=1)).frame)
    return rows[0] if rows else {}


def _read_errors(reads: Reads, invocation_id: str) -> Errors:
    events = reads.frame("journal/errors", id=invocation_id)
    events = events.sort_values(["appended_at", "after_journal_entry_index"], ascending=False)
    rows, whole = [], None
    for event in records(events.head(_MOST_EVENTS)):
        kind, error = text_or_none(event["event_type"]) or "?", parse_object(event["event_json"])
        is_error = kind == TRIED
        failure = error if is_error else error.get("last_failure")
        failure = failure if isinstance(failure, dict) else {}
        message = text_or_none(failure.get("error_message"))
        if message is None and is_error:
            continue
        name = "paused" if kind == PAUSED else f"event {kind}"
        trace = text_or_none(failure.get("error_stacktrace"))
        whole = whole or (f"{message}\n{trace}" if message and trace else message)
        rows.append(
            {
                "at": event["appended_at"],
                "code": text_or_none(failure.get("restate_doc_error_code")),
                "message": message if is_error else f"{name}{f' after: {message}' if message else ''}",
                "step": text_or_none(failure.get("related_command_name")),
                "journal_entry": event["after_journal_entry_index"],
            }
        )
    frame = pd.DataFrame(rows, columns=["at", "code", "message", "step", "journal_entry"])
    return Errors(frame, whole)


def _links(id_: str, facts: Mapping[Any, Any], explanation: Explanation, journal: pd.DataFrame) -> tuple[Related, ...]:
    related = [Related("blocks", blocked, target) for blocked, target in explanation.waiters]
    if caller := text_or_none(facts["invoked_by_id"]):
        related.append(Related("called by", caller, text_or_none(facts["invoked_by_target"]) or "an invocation"))
    if before := text_or_none(facts["restarted_from"]):
        related.append(Related("restarted from", before, before))
    related += [Related("waits for", link["id"], link["target"]) for link in records(explanation.chain)]
    own = journal[(journal["depth"] == 1) & journal["callee"].notna()]
    for entry in records(own):
        how = "calls" if entry["entry_type"] == "Call" else str(entry["entry_type"])
        related.append(Related(how, entry["callee"], text_or_none(entry["callee_target"]) or "an invocation"))
    return tuple(dict.fromkeys(each for each in related if each.id != id_))


def text_or_none(value: object) -> str | None:
    """Return a text that is not empty, or None."""
    return value if isinstance(value, str) and value else None
