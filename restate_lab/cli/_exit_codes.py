"""The exit codes of the commands that diagnose."""

from __future__ import annotations

from restate_lab.analysis.doctor import Diagnosis
from restate_lab.analysis.replay.recording import FITS
from restate_lab.analysis.replay.result import Replay
from restate_lab.analysis.replay.verdict import DIVERGES, FAILS, OTHER_RESULT
from restate_lab.analysis.waits import Waits
from restate_lab.cli._errors import BAD, INCOMPLETE


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
