"""The tools that read: each calls one function of the library, and returns its answer as JSON within a budget.

The docstrings and the descriptions of arguments are what an assistant reads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import pandas as pd
import platformdirs
from pydantic import Field
from typing_extensions import TypedDict

from restate_lab._text import escape_invisible
from restate_lab.actions.state import state as read_state
from restate_lab.actions.state.model import State
from restate_lab.analysis.agents import conversation as read_conversation
from restate_lab.analysis.agents.result import Conversation
from restate_lab.analysis.ask import run_any_question
from restate_lab.analysis.before_after import before_after as compare_blocks
from restate_lab.analysis.contrast import compare_sides
from restate_lab.analysis.doctor import diagnose
from restate_lab.analysis.journal import read_journal
from restate_lab.analysis.questions import questions as list_questions
from restate_lab.analysis.story import Story, story as read_story
from restate_lab.analysis.waits import find_waits
from restate_lab.analysis.why import why as explain
from restate_lab.client.arguments import time_limit
from restate_lab.durations import seconds_of
from restate_lab.errors import ArgumentError
from restate_lab.evidence.compare import compare as compare_sources
from restate_lab.evidence.freeze import freeze
from restate_lab.export.json_text import journal_json, rows_of
from restate_lab.mcp.budget import MOST_ROWS, Budget, fit
from restate_lab.reads import Reads
from restate_lab.result import Result
from restate_lab.source import Source
from restate_lab.sources import Sources

TIMEOUT = "45s"  # clients give up after a minute
_FREEZE_TIMEOUT = "5m"
_MOST_FROZEN = 5  # in a session: each is a copy of the cluster's tables on this machine
_SMALL, _MEDIUM, _LARGE = (Budget(rows, size) for rows, size in ((20, 16_000), (50, 32_000), (50, 64_000)))
_MEMBER = ("id", "target", "status", "created_at", "ended_at", "found_by", "parent", "critical", "failed_attempts",
           "failure", "model_calls", "tokens", "cost", "origin")  # fmt: skip
_STATEMENTS = Budget(10, 6_000)
_PAYLOADS = "Also return payload text. Ask for it only if the person wants it: payloads can contain personal data."

InvocationId = Annotated[str, Field(description="An invocation id (inv_…).", min_length=1, max_length=200)]
SourceName = Annotated[
    str | None, Field(description="A name of the tool sources; the default is the first of them.", max_length=200)
]
Rows = Annotated[int, Field(description="The maximum number of rows of each list.", ge=1, le=MOST_ROWS)]
Skip = Annotated[int, Field(description="Skip the first rows of each list, to get the rest.", ge=0, le=1_000_000)]
Name = Annotated[str, Field(max_length=300)]
Value = bool | int | float | Annotated[str, Field(max_length=2_000)] | None
Parameters = Annotated[
    dict[Annotated[str, Field(max_length=100)], Value | Annotated[list[InvocationId], Field(max_length=1_000)]],
    Field(description='The parameters of the question, such as {"service": "Payments", "since": "2h"}.', max_length=20),
]


class ToolOutput(TypedDict):
    """The structured content of every tool: the data of a source, and how much of it is shown."""

    source: str
    at: str | None
    data: dict[str, Any]
    truncated: list[dict[str, Any]]
    queries: list[dict[str, Any]]
    rows: int


def answer(
    source: str,
    data: Mapping[str, Any],
    budget: Budget,
    *,
    at: datetime | str | None = None,
    queries: Sequence[Mapping[str, Any]] = (),
    skip: int = 0,
) -> ToolOutput:
    """Return the output of a tool, cut to its budget."""
    shown = fit(data, budget, skip=skip)
    statements = fit({"queries": [dict(each) for each in queries]}, _STATEMENTS)
    notes = [{name: value for name, value in note.items() if name != "next"} for note in statements.truncated]
    return {
        "source": escape_invisible(source, lines=False),
        "at": at.isoformat() if isinstance(at, datetime) else at,
        "data": shown.data,
        "truncated": [*shown.truncated, *notes],
        "queries": statements.data["queries"],
        "rows": shown.rows,
    }


class ReadTools:
    """The tools that read the sources of a server."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._lock = threading.Lock()
        self._frozen = 0

    def tools(self) -> list[Callable[..., ToolOutput]]:
        """Return the tools, in the order in which a client lists them."""
        return [
            self.doctor, self.contrast, self.why, self.waits, self.ask, self.questions, self.journal, self.story,
            self.conversation, self.state, self.before_after, self.compare, self.sources, self.at,
        ]  # fmt: skip

    def sources(self) -> ToolOutput:
        """List the sources: the cluster, frozen evidence, and archives of ended invocations."""
        rows: list[dict[str, Any]] = [
            {
                "name": name,
                "kind": _kind_of(source),
                "address": source.address,
                "since": source.coverage.since,
                "until": source.coverage.until,
            }
            for name, source in self._sources.items()
        ]
        return answer("server", {"sources": rows}, _MEDIUM, at=datetime.now(UTC))

    def at(
        self,
        time: Annotated[
            str,
            Field(
                description="The time: 14:05Z (the last one), 2h (ago), or 2026-11-20T14:05:00Z.",
                min_length=1,
                max_length=60,
            ),
        ],
        source: SourceName = None,
    ) -> ToolOutput:
        """Open a cluster, or an archive, as it was at an earlier time, as a source for the other tools.

        It is for questions about an incident, such as: which invocations were waiting at 14:05? The answer has the name
        of the new source, and what a server does not record about the past: a status can be unknown, and in-progress is
        running, ready or backing off. compare can compare it with the present.
        """
        with time_limit(seconds_of(TIMEOUT, name="timeout")):
            name, past = self._sources.open_at(source, time)
        gaps = [
            {"service": each.service, "handler": each.handler, "reason": each.reason} for each in past.coverage.gaps
        ]
        data = {"opened": name, "time": past.now, "not_recorded": [*past.coverage.unknown], "may_be_missing": gaps}
        return answer(name, data, _SMALL, at=datetime.now(UTC))

    def doctor(
        self,
        checks: Annotated[
            list[Name] | None,
            Field(description='Run only these checks; ["upgrade"]: before Restate 1.8.', max_length=50),
        ] = None,
        source: SourceName = None,
        rows: Rows = _MEDIUM.rows,
        skip: Skip = 0,
    ) -> ToolOutput:
        """Find all known problems of a cluster, worst first. Start here.

        Each finding is one cause, with the number of affected invocations and up to ten of their ids, the invocations
        that it blocks, and the next step as Python code for the person. shared is what distinguishes 20 or more failing
        invocations from healthy ones, draining whether a backlog drains, and deleted_at when the cluster deletes the
        next ended invocation. known is whether the person has acknowledged the finding, and note is the text;
        such a problem is still there. A check in not_read could not run, so its problem is unknown, not absent.
        """
        result = diagnose(self._sources.get(source), timeout=TIMEOUT, checks=checks)
        data = result.to_json()
        findings = [
            {**row, "ids": row["ids"][:10], "blocked": row["blocked"][:10]} for row in rows_of(data.pop("findings"))
        ]
        checked = [{"check": row["check"], "findings": row["findings"]} for row in rows_of(data.pop("checked"))]
        data = {**data, "findings": findings, "checks": checked}
        return _result_output(result, data, Budget(rows, _MEDIUM.bytes), skip)

    def contrast(
        self,
        service: Annotated[str | None, Field(description="The service that fails.", max_length=300)] = None,
        handler: Annotated[str | None, Field(max_length=300)] = None,
        status: Annotated[
            Literal["failed", "backing-off", "paused", "suspended", "slow"],
            Field(description="Which invocations of the service are compared with its healthy ones."),
        ] = "failed",
        ids: Annotated[
            list[InvocationId] | None,
            Field(description="The failing invocations, instead of service and status.", max_length=1_000),
        ] = None,
        source: SourceName = None,
        rows: Rows = _SMALL.rows,
        skip: Skip = 0,
    ) -> ToolOutput:
        """Find what failing invocations share, in contrast to healthy ones of the same handler.

        It compares columns and steps, and reads no payloads. A condition is a difference, not a proof of the cause.
        """
        result = compare_sides(
            self._sources.get(source), ids or status, service=service, handler=handler, timeout=TIMEOUT
        )
        return _result_output(result, result.to_json(), Budget(rows, _MEDIUM.bytes), skip)

    def why(self, invocation_id: InvocationId, source: SourceName = None) -> ToolOutput:
        """Explain one invocation: its status and error, what it waits for down to the root blocker, and the options."""
        result = explain(self._sources.get(source), invocation_id, timeout=TIMEOUT)
        return _result_output(result, result.to_json(), _MEDIUM)

    def waits(self, source: SourceName = None, rows: Rows = _SMALL.rows, skip: Skip = 0) -> ToolOutput:
        """Find deadlocks, the root blockers, and which invocation waits for which."""
        result = find_waits(self._sources.get(source), timeout=TIMEOUT)
        return _result_output(result, result.to_json(), Budget(rows, _MEDIUM.bytes), skip)

    def questions(self) -> ToolOutput:
        """List the named questions of the tool ask, with their parameters and defaults."""
        return answer("server", {"questions": rows_of(list_questions())}, Budget(100, _MEDIUM.bytes))

    def ask(
        self,
        question: Annotated[str, Field(description="A name of the tool questions.", max_length=100)],
        parameters: Parameters = {},  # noqa: B006 - the schema has the default; it is never changed
        source: SourceName = None,
        rows: Rows = _MEDIUM.rows,
        skip: Skip = 0,
    ) -> ToolOutput:
        """Ask a named question, such as overview, draining, retry_storm, latency, error_families or ids_by_status."""
        recorder = Reads(self._sources.get(source))
        frame = run_named_question(recorder, question, parameters)
        names = ("question", "params", "truncated", "not_read")
        data = {**{name: frame.attrs[name] for name in names if name in frame.attrs}, "rows": frame}
        return answer(
            recorder.name,
            data,
            Budget(rows, _MEDIUM.bytes),
            at=frame.attrs["asked_at"],
            queries=recorder.queries,
            skip=skip,
        )

    def journal(
        self,
        invocation_id: InvocationId,
        depth: Annotated[int, Field(description="2 also reads the journals of its callees.", ge=1, le=3)] = 1,
        payloads: Annotated[bool, Field(description=_PAYLOADS)] = False,
        source: SourceName = None,
        rows: Rows = _MEDIUM.rows,
        skip: Skip = 0,
    ) -> ToolOutput:
        """Return the journal of one invocation: its steps, calls and waits in order, with times and errors."""
        recorder = Reads(self._sources.get(source))
        reads = Reads(recorder, TIMEOUT, verb="mcp")
        frame, _ = read_journal(reads, invocation_id, depth=depth, payloads=payloads, limit=20, name="invocation_id")
        budget = Budget(rows, _LARGE.bytes if payloads else _MEDIUM.bytes)
        data = journal_json(frame)
        return answer(recorder.name, data, budget, at=data["read_at"], queries=recorder.queries, skip=skip)

    def story(
        self,
        invocation_id: Annotated[InvocationId | None, Field(description="Any invocation of the story (inv_…).")] = None,
        key: Annotated[
            str | None, Field(description="SERVICE/KEY instead: the invocations of this key.", max_length=2_000)
        ] = None,
        since: Annotated[
            str, Field(description="With key: those created since this time, such as 24h or 3d.", max_length=40)
        ] = "24h",
        search: Annotated[
            bool, Field(description="Also scan all journals for invocations that acted on these. It is slow.")
        ] = False,
        source: SourceName = None,
        rows: Rows = _MEDIUM.rows,
        skip: Skip = 0,
    ) -> ToolOutput:
        """Return all invocations that belong together: callers, callees, restarts, and those that answered each other.

        critical_path is what the whole waited for, the longest first: add up its seconds. members are callers before
        their callees. not_read has the parts that are missing, with the reasons.
        """
        if (invocation_id is None) == (key is None):
            raise ArgumentError("pass either invocation_id or key.")
        found = read_story(
            self._sources.get(source), invocation_id, key=key, since=since, search=search, timeout=TIMEOUT
        )
        return _result_output(found, _story_data(found), Budget(rows, _MEDIUM.bytes), skip)

    def conversation(
        self,
        invocation_id: InvocationId,
        payloads: Annotated[bool, Field(description=_PAYLOADS)] = False,
        source: SourceName = None,
        rows: Rows = _MEDIUM.rows,
        skip: Skip = 0,
    ) -> ToolOutput:
        """Return the run of an AI agent: its model calls and tool calls, with tokens, cost and failures.

        Prompts, responses, arguments and results are payloads.
        """
        result = read_conversation(self._sources.get(source), invocation_id, timeout=TIMEOUT)
        shown: Conversation = result if payloads else result.without_payloads()
        data = shown.to_json()
        del data["messages"]  # the turns have the same texts
        return _result_output(result, data, Budget(rows, _LARGE.bytes), skip)

    def state(
        self,
        service: Name,
        key: Annotated[str, Field(max_length=2_000)],
        scope: Annotated[str | None, Field(max_length=300)] = None,
        values: Annotated[bool, Field(description=_PAYLOADS)] = False,
        source: SourceName = None,
        rows: Rows = _MEDIUM.rows,
        skip: Skip = 0,
    ) -> ToolOutput:
        """Return the state of one virtual object or workflow: its keys and their sizes, and on request the values."""
        found: State = read_state(self._sources.get(source), service, key, scope=scope, timeout=TIMEOUT)
        columns = ["key", "value", "encoding", "size"] if values else ["key", "encoding", "size"]
        keys = found.frame[columns].to_dict("records")
        data = {"service": service, "key": key, "scope": scope, "state": keys}
        return _result_output(found, data, Budget(rows, _LARGE.bytes if values else _MEDIUM.bytes), skip)

    def before_after(
        self,
        deployment_or_time: Annotated[
            str, Field(description="dp_…, or a time such as 2026-11-20T03:00Z.", max_length=100)
        ],
        service: Annotated[str | None, Field(max_length=300)] = None,
        window: Annotated[
            str, Field(description="The time on each side, such as 7d or 28d; 6 days or more.", max_length=20)
        ] = "7d",
        source: SourceName = None,
        rows: Rows = _SMALL.rows,
        skip: Skip = 0,
    ) -> ToolOutput:
        """Report what changed after a deployment or a time, per handler: latency, failures, retries.

        An archive has weeks and months, and a cluster has only what it still retains.
        """
        result = compare_blocks(
            self._sources.get(source), deployment_or_time, service=service, window=window, timeout=TIMEOUT
        )
        data = {
            "summary": result.summary,
            "text": str(result),
            "not_read": result.not_read,
            "comparisons": rows_of(result.comparisons),
        }
        return _result_output(result, data, Budget(rows, _MEDIUM.bytes), skip)

    def compare(
        self,
        before: Annotated[str, Field(description="The earlier source.", max_length=200)],
        after: SourceName = None,
        rows: Rows = _SMALL.rows,
        skip: Skip = 0,
    ) -> ToolOutput:
        """Compare two sources of one cluster, the earlier one first: two frozen ones, or a frozen and the live one."""
        sides = [self._sources.get(name) for name in (before, after)]
        result = compare_sources(*sides, timeout=TIMEOUT)
        return _result_output(result, result.to_json(), Budget(rows, _MEDIUM.bytes), skip)

    def freeze(self) -> ToolOutput:
        """Freeze the cluster as evidence, without payloads, and open it as a source for compare.

        It is a new folder on the machine of this server. The answer has its path and the name of the new source.
        """
        with self._lock:
            if self._frozen >= _MOST_FROZEN:
                raise ArgumentError(f"this session has frozen {_MOST_FROZEN} times, which is the maximum.")
            self._frozen += 1
        lab, folder = self._sources.lab, platformdirs.user_data_path("restate_lab") / "evidence"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        stem = "".join(each if each.isalnum() else "-" for each in lab.name)
        path = folder / f"{stem}-{datetime.now(UTC):%Y%m%dT%H%M%S}Z.evidence"
        freeze(lab, path, timeout=_FREEZE_TIMEOUT, progress=False)
        name = self._sources.open(path)
        return answer(name, {"evidence": name, "path": str(path)}, _SMALL, at=datetime.now(UTC))


def _kind_of(source: Source) -> str:
    if source.coverage.is_past:
        return "cluster at an earlier time"
    return "cluster" if source.live else type(source).__name__.lower()


def _story_data(story: Story) -> dict[str, Any]:
    """Return a story without its phases; members and edges have no empty values."""
    data = story.to_json()
    del data["path"], data["phases"]
    members = story.members[[*_MEMBER]].assign(critical=story.members["critical"].dt.total_seconds())
    shown = members.rename(columns={"critical": "critical_seconds"})
    return {
        **data,
        "critical_path": _critical_path(story),
        "members": _without_nulls(shown),
        "edges": _without_nulls(story.edges.drop(columns="done_at")),
    }


def _critical_path(story: Story) -> list[Any]:
    targets = dict(zip(story.members["id"], story.members["target"], strict=True))
    path = story.path.assign(target=story.path["id"].map(targets), seconds=story.path["duration"].dt.total_seconds())
    sums = path.groupby(["kind", "target", "id"], sort=False)[["seconds"]].sum().reset_index()
    return rows_of(sums.sort_values("seconds", ascending=False, kind="stable"))


def _without_nulls(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if value is not None} for row in rows_of(frame)]


def run_named_question(source: Source, question: str, parameters: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows of a question within the time limit of a tool.

    Raises:
        ArgumentError: a parameter has the name of an option; and the errors of ``ask``.
    """
    if "timeout" in parameters:
        raise ArgumentError(f"the parameter timeout does not exist; each call has a time limit of {TIMEOUT}.")
    return run_any_question(source, question, timeout=TIMEOUT, **parameters)


def _result_output(result: Result, data: Mapping[str, Any], budget: Budget, skip: int = 0) -> ToolOutput:
    return answer(result.source, data, budget, at=result.read_at, queries=result.queries, skip=skip)
