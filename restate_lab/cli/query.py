"""``restate-lab sql``, ``ask`` and ``questions``."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from restate_lab._text import format_duration, plural
from restate_lab.cli._errors import warn
from restate_lab.cli._options import (
    SCAN_LIMIT,
    At,
    Cluster,
    EvidencePath,
    Live,
    OutputFormat,
    Parameters,
    Timeout,
    examples,
    open_source,
    parameter_names,
    parse_parameters,
    parse_value,
    question_names,
    with_output,
    with_table,
)
from restate_lab.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

    from restate_lab.analysis.questions.catalog import Question as NamedQuestion
    from restate_lab.cli._page import TextPage
    from restate_lab.source import Source

STDIN = "-"

Statement = Annotated[
    str, typer.Argument(metavar="STATEMENT", help="One read-only SQL statement; - reads it from stdin.")
]
Question = Annotated[
    str,
    typer.Argument(
        metavar="QUESTION",
        help="The name of a question; `restate-lab questions` lists them.",
        autocompletion=question_names,
    ),
]
OneQuestion = Annotated[
    str, typer.Argument(metavar="QUESTION", help="Show the details of this question.", autocompletion=question_names)
]
QuestionParameters = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        metavar="NAME=VALUE",
        help="A parameter of the question; repeatable. Separate several ids with commas.",
        autocompletion=parameter_names,
    ),
]


app = typer.Typer(rich_markup_mode=None)


@app.command(
    epilog=examples(
        "restate-lab sql \"SELECT id FROM sys_invocation WHERE status = 'paused'\"",
        'restate-lab sql "SELECT key FROM state WHERE service_key = :k" -p k=acme',
        "restate-lab sql - --parquet all.parquet < query.sql",
    )
)
@with_table
def sql(
    statement: Statement,
    *,
    param: Parameters = None,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    live: Live = None,
    at: At = None,
    timeout: Timeout = SCAN_LIMIT,
    form: OutputFormat,
) -> None:
    """Run a SQL statement and print the rows.

    -p name=value sets the value of :name in the statement. A number, true, false, null or a list in JSON syntax has
    that JSON type; every other value is text. For example, -p 'key="42"' is the text 42.
    """
    from restate_lab.cli._output import write_frame
    from restate_lab.client.parquet import write_parquet

    values = {name: parse_value(text) for name, text in parse_parameters(param or []).items()}
    statement = sys.stdin.read() if statement == STDIN else statement
    with open_source(cluster, evidence, live, at) as source:
        started = time.monotonic()
        if form.kind == "parquet" and form.file is not None:
            with source.stream(statement, params=values, timeout=timeout) as reader:
                write_parquet(reader, reader.schema, form.file.expanduser(), None)
            return
        frame = source.sql(statement, params=values, timeout=timeout)
        write_frame(frame, form, about=_source_line(source, time.monotonic() - started), has_names=True)


@app.command(
    epilog=examples("restate-lab ask wakes_next -p until=2h", "restate-lab ask retry_storm -e prod --csv storm.csv"),
    context_settings={"allow_extra_args": True},  # ask reports them itself, with a hint
)
@with_table
def ask(
    context: typer.Context,
    question: Question,
    *,
    param: QuestionParameters = None,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    live: Live = None,
    at: At = None,
    timeout: Timeout = SCAN_LIMIT,
    form: OutputFormat,
) -> None:
    """Run a named question and print the rows.

    If a limit cuts the rows, a message on stderr reports it; -p limit=none returns all rows. Other messages list the
    parts that were not read, such as payloads.
    """
    if context.args:
        raise ArgumentError(f"unexpected argument {context.args[0]}; pass parameters as -p name=value.")
    from restate_lab.analysis.ask import run_any_question
    from restate_lab.analysis.questions.parameters import parse_texts
    from restate_lab.cli._output import write_frame

    values = parse_texts(question, parse_parameters(param or []))
    with open_source(cluster, evidence, live, at) as source:
        frame = run_any_question(source, question, timeout=timeout, **values)
        about = _source_line(source, frame.attrs["seconds"])
    truncated = frame.attrs.get("truncated")
    if truncated:
        warn(truncated["message"])
        if form.kind != "parquet":  # only Parquet can store this note in the file
            del frame.attrs["truncated"]
    for each in frame.attrs.get("not_read", ()):
        warn(f"Not read: {each}.")
    write_frame(frame, form, about=about)


@app.command(
    short_help="List the named questions, or show one of them.",
    epilog=examples("restate-lab questions", "restate-lab questions retry_storm"),
)
@with_output
def questions(question: OneQuestion = "", *, form: OutputFormat) -> None:
    """List the named questions, or show one of them with its parameters, cost and SQL."""
    from restate_lab.analysis.questions import get_question, questions as list_questions
    from restate_lab.cli._output import write_frame
    from restate_lab.cli._page import TextPage

    known, page = get_question(question) if question else None, TextPage()
    if known is not None and form.is_table:
        _print_question(known, page)
        return
    frame = list_questions(full=True)
    if form.is_table and page.width is not None:
        _print_list(frame, page)
        return
    frame = frame[frame["name"] == question] if question else frame
    columns = ["name", "cost", "question", "parameters"] if form.is_table else list(frame.columns)
    write_frame(frame[columns].reset_index(drop=True), form)


def _source_line(source: Source, seconds: float) -> str:
    is_named = source.live and source.name not in source.address
    where = f"{source.name} at {source.address}" if is_named else source.name
    return f"{where}, restate {source.version}, {format_duration(seconds)}"


def _print_list(frame: pd.DataFrame, page: TextPage) -> None:
    """Print each question in full under its name, because a table would cut it."""
    for row in frame.to_dict("records"):
        page.paragraph((row["name"], "bold"), (f"  {row['cost']}", "dim"))
        page.paragraph(row["question"], first="  ")
        if row["parameters"]:
            page.paragraph((f"parameters: {row['parameters']}", "dim"), first="  ")
    page.blank()
    page.paragraph((f"{plural(len(frame), 'question')}. To run one: restate-lab ask NAME -p name=value", "dim"))


def _print_question(question: NamedQuestion, page: TextPage) -> None:
    page.paragraph((question.name, "bold"), f": {question.text}")
    page.paragraph(f"Each row is {question.row}.")
    page.blank()
    width = max((len(str(each)) for each in question.parameters), default=0)
    for each in question.parameters:
        page.paragraph(f"({each.kind}) {each.description}", first=f"-p {each!s:<{width}}  ", style="cyan")
    page.blank()
    page.paragraph((f"-- {question.cost}, reads {question.reads}; needs {', '.join(question.needs)}", "dim"))
    page.verbatim(question.sql.splitlines())
