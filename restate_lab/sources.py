"""The sources of a server by name: clusters, and the evidence and archives that its command line names."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from restate_lab.client.lab import Lab
from restate_lab.errors import ArgumentError
from restate_lab.evidence.store import open_evidence
from restate_lab.history import connect
from restate_lab.history.opening import open_history
from restate_lab.history.store import is_archive
from restate_lab.source import Source

_MOST_EARLIER = 5  # sources of earlier times: each has all of its invocations in memory


class Sources:
    """The open sources by name; the first one is the default."""

    def __init__(self, stack: ExitStack, labs: Sequence[Lab] = (), *, cluster: str | None = None) -> None:
        self._stack, self._cluster = stack, cluster
        self._lock = threading.Lock()
        self._by_name: dict[str, Any] = {}
        self._earlier: list[str] = []
        stack.callback(self._close_earlier)
        for lab in labs:
            if lab.name in self._by_name:
                raise ArgumentError(f"the cluster {lab.name!r} was named twice; name it once.")
            self._by_name[lab.name] = lab
        self._labs = tuple(labs)

    @property
    def has_cluster(self) -> bool:
        """Return whether a source is a cluster."""
        return bool(self._labs)

    @property
    def lab(self) -> Lab:
        """Return the connection to the first cluster.

        Raises:
            ArgumentError: the server has no cluster.
        """
        if not self.has_cluster:
            raise ArgumentError("this server has no cluster, only evidence or archives; start it with -e NAME to plan.")
        return self._labs[0]

    def items(self) -> list[tuple[str, Source]]:
        """Return the names and the sources."""
        with self._lock:
            return list(self._by_name.items())

    def get(self, name: str | None) -> Source:
        """Return a source by its name; None is the default.

        Raises:
            ArgumentError: no source has this name.
        """
        known = dict(self.items())
        if name is None:
            return next(iter(known.values()))
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

    def open_at(self, name: str | None, time: str) -> tuple[str, Source]:
        """Open a source as it was at an earlier time, and return its name and it; the oldest of many loses its name.

        It is not closed, because a call can be reading it. Its rows are freed when the last such call ends.

        Raises:
            ArgumentError: no source has this name, or it does not have this time.
            RestateLabError: any error of the cluster.
        """
        base = self.get(name)
        past: Any = base.at(time)
        with self._lock:
            named = next(iter(self._by_name)) if name is None else name
            key = f"{named}@{past.now.isoformat(timespec='milliseconds')}"
            if key in self._earlier:
                past.close()
                return key, self._by_name[key]
            if len(self._earlier) == _MOST_EARLIER:
                del self._by_name[self._earlier.pop(0)]
            self._earlier.append(key)
            self._by_name[key] = past
            return key, past

    def _close_earlier(self) -> None:
        for name in self._earlier:
            self._by_name[name].close()

    def _open_archive(self, path: Path) -> Source:
        """Return the history of the only cluster of an archive, or of the one with the name of the environment."""
        try:
            return open_history(path)
        except ArgumentError:
            if self._cluster is None:
                raise
            return open_history(path, cluster_name=self._cluster)


@contextmanager
def open_sources(clusters: Sequence[str | None], paths: Sequence[Path], *, read_only: bool = True) -> Iterator[Sources]:
    """Yield the sources of a server, and close them afterwards; no cluster is contacted yet.

    A cluster of None is the one that the restate CLI would use. Without any cluster and path, it is served, too.

    Raises:
        ArgumentError: a cluster was named twice, or a path has no evidence and no archive.
    """
    with ExitStack() as stack:
        named = list(clusters) or ([] if paths else [None])
        labs = [stack.enter_context(connect(each, read_only=read_only, check=False)) for each in named]
        sources = Sources(stack, labs, cluster=named[0] if len(named) == 1 else None)
        for path in paths:
            sources.open(path)
        yield sources
