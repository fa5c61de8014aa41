"""Choose the index from which a failed invocation restarts: the entries before the command whose failure ended it.

A step that failed finally has a result too, namely its failure, so the longest part of a journal in which every command
has a result would repeat the failure. The command is found by the code and the message of the failure instead: an
invocation that does not handle the failure of a command fails with the same code and message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from restate_lab._text import join, one_line, plural, verb_form
from restate_lab.actions.plan.preview import describe_entry, is_command, name_of, prefix_of, reason_against_index
from restate_lab.analysis.journal.entries import ABANDONED, Entry
from restate_lab.analysis.journal.payloads import Payloads

FIRST_PROTOCOL = 4
"""The oldest protocol of the journals that can be restarted; older ones have the first version of the journal."""
PREFIX_PROTOCOL = 6
"""The oldest protocol with which a restart can keep more than the input."""
_NO_STEPS = {"Input", "Output"}
_ATTACHES = {"AttachInvocation", "GetInvocationOutput"}
_CALL = "Call"


@dataclass(frozen=True, slots=True)
class FailedJournal:
    """The journal of a failed invocation.

    ``length`` is its number of rows, ``failure`` the failure that ended the invocation, and ``failures`` has the
    failures in the journal by their index. ``protocol`` is missing (None) without a deployment. ``kept_calls`` are the
    callees that keep their result for later calls: those with an idempotency key.
    """

    entries: Sequence[Entry]
    length: int
    failure: Payloads
    failures: Mapping[int, Payloads]
    protocol: int | None
    kept_calls: frozenset[str] = frozenset()

    @property
    def commands(self) -> list[Entry]:
        """Return the commands except the input and the output."""
        return [each for each in self.entries if is_command(each) and each.entry_type not in _NO_STEPS]

    @property
    def output(self) -> Entry | None:
        """Return the output; None if the server ended the invocation after its last attempt."""
        return next((each for each in self.entries if each.entry_type == "Output"), None)

    @property
    def failed(self) -> list[Entry]:
        """Return the commands and signals with a failure, in their order."""
        return [each for each in self.entries if _index_of_result(each) in self.failures and each != self.output]

    @property
    def failed_alike(self) -> Entry | None:
        """Return the first command or signal with the code and the message that ended the invocation."""
        ended = self.failure.failure_code, self.failure.failure
        failures = ((each, self.failures[_index_of_result(each)]) for each in self.failed)
        return next((each for each, own in failures if (own.failure_code, own.failure) == ended), None)


@dataclass(frozen=True, slots=True)
class RestartPoint:
    """The index of the last entry to keep, or the reason to exclude the invocation; the other one is missing.

    ``failed`` is the command whose failure ended the invocation, if there is one. ``kept`` are the commands that are
    not executed again, and ``repeated`` those that are.
    """

    from_index: int | None
    excluded: str | None = None
    failed: Entry | None = None
    kept: tuple[Entry, ...] = ()
    repeated: tuple[Entry, ...] = ()

    @property
    def failed_type(self) -> str | None:
        """Return the type of the failed command, such as "Run"."""
        return None if self.failed is None else self.failed.entry_type

    @property
    def failed_name(self) -> str | None:
        """Return the name of the failed command: of the step, the called handler, or the promise."""
        return None if self.failed is None else name_of(self.failed)

    @property
    def failed_callee(self) -> str | None:
        """Return the id of the invocation that the failed command called."""
        return self.failed.callee if self.failed is not None and self.failed.entry_type == _CALL else None

    @property
    def repeated_for(self) -> timedelta:
        """Return how long the repeated commands took in total, as far as this is known."""
        known = (each.completed - each.started for each in self.repeated if each.started and each.completed)
        return sum((max(each, timedelta()) for each in known), timedelta())


def choose_restart_point(journal: FailedJournal, override: int | None = None) -> RestartPoint:
    """Return where an invocation restarts: before the failed command, or at the index that the user chose.

    ``override`` is the index of the last entry to keep. It replaces the choice, and its exclusions, but not the limits
    of the server.
    """
    if journal.protocol is None:
        return RestartPoint(None, "it has no deployment, so it cannot be restarted")
    if journal.protocol < FIRST_PROTOCOL:
        old = f"its journal has the first version (protocol {journal.protocol}), which cannot be restarted"
        return RestartPoint(None, old)
    point = _choose(journal) if override is None else _point_at(journal, override, _find_failed(journal))
    if point.from_index is None:
        return point
    reason = reason_against_index(point.from_index, prefix_of(journal.entries, journal.length))
    if reason is None and journal.output is not None and point.from_index >= (journal.output.index or 0):
        reason = f"entry {point.from_index} is the output, or after it: a restart from there fails at once"
    if reason is None and point.from_index > 0 and journal.protocol < PREFIX_PROTOCOL:
        reason = f"it has protocol {journal.protocol}: a restart that keeps entries needs {PREFIX_PROTOCOL} or newer"
    return point if reason is None else RestartPoint(None, reason, point.failed)


def _choose(journal: FailedJournal) -> RestartPoint:
    failed = _find_failed(journal)
    if failed is None:
        if journal.failed:
            failures = ((each, journal.failures[_index_of_result(each)]) for each in journal.failed)
            others = join(f"{describe_entry(each)} ({_one_line(failure)})" for each, failure in failures)
            ended = _one_line(journal.failure)
            return RestartPoint(None, f"its failure is not that of a command: {ended}; failed commands: {others}")
        output = journal.output
        end = journal.length if output is None or output.index is None else output.index
        return _point_at(journal, end - 1, None)
    reason = _reason_against(journal, failed)
    if reason is not None:
        return RestartPoint(None, reason, failed)
    return _point_at(journal, (failed.index or 0) - 1, failed)


def _find_failed(journal: FailedJournal) -> Entry | None:
    """Return the first entry that failed like the invocation; after the last attempt, the first one without a result.

    A handler that fails does not go on after an unhandled failure, so the first one ended it, or the handler handled it
    and a later entry exists, which excludes the invocation.
    """
    if journal.failed_alike is not None or journal.output is not None:
        return journal.failed_alike
    return next((each for each in journal.commands if each.status == ABANDONED), None)


def _point_at(journal: FailedJournal, index: int, failed: Entry | None) -> RestartPoint:
    kept = tuple(each for each in journal.commands if (each.index or 0) <= index)
    return RestartPoint(index, None, failed, kept, tuple(journal.commands[len(kept) :]))


def _reason_against(journal: FailedJournal, failed: Entry) -> str | None:
    """Return why the restart would not be right before a failed entry; None if it is."""
    if not is_command(failed):
        return (
            f"a rejected awakeable or signal (entry {failed.index}) ended it, and a new invocation waits for another "
            f"one: choose the entry before the step that passes on its id, with overrides="
        )
    later = [each for each in journal.commands if (each.index or 0) > (failed.index or 0)]
    if later:
        return _describe_later(failed, later)
    if failed.entry_type in _ATTACHES:
        return f"{describe_entry(failed)} of {failed.callee} would return the same failure again"
    if failed.callee in journal.kept_calls:
        return f"{describe_entry(failed)} has an idempotency key: the same call would return the same failure again"
    return None


def _describe_later(failed: Entry, later: Sequence[Entry]) -> str:
    names = join(map(describe_entry, later))
    command = describe_entry(failed)
    ended = _index_of_result(failed)
    if all((each.index or 0) < ended for each in later):
        return f"{names} ran at the same time as {command}, which failed, and would run again"
    verb = verb_form(len(later), "follows", "follow")
    return f"{plural(len(later), 'command')} {verb} {command}, which failed: {names}, such as a compensation"


def _one_line(failure: Payloads) -> str:
    return one_line(describe_failure(failure), 80)


def describe_failure(failure: Payloads) -> str:
    """Return the code and the message of a failure."""
    code = "" if failure.failure_code is None else f"[{failure.failure_code}] "
    return f"{code}{failure.failure or ''}"


def _index_of_result(entry: Entry) -> int:
    """Return the index of the row that ends an entry; -1 if it has none."""
    return -1 if entry.completion_index is None else entry.completion_index
