"""The weather agent, written with OpenAI Agents, and the weather service that is its tool.

The agent is real; the language model that it calls is ``restate_lab.demo.model``, which works offline and always gives
the same response. The weather service is simulated. It fails for Denver until the user repairs it with ``demo.fix``.
"""

import hashlib
from datetime import timedelta

from agents import Agent, ModelSettings, RunConfig
from restate import Context, InvocationRetryPolicy, Service
from restate.ext.openai import DurableRunner, durable_function_tool, restate_context

from restate_lab.demo.faults import is_fixed
from restate_lab.demo.model.server import INVOCATION_HEADER

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


@durable_function_tool
async def get_weather(city: str) -> str:
    """Get the current weather of a city."""
    return await restate_context().run_typed("get weather", current_weather, city=city)


assistant = Agent(
    name="weather agent",
    model="gpt-4o",
    instructions="You answer questions about the weather.",
    tools=[get_weather],
)


@agent.handler()
async def run(ctx: Context, prompt: str) -> str:
    """Answer a question; each call of the model and of the weather service is a step in the journal."""
    # The model's ledger names the invocation with this header.
    settings = ModelSettings(extra_headers={INVOCATION_HEADER: ctx.request().id})
    result = await DurableRunner.run(assistant, prompt, run_config=RunConfig(model_settings=settings))
    return str(result.final_output)


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
