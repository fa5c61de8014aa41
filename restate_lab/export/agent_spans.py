"""The spans of agents: of their runs, and of each call of a model or tool in a conversation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from restate_lab.analysis.agents.result import Conversation
from restate_lab.analysis.agents.turns import Turn, text_of_value, tools_by_response
from restate_lab.analysis.journal.entries import FAILED
from restate_lab.client.otlp import SpanRecord, nanoseconds, stable_id
from restate_lab.status import ENDED

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


def conversation_spans(conversation: Conversation, *, has_payloads: bool) -> list[SpanRecord]:
    """Return the spans of a conversation; each agent comes before its models and tools."""
    return _ConversationSpans(conversation, has_payloads, tools_by_response(conversation.turns)).records()


def _trace_id(id_: str) -> int:
    return stable_id(16, "trace", id_)


def _agent_span_id(id_: str) -> int:
    return stable_id(8, "agent", id_)


def _kind(kind: str) -> dict[str, Any]:
    return {"openinference.span.kind": kind, "gen_ai.operation.name": _OPERATIONS.get(kind)}


def _tokens(values: Mapping[str, Any]) -> dict[str, Any]:
    attributes = {name: values[key] for key, names in _TOKENS.items() for name in names}
    both = [values["input_tokens"], values["output_tokens"]]
    return {**attributes, "llm.token_count.total": None if None in both else sum(both)}


def run_span(row: Mapping[str, Any], read_at: datetime | None) -> SpanRecord:
    """Return the span of a row of ``agent_runs``."""
    target, end = f"{row['service']}/{row['handler']}", row["completed_at"] or read_at or row["created_at"]
    session = row["key"] and f"{row['service']}/{row['key']}"
    own = {"llm.model_name": row["models"], "llm.cost.total": row["cost"]}
    return SpanRecord(
        name=f"invoke_agent {target}",
        trace_id=_trace_id(row["id"]),
        span_id=_agent_span_id(row["id"]),
        parent_id=None,
        start=nanoseconds(row["created_at"]),
        end=nanoseconds(end),
        attributes=agent_attributes(row["id"], target, session, row["status"]) | _tokens(row) | own,
        error=failure_of(row["status"]),
    )


def agent_attributes(id_: str, target: str | None, session: str | None, status: str | None) -> dict[str, Any]:
    """Return the attributes of the run of an agent, in OpenInference's and OpenTelemetry's names."""
    return {
        **_kind("AGENT"),
        "session.id": session,
        "gen_ai.conversation.id": session,
        "agent.name": target,
        "gen_ai.agent.name": target,
        "restate.invocation_id": id_,
        "restate.status": status,
    }


def failure_of(status: str | None) -> str | None:
    """Return the message of an invocation that did not succeed."""
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
        attributes = agent_attributes(id_, name, run.session, status) | (_texts(turns) if self.has_payloads else {})
        yield SpanRecord(
            name=f"invoke_agent {name}" if name else "invoke_agent",
            trace_id=_trace_id(run.id),
            span_id=_agent_span_id(id_),
            parent_id=_turn_span_id(caller) if caller else None,
            start=nanoseconds(min(times)),
            end=nanoseconds(run.read_at if any(each.is_open for each in turns) else max(times)),
            attributes=attributes,
            error=failure_of(status),
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
            start=nanoseconds(start),
            end=nanoseconds(max(start, end)),
            attributes=_kind(kind) | own | _place(turn),
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
    return stable_id(8, "turn", turn.id, turn.role, place, turn.call_id)
