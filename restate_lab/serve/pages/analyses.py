"""The pages of waits, queues, comparisons, agents and named questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from restate_lab._public import did_you_mean, nearest_names
from restate_lab._text import plural
from restate_lab.analysis.agents import read_agent_runs
from restate_lab.analysis.ask import run_any_question
from restate_lab.analysis.contrast import FAILING_KINDS, Contrast, compare_sides
from restate_lab.analysis.invocations.filters import Filters
from restate_lab.analysis.questions import get_question, questions
from restate_lab.analysis.questions.catalog import Parameter, names
from restate_lab.analysis.questions.parameters import parse_texts
from restate_lab.analysis.queues import read_queues
from restate_lab.analysis.waits import find_waits
from restate_lab.calls import without_options
from restate_lab.errors import ArgumentError, NotFound
from restate_lab.export.json_text import agent_runs_json, question_json
from restate_lab.frames import records
from restate_lab.result import Result
from restate_lab.serve.page import Missing, PageRequest, WebPage, data_of, together
from restate_lab.serve.pages.findings import FINDING, read_finding
from restate_lab.serve.pages.invocations import read_counts
from restate_lab.serve.rendering import part_of
from restate_lab.source import Source

MOST_ROWS = 10_000
"""Rows of a question: a page has no higher limit."""
_SHARED = "What failing invocations share"
_LINKED = ("failed", "backing-off", "paused")  # statuses whose comparison is offered
_MOST_LINKS = 20
_RUN_COLUMNS = (
    *("id", "service", "handler", "status", "cost", "spent_tokens", "retries", "created_at", "model_calls"),
    *("tool_calls", "models", "note"),
)


async def waits_page(request: PageRequest) -> WebPage:
    """Return deadlocks and root blockers."""
    request.check_params()
    waits = await request.try_to_read("waits", find_waits, timeout=request.timeout)
    return WebPage("Waits", [waits], data_of(waits, Result.to_json))


async def queues_page(request: PageRequest) -> WebPage:
    """Return the queues with what their heads wait for, the limits, and whether each backlog drains."""
    request.check_params()
    queues, draining = await together(
        request.try_to_read("queues", read_queues, timeout=request.timeout),
        request.try_to_read("question", ask, name="draining", values={}, timeout=request.timeout),
    )
    data = {**data_of(queues, Result.to_json), "draining": data_of(draining, question_json)}
    if isinstance(queues, Missing) and isinstance(draining, Missing):
        return WebPage("Queues", [queues], data)
    return WebPage("Queues", [queues, "Does each backlog drain? The rates of the last 30 minutes:", draining], data)


async def contrast_page(request: PageRequest) -> WebPage:
    """Return what failing invocations share: those of a service, handler and status, or those of a finding.

    Without ``--payloads`` nothing of inputs is read.
    """
    request.check_params("service", "handler", "status", FINDING)
    service, status = request.text("service"), request.text("status") or "failed"
    finding = await read_finding(request)
    fields = [
        _field("service", "service", request, example="Payments", is_required=True),
        _field("handler", "handler", request, example="all"),
        _field("status", "status", request, value=status, choices=list(FAILING_KINDS)),
    ]
    form = _form(request, fields, "Compare")
    if finding is None and service is None:
        return await _choice_page(request, form)
    result = await request.try_to_read(
        "contrast",
        contrast_of,
        failing=finding.ids if finding else status,
        service=service,
        handler=request.text("handler"),
        payloads=request.payloads,
        timeout=request.timeout,
    )
    about = [f"Of the finding: {finding.title}"] if finding else []
    return WebPage(_SHARED, [*about, result, form], data_of(result, Result.to_json))


async def _choice_page(request: PageRequest, form: Any) -> WebPage:
    """Return the services with failing invocations, as links to their comparison."""
    text = "Choose failing invocations. They are compared with healthy ones of the same handler."
    counts = await request.try_to_read("counts", read_counts, filters=Filters(), timeout=request.timeout)
    if isinstance(counts, Missing):
        return WebPage(_SHARED, [text, form, counts], data_of(counts, dict))
    failing = counts[counts["status"].isin(_LINKED)].sort_values("invocations", ascending=False)
    choices = [
        {"service": row["target_service_name"], "status": row["status"], "invocations": int(row["invocations"])}
        for row in records(failing.head(_MOST_LINKS))
    ]
    links = [
        (
            f"{each['service']}: {each['invocations']:,} {each['status']}",
            request.link("/contrast", service=each["service"], status=each["status"]),
        )
        for each in choices
    ]
    return WebPage(_SHARED, [text, form, part_of("links", links=links)], {"choices": choices})


def contrast_of(
    source: Source,
    *,
    failing: tuple[str, ...] | str,
    service: str | None,
    handler: str | None,
    payloads: bool,
    timeout: float,
) -> Contrast:
    """Compare failing invocations with healthy ones."""
    ids = failing if isinstance(failing, str) else list(failing)
    return compare_sides(source, ids, service=service, handler=handler, payloads=payloads, timeout=timeout)


async def agents_page(request: PageRequest) -> WebPage:
    """Return the runs of AI agents with their models, tokens and cost, newest first; no payload is shown."""
    request.check_params("service", "since")
    service, since = request.text("service"), request.text("since") or "24h"
    runs = await request.try_to_read("agents", read_agent_runs, service=service, since=since, timeout=request.timeout)
    fields = [_field("service", "service", request, example="all"), _field("since", "since", request, example="24h")]
    parts: list[Any] = [_form(request, fields, "Show"), runs]
    if isinstance(runs, pd.DataFrame):
        parts = [parts[0], *_agent_notes(runs), runs[[each for each in _RUN_COLUMNS if each in runs]]]
    return WebPage("Runs of agents", parts, data_of(runs, agent_runs_json))


def _agent_notes(runs: pd.DataFrame) -> Iterator[str]:
    if "truncated" in runs.attrs:
        yield f"Not all runs are shown: {runs.attrs['truncated']['message']}."
    if runs.attrs.get("cost_note") and len(runs):
        yield str(runs.attrs["cost_note"]).partition(";")[0] + "."  # the rest is about an argument in Python
    if runs.empty:
        yield "No run of an agent in this time."


async def questions_page(request: PageRequest) -> WebPage:
    """List the named questions."""
    request.check_params()
    frame = questions()
    rows = [row | {"address": request.link(f"/question/{row['name']}")} for row in records(frame)]
    note = "A heavy question reads journals or payloads."
    return WebPage("Questions", [part_of("questions", questions=rows), note], {"questions": frame})


async def question_page(request: PageRequest) -> WebPage:
    """Return the rows of a named question; its parameters are those of the address."""
    name = request.argument
    if name not in names():
        hint = did_you_mean(nearest_names(name, names())) or "The page of the questions lists them."
        raise NotFound(f"unknown question {name[:60]!r}. {hint}", status=404)
    question = get_question(name)
    request.check_params(*(each.name for each in question.parameters), argument=True)
    texts = {each: text for each in request.params if (text := request.text(each)) is not None}
    _check_limit(texts.get("limit"))
    missing = [each.name for each in question.parameters if each.is_required and each.name not in texts]
    fields = [_parameter_field(each, request) for each in question.parameters]
    form = _form(request, fields, "Ask", note=f"{question.text} A row is {question.row}.")
    if missing:
        return WebPage(name, [form, f"Fill in {', '.join(missing)}."], {"question": name, "missing": missing})
    values = parse_texts(name, texts)
    frame = await request.try_to_read("question", ask, name=name, values=values, timeout=request.timeout)
    parts: list[Any] = [form, frame]
    if isinstance(frame, pd.DataFrame):
        parts[1:1] = [without_options(each["message"]) for each in (frame.attrs.get("truncated"),) if each]
        parts += [f"Not read: {without_options(each)}" for each in frame.attrs.get("not_read", ())]
    return WebPage(name, parts, data_of(frame, question_json))


def ask(source: Source, *, name: str, values: Mapping[str, Any], timeout: float) -> pd.DataFrame:
    """Return the rows of a named question."""
    return run_any_question(source, name, timeout=timeout, **values)


def _check_limit(text: str | None) -> None:
    is_too_high = text == "none" or (text is not None and text.isdigit() and (len(text) > 9 or int(text) > MOST_ROWS))
    if is_too_high:
        raise ArgumentError(f"limit is {text[:40] if text else text}; a page has at most {plural(MOST_ROWS, 'row')}.")


def _field(
    name: str,
    label: str,
    request: PageRequest,
    *,
    example: str = "",
    value: str | None = None,
    choices: list[str] | None = None,
    is_required: bool = False,
    tip: str = "",
) -> Mapping[str, Any]:
    """Return the values of a field of a form."""
    text = value if value is not None else request.text(name) or ""
    values = {"name": name, "label": label, "value": text, "example": example, "tip": tip}
    return {**values, "choices": choices or [], "is_required": is_required}


def _parameter_field(parameter: Parameter, request: PageRequest) -> Mapping[str, Any]:
    default = "" if parameter.is_required else parameter.default
    return _field(
        parameter.name,
        parameter.name,
        request,
        example="" if default == "none" else default,
        is_required=parameter.is_required,
        tip=parameter.description,
    )


def _form(request: PageRequest, fields: list[Mapping[str, Any]], button: str, *, note: str = "") -> Any:
    """Return a form that loads the page again with the values of its fields."""
    path = request.link_here().partition("?")[0]
    hidden = list(request.source_params.items())
    return part_of("form", action=path, hidden=hidden, fields=fields, button=button, note=note)
