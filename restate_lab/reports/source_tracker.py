"""Record which clusters and evidence a notebook reads; this runs in the kernel of a notebook report.

The module is outside of the package ``notebook``: the kernel would load all that writes a report.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from restate_lab.errors import RestateLabError
from restate_lab.server import has_vqueues

VARIABLE = "RESTATE_LAB_SOURCES_FILE"
START = "__import__('restate_lab.reports.source_tracker', fromlist=['install']).install(get_ipython())"
"""The first line that the kernel runs; it defines no name."""


def install(shell: Any) -> None:
    """After each cell, write the sources among the notebook's variables to the file named in ``VARIABLE``."""
    path = Path(os.environ.pop(VARIABLE))
    sources: dict[str, dict[str, Any]] = {}

    def record(*_: Any) -> None:
        for facts in _sources(list(shell.user_ns.values())):
            sources[f"{facts['name']} {facts['address']} {facts['evidence']}"] = facts
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({"pid": os.getpid(), "sources": list(sources.values())}), encoding="utf-8")
        unfinished.replace(path)

    shell.events.register("post_run_cell", record)


def read_sources(path: Path) -> tuple[int, list[dict[str, Any]]]:
    """Return the kernel's process ID (0 if no cell ran) and the facts of each source, in order of first use."""
    if not path.is_file():
        return 0, []
    record = json.loads(path.read_text("utf-8"))
    return int(record["pid"]), list(record["sources"])


def _sources(values: list[Any]) -> Iterator[dict[str, Any]]:
    base = getattr(sys.modules.get("restate_lab.source"), "Source", None)
    for value in values:
        if base is None or not isinstance(value, base):
            continue
        if value.live and hasattr(value, "transport"):
            yield _source_facts(value, audit=str(value.transport.audit.folder))
        elif hasattr(value, "digest"):
            not_verified = "" if value.verified else " (not verified)"
            yield _source_facts(value, evidence=f"{value.digest}{not_verified}")


def _source_facts(source: Any, *, audit: str = "", evidence: str = "") -> dict[str, Any]:
    version = ""
    with contextlib.suppress(RestateLabError):  # the source did not respond, or is closed
        version = f"{source.version}{', vqueues' if has_vqueues(source) else ''}"
    return {"name": source.name, "version": version, "address": source.address, "audit": audit, "evidence": evidence}
