"""Every exception and warning of restate_lab: one class for each action that the caller can take next.

The tree::

    RestateLabError
    ├── ArgumentError           an argument of a call is malformed; nothing was sent
    ├── NoSuchName              restate_lab, or an object of it, has no attribute of this name
    ├── SettingsError           the environment is unknown, or its configuration is invalid or contradictory
    ├── StatementError          the SQL was not sent: it changes data, or it could crash or stall the server
    │   └── ParameterError      a :name parameter is missing or unused, or SQL cannot represent its value
    ├── Unreachable             no response: connection refused or reset, wrong address, or gateway timeout
    ├── TimedOut                the call reached its time limit
    ├── AccessDenied            401 or 403: the token is missing, wrong or expired
    ├── RateLimited             429, also after the read was repeated
    ├── RequestRefused          the server rejected the request
    │   ├── NotFound            there is nothing with this id or name
    │   ├── Conflict            the current state does not allow the request
    │   │   └── StateConflict   the state of an object changed after it was read
    │   └── QueryRefused        the server cannot parse, plan or run the SQL
    │       └── UnknownName     this server does not have the table, column or function
    ├── ServerFailed            the server failed (5xx), or the response is not from a Restate server
    ├── QueryInterrupted        the response is incomplete; its rows are never returned as the full result
    ├── ResultTooLarge          the result is larger than ``max_bytes``
    ├── NotOnThisServer         this version or kind of server does not support it
    ├── InvocationFailed        the invocation ended with a failure
    ├── StepRan                 a step ran, or can have run, during a replay check, which was ended
    ├── NotReplayable           the recorded journal cannot be run: it is incomplete, masked, or has an unknown form
    ├── NetworkRefused          code outside of steps used the network or started a program in a replay in this process
    ├── NotReady                the invocation has not ended, so it has no output yet
    ├── PlanExpired             the plan was already executed, or is too old: make it again
    ├── ArchiveBroken           the archive is damaged or cannot be written, or the folder is not an archive
    ├── EvidenceBroken          the evidence is incomplete or was changed, or the folder is not evidence
    ├── MissingExtra            an optional part of restate_lab, or one for notebooks, is not installed
    ├── MissingProgram          a required program, such as Chromium, is not installed
    ├── ReadOnly                the connection is read-only, so the change was not sent
    ├── AuditFailed             the audit record cannot be written, so nothing was sent
    ├── WriteFailed             a file cannot be written, for example because the disk is full
    └── OutcomeUnknown          a change was sent, but its response was lost: read the state before you repeat it

``Interrupted`` is a KeyboardInterrupt outside of the tree: you interrupted an execution. Its outcome is complete.

Warnings: ``Truncated`` (rows or lines are missing), ``SettingsWarning`` (a .env file that the CLI would read is
ignored), ``DuplicateColumns`` (two result columns had the same name), ``AuditIncomplete`` (a change was sent, but its
result could not be written to the audit log), ``EvidenceWarning`` (evidence is incomplete or unverified),
``UnencryptedWarning`` (journals are sent without encryption), ``UntriedServer`` (the server is older than every
version that restate_lab was tested with), ``HalfCharacter`` (a part of a text was replaced in a file),
``ImpossibleValue`` (a result is empty because a status does not exist).

A message has the request, the response, the Restate code if there is one, and the action to take.

A notebook shows an error of this tree as one short block instead of a traceback; ``tracebacks()`` changes that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from restate_lab._text import escape_invisible
from restate_lab._traceback import render_block

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = [
    "AccessDenied",
    "ArchiveBroken",
    "ArgumentError",
    "AuditFailed",
    "AuditIncomplete",
    "Conflict",
    "DuplicateColumns",
    "EvidenceBroken",
    "EvidenceWarning",
    "HalfCharacter",
    "ImpossibleValue",
    "Interrupted",
    "InvocationFailed",
    "MissingExtra",
    "MissingProgram",
    "NetworkRefused",
    "NoSuchName",
    "NotFound",
    "NotOnThisServer",
    "NotReady",
    "NotReplayable",
    "OutcomeUnknown",
    "ParameterError",
    "PlanExpired",
    "QueryInterrupted",
    "QueryRefused",
    "RateLimited",
    "ReadOnly",
    "RequestRefused",
    "RestateLabError",
    "ResultTooLarge",
    "ServerFailed",
    "SettingsError",
    "SettingsWarning",
    "StateConflict",
    "StatementError",
    "StepRan",
    "TimedOut",
    "Truncated",
    "UnencryptedWarning",
    "UnknownName",
    "Unreachable",
    "UntriedServer",
    "WriteFailed",
    "tracebacks",
]

TracebackMode = Literal["short", "full"]
_LONGEST = 8_000  # characters of a message


class _ShortTraceback:
    """Let IPython show an error as one short block: the message, its notes, and the user's own line."""

    # This is the only setting of the package that is not an argument: IPython renders an error after the call that
    # raised it, and passes no arguments. It is not a ContextVar, because each cell can have its own context.
    mode: ClassVar[TracebackMode] = "short"

    @property
    def _render_traceback_(self: Any) -> Callable[[], list[str]]:
        """Return the function that IPython calls instead of rendering a traceback.

        In the mode "full" the attribute does not exist, so IPython shows its usual traceback.
        """
        if _ShortTraceback.mode == "full":
            raise AttributeError("full tracebacks are on")
        return lambda: render_block(self)


def tracebacks(mode: TracebackMode | None = None, /) -> TracebackMode:
    """Set how notebooks show an error of restate_lab, and return the current mode; None does not change it.

        rl.tracebacks("full")      # all frames, as for other errors: for developers of restate_lab
        rl.tracebacks("short")     # the default: the message, the place in the statement, and your line of code

    The mode applies to the whole process. An error has the same class, message and ``__traceback__`` in both modes.
    Programs outside of IPython always print the usual traceback.

    Raises:
        ArgumentError: the mode is unknown.
    """
    if mode is None:
        return _ShortTraceback.mode
    if str(mode) not in get_args(TracebackMode):
        raise ArgumentError(f"unknown traceback mode {mode!r}; choose 'short' or 'full'.")
    _ShortTraceback.mode = mode
    return mode


class RestateLabError(_ShortTraceback, Exception):
    """Catch this class to catch every error that restate_lab raises on purpose."""

    def __str__(self) -> str:
        text = super().__str__()
        more = len(text) - _LONGEST
        return escape_invisible(text if more <= 0 else f"{text[:_LONGEST]} … ({more:,} characters more)")


class ArgumentError(RestateLabError, ValueError):
    """Correct the argument named in the message; nothing was sent."""


class NoSuchName(RestateLabError, AttributeError):
    """Use the name that the message suggests: ``restate_lab`` or the object does not have this one."""


class SettingsError(RestateLabError):
    """Correct the address, the environment name or the configuration file named in the message."""


class StatementError(RestateLabError, ValueError):
    """Rewrite the statement; it was not sent."""


class ParameterError(StatementError):
    """Correct the ``:name`` parameter named in the message; the statement was not sent."""


class Unreachable(RestateLabError, ConnectionError):
    """Check the address and the network; no response arrived."""


class TimedOut(RestateLabError, TimeoutError):
    """Allow more time (``timeout=``), or request less data."""


class AccessDenied(RestateLabError):
    """Get a valid token for the environment named in the message."""


class RateLimited(RestateLabError):
    """Wait before you try again.

    ``retry_after`` is the wait that the server asks for, in seconds; None if it sent none.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class _ResponseError(RestateLabError):
    def __init__(self, message: str, *, status: int, code: str | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.reason = reason


class RequestRefused(_ResponseError):
    """Change the request: the server rejected it.

    ``status`` is the HTTP status, ``code`` the Restate code ("META0003") or None, ``reason`` the server's message.
    """


class NotFound(RequestRefused):
    """Check the id or name: it does not exist here, or was removed."""


class Conflict(RequestRefused):
    """Read the current state: it does not allow this request."""


class StateConflict(Conflict):
    """Decide between two values: the state of an object changed after it was read.

    There are three complete states, by key: ``before`` is the state that was read, ``mine`` the state to write, and
    ``theirs`` the current state. ``sent`` is True if the change was sent; then the server did not apply it, because the
    version of the state is a different one.
    """

    def __init__(
        self,
        message: str,
        *,
        before: Mapping[str, Any],
        mine: Mapping[str, Any],
        theirs: Mapping[str, Any],
        sent: bool,
        reason: str = "",
    ) -> None:
        super().__init__(message, status=409, reason=reason)
        self.before = before
        self.mine = mine
        self.theirs = theirs
        self.sent = sent


class QueryRefused(RequestRefused):
    """Correct the SQL; ``reason`` is the server's message."""


class UnknownName(QueryRefused):
    """Use a name that the server has; ``suggestions`` has the most similar names, best first."""

    def __init__(
        self, message: str, *, status: int, code: str | None = None, reason: str = "", suggestions: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, status=status, code=code, reason=reason)
        self.suggestions = suggestions


class ServerFailed(_ResponseError):
    """Read the log of the server, or of the proxy or gateway in front of it.

    ``status`` is the HTTP status, or 0 if the server closed the connection without one. ``code`` is the Restate code or
    None, ``reason`` the message of the response.
    """


class QueryInterrupted(RestateLabError):
    """Run the query again: its response ended early.

    ``rows`` is the number of rows that arrived. ``partial`` has them as a pyarrow.Table, or None for a stream, whose
    rows the caller already has.
    """

    def __init__(self, message: str, *, rows: int, partial: pa.Table | None = None) -> None:
        super().__init__(message)
        self.rows = rows
        self.partial = partial


class ResultTooLarge(RestateLabError):
    """Request less data, or stream it to a file; ``rows`` and ``size`` (bytes) count the data that arrived."""

    def __init__(self, message: str, *, rows: int, size: int) -> None:
        super().__init__(message)
        self.rows = rows
        self.size = size


class NotOnThisServer(RestateLabError):
    """Use a server that supports this; the message names the required version or kind."""


class InvocationFailed(_ResponseError):
    """Read the handler's message: the invocation ended with a failure.

    ``status`` is the code of the failure, ``reason`` its message.
    """


class StepRan(RestateLabError):
    """Find out what the code did: a replay check was ended because a step ran, or can have run, during it.

    The SDK of the deployment did not obey the stop command: a step ran, or the code issued another command after its
    journal. Do not check this deployment again.
    """


class NotReplayable(RestateLabError):
    """Use another recording: the journal was purged, has no payloads or masked ones, or has an unknown form."""


class NetworkRefused(RestateLabError):
    """Put the code that uses the network or starts a program into a step, or pass ``allow_network=True``."""


class NotReady(RestateLabError):
    """Try again later, or attach: the invocation has not ended."""


class PlanExpired(RestateLabError):
    """Make the plan again and review it. Nothing was sent.

    It was already executed, is older than 15 minutes, or was made for a cluster that may be another one than this.
    """


class EvidenceBroken(RestateLabError):
    """Copy the evidence again from its origin: the file named in the message is missing or was changed."""


class ArchiveBroken(RestateLabError):
    """Follow the message: the archive is damaged or cannot be written, or the folder is not an archive."""


class MissingExtra(RestateLabError, ImportError):
    """Run the command that the message has: it installs the extra, or the packages of notebooks and plots."""


class MissingProgram(RestateLabError):
    """Install the program that the message names, or pass its location."""


class ReadOnly(RestateLabError, PermissionError):
    """Connect without ``read_only`` to make changes."""

    def __str__(self) -> str:
        return f"{super().__str__()} To make changes, connect without read_only=True and unset RESTATE_LAB_READ_ONLY."


class AuditFailed(RestateLabError):
    """Make the audit folder writable; nothing was sent."""


class WriteFailed(RestateLabError, OSError):
    """Make room on the disk that the message names, or pass another path: a file could not be written."""


class OutcomeUnknown(RestateLabError):
    """Read the current state before you repeat the change: it was sent, but its response was lost.

    ``never_forwarded`` is True if a gateway reports that it did not forward the request. That is likely, not certain.
    """

    def __init__(self, message: str, *, never_forwarded: bool = False) -> None:
        super().__init__(message)
        self.never_forwarded = never_forwarded


class Interrupted(_ShortTraceback, KeyboardInterrupt):
    """Read ``outcome``: you interrupted an execution, and the changes made before that remain.

    It is a KeyboardInterrupt, so that Jupyter does not run the queued cells. ``outcome`` is the complete frame.
    """

    def __init__(self, message: str, outcome: pd.DataFrame) -> None:
        super().__init__(message)
        self.outcome = outcome


class Truncated(UserWarning):
    """A result is incomplete; ``frame.attrs["truncated"]`` describes what is missing."""


class SettingsWarning(UserWarning):
    """A .env file that the restate CLI would read is ignored; the message has its variables."""


class DuplicateColumns(UserWarning):
    """Two columns of a result had the same name and were made distinct."""


class AuditIncomplete(UserWarning):
    """A change was sent, but its result could not be written to the audit log."""


class EvidenceWarning(UserWarning):
    """The evidence is incomplete or unverified; the message and the manifest have the details."""


class HalfCharacter(UserWarning):
    """A text has half of a character, which this format of a file cannot hold; U+FFFD is written in its place."""


class ImpossibleValue(UserWarning):
    """A result is empty because the statement compares a column with a value that it never has."""


class UnencryptedWarning(UserWarning):
    """Recorded journals, or the payloads of agents, are sent without encryption to another machine."""


class UntriedServer(UserWarning):
    """The server is older than every version that restate_lab was tested with; explanations and plans are refused."""
