"""Replay a journal on the user's code in this process, and find what becomes of it.

The first attempt has the stop command, so the code can do nothing new: its response shows how far it followed the
journal. An attempt without it shows what the code returns, or the target of its next call; no body of a step runs in
it either. With ``answers``, the commands of such an attempt and their results are appended, and the journal is
replayed again, until the code ends or needs a result that has no answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from restate_lab.protocol.commands import RecordedCommand, command_of, describe_command
from restate_lab.protocol.entries import entry_of, payload_bytes, type_of
from restate_lab.protocol.messages import Message
from restate_lab.protocol.mismatch import (
    MISMATCH,
    VIOLATION,
    awaited_completion,
    awaited_run,
    awaited_texts,
    is_await,
)
from restate_lab.testing.answers import Answers, Path
from restate_lab.testing.app import current_folder_importable, load_app
from restate_lab.testing.attempt import Attempt, InProcess
from restate_lab.testing.errors import UnusableRecord
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

_IMPORT_LIMIT = 60.0  # seconds, or the limit of the caller if that is longer: agents import for 20 s on a busy machine


@dataclass(frozen=True, slots=True)
class Options:
    """How a journal is replayed; ``Record.run`` describes them."""

    answers: Mapping[str, Any]
    run_steps: frozenset[str]
    check_payloads: bool
    timeout: float | None
    allow_network: bool


def replay_journal(journal: Journal, messages: Sequence[Message], app: Any, options: Options) -> Outcome:
    """Replay the messages of a journal on an app, in a thread of its own, and return the outcome.

    Raises:
        ReplayError: the app or the handler was not found, the network was used, or the time was over.
    """

    async def work(thread: ReplayThread[Outcome]) -> Outcome:
        uses: list[Any] = []
        with without_network(uses, allow=options.allow_network) as prepare, current_folder_importable():
            thread.prepare = prepare
            limit = options.timeout
            thread.phase(f"importing {app}", None if limit is None else max(limit, _IMPORT_LIMIT))
            loaded = load_app(app)
            process = InProcess(
                loaded.build(check_payloads=options.check_payloads),
                loaded.handler(journal.service, journal.handler),
                f"/invoke/{journal.service}/{journal.handler}",
                journal.start(),
                on_begin=lambda: thread.phase("the handler", limit),
            )
            thread.on_end = process.end
            thread.find_place = lambda: place_of(process.hook.trace)
            outcome = await _JournalReplay(process, journal, Path(messages), options).run()
        if uses:
            raise with_user_frames(uses[0])
        return outcome

    return ReplayThread(work).run()


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
            outcome = await self._replay()
            grown = len(self.path.messages)
            if outcome.outcome == WAITS:
                answers.signal(self.path, outcome.waits_for)
            elif outcome.outcome == NO_RESULT and self.options.run_steps.issuperset(outcome.steps):
                outcome = await self._run_open_steps() or outcome
            elif outcome.outcome == CONTINUES and answers:
                outcome = await self._go_on(answers) or outcome
            if grown == len(self.path.messages):
                return replace(outcome, production=self.journal.error)

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
            recorded = commands[at]
            passed = commands[at - 1].index if at else 0
            return Outcome(
                DIVERGES,
                entry=recorded.index,
                recorded=str(recorded),
                now=now,
                passed=passed,
                at=place_of(attempt.hook.trace),
            )
        if error is not None and error.command == "Output":
            return await self._end(attempt)
        new = await self._next_commands() if error is not None and not error.name else []
        return Outcome(CONTINUES, next=str(new[0]) if new else now, passed=self.path.last)

    async def _await_outcome(self, attempt: Attempt) -> Outcome:
        """Decide whether the code waits where the recording waits, or earlier, with a second attempt.

        Without the last recorded command, code that had come to it meets the stop command there.
        """
        texts = awaited_texts(attempt.error.message if attempt.error else "")
        at, commands = place_of(attempt.hook.trace), self.path.commands
        names = tuple(self._awaited(text) for text in texts)
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

    def _awaited(self, text: str) -> str:
        if (run := awaited_run(text)) is not None:
            return describe_command("Run", run)
        number = awaited_completion(text)
        return next(
            (str(each) for each in self.path.commands if number is not None and each.completion == number), text
        )

    async def _end(self, attempt: Attempt) -> Outcome:
        """Return the outcome of code that ended: what it returns, or the failure that ends the invocation."""
        if not attempt.hook.is_seen:
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
        hook = attempt.hook
        error = hook.step_error or hook.error
        if error is None:
            return Outcome(FAILS, failure=failure)
        at = place_of(error.__traceback__)
        if at is not None:
            failure = replace(failure, file=at.file, line=at.line, function=at.function)
        return Outcome(FAILS, with_user_frames(error), failure, at=at)

    async def _next_commands(self) -> list[RecordedCommand]:
        """Return what the code does after the path, up to its next await."""
        attempt = await self.process.go_on(self.path.messages, frozenset())
        if not attempt.hook.is_seen:
            return []
        pairs = [(type_of(each) or "", each) for each in attempt.messages]
        return [command_of(0, kind, each) for kind, each in pairs if kind.startswith("Command: ")]

    async def _go_on(self, answers: Answers) -> Outcome | None:
        """Append what the code does after the path, up to a command without an answer; return how the code ends."""
        attempt = await self.process.go_on(self.path.messages, self.options.run_steps)
        if not attempt.hook.is_seen:
            raise UnusableRecord("answers and run_steps need an app whose services are known.")
        for message in attempt.messages:
            kind = type_of(message)
            if kind is None or not kind.startswith("Command: "):
                continue
            if kind == "Command: Output":
                return self._output(attempt, entry_of(message))
            command = command_of(self.path.last + 1, kind, message)
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
        if error is None or attempt.hook.step_error is None:
            return None
        return self._failure(
            attempt, Failure(_type_name(attempt, error.message), error.message, error.code, in_step=True)
        )


def _type_name(attempt: Attempt, message: str) -> str:
    error = attempt.hook.step_error or attempt.hook.error
    return type(error).__name__ if error is not None else message.partition("(")[0]
