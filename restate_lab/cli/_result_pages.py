"""The results of the commands that diagnose as pages of text, and their exit codes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from restate_lab._text import plural
from restate_lab.analysis.contrast import Contrast
from restate_lab.analysis.contrast.model import Role
from restate_lab.analysis.doctor import Diagnosis
from restate_lab.analysis.replay.recording import CANNOT_SAY, FITS, NOT_CHECKABLE
from restate_lab.analysis.replay.result import Replay
from restate_lab.analysis.replay.verdict import DIVERGES, FAILS, OTHER_RESULT
from restate_lab.analysis.waits import Waits
from restate_lab.cli._errors import BAD, INCOMPLETE
from restate_lab.cli._hints import in_a_shell
from restate_lab.cli._page import TextPage
from restate_lab.debugging.to_test.result import RecordedTest
from restate_lab.frames import records

PIPE_WIDTH = 100  # columns per line without a terminal
LONGEST_CONTRAST = 40
_SAME_GROUP: Mapping[str, str] = MappingProxyType(
    {
        Role.SAME_ROWS: "the same invocations",
        Role.INDISTINCT: "equally true",
    }
)
"""Role of a condition that is not a cause of its own → the text before it."""


def doctor_exit_code(diagnosis: Diagnosis, *, strict: bool) -> int:
    """Return 3 for a critical finding, 4 if some checks could not run, and otherwise 0."""
    bad = {"critical", "warning"} if strict else {"critical"}
    if set(diagnosis.findings["severity"]) & bad:
        return BAD
    return INCOMPLETE if diagnosis.not_read["applies"].any() else 0


def replay_exit_code(result: Replay) -> int:
    """Return 3 if an invocation diverges or fails, 4 if the check cannot say for every invocation, otherwise 0."""
    if result.verdict in {DIVERGES, FAILS}:
        return BAD
    return 0 if result.verdict in {FITS, OTHER_RESULT} else INCOMPLETE


def waits_exit_code(waits: Waits) -> int:
    """Return 3 for a deadlock that cannot end by itself, 4 if not everything was read, and otherwise 0."""
    if waits.deadlocks["certain"].any():
        return BAD
    return INCOMPLETE if waits.reasons else 0


def print_contrast(result: Contrast, page: TextPage) -> None:
    is_sure = not result.doubt
    for at, line in enumerate(result.summary.splitlines()):
        page.paragraph((in_a_shell(line), "" if at else "bold" if is_sure else "dim"))
    page.paragraph((result.where, "dim"))
    for row in records(result.conditions):
        _print_condition(row, page, is_sure=is_sure)
    page.blank()
    for line in result.notes:
        page.paragraph(in_a_shell(line))


def _print_condition(row: Mapping[Any, Any], page: TextPage, *, is_sure: bool) -> None:
    """Print a cause with a bar for each side; the other conditions of its group are lines below it."""
    if row["role"] in _SAME_GROUP:
        page.paragraph(str(row["condition"]), first=f"   {_SAME_GROUP[row['role']]}: ")
        return
    page.blank()
    name = f"{row['group']}. " if row["group"] else "in a burst: "
    page.paragraph((str(row["condition"]), "bold"), first=name, style="bold")
    width = min((page.width or PIPE_WIDTH) - 40, LONGEST_CONTRAST)
    for side, style in (("failing", "red"), ("healthy", "green")):
        met, total = int(row[f"{side}_with"]), int(row[side])
        bar = "█" * math.ceil(width * met / total) if total else ""
        page.paragraph(
            (bar, style if is_sure else "dim"),
            " " * (width - len(bar)),
            f"  {met:,} of {total:,}",
            first=f"   {side}  ",
        )


def print_replay(result: Replay, page: TextPage) -> None:
    styles = {
        DIVERGES: "red",
        FAILS: "red",
        CANNOT_SAY: "yellow",
        NOT_CHECKABLE: "yellow",
        OTHER_RESULT: "dim",
        FITS: "green",
    }
    totals = result.summary, f"bold {styles[result.verdict]}"
    page.paragraph(totals)
    page.paragraph((result.where, "dim"))
    for row in records(result.groups):
        page.blank()
        about = f" {plural(row['invocations'], 'invocation')} of {row['handler']}, for example {row['example_id']}"
        page.paragraph((row["verdict"].upper(), styles[row["verdict"]]), (about, "bold"))
        page.paragraph(f"{row['reason']}.", first="  ")
        if row["command_index"] is not None:
            page.paragraph(str(row["recorded"]), first=f"  recorded {row['command_index']}: ")
            page.paragraph(str(row["now"]), first=f"  now      {row['command_index']}: ")
    reasons = result.not_read["reason"].value_counts()
    if len(reasons):
        page.blank()
        page.paragraph(("NOT CHECKED", "yellow"))
        for reason, count in reasons.items():
            page.paragraph(f"{plural(int(count), 'invocation')}: {reason}", first="  ")
    page.blank()
    for each in result.warnings:
        page.paragraph((each, "dim"))
    page.paragraph(totals)


def print_recorded_test(result: RecordedTest, page: TextPage) -> None:
    page.paragraph((result.outcome, "bold red" if result.is_as_recorded else "bold"))
    page.paragraph((result.where, "dim"))
    for line in result.lines:
        page.paragraph((line, "dim") if line.startswith("note: ") else line)
