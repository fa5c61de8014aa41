"""``restate-lab doctor``, ``why``, ``waits``, ``journal`` and ``agents``."""

from __future__ import annotations

import warnings
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from restate_lab.cli._errors import ERROR, exit_on_error, warn
from restate_lab.cli._options import (
    Cluster,
    Csv,
    EvidencePath,
    Json,
    OutputFormat,
    Overwrite,
    Parquet,
    Timeout,
    doctor_check_names,
    examples,
    output_format,
    timeout_option,
    with_output,
)
from restate_lab.errors import Truncated

if TYPE_CHECKING:
    import pandas as pd

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
        from restate_lab.cli._run_diagnose import run_doctor

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
        from restate_lab.analysis.why import why as explain
        from restate_lab.cli._output import print_json
        from restate_lab.cli._page import TextPage
        from restate_lab.cli._run_diagnose import print_explanation
        from restate_lab.cli._sources import open_source
        from restate_lab.cli.shell_code import SourceOptions
        from restate_lab.export.results import explanation_json

        with open_source(cluster, evidence) as source:
            explanation = explain(source, invocation, timeout=timeout)
        if as_json:
            print_json(explanation_json(explanation))
        elif explanation.status is None:
            warn(str(explanation))
        else:
            print_explanation(explanation, SourceOptions(cluster, evidence), TextPage())
    raise typer.Exit(ERROR if explanation.status is None else 0)


@with_output
def waits(
    *,
    top: Top = 10,
    part: Part = FrameName.BLOCKERS,
    timeout: Timeout = None,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    form: OutputFormat,
) -> int:
    """Show which invocations block others: deadlocks, root blockers, and unresolved awakeables and promises.

    --json contains all frames; --csv and --parquet write one --part.
    """
    from restate_lab.analysis.waits import find_waits
    from restate_lab.cli._output import print_json, write_frame
    from restate_lab.cli._page import TextPage
    from restate_lab.cli._sources import open_source
    from restate_lab.cli._waits_page import WaitsPage, exit_code
    from restate_lab.cli.shell_code import SourceOptions
    from restate_lab.export.results import waits_json
    from restate_lab.reads import Reads

    with open_source(cluster, evidence) as source:
        graph = find_waits(Reads(source, timeout, verb="waits"))
    if form.is_table:
        WaitsPage(graph, SourceOptions(cluster, evidence), TextPage(), top).print()
    elif form.kind == "json":
        print_json(waits_json(graph))
    else:
        for each in graph.excluded:
            warn(each)
        write_frame(getattr(graph, part), form)
    return exit_code(graph)


@with_output
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
    form: OutputFormat,
) -> None:
    """Show the journal of one invocation: its entries in order, their times as bars, and the error of each step.

    The exit code is 1 if the invocation does not exist.
    """
    from restate_lab.analysis.journal import journal as read_journal
    from restate_lab.cli._journal_page import JournalPage
    from restate_lab.cli._output import print_json, write_frame
    from restate_lab.cli._page import TextPage
    from restate_lab.cli._sources import open_source
    from restate_lab.cli.shell_code import SourceOptions
    from restate_lab.export.results import journal_json

    with open_source(cluster, evidence) as source, warnings.catch_warnings():
        warnings.simplefilter("ignore", Truncated)  # the page prints it
        frame = read_journal(source, invocation, depth=depth, payloads=payloads, timeout=timeout)
    if form.is_table:
        JournalPage(frame, TextPage(), scale.value, top).print(SourceOptions(cluster, evidence))
        return
    if "truncated" in frame.attrs:
        warn(frame.attrs["truncated"]["message"])
    if form.kind == "json":
        print_json(journal_json(frame))
    else:
        write_frame(frame, form)


@with_output
def agents(
    invocation: AgentRun = None,
    *,
    service: AgentService = None,
    since: AgentsSince = "24h",
    timeout: Timeout = None,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    form: OutputFormat,
) -> None:
    """List the runs of AI agents with their models, tokens and cost; with an ID, print one as a conversation.

    The list has no payloads. A conversation has prompts, responses, tool arguments and results.
    """
    from restate_lab.analysis.agents import agent_runs, conversation
    from restate_lab.cli._output import print_json, write_frame
    from restate_lab.cli._page import TextPage
    from restate_lab.cli._sources import open_source
    from restate_lab.export.results import conversation_json

    with open_source(cluster, evidence) as source:
        if invocation is None:
            runs = agent_runs(source, service=service, since=since, timeout=timeout)
        else:
            result = conversation(source, invocation, timeout=timeout)
    if invocation is None:
        if runs.attrs["cost_note"]:
            warn(runs.attrs["cost_note"])
        rows = _short(runs) if form.is_table else runs
        write_frame(rows, form, about=f"since {since}, {runs.attrs['source']}")
    elif form.is_table:
        TextPage().lines(str(result))
    elif form.kind == "json":
        print_json(conversation_json(result))
    else:
        write_frame(result.frame(), form)


def _short(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that fit a terminal."""
    columns = ["id", "status", "models", "model_calls", "tool_calls", "retries", "cost"]
    short = runs[columns].copy()
    short.insert(1, "handler", runs["service"] + "/" + runs["handler"])
    short.insert(6, "tokens", runs[["input_tokens", "output_tokens"]].sum(axis="columns", min_count=1))
    return short


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
