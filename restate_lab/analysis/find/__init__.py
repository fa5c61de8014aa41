"""Find the invocations that have a text in their input: ``find()``.

``needle`` is the text and matches it, ``reader`` reads what is searched, ``search`` stops at the limits, and ``result``
is the type of the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from restate_lab._text import format_timestamp, plural
from restate_lab.analysis.find.needle import Needle
from restate_lab.analysis.find.reader import FindReader
from restate_lab.analysis.find.result import Matches, frame_of
from restate_lab.analysis.find.search import PayloadSearch
from restate_lab.analysis.suggestions import refuse_unknown_names
from restate_lab.analysis.times import TimeInput, to_datetime
from restate_lab.client.arguments import parse_size
from restate_lab.client.lab import innermost_source, is_lab
from restate_lab.client.schema import translate_errors
from restate_lab.client.transport import Transport
from restate_lab.durations import DurationInput
from restate_lab.errors import RateLimited
from restate_lab.progress import InvocationsLine, Progress, progress_of
from restate_lab.reads import begin
from restate_lab.redaction import Secret, as_secret
from restate_lab.result import unread
from restate_lab.source import Source, decoding_of

__all__ = ["Matches", "find"]

_COLUMNS = ("id", "created_at", "service", "handler", "path")
_STATE_COLUMNS = ("service", "key", "name", "path")
_MASKED = "values that are masked in the source"


@translate_errors
def find(
    source: Source,
    text: str | Secret,
    /,
    *,
    service: str | None = None,
    since: TimeInput = "24h",
    timeout: DurationInput | None = "30s",
    max_bytes: float | str = "256MB",
    payloads: bool = False,
    progress: bool | Progress | None = None,
) -> Matches:
    """Find the invocations that have a text in their input, such as the number of an order; newest first.

        rl.find(lab, "order-4711")
        rl.find(lab, "4711", service="Payments", since="3d").frame
        rl.plan(lab, "cancel", rl.find(lab, "order-4711").frame)

    ``text`` is literal, at least 4 characters, and can be a part of a value. Its case counts only if it has a capital
    letter, as in the filter of the panel. It is found in the decoded values and names of JSON, at any depth, also in
    JSON within a string, and in text that is not JSON. The object's key, the idempotency key and the headers of the
    call are searched, too. Fields and headers with a secret name are not.

    The invocations that were created since ``since`` (an age, or a time with its zone) are read newest first, at most
    100,000; with ``service`` only those of this service, and then also the values in its state. An input or value of
    more than 1 MiB is not read. The search ends at the first limit: ``timeout``, ``max_bytes`` of inputs and values (a
    number of bytes, or "256MB"), or 1,000 places with the text. The result then says back to when it looked, in
    ``not_read``.

    The text is sent to no server, and is in no result, error, log or audit record: a result has the paths of the places
    and no values. With ``payloads=True`` it also has the inputs, with secret fields masked. A payload that an SDK
    encrypted is searched only on a connection with ``decode=``.

    ``progress``: None or True shows a line once the call takes longer than a second, False shows nothing, and a
    ``Progress`` is updated instead. It counts the invocations that were searched.

    ``help(rl.Matches)`` describes the frames of the result.

    Raises:
        ArgumentError: the text is too short, an argument is invalid, or the service does not exist.
        NotOnThisServer: the source is too old, or has no inputs: evidence or an archive without payloads.
        RateLimited: another search runs on this connection.
        TimedOut: not even the list of invocations was read within ``timeout``.
    """
    needle, most = Needle(as_secret(text)), parse_size("max_bytes", max_bytes)
    with _only_search_of(source), closing(progress_of(progress, lambda: InvocationsLine("find"))) as line:
        reads = begin(source, "find", timeout)
        reader = FindReader(reads)
        start = to_datetime(since, now=reads.now, name="since")
        refuse_unknown_names(reads, service=service)
        search = PayloadSearch(reader, needle, most, decoding_of(reads), payloads)
        search.search_invocations(start, service, line)
        back_to = search.back_to if search.end else start
        end_of_inputs = search.end
        if service is not None and reads.has("state.value"):
            search.search_state(service)
        return Matches(
            frame=frame_of(search.matches, _COLUMNS, payloads=payloads),
            states=frame_of(search.states, _STATE_COLUMNS, payloads=payloads),
            looked=search.looked,
            total=search.total,
            looked_back_to=back_to,
            since=start,
            size=search.size,
            ended_by=search.end,
            not_read=unread(**_not_read(search, end_of_inputs, service)),
            source=reads.name,
            version=reads.version,
            read_at=reads.now,
            queries=tuple(reads.queries),
        )


@contextmanager
def _only_search_of(source: Source) -> Iterator[None]:
    """Hold the connection of a source during a search; raise RateLimited if another search runs on it."""
    lab = innermost_source(source)
    if not is_lab(lab) or not isinstance(lab.transport, Transport):
        yield
        return
    if not lab.transport.searching.acquire(blocking=False):
        raise RateLimited(
            "another search runs on this connection; wait until it ends, or stop it. One search at a time protects "
            "the cluster."
        )
    try:
        yield
    finally:
        lab.transport.searching.release()


def _not_read(search: PayloadSearch, end_of_inputs: str, service: str | None) -> dict[str, list[str]]:
    reads = search.reader.reads
    inputs = [f"{plural(count, 'input')} {reason}" for reason, count in search.unsearched.items() if count]
    if end_of_inputs:
        before = "" if search.back_to is None else f" created before {format_timestamp(search.back_to)}"
        inputs.insert(0, f"the invocations{before}, because {end_of_inputs}")
    if any(name.startswith("sys_journal.") for name in reads.coverage.masked):
        inputs.append(_MASKED)
    return {"inputs": inputs, "state": [] if service is None else list(_state_not_read(search, end_of_inputs, service))}


def _state_not_read(search: PayloadSearch, end_of_inputs: str, service: str) -> Iterator[str]:
    reads = search.reader.reads
    yield from (
        f"{plural(count, 'value of state', 'values of state')} {why}"
        for why, count in search.unsearched_values.items()
        if count
    )
    if not reads.has("state.value"):
        yield f"the state of {service}, which the source does not have"
    elif search.end:
        part = "the state" if end_of_inputs else "a part of the state"
        yield f"{part} of {service}, because {search.end}"
    if "state.value" in reads.coverage.masked:
        yield "values of state that are masked in the source"
