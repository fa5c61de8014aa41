"""``restate-lab doctor``, ``why``, ``waits``, ``journal`` and ``agents``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from restate_lab.cli._errors import exit_on_error
from restate_lab.cli._options import (
    Cluster,
    Csv,
    EvidencePath,
    Json,
    Overwrite,
    Parquet,
    Timeout,
    doctor_check_names,
    examples,
    output_format,
    timeout_option,
)

__all__ = ["add_diagnose_commands"]

Checks = Annotated[
    list[str] | None,
    typer.Option(
        "--check",
        metavar="NAME",
        help="Run only this check; repeatable. upgrade: what to do before the cluster is upgraded to Restate 1.8.",
        autocompletion=doctor_check_names,
    ),
]
ChecksTimeout = Annotated[
    float,
    timeout_option(
        "The time limit of all checks together: 60s, 5m, or seconds. If it expires, the result is incomplete.",
        may_be_zero=True,
    ),
]
WhyTimeout = Annotated[
    float,
    timeout_option("The time limit: 30s, 5m, or seconds. If it expires, the explanation lists the missing data."),
]
Partitions = Annotated[
    int | None,
    typer.Option(
        "--partitions",
        metavar="N",
        min=1,
        help="With --check upgrade: the number of partitions of the cluster, to report the largest one.",
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Treat warnings as critical.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing if the exit code is 0.")]
Invocation = Annotated[str, typer.Argument(metavar="ID", help="The ID of an invocation (inv_…).")]


class FrameName(StrEnum):
    """The frames of ``waits``."""

    DEADLOCKS = "deadlocks"
    BLOCKERS = "blockers"
    EDGES = "edges"


Top = Annotated[int, typer.Option("--top", metavar="N", min=1, help="Show the first N of each list.")]
Part = Annotated[FrameName, typer.Option("--part", help="Which frame --csv and --parquet write.")]
Depth = Annotated[
    int,
    typer.Option(
        "--depth",
        metavar="N",
        min=1,
        help="1 shows only its own journal, 2 also those of its callees, 3 also those of their callees.",
    ),
]


class ScaleChoice(StrEnum):
    """The scales of the time axis."""

    LINEAR = "linear"
    LOG = "log"
    FIT = "fit"


Scale = Annotated[
    ScaleChoice,
    typer.Option(
        "--scale",
        help="linear: proportional to time; log: more room for the first seconds; fit: some room for each entry.",
    ),
]
MostEntries = Annotated[
    int,
    typer.Option("--top", metavar="N", min=1, help="Show N entries: the first, the unsuccessful and the latest ones."),
]
Payloads = Annotated[
    bool, typer.Option("--payloads", help="Also read the payloads of entries; secret headers are masked.")
]
AgentRun = Annotated[
    str | None, typer.Argument(metavar="[ID]", help="Print the conversation of this invocation (inv_…).")
]
AgentService = Annotated[str | None, typer.Option("--service", metavar="NAME", help="List only runs of this service.")]
AgentsSince = Annotated[
    str, typer.Option("--since", metavar="TIME", help="List runs since this time: 24h, 7d, or 2026-11-28T03:00:00Z.")
]


_EXIT_CODES = """\b
Exit codes, for cron and CI:
  0  all checks ran and found nothing critical; there can be warnings,
     which --strict treats as critical (3)
  1  error: the cluster cannot be reached or did not respond
  2  invalid usage
  3  a critical finding
  4  no critical finding, but some checks could not run

"""

_WAITS_EXIT_CODES = """\b
Exit codes:
  0  no deadlock; everything was read
  1  error: the cluster cannot be reached or did not respond
  2  invalid usage
  3  a deadlock; none of its invocations can continue
  4  no deadlock found, but not everything was read

"""


def doctor(
    *,
    check: Checks = None,
    partitions: Partitions = None,
    timeout: ChecksTimeout = 60.0,
    strict: Strict = False,
    quiet: Quiet = False,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    as_json: Json = False,
    csv: Csv = None,
    parquet: Parquet = None,
    overwrite: Overwrite = False,
) -> None:
    """Check for all known problems and print the findings, worst first.

    --csv and --parquet write only the findings; --json also lists the checks.
    """
    with exit_on_error():
        from restate_lab.cli._run_diagnose import run_doctor  # noqa: PLC0415 - takes a second, too long for --help

        code = run_doctor(
            check or None,
            partitions=partitions,
            timeout=timeout,
            strict=strict,
            quiet=quiet,
            cluster=cluster,
            evidence=evidence,
            form=output_format(as_json=as_json, csv=csv, parquet=parquet, overwrite=overwrite),
        )
    raise typer.Exit(code)


def why(
    invocation: Invocation,
    *,
    timeout: WhyTimeout = 10.0,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    as_json: Json = False,
) -> None:
    """Explain one invocation: its dependencies, the invocations that it blocks, and the possible actions.

    The exit code is 1 if the invocation does not exist.
    """
    with exit_on_error():
        from restate_lab.cli._run_diagnose import run_why  # noqa: PLC0415 - as above

        code = run_why(invocation, timeout=timeout, cluster=cluster, evidence=evidence, as_json=as_json)
    raise typer.Exit(code)


def waits(
    *,
    top: Top = 10,
    part: Part = FrameName.BLOCKERS,
    timeout: Timeout = None,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    as_json: Json = False,
    csv: Csv = None,
    parquet: Parquet = None,
    overwrite: Overwrite = False,
) -> None:
    """Show which invocations block others: deadlocks, root blockers, and unresolved awakeables and promises.

    --json contains all frames; --csv and --parquet write one --part.
    """
    with exit_on_error():
        from restate_lab.cli._run_waits import run_waits  # noqa: PLC0415 - as above

        code = run_waits(
            top=top,
            part=part.value,
            timeout=timeout,
            cluster=cluster,
            evidence=evidence,
            form=output_format(as_json=as_json, csv=csv, parquet=parquet, overwrite=overwrite),
        )
    raise typer.Exit(code)


def journal(
    invocation: Invocation,
    *,
    depth: Depth = 1,
    payloads: Payloads = False,
    scale: Scale = ScaleChoice.LINEAR,
    top: MostEntries = 200,
    timeout: Timeout = None,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    as_json: Json = False,
    csv: Csv = None,
    parquet: Parquet = None,
    overwrite: Overwrite = False,
) -> None:
    """Show the journal of one invocation: its entries in order, their times as bars, and the error of each step.

    The exit code is 1 if the invocation does not exist.
    """
    with exit_on_error():
        from restate_lab.cli._run_journal import run_journal  # noqa: PLC0415 - as above

        run_journal(
            invocation,
            depth=depth,
            payloads=payloads,
            scale=scale.value,
            top=top,
            timeout=timeout,
            cluster=cluster,
            evidence=evidence,
            form=output_format(as_json=as_json, csv=csv, parquet=parquet, overwrite=overwrite),
        )


def agents(
    invocation: AgentRun = None,
    *,
    service: AgentService = None,
    since: AgentsSince = "24h",
    timeout: Timeout = None,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    as_json: Json = False,
    csv: Csv = None,
    parquet: Parquet = None,
    overwrite: Overwrite = False,
) -> None:
    """List the runs of AI agents with their models, tokens and cost; with an ID, print one as a conversation.

    The list has no payloads. A conversation has prompts, responses, tool arguments and results.
    """
    with exit_on_error():
        from restate_lab.cli._run_diagnose import run_agents, run_conversation  # noqa: PLC0415 - as above

        form = output_format(as_json=as_json, csv=csv, parquet=parquet, overwrite=overwrite)
        if invocation is None:
            run_agents(service=service, since=since, timeout=timeout, cluster=cluster, evidence=evidence, form=form)
        else:
            run_conversation(invocation, timeout=timeout, cluster=cluster, evidence=evidence, form=form)


def add_diagnose_commands(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        epilog=_EXIT_CODES
        + examples(
            "restate-lab doctor -e prod",
            "restate-lab doctor -e prod --quiet || page-oncall",
            "restate-lab doctor --check deadlocks --json",
            "restate-lab doctor -e prod --check upgrade",
        )
    )(doctor)
    app.command(epilog=examples("restate-lab why inv_18GUzKHVrU7E2hkYZyDmQpZFTB2VK39VQ9"))(why)
    app.command(epilog=_WAITS_EXIT_CODES + examples("restate-lab waits -e prod", "restate-lab waits --json"))(waits)
    app.command(
        epilog=examples(
            "restate-lab journal inv_18GUzKHVrU7E2hkYZyDmQpZFTB2VK39VQ9",
            "restate-lab journal inv_18GUzKHVrU7E2hkYZyDmQpZFTB2VK39VQ9 --depth 2",
        )
    )(journal)
    app.command(
        epilog=examples(
            "restate-lab agents -e prod --since 7d --csv runs.csv",
            "restate-lab agents inv_18GUzKHVrU7E2hkYZyDmQpZFTB2VK39VQ9",
        )
    )(agents)
