"""The approval of a change by a person, which never passes through the assistant.

A request has the text that the person reads, the digest of the targets, and a random number. The server stores it in a
file that only its user can read. ``restate-lab mcp approve`` shows the text in a terminal and writes the digest of the
request. The server claims this approval once, before the request expires, and compares it with its own copy of the
request. A program that can write these files can approve, so the protection is their mode. The random number makes an
approval of an earlier request worthless.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import platformdirs

from restate_lab._files import PrivateFolder
from restate_lab._text import format_time
from restate_lab.errors import ArgumentError, PlanExpired
from restate_lab.identity import ClusterIdentity

_ID = re.compile(r"(?:plan|replay)-[0-9a-f]{8}")
_LETTERS = "acdefhjkmnpqrtuvwxy3479"  # no two of them look alike
_CODE_LENGTH = 4
_PENDING, _APPROVED = ".pending", ".approved"
_LONGEST_FILE = 1 << 20
_KEPT_SECONDS = 24 * 3600
_FORMAT = 2  # the version of a stored request; 1 had no identity of the cluster


def new_request_id(kind: str) -> str:
    """Return a new id: "plan-" or "replay-" and eight digits."""
    return f"{kind}-{secrets.token_hex(4)}"


def approval_code() -> str:
    """Return a code that only a terminal shows."""
    return "".join(secrets.choice(_LETTERS) for _ in range(_CODE_LENGTH))


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """A change that waits for a person: ``expected`` is the answer, such as the number of invocations.

    ``targets`` is the digest of everything that the change acts on, because the text does not list all of it.
    ``cluster`` is the cluster that has these targets; None for a source that is not live, which stays the same.
    """

    id: str
    text: str
    question: str
    expected: str
    targets: str
    expires_at: datetime
    cluster: ClusterIdentity | None = None
    nonce: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    @property
    def command(self) -> str:
        """Return the command for the person's terminal."""
        return f"restate-lab mcp approve {self.id}"

    @property
    def digest(self) -> str:
        """Return the digest of everything that the person reads and answers, of the targets, and of the nonce."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def is_same(self, other: ApprovalRequest) -> bool:
        """Return whether a person would read the same in both, about the same targets."""
        return self == replace(other, id=self.id, expires_at=self.expires_at, nonce=self.nonce, cluster=self.cluster)

    def to_json(self) -> str:
        """Return the request as JSON."""
        stored = {"expires_at": self.expires_at.isoformat(), "cluster": self.cluster and self.cluster.to_json()}
        return json.dumps({"format": _FORMAT, **asdict(replace(self, cluster=None)), **stored})

    def check_cluster(self, reason: str) -> None:
        """Raise PlanExpired if there is a reason why the cluster is not proven to be the one of the request."""
        if reason:
            raise PlanExpired(
                f"{self.id} was not executed, nothing was sent, and its approval was not used: {reason}. Connect to "
                f"the cluster of the request, or make a new one with the same tools and arguments, and review it."
            )

    def check_time(self) -> None:
        """Raise PlanExpired if the request is too old."""
        if datetime.now(UTC) > self.expires_at:
            raise PlanExpired(f"{self.id} expired at {format_time(self.expires_at)}; make a new one and review it.")


class ApprovalStore:
    """The files of requests and approvals in the user's state folder."""

    def __init__(self, folder: Path | None = None) -> None:
        path = folder or platformdirs.user_state_path("restate_lab") / "approvals"
        self._files = PrivateFolder(path, longest=_LONGEST_FILE)

    def save(self, request: ApprovalRequest) -> None:
        """Store a request for the terminal; an approval that a person gives meanwhile stays."""
        self._files.remove_older(_KEPT_SECONDS)
        self._files.write(_file_name(request.id, _PENDING), request.to_json())

    def load(self, request_id: str) -> ApprovalRequest:
        """Return a request that a server stored.

        Raises:
            ArgumentError: the request does not exist, or other users could have changed its file.
            PlanExpired: it is too old.
        """
        name = _file_name(request_id, _PENDING)
        try:
            text = self._files.read(name)
        except FileNotFoundError as error:
            raise ArgumentError(
                f"the request {request_id} does not exist: it was executed, or it has another id."
            ) from error
        try:
            values = json.loads(text)
            version = values.pop("format")
            if version == _FORMAT:
                values["cluster"] = ClusterIdentity.from_json(values["cluster"])
                request = ApprovalRequest(**values | {"expires_at": datetime.fromisoformat(values["expires_at"])})
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ArgumentError(
                f"the request {request_id} cannot be read; ask the assistant for a new plan."
            ) from error
        if version != _FORMAT:
            raise ArgumentError(
                f"the request {request_id} has format {repr(version)[:20]}, and this restate_lab reads format "
                f"{_FORMAT}: approve it with the version of restate-lab that runs the server."
            )
        if request.id != request_id:
            raise ArgumentError(f"the file of the request {request_id} has another request; ask for a new plan.")
        request.check_time()
        return request

    def approve(self, request: ApprovalRequest) -> None:
        """Store the digest of a request, for the server."""
        request.check_time()
        self._files.write(_file_name(request.id, _APPROVED), request.digest)

    def take(self, request: ApprovalRequest) -> bool:
        """Return whether a person approved exactly this request, and remove the approval: it is valid once.

        Of several threads and processes that take one approval, one gets it: the file can be renamed once.

        Raises:
            PlanExpired: the request is too old.
        """
        request.check_time()
        approved = _file_name(request.id, _APPROVED)
        claimed = f"{approved}.{secrets.token_hex(8)}"
        if not self._files.claim(approved, claimed):
            return False
        try:
            is_approved = self._files.read(claimed) == request.digest
        finally:
            self._files.remove(claimed)
        if is_approved:
            self.discard(request)
        return is_approved

    def discard(self, request: ApprovalRequest) -> None:
        """Remove the files of a request."""
        self._files.remove(*(_file_name(request.id, ending) for ending in (_PENDING, _APPROVED)))


def _file_name(request_id: str, ending: str) -> str:
    if not _ID.fullmatch(request_id):
        raise ArgumentError(f"invalid plan {request_id[:40]!r}; use the id that the assistant shows: plan-1a2b3c4d.")
    return f"{request_id}{ending}"
