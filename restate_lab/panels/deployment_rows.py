"""What a panel says of each deployment: its revisions, what pins it, whether it could go, and the code to do it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from restate_lab._text import format_duration, plural
from restate_lab.analysis.questions import answer
from restate_lab.client.lab import is_lab
from restate_lab.client.schema import checked, translated
from restate_lab.panels.blocks import Block
from restate_lab.redaction import without_user_info
from restate_lab.source import Source

__all__ = ["CAN_GO", "Served", "deployment_blocks", "deployment_table", "read_pins", "read_served", "summary"]

_SERVED = """
SELECT id, min_service_protocol_version AS oldest, max_service_protocol_version AS newest, services
FROM sys_deployment"""
_LATEST = "SELECT name, revision, deployment_id FROM sys_service"
_PINNED = {
    "pinned_running": "running",
    "pinned_backing_off": "backing-off",
    "pinned_suspended": "suspended",
    "pinned_paused": "paused",
}
_FOUND_BY = """lab.sql(
    "SELECT id, target, status FROM sys_invocation_status"
    " WHERE pinned_deployment_id = :deployment AND status <> 'completed'",
    deployment={id!r},
)"""
_REMOVE = """pins = rl.ask(lab, "deployment_pins", limit=None).set_index("deployment_id")  # once more, just before
assert pins.loc[{id!r}, "can_be_removed"], pins.loc[{id!r}]
lab.admin.delete_deployment({id!r}, force=True, reason="…")"""
_MOVE = """pinned = {found_by}
plan = rl.move_to(lab, pinned, deployment="latest")
plan  # look at it; then plan.execute(reason="…")"""

CAN_GO = "can go"


@dataclass(frozen=True, slots=True)
class Served:
    """What one deployment serves: services with their revisions where they are known, the protocol, and the SDK."""

    services: str
    protocol: str
    sdk: str | None = None


def read_pins(source: Source) -> pd.DataFrame:
    """Return the answer to ``deployment_pins``."""
    return answer(source, "deployment_pins")


@translated
def read_served(reads: Source, source: Source) -> dict[str, Served]:
    """Return what each deployment serves, by id: from the Admin API of a live cluster, else from the tables.

    The tables have the revision that is a service's latest, and no other.
    """
    if is_lab(source):
        return {each.id: _of_model(each) for each in source.admin.list_deployments()}
    latest = {(row["deployment_id"], row["name"]): row["revision"] for row in _rows(reads, _LATEST)}
    return {row["id"]: _of_row(row, latest) for row in _rows(reads, _SERVED)}


def deployment_table(pins: pd.DataFrame, served: Mapping[str, Served]) -> pd.DataFrame:
    """Return one row per deployment, in the order of the answer: those that could go come first."""
    of = [served.get(id_, Served("", "")) for id_ in pins["deployment_id"]]
    rows = pins.to_dict("records")
    return pd.DataFrame(
        {
            "verdict": [_verdict(row) for row in rows],
            "pinned": pins["pinned"],
            "services": [each.services or None for each in of],
            "endpoint": [None if pd.isna(each) else _address(each) for each in pins["endpoint"]],
            **{word: pins[name] for name, word in _PINNED.items()},
            "oldest pinned": pins["oldest_age"],
            "would land": pins["would_land"],
            "created": pins["created_at"],
            "sdk": [each.sdk for each in of],
            "protocol": [each.protocol or None for each in of],
            "id": pins["deployment_id"],
        }
    ).astype(dict.fromkeys(("verdict", "services", "endpoint", "sdk", "protocol"), "object"))


def summary(pins: pd.DataFrame) -> str:
    """Return in a sentence how many there are, could go, and are gone and still needed."""
    gone = int((~pins["is_known"]).sum())
    known, can_go = len(pins) - gone, int(pins["can_be_removed"].sum())
    said = f"{plural(known, 'deployment')}; {can_go:,} could go."
    if gone:
        said += f" {gone:,} more {'was' if gone == 1 else 'were'} removed while work was still pinned to it."
    return said


def deployment_blocks(row: Mapping[Any, Any], served: Served | None, *, is_live: bool) -> Iterator[Block]:
    """Give what is to say of one row of the answer, and the code to do what could be done, where that is possible."""
    id_ = row["deployment_id"]
    yield Block(
        f"{id_} · {_verdict(row)}", "\n".join(_facts(row, served)), "good" if row["can_be_removed"] else "plain"
    )
    if not is_live:
        yield Block("", "This is how it was. Look at the live cluster before anything is removed or moved.", "warning")
        return
    if row["can_be_removed"]:
        yield Block("Remove it (this cannot be undone)", _REMOVE.format(id=id_), is_code=True)
    if row["pinned"]:
        found_by = _FOUND_BY.format(id=id_)
        yield Block("What is pinned to it", found_by, is_code=True)
    if row["pinned"] and not _latest_of(row):
        yield Block("Move what is pinned to it", _MOVE.format(found_by=found_by), is_code=True)


def _of_model(deployment: Any) -> Served:
    services = ", ".join(_named(each.name, each.revision) for each in deployment.services or ())
    protocol = f"{deployment.min_protocol_version} to {deployment.max_protocol_version}"
    return Served(services, protocol, deployment.sdk_version)


def _of_row(row: Mapping[Any, Any], latest: Mapping[tuple[str, str], int]) -> Served:
    names = [] if row["services"] is None else sorted(row["services"])
    services = ", ".join(_named(name, latest.get((row["id"], name))) for name in names)
    return Served(services, f"{row['oldest']} to {row['newest']}")


def _rows(source: Source, statement: str) -> list[dict[Any, Any]]:
    return checked(source.sql(statement, progress=False), statement, source).to_dict("records")


def _address(endpoint: object) -> str:
    """Return the address without a user's name and password, which some put into it."""
    return without_user_info(str(endpoint))


def _named(service: str, revision: int | None) -> str:
    return service if revision is None else f"{service} r{revision}"


def _latest_of(row: Mapping[Any, Any]) -> list[str]:
    latest = row["latest_of"]
    return [] if latest is None or isinstance(latest, float) else [str(name) for name in latest]


def _verdict(row: Mapping[Any, Any]) -> str:
    if row["can_be_removed"]:
        return CAN_GO
    if not row["is_known"]:
        return "gone, still needed"
    latest = len(_latest_of(row))
    if latest:
        return f"latest of {plural(latest, 'service')}"
    return f"still needed by {row['pinned']:,}"


def _facts(row: Mapping[Any, Any], served: Served | None) -> Iterator[str]:
    yield _address(row["endpoint"]) if row["is_known"] else "Its address is not known any more: it was removed."
    if served is not None and served.services:
        sdk = f", {served.sdk}" if served.sdk else ""
        yield f"Serves {served.services}; service protocol {served.protocol}{sdk}."
    latest = _latest_of(row)
    if latest:
        yield f"It is the latest revision of {', '.join(latest)}: new invocations go to it."
    if row["would_land"]:
        yield f"Waiting without a pin, and going to it as things are: {row['would_land']:,}."
    yield _pins(row)
    if row["can_be_removed"]:
        yield "It is no service's latest revision either, so no new work goes to it."
    elif row["pinned"] and not latest:
        yield (
            "It could go once they have ended, or on another deployment have gone on: that works where the newer code "
            "does the same steps in the same order."
            if row["is_known"]
            else "They fail until they are moved to a deployment that serves them; where none does, register one first."
        )


def _pins(row: Mapping[Any, Any]) -> str:
    if not row["pinned"]:
        return "Nothing that has not ended is pinned to it."
    words = ", ".join(f"{row[name]:,} {word}" for name, word in _PINNED.items() if row[name])
    age = row["oldest_age"]
    oldest = "" if pd.isna(age) else f", the oldest for {format_duration(pd.Timedelta(age))}"
    return f"{row['pinned']:,} not ended {'is' if row['pinned'] == 1 else 'are'} pinned to it: {words}{oldest}."
