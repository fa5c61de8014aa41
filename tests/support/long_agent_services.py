"""Agents with very long journals and very large payloads, without a model: ``long_agent_services.py --fd N``."""

from __future__ import annotations

import json
from typing import Any

import restate
from restate import ObjectContext, VirtualObject
from restate.serde import BytesSerde

from restate_lab.demo.services_host import serve_inherited

long_agent = VirtualObject("LongAgent")
STEPS = 10
"""The calls of a model in each run, the last one without a tool call."""
TOKENS = (100, 7)


def response(number: int, text: str | None) -> dict[str, Any]:
    call = {"id": f"call_{number}", "function": {"name": "get_weather", "arguments": f'{{"city": "City {number}"}}'}}
    message = {"role": "assistant", "content": text, "tool_calls": [] if text else [call]}
    usage = {"prompt_tokens": TOKENS[0], "completion_tokens": TOKENS[1], "total_tokens": sum(TOKENS)}
    return {"object": "chat.completion", "model": "gpt-4o", "usage": usage, "choices": [{"message": message}]}


@long_agent.handler()
async def run(ctx: ObjectContext, entries: int) -> str:
    """Call the model ten times, with a tool and a tenth of the other entries after each call."""
    for number in range(STEPS):
        text = "Done." if number == STEPS - 1 else None
        await ctx.run_typed("call LLM", response, number=number, text=text)
        if text is None:
            await ctx.run_typed("get weather", lambda: {"celsius": 21})
        for at in range(entries // STEPS // 100):
            await restate.gather(*(ctx.run_typed(f"step {at}", lambda: {"usage": None}) for _ in range(5)))
            for each in range(90):
                ctx.set(f"item-{each}", at)
    return "Done."


@long_agent.handler()
async def large(ctx: ObjectContext, mebibytes: int) -> str:
    """Call the model twice; the first response has a text of this size."""
    await ctx.run_typed("call LLM", response, number=0, text="usage " + "x" * (mebibytes << 20))
    await ctx.run_typed("call LLM", response, number=1, text="Done.")
    return "Done."


def many_calls(number: int) -> dict[str, Any]:
    """Return one response of a model with so many calls of a tool."""
    whole = response(0, None)
    calls = [response(at, None)["choices"][0]["message"]["tool_calls"][0] for at in range(number)]
    whole["choices"][0]["message"]["tool_calls"] = calls
    return whole


def page(number: int, size: int) -> dict[str, Any]:
    """Return the result of a tool with a text of this size, and with a header that is masked."""
    return {"city": f"City {number}", "headers": {"set-cookie": "a"}, "text": f"page {number} " * (size // 8)}


@long_agent.handler()
async def fetch(ctx: ObjectContext, calls: int) -> str:
    """Call the model once with so many calls of a tool, each of which returns a megabyte."""
    await ctx.run_typed("call LLM", many_calls, number=calls)
    for first in range(0, calls, 50):
        numbers = range(first, min(first + 50, calls))
        await restate.gather(*(ctx.run_typed("get weather", page, number=at, size=1_000_000) for at in numbers))
    await ctx.run_typed("call LLM", response, number=calls, text="Done.")
    return "Done."


@long_agent.handler()
async def encoded(ctx: ObjectContext, depth: int) -> str:
    """Get a long response in UTF-16, a short one in UTF-32, and one that is nested so deep."""
    texts = [
        (response(number, "x" * length), name) for number, length, name in ((0, 20_000, "utf-16"), (1, 9, "utf-32"))
    ]
    payloads = [json.dumps(each).encode(encoding) for each, encoding in texts]
    for payload in (*payloads, b'{"usage": %s%s}' % (b"[" * depth, b"]" * depth)):
        await ctx.run_typed("call LLM", lambda payload=payload: payload, restate.RunOptions(serde=BytesSerde()))
    return "Done."


if __name__ == "__main__":
    serve_inherited(restate.app([long_agent]))
