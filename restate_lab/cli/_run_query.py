"""The implementation of the commands ``sql``, ``ask`` and ``questions``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from restate_lab._text import format_duration, plural
from restate_lab.analysis.ask import run_any_question
from restate_lab.analysis.questions import get_question, questions
from restate_lab.analysis.questions.catalog import Question
from restate_lab.analysis.questions.parameters import parse_texts
from restate_lab.cli._errors import exit_on_error, warn
from restate_lab.cli._options import OutputFormat
from restate_lab.cli._output import write_frame
from restate_lab.cli._page import TextPage
from restate_lab.cli._sources import open_source
from restate_lab.client.parquet import write_parquet
from restate_lab.errors import ArgumentError
from restate_lab.source import Source

__all__ = ["parse_parameters", "parse_value", "run_ask", "run_questions", "run_sql"]

STDIN = "-"


def run_sql(
    statement: str,
    texts: Sequence[str],
    *,
    cluster: str | None,
    evidence: Path | None,
    timeout: float | None,
    form: OutputFormat,
) -> None:
    """Run a statement and write its rows in the requested format."""
    values = {name: parse_value(text) for name, text in parse_parameters(texts).items()}
    if statement == STDIN:
        statement = sys.stdin.read()
    with exit_on_error(), open_source(cluster, evidence) as source:
        started = time.monotonic()
        if form.kind == "parquet" and form.file is not None:
            with source.stream(statement, params=values, timeout=timeout) as reader:
                write_parquet(reader, reader.schema, form.file.expanduser(), None)
            return
        frame = source.sql(statement, params=values, timeout=timeout)
        write_frame(frame, form, about=_source_line(source, time.monotonic() - started), has_names=True)


def run_ask(
    question: str,
    texts: Sequence[str],
    *,
    cluster: str | None,
    evidence: Path | None,
    timeout: float | None,
    form: OutputFormat,
) -> None:
    """Run a named question and write its rows in the requested format."""
    values = parse_texts(question, parse_parameters(texts))
    with open_source(cluster, evidence) as source:
        frame = run_any_question(source, question, timeout=timeout, **values)
        about = _source_line(source, frame.attrs["seconds"])
    truncated = frame.attrs.get("truncated")
    if truncated:
        warn(truncated["message"])
        if form.kind != "parquet":  # only Parquet can store this note in the file
            del frame.attrs["truncated"]
    write_frame(frame, form, about=about)


def run_questions(name: str, *, form: OutputFormat) -> None:
    """List the questions, or show one of them."""
    question = get_question(name) if name else None
    page = TextPage()
    if question is not None and form.is_table:
        _print_question(question, page)
        return
    frame = questions(full=True)
    if form.is_table and page.width is not None:
        _print_list(frame, page)
        return
    frame = frame[frame["name"] == name] if name else frame
    columns = ["name", "cost", "question", "parameters"] if form.is_table else list(frame.columns)
    write_frame(frame[columns].reset_index(drop=True), form)


def parse_parameters(texts: Sequence[str]) -> dict[str, str]:
    """Return the names and texts of NAME=VALUE options.

    Raises:
        ArgumentError: if an option has no valid name and ``=``, or a name occurs twice.
    """
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ArgumentError(f"invalid parameter -p {text}; write it as -p name=value.")
        if name in values:
            raise ArgumentError(f"duplicate parameter -p {name}; keep one of them.")
        values[name] = value
    return values


def parse_value(text: str) -> Any:
    """Return the JSON value of a text, or the text itself if it is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


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


def _print_question(question: Question, page: TextPage) -> None:
    first = question.variants[0]
    page.paragraph((question.name, "bold"), f": {first.text}")
    page.paragraph(f"Each row is {first.row}.")
    page.blank()
    for each in first.parameters:
        page.paragraph((f"-p {each}", "cyan"), f"  ({each.kind}) {each.description}", first="")
    for variant in question.variants:
        page.blank()
        page.paragraph(
            (f"-- {variant.file}: {variant.cost}, reads {variant.reads}; needs {', '.join(variant.needs)}", "dim")
        )
        page.verbatim(variant.sql.splitlines())
