"""The weather agent, the language model that it calls, and the weather service that is its tool.

Model and weather service are simulated: they work offline and always give the same response. The weather service fails
for Denver until the user repairs it with ``demo.fix``.
"""

import asyncio
import hashlib
import re
from datetime import timedelta
from typing import TypedDict

from restate import Context, InvocationRetryPolicy, Service

from restate_lab.demo.faults import is_fixed

__all__ = ["Message", "ModelReply", "WeatherDown", "agent", "complete", "current_weather"]

THINKING = 0.1  # seconds
SKIES = ("sunny", "cloudy", "light rain", "windy", "clear")

# Many attempts with short waits: the invocation keeps retrying for hours, and a fix takes effect within seconds.
PATIENT = InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=400),
    exponentiation_factor=1.2,
    max_interval=timedelta(milliseconds=1500),
    max_attempts=20_000,
    on_max_attempts="pause",
)

agent = Service("agent", description="Answers questions about the weather", invocation_retry_policy=PATIENT)


@agent.handler()
async def run(ctx: Context, prompt: str) -> str:
    """Call the model, then the tool that it requests, and repeat until the model returns an answer."""
    messages: list[Message] = [{"role": "user", "content": prompt}]
    while True:
        reply: ModelReply = await ctx.run_typed("Call LLM", complete, messages=messages)
        if reply["wants_weather_of"] is None:
            return reply["answer"] or ""
        weather = await ctx.run_typed("get weather", current_weather, city=reply["wants_weather_of"])
        messages.append({"role": "tool", "content": weather})


class Message(TypedDict):
    """One turn of a conversation; ``role`` is "user" or "tool"."""

    role: str
    content: str


class ModelReply(TypedDict):
    """A reply of the model: an answer, or the city whose weather it needs first."""

    answer: str | None
    wants_weather_of: str | None


async def complete(messages: list[Message]) -> ModelReply:
    """Return the model's next reply."""
    await asyncio.sleep(THINKING)
    city = _city(messages[0]["content"])
    if city is None:
        return {"answer": "Name a city, and I will look up its weather.", "wants_weather_of": None}
    if messages[-1]["role"] == "tool":
        return {"answer": f"The weather in {city}: {messages[-1]['content']}.", "wants_weather_of": None}
    return {"answer": None, "wants_weather_of": city}


def _city(prompt: str) -> str | None:
    capitalised = re.findall(r"(?<!^)\b[A-Z]\w+(?: [A-Z]\w+)*", prompt)
    return capitalised[-1] if capitalised else None


class WeatherDown(Exception):
    """The weather service does not respond."""


def current_weather(city: str) -> str:
    """Return the invented weather of a city; it is always the same.

    Raises:
        WeatherDown: the city is Denver, and the problem "weather" is not fixed.

    """
    if city == "Denver" and not is_fixed("weather"):
        raise WeatherDown(f"no answer from the weather service for {city}: connection timed out")
    number = int.from_bytes(hashlib.sha256(city.encode()).digest()[:4])
    return f"{SKIES[(number >> 8) % len(SKIES)]}, {5 + number % 25} °C"
