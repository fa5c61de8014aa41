"""The result of ``conversation()``: turns as a frame, as messages for a model, and as a document like a chat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, tzinfo
from types import MappingProxyType
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab._public import public
from restate_lab._text import format_duration, one_line, plural, truncate
from restate_lab.analysis.agents.model import TOKENS, sum_known
from restate_lab.analysis.agents.turns import JOURNAL, Turn, text_of_value, tools_by_response
from restate_lab.analysis.journal.entries import DONE, FAILED
from restate_lab.document import Block, Document, Facts, Gaps, Item, Items, Text, Word
from restate_lab.frames import to_frame
from restate_lab.payload_json import write_for_display
from restate_lab.result import Result, unread
from restate_lab.status import ENDED, OUTCOMES

_TYPES: Mapping[str, pa.DataType] = MappingProxyType(
    {
        **dict.fromkeys(("depth", "turn", *TOKENS, "attempts", "journal_index"), pa.int64()),
        "cost": pa.float64(),
        "attempts_at_least": pa.bool_(),
        "started": pa.timestamp("ms", "UTC"),
        "duration": pa.duration("ms"),
    }
)
_OBJECTS = ("arguments", "result")
_MOST_TURNS = 200  # that are shown
_FIRST_TURNS = 20  # of these; the last turns show where the invocation is
_LONGEST = 20_000  # characters of a text
_LABEL = 100  # characters of a label, which has the arguments of a tool
_TONES = MappingProxyType(
    {"user": "scheduled", "assistant": "running", "tool": "succeeded"} | {"failed": "failed", "retrying": "backing-off"}
)
"""The role or the outcome of a turn → its tone."""


@public
@dataclass(frozen=True, repr=False, eq=False)
class Conversation(Result):
    """The turns of an agent's invocation; ``conversation()`` returns it.

    ``frame`` has one row per turn, in the order of the journal, None where a turn has no such value:

    - ``id, depth`` (1 is the requested invocation), ``turn`` (counts the calls of models), ``role``: "system", "user"
      (the input of the handler), "assistant" (a call of a model), "tool", "step" (another step, call or wait of the
      handler), "result" (of the handler, if it differs from the last text)
    - ``how``: how the turn is known. "journal": its entry is in the journal. For a tool call, how the entry that
      executed it was found, because no entry has the id of a call: "by id" (a later payload repeats the result with the
      id), "by order" (one entry, and order, name or values allow no other), "guessed" (several are possible, or the
      tool has several entries), "unknown" (no entry; plain functions have none). A call of a model without a response
      is "guessed" from its name.
    - ``text, reasoning, refusal``; ``tool, call_id, arguments, result`` of a tool call. A result is the value of the
      entry, or with "by id" the text that the model got. Arguments that are not JSON are text.
    - ``framework, model, response_id, finish``, ``input_tokens, cached_tokens, output_tokens, reasoning_tokens``,
      ``cost`` (US dollars), as in ``agent_runs``
    - ``entry_type, name`` of the entries, ``status`` ("done", "failed", "open", or "abandoned" if the invocation ended
      first), ``started`` (UTC), ``duration``, ``attempts`` (failed ones; with ``attempts_at_least`` there may
      have been more), ``error`` (the last one), ``callee``, ``journal_index``
    """

    _json = ("id", "target", "status", "source", "version", "read_at")
    id: str
    target: str
    status: str
    turns: tuple[Turn, ...]
    session: str | None = None
    """The object that the invocation belongs to, as "service/key"; None if its target has no key."""

    @property
    def open_turn(self) -> Turn | None:
        """Return the turn that the invocation executes, waits for or fails at; None if it does nothing."""
        is_last = True
        for turn in reversed(self.turns):
            if turn.is_open:
                return turn
            if turn.attempts and self.status not in ENDED and is_last:
                return turn  # the step has its result, and the code after it fails
            is_last = is_last and turn.journal_index is None
        return None

    @property
    def tokens(self) -> dict[str, int | None]:
        """Return the journaled tokens by kind; None if no response has this number."""
        return {name: sum_known(getattr(turn, name) for turn in self.turns) for name in TOKENS}

    @property
    def summary(self) -> str:
        """Return a summary on one line, such as "3 model calls, 2 tool calls, 1,200 journaled tokens"."""
        calls = [turn for turn in self.turns if turn.role == "assistant"]
        tools = [turn for turn in self.turns if turn.role == "tool"]
        both = [self.tokens["input_tokens"], self.tokens["output_tokens"]]
        tokens = (
            f", {sum(each or 0 for each in both):,} journaled tokens" if any(each is not None for each in both) else ""
        )
        return f"{plural(len(calls), 'model call')}, {plural(len(tools), 'tool call')}{tokens}"

    def without_payloads(self) -> Conversation:
        """Return the conversation without prompts, responses, arguments, results and errors, for other readers."""
        hidden: dict[str, Any] = dict.fromkeys(("text", "reasoning", "refusal", "arguments", "result", "error"))
        turns = tuple(replace(turn, **hidden) for turn in self.turns)
        gaps = [self.not_read, unread(payloads=["prompts, responses, arguments and results are hidden"])]
        return replace(self, turns=turns, not_read=pd.concat(gaps, ignore_index=True))

    @property
    def frame(self) -> pd.DataFrame:
        """Return one row per turn, in the order of the conversation."""
        names = [each.name for each in fields(Turn)]
        columns = {
            name: pa.array([getattr(turn, name) for turn in self.turns], _TYPES.get(name, pa.string()))
            for name in names
            if name not in _OBJECTS
        }
        frame = to_frame(pa.table(columns))
        for name in _OBJECTS:
            values = pd.Series([getattr(turn, name) for turn in self.turns], dtype=object)
            frame.insert(names.index(name), name, values)
        frame.attrs = {"id": self.id, "source": self.source, "version": self.version, "not_read": self.reasons}
        return frame

    def to_json(self) -> dict[str, Any]:
        """Return the conversation for programs: as messages for a model, and as turns."""
        return super().to_json() | {"messages": self.messages(), "turns": self.frame, "not_read": self.not_read}

    def messages(self) -> list[dict[str, Any]]:
        """Return the conversation in the format of chat completions, without the agents that it called.

        A call without an id in the journal gets one from its position. A tool without a result is omitted.
        """
        return list(_messages([turn for turn in self.turns if turn.depth == 1]))

    def _brief(self) -> str:
        return f"{self.target}: {self.summary}; print() shows it"

    def document(self, zone: tzinfo = UTC, /) -> Document:
        """Return the turns as blocks: the current one first, then all, in their order."""
        current, where = self.open_turn, super().document(zone).place
        items = [_item(*each, current) for each in zip(_keys(self.turns), self.turns, strict=True)]
        more = max(len(items) - _MOST_TURNS, 0)
        end = _FIRST_TURNS if more else len(items)
        blocks: tuple[Block, ...] = (
            *((Facts((("now", _title(current)),)),) if current else ()),
            Items(items[:end], shown=end),
            *((Text(f"… {plural(more, 'turn')} not shown …"),) if more else ()),
            Items(items[end + more :], shown=_MOST_TURNS),
            Gaps(self.reasons, "Note"),
        )
        title = f"{self.target} · {self.status}"
        return Document(title, self.id, blocks, self.status, (self.summary, where), self.link)


def _messages(turns: Sequence[Turn]) -> Iterator[dict[str, Any]]:
    tools = tools_by_response(turns)
    for turn in turns:
        if turn.role in {"system", "user"}:
            yield {"role": turn.role, "content": turn.text or ""}
        elif turn.role == "assistant" and turn.how == JOURNAL:
            yield from _response(turn, tools[turn.id, turn.turn])


def _response(turn: Turn, tools: Sequence[Turn]) -> Iterator[dict[str, Any]]:
    ids = [each.call_id or f"call_{turn.journal_index}_{number}" for number, each in enumerate(tools)]
    functions = [{"name": each.tool, "arguments": _arguments(each)} for each in tools]
    calls = [{"id": id_, "type": "function", "function": each} for id_, each in zip(ids, functions, strict=True)]
    message = {"role": "assistant", "content": turn.text}
    message |= {"refusal": turn.refusal} if turn.refusal else {}
    yield message | ({"tool_calls": calls} if calls else {})
    for id_, each in zip(ids, tools, strict=True):
        content = text_of_value(each.result) if each.result is not None else each.error
        if content is not None and not each.is_open:
            yield {"role": "tool", "tool_call_id": id_, "content": content}


def _arguments(turn: Turn) -> str:
    return turn.arguments if isinstance(turn.arguments, str) else write_for_display(turn.arguments or {})


def _title(turn: Turn) -> str:
    facts = ", ".join(filter(None, _facts(turn)))
    return f"{one_line(_label(turn), _LABEL)}{f' ({facts})' if facts else ''}"


def _label(turn: Turn) -> str:
    if turn.role == "tool":
        return f"{turn.tool}({_arguments(turn)})" if turn.arguments is not None else f"{turn.tool}()"
    if turn.role == "step":
        return f"{turn.entry_type} {turn.name}" if turn.name else str(turn.entry_type)
    return turn.role


def _facts(turn: Turn) -> list[str]:
    tokens = f"{turn.input_tokens or 0:,} in, {turn.output_tokens or 0:,} out" if turn.output_tokens is not None else ""
    at_least = "at least " if turn.attempts_at_least else ""
    unsure = "no result" if turn.how != JOURNAL else ""
    if turn.role == "tool":
        unsure = f"matched {turn.how}" if turn.how.startswith("by ") else turn.how
    return [
        turn.status if turn.status and turn.status != DONE else "",
        turn.model or "",
        tokens,
        f"${turn.cost:.4f}" if turn.cost is not None else "",
        format_duration(turn.duration) if turn.duration else "",
        f"{at_least}{plural(turn.attempts, 'failed attempt')}" if turn.attempts else "",
        unsure,
    ]


def _keys(turns: Sequence[Turn]) -> Iterator[str]:
    """Yield a key for each turn, which stays when later turns are added."""
    numbers = Counter[tuple[Any, ...]]()
    for turn in turns:
        of = (turn.id, turn.turn, turn.role)
        numbers[of] += 1
        yield f"{turn.id} {turn.turn} {turn.role} {numbers[of]}"


def _outcome(turn: Turn, *, is_current: bool) -> str | None:
    if turn.status == FAILED:
        return "failed"
    if turn.is_open or is_current:
        return "retrying" if turn.attempts else "waiting"
    return None


def _item(key: str, turn: Turn, current: Turn | None) -> Item:
    outcome = _outcome(turn, is_current=turn is current)
    is_part = turn.role in {"tool", "step"}
    sign = f"{OUTCOMES[outcome].sign} " if outcome else ""
    refusal = f"refusal: {turn.refusal}" if turn.refusal and turn.refusal != turn.text else ""
    error = [Word(truncate(turn.error, _LONGEST))] if turn.error else []
    folded = {
        "reasoning": turn.reasoning,
        "arguments": _arguments(turn) if turn.role == "tool" and len(_label(turn)) > _LABEL else "",
        "result": text_of_value(turn.result) if is_part else "",
    }
    about = tuple((name, truncate(text, _LONGEST)) for name, text in folded.items() if text)
    facts = " · ".join(filter(None, _facts(turn)))
    return Item(
        (
            Word("", _TONES.get(outcome or turn.role, "suspended")),
            Word(f"{sign}{one_line(_label(turn), _LABEL)}"),
            Word(f"  {facts}" if facts else "", "quiet"),
        ),
        lines=(*(truncate(text, _LONGEST) for text in (turn.text, refusal) if text), *error),
        about=about,
        more=", ".join(name for name, _ in about),
        depth=2 * (turn.depth - 1) + is_part,
        turn=key,
        is_open=outcome is not None,
    )
