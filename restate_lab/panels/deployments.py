"""``DeploymentsPanel``: which revisions there are, what pins each deployment, and which could go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from restate_lab._text import format_duration, plural
from restate_lab.analysis.questions import run_question
from restate_lab.client.lab import is_lab
from restate_lab.client.schema import check_columns, translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError
from restate_lab.panels._base.blocks import Block, Blocks
from restate_lab.panels._base.panel import Panel, why_read_only
from restate_lab.panels._base.source import params_of, sql_of
from restate_lab.panels.grid import Grid
from restate_lab.panels.grid.controller import cut_off
from restate_lab.panels.invocations import DrillDown
from restate_lab.redaction import mask_user_info
from restate_lab.source import Source

if TYPE_CHECKING:
    from restate_lab.panels.invocations import InvocationsPanel

__all__ = ["DeploymentsPanel", "read_pins", "read_served"]

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
class ServedServices:
    """What one deployment serves: services with their revisions where they are known, the protocol, and the SDK."""

    services: str
    protocol: str
    sdk: str | None = None


def read_pins(source: Source) -> pd.DataFrame:
    """Return the answer to ``deployment_pins``."""
    return run_question(source, "deployment_pins")


@translate_errors
def read_served(reads: Source, source: Source) -> dict[str, ServedServices]:
    """Return what each deployment serves, by id: from the Admin API of a live cluster, else from the tables.

    The tables have the revision that is a service's latest, and no other.
    """
    if is_lab(source):
        return {each.id: _of_model(each) for each in source.admin.list_deployments()}
    latest = {(row["deployment_id"], row["name"]): row["revision"] for row in _rows(reads, _LATEST)}
    return {row["id"]: _of_row(row, latest) for row in _rows(reads, _SERVED)}


def deployment_table(pins: pd.DataFrame, served: Mapping[str, ServedServices]) -> pd.DataFrame:
    """Return one row per deployment, in the order of the answer: those that could go come first."""
    of = [served.get(id_, ServedServices("", "")) for id_ in pins["deployment_id"]]
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


def deployment_blocks(row: Mapping[Any, Any], served: ServedServices | None, *, is_live: bool) -> Iterator[Block]:
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


def _of_model(deployment: Any) -> ServedServices:
    services = ", ".join(_named(each.name, each.revision) for each in deployment.services or ())
    protocol = f"{deployment.min_protocol_version} to {deployment.max_protocol_version}"
    return ServedServices(services, protocol, deployment.sdk_version)


def _of_row(row: Mapping[Any, Any], latest: Mapping[tuple[str, str], int]) -> ServedServices:
    names = [] if row["services"] is None else sorted(row["services"])
    services = ", ".join(_named(name, latest.get((row["id"], name))) for name in names)
    return ServedServices(services, f"{row['oldest']} to {row['newest']}")


def _rows(source: Source, statement: str) -> list[dict[Any, Any]]:
    return check_columns(source.sql(statement, progress=False), statement, source).to_dict("records")


def _address(endpoint: object) -> str:
    """Return the address without a user's name and password, which some put into it."""
    return mask_user_info(str(endpoint))


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


def _facts(row: Mapping[Any, Any], served: ServedServices | None) -> Iterator[str]:
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


@dataclass(frozen=True)
class _DeploymentsData:
    pins: pd.DataFrame = field(default_factory=pd.DataFrame)
    served: Mapping[str, ServedServices] = field(default_factory=dict)


class DeploymentsPanel(Panel):
    """Show each deployment with its services' revisions and what is pinned to it; a click says whether it could go.

    What could be done stands there as code to copy: the panel itself changes nothing. ``refresh`` is as for every
    panel, ``tz`` the zone of the times. ``frame`` is the answer to ``deployment_pins``, ``selected`` the ids that are
    selected, ``opened`` the id that is open, ``invocations`` the InvocationsPanel of what is pinned to it, once asked
    for; both are None before.
    """

    def __init__(self, source: Source, /, *, refresh: DurationInput | None = "30s", tz: str = "UTC") -> None:
        self._found = _DeploymentsData()
        self._below = DrillDown(source, tz=tz)
        self.opened: str | None = None
        self._summary = Blocks()
        self._grid = Grid(noun="deployments", height=340, tz=tz, is_read=False)
        self._detail = Blocks()
        self._button = widgets.Button(description="Show what is pinned", layout={"display": "none"})
        super().__init__(source, title="deployments", refresh=refresh)
        self._grid.on_open(self.handled(self.look_at))
        self._button.on_click(self.handled(lambda _: self._below.show(deployment=self.opened)))
        buttons = widgets.Box([self._button])
        buttons.add_class("rl-fields")
        self.body = (self._summary, self._grid, self._detail, buttons, self._below.box)
        for part in (self._below, self._button):
            self.ends_with(part)
        self.refresh()

    @property
    def code(self) -> str:
        """Return the line that gives ``frame``."""
        return 'rl.ask(lab, "deployment_pins")'

    @property
    def sql(self) -> str:
        """Return the statement of ``frame``, which runs as it stands with ``params``."""
        return sql_of(self.frame)

    @property
    def params(self) -> Mapping[str, Any]:
        """Return the values of the statement's parameters."""
        return params_of(self.frame)

    @property
    def frame(self) -> pd.DataFrame:
        """Return one row per deployment, as ``rl.ask(lab, "deployment_pins")`` does."""
        return self._found.pins

    @property
    def selected(self) -> list[str]:
        """Return the ids of the deployments that are selected."""
        return self._grid.selected

    @property
    def invocations(self) -> InvocationsPanel | None:
        """Return the invocations that the button shows below; None before."""
        return self._below.panel

    def look_at(self, deployment: str, /) -> str:
        """Show what is to say of one deployment, and return it as text.

        Raises:
            ArgumentError: the panel has no such deployment.
        """
        if deployment not in set(self.frame.get("deployment_id", ())):
            raise ArgumentError(f"there is no deployment {deployment!r} in this panel; Refresh reads again.")
        self.opened = deployment
        self._show_opened()
        return self._detail.text

    def _read(self) -> _DeploymentsData:
        return _DeploymentsData(read_pins(self.reads), read_served(self.reads, self.source))

    def _show(self, found: _DeploymentsData) -> None:
        self._found = found
        why_not = why_read_only(self.source)
        self._summary.show(Block("", summary(found.pins)), *([Block("", why_not, "warning")] if why_not else []))
        self._grid.refresh(deployment_table(found.pins, found.served), note=cut_off(found.pins))
        self._show_opened()

    def _show_opened(self) -> None:
        row = next((row for row in self.frame.to_dict("records") if row["deployment_id"] == self.opened), None)
        self._button.layout.display = "" if row is not None and row["pinned"] else "none"
        if row is not None:
            served = self._found.served.get(str(self.opened))
            self._detail.show(*deployment_blocks(row, served, is_live=self.source.live))
        elif self.opened is not None:
            self._detail.show(Block(self.opened, "It is not there any more: neither registered nor pinned.", "warning"))

    def _static(self) -> Iterable[str]:
        yield self._summary.static_html()
        yield self._grid.static_html()
        yield self._detail.static_html()
