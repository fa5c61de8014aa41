"""What evidence says of itself: its name, its line, and its card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from restate_lab._html import render
from restate_lab._text import escape_invisible, format_duration, format_timestamp, join
from restate_lab.evidence.manifest import Manifest
from restate_lab.status import STATUSES

__all__ = ["evidence_card", "name_of", "server_words"]

_ACCENT = "#3c7d8c"
_FEW = 6
_LONGEST = 200  # characters of a name


def name_of(manifest: Manifest) -> str:
    """Return the cluster's name with the moment: nothing frozen is taken for what is there now."""
    return f"{_told(manifest.server.name)} @ {format_timestamp(manifest.now)}"


def server_words(manifest: Manifest) -> str:
    """Return which server it was."""
    return f"restate {_told(manifest.server.version)}{', vqueues' if manifest.server.features.get('vqueues') else ''}"


def _told(text: str) -> str:
    """Return a name on one line, with all of it to be seen; the manifest may be of somebody who means ill."""
    return escape_invisible(" ".join(text[:_LONGEST].split()))


def evidence_card(manifest: Manifest, path: str, digest: str, *, verified: bool, words: Mapping[str, int]) -> str:
    """Return the card as HTML: whose and when, invocations by status, what is here, and what is not."""
    ordered = [word for word in STATUSES if word in words]
    parts = [(word, words[word], STATUSES[word].colour) for word in ordered]
    parts += [(word, n, STATUSES["ready"].colour) for word, n in words.items() if word not in STATUSES]
    return render(
        "_html/card.html.j2",
        title=name_of(manifest),
        place=f"{path}, {server_words(manifest)}",
        lines=list(_lines(manifest, digest, verified=verified)),
        accent=_ACCENT,
        parts=parts,
    )


def _lines(manifest: Manifest, digest: str, *, verified: bool) -> Iterator[str]:
    took = format_duration(manifest.ended_at - manifest.started_at)
    yield (
        f"frozen from {format_timestamp(manifest.started_at)} on, within {took}, one table after "
        f"another, by restate_lab {manifest.restate_lab}; ages count from {format_timestamp(manifest.now)}"
    )
    full = sorted((each for each in manifest.files if each.rows), key=lambda each: -each.rows)
    yield f"{len(manifest.files)} tables: {join((f'{each.table} {each.rows:,}' for each in full), _FEW)}"
    if manifest.scope is not None:
        yield f"only a part of the cluster: {_scope(manifest)}"
    if manifest.excluded:
        yield f"left out: {_left_out(manifest)}"
    if manifest.redaction.patterns:
        yield f"masked: {', '.join(f'{text} ({n:,})' for text, n in manifest.redaction.masked.items())}"
    if manifest.redaction.unread:
        yield f"could not be read and were masked whole: {dict(manifest.redaction.unread)}"
    if manifest.redaction.not_json:
        yield f"not looked into, being no JSON: {dict(manifest.redaction.not_json)}"
    yield f"{'checked against' if verified else 'NOT CHECKED against'} the manifest, sha256 {digest[:16]}…"


def _scope(manifest: Manifest) -> str:
    scope = manifest.scope or {}
    asked = ", ".join(f"{name} {value}" for name, value in dict(scope.get("asked", {})).items())
    notes = "".join(f"; {note}" for note in scope.get("notes", ()))
    counts = f"{scope.get('named')} invocations, {scope.get('with_callers_and_callees')} with callers and callees"
    return f"{asked}: {counts}{notes}"


def _left_out(manifest: Manifest) -> str:
    by_reason: dict[str, list[str]] = {}
    for each in manifest.excluded:
        by_reason.setdefault(each.reason, []).append(f"{each.table}.{each.column}" if each.column else each.table)
    return "; ".join(f"{join(names, _FEW)} ({reason})" for reason, names in by_reason.items())
