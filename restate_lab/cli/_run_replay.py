"""The implementation of the command ``replay``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import typer

from restate_lab._text import plural
from restate_lab.analysis.records import records
from restate_lab.analysis.replay import replay
from restate_lab.analysis.replay.check import deployment_address
from restate_lab.analysis.replay.result import Replay
from restate_lab.analysis.replay.verdict import CANNOT_SAY, DIVERGES, FAILS, FITS, NOT_CHECKABLE, OTHER_RESULT
from restate_lab.cli._options import OutputFormat
from restate_lab.cli._output import print_json, write_frame
from restate_lab.cli._page import TextPage
from restate_lab.cli._sources import open_source
from restate_lab.errors import ArgumentError
from restate_lab.export.results import replay_json

__all__ = ["run_replay"]

BREAKS, UNKNOWN = 3, 4
_STYLES: Mapping[str, str] = MappingProxyType(
    {
        DIVERGES: "red",
        FAILS: "red",
        CANNOT_SAY: "yellow",
        NOT_CHECKABLE: "yellow",
        OTHER_RESULT: "dim",
        FITS: "green",
    }
)
_QUESTION = "Code outside of steps will run at {address}: logs, metrics, unwrapped requests. Continue?"
_UNCONFIRMED = "code outside of steps would run at {address}. Add --yes-run-code-outside-steps. Nothing was sent."


def run_replay(
    deployment: str,
    filters: Mapping[str, Any],
    *,
    sample: int,
    allow: Iterable[str],
    headers: Iterable[str],
    timeout: float,
    is_confirmed: bool,
    cluster: str | None,
    evidence: Path | None,
    form: OutputFormat,
) -> int:
    """Print how new code follows recorded journals, and return the exit code."""
    secrets = _read_headers(headers)
    with open_source(cluster, evidence) as source:
        address = deployment_address(source, deployment)
        if not is_confirmed:
            _ask(address)
        result = replay(
            source,
            filters,
            deployment,
            sample=sample,
            allow=allow,
            headers=secrets,
            timeout=timeout,
            confirm=address,
        )
    if form.is_table:
        print_replay(result, TextPage())
    elif form.kind == "json":
        print_json(replay_json(result))
    else:
        write_frame(result.rows, form)
    return exit_code(result)


def exit_code(result: Replay) -> int:
    """Return 3 if an invocation diverges or fails, 4 if the check cannot say for every invocation, otherwise 0."""
    if result.verdict in {DIVERGES, FAILS}:
        return BREAKS
    return 0 if result.verdict in {FITS, OTHER_RESULT} else UNKNOWN


def print_replay(result: Replay, page: TextPage) -> None:
    """Print the totals, then each group of equal verdicts with the recorded path and the new one."""
    totals = result.summary, f"bold {_STYLES[result.verdict]}"
    page.paragraph(totals)
    page.paragraph((result.where, "dim"))
    for row in records(result.groups):
        page.blank()
        about = f" {plural(row['invocations'], 'invocation')} of {row['handler']}, for example {row['example_id']}"
        page.paragraph((row["verdict"].upper(), _STYLES[row["verdict"]]), (about, "bold"))
        page.paragraph(f"{row['reason']}.", first="  ")
        if row["command_index"] is not None:
            page.paragraph(str(row["recorded"]), first=f"  recorded {row['command_index']}: ")
            page.paragraph(str(row["now"]), first=f"  now      {row['command_index']}: ")
    reasons = result.not_checked["reason"].value_counts()
    if len(reasons):
        page.blank()
        page.paragraph(("NOT CHECKED", "yellow"))
        for reason, count in reasons.items():
            page.paragraph(f"{plural(int(count), 'invocation')}: {reason}", first="  ")
    page.blank()
    for each in result.limitations:
        page.paragraph((each, "dim"))
    page.paragraph(totals)


def _ask(address: str) -> None:
    if not sys.stdin.isatty():
        raise ArgumentError(_UNCONFIRMED.format(address=address))
    if not typer.confirm(_QUESTION.format(address=address), err=True):
        raise ArgumentError(f"not confirmed; nothing was sent to {address}.")


def _read_headers(headers: Iterable[str]) -> dict[str, str]:
    """Return the headers, each with the value of its environment variable."""
    read = {}
    for each in headers:
        name, separator, variable = each.partition("=")
        if not separator or not name:
            raise ArgumentError(f"--header is {name!r}; use NAME=VARIABLE, such as Authorization=DEPLOYMENT_TOKEN.")
        if variable not in os.environ:
            raise ArgumentError(f"--header {name} names an environment variable that is not set; set it first.")
        read[name] = os.environ[variable]
    return read
