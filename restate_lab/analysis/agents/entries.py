"""The entries of an agent's journal: each with its payloads, its errors, and the response of a model if it has one."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

from restate_lab.analysis.agents.model import TOKENS, WRITTEN, ModelStep, count
from restate_lab.analysis.agents.responses import read_known_shape
from restate_lab.analysis.journal.encoding import body_of
from restate_lab.analysis.journal.entries import FAILED, Entry, text_or_none
from restate_lab.analysis.journal.errors import NO_ERRORS, AttemptErrors
from restate_lab.analysis.journal.payloads import decode
from restate_lab.errors import ArgumentError
from restate_lab.payload_json import Decoding, mask_model_secrets
from restate_lab.protocol.wire import bytes_of, text_of
from restate_lab.reads import no_check

ShapeFunction: TypeAlias = Callable[[Any], ModelStep | None]
_DEEPEST = 3  # levels of objects around a response

# the fields of a value and of a failure in a message; the value of a state is a message, the argument of a call is not
_VALUES = {"Command: Input": 14, "Command: Output": 14, "Command: GetEagerState": 14, "Command: SetState": 3}
_FAILURES = {"Command: Output": 15}
_ARGUMENTS = {"Command: Call": 3, "Command: OneWayCall": 3}
_IN_NOTIFICATION = (5, 6)
_OWN_STEPS = re.compile(r"store session|run event|get mcp tools|.*-mcp-list-tools", re.IGNORECASE)
AGENT_NAMES = ("call llm", "llm call", "model call", "model stream call", "calling openai.", "compaction llm call")


class Content(NamedTuple):
    """The payloads of one row of ``sys_journal``; ``is_excluded`` is True if they are too large and were not read."""

    value: bytes | None = None
    argument: bytes | None = None
    failure: str | None = None
    is_excluded: bool = False


@dataclass(frozen=True)
class AgentEntry:
    """One command with its result, or a signal; its payloads are parsed at the first use and then kept.

    ``model`` is the response of a model that it has. ``is_model_call`` is also True for a step without a result whose
    name is that of a step with a response, or the name that an integration uses.
    """

    entry: Entry
    content: Content
    errors: AttemptErrors = NO_ERRORS
    model: ModelStep | None = None
    is_model_call: bool = False

    @property
    def at(self) -> int:
        """Return the index in the journal; of a signal that has not arrived, a number after all others."""
        return self.entry.index if self.entry.index is not None else 1 << 62

    @property
    def end(self) -> int:
        """Return the index of the result; a number after all others without a result."""
        return self.entry.completion_index if self.entry.completion_index is not None else 1 << 62

    @cached_property
    def value(self) -> Any:
        """Return the result, or the value that was written, with secrets of providers masked."""
        masked = mask_model_secrets(self.content.value) if self.content.value else b""
        return self.unmasked_value if masked == self.content.value else decode(masked)

    @cached_property
    def unmasked_value(self) -> Any:
        """Return the result as it is in the journal; only the shapes of responses of models are recognized in it."""
        return decode(self.content.value) if self.content.value else None

    @cached_property
    def argument(self) -> Any:
        """Return the argument of a call, with secrets of providers masked."""
        return decode(mask_model_secrets(self.content.argument)) if self.content.argument else None


def content_of(row: Mapping[str, Any], *, most: int) -> Content:
    """Return the payloads of a row with ``entry_type``, ``size`` and ``raw`` or ``entry_json``; without them, none."""
    if row.get("raw") is None and row.get("entry_json") is None:
        return Content(is_excluded=(row["size"] or 0) > most)
    try:
        body = body_of(row)
    except ValueError:
        return Content()
    type_ = row["entry_type"]
    if type_ in _ARGUMENTS:
        return Content(argument=bytes_of(body, _ARGUMENTS[type_]))
    is_notification = type_.startswith("Notification")
    value, failure = _IN_NOTIFICATION if is_notification else (_VALUES.get(type_), _FAILURES.get(type_))
    message = bytes_of(body, value) if value else None
    if message is not None:
        return Content(value=bytes_of(message, 1))
    reason = bytes_of(body, failure) if failure else None
    return Content() if reason is None else Content(failure=text_of(reason, 2))


def decoded_content(content: Content, decoding: Decoding | None) -> Content:
    """Return the payloads as the SDK got them, for showing; without ``decoding`` as they are in the journal."""
    if decoding is None:
        return content
    value, argument = (decoding(each) if each else each for each in (content.value, content.argument))
    return content._replace(value=value, argument=argument)


def recognize(payload: Any, shapes: Sequence[ShapeFunction] = (), *, has_text: bool = True) -> ModelStep | None:
    """Return the response of a model in a payload; None for a payload of another shape.

    The user's ``shapes`` get the whole payload and come first. A known shape may be in up to three objects. If several
    objects at one depth have a shape, the payload is not a single response, so nothing is returned. Without
    ``has_text`` the text of a known shape is not read, nor the messages of a request, which can be a whole
    conversation, and the arguments of tool calls are not parsed.

    Raises:
        ArgumentError: a function of the user failed, or returned something else.
    """
    for shape in shapes:
        step = _call(shape, payload)
        if step is not None:
            return step
    level = [payload] if isinstance(payload, dict) else []
    for _ in range(_DEEPEST + 1):
        steps = [step for each in level if (step := read_known_shape(each, has_text=has_text)) is not None]
        if steps:
            return steps[0] if len(steps) == 1 else None
        level = [inner for each in level for inner in each.values() if isinstance(inner, dict)]
    return None


def check_shapes(shapes: Any) -> tuple[ShapeFunction, ...]:
    """Return the user's functions.

    Raises:
        ArgumentError: ``shapes`` is not a list of functions.
    """
    functions = tuple(shapes) if isinstance(shapes, list | tuple) else (None,)
    if not all(map(callable, functions)):
        raise ArgumentError(
            "shapes must be a list of functions, each from a payload to a ModelStep or None; pass for example "
            "shapes=[my_shape]."
        )
    return functions


def _call(shape: ShapeFunction, payload: Any) -> ModelStep | None:
    name = getattr(shape, "__name__", type(shape).__name__)
    try:
        step = shape(payload)
    except Exception as error:
        raise ArgumentError(
            f"the function {name} in shapes failed with {type(error).__name__}; it must return a ModelStep, or None "
            f"for a payload of another shape."
        ) from error
    if step is None:
        return None
    if not isinstance(step, ModelStep):
        raise ArgumentError(f"the function {name} in shapes returned a {type(step).__name__}, not a ModelStep or None.")
    numbers = (*TOKENS, *WRITTEN)
    wrong = [field for field in numbers if getattr(step, field) is not None and count(getattr(step, field)) is None]
    if wrong:
        raise ArgumentError(
            f"the function {name} in shapes returned {wrong[0]}={getattr(step, wrong[0])!r}; pass a whole number of 0 "
            f"or more, or None if it is unknown."
        )
    return step


def with_models(
    entries: Sequence[AgentEntry], shapes: Sequence[ShapeFunction], check: Callable[[], None] = no_check
) -> list[AgentEntry]:
    """Return the entries with the responses of models in their results; ``check`` is called before each entry."""
    read = []
    for each in entries:
        check()
        is_step = each.entry.entry_type == "Run" and each.content.value
        model = recognize(each.unmasked_value, shapes) if is_step else None
        read.append(each if model is None else replace(each, model=_masked(model, each, shapes)))
    return _with_model_calls(read)


def _masked(model: ModelStep, each: AgentEntry, shapes: Sequence[ShapeFunction]) -> ModelStep:
    """Return a response whose results of tools, which are shown as they are, have secrets of providers masked."""
    if not model.results or each.value is each.unmasked_value:
        return model
    masked = recognize(each.value, shapes)
    return model._replace(results=masked.results if masked else ())


def agent_entries(entries: Iterable[Entry], steps: Mapping[int, ModelStep]) -> list[AgentEntry]:
    """Return the entries with these responses of models, by the index of their results, and without other payloads."""
    contents = {FAILED: Content(failure="")}
    return _with_model_calls(
        [
            AgentEntry(each, contents.get(each.status or "", Content()), model=steps.get(each.completion_index or 0))
            for each in entries
        ]
    )


def _with_model_calls(read: Sequence[AgentEntry]) -> list[AgentEntry]:
    names = {each.entry.name for each in read if each.model is not None and each.entry.name}
    entries = []
    for each in read:
        has_result = each.entry.completion_index is not None and each.content.failure is None
        is_open = not has_result and is_named_like_model(each.entry.entry_type, each.entry.name, names)
        entries.append(replace(each, is_model_call=True) if each.model is not None or is_open else each)
    return entries


def is_named_like_model(entry_type: str, name: str | None, names: Collection[str]) -> bool:
    """Return whether a step has one of the names of the steps with a response, or a name that an integration uses."""
    return entry_type == "Run" and (name in names or (text_or_none(name) or "").casefold().startswith(AGENT_NAMES))


def is_own_step(name: str | None) -> bool:
    """Return whether an integration uses this name for a step that belongs to no tool call."""
    return _OWN_STEPS.fullmatch(name or "") is not None
