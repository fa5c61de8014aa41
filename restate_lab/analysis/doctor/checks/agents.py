"""Checks of agents: their tools, their models, their tokens, and their waits for people.

The census has a few invocations of each handler. If no journal of them has a response of a model, nothing else is read.
Otherwise the runs of these handlers that are in flight or ended recently are read, without the results of tools. The
findings have names of tools and handlers, and no text of a prompt, a response, an argument or an error.
"""

from __future__ import annotations

import contextlib
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from restate_lab._text import format_age, format_duration, join, one_line, plural, sentences, verb_form
from restate_lab.analysis.agents.entries import AgentEntry, agent_entries
from restate_lab.analysis.agents.notes import describe_unread
from restate_lab.analysis.agents.reader import AgentReader, Scope
from restate_lab.analysis.agents.run import AgentRun, names_response, read_runs
from restate_lab.analysis.doctor.census import Row
from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.model import MAX_IDS, Finding, RetryingInvocation, Severity
from restate_lab.analysis.doctor.reader import first_of
from restate_lab.analysis.journal.entries import OPEN, entries_of
from restate_lab.analysis.patterns import group_by
from restate_lab.analysis.suggestions import plan_call, why_call
from restate_lab.calls import SuggestedCall
from restate_lab.errors import RestateLabError

_SAMPLED = 20  # journals of one handler
_MOST_HANDLERS = 100  # whose journals are searched for responses of models
_MOST_ENTRIES = 2_000  # of one journal
_OF_HANDLERS = "target_service_name || '/' || target_handler_name IN :handlers AND "
_IN_FLIGHT, _ENDED = "status <> 'completed'", "status = 'completed' AND completed_at >= :since"
_LOOP = "The model may be in a loop"
_MALFORMED = "The arguments are not a JSON object, and such a call runs no tool"
_SHOWN = 20  # ids in a call that shows the rows
# the errors of agents and of their clients, as the server records them
_OF_AGENTS = re.compile(
    r"UserError\(|ModelBehaviorError|ModelRefusalError|MaxTurnsExceeded|UnexpectedModelBehavior|ContentFilterError"
    r"|ModelHTTPError|ModelAPIError|RateLimitError|APIStatusError|APIConnectionError|APITimeoutError|AI_APICallError"
    r"|ResourceExhausted"
)


def agent_tools(context: CheckContext) -> list[Finding]:
    """Find loops of tool calls, tools that fail and are called again, and arguments that are not an object."""
    limits = context.thresholds
    findings = []
    for handler, runs in _runs_by_handler(context).items():
        for tool, found in _by_tool(runs, AgentRun.equal_calls, limits.agent_repeats).items():
            title = f"{_callers(found)} the tool {tool} with equal arguments, up to {found.most} times in one run"
            findings.append(_finding(context, handler, found.runs, title, _LOOP, about=("equal arguments", tool)))
        for tool, found in _by_tool(runs, AgentRun.failed_calls, limits.agent_failures).items():
            failures = plural(found.most, "failure")
            title = f"{_callers(found)} the tool {tool} again after it failed, up to {failures} in one run"
            findings.append(_finding(context, handler, found.runs, title, about=("failures", tool)))
        for tool, found in _by_tool(runs, AgentRun.malformed_calls, 1).items():
            title = f"{_callers(found)} the tool {tool} with malformed arguments"
            about = ("malformed arguments", tool)
            finding = _finding(context, handler, found.runs, title, _MALFORMED, severity=Severity.NOTE, about=about)
            findings.append(finding)
    return findings


def agent_models(context: CheckContext) -> list[Finding]:
    """Find responses after which every attempt fails, models that are not journaled, and very long calls."""
    suspects = [
        each
        for each in context.retrying_invocations
        if each.step is None and each.attempts >= context.thresholds.attempts and _OF_AGENTS.search(each.message)
    ]
    unjournaled = _without_models(context, suspects) if suspects else []
    findings = [_unjournaled_finding(context, each) for each in group_by(unjournaled, lambda each: each.target)]
    for handler, runs in _runs_by_handler(context).items():
        findings += _long_call_findings(context, handler, runs)
    repeated = group_by(context.once(_repeated_responses), lambda each: (each.run.handler, each.problem))
    return findings + [_repeated_response_finding(context, members) for members in repeated]


def agent_tokens(context: CheckContext) -> list[Finding]:
    """Find runs with many more journaled tokens than the successful runs of the same handler."""
    limits = context.thresholds
    findings = []
    for handler, runs in _runs_by_handler(context).items():
        usual = [run.tokens for run in runs if run.row["status"] == "succeeded" and run.tokens is not None]
        if len(usual) < limits.agent_samples:
            continue
        median = statistics.median(usual)
        least = max(limits.agent_tokens, limits.agent_outlier * median)
        large = sorted((run for run in runs if (run.tokens or 0) >= least), key=lambda run: -(run.tokens or 0))
        if large:
            title = (
                f"{plural(len(large), 'run')} of {handler} {verb_form(len(large), 'has', 'have')} up to "
                f"{large[0].tokens:,} journaled tokens; the median is {median:,.0f}"
            )
            details = f"The median is that of {plural(len(usual), 'successful run')}"
            findings.append(_finding(context, handler, large, title, details, severity=Severity.WARNING))
    return findings


def agent_waits(context: CheckContext) -> list[Finding]:
    """Find runs that have waited for a person for too long."""
    findings = []
    for handler, runs in _runs_by_handler(context).items():
        waiting = [
            run for run in runs if run.is_awaiting_approval and context.age(run.last_at) >= context.thresholds.awakeable
        ]
        findings += [
            _wait_finding(context, handler, members)
            for members in group_by(waiting, lambda run: tuple(run.waiting_tools))
        ]
    return findings


def _wait_finding(context: CheckContext, handler: str, runs: Sequence[AgentRun]) -> Finding:
    count, tools, since = len(runs), runs[0].waiting_tools, first_of(run.last_at for run in runs)
    kind = "in the tool " if len(tools) == 1 else "in one of the tools "
    title = (
        f"{plural(count, 'run')} of {handler} {verb_form(count, 'waits', 'wait')} for a person"
        f"{f' {kind}{join(map(_quote, tools))}' if tools else ''}, {'' if count == 1 else 'the oldest '}for "
        f"{format_age(since, context.now)}"
    )
    return _finding(context, handler, runs, title, severity=Severity.WARNING, since=since, explain=True, about=tools)


@dataclass(frozen=True, slots=True)
class _AgentRuns:
    """The runs of each handler that were read, and messages about those that were not."""

    by_handler: Mapping[str, Sequence[AgentRun]]
    excluded: Sequence[str]


def _runs_by_handler(context: CheckContext) -> Mapping[str, Sequence[AgentRun]]:
    found = context.once(_read_runs)
    context.excluded += found.excluded
    return found.by_handler


def _read_runs(context: CheckContext) -> _AgentRuns:
    reader, notes = AgentReader(context.source), list[str]()
    handlers = _agent_handlers(context, reader, notes)
    runs = read_runs(reader, _rows_of(context, reader, handlers, notes)) if handlers else []
    notes += describe_unread(sum(run.excluded for run in runs))
    groups = group_by(sorted(runs, key=lambda run: run.handler), lambda run: run.handler)
    return _AgentRuns({runs[0].handler: runs for runs in groups}, notes)


def _without_models(context: CheckContext, retrying: Sequence[RetryingInvocation]) -> list[RetryingInvocation]:
    reader = AgentReader(context.source)
    counts: Counter[str] = Counter()
    chosen = []
    for each in retrying:
        counts[each.target] += 1
        chosen += [each] if counts[each.target] <= _SAMPLED else []
    if len(chosen) < len(retrying):
        context.excluded.append(f"only {_SAMPLED} failing invocations of a handler were searched for calls of models")
    rows = reader.chosen([each.id for each in chosen])
    models = reader.model_steps(list(rows), ())
    journals = {id_: agent_entries(entries_of(table), {}) for id_, table in reader.entries(rows).items()}
    callers = {id_ for id_, entries in journals.items() if any(each.is_model_call for each in entries)}
    return [each for each in chosen if each.id in journals and each.id not in models and each.id not in callers]


def _agent_handlers(context: CheckContext, reader: AgentReader, notes: list[str]) -> list[str]:
    """Return the handlers, as "service/handler", of which a journal has a response of a model."""
    samples = context.census.samples_by_handler()
    if len(samples) > _MOST_HANDLERS:
        notes.append(f"only the journals of {_MOST_HANDLERS} of {len(samples):,} handlers were searched for agents")
    owners = {
        id_: "/".join(handler) for handler, ids in list(samples.items())[:_MOST_HANDLERS] for id_ in ids[:_SAMPLED]
    }
    models = reader.model_steps(list(owners), ()) if owners else {}
    return sorted({owners[id_] for id_, each in models.items() if each.steps})


def _rows_of(context: CheckContext, reader: AgentReader, handlers: list[str], notes: list[str]) -> dict[str, Row]:
    most = context.thresholds.agent_runs
    rows: dict[str, Row] = {}
    conditions = {
        "in flight": Scope(_OF_HANDLERS + _IN_FLIGHT, {"handlers": handlers}),
        "that ended recently": Scope(
            _OF_HANDLERS + _ENDED, {"handlers": handlers, "since": context.now - context.thresholds.recent}
        ),
    }
    for kind, scope in conditions.items():
        read = reader.recent(scope, most + 1)
        if len(read) > most:
            notes.append(f"only the {most:,} newest runs of agents {kind} were read")
        rows |= dict(list(read.items())[:most])
    large = [id_ for id_, row in rows.items() if (row["journal_size"] or 0) > _MOST_ENTRIES]
    if large:
        notes.append(
            f"{plural(len(large), 'journal')} of agents with more than {_MOST_ENTRIES:,} entries were not read"
        )
    return {id_: row for id_, row in rows.items() if id_ not in large}


@dataclass(frozen=True, slots=True)
class _ToolRuns:
    """The runs with a problem of one tool, the one with most occurrences first, and that number."""

    runs: Sequence[AgentRun]
    most: int


def _by_tool(runs: Sequence[AgentRun], count: Callable[[AgentRun], Counter[str]], least: int) -> dict[str, _ToolRuns]:
    counts: defaultdict[str, list[tuple[int, AgentRun]]] = defaultdict(list)
    for run in runs:
        for tool, number in count(run).items():
            if number >= least:
                counts[tool].append((number, run))
    return {
        _quote(tool): _ToolRuns([run for _, run in pairs], pairs[0][0])
        for tool, pairs in sorted((tool, sorted(each, key=lambda pair: -pair[0])) for tool, each in counts.items())
    }


@dataclass(frozen=True, slots=True)
class _RepeatedResponse:
    """A run whose attempts all fail because of a response in its journal, the problem, and the failed attempts."""

    run: AgentRun
    problem: str
    attempts: int


def _repeated_responses(context: CheckContext) -> Sequence[_RepeatedResponse]:
    retrying = {each.id: each.attempts for each in context.retrying_invocations}
    runs = [run for runs in context.once(_read_runs).by_handler.values() for run in runs]
    found = []
    for run in runs:
        attempts = max(len(run.errors), retrying.get(run.id, 0))
        is_reported = attempts >= context.thresholds.attempts or run.row["status"] == "paused"
        found += (
            [_RepeatedResponse(run, run.repeated_problem, attempts)] if is_reported and run.repeated_problem else []
        )
    return found


def ids_of_repeated_responses(context: CheckContext, messages: Iterable[str | None]) -> set[str]:
    """Return the invocations that ``agent_models`` reports because each attempt repeats a response in the journal.

    Nothing is read if none of the ``messages`` of attempts is about a response, or if the source has no payloads.
    """
    if any(names_response(each or "") for each in messages):
        with contextlib.suppress(RestateLabError):  # which the checks of agents report
            return {each.run.id for each in context.once(_repeated_responses)}
    return set()


def _repeated_response_finding(context: CheckContext, found: Sequence[_RepeatedResponse]) -> Finding:
    runs, count, most = [each.run for each in found], len(found), max(each.attempts for each in found)
    attempts = plural(most, "attempt")
    is_counted = most >= context.thresholds.attempts  # not if all are paused
    title = (
        f"{plural(count, 'run')} of {runs[0].handler} {verb_form(count, 'fails', 'fail')} after {found[0].problem}, "
        f"which every attempt "
        f"repeats{f', up to {attempts}' if is_counted else ' (paused)'}"
    )
    details = (
        "The response is in the journal, so retries do not help and call no model. Kill the run, or change the code so "
        "that it ends with a terminal error"
    )
    since = first_of(run.last_at for run in runs)
    finding = _finding(
        context,
        runs[0].handler,
        runs,
        title,
        details,
        severity=Severity.CRITICAL,
        since=since,
        explain=True,
        about=[found[0].problem],
    )
    again = f"then change the code, and start {verb_form(count, 'it', 'them')} again"
    kill = plan_call("kill", finding.ids, total=count, comment=again)
    return replace(finding, suggested=(*finding.suggested, kill))


def _unjournaled_finding(context: CheckContext, members: Sequence[RetryingInvocation]) -> Finding:
    count, handler, ids = len(members), members[0].target, [each.id for each in members]
    return Finding(
        severity=Severity.CRITICAL,
        title=f"{plural(count, 'invocation')} of {handler} {verb_form(count, 'retries', 'retry')} an agent whose model "
        f"is not journaled, up to {plural(max(each.attempts for each in members), 'attempt')}",
        details=sentences(
            "No step of the journal is a call of a model, so every attempt may call and pay for the model again",
            "With OpenAI Agents, pass the model to the agent by its name and not as a Model object, and run it with "
            "the integration of Restate",
        ),
        where=handler,
        count=count,
        ids=tuple(ids[:MAX_IDS]),
        blocked=context.blocked_by(ids),
        since=first_of(each.since for each in members),
        evidence=SuggestedCall("journal", (ids[0],)),
        suggested=(why_call(context.most_blocking(ids)),),
        about=((*handler.split("/"), "not journaled"),),
    )


def _long_call_findings(context: CheckContext, handler: str, runs: Sequence[AgentRun]) -> list[Finding]:
    limits = context.thresholds
    calls = [(_duration(context, turn.entry), turn.entry, run) for run in runs for turn in run.turns]
    done = [took for took, entry, _ in calls if took is not None and entry.entry.status != OPEN]
    usual = timedelta(seconds=statistics.median(each.total_seconds() for each in done) if done else 0)
    least = max(limits.agent_call, limits.slower_than_others * usual)
    failed = {run.id: {each["command_index"] for each in run.errors} for run in runs}
    long = [
        (took, entry, run)
        for took, entry, run in calls
        if took is not None and took >= least and entry.entry.command_index not in failed[run.id]
    ]
    if not long:
        return []
    is_open = any(entry.entry.status == OPEN and run.is_open for _, entry, run in long)
    title = (
        f"{plural(len(long), 'call')} of a model by {handler} {verb_form(len(long), 'takes', 'take')} up to "
        f"{format_duration(max(took for took, _, _ in long))} without a recorded error"
    )
    details = sentences(
        f"The median is {format_duration(usual)}" if done else "",
        "The client may retry by itself, which Restate does not record. Turn off its retries and set a timeout",
    )
    severity = Severity.WARNING if is_open else Severity.NOTE
    since = first_of(entry.entry.started for _, entry, _ in long)
    affected = list({run.id: run for _, _, run in long}.values())
    return [_finding(context, handler, affected, title, details, severity=severity, since=since, about=["long calls"])]


def _duration(context: CheckContext, entry: AgentEntry) -> timedelta | None:
    """Return how long a call took or has taken; None if the run ended without its result, or a time is unknown."""
    started, ended = entry.entry.started, entry.entry.completed
    if entry.entry.status == OPEN:
        ended = context.clock
    return max(ended - started, timedelta()) if started is not None and ended is not None else None


def _quote(tool: str) -> str:
    return f"“{one_line(tool, 40)}”"


def _callers(found: _ToolRuns) -> str:
    count = len(found.runs)
    return f"{plural(count, 'run')} of {found.runs[0].handler} {verb_form(count, 'calls', 'call')}"


def _finding(
    context: CheckContext,
    handler: str,
    runs: Sequence[AgentRun],
    title: str,
    details: str = "",
    *,
    severity: Severity | None = None,
    since: datetime | None = None,
    explain: bool = False,
    about: Sequence[str] = (),
) -> Finding:
    """Return a finding; the default severity is a warning if a run is in flight or failed, else a note.

    ``about`` distinguishes it from the other findings of its check and handler.
    """
    ids = [run.id for run in runs]
    is_bad = any(run.is_open or run.has_failed for run in runs)
    blocked = context.blocked_by(id_ for id_, run in zip(ids, runs, strict=True) if run.is_open)
    example = context.most_blocking(ids)
    return Finding(
        severity=severity or (Severity.WARNING if is_bad else Severity.NOTE),
        title=title,
        details=sentences(details),
        where=handler,
        count=len(ids),
        ids=tuple(ids[:MAX_IDS]),
        blocked=blocked,
        since=since,
        evidence=SuggestedCall("agent_runs", (), {"ids": tuple(ids[:_SHOWN])}),
        suggested=(why_call(example) if explain else SuggestedCall("conversation", (example,)),),
        about=((*handler.split("/"), *about),),
    )
