"""The deployments: their revisions, their pinned invocations, and which deployments can be removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ipywidgets as widgets
import pandas as pd

from restate_lab._text import format_duration, plural, verb_form
from restate_lab.actions.plan.reader import ServedServices, read_pinned_ids, read_served_services
from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.invocations.filters import MOST
from restate_lab.analysis.questions import run_question
from restate_lab.errors import NotOnThisServer
from restate_lab.panels._base.blocks import Block, Blocks, Tone
from restate_lab.panels._base.panel import LivePanel
from restate_lab.panels._base.source import why_read_only
from restate_lab.panels._base.submit import fields_row
from restate_lab.panels._base.view import View
from restate_lab.panels.grid import Grid
from restate_lab.panels.grid.controller import cut_off
from restate_lab.panels.grid.export import offer_export
from restate_lab.reads import Reads
from restate_lab.redaction import mask_user_info

_PINNED = {
    "pinned_running": "running",
    "pinned_backing_off": "backing-off",
    "pinned_suspended": "suspended",
    "pinned_paused": "paused",
}
_COLUMNS = ("verdict", "services", "pinned", "oldest", "created", "id")
"""The initial columns; together they fit into 900 pixels."""
_HEADS = {
    "oldest": "oldest pinned",
    "would_land": "will start here",
}
_REMOVE = """pins = rl.ask(lab, "deployment_pins", limit=None).set_index("deployment_id")  # check again first
assert pins.loc[{id!r}, "can_be_removed"], pins.loc[{id!r}]
lab.admin.delete_deployment({id!r}, force=True, reason="…")"""


def deployment_table(
    pins: pd.DataFrame, served: Mapping[str, ServedServices], removed: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """Return one row per deployment, worst first.

    ``served`` has the services of registered deployments. ``removed`` has the services of invocations that are pinned
    to removed deployments.
    """
    rows = sorted(pins.to_dict("records"), key=lambda row: (_rank(row), -row["pinned"]))
    ids = [row["deployment_id"] for row in rows]
    gone = {each: ", ".join(f"{name} (removed)" for name in removed.get(each, ())) for each in ids}
    of = [served.get(each, ServedServices(gone[each], "")) for each in ids]
    endpoints = [None if pd.isna(row["endpoint"]) else mask_user_info(str(row["endpoint"])) for row in rows]
    frame = pd.DataFrame(
        {
            "verdict": [_verdict(row) for row in rows],
            "services": [each.services or None for each in of],
            "pinned": [row["pinned"] for row in rows],
            **{status: [row[name] for row in rows] for name, status in _PINNED.items()},
            "oldest": _times(rows, pins["oldest_created_at"]),
            "would_land": [row["would_land"] for row in rows],
            "endpoint": endpoints,
            "type": [each and ("lambda" if each.startswith("arn:") else "http") for each in endpoints],
            "created": _times(rows, pins["created_at"]),
            "sdk": [each.sdk for each in of],
            "protocol": [each.protocol or None for each in of],
            "id": ids,
        }
    )
    texts = dict.fromkeys(("verdict", "services", "endpoint", "type", "sdk", "protocol", "id"), "str")
    return frame.astype(texts)


def summary(pins: pd.DataFrame) -> str:
    """Return one line: how many deployments are registered, can be removed, and were removed too early."""
    removed = pins[~pins["is_known"]]
    can_be_removed = int(pins["can_be_removed"].sum())
    text = f"{plural(len(pins) - len(removed), 'registered deployment')} · {can_be_removed:,} can be removed"
    if len(removed):
        text += f" · {len(removed):,} removed, but still needed by {plural(removed['pinned'].sum(), 'invocation')}"
    return text


def deployment_blocks(
    row: Mapping[Any, Any], served: ServedServices | None, removed: Sequence[str] | None, *, is_live: bool
) -> Iterator[Block]:
    """Yield the facts about one deployment, and the code that removes it if it can be removed."""
    tone: Tone = "good" if row["can_be_removed"] else "plain" if row["is_known"] else "bad"
    text = "\n".join(_facts(row, served, removed))
    yield Block(f"{row['deployment_id']} · {_verdict(row)}", text, tone)
    if not is_live:
        yield Block("", "This is recorded data. Check the live cluster before you remove or move anything.", "warning")
    elif row["can_be_removed"]:
        yield Block("Remove it, as code (cannot be undone)", _REMOVE.format(id=row["deployment_id"]), is_code=True)


@dataclass(frozen=True)
class _DeploymentsData:
    """The data of one read; ``pinned`` are the ids pinned to the deployment ``opened`` if they can be moved."""

    pins: pd.DataFrame = field(default_factory=pd.DataFrame)
    served: Mapping[str, ServedServices] = field(default_factory=dict)
    removed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    opened: str | None = None
    pinned: Sequence[str] = ()


class DeploymentsView(View):
    """Each deployment with its service revisions and pinned invocations, worst first; a click opens one.

    Callbacks of the host: ``opened`` gets the id of the row that the user opens; ``show`` gets ``deployment=`` and
    lists the pinned invocations; ``plan`` gets an action and ids. The attribute ``opened`` is the id of the open
    deployment or None. You can set it from any thread; a plan is possible after the next read. ``frame`` is the result
    of ``deployment_pins``, and ``selected`` has the ids of the selected rows.
    """

    title = "Deployments"

    def __init__(
        self,
        host: LivePanel,
        *,
        tz: str,
        opened: Callable[[str | None], object],
        show: Callable[..., object],
        plan: Callable[[ACTIONS, Sequence[str]], object],
    ) -> None:
        super().__init__(host)
        self._opened: str | None = None
        self._show_pinned, self._plan = show, plan
        self._content = _DeploymentsData()
        self._can_change = why_read_only(self.source) is None
        self.totals, self.detail = Blocks(), Blocks()
        self.grid = Grid(
            noun="deployments", height=340, tz=tz, is_read=False,
            heads=_HEADS, ages=["oldest", "created"], ids=["id"], flex="services", widths={"verdict": 180},
            narrow=dict.fromkeys(["id", "created", "oldest"], ""),
            empty="No deployments.", frozen_at=None if self.source.live else self.source.now,
        )  # fmt: skip
        self.show_button = widgets.Button()
        self.plan_button = widgets.Button(button_style="primary")
        offer_export(self.grid, host, "deployments")
        self.grid.add_class("rl-list")
        self.grid.on_open(host.guard(opened))
        self.show_button.on_click(host.guard(lambda _: self._show_pinned(deployment=self.opened)))
        self.plan_button.on_click(host.guard(lambda _: self._plan(ACTIONS.MOVE_TO, list(self._pinned))))
        self.buttons = fields_row(self.show_button, self.plan_button)
        self.children = (self.totals, self.grid, self.detail, self.buttons)

    @property
    def opened(self) -> str | None:
        """Return the id of the open deployment; None if none is open."""
        return self._opened

    @opened.setter
    def opened(self, deployment: str | None) -> None:
        if deployment != self._opened:
            self._opened = deployment
            self._show_opened()

    @property
    def frame(self) -> pd.DataFrame:
        """Return one row per deployment, as ``rl.ask(lab, "deployment_pins")`` does."""
        return self._content.pins

    def read(self) -> _DeploymentsData:
        """Read the deployments, and the ids pinned to the open one if they can be moved."""
        opened = self.opened
        reads = Reads(self.reads)
        pins = run_question(reads, "deployment_pins")
        served = read_served_services(reads, self.source)
        removed = {} if pins["is_known"].all() else self._read_removed()
        row = _row_of(pins, opened)
        pinned: Sequence[str] = ()
        if opened is not None and row is not None and self._can_change and _can_be_moved(row):
            pinned = read_pinned_ids(reads, opened, limit=MOST)
        return _DeploymentsData(pins, served, removed, opened, pinned)

    def show(self, content: _DeploymentsData) -> None:
        """Show the table and the open deployment."""
        why_not = why_read_only(self.source)
        self.totals.show(Block("", summary(content.pins)), *([Block("", why_not, "warning")] if why_not else []))
        table = deployment_table(content.pins, content.served, content.removed)
        is_first = self._content.pins.empty
        self._content = content
        self.grid.refresh(table, note=cut_off(content.pins))
        if is_first:
            self.grid.columns = _COLUMNS
        self._show_opened()

    def static(self) -> Iterable[str]:
        """Yield the summary, the table and the facts about the open deployment."""
        yield self.totals.static_html()
        yield self.grid.static_html()
        yield self.detail.static_html()

    def _read_removed(self) -> Mapping[str, Sequence[str]]:
        """Return the services of invocations whose deployment was removed, by the id of the deployment."""
        try:
            rows = run_question(self.reads, "pinned_to_missing")
        except NotOnThisServer:  # show the other data without the names
            return {}
        services = rows.groupby("pinned_deployment_id")["target_service_name"].unique()
        return {str(id_): sorted(names) for id_, names in services.items()}

    def _show_opened(self) -> None:
        content, opened = self._content, self._opened
        row = _row_of(content.pins, opened)
        self._show_buttons(row)
        if opened is None or content.pins.empty:
            self.detail.show()
        elif row is None:
            text = "This deployment does not exist: it is not registered, and no invocation is pinned to it."
            self.detail.show(Block(opened, text, "warning"))
        else:
            served, removed = content.served.get(opened), content.removed.get(opened)
            self.detail.show(*deployment_blocks(row, served, removed, is_live=self.source.live))

    def _show_buttons(self, row: Mapping[Any, Any] | None) -> None:
        pinned = 0 if row is None else int(row["pinned"])
        self.buttons.layout.display = "" if pinned else "none"
        self.show_button.description = f"Show {pinned:,} pinned"
        is_movable = row is not None and self._can_change and _can_be_moved(row)
        ids = self._pinned
        first = f"first {MOST:,} of " if pinned > MOST else ""
        self.plan_button.description = f"Plan move of {first}{pinned:,}…"
        self.plan_button.disabled = not ids  # they come with the next read
        self.plan_button.layout.display = "" if is_movable else "none"

    @property
    def _pinned(self) -> Sequence[str]:
        return self._content.pinned if self._content.opened == self._opened else ()


def _row_of(pins: pd.DataFrame, deployment: str | None) -> Mapping[Any, Any] | None:
    if deployment is None:
        return None
    return next((row for row in pins.to_dict("records") if row["deployment_id"] == deployment), None)


def _times(rows: Sequence[Mapping[Any, Any]], column: pd.Series[Any]) -> pd.Series[Any]:
    """Return the column in the order of the rows; it keeps its dtype even if all values are missing."""
    return pd.Series([row[column.name] for row in rows], dtype=column.dtype)


def _latest_of(row: Mapping[Any, Any]) -> list[str]:
    latest = row["latest_of"]
    return [] if latest is None or isinstance(latest, float) else [str(name) for name in latest]


def _can_be_moved(row: Mapping[Any, Any]) -> bool:
    return bool(row["pinned"]) and not _latest_of(row)


def _rank(row: Mapping[Any, Any]) -> int:
    """Return the sort rank of a row: removed too early, old, latest, can be removed."""
    if not row["is_known"]:
        return 0
    if row["can_be_removed"]:
        return 3
    return 2 if _latest_of(row) else 1


def _verdict(row: Mapping[Any, Any]) -> str:
    if not row["is_known"]:
        return "✖ removed, still needed"
    if row["can_be_removed"]:
        return "can be removed"
    latest = _latest_of(row)
    if not latest:
        return f"▲ old, needed by {row['pinned']:,}"
    return f"latest of {latest[0] if len(latest) == 1 else plural(len(latest), 'service')}"


def _facts(row: Mapping[Any, Any], served: ServedServices | None, removed: Sequence[str] | None) -> Iterator[str]:
    if row["is_known"]:
        yield mask_user_info(str(row["endpoint"]))
    else:
        removed_services = ", ".join(removed or ["unknown services"])
        yield f"This deployment was removed, so its address is unknown. It served {removed_services}."
    if served is not None and served.services:
        sdk = f", {served.sdk}" if served.sdk else ""
        yield f"Serves {served.services}; service protocol {served.protocol}{sdk}."
    latest = _latest_of(row)
    if latest:
        yield f"It has the latest revision of {', '.join(latest)}, so new invocations go to it."
    if row["would_land"]:
        yield f"{plural(row['would_land'], 'invocation')} without a pinned deployment will start on it."
    yield _pins(row)
    yield from _advice(row)


def _advice(row: Mapping[Any, Any]) -> Iterator[str]:
    if row["can_be_removed"]:
        yield "It does not have the latest revision of any service, so no new invocation goes to it."
    elif not row["is_known"]:
        yield "They fail until you move them to a deployment that serves them. If none does, register one first."
    elif _can_be_moved(row):
        yield (
            "You can remove it after these invocations end or you move them. A move works if the newer code runs the "
            "same steps in the same order."
        )


def _pins(row: Mapping[Any, Any]) -> str:
    if not row["pinned"]:
        return "No invocation in flight is pinned to it."
    counts = ", ".join(f"{row[name]:,} {status}" for name, status in _PINNED.items() if row[name])
    oldest = "" if pd.isna(row["oldest_age"]) else f"; oldest: {format_duration(pd.Timedelta(row['oldest_age']))}"
    verb = verb_form(row["pinned"], "is", "are")
    return f"{plural(row['pinned'], 'invocation')} in flight {verb} pinned to it: {counts}{oldest}."
