"""``restate-lab mcp``: a Model Context Protocol server that lets an AI assistant read a cluster, and plan changes.

The server runs on stdio, as a child of the assistant's client. ``sources`` opens the cluster, evidence and archives.
``reads`` has the tools that read, and ``changes`` those that plan and execute. ``budget`` limits each result.
``approvals`` has the approval of a person, which never passes through the assistant. ``server`` connects all of this to
the official SDK, which is the extra ``mcp``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from restate_lab._public import require_packages


def serve(cluster: str | None = None, evidence: Sequence[Path] = (), *, allow_changes: bool = False) -> None:
    """Serve the tools on stdin and stdout until stdin is closed.

    ``cluster`` is an environment of the restate CLI or an admin address; None is the CLI's own cluster, or no cluster
    if there is ``evidence``: paths of frozen evidence and of archives. Without ``allow_changes`` the cluster is opened
    read-only, and the tools that change something do not exist.

    Raises:
        MissingExtra: the SDK is not installed (``pip install 'restate-lab[mcp]'``).
        ArgumentError: changes are allowed without a cluster, or with a read-only connection.
    """
    require_packages("the server", "mcp", extra="mcp")
    from restate_lab.mcp.server import run_server  # noqa: PLC0415 - it needs the extra

    run_server(cluster, evidence, allow_changes=allow_changes)
