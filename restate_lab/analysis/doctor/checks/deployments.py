"""Checks of services and deployments: none at all, unused ones, old ones still in use, old protocols and SDKs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from restate_lab._text import join, plural, sentences, verb_form
from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.model import MAX_IDS, DeploymentInfo, Finding, Severity, Subject
from restate_lab.analysis.doctor.reader import PINNED_INVOCATIONS, SERVICES, first_of
from restate_lab.analysis.suggestions import ask_call
from restate_lab.calls import SuggestedCall
from restate_lab.client.lab import innermost_source, is_lab
from restate_lab.errors import NotOnThisServer

_SDK = re.compile(r"(?P<name>.+)/(?P<version>\d+(?:\.\d+)*)[^/]*")


def registered_services(context: CheckContext) -> list[Finding]:
    """Find a cluster without any service and invocation, which is probably the wrong one."""
    try:
        rows = context.rows("services")
    except NotOnThisServer:  # evidence without this table
        return []
    if rows or not context.source.coverage.open_invocations or context.census.rows:
        return []  # an archive may be new
    context.excluded.append("there is nothing to check")
    connection = innermost_source(context.source)
    where, chosen = context.source.name, ""
    if is_lab(connection):
        where, chosen = connection.address, f"The address was chosen by {connection.settings.chosen_by}"
    return [
        Finding(
            severity=Severity.WARNING,
            title=f"no service is registered at {where}",
            details=sentences("It has no invocation, either. Is it the right cluster?", chosen),
            where="",
            subject=Subject(""),
            count=0,
            ids=(),
            evidence=SuggestedCall("lab.sql", (SERVICES,)),
            suggested=(
                SuggestedCall(
                    "lab.admin.list_deployments",
                    result="frame",
                    comment="register one, or connect to another cluster",
                ),
            ),
        )
    ]


def old_deployments(context: CheckContext) -> list[Finding]:
    """Count unused deployments, and old deployments to which invocations are still pinned."""
    pinned: dict[str, int] = defaultdict(int)
    for row in context.census.pinned_rows():
        pinned[row["deployment_id"]] += int(row["invocations"])
    old = [each for each in context.deployments.values() if not each.latest_of]
    unused = [each for each in old if each.id not in pinned]
    still_pinned = [each for each in old if each.id in pinned]
    return [
        *([_unused_finding(unused)] if unused else []),
        *([_pinned_finding(still_pinned, pinned)] if still_pinned else []),
    ]


def old_protocols(context: CheckContext) -> list[Finding]:
    """Count deployments with an old service protocol or an older SDK than other deployments of the cluster."""
    rows = context.ask("sdks", limit=None)
    newest = _newest_versions(row["sdk"] for row in rows)
    old: dict[str, str] = {}
    for row in rows:
        protocol, sdk = row["max_service_protocol_version"], row["sdk"]
        if protocol is not None and protocol < context.thresholds.protocol:
            old[row["deployment_id"]] = f"protocol {int(protocol)}"
        elif sdk and (match := _SDK.fullmatch(sdk)) and _parse_version(match["version"]) < newest[match["name"]]:
            old[row["deployment_id"]] = sdk
    return [_outdated_finding(context, old)] if old else []


def _unused_finding(deployments: list[DeploymentInfo]) -> Finding:
    count, first = len(deployments), deployments[0]
    return Finding(
        severity=Severity.NOTE,
        title=f"{plural(count, 'deployment')} ({_addresses(deployments)}) {verb_form(count, 'is', 'are')} no longer "
        f"used",
        details="No service has its latest revision there, and no invocation is pinned there.",
        where=_addresses(deployments),
        subject=Subject("unused"),
        count=count,
        ids=tuple(each.id for each in deployments)[:MAX_IDS],
        since=first_of(each.created_at for each in deployments),
        evidence=ask_call("deployment_pins"),
        # Servers up to 1.7 remove a deployment only with force.
        suggested=(
            SuggestedCall(
                "lab.admin.delete_deployment",
                (first.id,),
                {"force": True, "reason": "…"},
                comment="first check again that no invocation is pinned to it",
            ),
        ),
    )


def _pinned_finding(deployments: list[DeploymentInfo], pinned: Mapping[str, int]) -> Finding:
    count, open_ = len(deployments), sum(pinned[each.id] for each in deployments)
    return Finding(
        severity=Severity.NOTE,
        title=f"{plural(count, 'old deployment')} ({_addresses(deployments)}) {verb_form(count, 'is', 'are')} "
        f"still in use: {plural(open_, 'invocation')} {verb_form(open_, 'is', 'are')} pinned there",
        where=_addresses(deployments),
        subject=Subject("in use"),
        count=count,
        ids=tuple(each.id for each in deployments)[:MAX_IDS],
        since=first_of(each.created_at for each in deployments),
        evidence=ask_call("deployment_pins"),
        suggested=(SuggestedCall("lab.sql", (PINNED_INVOCATIONS,), {"deployment": deployments[0].id}),),
    )


def _outdated_finding(context: CheckContext, old: Mapping[str, str]) -> Finding:
    known = [each for id_ in old if (each := context.deployments.get(id_))]
    return Finding(
        severity=Severity.NOTE,
        title=f"{plural(len(old), 'deployment')} ({_addresses(known)}) {verb_form(len(old), 'has', 'have')} an old "
        f"service protocol or SDK: {join(old.values())}",
        where=_addresses(known),
        subject=Subject(""),
        count=len(old),
        ids=tuple(old)[:MAX_IDS],
        since=first_of(each.created_at for each in known),
        evidence=ask_call("sdks"),
        suggested=(SuggestedCall("lab.admin.list_deployments", result="frame"),),
    )


def _newest_versions(sdks: Iterable[str | None]) -> dict[str, tuple[int, ...]]:
    newest: dict[str, tuple[int, ...]] = {}
    for sdk in sdks:
        if sdk and (match := _SDK.fullmatch(sdk)):
            newest[match["name"]] = max(newest.get(match["name"], ()), _parse_version(match["version"]))
    return newest


def _parse_version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _addresses(deployments: list[DeploymentInfo]) -> str:
    return join(each.endpoint or each.id for each in deployments)
