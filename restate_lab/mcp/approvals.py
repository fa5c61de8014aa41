"""The approval of a change by a person, which never passes through the assistant.

A request has the text that the person reads, the digest of the targets, and a random number. The server stores it in a
file that only its user can read. ``restate-lab mcp approve`` shows the text in a terminal and writes the digest of the
request. The server claims this approval once, before the request expires, and compares it with its own copy of the
request. A program that can write these files can approve, so the protection is their mode. The random number makes an
approval of an earlier request worthless.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import platformdirs

from restate_lab._text import format_time
from restate_lab.errors import ArgumentError, PlanExpired

_ID = re.compile(r"(?:plan|replay)-[0-9a-f]{8}")
_LETTERS = "acdefhjkmnpqrtuvwxy3479"  # no two of them look alike
_CODE_LENGTH = 4
_PENDING, _APPROVED = ".pending", ".approved"
_LONGEST_FILE = 1 << 20
_KEPT_SECONDS = 24 * 3600
_FORMAT = 1  # the version of a stored request


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
    """

    id: str
    text: str
    question: str
    expected: str
    targets: str
    expires_at: datetime
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
        return replace(self, id=other.id, expires_at=other.expires_at, nonce=other.nonce) == other

    def to_json(self) -> str:
        """Return the request as JSON."""
        return json.dumps({"format": _FORMAT, **asdict(self), "expires_at": self.expires_at.isoformat()})

    def check_time(self) -> None:
        """Raise PlanExpired if the request is too old."""
        if datetime.now(UTC) > self.expires_at:
            raise PlanExpired(f"{self.id} expired at {format_time(self.expires_at)}; make a new one and review it.")


class ApprovalStore:
    """The files of requests and approvals in the user's state folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or platformdirs.user_state_path("restate_lab") / "approvals"

    def save(self, request: ApprovalRequest) -> None:
        """Store a request for the terminal; an approval that a person gives meanwhile stays."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another server removed it
                if datetime.now(UTC).timestamp() - path.stat().st_mtime > _KEPT_SECONDS:
                    path.unlink()
        self._write(request.id, _PENDING, request.to_json())

    def load(self, request_id: str) -> ApprovalRequest:
        """Return a request that a server stored.

        Raises:
            ArgumentError: the request does not exist, or other users could have changed its file.
            PlanExpired: it is too old.
        """
        text = self._read(request_id, _PENDING)
        try:
            values = json.loads(text)
            version = values.pop("format")
            if version == _FORMAT:
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
        self._write(request.id, _APPROVED, request.digest)

    def take(self, request: ApprovalRequest) -> bool:
        """Return whether a person approved exactly this request, and remove the approval: it is valid once.

        Of several threads and processes that take one approval, one gets it: the file can be renamed once.

        Raises:
            PlanExpired: the request is too old.
        """
        request.check_time()
        claimed = f"{_APPROVED}.{secrets.token_hex(8)}"
        try:
            self._path(request.id, _APPROVED).rename(self._path(request.id, claimed))
        except FileNotFoundError:
            return False
        try:
            is_approved = self._read(request.id, claimed) == request.digest
        finally:
            self._path(request.id, claimed).unlink(missing_ok=True)
        if is_approved:
            self.discard(request)
        return is_approved

    def discard(self, request: ApprovalRequest) -> None:
        """Remove the files of a request."""
        for ending in (_PENDING, _APPROVED):
            self._path(request.id, ending).unlink(missing_ok=True)

    def _path(self, request_id: str, ending: str) -> Path:
        if not _ID.fullmatch(request_id):
            raise ArgumentError(
                f"invalid plan {request_id[:40]!r}; use the id that the assistant shows: plan-1a2b3c4d."
            )
        return self._folder / f"{request_id}{ending}"

    def _write(self, request_id: str, ending: str, text: str) -> None:
        path = self._path(request_id, ending)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise

    def _read(self, request_id: str, ending: str) -> str:
        path = self._path(request_id, ending)
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                status = os.fstat(file.fileno())
                if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o077):
                    raise ArgumentError(f"{path.name} can be changed or read by others; ask for a new plan.")
                return file.read(_LONGEST_FILE)
        except FileNotFoundError as error:
            raise ArgumentError(
                f"the request {request_id} does not exist: it was executed, or it has another id."
            ) from error
