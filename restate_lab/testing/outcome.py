"""What became of a recorded journal on the user's code."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

from restate_lab.protocol.mismatch import MISMATCH
from restate_lab.testing.errors import Diverges, HandlerFailed, StepWithoutResult
from restate_lab.testing.frames import CodePlace, describe_exception, user_traceback
from restate_lab.testing.journal import Failure

FAILS, RETURNS, CONTINUES, WAITS = "fails", "returns", "continues", "waits"
DIVERGES, NO_RESULT = "diverges", "step without result"
OUTCOMES = (FAILS, RETURNS, CONTINUES, WAITS, DIVERGES, NO_RESULT)
_UNSTABLE = re.compile(r"0x[0-9a-fA-F]{4,}|\{[^{}:]*\}")  # addresses and sets differ between two processes
_LONGEST = 200  # characters of a value in a text


@dataclass(frozen=True, repr=False)
class Outcome:
    """What the code did with a recorded journal; ``print()`` shows it as one sentence.

    ``outcome`` is one of:

    - "fails": the handler raised ``exception``; its traceback has the user's frames only. A failure that ends an
      invocation is a ``TerminalError``.
    - "returns": the handler returned ``returned`` (parsed JSON, else a text or bytes; None for nothing).
    - "continues": it followed the record, and then issued ``next``, such as "Run 'ship'". It was not executed.
    - "waits": it followed the record, and waits for ``waits_for``, such as ("Call Payments/charge",).
    - "diverges": entry ``entry`` is ``recorded``, and the code issued ``now``.
    - "step without result": it needs the result of a step that failed in production, and was not run. ``steps`` has the
      names of all steps without a result.

    ``passed`` is the index of the last entry that the code passed; None if the handler failed. ``at`` is the line of
    the user's code where it failed, diverged or waits; None if it is not known. ``production`` is the error in
    production.
    """

    outcome: str
    exception: BaseException | None = field(default=None, compare=False)
    failure: Failure | None = None
    returned: Any = None
    next: str | None = None
    passed: int | None = None
    waits_for: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    entry: int | None = None
    recorded: str | None = None
    now: str | None = None
    at: CodePlace | None = None
    production: Failure | None = None
    is_masked: bool = False
    """Whether the record is masked: texts of errors differ then, so their type and line are compared."""

    def continues_past(self, entry: int, /) -> bool:
        """Return whether the code took the recorded path past the entry with this index, and did not fail."""
        passed = -1 if self.passed is None else self.passed
        return (self.outcome in {RETURNS, CONTINUES} and passed >= entry) or (self.outcome == WAITS and passed > entry)

    def returns(self, value: Any, /) -> bool:
        """Return whether the handler returned this value, also with its types: 1 is neither True nor 1.0."""
        return self.outcome == RETURNS and _as_json(self.returned) == _as_json(value)

    @property
    def is_as_in_production(self) -> bool:
        """Return whether the handler fails with the error that it had in production: its type, message and code."""
        return self.outcome == FAILS and _is_same(self.failure, self.production, compares_text=not self.is_masked)

    def __str__(self) -> str:
        where = f" at {self.at}" if self.at else ""
        return f"{self._text()}{where}"

    def __repr__(self) -> str:
        return f"<Outcome: {self}>"

    def _text(self) -> str:
        if self.outcome == FAILS:
            what = describe_exception(self.exception) if self.exception is not None else self._failure_text()
            return f"fails: {_shorten(what)}"
        if self.outcome == RETURNS:
            return f"returns {_shorten(repr(self.returned))}"
        if self.outcome == CONTINUES:
            return f"continues with {self.next}"
        if self.outcome == WAITS:
            return f"waits for {', '.join(self.waits_for) or 'a result'}"
        if self.outcome == NO_RESULT:
            return self._no_result()
        place = "" if self.entry is None else f" at entry {self.entry}"
        recorded = f"recorded {self.recorded}, " if self.recorded else ""
        return f"diverges{place}: {recorded}now {self.now}{self._mismatch_note()}"

    def _failure_text(self) -> str:
        return self.failure.message if self.failure else "an unknown error"

    def _no_result(self) -> str:
        first = self.steps[0] if self.steps else ""
        names = ", ".join(repr(each) for each in self.steps)
        head = f"stops at step {names}" if len(self.steps) == 1 else f"stops at the steps {names}"
        error = self.production
        why = f", which failed in production with {_shorten(error.message)}" if error and error.in_step else ""
        return (
            f"{head}{why}: no recorded result. It was not run. Give answers={{'Run {first}': …}}, or run it with "
            f"run_steps={list(self.steps)!r}"
        )

    def _mismatch_note(self) -> str:
        """Return why fixed code cannot follow this record, if the error in production was a mismatch itself."""
        if self.production is None or self.production.code != MISMATCH:
            return ""
        return ". The error in production was a mismatch too: no code follows this record; restart from a prefix"

    def raise_problem(self) -> None:
        """Raise what the handler raised, or what keeps the code from following the record; nothing for the others.

        Raises:
            Diverges: the code takes another path.
            StepWithoutResult: it needs the result of a step that has none.
            HandlerFailed: the handler failed, and its exception is not known.
        """
        __tracebackhide__ = True  # pytest and IPython begin in the user's code
        if self.outcome == FAILS:
            self._raise_failure()
        if self.outcome == DIVERGES:
            raise Diverges(str(self), entry=self.entry, recorded=self.recorded or "", now=self.now or "")
        if self.outcome == NO_RESULT:
            raise StepWithoutResult(str(self), steps=self.steps)

    def _raise_failure(self) -> NoReturn:
        __tracebackhide__ = True
        if self.exception is None:
            raise HandlerFailed(f"{self}; the SDK did not give the exception, so it has no traceback.")
        raise self.exception


def with_user_frames(error: BaseException) -> BaseException:
    """Return an exception whose traceback, and those of its causes, have the user's frames only."""
    each: BaseException | None = error
    seen: set[int] = set()
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        each.__traceback__ = user_traceback(each.__traceback__)
        each = each.__cause__ or each.__context__
    return error


def parse_value(content: bytes) -> Any:
    """Return a result: its JSON, else a text, else bytes; None for nothing."""
    if not content:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        pass
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=repr)


def _is_same(failure: Failure | None, production: Failure | None, *, compares_text: bool) -> bool:
    if failure is None or production is None:
        return False
    if production.type and production.type != failure.type:
        return False
    if production.code is not None and production.code != failure.code:
        return False
    if not compares_text or _UNSTABLE.search(production.message):
        is_known = production.line is not None  # it is not, for a failure that ended the invocation
        return not is_known or (failure.line, failure.function) == (production.line, production.function)
    return failure.message == production.message


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
