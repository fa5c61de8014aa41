"""The implementation of the command ``agents``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from restate_lab.analysis.agents import agent_runs, conversation
from restate_lab.analysis.agents.result import Conversation
from restate_lab.cli._errors import warn
from restate_lab.cli._options import OutputFormat
from restate_lab.cli._output import print_json, rows_of, write_frame
from restate_lab.cli._page import TextPage
from restate_lab.cli._sources import open_source

__all__ = ["run_conversation", "run_list"]


def run_list(
    *,
    service: str | None,
    since: str,
    timeout: float | None,
    cluster: str | None,
    evidence: Path | None,
    form: OutputFormat,
) -> None:
    """Print the runs of agents, or write them with all columns in the requested format."""
    with open_source(cluster, evidence) as source:
        runs = agent_runs(source, service=service, since=since, timeout=timeout)
    if runs.attrs["cost_note"]:
        warn(runs.attrs["cost_note"])
    write_frame(_short(runs) if form.is_table else runs, form, about=f"since {since}, {runs.attrs['source']}")


def run_conversation(
    invocation: str, *, timeout: float | None, cluster: str | None, evidence: Path | None, form: OutputFormat
) -> None:
    """Print a conversation, or write its turns in the requested format."""
    with open_source(cluster, evidence) as source:
        result = conversation(source, invocation, timeout=timeout)
    if form.is_table:
        TextPage().lines(str(result))
    elif form.kind == "json":
        print_json(_conversation_json(result))
    else:
        write_frame(result.frame(), form)


def _short(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that fit a terminal."""
    columns = ["id", "status", "models", "model_calls", "tool_calls", "retries", "cost"]
    short = runs[columns].copy()
    short.insert(1, "handler", runs["service"] + "/" + runs["handler"])
    short.insert(6, "tokens", runs[["input_tokens", "output_tokens"]].sum(axis="columns", min_count=1))
    return short


def _conversation_json(result: Conversation) -> dict[str, Any]:
    return {
        "id": result.id,
        "target": result.target,
        "status": result.status,
        "source": result.source,
        "version": result.version,
        "at": result.at.isoformat(),
        "messages": result.messages(),
        "turns": rows_of(result.frame()),
        "notes": list(result.notes),
    }
