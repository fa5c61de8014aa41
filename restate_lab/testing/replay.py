"""Replay a journal on the user's code in this process, and find what becomes of it.

The first attempt has the stop command, so the code can do nothing new: its response shows how far it followed the
journal. An attempt without it shows what the code returns, or the target of its next call; no body of a step runs in
it either. With ``answers``, the commands of such an attempt and their results are appended, and the journal is
replayed again, until the code ends or needs a result that has no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from restate_lab.protocol.commands import RecordedCommand, command_of, describe_command
from restate_lab.protocol.entries import entry_of, is_encrypted, payload_bytes, type_of
from restate_lab.protocol.messages import Message
from restate_lab.protocol.mismatch import (
    MISMATCH,
    VIOLATION,
    awaited_run,
    awaited_texts,
    describe_awaited,
    different_fields,
    is_await,
)
from restate_lab.testing.answers import Answers, Path
from restate_lab.testing.app import current_folder_importable, load_app
from restate_lab.testing.attempt import Attempt, InProcess
from restate_lab.testing.errors import NetworkUsed, UnusableRecord
from restate_lab.testing.frames import place_of
from restate_lab.testing.journal import Failure, Journal
from restate_lab.testing.network import without_network
from restate_lab.testing.outcome import (
    CONTINUES,
    DIVERGES,
    FAILS,
    NO_RESULT,
    RETURNS,
    WAITS,
    Outcome,
    parse_value,
    with_user_frames,
)
from restate_lab.testing.thread import ReplayThread

_SERVER = "If the module starts a server, put that under if __name__ == '__main__'."
_IMPORT_LIMIT = 60.0  # seconds, or the limit of the caller if that is longer: agents import for 20 s on a busy machine


@dataclass(frozen=True, slots=True)
class Options:
    """How a journal is replayed; ``Record.run`` describes most of them.

    ``on_enter`` is called with the SDK's context when the handler is entered, in each attempt. With ``is_here``, the
    replay is in the thread of the caller, which has the terminal, and has no time limit.
    """

    answers: Mapping[str, Any]
    run_steps: frozenset[str]
    check_payloads: bool
    timeout: float | None
    allow_network: bool
    on_enter: Callable[[Any], object] | None = None
    is_here: bool = False


def replay_journal(journal: Journal, messages: Sequence[Message], app: Any, options: Options) -> Outcome:
    """Replay the messages of a journal on an app, in a thread of its own, and return the outcome.

    Raises:
        ReplayError: the app or the handler was not found, the network was used, or the time was over.
    """
    uses: list[NetworkUsed] = []

    async def work(thread: ReplayThread[Outcome]) -> Outcome:
        thread.cleanup.enter_context(without_network(uses, allow=options.allow_network))
        thread.cleanup.enter_context(current_folder_importable())
        limit = options.timeout
        thread.phase(f"importing {app}", None if limit is None else max(limit, _IMPORT_LIMIT))
        try:
            loaded = load_app(app)
        except Exception as error:
            if uses:
                raise NetworkUsed(f"importing {app}: {uses[0]} {_SERVER}") from error
            raise
        handler = loaded.handler(journal.service, journal.handler)
        _check_encryption(journal, has_codec=loaded.codec is not None or loaded.call is not None)
        process = InProcess(
            loaded.build(check_payloads=options.check_payloads),
            f"/invoke/{journal.service}/{journal.handler}",
            journal.start(),
            on_begin=lambda: thread.phase("the handler", limit),
        )
        process.hook.on_enter = options.on_enter or process.hook.on_enter
        thread.cleanup.enter_context(process.hook.watching(handler))
        thread.on_end = process.end
        return await _JournalReplay(process, journal, Path(messages), options).run()

    try:
        thread = ReplayThread(work)
        outcome = thread.run_here() if options.is_here else thread.run()
    except NetworkUsed:
        raise
    except Exception as error:
        _raise_use(uses, error)
        raise
    _raise_use(uses, None)
    return outcome


def _raise_use(uses: Sequence[NetworkUsed], error: Exception | None) -> None:
    """Raise the first use of the network by the handler, also if its code caught the error."""
    for use in uses:
        if not use.is_import:
            raise with_user_frames(use) from error


def _check_encryption(journal: Journal, *, has_codec: bool) -> None:
    """Raise UnusableRecord if the input is encrypted and the app cannot decrypt it."""
    if not has_codec and journal.entries and is_encrypted(payload_bytes(journal.entries[0].get("value", ""))):
        raise UnusableRecord(
            "the payloads are encrypted by the SDK, and this app has no codec for its journal. Pass the app with its "
            "codec and key."
        )


@dataclass(slots=True)
class _JournalReplay:
    """The attempts of one replay; ``path`` grows by what the code does after the record."""

    process: InProcess
    journal: Journal
    path: Path
    options: Options

    async def run(self) -> Outcome:
        """Replay the journal until nothing more is known, and return the outcome."""
        answers = Answers(self.options.answers, self.options.run_steps, self.journal.id)
        while True:
            answers.complete(self.path)
            length = len(self.path.messages)
            outcome = await self._replay()
            end: Outcome | None = None
            if outcome.outcome == WAITS:
                answers.signal(self.path, outcome.waits_for)
            elif outcome.outcome == NO_RESULT and self.options.run_steps.issuperset(outcome.steps):
                end = await self._run_open_steps()
            elif outcome.outcome == CONTINUES and answers:
                end = await self._go_on(answers)
            if end is not None or length == len(self.path.messages):
                return replace(end or outcome, production=self.journal.error, is_masked=bool(self.journal.masked))

    async def _replay(self) -> Outcome:
        """Replay the path with the stop command, and return the outcome."""
        attempt = await self.process.replay(self.path.messages)
        error = attempt.error
        if is_await(error) or attempt.is_suspended:
            return await self._await_outcome(attempt)
        if error is None:
            raise UnusableRecord("the app responded with neither an error nor a suspension.")
        if error.code == MISMATCH and error.command_index is not None:
            return await self._mismatch_outcome(attempt, error.command_index)
        if error.code in {MISMATCH, VIOLATION}:
            raise UnusableRecord(f"the SDK reports {error.code}: {error.message}")
        return self._failure(attempt, Failure(_type_name(attempt, error.message), error.message, error.code))

    async def _mismatch_outcome(self, attempt: Attempt, at: int) -> Outcome:
        error, commands = attempt.error, self.path.commands
        now = describe_command(error.command, error.name) if error else ""
        if at < len(commands):
            if error is not None and error.command == "Output" and attempt.seen.error is not None:
                return self._failure(attempt, _terminal_failure(attempt.seen.error))  # it fails before the recorded end
            return self._divergence(attempt, commands, at, now)
        if error is not None and error.command == "Output":
            return await self._end(attempt)
        new = await self._next_commands() if error is not None and not error.name else []
        return Outcome(CONTINUES, next=str(new[0]) if new else now, passed=self.path.last)

    def _divergence(self, attempt: Attempt, commands: Sequence[RecordedCommand], at: int, now: str) -> Outcome:
        recorded, error = commands[at], attempt.error
        fields = different_fields(error.message) if error else []
        if error and error.command == recorded.type and fields and "name" not in fields:
            now = f"with another {' and '.join(fields).replace('_', ' ')}"  # the values are not shown
        return Outcome(
            DIVERGES,
            entry=recorded.index,
            recorded=str(recorded),
            now=now,
            passed=commands[at - 1].index if at else 0,
            at=place_of(attempt.seen.trace),
        )

    async def _await_outcome(self, attempt: Attempt) -> Outcome:
        """Decide whether the code waits where the recording waits, or earlier, with a second attempt.

        Without the last recorded command, code that had come to it meets the stop command there.
        """
        texts = awaited_texts(attempt.error.message if attempt.error else "")
        at, commands = place_of(attempt.seen.trace), self.path.commands
        names = tuple(describe_awaited(text, commands) or text for text in texts)
        if len(commands) > 1:
            second = await self.process.replay(self.path.without_last_command())
            error, last = second.error, len(commands) - 1
            if is_await(error) or second.is_suspended:
                now = f"waits for {', '.join(names) or 'a result'}"
                return Outcome(DIVERGES, now=f"{now} before it has issued all recorded commands", at=at)
            if error is None or error.code != MISMATCH or error.command_index != last:
                raise UnusableRecord("two attempts with the same journal contradict each other.")
        if any(awaited_run(text) is not None for text in texts):
            steps = tuple(each.name for each in self.path.open_commands if each.type == "Run")
            return Outcome(NO_RESULT, steps=steps, passed=commands[-1].index, at=at)
        return Outcome(WAITS, waits_for=names, passed=commands[-1].index, at=at)

    async def _end(self, attempt: Attempt) -> Outcome:
        """Return the outcome of code that ended: what it returns, or the failure that ends the invocation."""
        if not attempt.seen.is_seen:
            raise UnusableRecord("the services of the app were not found, so it is not known how the handler ends.")
        second = await self.process.go_on(self.path.messages, frozenset())
        outputs = [entry_of(each) for each in second.messages if type_of(each) == "Command: Output"]
        if not outputs:
            raise UnusableRecord("two attempts with the same journal end differently: the code decides by chance.")
        return self._output(attempt, outputs[0])

    def _output(self, attempt: Attempt, output: Mapping[str, Any]) -> Outcome:
        if "failure" in output:
            failure = output["failure"]
            return self._failure(attempt, Failure("TerminalError", failure.get("message", ""), failure.get("code")))
        value = parse_value(payload_bytes(output.get("value", "")))
        return Outcome(RETURNS, returned=value, passed=self.path.last)

    def _failure(self, attempt: Attempt, failure: Failure) -> Outcome:
        seen = attempt.seen
        error = seen.step_error or seen.error
        if error is None:
            return Outcome(FAILS, failure=failure)
        at = place_of(error.__traceback__)
        if at is not None:
            failure = replace(failure, file=at.file, line=at.line, function=at.function)
        return Outcome(FAILS, with_user_frames(error), failure, at=at)

    async def _next_commands(self) -> list[RecordedCommand]:
        """Return what the code does after the path, up to its next await."""
        attempt = await self.process.go_on(self.path.messages, frozenset())
        if not attempt.seen.is_seen:
            return []
        pairs = [(type_of(each) or "", each) for each in attempt.messages]
        return [command_of(0, kind, each) for kind, each in pairs if kind.startswith("Command: ")]

    async def _go_on(self, answers: Answers) -> Outcome | None:
        """Append what the code does after the path, up to a command without an answer; return how the code ends."""
        attempt = await self.process.go_on(self.path.messages, self.options.run_steps)
        if not attempt.seen.is_seen:
            raise UnusableRecord("answers and run_steps need an app whose services are known.")
        for message in attempt.messages:
            kind = type_of(message)
            if kind is None or not kind.startswith("Command: "):
                continue
            if kind == "Command: Output":
                return self._output(attempt, entry_of(message))
            command = command_of(len(self.path.messages), kind, message)
            if not answers.has(command):
                return Outcome(CONTINUES, next=str(command), passed=self.path.last)
            self.path.messages.append(message)
        return self._take_results(attempt)

    async def _run_open_steps(self) -> Outcome | None:
        """Run the steps that have no result and were named, and append their results."""
        attempt = await self.process.go_on(self.path.messages, self.options.run_steps)
        return self._take_results(attempt)

    def _take_results(self, attempt: Attempt) -> Outcome | None:
        """Append the results of the steps that ran; return the outcome if one of them failed."""
        self.path.add_results(attempt.messages)
        error = attempt.error
        if error is None or attempt.seen.step_error is None:
            return None
        return self._failure(
            attempt, Failure(_type_name(attempt, error.message), error.message, error.code, in_step=True)
        )


def _terminal_failure(error: BaseException) -> Failure:
    """Return the failure that an exception ends an invocation with: its own, or that of the first cause with a code."""
    cause: BaseException | None = error
    while cause is not None and not hasattr(cause, "status_code"):
        cause = cause.__cause__
    return Failure("TerminalError", str(getattr(cause, "message", cause)), getattr(cause, "status_code", None))


def _type_name(attempt: Attempt, message: str) -> str:
    error = attempt.seen.step_error or attempt.seen.error
    return type(error).__name__ if error is not None else message.partition("(")[0]
