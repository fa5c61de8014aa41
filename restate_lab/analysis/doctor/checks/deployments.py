"""Deployments that could go, what pins the others, and which speak an old protocol or have an old SDK."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from restate_lab._text import join, plural, verb_form
from restate_lab.analysis.doctor.context import IDS, Deployment, Finding, Look, Severity, moment
from restate_lab.analysis.records import none_if_missing
from restate_lab.analysis.suggestions import SuggestedCall, ask_call

__all__ = ["old_deployments", "old_protocols"]

_PINNED = (
    "SELECT id, target, status FROM sys_invocation_status "
    "WHERE pinned_deployment_id = :deployment AND status <> 'completed'"
)
_SDK = re.compile(r"(?P<name>.+)/(?P<version>\d+(?:\.\d+)*)[^/]*")


def old_deployments(look: Look) -> list[Finding]:
    """Count deployments that nothing needs any more, and old ones that something is still pinned to."""
    pinned: dict[str, int] = defaultdict(int)
    for row in look.census.pinned():
        pinned[row["deployment_id"]] += int(row["n"])
    old = [each for each in look.deployments.values() if not each.latest_of]
    drained = [each for each in old if each.id not in pinned]
    pinning = [each for each in old if each.id in pinned]
    return [*([_drained(drained)] if drained else []), *([_pinning(pinning, pinned)] if pinning else [])]


def old_protocols(look: Look) -> list[Finding]:
    """Count deployments that speak an old service protocol, or have an older SDK than others of the cluster."""
    rows = look.ask("sdks", limit=None)
    newest = _newest(none_if_missing(row["sdk"]) for row in rows)
    limit = look.thresholds.protocol
    old: dict[str, str] = {}
    for row in rows:
        protocol, sdk = none_if_missing(row["max_service_protocol_version"]), none_if_missing(row["sdk"])
        if protocol is not None and protocol < limit:
            old[row["deployment_id"]] = f"protocol {int(protocol)}"
        elif sdk and (named := _SDK.fullmatch(sdk)) and _version(named["version"]) < newest[named["name"]]:
            old[row["deployment_id"]] = sdk
    return [_outdated(look, old)] if old else []


def _drained(deployments: list[Deployment]) -> Finding:
    count, first = len(deployments), deployments[0]
    return Finding(
        severity=Severity.NOTE,
        summary=f"{plural(count, 'deployment')} ({_addresses(deployments)}) {verb_form(count, 'is', 'are')} needed "
        f"by nothing any more: no service's latest revision, and nothing is pinned there",
        where=_addresses(deployments),
        count=count,
        ids=tuple(each.id for each in deployments)[:IDS],
        since=min((each.created_at for each in deployments if each.created_at), default=None),
        evidence=ask_call("deployment_pins"),
        # Servers up to 1.7 remove only by force.
        suggested=(
            SuggestedCall(
                "lab.admin.delete_deployment",
                (first.id,),
                {"force": True},
                comment="ask for its pins again just before",
            ),
        ),
    )


def _pinning(deployments: list[Deployment], pinned: Mapping[str, int]) -> Finding:
    count, open_ = len(deployments), sum(pinned[each.id] for each in deployments)
    return Finding(
        severity=Severity.NOTE,
        summary=f"{plural(count, 'old deployment')} ({_addresses(deployments)}) {verb_form(count, 'is', 'are')} "
        f"still needed: {plural(open_, 'invocation')} {verb_form(open_, 'is', 'are')} pinned there",
        where=_addresses(deployments),
        count=count,
        ids=tuple(each.id for each in deployments)[:IDS],
        since=min((each.created_at for each in deployments if each.created_at), default=None),
        evidence=ask_call("deployment_pins"),
        suggested=(SuggestedCall("lab.sql", (_PINNED,), {"deployment": deployments[0].id}),),
    )


def _outdated(look: Look, old: Mapping[str, str]) -> Finding:
    count = len(old)
    known = [each for id_ in old if (each := look.deployments.get(id_))]
    return Finding(
        severity=Severity.NOTE,
        summary=f"{plural(count, 'deployment')} ({_addresses(known)}) {verb_form(count, 'is', 'are')} behind the "
        f"others: {join(old.values())}",
        where=_addresses(known),
        count=count,
        ids=tuple(old)[:IDS],
        since=min((at for each in known if (at := moment(each.created_at))), default=None),
        evidence=ask_call("sdks"),
        suggested=(SuggestedCall("lab.admin.list_deployments", result="frame()"),),
    )


def _newest(sdks: Iterable[str | None]) -> dict[str, tuple[int, ...]]:
    newest: dict[str, tuple[int, ...]] = {}
    for sdk in sdks:
        if sdk and (named := _SDK.fullmatch(sdk)):
            newest[named["name"]] = max(newest.get(named["name"], ()), _version(named["version"]))
    return newest


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _addresses(deployments: list[Deployment]) -> str:
    return join(each.endpoint or each.id for each in deployments)
