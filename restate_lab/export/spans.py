"""Send what agents did as spans, in OpenInference's and OpenTelemetry's names for agents, models and tools."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import pandas as pd

from restate_lab._public import explained
from restate_lab.analysis.agents.result import Conversation
from restate_lab.analysis.agents.turns import Turn, text_of_value, tools_by_response
from restate_lab.analysis.journal.entries import FAILED
from restate_lab.client.address import parse_url
from restate_lab.client.arguments import check_flag, check_seconds, check_strings, format_value
from restate_lab.client.endpoint.discovery import is_unencrypted
from restate_lab.client.otlp import SpanRecord, send_spans
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, UnencryptedWarning
from restate_lab.frames import records
from restate_lab.redaction import Secret
from restate_lab.status import ENDED

_COLUMNS = ("id", "service", "handler", "key", "status", "created_at", "completed_at")
_KINDS: Mapping[str, str] = MappingProxyType({"assistant": "LLM", "tool": "TOOL", "step": "CHAIN"})
_OPERATIONS: Mapping[str, str] = MappingProxyType({"AGENT": "invoke_agent", "LLM": "chat", "TOOL": "execute_tool"})
_TOKENS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "input_tokens": ("llm.token_count.prompt", "gen_ai.usage.input_tokens"),
        "output_tokens": ("llm.token_count.completion", "gen_ai.usage.output_tokens"),
        "cached_tokens": ("llm.token_count.prompt_details.cache_read", "gen_ai.usage.cache_read.input_tokens"),
        "reasoning_tokens": ("llm.token_count.completion_details.reasoning", "gen_ai.usage.reasoning.output_tokens"),
    }
)
_HIDDEN = "the message is exported with payloads=True"


@explained
def export_spans(
    runs: Conversation | Sequence[Conversation] | pd.DataFrame,
    endpoint: str,
    /,
    *,
    payloads: bool = False,
    headers: Mapping[str, str] | None = None,
    timeout: DurationInput = "30s",
) -> int:
    """Send conversations, or the runs of ``rl.agent_runs``, as spans to an OTLP endpoint, and return their number.

    A conversation is one trace: a span of kind AGENT for each invocation, and in it one per call of a model (LLM), tool
    (TOOL) and other step of the handler (CHAIN). An agent that a tool called is in the span of this tool. A run of
    ``agent_runs`` is one span of kind AGENT with its tokens. The attributes have OpenInference's and OpenTelemetry's
    ``gen_ai`` names. Tokens are those in the journal.

    Times are those of the journal; a span without an end ends when the journal was read. Ids are made from the
    invocation id and the index in the journal, so a second export replaces the first one where the store identifies
    spans by id.

    ``endpoint`` is the whole address, such as ``http://127.0.0.1:4318/v1/traces``. ``headers`` are sent only there.
    Nothing else is taken from the environment than a proxy (``https_proxy``, ``no_proxy``), and on this machine no
    proxy is used. Redirects are not followed. A request is repeated while the endpoint is busy (429, 502, 503, 504).
    ``payloads=True`` adds prompts, answers, tool arguments, results and error messages; without it, none of them is
    sent. ``timeout`` limits each request of up to 500 spans; when it is over, the export is incomplete (ServerFailed).
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
            f"prompts and answers are sent to {address} without encryption; use https, or payloads=False.",
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
    runs: Conversation | Sequence[Conversation] | pd.DataFrame, *, has_payloads: bool = False
) -> list[SpanRecord]:
    """Return the spans of conversations, or of the rows of ``agent_runs``.

    Raises:
        ArgumentError: the value is something else.
    """
    if isinstance(runs, pd.DataFrame) and set(_COLUMNS) <= set(runs.columns):
        read_at = datetime.fromisoformat(runs.attrs["read_at"]) if "read_at" in runs.attrs else None
        return [_run_span(row, read_at) for row in records(runs)]
    conversations = [runs] if isinstance(runs, Conversation) else runs
    if isinstance(conversations, list | tuple) and all(isinstance(each, Conversation) for each in conversations):
        makers = [_ConversationSpans(each, has_payloads, tools_by_response(each.turns)) for each in conversations]
        return [span for maker in makers for span in maker.records()]
    raise ArgumentError(
        f"export_spans takes a Conversation, a list of them, or a frame of rl.agent_runs, not a {type(runs).__name__}."
    )


def _number(length: int, *parts: object) -> int:
    """Return an id of so many bytes that is always the same for these parts, and not 0."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:length]) or 1


def _trace_id(id_: str) -> int:
    return _number(16, "trace", id_)


def _agent_span_id(id_: str) -> int:
    return _number(8, "agent", id_)


def _nanoseconds(time: datetime) -> int:
    return int(time.timestamp() * 1_000_000) * 1_000


def _drop_none(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


def _kind(kind: str) -> dict[str, Any]:
    return _drop_none({"openinference.span.kind": kind, "gen_ai.operation.name": _OPERATIONS.get(kind)})


def _tokens(values: Mapping[str, Any]) -> dict[str, Any]:
    attributes = {name: values[key] for key, names in _TOKENS.items() for name in names}
    both = [values["input_tokens"], values["output_tokens"]]
    return {**attributes, "llm.token_count.total": None if None in both else sum(both)}


def _run_span(row: Mapping[str, Any], read_at: datetime | None) -> SpanRecord:
    target, end = f"{row['service']}/{row['handler']}", row["completed_at"] or read_at or row["created_at"]
    session = row["key"] and f"{row['service']}/{row['key']}"
    own = {"llm.model_name": row["models"], "llm.cost.total": row["cost"]}
    return SpanRecord(
        name=f"invoke_agent {target}",
        trace_id=_trace_id(row["id"]),
        span_id=_agent_span_id(row["id"]),
        parent_id=None,
        start=_nanoseconds(row["created_at"]),
        end=_nanoseconds(end),
        attributes=_drop_none(_agent(row["id"], target, session, row["status"]) | _tokens(row) | own),
        error=_failure(row["status"]),
    )


def _agent(id_: str, target: str | None, session: str | None, status: str | None) -> dict[str, Any]:
    return {
        **_kind("AGENT"),
        "session.id": session,
        "gen_ai.conversation.id": session,
        "agent.name": target,
        "gen_ai.agent.name": target,
        "restate.invocation_id": id_,
        "restate.status": status,
    }


def _failure(status: str | None) -> str | None:
    return f"the invocation {status}" if status in ENDED and status != "succeeded" else None


@dataclass(frozen=True, slots=True)
class _ConversationSpans:
    conversation: Conversation
    has_payloads: bool
    tools: Mapping[tuple[str, int | None], list[Turn]]
    """The tool calls of each response."""

    def records(self) -> list[SpanRecord]:
        """Return the spans; each agent comes before its models and tools."""
        members: dict[str, list[Turn]] = {}
        for turn in self.conversation.turns:
            members.setdefault(turn.id, []).append(turn)
        callers = {turn.callee: turn for turn in self.conversation.turns if turn.callee}
        return [span for id_, turns in members.items() for span in self._agent(id_, turns, callers.get(id_))]

    def _agent(self, id_: str, turns: Sequence[Turn], caller: Turn | None) -> Iterator[SpanRecord]:
        run = self.conversation
        name, status = (run.target, run.status) if id_ == run.id else (caller.name if caller else None, None)
        times = [time for each in turns for time in _ends(each)] or [run.read_at]
        attributes = _agent(id_, name, run.session, status) | (_texts(turns) if self.has_payloads else {})
        yield SpanRecord(
            name=f"invoke_agent {name}" if name else "invoke_agent",
            trace_id=_trace_id(run.id),
            span_id=_agent_span_id(id_),
            parent_id=_turn_span_id(caller) if caller else None,
            start=_nanoseconds(min(times)),
            end=_nanoseconds(run.read_at if any(each.is_open for each in turns) else max(times)),
            attributes=_drop_none(attributes),
            error=_failure(status),
        )
        before = min(times)
        for turn in turns:
            if turn.role in _KINDS:
                yield self._turn(turn, before)
            before = max([before, *_ends(turn)])

    def _turn(self, turn: Turn, before: datetime) -> SpanRecord:
        """Return the span of a turn; a tool that the journal has no entry of begins and ends after the turn before."""
        start, kind = turn.started or before, _KINDS[turn.role]
        end = self.conversation.read_at if turn.is_open else start + (turn.duration or timedelta())
        own = self._model(turn) if kind == "LLM" else self._tool(turn) if kind == "TOOL" else {}
        has_failed = turn.status == FAILED or (turn.is_open and turn.error is not None)
        return SpanRecord(
            name=" ".join(filter(None, [_OPERATIONS.get(kind), turn.tool or turn.model or turn.name])),
            trace_id=_trace_id(self.conversation.id),
            span_id=_turn_span_id(turn),
            parent_id=_agent_span_id(turn.id),
            start=_nanoseconds(start),
            end=_nanoseconds(max(start, end)),
            attributes=_drop_none(_kind(kind) | own | _place(turn)),
            error=None if not has_failed else turn.error if self.has_payloads else _HIDDEN,
        )

    def _model(self, turn: Turn) -> dict[str, Any]:
        return {
            **_tokens({name: getattr(turn, name) for name in _TOKENS}),
            "llm.model_name": turn.model,
            "llm.cost.total": turn.cost,
            "llm.finish_reason": turn.finish,
            "gen_ai.response.model": turn.model,
            "gen_ai.response.id": turn.response_id,
            "gen_ai.response.finish_reasons": [turn.finish] if turn.finish else None,
            **(self._response(turn) if self.has_payloads else {}),
        }

    def _response(self, turn: Turn) -> dict[str, Any]:
        turns = self.tools.get((turn.id, turn.turn), [])
        calls = [{"id": each.call_id, "name": each.tool, "arguments": text_of_value(each.arguments)} for each in turns]
        message = {"role": "assistant", "content": turn.text, "tool_calls": calls}
        return {
            "output.value": turn.text or turn.refusal,
            "gen_ai.output.messages": text_of_value([message]),
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.content": turn.text,
            **dict(_flat_calls(turns)),
        }

    def _tool(self, turn: Turn) -> dict[str, Any]:
        return {
            "tool.name": turn.tool,
            "tool.id": turn.call_id,
            "gen_ai.tool.name": turn.tool,
            "gen_ai.tool.call.id": turn.call_id,
            **(_execution(turn) if self.has_payloads else {}),
        }


def _texts(turns: Sequence[Turn]) -> dict[str, Any]:
    asked = [each.text for each in turns if each.role == "user"]
    answers = [each.text for each in turns if each.role == "assistant" and each.text]
    return {"input.value": asked[0] if asked else None, "output.value": answers[-1] if answers else None}


def _execution(turn: Turn) -> dict[str, Any]:
    arguments, result = text_of_value(turn.arguments), text_of_value(turn.result)
    return {
        "input.value": arguments,
        "output.value": result,
        "gen_ai.tool.call.arguments": arguments,
        "gen_ai.tool.call.result": result,
    }


def _place(turn: Turn) -> dict[str, Any]:
    return {
        "restate.invocation_id": turn.id,
        "restate.journal_index": turn.journal_index,
        "restate.entry_type": turn.entry_type,
        "restate.entry_name": turn.name,
        "restate.failed_attempts": turn.attempts,
        "restate.matched": turn.how,
    }


def _flat_calls(turns: Iterable[Turn]) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of the tool calls of a message, in OpenInference's flat form."""
    for number, turn in enumerate(turns):
        prefix = f"llm.output_messages.0.message.tool_calls.{number}.tool_call"
        yield f"{prefix}.id", turn.call_id
        yield f"{prefix}.function.name", turn.tool
        yield f"{prefix}.function.arguments", text_of_value(turn.arguments)


def _ends(turn: Turn) -> list[datetime]:
    if turn.started is None:
        return []
    return [turn.started, turn.started + (turn.duration or timedelta())]


def _turn_span_id(turn: Turn) -> int:
    place = turn.journal_index if turn.journal_index is not None else f"{turn.turn} {turn.call_id}"
    return _number(8, "turn", turn.id, turn.role, place, turn.call_id)
