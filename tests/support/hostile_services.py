"""Services whose names, keys, steps and failures are hostile: ``python hostile_services.py --fd N`` serves them."""

from __future__ import annotations

from datetime import timedelta

import restate
from restate import InvocationRetryPolicy, ObjectContext, TerminalError, WorkflowContext

from restate_lab.demo.services_host import serve_inherited

MOMENT = timedelta(milliseconds=200)
SELDOM = InvocationRetryPolicy(initial_interval=timedelta(hours=1), max_interval=timedelta(hours=1))
CUT = "Hi \ud83d"
"""A text that was cut within an emoji."""

victim = restate.VirtualObject("Victim", inactivity_timeout=MOMENT)
signing = restate.Workflow("Signing", inactivity_timeout=MOMENT)


@victim.handler()
async def hold(ctx: ObjectContext, words: str) -> str:
    """Set state, also half of an emoji, take a step with a hostile name, and hold the key."""
    ctx.set(words[:200], words)
    ctx.set("cut", CUT)
    await ctx.run_typed(words[:200], lambda: words)
    return str(await ctx.awakeable(type_hint=str)[1])


@victim.handler()
async def take(ctx: ObjectContext, words: str) -> str:
    return words


@victim.handler(kind="shared")
async def fail(ctx: restate.ObjectSharedContext, words: str) -> str:
    raise TerminalError(words)


@victim.handler(kind="shared")
async def choose(ctx: restate.ObjectSharedContext, words: dict[str, str]) -> int:
    """Take a step with each hostile name, and fail if there is any."""
    for name in words:
        await ctx.run_typed(name, lambda: 1)
    if words:
        raise TerminalError("no choice")
    return 0


@victim.handler(kind="shared")
async def recall(ctx: restate.ObjectSharedContext, words: str) -> str:
    """Take a step with the response of a model whose text and arguments were cut within an emoji."""
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": f'{{"place": "{CUT}"}}'}}
    message = {"role": "assistant", "content": CUT, "tool_calls": [call]}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    answer = {"object": "chat.completion", "model": "gpt-5", "choices": [{"message": message}], "usage": usage}
    await ctx.run_typed("call model", lambda: answer)
    return CUT


@victim.handler(kind="shared", invocation_retry_policy=SELDOM)
async def retry(ctx: restate.ObjectSharedContext, words: str) -> str:
    raise ValueError(words)


@signing.main()
async def run(ctx: WorkflowContext, words: str) -> str:
    return str(await ctx.promise(words[:200], type_hint=str).value())


if __name__ == "__main__":
    serve_inherited(restate.app(services=[victim, signing]))
