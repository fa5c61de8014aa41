"""Agents without an integration, each step with the response as it is: ``python plain_services.py --fd N`` serves them.

One stores the whole response of the chat API, one that of the Responses API, and one only the message, from litellm.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import litellm
import restate
from agent_tools import INSTRUCTIONS, PATIENT, SOON, TOOLS, TRIES, headers, name_invocation
from openai import AsyncOpenAI
from restate import Context

from restate_lab.demo.services_host import serve_inherited

Message = dict[str, Any]
PARAMETERS = {
    **{key: {"city": {"type": "string"}} for key in ("get_weather", "get_population", "book")},
    "ask_person": {"question": {"type": "string"}},
    "add": {"a": {"type": "integer"}, "b": {"type": "integer"}},
}
SCHEMAS: list[Message] = [
    {"name": name, "description": name, "parameters": {"type": "object", "properties": PARAMETERS[name]}}
    for name in TOOLS
]
CHAT_TOOLS: Any = [{"type": "function", "function": schema} for schema in SCHEMAS]
RESPONSES_TOOLS: Any = [{"type": "function", **schema} for schema in SCHEMAS]
client = AsyncOpenAI(
    max_retries=0, http_client=httpx.AsyncClient(event_hooks={"request": [name_invocation]}, timeout=60)
)
service = restate.Service("PlainAgent", invocation_retry_policy=PATIENT, inactivity_timeout=SOON)


async def _execute(name: str, arguments: str) -> str:
    try:
        values = json.loads(arguments)
    except ValueError:
        return "the arguments are not valid JSON"
    return json.dumps(await TOOLS[name](**values))


async def _converse(prompt: str, call: Callable[[list[Message]], Awaitable[Message]]) -> str:
    messages: list[Message] = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": prompt}]
    while True:
        message = await call(messages)
        calls = message.get("tool_calls") or []
        if not calls:
            return str(message["content"] or message.get("refusal"))
        messages.append({"role": "assistant", "content": message["content"], "tool_calls": calls})
        for each in calls:
            output = await _execute(each["function"]["name"], each["function"]["arguments"])
            messages.append({"role": "tool", "tool_call_id": each["id"], "content": output})


@service.handler("chat")
async def chat(ctx: Context, prompt: str) -> str:
    """Answer through the chat API; a step has the whole response."""

    async def call(messages: list[Message]) -> Message:
        async def request() -> Message:
            response: Any = await client.chat.completions.create(model="gpt-4o", messages=messages, tools=CHAT_TOOLS)
            return response.model_dump()

        return (await ctx.run_typed("LLM call", request, TRIES))["choices"][0]["message"]

    return await _converse(prompt, call)


@service.handler("message")
async def message(ctx: Context, prompt: str) -> str:
    """Answer through the chat API by litellm; a step has only the message."""

    async def call(messages: list[Message]) -> Message:
        async def request() -> Message:
            response: Any = await litellm.acompletion(
                model="openai/gpt-4o", messages=messages, tools=CHAT_TOOLS, max_retries=0, extra_headers=headers(ctx)
            )
            return response.choices[0].message.model_dump()

        return await ctx.run_typed("LLM call", request, TRIES)

    return await _converse(prompt, call)


@service.handler("responses")
async def responses(ctx: Context, prompt: str) -> str:
    """Answer through the Responses API; a step has the whole response."""
    items: list[Message] = [{"role": "user", "content": prompt}]
    while True:

        async def request() -> Message:
            response: Any = await client.responses.create(
                model="gpt-4o",
                instructions=INSTRUCTIONS,
                input=items,  # noqa: B023 - the step runs at once
                tools=RESPONSES_TOOLS,
            )
            return response.model_dump()

        output = (await ctx.run_typed("ask the model", request, TRIES))["output"]
        calls = [each for each in output if each["type"] == "function_call"]
        if not calls:
            parts = [part for each in output if each["type"] == "message" for part in each["content"]]
            return "".join(part.get("text") or part.get("refusal") for part in parts)
        items = [*items, *output]
        for each in calls:
            result = await _execute(each["name"], each["arguments"])
            items.append({"type": "function_call_output", "call_id": each["call_id"], "output": result})


app = restate.app(services=[service])

if __name__ == "__main__":
    serve_inherited(app)
