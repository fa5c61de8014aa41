"""The source of a command: a cluster, or frozen evidence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from restate_lab.client.lab import connect
from restate_lab.errors import ArgumentError
from restate_lab.source import Source

__all__ = ["open_source"]


@contextmanager
def open_source(cluster: str | None, evidence: Path | None) -> Iterator[Source]:
    """Yield the source that the options name and close it afterwards; a cluster is opened read-only."""
    if cluster is not None and evidence is not None:
        raise ArgumentError("--cluster and --evidence cannot be combined; choose one.")
    if evidence is None:
        with connect(cluster, read_only=True) as lab:
            yield lab
        return
    from restate_lab.evidence.store import open_evidence  # noqa: PLC0415 - rarely needed

    with open_evidence(evidence) as frozen:
        yield frozen
