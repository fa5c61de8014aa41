"""The name of evidence, the label of its server, and its card in a notebook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from restate_lab._html import render
from restate_lab._text import escape_invisible, format_duration, format_timestamp, join
from restate_lab.evidence.manifest import Manifest
from restate_lab.server import has_vqueues
from restate_lab.status import STATUSES

_ACCENT = "#3c7d8c"
_FEW = 6
_LONGEST = 200  # characters of a name


def evidence_name(manifest: Manifest) -> str:
    """Return the cluster's name with the timestamp, so that frozen evidence is not taken for the live cluster."""
    return f"{_one_line(manifest.server.name)} @ {format_timestamp(manifest.now)}"


def server_label(manifest: Manifest) -> str:
    """Return the version of the server, and whether it has vqueues."""
    return f"restate {_one_line(manifest.server.version)}{', vqueues' if has_vqueues(manifest.server) else ''}"


def _one_line(text: str) -> str:
    """Return a name on one line with all characters visible, because an attacker can have written the manifest."""
    return escape_invisible(" ".join(text[:_LONGEST].split()))


def evidence_card(manifest: Manifest, path: str, digest: str, *, verified: bool, counts: Mapping[str, int]) -> str:
    """Return the card as HTML: cluster and time, invocations by status (``counts``), contents and exclusions."""
    ordered = [status for status in STATUSES if status in counts]
    parts = [(status, counts[status], STATUSES[status].colour) for status in ordered]
    parts += [(status, n, STATUSES["ready"].colour) for status, n in counts.items() if status not in STATUSES]
    return render(
        "_html/card.html.j2",
        title=evidence_name(manifest),
        place=f"{path}, {server_label(manifest)}",
        place_tip="",
        badges=[_badge(digest, verified=verified)],
        facts=list(_facts(manifest)),
        lines=[],
        accent=_ACCENT,
        parts=parts,
    )


def _badge(digest: str, *, verified: bool) -> tuple[str, str, str]:
    """Return whether the files match the manifest: (text, tooltip, colour)."""
    if verified:
        return "verified", f"The files match the manifest, sha256 {digest}.", STATUSES["succeeded"].colour
    return "NOT VERIFIED", f"The files were not compared with the manifest, sha256 {digest}.", STATUSES["paused"].colour


def _facts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield the facts of the card as (label, value)."""
    took = format_duration(manifest.ended_at - manifest.started_at)
    yield "frozen", f"{format_timestamp(manifest.started_at)}, within {took}, by restate_lab {manifest.restate_lab}"
    yield "ages count from", format_timestamp(manifest.now)
    full = sorted((each for each in manifest.files if each.rows), key=lambda each: -each.rows)
    yield "tables", f"{len(manifest.files)}: {join((f'{each.table} {each.rows:,}' for each in full), _FEW)}"
    if manifest.scope is not None:
        yield "part of the cluster", _describe_scope(manifest)
    if manifest.excluded:
        yield "excluded", _describe_exclusions(manifest)
    if manifest.redaction.patterns:
        yield "masked", ", ".join(f"{text} ({n:,})" for text, n in manifest.redaction.masked.items())
    if manifest.redaction.unread:
        yield "masked as a whole", f"not readable as JSON: {_describe_counts(manifest.redaction.unread)}"
    if manifest.redaction.not_json:
        yield "not masked", f"not JSON: {_describe_counts(manifest.redaction.not_json)}"


def _describe_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({n:,})" for name, n in counts.items())


def _describe_scope(manifest: Manifest) -> str:
    scope = manifest.scope or {}
    asked = ", ".join(f"{name} {value}" for name, value in dict(scope.get("asked", {})).items())
    notes = "".join(f"; {note}" for note in scope.get("notes", ()))
    counts = f"{scope.get('named')} invocations, {scope.get('with_callers_and_callees')} with callers and callees"
    return f"{asked}: {counts}{notes}"


def _describe_exclusions(manifest: Manifest) -> str:
    by_reason: dict[str, list[str]] = {}
    for each in manifest.excluded:
        by_reason.setdefault(each.reason, []).append(f"{each.table}.{each.column}" if each.column else each.table)
    return "; ".join(f"{join(names, _FEW)} ({reason})" for reason, names in by_reason.items())
