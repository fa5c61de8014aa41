"""The turns of a conversation, from the entries of one journal: user, model, tools, and the handler's other steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from restate_lab.analysis.agents.entries import AgentEntry
from restate_lab.analysis.agents.matching import UNKNOWN, MatchedCall, ModelTurn, match_tools
from restate_lab.analysis.agents.model import TOKENS, unwrap
from restate_lab.analysis.agents.prices import PriceTable
from restate_lab.analysis.journal.entries import DONE, FAILED, OPEN, text_or_none
from restate_lab.payload_json import EncryptedPayload, write_for_display
from restate_lab.reads import no_check

JOURNAL = "journal"  # how a turn is known whose entry is itself in the journal
_STEPS = frozenset({"Run", "Call", "OneWayCall", "Sleep", "Signal", "GetPromise", "AttachInvocation"})


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn; the columns of ``Conversation.frame`` are its fields. None is unknown, or does not apply."""

    id: str
    depth: int
    role: str
    how: str
    turn: int | None = None
    text: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool: str | None = None
    call_id: str | None = None
    arguments: Any = None
    result: Any = None
    framework: str | None = None
    model: str | None = None
    response_id: str | None = None
    finish: str | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: float | None = None
    entry_type: str | None = None
    name: str | None = None
    status: str | None = None
    started: datetime | None = None
    duration: timedelta | None = None
    attempts: int | None = None
    attempts_at_least: bool = False
    error: str | None = None
    callee: str | None = None
    journal_index: int | None = None

    @property
    def is_open(self) -> bool:
        """Return whether the invocation still executes this turn or waits for it."""
        return self.status == OPEN


def turns_of(
    id_: str,
    entries: Sequence[AgentEntry],
    prices: PriceTable,
    *,
    depth: int = 1,
    check: Callable[[], None] = no_check,
) -> list[Turn]:
    """Return the turns of one invocation, in the order of its journal; ``check`` is that of ``match_tools``."""
    first, models = match_tools(entries, check)
    texts = [turn.entry.model.text for turn in models if turn.entry.model]
    maker = _TurnMaker(id_, depth, prices)
    turns = list(maker.beginning(first, models))
    for number, turn in enumerate(models, start=1):
        turns.append(maker.model(turn, number))
        turns += [maker.tool(call, number) for call in turn.calls]
        turns += maker.steps(turn.others, number)
    outputs = [each for each in entries if each.entry.entry_type == "Output"]
    return turns + [made for each in outputs for made in maker.output(each, texts[-1] if texts else None)]


@dataclass(frozen=True, slots=True)
class _TurnMaker:
    id: str
    depth: int
    prices: PriceTable

    def beginning(self, first: Iterable[AgentEntry], models: Sequence[ModelTurn]) -> Iterator[Turn]:
        """Yield the system prompt if a request has it, the user's message, and the steps before the first model."""
        prompt = models[0].entry.model.prompt if models and models[0].entry.model else ()
        for instructions in (text for role, text in prompt if role != "user"):
            index = models[0].entry.entry.index
            yield Turn(self.id, self.depth, "system", JOURNAL, text=instructions, journal_index=index)
        asked = [text for role, text in prompt if role == "user"]
        for each in first:
            if each.entry.entry_type == "Input":
                text = asked[-1] if asked else text_of_value(each.value)
                yield replace(self._turn(each, "user", JOURNAL), text=text, status=DONE, duration=None)
            elif each.entry.entry_type in _STEPS:
                yield self._step(each, None)

    def model(self, turn: ModelTurn, number: int) -> Turn:
        step = turn.entry.model
        if step is None:  # the call has no response yet, or failed
            return replace(self._turn(turn.entry, "assistant", "guessed"), turn=number)
        return replace(
            self._turn(turn.entry, "assistant", JOURNAL),
            turn=number,
            text=step.text,
            reasoning=step.reasoning,
            refusal=step.refusal,
            framework=step.framework,
            model=step.model or step.model_asked,
            response_id=step.response_id,
            finish=step.finish,
            cost=self.prices.cost(step, turn.entry.entry.completed),
            **{name: getattr(step, name) for name in TOKENS},
        )

    def tool(self, matched: MatchedCall, number: int) -> Turn:
        call, entries, last = matched.call, matched.entries, _deciding(matched.entries)
        base = self._turn(last, "tool", matched.how) if last else Turn(self.id, self.depth, "tool", matched.how)
        repeated = matched.repeated
        is_repeated = repeated is not None and (not entries or matched.how != UNKNOWN)
        result = repeated.value if repeated is not None and is_repeated else unwrap(last.value) if last else None
        started = min((each.entry.started for each in entries if each.entry.started), default=base.started)
        ended = last.entry.completed if last else None
        return replace(
            base,
            turn=number,
            tool=call.name,
            call_id=call.id,
            arguments=call.arguments,
            result=result,
            entry_type=", ".join(dict.fromkeys(each.entry.entry_type for each in entries)) or None,
            status=base.status or (DONE if repeated is not None else None),
            started=started,
            duration=max(ended - started, timedelta(0)) if ended and started else base.duration,
            attempts=sum(each.errors.retries or 0 for each in entries) if entries else None,
            attempts_at_least=any(each.errors.at_least for each in entries),
            journal_index=entries[0].entry.index if entries else None,
        )

    def steps(self, others: Iterable[AgentEntry], number: int) -> list[Turn]:
        return [self._step(each, number) for each in others if each.entry.entry_type in _STEPS]

    def output(self, each: AgentEntry, last: str | None) -> Iterator[Turn]:
        """Yield the result of the handler, unless it only repeats the last text of the model."""
        text = text_of_value(each.value)
        if each.content.failure is not None or (text is not None and text != last):
            status = FAILED if each.content.failure is not None else DONE
            yield replace(self._turn(each, "result", JOURNAL), text=text, status=status, duration=None)

    def _step(self, each: AgentEntry, number: int | None) -> Turn:
        is_cancel = each.entry.entry_type == "Signal" and each.entry.name == "cancel"
        turn = replace(self._turn(each, "step", JOURNAL), turn=number, arguments=each.argument, result=each.value)
        return replace(turn, text="cancel") if is_cancel else turn

    def _turn(self, each: AgentEntry, role: str, how: str) -> Turn:
        entry, errors = each.entry, each.errors
        started, ended = entry.started, entry.completed
        return Turn(
            self.id,
            self.depth,
            role,
            how,
            entry_type=entry.entry_type,
            name=entry.name or entry.callee_target or entry.promise or entry.awakeable_id,
            status=FAILED if each.content.failure is not None else entry.status,
            started=started or ended,
            duration=max(ended - started, timedelta(0)) if started and ended else None,
            attempts=errors.retries,
            attempts_at_least=errors.at_least,
            error=each.content.failure or errors.message,
            callee=entry.callee,
            journal_index=entry.index,
        )


def _deciding(entries: Sequence[AgentEntry]) -> AgentEntry | None:
    """Return the entry that shows how far a tool is: an open one, else a failed one, else the last one."""
    if not entries:
        return None
    is_open = [each for each in entries if each.entry.status == OPEN]
    failed = [each for each in entries if each.content.failure is not None]
    return (is_open or failed or list(entries))[-1]


def tools_by_response(turns: Iterable[Turn]) -> Mapping[tuple[str, int | None], list[Turn]]:
    """Return (invocation id, number of the turn) → the tool calls in this response."""
    tools: defaultdict[tuple[str, int | None], list[Turn]] = defaultdict(list)
    for turn in turns:
        if turn.role == "tool":
            tools[turn.id, turn.turn].append(turn)
    return tools


def text_of_value(value: Any) -> str | None:
    """Return a value as text that can be encoded: text unchanged, else JSON; None for None."""
    if value is None or isinstance(value, str):
        return text_or_none(value) or value
    if isinstance(value, bytes):
        return str(value) if isinstance(value, EncryptedPayload) else f"{len(value):,} bytes"
    return write_for_display(value)
