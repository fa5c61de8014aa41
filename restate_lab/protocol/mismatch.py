"""What an SDK reports when code does not follow a journal: the codes, and what the texts for people contain.

Observed with the SDKs for Python (0.10 to 1.3) and TypeScript (1.7 to 1.17).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from restate_lab.protocol.commands import RecordedCommand, describe_command
from restate_lab.protocol.messages import ErrorMessage

MISMATCH, VIOLATION = 570, 571
_AWAIT = "could not be replayed"  # the SDKs' text for an await that has no recorded result
_AWAITED = re.compile(r"^ *- (?P<what>[^\n]{1,500})$", re.MULTILINE)
_DIFFERENCE = re.compile(r"^[^\S\n]*+(?P<field>[\w .]{1,40}+): [^\n]* != ", re.MULTILINE)
_RUN = re.compile(r"run \[(.*)\]")
_COMPLETION = re.compile(r"completion id (\d{1,9})")
CANCELLATION = "Cancellation"
"""The code awaits it at every await, so it does not tell anything."""


def is_await(error: ErrorMessage | None) -> bool:
    """Return whether the code awaits a result that the journal does not have."""
    return error is not None and error.code == MISMATCH and _AWAIT in error.message


def awaited_texts(message: str) -> list[str]:
    """Return what the code awaits, without the cancellation: "run [seal]", "completion id 3", "Awakeable sign_1…"."""
    return [match["what"] for match in _AWAITED.finditer(message) if match["what"] != CANCELLATION]


def awaited_run(text: str) -> str | None:
    """Return the name of the step that is awaited; None for another text."""
    run = _RUN.fullmatch(text)
    return run[1] if run else None


def describe_awaited(text: str, commands: Iterable[RecordedCommand]) -> str | None:
    """Return the command whose result is awaited, as people know it; None if the text names none of the commands."""
    if (run := awaited_run(text)) is not None:
        return describe_command("Run", run)
    completion = _COMPLETION.fullmatch(text)
    number = int(completion[1]) if completion else None
    return next((str(each) for each in commands if number is not None and each.completion == number), None)


def different_fields(message: str) -> list[str]:
    """Return the names of the fields that differ from the recorded command; their values are not returned."""
    return list(dict.fromkeys(match["field"].strip() for match in _DIFFERENCE.finditer(message)))
