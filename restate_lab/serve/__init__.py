"""``restate-lab serve``: read-only pages of clusters, evidence and archives, each with a URL.

``access`` has the rules of access: the token, the one-time links, the cookie, and the name of the server.
``readings`` limits what pages cost: two statements at once for each source, and one reading for all viewers of a page.
``pages`` has a function for each page, and ``app`` answers a request with one, after ``records`` has recorded it.
``server`` runs all of this on Starlette and uvicorn, the extra ``serve``, with the ``connections`` of viewers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from restate_lab._public import require_packages
from restate_lab.serve.options import ServerOptions


def serve(clusters: Sequence[str | None] = (), paths: Sequence[Path] = (), **options: Any) -> None:
    """Serve pages until the process is stopped; ``server.ServerOptions`` has the options.

    Raises:
        MissingExtra: the web server is not installed (``pip install 'restate-lab[serve]'``).
        ArgumentError: an option or a file is invalid, a cluster was named twice, or the port is in use.
    """
    require_packages("serve", "starlette", "uvicorn", extra="serve")
    from restate_lab.serve.server import run_server  # noqa: PLC0415 - it needs the extra

    run_server(clusters, paths, ServerOptions(**options))
