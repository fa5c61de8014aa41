"""Every exception and warning of restate_lab: one class for each next step of the caller.

The tree::

    RestateLabError
    ├── ArgumentError           an argument of a call is malformed; nothing was sent
    ├── SettingsError           the environment does not exist, is contradicted, or its configuration is broken
    ├── StatementError          this SQL is never sent: it changes something, or it would hurt the server
    │   └── ParameterError      a :name parameter is missing, unused, or has a value SQL cannot hold
    ├── Unreachable             no response: refused, reset, wrong address, a gateway that gives up
    ├── TimedOut                the time limit of the call was over first
    ├── AccessDenied            401 or 403: the token is missing, wrong or expired
    ├── RateLimited             429 for longer than a read is repeated
    ├── RequestRefused          the server understood the request and refused it
    │   ├── NotFound            there is nothing of this id or name
    │   ├── Conflict            it exists, in a state that does not allow this
    │   │   └── StateConflict   the state of an object is not the one that was read
    │   └── QueryRefused        the SQL does not parse, plan or run
    │       └── UnknownName     a table, column or function that this server does not have
    ├── ServerFailed            the server broke (5xx), or what answered is not a Restate server
    ├── QueryInterrupted        the response broke off; a part of the rows is never returned as all
    ├── ResultTooLarge          the result is larger than ``max_bytes``
    ├── NotOnThisServer         this server's version or kind does not have it
    ├── InvocationFailed        the invocation ended in failure, which is its result
    ├── NotReady                the invocation has not ended, so it has no output yet
    ├── PlanExpired             a plan was executed already, or is too old: make it again
    ├── EvidenceBroken          the evidence is incomplete or was changed, or the folder is not evidence
    ├── MissingExtra            an optional part of restate_lab is not installed
    ├── MissingProgram          a program that is needed, such as Chromium, is not installed
    ├── ReadOnly                a change on a connection that may only read
    ├── AuditFailed             the audit record cannot be written, so nothing was sent
    └── OutcomeUnknown          a change was sent and its response was lost: read before repeating it

``Interrupted`` is a KeyboardInterrupt outside of the tree: an execution was interrupted, and its outcome is complete.

Warnings: ``Truncated`` (rows of a result were cut off), ``SettingsWarning`` (a .env file that the CLI would
read is not read), ``DuplicateColumns`` (two result columns had one name), ``AuditIncomplete`` (a change was sent, and
its result could not be written down), ``EvidenceWarning`` (evidence is incomplete, or was not verified),
``UntriedServer`` (a server older than any on which restate_lab was tried).

A message holds the request, the response, the Restate code where there is one, and what to do next.

A notebook shows an error of this tree as one short block in place of its traceback; ``tracebacks()`` changes that.
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
    "ArgumentError",
    "AuditFailed",
    "AuditIncomplete",
    "Conflict",
    "DuplicateColumns",
    "EvidenceBroken",
    "EvidenceWarning",
    "Interrupted",
    "InvocationFailed",
    "MissingExtra",
    "MissingProgram",
    "NotFound",
    "NotOnThisServer",
    "NotReady",
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
    "TimedOut",
    "Truncated",
    "UnknownName",
    "Unreachable",
    "UntriedServer",
    "tracebacks",
]

TracebackMode = Literal["short", "full"]
_LONGEST = 8_000  # characters of a message


class _ShortTraceback:
    """Let IPython show an error as one short block: the message, its notes, and the user's own line."""

    # The one setting of this package that is not an argument: IPython renders an error long after the call that raised
    # it, and passes nothing. It is not a ContextVar, because each cell of a kernel may run in a context of its own.
    mode: ClassVar[TracebackMode] = "short"

    @property
    def _render_traceback_(self: Any) -> Callable[[], list[str]]:
        """Return what IPython calls in place of rendering a traceback; with full tracebacks there is no such method."""
        if _ShortTraceback.mode == "full":
            raise AttributeError("full tracebacks are on")
        return lambda: render_block(self)


def tracebacks(mode: TracebackMode | None = None, /) -> TracebackMode:
    """Set how notebooks show an error of restate_lab, and return the mode in effect; None changes nothing.

        rl.tracebacks("full")      # all frames, as of any other error: for developers of restate_lab
        rl.tracebacks("short")     # the default: the message, the place in the statement, and your own line

    The mode is that of the whole process. In both modes an error has the same class, message and ``__traceback__``, and
    programs outside of IPython print the usual traceback.

    Raises:
        ArgumentError: it is another mode.
    """
    if mode is None:
        return _ShortTraceback.mode
    if mode not in get_args(TracebackMode):
        raise ArgumentError(f"there is no traceback mode {mode!r}; choose 'short' or 'full'.")
    _ShortTraceback.mode = mode
    return mode


class RestateLabError(_ShortTraceback, Exception):
    """Catch whatever restate_lab raises on purpose."""

    def __str__(self) -> str:
        text = super().__str__()
        more = len(text) - _LONGEST
        return escape_invisible(text if more <= 0 else f"{text[:_LONGEST]} … ({more:,} characters more)")


class ArgumentError(RestateLabError, ValueError):
    """Correct the argument named in the message; nothing was sent."""


class SettingsError(RestateLabError):
    """Correct the address, the environment name or the configuration file named in the message."""


class StatementError(RestateLabError, ValueError):
    """Rewrite the statement; it was not sent."""


class ParameterError(StatementError):
    """Correct the ``:name`` parameter named in the message; the statement was not sent."""


class Unreachable(RestateLabError, ConnectionError):
    """Check the address and the network; no answer came."""


class TimedOut(RestateLabError, TimeoutError):
    """Allow more time (``timeout=``), or ask for less."""


class AccessDenied(RestateLabError):
    """Get a valid token for the environment named in the message."""


class RateLimited(RestateLabError):
    """Wait as the server asks.

    ``retry_after`` is in seconds, or None where the server did not say.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RequestRefused(RestateLabError):
    """Change the request: the server understood it and said no.

    ``status`` is the HTTP status, ``code`` the Restate code ("META0003") or None, ``reason`` the server's own words.
    """

    def __init__(self, message: str, *, status: int, code: str | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.reason = reason


class NotFound(RequestRefused):
    """Check the id or name: it does not exist here (any more)."""


class Conflict(RequestRefused):
    """Read the current state: it does not allow this."""


class StateConflict(Conflict):
    """Decide between two values: the state of an object changed after it was read.

    Three whole states, by key: ``before`` was read, ``mine`` is what it should have become, ``theirs`` is there now.
    ``sent`` tells whether the change went to the server, which leaves a state of another version alone.
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
    """Correct the SQL; ``reason`` holds the server's own words."""


class UnknownName(QueryRefused):
    """Use a name the server has; ``suggestions`` holds the nearest, best first."""

    def __init__(
        self, message: str, *, status: int, code: str | None = None, reason: str = "", suggestions: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, status=status, code=code, reason=reason)
        self.suggestions = suggestions


class ServerFailed(RestateLabError):
    """Look at the server's log, or at what stands between you and it.

    ``status`` is the HTTP status, or 0 where the server closed the connection without one; ``code`` is the Restate code
    or None, ``reason`` what was said.
    """

    def __init__(self, message: str, *, status: int, code: str | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.reason = reason


class QueryInterrupted(RestateLabError):
    """Run the query again; its answer broke off.

    ``rows`` says how many rows had come; ``partial`` holds them as a pyarrow.Table, or None for a stream,
    whose rows the caller has already seen.
    """

    def __init__(self, message: str, *, rows: int, partial: pa.Table | None = None) -> None:
        super().__init__(message)
        self.rows = rows
        self.partial = partial


class ResultTooLarge(RestateLabError):
    """Ask for less, or stream it to a file; ``rows`` and ``size`` (bytes) say what had come."""

    def __init__(self, message: str, *, rows: int, size: int) -> None:
        super().__init__(message)
        self.rows = rows
        self.size = size


class NotOnThisServer(RestateLabError):
    """Use a server whose version or kind has this; the message names both."""


class InvocationFailed(RestateLabError):
    """Look at what the handler says: the invocation ended in failure.

    ``status`` is the failure's code, ``reason`` its message.
    """

    def __init__(self, message: str, *, status: int, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class NotReady(RestateLabError):
    """Ask again later, or attach: the invocation has not ended."""


class PlanExpired(RestateLabError):
    """Make the plan again and look at it: it was executed already, or is older than 15 minutes; nothing was sent."""


class EvidenceBroken(RestateLabError):
    """Get the evidence again from where it was frozen: the file named in the message is not what was written then."""


class MissingExtra(RestateLabError, ImportError):
    """Install the extra that the message names."""


class MissingProgram(RestateLabError):
    """Install the program that the message names, or say where it is."""


class ReadOnly(RestateLabError, PermissionError):
    """Connect without ``read_only`` to change anything."""

    def __str__(self) -> str:
        return f"{super().__str__()} To change something, connect without read_only=True and RESTATE_LAB_READ_ONLY."


class AuditFailed(RestateLabError):
    """Make the audit folder writable; nothing was sent."""


class OutcomeUnknown(RestateLabError):
    """Read the present state before repeating: the change was sent and its answer was lost.

    ``never_forwarded``: a gateway says that it did not forward the request, which is likely and not certain.
    """

    def __init__(self, message: str, *, never_forwarded: bool = False) -> None:
        super().__init__(message)
        self.never_forwarded = never_forwarded


class Interrupted(_ShortTraceback, KeyboardInterrupt):
    """Read ``outcome``: you interrupted an execution, and what was done by then stays done.

    It ends like any interrupt, so that cells that wait to run do not run on; ``outcome`` is the frame, complete.
    """

    def __init__(self, message: str, outcome: pd.DataFrame) -> None:
        super().__init__(message)
        self.outcome = outcome


class Truncated(UserWarning):
    """Something was cut; ``frame.attrs["truncated"]`` says what."""


class SettingsWarning(UserWarning):
    """A file that the restate CLI would obey is not obeyed, or a variable leads away from what was named."""


class DuplicateColumns(UserWarning):
    """Two columns of a result had the same name and were made distinct."""


class AuditIncomplete(UserWarning):
    """A change was sent, and its result could not be written to the audit log."""


class EvidenceWarning(UserWarning):
    """Evidence is less, or less sure, than was meant; the message and the manifest say in what."""


class UntriedServer(UserWarning):
    """The server is older than any on which restate_lab was tried; what explains or plans refuses to."""
