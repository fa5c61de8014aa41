"""The errors of a replay in this process: one class for each action that the caller can take next.

They are defined here, because tests of users import them with the standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence


class ReplayError(Exception):
    """A recorded journal was not replayed to its end; catch this class to catch every error of this package."""


class UnusableRecord(ReplayError):
    """Use another recording: this one is incomplete, or its form is unknown."""


class AppNotFound(ReplayError):
    """Correct ``app``: the module, the attribute or the Restate app in it does not exist, or its import failed."""


class HandlerNotFound(ReplayError):
    """Pass the app that serves the recorded handler."""


class Diverges(ReplayError):
    """The code takes another path than the recording: entry ``entry`` is ``recorded``, and the code issues ``now``."""

    def __init__(self, message: str, *, entry: int | None = None, recorded: str = "", now: str = "") -> None:
        super().__init__(message)
        self.entry, self.recorded, self.now = entry, recorded, now


class StepWithoutResult(ReplayError):
    """Give ``answers`` for ``steps``, or name them in ``run_steps``: they have no recorded result, and did not run."""

    def __init__(self, message: str, *, steps: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.steps = tuple(steps)


class NetworkUsed(ReplayError, OSError):
    """Put the use of the network or the program into a step, or pass ``allow_network=True``; it was refused.

    It is an OSError, so that libraries close their sockets. A use whose error was caught is raised at the end, but not
    if ``is_import``: modules try at their import whether there is a network.
    """

    is_import = False


class ReplayTimedOut(ReplayError):
    """The code did not end within the time limit."""


class HandlerFailed(ReplayError):
    """Read the message: the handler failed, and its exception is not known, only its text."""
