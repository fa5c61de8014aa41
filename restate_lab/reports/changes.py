"""What was changed from here, out of the audit log: at this cluster's addresses, in the report's time."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pandas as pd

from restate_lab._text import format_timestamp, join
from restate_lab.audit import audit_log
from restate_lab.client.lab import is_lab
from restate_lab.errors import RestateLabError, Truncated
from restate_lab.reports.about import About
from restate_lab.reports.parts import Notice, Part, Prose, Section
from restate_lab.reports.tables import Maker
from restate_lab.source import Source

__all__ = ["changes_by", "changes_of", "changes_section"]

TITLE = "Actions taken"
_COLUMNS = ("time", "action", "what", "outcome", "reason", "user", "error")
_ELSEWHERE = "What others changed, or was changed with the web UI, the CLI or by programs, is not in this log."
_FROZEN = "Evidence has no audit log: what was done to the cluster is not known here."
_NO_ADDRESS = "This source has no address, so no record of the audit log can be told to be about it."


def changes_section(source: Source, about: About, maker: Maker, *, since: datetime, folder: Path | None) -> Section:
    """Return the section of the actions taken; it also says that there were none, and what it does not know."""
    if about.is_evidence:
        return Section(TITLE, (Prose((_FROZEN,)),))
    addresses = addresses_of(source)
    if not addresses:
        return Section(TITLE, (Prose((_NO_ADDRESS,)),))
    found, torn = changes_of(source, since=since, folder=folder)
    span = f"since {format_timestamp(since, zone=maker.zone)}"
    return _section(
        found,
        torn,
        maker,
        nothing=f"Nothing was changed on {about.name} with restate_lab by this user of this machine {span}.",
        caption=f"With restate_lab, by this user of this machine, {span}, oldest first.",
    )


def changes_by(pid: int, maker: Maker, *, since: datetime, folders: Sequence[Path]) -> Section:
    """Return the section of what one process changed."""
    logs = [_log(folder) for folder in folders]
    torn = "; ".join(torn for _, torn in logs if torn)
    found = pd.concat([log for log, _ in logs]) if logs else _log(None)[0].head(0)
    found = _told(found[(found["pid"] == pid) & (found["time"] >= since)].sort_values("time"))
    nothing = "This notebook changed nothing with restate_lab."
    return _section(found, torn, maker, nothing=nothing, caption="By this notebook, with restate_lab, oldest first.")


def _section(found: pd.DataFrame, torn: str, maker: Maker, *, nothing: str, caption: str) -> Section:
    parts: list[Part] = [Notice(f"The audit log is incomplete: {maker.masker.text(torn)}.")] if torn else []
    if found.empty:
        return Section(TITLE, (Prose((nothing, _ELSEWHERE)), *parts))
    table = maker.table(found, columns=_COLUMNS, file="actions", rows=200, drop_empty=True)
    embedded = table.download.size if table.download else 0
    return Section(TITLE, (*parts, table), caption=f"{caption} {_ELSEWHERE}", embedded=embedded)


def changes_of(source: Source, *, since: datetime, folder: Path | None) -> tuple[pd.DataFrame, str]:
    """Return the audit log's rows about a source, oldest first, and what of the log could not be read, in words."""
    log, torn = _log(folder or _folder_of(source))
    return _told(log[log["address"].isin(addresses_of(source)) & (log["time"] >= since)]), torn


def _log(folder: Path | None) -> tuple[pd.DataFrame, str]:
    """Return the audit log, and what of it could not be read, in words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Truncated)  # it is said in the report
        log = audit_log(folder)
    return log, str(log.attrs.get("truncated", ""))


def _told(log: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with their targets and their outcome in words."""
    found = log.reset_index(drop=True)
    found["what"] = [_targets(each) for each in found["targets"]]
    found["outcome"] = found["outcome"].fillna("not known: the process ended before it knew")
    found["outcome"] = found["counts"].where(found["counts"].notna(), found["outcome"])
    return found


def addresses_of(source: Source) -> list[str]:
    """Return the addresses under which a live cluster is changed: of its Admin API, and of its ingress."""
    if not is_lab(source):
        return []
    found: list[str | None] = [source.address]
    try:
        found.append(source.ingress.address)
    except RestateLabError:  # no ingress is known, so nothing went there from here
        found.append(source.settings.ingress_url)
    return [str(each) for each in found if each]


def _folder_of(source: Source) -> Path | None:
    return source.transport.audit.folder if is_lab(source) else None


def _targets(targets: list[str]) -> str:
    return targets[0] if len(targets) == 1 else f"{len(targets):,}: {join(targets)}"
