"""The gate of a plan: replay the targets on a deployment of new code, and exclude those that would not continue there.

A moved invocation keeps its id, so its whole journal is replayed under this id. A restarted one gets another id, and
only the entries that it keeps are replayed: code that sends the id of an awakeable, or a random value, then diverges,
as it does on the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from restate_lab._text import join, plural, verb_form
from restate_lab.actions.change import Change
from restate_lab.actions.reader import read_destinations, read_invocations
from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.replay.check import (
    CONTACT,
    ReplayCheck,
    confirm_address,
    deployment_address,
    encryption_warning,
)
from restate_lab.analysis.replay.recording import FITS
from restate_lab.analysis.replay.result import Replay
from restate_lab.analysis.replay.verdict import DIVERGES, FAILS, OTHER_RESULT
from restate_lab.client.endpoint import Endpoint
from restate_lab.client.lab import Lab
from restate_lab.errors import ArgumentError, TimedOut
from restate_lab.frames import records
from restate_lab.progress import Progress
from restate_lab.reads import Reads
from restate_lab.redaction import Secret

CHECKED_ACTIONS = (ACTIONS.RESTART_AS_NEW, ACTIONS.MOVE_TO)
_STOPPING = {DIVERGES, FAILS, OTHER_RESULT}  # another result only exists in a prefix that keeps the output
_JOURNAL_SECONDS = 10.0  # limit of one request
_CALLER = 6  # the level of the line that calls plan(), move_to() or redrive()
_ID = "The same code fits under the old id: it sends the id of an awakeable, or a random value, which a restart changes"
_UNCHECKED = (
    "No replay check was made: if the code of the deployment takes another path than the kept entries, or sends the id "
    "of an awakeable or a random id in them, the new invocation does not continue (RT0016). check= checks this first."
)


@dataclass(frozen=True, slots=True)
class CheckOffer:
    """A check before it is confirmed: the deployment to continue on, and the address that the check contacts."""

    deployment: str
    address: str

    @property
    def notice(self) -> str:
        """Return what the check does at the address, to read before confirming it."""
        return " ".join(filter(None, (CONTACT.format(address=self.address), self.warning)))

    @property
    def warning(self) -> str:
        """Return the warning that the journals would be sent without encryption, or ""."""
        return encryption_warning(self.address)


@dataclass(frozen=True, slots=True)
class CheckedTargets:
    """The replay of a plan's targets, and the ids of those that diverge only because a restart changes the id."""

    replay: Replay
    renamed: frozenset[str] = frozenset()

    @property
    def limitations(self) -> tuple[str, ...]:
        """Return where the targets were checked, and what the check does not show."""
        return (f"replay check at {self.replay.where}", *self.replay.warnings)


@dataclass(frozen=True, slots=True)
class ReplayGate:
    """A confirmed deployment on which the targets of one plan are replayed."""

    lab: Lab
    reads: Reads
    change: Change
    address: str
    headers: Mapping[str, Secret] = field(repr=False)
    progress: Progress | None = None

    def __call__(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, CheckedTargets]:
        """Return the rows with more reasons in ``excluded``, and the replay; all targets are replayed.

        Raises:
            StepRan, Unreachable, ServerFailed: as in ``replay()``.
            TimedOut: not all targets were replayed in time.
        """
        kept, is_restart = rows[rows["excluded"].isna()], self.change.action is ACTIONS.RESTART_AS_NEW
        common = dict.fromkeys(kept["id"], self.change.from_index or 0)
        last = (restart_indexes(kept) or common) if is_restart else {}
        replay = self._replay(list(kept["id"]), last, as_restart=is_restart)
        stopped = replay.rows[replay.rows["verdict"].isin(_STOPPING)]
        reasons = {str(row["id"]): f"replay {row['verdict']}: {row['reason']}" for row in records(stopped)}
        renamed = frozenset[str]()
        if is_restart:  # the kept entries of some diverging restarts fit under the old id
            again = self._replay(list(reasons), last, as_restart=False).rows
            renamed = frozenset(again.loc[again["verdict"] == FITS, "id"])
        reasons |= {id_: f"{reasons[id_]}. {_ID}" for id_ in renamed}
        return _exclude(rows, reasons), CheckedTargets(replay, renamed)

    def _replay(self, ids: Sequence[str], last_entries: Mapping[str, int], *, as_restart: bool) -> Replay:
        check = _new_check(self.lab, self.reads, as_restart=as_restart, last_entries=last_entries)
        replay = check.replay(ids, Endpoint(self.address, self.headers, _JOURNAL_SECONDS), progress=self.progress)
        if not self.reads.seconds_left:
            raise TimedOut(f"{self.reads.over}.")
        return replay


def offer_check(reads: Reads, rows: pd.DataFrame, deployment: str | None) -> CheckOffer:
    """Return the check of a plan's targets on the deployment that they would continue on; this contacts no deployment.

    ``rows`` are those of the targets, and ``deployment`` is the option of the plan.

    Raises:
        ArgumentError: they would continue on several deployments or on none, or it has no HTTP address.
        NotFound: the deployment is not registered.
    """
    found = _next_deployments(reads, rows, deployment)
    if len(found) != 1:
        count = f"{len(found):,} deployments ({join(found)})" if found else "no known deployment"
        raise ArgumentError(
            f"the targets would continue on {count}, and a check replays them on one: choose its id as the deployment, "
            f"or select targets of one deployment."
        )
    return CheckOffer(found[0], deployment_address(reads, found[0]))


def _next_deployments(reads: Reads, rows: pd.DataFrame, deployment: str | None) -> list[str]:
    """Return the ids of the deployments that the targets would continue on.

    Without the option, a restart continues on the latest deployment, also from a prefix (observed on 1.7.12).
    """
    if deployment == "keep":
        pinned = read_invocations(reads, list(rows["id"]))["pinned_deployment_id"]
        return sorted(map(str, pinned.dropna().unique()))
    by_service = read_destinations(reads, deployment or "latest").by_service
    return sorted({by_service[name].id for name in rows["service"].unique() if name in by_service})


def open_gate(lab: Lab, reads: Reads, change: Change, progress: Progress | None = None) -> ReplayGate | None:
    """Return the gate at the address of the change's ``check``, an address or a deployment's id; None without a check.

    ``progress`` is updated by the check; with None it shows a line.

    Raises:
        ArgumentError: the action has no check, or ``confirm`` is not the address.
        NotFound: the deployment is not registered.
    """
    if change.check is None:
        if change.confirm is not None:
            raise ArgumentError(
                f"confirm is {change.confirm!r}, but there is no check: pass check= with the deployment."
            )
        return None
    if change.action not in CHECKED_ACTIONS:
        takers = ", ".join(CHECKED_ACTIONS)
        raise ArgumentError(f"{change.action} has no option check; it is only for {takers}.")
    address, headers = _new_check(lab, reads, as_restart=change.action is ACTIONS.RESTART_AS_NEW).resolve(change.check)
    confirm_address(address, change.confirm, stacklevel=_CALLER)
    return ReplayGate(lab, reads, change, address, headers, progress)


def check_warnings(checked: CheckedTargets | None, rows: pd.DataFrame, *, keeps_entries: bool) -> tuple[str, ...]:
    """Return the warnings about the targets in ``rows``: that they were not checked, or not all of them.

    ``keeps_entries``: a restart keeps more than the input.
    """
    if checked is None:
        return (_UNCHECKED,) if keeps_entries else ()
    warnings = []
    if count := len(checked.renamed):
        warnings.append(
            f"{plural(count, 'invocation')} {verb_form(count, 'is', 'are')} excluded because the kept entries contain "
            f"an id that a restart changes (of an awakeable, or random): keep fewer entries to restart them."
        )
    verdicts = dict(zip(checked.replay.rows["id"], checked.replay.rows["verdict"], strict=True))
    found = pd.Series([verdicts.get(id_, "not checked") for id_ in rows["id"]], dtype="object")
    counts = found[found != FITS].value_counts()
    if len(counts):
        parts = join(f"{count:,} {verdict}" for verdict, count in counts.items())
        targets = plural(int(counts.sum()), "target")
        warnings.append(f"The replay check has no result for {targets} ({parts}): plan.replay has the reasons.")
    return tuple(warnings)


def _new_check(
    lab: Lab, reads: Reads, *, as_restart: bool, last_entries: Mapping[str, int] | None = None
) -> ReplayCheck:
    return ReplayCheck(lab, Reads(reads), as_restart, last_entries=last_entries or {})


def restart_indexes(rows: pd.DataFrame) -> dict[str, int]:
    """Return the index from which each row restarts; empty if the rows have no indexes of their own."""
    return dict(zip(rows["id"], map(int, rows["from_index"]), strict=True)) if "from_index" in rows else {}


def _exclude(rows: pd.DataFrame, reasons: Mapping[str, str]) -> pd.DataFrame:
    stopped = [id_ in reasons for id_ in rows["id"]]
    excluded = [reasons.get(id_, before) for id_, before in zip(rows["id"], rows["excluded"], strict=True)]
    effects = rows["effect"].mask(pd.Series(stopped, index=rows.index, dtype=bool), None)
    return rows.assign(
        effect=effects.astype("object").where(effects.notna(), None),
        excluded=pd.Series(excluded, index=rows.index, dtype="object"),
    )
