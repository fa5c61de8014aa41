"""``restate-lab forecast``."""

from __future__ import annotations

from typing import Annotated

import typer

from restate_lab.cli._options import (
    SCAN_LIMIT,
    Cluster,
    EvidencePath,
    Live,
    OutputFormat,
    Timeout,
    examples,
    open_source,
    with_output,
)

app = typer.Typer(rich_markup_mode=None)

GROWING = 3
_FORECAST_EXIT_CODES = """\b
Exit codes:
  0  no backlog grows, or no call would be stuck
  1  error: the cluster cannot be reached or did not respond
  2  invalid usage
  3  a backlog grows and will not drain, or a call would be stuck

"""
ForecastService = Annotated[str | None, typer.Option("--service", metavar="NAME", help="Only this service.")]
ForecastWindow = Annotated[
    str,
    typer.Option("--window", metavar="DURATION", help="The observed time before now, 10m to 24h."),
]

WithoutDeployment = Annotated[
    str | None,
    typer.Option(
        "--without-deployment", metavar="ID", help="List the open calls that would be stuck without this deployment."
    ),
]


@app.command(
    short_help="Forecast whether each backlog drains, and when.",
    epilog=_FORECAST_EXIT_CODES
    + examples(
        "restate-lab forecast -e prod",
        "restate-lab forecast --service Payments --window 2h --json",
        "restate-lab forecast --without-deployment dp_… --csv stuck.csv",
    ),
)
@with_output
def forecast(
    service: ForecastService = None,
    *,
    without_deployment: WithoutDeployment = None,
    window: ForecastWindow = "1h",
    timeout: Timeout = SCAN_LIMIT,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    live: Live = None,
    form: OutputFormat,
) -> int:
    """Forecast whether each backlog will be empty, and when, from the calls that began and ended in the last hour.

    The interval contains the time until it is empty in 80 % of the cases. If a service with a backlog does not keep its
    completed calls for 10 minutes, this takes a minute longer. With --without-deployment, list the calls that would be
    stuck if that deployment were gone; nothing is removed.
    """
    from restate_lab.analysis.forecast import forecast as compute
    from restate_lab.cli._output import write_result
    from restate_lab.export.results import forecast_json

    with open_source(cluster, evidence, live) as source:
        result = compute(source, service=service, without_deployment=without_deployment, window=window, timeout=timeout)
    text, frame = str(result), result.frame if without_deployment is None else result.stuck
    write_result(form, frame, show=lambda page: page.lines(text), to_json=lambda: forecast_json(result))
    return GROWING if len(result.stuck) or "growing" in set(result.frame["answer"]) else 0
