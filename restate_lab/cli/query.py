"""``restate-lab sql``, ``ask`` and ``questions``."""

from __future__ import annotations

from typing import Annotated

import typer

from restate_lab.cli._errors import exit_on_error
from restate_lab.cli._options import (
    Cluster,
    Csv,
    EvidencePath,
    Json,
    Overwrite,
    Parameters,
    Parquet,
    Timeout,
    examples,
    output_format,
    parameter_names,
    question_names,
)
from restate_lab.errors import ArgumentError

__all__ = ["add_query_commands"]

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


def sql(
    statement: Statement,
    *,
    param: Parameters = None,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    timeout: Timeout = None,
    as_json: Json = False,
    csv: Csv = None,
    parquet: Parquet = None,
    overwrite: Overwrite = False,
) -> None:
    """Run a SQL statement and print the rows.

    -p name=value sets the value of :name in the statement. A number, true, false, null or a list in JSON syntax has
    that JSON type; every other value is text. For example, -p 'key="42"' is the text 42.
    """
    with exit_on_error():
        from restate_lab.cli._run_query import run_sql  # noqa: PLC0415 - takes a second, too long for --help

        run_sql(
            statement,
            param or [],
            cluster=cluster,
            evidence=evidence,
            timeout=timeout,
            form=output_format(as_json=as_json, csv=csv, parquet=parquet, overwrite=overwrite),
        )


def ask(
    context: typer.Context,
    question: Question,
    *,
    param: QuestionParameters = None,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    timeout: Timeout = None,
    as_json: Json = False,
    csv: Csv = None,
    parquet: Parquet = None,
    overwrite: Overwrite = False,
) -> None:
    """Run a named question and print the rows.

    If a limit cuts the rows, a message on stderr reports it; -p limit=none returns all rows.
    """
    with exit_on_error():
        if context.args:
            raise ArgumentError(f"unexpected argument {context.args[0]}; pass parameters as -p name=value.")
        from restate_lab.cli._run_query import run_ask  # noqa: PLC0415 - as above

        run_ask(
            question,
            param or [],
            cluster=cluster,
            evidence=evidence,
            timeout=timeout,
            form=output_format(as_json=as_json, csv=csv, parquet=parquet, overwrite=overwrite),
        )


def questions(
    question: OneQuestion = "",
    *,
    as_json: Json = False,
    csv: Csv = None,
    parquet: Parquet = None,
    overwrite: Overwrite = False,
) -> None:
    """List the named questions, or show one of them with its parameters, cost and SQL."""
    with exit_on_error():
        from restate_lab.cli._run_query import run_questions  # noqa: PLC0415 - as above

        run_questions(question, form=output_format(as_json=as_json, csv=csv, parquet=parquet, overwrite=overwrite))


def add_query_commands(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        epilog=examples(
            "restate-lab sql \"SELECT id, target FROM sys_invocation WHERE status = 'paused'\"",
            'restate-lab sql "SELECT id FROM sys_invocation WHERE target_service_name = :s" -p s=agent --json',
            "restate-lab sql - --parquet all.parquet < query.sql",
        )
    )(sql)
    app.command(
        epilog=examples(
            "restate-lab ask wakes_next -p until=2h", "restate-lab ask retry_storm -e prod --csv storm.csv"
        ),
        context_settings={"allow_extra_args": True},  # ask reports them itself, with a hint
    )(ask)
    app.command(epilog=examples("restate-lab questions", "restate-lab questions retry_storm"))(questions)
