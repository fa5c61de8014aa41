"""The sources of a server: one cluster, and the evidence and archives that its command line names."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import platformdirs

from restate_lab.client.lab import Lab, connect
from restate_lab.errors import ArgumentError
from restate_lab.evidence.freeze import freeze
from restate_lab.evidence.store import open_evidence
from restate_lab.history.source import open_history
from restate_lab.history.store import is_archive
from restate_lab.source import Source

_FREEZE_TIMEOUT = "5m"
_MOST_FROZEN = 5  # in a session: each is a copy of the cluster's tables on this machine


class Sources:
    """The open sources by name; the first one is the default of every tool."""

    def __init__(self, lab: Lab | None, stack: ExitStack, *, cluster: str | None = None) -> None:
        self._stack, self._cluster = stack, cluster
        self._lock = threading.Lock()
        self._frozen = 0
        self._by_name: dict[str, Source] = {} if lab is None else {lab.name: lab}
        self._lab = lab

    @property
    def lab(self) -> Lab:
        """Return the connection to the cluster.

        Raises:
            ArgumentError: the server has no cluster.
        """
        if self._lab is None:
            raise ArgumentError("this server has no cluster, only evidence or archives; start it with -e NAME to plan.")
        return self._lab

    def items(self) -> list[tuple[str, Source]]:
        """Return the names and the sources."""
        with self._lock:
            return list(self._by_name.items())

    def get(self, name: str | None) -> Source:
        """Return a source by its name; None is the default.

        Raises:
            ArgumentError: no source has this name.
        """
        if name is None:
            return next(iter(self._by_name.values()))
        known = dict(self.items())
        if name not in known:
            raise ArgumentError(f"unknown source {name[:100]!r}; choose from {', '.join(known)}.")
        return known[name]

    def open(self, path: Path) -> str:
        """Open frozen evidence or an archive, and return its name."""
        source: Any = self._open_archive(path) if is_archive(path) else open_evidence(path)
        self._stack.enter_context(source)
        with self._lock:
            name, number = path.stem, 1
            while name in self._by_name:
                number += 1
                name = f"{path.stem}-{number}"
            self._by_name[name] = source
            return name

    def freeze(self) -> tuple[str, Path]:
        """Freeze the cluster without payloads into a new folder of the user's data, and return its name and path.

        Raises:
            ArgumentError: the server has no cluster, or this session has frozen too often.
        """
        with self._lock:
            if self._frozen >= _MOST_FROZEN:
                raise ArgumentError(f"this session has frozen {_MOST_FROZEN} times, which is the maximum.")
            self._frozen += 1
        folder = platformdirs.user_data_path("restate_lab") / "evidence"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = "".join(each if each.isalnum() else "-" for each in self.lab.name)
        path = folder / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%S}Z.evidence"
        freeze(self.lab, path, timeout=_FREEZE_TIMEOUT, progress=False)
        return self.open(path), path

    def _open_archive(self, path: Path) -> Source:
        """Return the history of the only cluster of an archive, or of the one with the name of the environment."""
        try:
            return open_history(path)
        except ArgumentError:
            if self._cluster is None:
                raise
            return open_history(path, cluster_name=self._cluster)


@contextmanager
def open_sources(cluster: str | None, evidence: Sequence[Path], *, allow_changes: bool) -> Iterator[Sources]:
    """Yield the sources of a server, and close them afterwards; the cluster is not contacted yet.

    Raises:
        ArgumentError: changes are allowed without a cluster, or with a read-only connection.
    """
    with ExitStack() as stack:
        lab = None
        if cluster is not None or not evidence:
            lab = stack.enter_context(connect(cluster, read_only=not allow_changes, check=False))
        if allow_changes and lab is None:
            raise ArgumentError("--allow-changes needs a cluster, and evidence cannot be changed: add -e NAME.")
        if allow_changes and lab is not None and lab.read_only:
            raise ArgumentError("--allow-changes, but RESTATE_LAB_READ_ONLY is set: unset it, or omit --allow-changes.")
        sources = Sources(lab, stack, cluster=cluster)
        for path in evidence:
            sources.open(path)
        yield sources
