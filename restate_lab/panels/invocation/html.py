"""The parts of an InvocationPanel that are read and not pressed, as escaped HTML: what came from a cluster is text."""

from __future__ import annotations

import base64
import io
import threading
from datetime import datetime, timedelta
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from restate_lab._cells import MISSING, cell, is_missing
from restate_lab._text import escape_invisible
from restate_lab.analysis.ids import describe_new_run
from restate_lab.analysis.journal.errors import describe_code
from restate_lab.interrupts import Shield
from restate_lab.panels.invocation.reader import InvocationContent
from restate_lab.panels.rows import without_prefix
from restate_lab.payload_json import HEADERS, SECRETS, mask, write_for_display
from restate_lab.status import STATUSES, Status

__all__ = [
    "carried_text",
    "facts_html",
    "failure_html",
    "journal_picture",
    "payloads_html",
    "picture_html",
    "run_html",
    "static_html",
    "title_html",
    "why_html",
]

_MOST = 20_000  # characters of one value
_PARTS = ("argument", "payload", "headers")
_GOING = Status("", "")
_LONGEST = 60_000  # characters of a failure
_LINE = 400  # characters of its first line
_MOST_PAYLOADS = 100
# A page without the panel's CSS has these instead; texts from a cluster are escaped and cannot hold such a tag.
_STYLES = {
    '<div class="rl-target">': "font-size:18px;font-weight:600",
    '<div class="rl-under">': "display:flex;flex-wrap:wrap;gap:2px 12px;align-items:baseline",
    '<div class="rl-failure">': "border-left:4px solid #b3261e;background:rgba(230,60,50,.09);padding:7px 10px",
    '<div class="rl-first">': "font-size:15px;font-weight:600;overflow-wrap:anywhere",
    '<div class="rl-why">': "max-width:90ch;overflow-wrap:anywhere",
    '<dl class="rl-facts">': "display:grid;grid-template-columns:repeat(auto-fill,minmax(320px,1fr));margin:6px 0",
    "<dt>": "display:inline;float:none;width:auto;padding:0 8px 0 0;font-weight:400;opacity:.7",
    "<dd>": "display:inline;float:none;margin:0;padding:0;width:auto;overflow-wrap:anywhere",
    "<pre>": "white-space:pre-wrap;overflow-wrap:anywhere;max-height:320px;overflow:auto;font-size:12px",
}
_FACTS = {
    "created_at": "created",
    "scheduled_start_at": "starts",
    "running_at": "first run",
    "last_start_at": "last attempt began",
    "next_retry_at": "next attempt",
    "modified_at": "last moved",
    "completed_at": "ended",
    "retry_count": "retry count",
    "failed_step": "step that fails",
    "target_service_ty": "kind",
    "invoked_by": "invoked by",
    "idempotency_key": "idempotency key",
    "deployment_id": "deployment",
    "pinned_deployment_id": "bound to",
    "protocol": "protocol",
    "last_attempt_server": "SDK",
    "journal_size": "journal entries",
    "completion_retention": "kept after its end",
}
_DRAWING = threading.Lock()  # matplotlib's fonts and styles are the process's
_WIDTH, _DPI = 6.4, 160


def carried_text(entry: dict[Any, Any]) -> list[tuple[str, str]]:
    """Return what one row of a journal with payloads carries: name and text of each part that is there."""
    return [(name, _payload_text(entry[name])) for name in _PARTS if not _is_nothing(entry.get(name))]


def _payload_text(value: Any) -> str:
    if isinstance(value, bytes):
        text = f"{len(value):,} bytes: {value[:2000].hex(' ')}"
    else:
        whole = value if isinstance(value, str) else write_for_display(value, indent=2)
        text = mask(whole, [HEADERS, SECRETS]).value
    return text if len(text) <= _MOST else f"{text[:_MOST]}…\n({len(text):,} characters in all)"


def _is_nothing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, dict | list) and not value)


def title_html(found: InvocationContent, address: str | None) -> str:
    """Return the target, the status, the id, and a link to the web UI's page where there is one."""
    status = str(found.row["status"])
    colour = STATUSES[status].colour if status in STATUSES else "#8a8f98"
    link = ""
    if address is not None and address.startswith(("http://", "https://")):
        page = escape(f"{address.rstrip('/')}/ui/invocations/{found.row['id']}")
        link = f'<a href="{page}" target="_blank" rel="noopener noreferrer">in the web UI</a>'
    return (
        f'<div class="rl-target">{_shown(str(found.row["target"]))}</div>'
        f'<div class="rl-under"><span class="rl-word" style="--rl-dot:{colour}">{_shown(status)}</span>'
        f"<code>{_shown(str(found.row['id']))}</code>{link}</div>"
    )


def run_html(created_at: datetime | None, reviewed: datetime | None) -> str:
    """Return that this is another run of the id than the one that was shown or opened; "" where it is that one."""
    if created_at == reviewed:
        return ""
    words = f"This is {describe_new_run(created_at, reviewed)}. That one is gone."
    return f'<div class="rl-failure"><div class="rl-first">{_shown(words)}</div></div>'


def failure_html(found: InvocationContent) -> str:
    """Return the failure, its first line large and the rest folded; "" where nothing failed."""
    failure = found.failure
    if failure is None:
        return ""
    first, _, rest = failure.partition("\n")
    if not STATUSES.get(str(found.row["status"]), _GOING).ended:
        first = without_prefix(first)
    code = describe_code(_text(found.row["error_code"]))
    words = f'<div class="rl-code">{_shown(code)}</div>' if code else ""
    if len(first) > _LINE:
        first, rest = f"{first[:_LINE]}…", failure
    cut = f"\n… ({len(rest):,} characters in all)" if len(rest) > _LONGEST else ""
    trace = f"<pre>{_shown(rest[:_LONGEST] + cut, lines=True)}</pre>" if rest.strip() else ""
    folded = (
        f"<details><summary>The rest, {rest.count(chr(10)) + 1:,} lines</summary>{trace}</details>" if trace else ""
    )
    return f'<div class="rl-failure"><div class="rl-first">{_shown(first)}</div>{words}{folded}</div>'


def why_html(found: InvocationContent) -> str:
    """Return why it does not go on, and folded the chain with what one can do."""
    told = found.why
    return (
        f'<div class="rl-why">{_shown(told.summary)}</div>'
        f"<details><summary>The whole explanation, with what one can do as code</summary>{told._repr_html_()}</details>"
    )


def facts_html(found: InvocationContent, zone: ZoneInfo) -> str:
    """Return what is known of it, as a list of names and values."""
    known = {**found.facts, **found.row}
    parts = []
    for name, label in _FACTS.items():
        value = known.get(name)
        if is_missing(value) or value == "":
            continue
        shown = cell(value, zone)
        title = f' title="{escape(shown.more)}"' if shown.more else ""
        ago = _ago(value, found.why.at)
        parts.append(f"<div{title}><dt>{escape(label)}</dt><dd>{escape(shown.text or '')}{escape(ago)}</dd></div>")
    return f'<dl class="rl-facts">{"".join(parts)}</dl>'


def payloads_html(found: InvocationContent) -> str:
    """Return what the entries carry; secret fields are masked."""
    if not found.has_payloads:
        return ""
    parts = []
    for entry in found.journal.head(_MOST_PAYLOADS).to_dict("records"):
        carried = carried_text(entry)
        index = MISSING if is_missing(entry["index"]) else str(entry["index"])
        name = _text(entry["name"]) or _text(entry["callee_target"]) or _text(entry["state_key"]) or ""
        blocks = "".join(f"<b>{name}</b><pre>{_shown(text, lines=True)}</pre>" for name, text in carried)
        if blocks:
            head = _shown(f"{index} {entry['entry_type']} {name}")
            parts.append(f"<section><h4>{head}</h4>{blocks}</section>")
    left_out = len(found.journal) - _MOST_PAYLOADS
    rest = f"<p>Of {left_out:,} more entries nothing is shown here: rl.journal(…, payloads=True).</p>"
    return ("".join(parts) or "<p>No entry carries anything.</p>") + (rest if left_out > 0 else "")


def picture_html(picture: bytes | None, about: str) -> str:
    """Return a picture in the page itself."""
    if picture is None:
        return ""
    data = base64.b64encode(picture).decode()
    return f'<img class="rl-picture" alt="{escape(about)}" src="data:image/png;base64,{data}">'


def static_html(*parts: str) -> str:
    """Return parts made here as they look in a page that has nothing of the panel."""
    html = "".join(parts)
    for tag, style in _STYLES.items():
        html = html.replace(tag, f'{tag[:-1]} style="{style}">')
    return f'<div style="font:13px/1.5 var(--jp-ui-font-family,system-ui,sans-serif)">{html}</div>'


def _ago(value: Any, now: datetime) -> str:
    if not isinstance(value, datetime) or value.tzinfo is None:
        return ""
    distance = pd.Timestamp(now) - pd.Timestamp(value)
    if abs(distance) < pd.Timedelta(seconds=1):
        return " (now)"
    words = cell(timedelta(seconds=abs(round(distance.total_seconds()))), ZoneInfo("UTC")).text
    return f" ({words} ago)" if distance > pd.Timedelta(0) else f" (in {words})"


def _shown(text: str, *, lines: bool = False) -> str:
    return escape(escape_invisible(text, lines=lines))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def journal_picture(frame: pd.DataFrame, *, tz: str) -> bytes:
    """Return the timeline of a journal as a PNG; matplotlib is loaded for the first one."""
    with Shield():
        import matplotlib.backends.backend_agg  # noqa: F401, PLC0415 - savefig would load it without a Shield
        from matplotlib.figure import Figure  # noqa: PLC0415 - a second that only a reader of timelines pays

        from restate_lab.plots import plot_journal  # noqa: PLC0415

    with _DRAWING:
        figure = Figure(figsize=(_WIDTH, _height(len(frame))), layout="constrained", dpi=_DPI)
        plot_journal(frame, ax=figure.add_subplot(), tz=tz)
        into = io.BytesIO()
        figure.savefig(into, format="png")
    return into.getvalue()


def _height(rows: int) -> float:
    return min(max(2.4, 1.5 + 0.22 * rows), 11.0)
