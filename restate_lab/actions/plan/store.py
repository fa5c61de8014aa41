"""Plans in files: a shell prints a plan with its name, and another process executes it once by this name.

A file has what ``execute`` sends: the action and its options, the runs of the targets with the status in which they
were reviewed, and the address and identity of the cluster. It has no key of a target and no payload. The name of a plan
is the beginning of the digest of its content, so a changed file is not the plan that was reviewed. A plan is claimed by
one rename, just before the first request: of several processes, one sends, and a process that is killed before it
leaves the plan as it is. An execution that sends no request gives it back.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shlex
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import platformdirs

from restate_lab._files import PrivateFolder
from restate_lab._text import format_time
from restate_lab.actions.change import Change
from restate_lab.actions.plan.impact import COLUMNS as IMPACT_COLUMNS
from restate_lab.actions.plan.model import LIFETIME, Plan
from restate_lab.actions.plan.preview import COLUMNS, prefix_frame
from restate_lab.actions.rules import ACTIONS
from restate_lab.client.lab import Lab
from restate_lab.errors import ArgumentError, PlanExpired, WriteFailed
from restate_lab.identity import ClusterIdentity
from restate_lab.interrupts import Shield
from restate_lab.reads import why_not_the_cluster
from restate_lab.result import unread

_NAME = re.compile(r"plan-[0-9a-f]{16}")
_NAME_OF_ASSISTANT = re.compile(r"plan-[0-9a-f]{8}")
_DIGITS = 16  # of the digest in a name
_LONGEST_FILE = 1 << 27
_KEPT = timedelta(days=1)
_FORMAT = 2  # the version of a stored plan; 1 had no identity of the cluster
_SHOWN = 3  # targets in a command


class StoredTarget(NamedTuple):
    """One run of an invocation, with the status that was reviewed.

    ``from_index`` has a value if each target restarts from its own index. ``is_restarted`` has the value None if
    earlier restarts were not read.
    """

    id: str
    created_at: str
    status: str
    from_index: int | None = None
    is_restarted: bool | None = None


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """What a plan sends, and where. ``made_at`` is the time at which its targets were read.

    A plan of an earlier version has no ``cluster``.
    """

    action: str
    deployment: str | None
    from_index: int | None
    environment: str
    address: str
    server: str
    made_at: datetime
    targets: tuple[StoredTarget, ...]
    cluster: ClusterIdentity | None = None
    nonce: str = field(default_factory=lambda: secrets.token_hex(8), repr=False)
    format: int = _FORMAT

    @classmethod
    def of(cls, plan: Plan, cluster: ClusterIdentity) -> StoredPlan:
        """Return what to store of a plan for a cluster."""
        rows, change = plan.rows, plan.change.only(plan.targets)
        unrestarted = dict.fromkeys(plan._unrestarted, False)  # noqa: SLF001 - of this package
        is_restarted = dict.fromkeys(plan.restarted, True) | unrestarted
        targets = tuple(
            StoredTarget(id_, created.isoformat(), status, change.from_indexes.get(id_), is_restarted.get(id_))
            for id_, created, status in zip(rows["id"], rows["created_at"], rows["status"], strict=True)
        )
        options = (change.action.value, change.deployment, change.from_index)
        return cls(*options, plan.source, plan.address, plan.server, plan.read_at, targets, cluster)

    @property
    def name(self) -> str:
        """Return the name of the plan: the beginning of the digest of its content."""
        return _name_of(self.to_json())

    @property
    def expires_at(self) -> datetime:
        """Return the time until which it can be executed, UTC."""
        return self.made_at + LIFETIME

    def to_json(self) -> str:
        """Return the plan as JSON."""
        content = {"format": self.format, **{each.name: getattr(self, each.name) for each in fields(self)}}
        cluster = content.pop("cluster")
        if self.format > 1:
            content["cluster"] = cluster and cluster.to_json()
        return json.dumps({**content, "made_at": self.made_at.isoformat()})

    def check_time(self) -> None:
        """Raise PlanExpired if the plan is too old, or from the future because the clock was changed."""
        if abs(datetime.now(UTC) - self.made_at) > LIFETIME:
            raise PlanExpired(f"{self.name} expired at {format_time(self.expires_at)}; make a new plan and review it.")

    def check_cluster(self, lab: Lab, option: str | None) -> None:
        """Check that a connection is to the cluster for which the plan was made; ``option`` names it in a command.

        Raises:
            PlanExpired: this is not proven, so the plan must not be claimed.
        """
        if reason := why_not_the_cluster(lab, self.cluster):
            raise PlanExpired(
                f"{self.name} was not executed, and nothing was sent: {reason}. Connect to the cluster of the plan, or "
                f"plan again: {self._command(option)}"
            )

    def _command(self, option: str | None) -> str:
        """Return the command that makes this plan again, with the first targets."""
        is_redrive = any(each.from_index is not None for each in self.targets)
        words = ["restate-lab", "plan", "redrive" if is_redrive else self.action.replace("_", "-")]
        words += [each.id for each in self.targets[:_SHOWN]]
        rest = ["…"] if len(self.targets) > _SHOWN else []
        options = {"--deployment": self.deployment, "--from-index": self.from_index, "-e": option}
        ends = [text for name, value in options.items() if value is not None for text in (name, str(value))]
        return " ".join([shlex.join(words), *rest, shlex.join(ends)]).strip()

    def on(self, lab: Lab, store: PlanStore) -> Plan:
        """Return the plan on the cluster for which it was made; nothing is read of its targets.

        Its execution claims it in the store.

        Raises:
            ArgumentError: the connection is to another address.
        """
        if lab.settings.admin_url != self.address:
            raise ArgumentError(
                f"{self.name} is a plan for {self.environment} at {self.address}, and this connection is to "
                f"{lab.settings.admin_url}, so nothing was sent: connect to {self.address}, or make a new plan."
            )
        frame = self._frame()
        indexes = {each.id: each.from_index for each in self.targets if each.from_index is not None}
        created = dict(zip(frame["id"], frame["created_at"].array.to_pydatetime(), strict=True))
        return Plan(
            change=Change(ACTIONS(self.action), self.deployment, self.from_index, from_indexes=indexes),
            frame=frame,
            impact=pd.DataFrame(columns=list(IMPACT_COLUMNS), dtype="object"),
            prefixes=prefix_frame({}),
            restarted=frozenset(each.id for each in self.targets if each.is_restarted),
            read_at=self.made_at,
            not_read=unread(),
            queries=(),
            source=lab.name,
            version=lab.version,
            address=self.address,
            server=self.server,
            _lab=lab,
            _ids=tuple(created),
            _created=created,
            _unrestarted=frozenset(each.id for each in self.targets if each.is_restarted is False),
            _begin=partial(store.claim, self),
        )

    def _frame(self) -> pd.DataFrame:
        rows: pd.DataFrame = pd.DataFrame(self.targets, columns=StoredTarget._fields).drop(columns="is_restarted")
        rows["created_at"] = pd.to_datetime(rows["created_at"], utc=True, format="ISO8601")
        if rows["from_index"].isna().all():
            return rows.drop(columns="from_index").reindex(columns=list(COLUMNS)).assign(excluded=None)
        return rows.reindex(columns=[*COLUMNS, "from_index"]).assign(excluded=None)


class PlanStore:
    """The plans of this user on this machine, in a folder of the user's state."""

    def __init__(self, folder: Path | None = None) -> None:
        path = folder or platformdirs.user_state_path("restate_lab") / "plans"
        self._files = PrivateFolder(path, longest=_LONGEST_FILE)
        self._claimed: set[str] = set()  # by this object

    def save(self, plan: StoredPlan) -> None:
        """Store a plan under its name; plans of the days before are removed."""
        self._files.remove_older(_KEPT.total_seconds())
        self._files.write(_file_name(plan.name), plan.to_json())

    def load(self, name: str) -> StoredPlan:
        """Return a plan that can still be executed.

        Raises:
            ArgumentError: there is no such plan, its file was changed, others can change it, or a newer version wrote
                it.
            PlanExpired: its execution was started before, or it is too old.
        """
        file = _file_name(name)
        if self._files.has(_claimed_name(name)):
            raise PlanExpired(_executed(name))
        try:
            plan = _parse(name, self._files.read(file))
        except FileNotFoundError as error:
            raise ArgumentError(
                f"{name} does not exist for this user on this machine: restate-lab plan makes a plan and prints its "
                f"name."
            ) from error
        plan.check_time()
        return plan

    def claim(self, plan: StoredPlan) -> None:
        """Use up a plan: of several processes that execute it, one returns from here.

        Raises:
            PlanExpired: another process claimed it, or it is too old.
            WriteFailed: the folder cannot be changed.
        """
        plan.check_time()
        name = plan.name
        with Shield():
            if self._files.has(_claimed_name(name)) or not self._files.claim(_file_name(name), _claimed_name(name)):
                raise PlanExpired(_executed(name))
            self._claimed.add(name)

    def give_back(self, plan: StoredPlan) -> bool:
        """Undo the claim of this object, if there is one, after an execution that sent no request.

        Return whether the plan can be executed again; another process can have claimed it.
        """
        name = plan.name
        if name in self._claimed:
            with suppress(WriteFailed):  # the plan stays used up
                self._files.claim(_claimed_name(name), _file_name(name))
        return self._files.has(_file_name(name)) and not self._files.has(_claimed_name(name))


def _file_name(name: str) -> str:
    if _NAME_OF_ASSISTANT.fullmatch(name):
        raise ArgumentError(f"{name} is a plan of an assistant: restate-lab mcp approve {name} shows it to you.")
    if not _NAME.fullmatch(name):
        raise ArgumentError(f"invalid plan {name[:40]!r}; use the name that restate-lab plan prints.")
    return f"{name}.json"


def _claimed_name(name: str) -> str:
    return f"{name}.executed"


def _executed(name: str) -> str:
    return (
        f"{name} was started before, and a plan is executed once, so nothing was sent now. restate-lab audit shows its "
        f"outcome. If it shows none, the process was killed, and its requests may have been sent. Make a new plan: it "
        f"reads each status again."
    )


def _parse(name: str, text: str) -> StoredPlan:
    version = _format_of(text)
    if version > _FORMAT:
        raise ArgumentError(
            f"{name} has format {version}, and this restate_lab reads format {_FORMAT}: execute it with the version of "
            f"restate-lab that made it."
        )
    if _name_of(text) != name:
        raise ArgumentError(f"the file of {name} was changed after its review, so nothing was sent; make a new plan.")
    values = json.loads(text)
    values["cluster"] = ClusterIdentity.from_json(values.get("cluster"))
    values["targets"] = tuple(StoredTarget(*each) for each in values["targets"])
    return StoredPlan(**values | {"made_at": datetime.fromisoformat(values["made_at"])})


def _format_of(text: str) -> int:
    try:
        return int(json.loads(text)["format"])
    except (KeyError, TypeError, ValueError, RecursionError):  # a damaged file, which is a changed one
        return _FORMAT


def _name_of(text: str) -> str:
    return f"plan-{hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]}"
