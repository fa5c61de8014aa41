"""History: an archive of ended invocations in Delta tables, which keeps them after the cluster has removed them.

Importing this package also gives connections their earlier times: ``lab.at(time)``. So it has the public ``connect``.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from restate_lab.client.lab import connect as connect, require_lab
from restate_lab.source import Source, register_past


def _open_past(source: Source, time: str | datetime | timedelta) -> Source:
    from restate_lab.history.past import open_past  # noqa: PLC0415 - it needs pydantic, and most connections do not

    return open_past(require_lab(source, "at()"), time)


register_past(_open_past)
