"""The agents of a travel agency, in Pydantic AI and OpenAI Agents; ``restate-lab demo --story agents`` serves them.

Like the weather agent of the demo, they are real, and only their model is scripted. They run in an environment of their
own: ``python -m restate_lab.demo.services.travel --fd N``.
"""

from datetime import timedelta
from typing import Any, TypedDict

import restate
from agents import Agent, MaxTurnsExceeded, ModelSettings, RunConfig
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.models.openai import OpenAIChatModel
from restate import Context, ObjectContext, Service, TerminalError, VirtualObject
from restate.ext.openai import DurableRunner, durable_function_tool, restate_context
from restate.ext.pydantic import RestateAgent, restate_context as pydantic_context

from restate_lab.demo.model.server import INVOCATION_HEADER
from restate_lab.demo.services.agent import PATIENT, current_weather, get_weather
from restate_lab.demo.services_host import serve_inherited

MOST_TURNS = 6
SOON = timedelta(seconds=1)  # an agent that waits for a person is suspended soon, and then uses no resources


def _headers(ctx: Context) -> dict[str, str]:
    return {INVOCATION_HEADER: ctx.request().id}


# The scout compares cities. Pydantic AI starts the tools of one response at the same time.
scout = Service("Scout", description="Compares cities", invocation_retry_policy=PATIENT)


comparison = PydanticAgent(OpenAIChatModel("gpt-4o"), system_prompt="Compare cities for a weekend.")


@comparison.tool_plain(name="get_weather")
async def _weather(city: str) -> str:
    """Get the current weather of a city."""
    return await pydantic_context().run_typed("get weather", current_weather, city=city)


@comparison.tool_plain(name="get_hotel_price")
async def _hotel(city: str) -> str:
    """Get the price of a hotel in a city."""
    return await pydantic_context().run_typed("get hotel price", _hotel_price, city=city)


def _hotel_price(city: str) -> str:
    return f"{60 + sum(map(ord, city)) % 60} euros a night in {city}"


durable_comparison = RestateAgent(comparison)


@scout.handler()
async def compare(ctx: Context, prompt: str) -> str:
    """Compare cities; all tools of one response run at the same time."""
    result = await durable_comparison.run(prompt, model_settings={"extra_headers": _headers(ctx)})
    return str(result.output)


async def _run(ctx: Context, agent: Agent, prompt: str, **options: Any) -> str:
    """Run an agent of OpenAI Agents; each call of the model is a step in the journal."""
    config = RunConfig(model_settings=ModelSettings(extra_headers=_headers(ctx)))
    try:
        result = await DurableRunner.run(agent, prompt, run_config=config, max_turns=MOST_TURNS, **options)
    except MaxTurnsExceeded as error:
        raise TerminalError(f"the agent did not finish: {error}") from error
    return str(result.final_output)


# The concierge plans trips. It calls the scout, which is an agent, too.
concierge = Service("Concierge", description="Plans trips", invocation_retry_policy=PATIENT)


@durable_function_tool
async def ask_scout(question: str) -> str:
    """Ask the agent that compares cities."""
    return await restate_context().service_call(compare, question)


@durable_function_tool
async def find_ferry(to: str) -> str:
    """Find the next ferry to a harbour."""
    return await restate_context().run_typed("find ferry", _next_ferry, to=to)


def _next_ferry(to: str) -> str:
    return f"no ferry to {to} found, try again"


planner = Agent(name="concierge", model="gpt-4o", instructions="You plan trips.", tools=[ask_scout, find_ferry])


@concierge.handler()
async def plan(ctx: Context, prompt: str) -> str:
    """Plan a trip."""
    return await _run(ctx, planner, prompt)


# A traveller talks to an agent for several turns. The session is in the state of the virtual object.
travellers = VirtualObject(
    "Traveller", description="The conversation of one traveller", invocation_retry_policy=PATIENT
)
companion = Agent(name="companion", model="gpt-4o", instructions="You help a traveller.", tools=[get_weather])


@travellers.handler()
async def chat(ctx: ObjectContext, prompt: str) -> str:
    """Answer one turn of the conversation."""
    return await _run(ctx, companion, prompt, use_restate_session=True)


# A booking needs the approval of a person, which can take days.
approvals = VirtualObject("Approvals", description="The open question about one traveller")
bookings = Service("Bookings", description="Books trips", invocation_retry_policy=PATIENT, inactivity_timeout=SOON)


class OpenQuestion(TypedDict):
    """A question, and the awakeable that its answer resolves."""

    question: str
    awakeable: str


@approvals.handler()
async def ask(ctx: ObjectContext, question: OpenQuestion) -> None:
    """Keep a question until a person decides."""
    ctx.set("question", question)


@approvals.handler()
async def decide(ctx: ObjectContext, decision: str) -> None:
    """Answer the open question; the agent that waits for it continues."""
    question = await ctx.get("question", type_hint=OpenQuestion)
    if question is None:
        raise TerminalError(f"no open question about {ctx.key()}", status_code=404)
    ctx.resolve_awakeable(question["awakeable"], decision)
    ctx.clear("question")


@durable_function_tool
async def reserve_seat(train: str) -> str:
    """Reserve a seat in a train."""
    return await restate_context().run_typed("reserve seat", _seat, train=train)


def _seat(train: str) -> str:
    return f"seat {11 + len(train)} in the train to {train}"


@durable_function_tool
async def ask_manager(traveller: str, question: str) -> str:
    """Ask the manager of a traveller, and wait for the decision."""
    ctx = restate_context()
    awakeable, decision = ctx.awakeable(type_hint=str)
    ctx.object_send(ask, key=traveller, arg=OpenQuestion(question=question, awakeable=awakeable))
    return await decision


clerk = Agent(name="clerk", model="gpt-4o", instructions="You book trips.", tools=[reserve_seat, ask_manager])


@bookings.handler()
async def book(ctx: Context, prompt: str) -> str:
    """Book a trip after the manager has approved it."""
    return await _run(ctx, clerk, prompt)


if __name__ == "__main__":
    serve_inherited(restate.app(services=[approvals, bookings, concierge, scout, travellers]))
