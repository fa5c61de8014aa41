"""The values of a diagnosis: findings with their severity, and the deployments and invocations that they describe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from restate_lab.analysis.doctor.reader import timestamp_of
from restate_lab.analysis.draining.model import Group
from restate_lab.calls import SuggestedCall

MAX_IDS = 1_000  # ids in a finding; its count includes the others
MAX_TERMS = 25  # in a title
FORMER_CHECKS = {"retry_storms": "retry_storm"}
"""The former names of checks, which state files, rules and fingerprints can have → their names."""
_IN_FINGERPRINTS = {check: former for former, check in FORMER_CHECKS.items()}


class Severity(StrEnum):
    """The severity of a finding: ``critical`` work does not recover by itself, a ``note`` is only useful to know."""

    CRITICAL = "critical"
    WARNING = "warning"
    NOTE = "note"


SEVERITY_RANKS: Mapping[str, int] = {severity.value: rank for rank, severity in enumerate(Severity)}
"""A severity → its position, 0 for the worst."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """The invocations that a cause blocks, directly or through others; ``count`` may exceed the ids that were read.

    ``label`` is their number with their handlers, "3 Orders/place"; "" if the title already describes them.
    """

    ids: tuple[str, ...] = ()
    count: int = 0
    label: str = ""

    def __bool__(self) -> bool:
        return self.count > 0


NONE_BLOCKED = Blocked()


def fingerprint_of(check: str, subject: str, *, cluster: str = "") -> str:
    """Return the identity of a problem, 16 hexadecimal digits, from a check or question and the name of its subject.

    It is the same at each reading, and the name of a check in it never changes, so that open alerts and links go on
    after an update. Without ``cluster`` it is the same for equal problems of all clusters.
    """
    # a question can have the name of a check; its subject is "" or a JSON object
    is_check = bool(subject) and not subject.startswith("{")
    rule = _IN_FINGERPRINTS.get(check, check) if is_check else check
    return hashlib.sha256(json.dumps([cluster, rule, subject]).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Subject:
    """What a finding is about: its ``name`` stays the same while counts, ids of invocations and times change.

    The name is "" if the check has only one finding. ``services`` are the services concerned, sorted.
    """

    name: str
    services: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One cause. ``ids`` are the affected invocations (deployments for some checks), at most ``MAX_IDS``.

    ``title`` names the affected invocations and the problem; it is short, and a longer one is cut. ``details`` has more
    about the cause, such as the error message, as sentences; it may be "".
    ``shared`` is what distinguishes the invocations from healthy ones, or why they were not compared; it may be "".
    ``draining`` is whether its backlog drains, or why that is unknown; "" for a finding without a backlog.
    ``deleted_at`` (UTC) is the time at which the cluster deletes the first journal or record of the invocations; None
    if they have not ended. ``backlogs`` are the services, keys and scopes whose backlog the finding is about.
    ``count`` is the number of all of them. ``since`` (UTC) is the earliest known time of the problem; None if unknown.
    ``evidence`` is the call that shows the rows behind the finding. ``suggested`` is the next step: one or more calls
    in order. ``subject`` identifies the finding at later times; without it, ``where`` does and begins with a service.
    ``queued`` is the number of calls in the queue that the finding is about; 0 if it is about something else.
    ``about`` are paths to what an acknowledgement of the finding is limited to, each from the general to the special:
    the service, and if findings of one subject can differ in it the handler, the code, the pattern of the step, and the
    kind of message. Without it, they are the services of the subject.
    """

    severity: Severity
    title: str
    where: str
    count: int
    ids: tuple[str, ...]
    evidence: SuggestedCall
    suggested: tuple[SuggestedCall, ...]
    since: datetime | None = None
    blocked: Blocked = NONE_BLOCKED
    details: str = ""
    shared: str = ""
    draining: str = ""
    deleted_at: datetime | None = None
    backlogs: tuple[Group, ...] = ()
    check: str = ""
    subject: Subject | None = None
    queued: int = 0
    about: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        """Cut a title that is too long, such as one with an object key that is a sentence, and complete ``about``."""
        object.__setattr__(self, "title", shorten_title(self.title))
        object.__setattr__(self, "about", self.about or tuple((each,) for each in self.identity.services))

    @property
    def identity(self) -> Subject:
        """Return what the finding is about."""
        return self.subject or Subject(self.where, (self.where.partition("/")[0],))

    @property
    def affected(self) -> int:
        """Return the number of affected invocations: the stuck ones, and the ones that they block."""
        return self.count + self.blocked.count


def shorten_title(title: str) -> str:
    """Return a title with at most 25 terms, and "…" at the end of one that is cut."""
    terms = title.split()
    return f"{' '.join(terms[:MAX_TERMS])}…" if len(terms) > MAX_TERMS else title


def rank_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings, worst first: by severity, then by affected invocations, then oldest first."""
    return tuple(
        sorted(
            findings,
            key=lambda each: (
                [*Severity].index(each.severity),
                -each.affected,
                each.since.timestamp() if each.since else float("inf"),
                each.check,
                each.title,
                each.details,
            ),
        )
    )


@dataclass(frozen=True, slots=True)
class DeploymentInfo:
    """One registered deployment; ``latest_of`` are the services whose latest revision it has."""

    id: str
    endpoint: str
    created_at: datetime | None
    latest_of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RetryingInvocation:
    """One invocation whose attempts fail, with the times of its last progress, its last attempt and its next one.

    ``in_flight`` is whether the attempt at ``attempted_at`` has not failed yet.
    """

    id: str
    service: str
    handler: str
    attempts: int
    code: str | None
    step: str | None
    message: str
    deployment: str | None
    since: datetime | None
    next_at: datetime | None
    attempted_at: datetime | None
    in_flight: bool = False

    @property
    def target(self) -> str:
        """Return the handler as "service/handler"."""
        return f"{self.service}/{self.handler}"


def retrying_invocation(row: Mapping[Any, Any], details: Mapping[Any, Any]) -> RetryingInvocation:
    """Return the invocation of one row of ``attempts.sql`` and its row of ``invocations.sql``."""
    return RetryingInvocation(
        id=row["id"],
        service=details["target_service_name"],
        handler=details["target_handler_name"],
        attempts=int(row["retry_count"] or 0),
        code=row["error_code"],
        step=row["step"] or None,
        message=row["message"] or "",
        deployment=row["deployment_id"] or details["pinned_deployment_id"],
        since=timestamp_of(details["modified_at"]) or timestamp_of(details["created_at"]),
        next_at=timestamp_of(row["next_retry_at"]),
        attempted_at=timestamp_of(row["attempted_at"]),
        in_flight=bool(row["in_flight"]),
    )
