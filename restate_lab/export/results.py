"""The results of the library for programs: the output of ``--json``, and of the tools for an assistant.

All values are JSON values, except frames: they can be long, so ``rows_of`` returns their rows where they are written.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pandas as pd

from restate_lab._text import escape_invisible
from restate_lab.actions.note.model import Note
from restate_lab.actions.plan.model import Plan
from restate_lab.analysis.agents.result import Conversation
from restate_lab.analysis.contrast import Contrast
from restate_lab.analysis.doctor.diagnosis import Diagnosis
from restate_lab.analysis.invocations.reader import Rows
from restate_lab.analysis.journal.payloads import mask_payloads
from restate_lab.analysis.queues import Queues
from restate_lab.analysis.replay.result import Replay
from restate_lab.analysis.story.result import Story
from restate_lab.analysis.waits.result import Waits
from restate_lab.analysis.why.explanation import Explanation
from restate_lab.debugging.to_test.result import RecordedTest
from restate_lab.evidence.compare import PARTS, Comparison
from restate_lab.export.columns import to_table
from restate_lab.export.files import json_rows
from restate_lab.result import Result

_QUESTION_FACTS = ("question", "params", "source", "version", "read_at", "truncated", "not_read")
_RUNS_FACTS = ("source", "version", "read_at", "truncated", "cost_note")
_JOURNAL_FACTS = (
    *("id", "target", "status", "failed_attempts", "source", "version", "read_at", "note", "truncated"),
    *("suspensions", "events"),
)


def rows_of(frame: pd.DataFrame) -> list[Any]:
    """Return the rows as JSON values."""
    return [json.loads(row) for row in json_rows(to_table(frame, for_json=True))] if len(frame) else []


def json_text(value: Any) -> str:
    """Return a result as JSON, with frames as lists of rows.

    Control characters and invisible characters are escape codes; the value stays the same.
    """
    return escape_json(json.dumps(value, ensure_ascii=False, indent=1, default=rows_of))


def escape_json(text: str) -> str:
    """Return JSON with control characters and invisible characters as escape codes; the value stays the same."""
    return escape_invisible(text, escape=lambda character: json.dumps(character)[1:-1])


def diagnosis_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return the findings, the checks, and the checks that could not run."""
    return {
        "verdict": diagnosis.verdict,
        "worst": diagnosis.worst,
        "source": diagnosis.source,
        "version": diagnosis.version,
        "read_at": diagnosis.read_at.isoformat(),
        "seconds": round(diagnosis.seconds, 3),
        "findings": diagnosis.findings,
        "not_read": diagnosis.not_read,
        "checked": diagnosis.checked,
    }


def note_json(result: Note) -> dict[str, Any]:
    """Return a note, whether it was written now, and why its acknowledgement has ended."""
    stored = result.note
    names = ("id", "time", "text", "finding", "severity", "title", "count", "until", "user", "host", "address")
    values = {name: getattr(stored, name) for name in names}
    times = {name: value.isoformat() for name, value in values.items() if isinstance(value, datetime)}
    return {**values, **times, "source": result.source, "is_new": result.is_new, "ended": result.ended}


def _origin_json(result: Result) -> dict[str, Any]:
    return {
        "summary": result.summary,
        "source": result.source,
        "version": result.version,
        "read_at": result.read_at.isoformat(),
    }


def contrast_json(result: Contrast) -> dict[str, Any]:
    """Return what distinguishes failing invocations from healthy ones, and how the sides were chosen."""
    return {
        "verdict": result.verdict,
        **_origin_json(result),
        "payloads": result.payloads,
        "tests": result.tests,
        "conditions": result.conditions,
        "attributes": result.attributes,
        "sides": result.sides,
        "not_read": result.not_read,
    }


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """Return the explanation of one invocation, with its chain and options."""
    return {
        "id": explanation.id,
        "target": explanation.target,
        "status": explanation.status,
        "summary": explanation.summary,
        "callers": [{"id": id_, "target": target} for id_, target in explanation.callers],
        "has_story": explanation.story_call is not None,
        "chain": explanation.chain,
        "options": explanation.options,
        "not_read": explanation.not_read,
        "read_at": explanation.read_at.isoformat(),
    }


def waits_json(waits: Waits) -> dict[str, Any]:
    """Return all frames of the waits."""
    return {
        **_origin_json(waits),
        "not_read": waits.not_read,
        "deadlocks": waits.deadlocks,
        "blockers": waits.blockers,
        "edges": waits.edges,
    }


def queues_json(queues: Queues) -> dict[str, Any]:
    """Return the queues, the number of the others, and the counters of the rules."""
    return {
        **_origin_json(queues),
        "summary": queues.summary,
        "queues": queues.queues,
        "hidden": dict(queues.hidden),
        "limits": queues.limits,
    }


def story_json(story: Story) -> dict[str, Any]:
    """Return the members of a story, their edges and phases, and the critical path."""
    return {
        **_origin_json(story),
        "started": story.started.isoformat(),
        "ended": None if story.ended is None else story.ended.isoformat(),
        "searched": story.searched,
        "not_read": story.not_read,
        "members": story.members,
        "edges": story.edges,
        "path": story.path,
        "phases": story.phases,
    }


def journal_json(frame: pd.DataFrame, *, is_data: bool = False) -> dict[str, Any]:
    """Return the entries of a journal, with the facts about its invocation; ``is_data`` leaves fields unmasked."""
    entries = frame if is_data else mask_payloads(frame)
    return {name: frame.attrs.get(name) for name in _JOURNAL_FACTS} | {"entries": entries}


def question_json(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the rows of a named question, with its parameters and the parts that were not read."""
    return {name: frame.attrs[name] for name in _QUESTION_FACTS if name in frame.attrs} | {"rows": frame}


def agent_runs_json(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the runs of agents, and why costs are missing."""
    return {name: frame.attrs[name] for name in _RUNS_FACTS if frame.attrs.get(name)} | {"rows": frame}


def invocations_json(rows: Rows) -> dict[str, Any]:
    """Return a list of invocations with its filters; without ``total`` the rows could not be counted."""
    return {"filters": rows.filters.changed, "total": rows.total, "note": rows.note, "rows": rows.frame}


def conversation_json(result: Conversation) -> dict[str, Any]:
    """Return a conversation as messages for a model, and as turns."""
    return {
        "id": result.id,
        "target": result.target,
        "status": result.status,
        "source": result.source,
        "version": result.version,
        "read_at": result.read_at.isoformat(),
        "messages": result.messages(),
        "turns": result.frame,
        "not_read": result.not_read,
    }


def replay_json(result: Replay) -> dict[str, Any]:
    """Return the verdicts of a replay, per invocation and per group."""
    return {
        "verdict": result.verdict,
        "counts": result.counts,
        "address": result.address,
        "sdk": result.sdk,
        "source": result.source,
        "version": result.version,
        "read_at": result.read_at.isoformat(),
        "rows": result.rows,
        "groups": result.groups,
        "not_read": result.not_read,
        "warnings": list(result.warnings),
    }


def plan_json(plan: Plan) -> dict[str, Any]:
    """Return what a plan would do to each invocation, and whether it can be undone."""
    return {
        "action": plan.action.value,
        "targets": len(plan.targets),
        "undo": plan.undo,
        **({"at_once": plan.at_once, "capacity": plan.capacity, "places": plan.places} if plan.capacity else {}),
        "expires_at": plan.expires_at.isoformat(),
        "source": plan.source,
        "address": plan.address,
        "version": plan.version,
        "read_at": plan.read_at.isoformat(),
        "warnings": list(plan.warnings),
        "not_read": plan.not_read,
        "counts": plan.counts,
        "invocations": plan.frame,
        "impact": plan.impact,
        "prefixes": plan.prefixes,
    }


def recorded_test_json(result: RecordedTest) -> dict[str, Any]:
    """Return the files that were written, and what the test did."""
    return {
        "id": result.id,
        "outcome": result.outcome,
        "is_as_recorded": result.is_as_recorded,
        "source": result.source,
        "version": result.version,
        "read_at": result.read_at.isoformat(),
        "entries": result.entries,
        "masked": dict(result.masked),
        "notes": list(result.notes),
        "command": result.command,
        "files": result.files,
    }


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Return everything that differs between two sources, and the parts that were not compared."""
    return {
        "summary": comparison.summary,
        "before": {"source": comparison.before, "read_at": comparison.before_at.isoformat()},
        "after": {"source": comparison.after, "read_at": comparison.read_at.isoformat()},
        **{part: getattr(comparison, part) for part in PARTS},
        "not_read": comparison.not_read,
    }
