"""``restate-lab doctor``, ``contrast``, ``why``, ``waits``, ``journal`` and ``agents``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

import typer

from restate_lab.cli._errors import ERROR, exit_on_error, warn
from restate_lab.cli._options import (
    POINT_LIMIT,
    SCAN_LIMIT,
    At,
    Cluster,
    EvidencePath,
    Json,
    Live,
    OutputFormat,
    PointTimeout,
    Timeout,
    doctor_check_names,
    duration_option,
    examples,
    open_source,
    open_with_options,
    with_output,
    with_table,
)
from restate_lab.errors import ArgumentError, Truncated

app = typer.Typer(rich_markup_mode=None)

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
    duration_option(
        "--timeout",
        "The time limit of all checks together: 60s, 5m, or seconds. If it expires, the result is incomplete.",
        SCAN_LIMIT,
        may_be_zero=True,
    ),
]
WhyTimeout = Annotated[
    float,
    duration_option(
        "--timeout",
        "The time limit: 30s, 5m, or seconds. If it expires, the explanation lists the missing data.",
        POINT_LIMIT,
    ),
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
Invocation = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="The ID of an invocation (inv_…), or any text with one: a log line, a URL of the web UI."
    ),
]


Top = Annotated[int, typer.Option("--top", metavar="N", min=1, help="Show the first N of each list.")]
Part = Annotated[
    Literal["deadlocks", "blockers", "edges"],
    typer.Option("--part", help="Which frame --csv and --parquet write."),
]
Depth = Annotated[
    int,
    typer.Option(
        "--depth",
        metavar="N",
        min=1,
        help="1 shows only its own journal, 2 also those of its callees, 3 also those of their callees.",
    ),
]


Scale = Annotated[
    Literal["linear", "log", "fit"],
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
Failing = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="The failing invocations (inv_…), instead of --service and --status."),
]
FailingService = Annotated[str | None, typer.Option("--service", metavar="NAME", help="The service that fails.")]
FailingHandler = Annotated[str | None, typer.Option("--handler", metavar="NAME", help="The handler that fails.")]
FailingStatus = Annotated[
    Literal["failed", "backing-off", "paused", "suspended", "slow"],
    typer.Option("--status", help="Which of its invocations are compared with the healthy ones."),
]
ComparedPayloads = Annotated[
    Literal["shape", "values"] | None,
    typer.Option(
        "--payloads",
        help="Also compare inputs and headers. shape: no value is printed; values: values are, except secret ones.",
    ),
]
Sample = Annotated[
    int, typer.Option("--sample", metavar="N", min=1, help="Compare at most N invocations of each side one by one.")
]
HiddenPaths = Annotated[
    list[str] | None,
    typer.Option(
        "--redact", metavar="PATH", help="Hide the values at a path of the input: customer.email, *phone*; repeatable."
    ),
]
Window = Annotated[
    str | None,
    typer.Option(
        "--window",
        metavar="DURATION",
        help="How far back healthy invocations are taken from, such as 6h. Default: the time of the failing ones.",
    ),
]
AgentRun = Annotated[
    str | None, typer.Argument(metavar="ID", help="Print the conversation of this invocation (inv_…).")
]
AgentService = Annotated[str | None, typer.Option("--service", metavar="NAME", help="List only runs of this service.")]
AgentsSince = Annotated[
    str, typer.Option("--since", metavar="TIME", help="List runs since this time: 24h, 7d, or 2026-11-28T03:00:00Z.")
]


Prices = Annotated[
    list[str] | None,
    typer.Option(
        "--price",
        metavar="MODEL=IN,CACHED,OUT",
        help="The price of a model, or of every other model (*), in US dollars per million tokens of input, cached "
        "input and output: '*=2.5,1.25,10'; repeatable. Others are those of genai-prices.",
    ),
]
_RUN_COLUMNS = (
    *("id", "service", "handler", "status", "cost", "spent_tokens", "retries", "created_at", "model_calls"),
    *("tool_calls", "models"),
)
_PAYLOADS: Mapping[str | None, Literal[False, "shape", True]] = MappingProxyType(
    {None: False, "shape": "shape", "values": True}
)
_LONGEST_TURN = 400  # characters of a paragraph of a conversation
_ID = "inv_18GUzKHVrU7E2hkYZyDmQpZFTB2VK39VQ9"
_MORE = "{more:,} more; --top {total} shows all"
_EXIT_CODES = """\b
Exit codes, for cron and CI:
  0  all checks ran and found nothing critical; there can be warnings,
     which --strict treats as critical (3)
  1  error: the cluster cannot be reached or did not respond
  2  invalid usage
  3  a critical finding
  4  no critical finding, but some checks could not run, or the
     cluster has no service and no invocation

"""

_WAITS_EXIT_CODES = """\b
Exit codes:
  0  no deadlock; everything was read
  1  error: the cluster cannot be reached or did not respond
  2  invalid usage
  3  a deadlock; none of its invocations can continue
  4  no deadlock found, but not everything was read

"""


@app.command(
    short_help="Check for all known problems, and print the worst first.",
    epilog=_EXIT_CODES
    + examples(
        "restate-lab doctor -e prod",
        "restate-lab doctor -e prod --quiet || page-oncall",
        "restate-lab doctor --check deadlocks --json",
        "restate-lab doctor -e prod --check upgrade",
    ),
)
@with_output
def doctor(
    *,
    check: Checks = None,
    partitions: Partitions = None,
    timeout: ChecksTimeout = SCAN_LIMIT,
    strict: Strict = False,
    quiet: Quiet = False,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    live: Live = None,
    at: At = None,
    form: OutputFormat,
) -> int:
    """Check for all known problems and print the findings, worst first.

    --csv and --parquet write only the findings; --json also lists the checks.
    """
    from restate_lab.analysis.doctor import diagnose
    from restate_lab.cli._exit_codes import doctor_exit_code
    from restate_lab.cli._output import write_result
    from restate_lab.cli.shell_code import writer

    with open_with_options(cluster, evidence, live, at) as (source, where):
        diagnosis = diagnose(source, timeout=timeout, checks=check or None, partitions=partitions)
    code = doctor_exit_code(diagnosis, strict=strict)
    if code or not quiet:
        write_result(form, diagnosis.findings, diagnosis.document, diagnosis.to_json, writer(where))
    return code


@app.command(
    short_help="Show what failing invocations share, and healthy ones do not.",
    epilog=examples(
        "restate-lab contrast --service Payments --status failed",
        "restate-lab contrast --service Payments --status slow --payloads shape",
    ),
)
@with_output
def contrast(
    invocations: Failing = None,
    *,
    service: FailingService = None,
    handler: FailingHandler = None,
    status: FailingStatus = "failed",
    payloads: ComparedPayloads = None,
    sample: Sample = 2_000,
    window: Window = None,
    redact: HiddenPaths = None,
    timeout: Timeout = SCAN_LIMIT,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    live: Live = None,
    form: OutputFormat,
) -> None:
    """Show what failing invocations share, in contrast to healthy ones of the same handler.

    Without --payloads, nothing of inputs and headers is read. --csv and --parquet write only the conditions.
    """
    from restate_lab.analysis.contrast import compare_sides
    from restate_lab.cli._output import write_result

    with open_source(cluster, evidence, live) as source:
        result = compare_sides(
            source,
            invocations or status,
            service=service,
            handler=handler,
            payloads=_PAYLOADS[payloads],
            sample=sample,
            window=window,
            redact=redact or (),
            timeout=timeout,
        )
    write_result(form, result.conditions, result.document, result.to_json)


@app.command(
    short_help="Explain one invocation, what it blocks, and what you can do.", epilog=examples(f"restate-lab why {_ID}")
)
def why(
    invocation: Invocation,
    *,
    timeout: WhyTimeout = POINT_LIMIT,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    live: Live = None,
    at: At = None,
    as_json: Json = False,
) -> None:
    """Explain one invocation: its dependencies, the invocations that it blocks, and the possible actions.

    The exit code is 1 if the invocation does not exist.
    """
    with exit_on_error():
        from restate_lab.analysis.why import why as explain
        from restate_lab.cli._output import print_json
        from restate_lab.cli._page import TextPage
        from restate_lab.cli.shell_code import writer

        with open_with_options(cluster, evidence, live, at) as (source, where):
            explanation = explain(source, invocation, timeout=timeout)
        if as_json:
            print_json(explanation.to_json())
        elif explanation.status is None:
            warn(explanation.summary)
        else:
            TextPage().document(explanation.document(), writer(where))
    raise typer.Exit(ERROR if explanation.status is None else 0)


@app.command(
    short_help="Show deadlocks, root blockers, awakeables and promises.",
    epilog=_WAITS_EXIT_CODES + examples("restate-lab waits -e prod", "restate-lab waits --json"),
)
@with_output
def waits(
    *,
    top: Top = 10,
    part: Part = "blockers",
    timeout: Timeout = SCAN_LIMIT,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    live: Live = None,
    at: At = None,
    form: OutputFormat,
) -> int:
    """Show which invocations block others: deadlocks, root blockers, and unresolved awakeables and promises.

    --json contains all frames; --csv and --parquet write one --part.
    """
    from restate_lab.analysis.waits import find_waits
    from restate_lab.cli._exit_codes import waits_exit_code
    from restate_lab.cli._output import write_result
    from restate_lab.cli.shell_code import writer

    with open_with_options(cluster, evidence, live, at) as (source, where):
        graph = find_waits(source, timeout=timeout)
    write_result(
        form,
        getattr(graph, part),
        graph.document,
        graph.to_json,
        writer(where),
        reasons=graph.reasons,
        most=top,
        more=_MORE,
    )
    return waits_exit_code(graph)


@app.command(
    short_help="Show the journal of one invocation, with its times as bars.",
    epilog=examples(
        f"restate-lab journal {_ID}",
        f"restate-lab journal {_ID} --depth 2",
    ),
)
@with_output
def journal(
    invocation: Invocation,
    *,
    depth: Depth = 1,
    payloads: Payloads = False,
    scale: Scale = "linear",
    top: MostEntries = 200,
    timeout: PointTimeout = POINT_LIMIT,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    live: Live = None,
    at: At = None,
    form: OutputFormat,
) -> None:
    """Show the journal of one invocation: its entries in order, their times as bars, and the error of each step.

    The text masks fields of payloads and keys of a state with secret names. --json, --csv and --parquet are data: of
    payloads, they mask only secret headers.

    The exit code is 1 if the invocation does not exist.
    """
    from restate_lab.analysis.journal import journal as read_journal
    from restate_lab.analysis.journal.drawing import journal_document
    from restate_lab.cli._output import write_result
    from restate_lab.cli.shell_code import writer
    from restate_lab.export.json_text import journal_json

    with open_with_options(cluster, evidence, live, at) as (source, where), warnings.catch_warnings():
        warnings.simplefilter("ignore", Truncated)  # the page prints it
        frame = read_journal(source, invocation, depth=depth, payloads=payloads, timeout=timeout)
    if "truncated" in frame.attrs and not form.is_table:
        warn(frame.attrs["truncated"]["message"])
    write_result(
        form,
        frame,
        lambda: journal_document(frame, scale=scale, rows=top),
        lambda: journal_json(frame, is_data=True),
        writer(where),
        more=_MORE,
    )


@app.command(
    short_help="List the runs of AI agents, or print one as a conversation.",
    epilog=examples(
        "restate-lab agents -e prod --since 7d --csv runs.csv",
        "restate-lab agents -e prod --price '*=2.5,1.25,10'",
        f"restate-lab agents {_ID}",
    ),
)
@with_table
def agents(
    invocation: AgentRun = None,
    *,
    service: AgentService = None,
    since: AgentsSince = "24h",
    price: Prices = None,
    timeout: Timeout = SCAN_LIMIT,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    live: Live = None,
    at: At = None,
    form: OutputFormat,
) -> None:
    """List the runs of AI agents with their models, tokens and cost; with an ID, print one as a conversation.

    The list has no payloads. A conversation has prompts, responses, tool arguments and results.
    """
    from restate_lab.analysis.agents import agent_runs, conversation
    from restate_lab.cli._output import write_frame, write_result

    prices = _parse_prices(price or [])
    with open_source(cluster, evidence, live, at) as source:
        if invocation is None:
            runs = agent_runs(source, service=service, since=since, prices=prices, timeout=timeout)
        else:
            run = conversation(source, invocation, prices=prices, timeout=timeout)
    if invocation is not None:
        write_result(form, run.frame, run.document, run.to_json, longest=_LONGEST_TURN)
        return
    if runs.attrs["cost_note"]:
        warn(runs.attrs["cost_note"])
    write_frame(runs, form, about=f"since {since}, {runs.attrs['source']}", columns=_RUN_COLUMNS)


def _parse_prices(texts: list[str]) -> dict[str, tuple[float, float, float]] | None:
    prices = {}
    for text in texts:
        name, _, numbers = text.rpartition("=")
        try:
            of_input, of_cached, of_output = map(float, numbers.split(",") if name else ())
        except ValueError:
            raise ArgumentError(
                f"--price is {text!r}; use MODEL=IN,CACHED,OUT in US dollars per million tokens, such as "
                f"'*=2.5,1.25,10'."
            ) from None
        prices[name] = (of_input, of_cached, of_output)
    return prices or None
