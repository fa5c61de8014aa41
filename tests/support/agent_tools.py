"""Tools and settings of all test agents, whatever their integration.

The weather tool fails for Denver until the file "repaired" is in the services' folder, and for Bonn with a terminal
error. Each body of a tool without a step, and of the weather tool, appends its name and argument to ``tools.log``.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from restate import InvocationRetryPolicy, RunOptions, TerminalError
from restate.extensions import current_context

from restate_lab.demo.faults import FOLDER_VARIABLE
from restate_lab.demo.model.server import INVOCATION_HEADER

FOLDER = Path(os.environ[FOLDER_VARIABLE])
PATIENT = InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=50), exponentiation_factor=1.5, max_interval=timedelta(milliseconds=500)
)
SOON = timedelta(milliseconds=500)  # suspend soon
TRIES: RunOptions[Any] = RunOptions(initial_retry_interval=timedelta(milliseconds=50), max_attempts=10)
INSTRUCTIONS = "Answer questions about the weather. canary-system-prompt"


def context() -> Any:
    return current_context()


def headers(ctx: Any) -> dict[str, str]:
    """Return the header that names the invocation in the model's ledger."""
    return {INVOCATION_HEADER: ctx.request().id}


async def name_invocation(request: Any) -> None:
    request.headers.update(headers(context()))


def note(tool: str, value: str) -> None:
    with (FOLDER / "tools.log").open("a") as log:
        log.write(f"{tool} {value}\n")


def fetch(city: str) -> dict[str, Any]:
    note("get_weather", city)
    if city == "Denver" and not (FOLDER / "repaired").exists():
        raise RuntimeError(f"no answer from the weather service for {city}")
    if city == "Bonn":
        raise TerminalError("no station in Bonn", status_code=404)
    return {"city": city, "celsius": sum(map(ord, city)) % 35}


async def get_weather(city: str) -> dict[str, Any]:
    """Return the weather of a city."""
    return await context().run_typed("get weather", fetch, city=city)


async def get_population(city: str) -> int:
    """Return the number of inhabitants."""
    return await context().run_typed(f"get population {city}", lambda: len(city) * 100_000)


async def book(city: str) -> str:
    """Book a trip."""
    ctx = context()
    hotel = await ctx.run_typed("reserve hotel", lambda: f"hotel in {city}")
    train = await ctx.run_typed("reserve train", lambda: f"train to {city}")
    return f"{hotel} and {train}"


async def ask_person(question: str) -> str:
    """Ask a person, by the awakeable whose id is in the step "notify person", and wait for the reply."""
    ctx = context()
    id_, answer = ctx.awakeable(type_hint=str)
    await ctx.run_typed("notify person", lambda: {"question": question, "awakeable": id_})
    return await answer


async def add(a: int, b: int) -> int:
    """Add two numbers, without a step."""
    note("add", f"{a} {b}")
    return a + b


TOOLS = {tool.__name__: tool for tool in (get_weather, get_population, book, ask_person, add)}
