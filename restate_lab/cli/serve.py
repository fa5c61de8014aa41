"""``restate-lab serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restate_lab.cli._errors import exit_on_error, warn
from restate_lab.cli._options import POINT_LIMIT, Clusters, duration_option, examples
from restate_lab.cli._streams import print_line

EvidencePaths = Annotated[
    list[Path] | None, typer.Option("--evidence", metavar="PATH", help="Also serve this frozen evidence; repeatable.")
]
HistoryPaths = Annotated[
    list[Path] | None, typer.Option("--history", metavar="PATH", help="Also serve this archive; repeatable.")
]
Listen = Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="The address of the server.")]
Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="The address under which viewers reach it, if it is another one."),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="A file with the token, 20 characters or more. Default: one is made at each start.",
    ),
]
Certificate = Annotated[
    Path | None, typer.Option("--tls-certificate", metavar="FILE", help="The certificate and its chain, as PEM.")
]
Key = Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="The key of the certificate, as PEM.")]
BehindProxy = Annotated[
    bool, typer.Option("--behind-proxy", help="A proxy in front of the server has TLS; needs --url.")
]
ShownPayloads = Annotated[bool, typer.Option("--payloads", help="Also show payloads; secret headers are masked.")]
PageTimeout = Annotated[float, duration_option("--timeout", "The time limit of a page: 30s, 2m.", POINT_LIMIT)]

app = typer.Typer(rich_markup_mode=None)


@app.command(
    short_help="Serve read-only pages with a URL for each finding.",
    epilog=examples("restate-lab serve -e prod", "restate-lab serve -e prod -e staging --history /srv/history"),
)
def serve(
    *,
    cluster: Clusters = None,
    evidence: EvidencePaths = None,
    history: HistoryPaths = None,
    listen: Listen = "127.0.0.1:9180",
    url: Url = None,
    token_file: TokenFile = None,
    tls_certificate: Certificate = None,
    tls_key: Key = None,
    behind_proxy: BehindProxy = False,
    payloads: ShownPayloads = False,
    timeout: PageTimeout = POINT_LIMIT,
) -> None:
    """Serve read-only pages with a URL for each finding, invocation, list and question; needs the extra serve.

    The printed link opens the pages once, in one browser. Each access is recorded in the audit log. SIGTERM or Ctrl-C
    ends the server with exit code 0.
    """
    with exit_on_error():
        from restate_lab.serve import serve as serve_pages

        serve_pages(
            cluster or [],
            [*(evidence or []), *(history or [])],
            listen=listen,
            url=url,
            token_file=token_file,
            certificate=tls_certificate,
            key=tls_key,
            behind_proxy=behind_proxy,
            payloads=payloads,
            timeout=timeout,
            say=print_line,
            warn=warn,
        )
