"""The source of a command: a cluster, frozen evidence, or an archive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from restate_lab.client.lab import connect
from restate_lab.errors import ArgumentError
from restate_lab.source import Source


@contextmanager
def open_source(cluster: str | None, evidence: Path | None) -> Iterator[Source]:
    """Yield the source that the options name and close it afterwards; a cluster is opened read-only.

    The path of evidence can be that of an archive; ``cluster`` then is the name of one of its clusters.
    """
    if evidence is not None and _is_archive(evidence):
        from restate_lab.history.source import open_history

        with open_history(evidence, cluster_name=cluster) as history:
            yield history
        return
    if cluster is not None and evidence is not None:
        raise ArgumentError("--cluster and --evidence cannot be combined; choose one.")
    if evidence is None:
        with connect(cluster, read_only=True) as lab:
            yield lab
        return
    from restate_lab.evidence.store import open_evidence

    with open_evidence(evidence) as frozen:
        yield frozen


def _is_archive(path: Path) -> bool:
    from restate_lab.history.store import is_archive

    return is_archive(path)
