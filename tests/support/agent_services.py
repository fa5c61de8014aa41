"""Real agents of two integrations, which call the scripted model: ``python agent_services.py --fd N`` serves them."""

from __future__ import annotations

from typing import Any

import agent_tools
import agents
import restate
from agent_tools import INSTRUCTIONS, PATIENT, SOON, TRIES, add, fetch, headers
from agents import Agent, MaxTurnsExceeded, ModelSettings, OpenAIChatCompletionsModel, RunConfig
from openai import AsyncOpenAI
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from restate import Context, ObjectContext, TerminalError
from restate.ext.openai import DurableRunner, durable_function_tool, restate_context
from restate.ext.pydantic import RestateAgent

from restate_lab.demo.services_host import serve_inherited

# OpenAI Agents: no retries inside the client, so that Restate sees each failure
agents.set_default_openai_client(AsyncOpenAI(max_retries=0), use_for_tracing=False)


async def find_station(city: str) -> str:
    """Find the station of a city, and report a failure to the model."""
    try:
        await restate_context().run_typed("find station", fetch, city=city)
    except TerminalError:
        return "no station"
    return f"the station of {city}"


async def ask_expert(question: str) -> str:
    """Ask another agent."""
    return await restate_context().service_call(ask, question)


get_weather = durable_function_tool(agent_tools.get_weather)
TOOLS: list[Any] = [
    get_weather,
    *(durable_function_tool(tool) for name, tool in agent_tools.TOOLS.items() if name != "get_weather"),
    durable_function_tool(find_station),
    durable_function_tool(ask_expert),
]
specialist = Agent(name="specialist", model="gpt-4o", instructions="Answer.", tools=[get_weather])
assistant = Agent(name="assistant", model="gpt-4o", instructions=INSTRUCTIONS, tools=TOOLS, handoffs=[specialist])

service = restate.Service("OpenAIAgent", invocation_retry_policy=PATIENT, inactivity_timeout=SOON)
session = restate.VirtualObject("OpenAISession", invocation_retry_policy=PATIENT, inactivity_timeout=SOON)


async def _run(ctx: Context, prompt: str, api: Any, **options: Any) -> str:
    # `run` reads this default before it waits for anything, so no other invocation can change it in between
    agents.set_default_openai_api(api)
    config = RunConfig(model_settings=ModelSettings(extra_headers=headers(ctx)))
    result = await DurableRunner.run(assistant, prompt, run_options=TRIES, run_config=config, **options)
    return str(result.final_output)


@service.handler("responses")
async def ask(ctx: Context, prompt: str) -> str:
    return await _run(ctx, prompt, "responses")


@service.handler("chat")
async def ask_in_chat(ctx: Context, prompt: str) -> str:
    return await _run(ctx, prompt, "chat_completions")


@service.handler("limited")
async def ask_with_limit(ctx: Context, prompt: str) -> str:
    """Fail after six steps of the model."""
    try:
        return await _run(ctx, prompt, "responses", max_turns=6)
    except MaxTurnsExceeded as error:
        raise TerminalError(str(error)) from error


@service.handler("unjournaled")
async def ask_without_steps(ctx: Context, prompt: str) -> str:
    """Fail at each tool call: the integration makes steps only for a model that is passed by its name."""
    model = OpenAIChatCompletionsModel("gpt-4o", AsyncOpenAI(max_retries=0))
    agent = Agent(name="unjournaled", model=model, instructions=INSTRUCTIONS, tools=[get_weather])
    return str((await DurableRunner.run(agent, prompt, run_options=TRIES)).final_output)


@session.handler("responses")
async def converse(ctx: ObjectContext, prompt: str) -> str:
    return await _run(ctx, prompt, "responses", use_restate_session=True)


def _pydantic_agent(model: Any, *, auto_wrap: bool) -> RestateAgent[None, str]:
    agent = PydanticAgent(model, system_prompt=INSTRUCTIONS)
    tools = WRAPPED_TOOLS if auto_wrap else STEP_TOOLS
    for name, tool in tools.items():
        agent.tool_plain(tool, name=name)
    return RestateAgent(agent, auto_wrap_tools=auto_wrap, run_options=TRIES)


async def _wrapped_weather(city: str) -> dict[str, Any]:
    """Return the weather of a city; the integration makes a step of the whole tool."""
    return fetch(city)


async def _wrapped_population(city: str) -> int:
    """Return the number of inhabitants."""
    return len(city) * 100_000


async def _run_pydantic(ctx: Context, agent: RestateAgent[None, str], prompt: str) -> str:
    return (await agent.run(prompt, model_settings={"extra_headers": headers(ctx)})).output


STEP_TOOLS: dict[str, Any] = {**agent_tools.TOOLS, "ask_expert": ask_expert}
WRAPPED_TOOLS = {"get_weather": _wrapped_weather, "get_population": _wrapped_population, "add": add}
# the default of OpenAI's client: two retries, which Restate does not see
provider = OpenAIProvider(openai_client=AsyncOpenAI(max_retries=2))
pydantic_chat = _pydantic_agent(OpenAIChatModel("gpt-4o", provider=provider), auto_wrap=False)
pydantic_responses = _pydantic_agent(OpenAIResponsesModel("gpt-4o", provider=provider), auto_wrap=False)
pydantic_wrapped = _pydantic_agent(OpenAIChatModel("gpt-4o", provider=provider), auto_wrap=True)
pydantic = restate.Service("PydanticAgent", invocation_retry_policy=PATIENT, inactivity_timeout=SOON)


@pydantic.handler("chat")
async def ask_pydantic_in_chat(ctx: Context, prompt: str) -> str:
    """Answer through the chat API; tools run at the same time, and each makes its own steps."""
    return await _run_pydantic(ctx, pydantic_chat, prompt)


@pydantic.handler("responses")
async def ask_pydantic(ctx: Context, prompt: str) -> str:
    """Answer through the Responses API; tools run at the same time, and each makes its own steps."""
    return await _run_pydantic(ctx, pydantic_responses, prompt)


@pydantic.handler("wrapped")
async def ask_wrapped_pydantic(ctx: Context, prompt: str) -> str:
    """Answer through the chat API; each tool is one step, which the integration makes."""
    return await _run_pydantic(ctx, pydantic_wrapped, prompt)


app = restate.app(services=[service, session, pydantic])

if __name__ == "__main__":
    serve_inherited(app)
