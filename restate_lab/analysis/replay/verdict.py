"""Judge the response to a replayed journal: whether the code takes the recorded path.

An SDK compares each command of the code with the recorded one. After the recorded commands comes the stop command,
which no code can issue. So a response is nearly always an error, and its index shows how far the code followed the
journal. Observed with the SDKs for Python (0.10 to 1.3) and TypeScript (1.7 to 1.17).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from restate_lab._text import escape_invisible, join, one_line
from restate_lab.analysis.replay.recording import (
    CANNOT_SAY,
    FITS,
    NOT_CHECKABLE,
    Recording,
    ReplayOutcome,
)
from restate_lab.client.endpoint import Answer
from restate_lab.protocol.commands import describe_command
from restate_lab.protocol.messages import ErrorMessage, Message, Start
from restate_lab.protocol.mismatch import (
    MISMATCH,
    VIOLATION,
    awaited_texts,
    describe_awaited,
    different_fields,
    is_await,
)

DIVERGES, FAILS, OTHER_RESULT = "diverges", "fails", "other result"
# All verdicts, the worst first.
VERDICTS = (DIVERGES, FAILS, CANNOT_SAY, NOT_CHECKABLE, OTHER_RESULT, FITS)

Ask: TypeAlias = Callable[[Start, Sequence[Message]], Answer]
_Send: TypeAlias = Callable[[Sequence[Message]], Answer]

_CHANCE = "The recorded seed of random numbers is not known for this invocation, so that can be the reason"
_STATUSES = {
    401: (NOT_CHECKABLE, "the deployment accepts only requests that the server has signed (401)"),
    403: (NOT_CHECKABLE, "the deployment refuses the request (403); set headers="),
    404: (FAILS, "the deployment does not have this handler any more (RT0012)"),
    415: (NOT_CHECKABLE, "the deployment does not support the protocol version of the journal (415)"),
}


def judge(recording: Recording, ask: Ask) -> ReplayOutcome:
    """Return the verdict on a recording; ``ask`` sends messages with the stop command and returns the response."""
    start, obstacle = recording.start, recording.obstacle
    if obstacle is not None:
        return obstacle
    if start is None or not recording.commands:
        return ReplayOutcome(CANNOT_SAY, "its journal has no input")
    return _judge(recording, lambda messages: ask(start, messages))


def _judge(recording: Recording, send: _Send) -> ReplayOutcome:
    answer = send(recording.messages)
    refusal = _judge_refusal(answer)
    if refusal is not None:
        return refusal
    if _is_await(answer):
        return _judge_await(recording, answer, send)
    if answer.error is None:
        return ReplayOutcome(CANNOT_SAY, "the response has neither an error nor a suspension")
    return _judge_error(recording, answer.error)


def _judge_error(recording: Recording, error: ErrorMessage) -> ReplayOutcome:
    if error.code == MISMATCH:
        return _judge_mismatch(recording, error)
    if error.code == VIOLATION:
        if recording.has_output:
            return ReplayOutcome(FITS, "it takes the recorded path and ends with the recorded result")
        return ReplayOutcome(CANNOT_SAY, f"the SDK reports a protocol violation: {_quote(error.message)}")
    return ReplayOutcome(FAILS, f"the code fails with {error.code}: {_quote(error.message)}")


def _judge_refusal(answer: Answer) -> ReplayOutcome | None:
    """Return the verdict on a response that does not come from the handler; None if it does."""
    if answer.unreadable:
        reason = f"the response {answer.unreadable}, so it was not read: whether a step ran is not known"
        return ReplayOutcome(NOT_CHECKABLE, reason, ends_check=True)
    if answer.problem:
        return ReplayOutcome(CANNOT_SAY, escape_invisible(answer.problem, lines=False))
    if answer.status == 200:
        return None
    if 300 <= answer.status < 400:
        return ReplayOutcome(
            NOT_CHECKABLE, f"the address redirects to another one ({answer.status}), which is not contacted"
        )
    verdict, reason = _STATUSES.get(answer.status, (CANNOT_SAY, f"the deployment responds with {answer.status}"))
    return ReplayOutcome(verdict, reason)


def _is_await(answer: Answer) -> bool:
    return is_await(answer.error) or (answer.is_suspended and answer.error is None)


def _judge_await(recording: Recording, answer: Answer, send: _Send) -> ReplayOutcome:
    """Decide whether the code waits where the recording waits, or earlier, with a second request.

    Without the last recorded command, code that had come to it meets the stop command there.
    """
    texts = awaited_texts(answer.error.message if answer.error else "")
    named = [_describe_notification(recording, text) for text in texts]
    awaited = join(named) or "a result"
    if len(recording.commands) == 1:
        return ReplayOutcome(FITS, f"it has only its input and waits for {awaited}", continues_with=awaited)
    second = send(recording.without_last_command())
    refusal = _judge_refusal(second)
    if refusal is not None:
        return replace(refusal, reason=f"the second request: {refusal.reason}")
    if _is_await(second):
        now = f"waits for {awaited}"
        return ReplayOutcome(DIVERGES, f"the code {now} before it has issued all recorded commands", now=now)
    error, last = second.error, len(recording.commands) - 1
    if error is not None and error.code == MISMATCH and error.command_index == last:
        reason = f"it takes the recorded path and waits for {awaited}"
        return ReplayOutcome(FITS, reason, continues_with=awaited)
    return ReplayOutcome(CANNOT_SAY, "two requests with the same journal had contradicting responses")


def _judge_mismatch(recording: Recording, error: ErrorMessage) -> ReplayOutcome:
    at, recorded = error.command_index, len(recording.commands)
    now = describe_command(error.command, error.name)
    if at is None or at > recorded:
        return ReplayOutcome(
            CANNOT_SAY, f"the SDK reports a mismatch without a valid place: {_quote(error.message, 80)}"
        )
    if at == recorded:
        if recording.has_output:
            return ReplayOutcome(CANNOT_SAY, f"the code goes on with {now} after the recorded result")
        return ReplayOutcome(FITS, f"it takes the recorded path and goes on with {now}", continues_with=now)
    command = recording.commands[at]
    fields = different_fields(error.message)
    if command.type == error.command == "Output":
        return ReplayOutcome(OTHER_RESULT, "it takes the recorded path and ends with another result", at, now)
    if command.type == error.command and fields and "name" not in fields:
        return _judge_values(recording, at, now, fields)
    return ReplayOutcome(DIVERGES, f"the journal has {command} as command {at}, and the code issues {now}", at, now)


def _judge_values(recording: Recording, at: int, now: str, fields: Sequence[str]) -> ReplayOutcome:
    reason = f"command {at}, {recording.commands[at]}, has another {join(fields)}"  # the values are not shown
    if not recording.seed_is_known:
        return ReplayOutcome(CANNOT_SAY, f"{reason}. {_CHANCE}", at, now)
    return ReplayOutcome(DIVERGES, reason, at, f"{now} with another {join(fields)}")


def _describe_notification(recording: Recording, text: str) -> str:
    if known := describe_awaited(text, recording.commands):
        return known
    return "an awakeable" if text.startswith("Awakeable ") else _quote(text)  # ids differ between invocations


def _quote(text: str, width: int = 120) -> str:
    return escape_invisible(one_line(text, width))
