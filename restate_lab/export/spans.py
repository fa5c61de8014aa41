"""Send stories, conversations and the runs of agents as spans to a collector or trace store."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime

import pandas as pd

from restate_lab._public import explained
from restate_lab.analysis.agents.result import Conversation
from restate_lab.analysis.story.result import Story
from restate_lab.client.address import parse_url
from restate_lab.client.arguments import check_flag, check_seconds, check_strings, format_value
from restate_lab.client.endpoint.discovery import is_unencrypted
from restate_lab.client.otlp import SpanRecord, send_spans
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, UnencryptedWarning
from restate_lab.export.agent_spans import conversation_spans, run_span
from restate_lab.export.story_spans import story_spans
from restate_lab.frames import records
from restate_lab.redaction import Secret

_COLUMNS = ("id", "service", "handler", "key", "status", "created_at", "completed_at")


@explained
def export_spans(
    runs: Story | Conversation | Sequence[Conversation] | pd.DataFrame,
    endpoint: str,
    /,
    *,
    payloads: bool = False,
    headers: Mapping[str, str] | None = None,
    timeout: DurationInput = "30s",
) -> int:
    """Send a story, conversations, or the runs of ``rl.agent_runs`` as spans to an OTLP endpoint; return their number.

    A story is one trace: a span for each member, and in it one per entry of its journal. The parent of a member's span
    is the span of the entry that called it. Every other edge is a link between two spans, with its kind in the
    attribute ``restate.edge``; a link of a one-way call is beside the parent. It needs no agents, and nothing is read
    again.

    A conversation is one trace: a span of kind AGENT for each invocation, and in it one per call of a model (LLM), tool
    (TOOL) and other step of the handler (CHAIN). An agent that a tool called is in the span of this tool. A run of
    ``agent_runs`` is one span of kind AGENT with its tokens. The attributes have OpenInference's and OpenTelemetry's
    ``gen_ai`` names. Tokens are those in the journal.

    Times are those of the journal; a span without an end ends when the journal was read. Ids are made from the
    invocation id and the index in the journal, so a second export replaces the first one where the store identifies
    spans by id. The trace of a story has its id from the first member.

    ``endpoint`` is the whole address, such as ``http://127.0.0.1:4318/v1/traces``. ``headers`` are sent only there.
    Nothing else is taken from the environment than a proxy (``https_proxy``, ``no_proxy``), and on this machine no
    proxy is used. Redirects are not followed. A request is repeated while the endpoint is busy (429, 502, 503, 504).
    ``payloads=True`` adds prompts, answers, tool arguments, results and error messages; without it, none of them is
    sent. Names of services, handlers and steps, keys and ids are always sent. ``timeout`` limits each request of up to
    500 spans; when it is over, the export is incomplete (ServerFailed).
    Needs the extra ``agents``.

    Warns:
        UnencryptedWarning: ``payloads=True`` over http to another machine.

    Raises:
        ArgumentError: ``runs`` is something else, or ``endpoint`` is not an http(s) address.
        MissingExtra: OpenTelemetry's encoder is not installed.
        SettingsError: the proxy in the environment cannot be used.
        ServerFailed: the endpoint did not accept all spans, redirects, or is not an OTLP endpoint; sending all of them
            again creates no duplicates.
    """
    has_payloads = check_flag("payloads", payloads)
    address, seconds = _endpoint_address(endpoint), check_seconds("timeout", timeout)
    secrets = {name: Secret(value) for name, value in check_strings("headers", headers or {}, as_headers=True).items()}
    spans = span_records(runs, has_payloads=has_payloads)
    if has_payloads and is_unencrypted(address):
        warnings.warn(
            f"payloads and errors are sent to {address} without encryption; use https, or payloads=False.",
            UnencryptedWarning,
            stacklevel=3,  # the caller of the decorated function
        )
    send_spans(spans, address, headers=secrets, seconds=seconds)
    return len(spans)


def _endpoint_address(value: object) -> str:
    example = "use the whole address of an OTLP endpoint, such as http://127.0.0.1:4318/v1/traces."
    if not isinstance(value, str):
        raise ArgumentError(f"endpoint is {format_value(value)}; {example}")
    address, problem = parse_url(value.strip())
    if problem:
        raise ArgumentError(f"endpoint {problem}; {example}")
    return address


def span_records(
    runs: Story | Conversation | Sequence[Conversation] | pd.DataFrame, *, has_payloads: bool = False
) -> list[SpanRecord]:
    """Return the spans of a story, of conversations, or of the rows of ``agent_runs``.

    Raises:
        ArgumentError: the value is something else.
    """
    if isinstance(runs, Story):
        return story_spans(runs, has_payloads=has_payloads)
    if isinstance(runs, pd.DataFrame) and set(_COLUMNS) <= set(runs.columns):
        read_at = datetime.fromisoformat(runs.attrs["read_at"]) if "read_at" in runs.attrs else None
        return [run_span(row, read_at) for row in records(runs)]
    conversations = [runs] if isinstance(runs, Conversation) else runs
    if isinstance(conversations, list | tuple) and all(isinstance(each, Conversation) for each in conversations):
        return [span for each in conversations for span in conversation_spans(each, has_payloads=has_payloads)]
    raise ArgumentError(
        f"export_spans takes a Story, a Conversation, a list of Conversations, or a frame of rl.agent_runs, not a "
        f"{type(runs).__name__}."
    )
