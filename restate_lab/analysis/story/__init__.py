"""Everything that belongs to one order, one conversation or one trace: ``story()``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from restate_lab._text import format_timestamp, join, plural
from restate_lab.analysis.ids import Targets, describe_missing, invocation_id_in, is_other_run, parse_created, parse_ids
from restate_lab.analysis.story.assembly import assemble, to_time
from restate_lab.analysis.story.discovery import MOST_MEMBERS, Discovery
from restate_lab.analysis.story.model import FoundBy
from restate_lab.analysis.story.reader import StoryReader
from restate_lab.analysis.story.result import NOT_SEARCHED, Story
from restate_lab.analysis.story.runs import StoryRun, plain_id
from restate_lab.analysis.times import TimeInput, to_datetime
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, NotFound, TimedOut
from restate_lab.links import page_link
from restate_lab.payload_json import Decoding
from restate_lab.reads import begin
from restate_lab.result import unread
from restate_lab.source import Source, decoding_of

__all__ = ["Story", "story"]


@translate_errors
def story(
    source: Source,
    what: Targets = None,
    /,
    *,
    key: str | None = None,
    trace: str | None = None,
    since: TimeInput = "24h",
    search: bool = False,
    timeout: DurationInput | None = "30s",
) -> Story:
    """Return all invocations that belong together, with their edges and the critical path.

        rl.story(lab, "inv_1…")
        rl.story(lab, key="Order/4711", since="3d")

    Pass exactly one of ``what``, ``key`` and ``trace``. ``what`` is an id, a text with one id (such as a log line),
    several ids, or a frame. ``key`` is "Service/key", or a key that only one service has; the story begins with its
    invocations that were created since ``since``. ``trace`` is a trace id.

    The story follows calls, one-way calls, attached callers, awakeables, signals, promises of workflows, restarts and
    traces, up and down. An invocation is a member only if an edge connects it. The result has the invocations that the
    source still has: ``not_read`` reports missing ones. Only the journal of the sender shows that it completed an
    awakeable, sent a signal or attached: ``search=True`` reads the journals of all invocations to find senders, which
    is slow on a large cluster. At most 10,000 members are followed. ``timeout`` is for the whole call; after it, the
    result has the members that are known by then.

    ``help(rl.Story)`` describes the frames of the result.

    Raises:
        ArgumentError: the text has no invocation id or several, several services have the key, or an argument is
            invalid.
        NotFound: the source has none of the invocations.
        NotOnThisServer: the source is too old.
        TimedOut: not even the rows of the requested invocations were read within ``timeout``.
        RestateLabError: any error of ``source.arrow``.
    """
    if sum(each is not None for each in (what, key, trace)) != 1:
        raise ArgumentError("story() needs one of these: ids, key=, or trace=.")
    reads = begin(source, "story", timeout)
    now = reads.now
    found = Discovery(StoryReader(reads), is_searched=search)
    if key is not None:
        reasons = _begin_with_key(found, key, to_datetime(since, now=now, name="since"))
    elif trace is not None:
        reasons = _begin_with_trace(found, trace)
    else:
        reasons = _begin_with_ids(found, what)
    found.follow()
    found.finish()
    details, unpriced = _details(found, decoding_of(source))
    parts = assemble(found, round(now.timestamp() * 1000), details)
    missing: dict[str, list[str]] = {"members": [*reasons, *unpriced], "edges": []}
    for part, reason in found.reasons:
        missing.setdefault(part, []).append(reason)
    if not search:
        missing["edges"].append(NOT_SEARCHED)
    return Story.of(
        parts.members,
        parts.edges,
        parts.path,
        parts.phases,
        source=reads.name,
        version=reads.version,
        read_at=now,
        searched=found.has_searched,
        queries=tuple(reads.queries),
        link=page_link(reads, "story", parts.members[0].id),
        not_read=unread(**missing),
        entries=found.reader.entries(found.members),
    )


def _begin_with_ids(found: Discovery, what: Any) -> list[str]:
    ids = [invocation_id_in(what)] if isinstance(what, str) else parse_ids(what)[0]
    if not ids:
        raise ArgumentError("story() needs at least one invocation id; the list or frame is empty.")
    created = parse_created(what)
    found.read(ids[:MOST_MEMBERS])
    runs, missing = [], []
    for id_ in ids[:MOST_MEMBERS]:
        run = _run_of(found, id_, created)
        runs += [run] if run is not None else []
        missing += [id_] if run is None else []
    if not runs:
        raise NotFound(describe_missing(found.reader.reads, missing[0]), status=404)
    found.begin(runs, "start")
    reasons = [f"{plural(len(missing), 'requested invocation')} is not in the source: {missing[0]}"] if missing else []
    return reasons + _cut(len(ids), "requested ids")


def _run_of(found: Discovery, id_: str, created: Mapping[str, frozenset[datetime]]) -> StoryRun | None:
    """Return the requested run of an id: the run with the requested creation time, or the newest run."""
    own = found.known.of(plain_id(id_)) if id_ in created else [found.known.by_id.get(id_)]
    fitting = [run for run in own if run is not None and not is_other_run(to_time(run.created), created, id_)]
    return fitting[-1] if fitting else None


def _begin_with_key(found: Discovery, key: str, since: datetime) -> list[str]:
    service, _, rest = key.partition("/")
    rows = found.reader.of_key(list(dict.fromkeys([key, *([rest] if rest else [])])), since, MOST_MEMBERS)
    own = [row for row in rows if rest and (row["service"], row["key"]) == (service, rest)]
    if not own:
        own = [row for row in rows if row["key"] == key]
        services = sorted({row["service"] for row in own})
        if len(services) > 1:
            choices = join([f'key="{each}/{key}"' for each in services])
            raise ArgumentError(f"key {key!r} belongs to {len(services)} services; pass one of {choices}.")
    if not own:
        raise NotFound(
            f"{found.reader.reads.name} has no invocation of the key {key!r} that was created since "
            f'{format_timestamp(since)}. Pass "Service/key", or a longer since=.',
            status=404,
        )
    return _begin_with_rows(found, [row["id"] for row in own][::-1], "key")


def _begin_with_trace(found: Discovery, trace: str) -> list[str]:
    ids = found.reader.of_trace(trace, MOST_MEMBERS)
    if not ids:
        raise NotFound(
            f"{found.reader.reads.name} has no invocation with the trace id {trace!r}. The server knows trace ids only "
            f"if tracing is on, or if the caller sent a trace context.",
            status=404,
        )
    return _begin_with_rows(found, ids, "trace")


def _begin_with_rows(found: Discovery, ids: Sequence[str], found_by: FoundBy) -> list[str]:
    found.read(ids[:MOST_MEMBERS])
    runs = [run for id_ in ids[:MOST_MEMBERS] if (run := found.known.by_id.get(id_)) is not None]
    if not runs:
        raise NotFound(describe_missing(found.reader.reads, ids[0]), status=404)
    found.begin(sorted(runs, key=lambda run: (run.created, run.id)), found_by)
    return _cut(len(ids), "invocations")


def _cut(count: int, name: str) -> list[str]:
    if count <= MOST_MEMBERS:
        return []
    return [f"more than {MOST_MEMBERS:,} {name}: only {MOST_MEMBERS:,} of them are in the story"]


def _details(found: Discovery, decoding: Decoding | None) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return more fields of the members by id, and the reasons for missing ones."""
    if found.stopped:
        return {}, []
    costs, reasons = found.reader.costs(decoding, [found.journals[id_] for id_ in found.members])
    try:
        origins = found.reader.origins(list(found.members))
    except TimedOut as error:
        origins, reasons = {}, [*reasons, f"the origins of invocations were not read: {error}"]
    return {id_: {"origin": origins.get(id_), **costs.get(id_, {})} for id_ in found.members}, reasons
