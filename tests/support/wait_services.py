"""Services that wait: for each other, for keys, for people and for time; ``running_waits`` starts them on a server.

``python wait_services.py --fd N`` serves them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import restate
from restate import Context, InvocationRetryPolicy, ObjectContext, ObjectSharedContext, WorkflowContext

import restate_lab as rl
from restate_lab.demo.services_host import serve_inherited

MOMENT = timedelta(milliseconds=200)
LONG = timedelta(hours=1)
SELDOM = InvocationRetryPolicy(initial_interval=timedelta(hours=1), max_interval=timedelta(hours=1))

depot = restate.VirtualObject("Depot", inactivity_timeout=MOMENT)
eager = restate.VirtualObject("Eager", inactivity_timeout=LONG)
office = restate.Service("Office", inactivity_timeout=MOMENT)
consent = restate.Workflow("Consent", inactivity_timeout=MOMENT)


# --- a virtual object: its exclusive handlers hold the key


@depot.handler()
async def take(ctx: ObjectContext) -> str:
    """Do nothing, once the key is free."""
    return ctx.key()


@depot.handler()
async def visit(ctx: ObjectContext, key: str) -> str:
    await ctx.sleep(timedelta(seconds=1.5))
    return await ctx.object_call(take, key=key, arg=None)


@depot.handler()
async def visit_or_give_up(ctx: ObjectContext, key: str) -> str:
    """Hold the own key, and take another or wait for an hour, whichever comes first."""
    await ctx.sleep(timedelta(seconds=1.5))
    match await restate.select(taken=ctx.object_call(take, key=key, arg=None), timeout=ctx.sleep(LONG)):
        case ["taken", result]:
            return str(result)
    return "gave up"


@depot.handler()
async def visit_and_rest(ctx: ObjectContext, key: str) -> str:
    """Hold the own key, and take another and wait for an hour, both."""
    await ctx.sleep(timedelta(seconds=1.5))
    await restate.gather(ctx.object_call(take, key=key, arg=None), ctx.sleep(LONG))
    return "rested"


@depot.handler()
async def visit_through_office(ctx: ObjectContext, key: str) -> str:
    """Hold the own key, and have a service take a key."""
    return await ctx.service_call(fetch, key)


@depot.handler()
async def hold(ctx: ObjectContext) -> str:
    _, outcome = ctx.awakeable(type_hint=str)
    return await outcome


@depot.handler()
async def obey(ctx: ObjectContext, keys: list[str]) -> str:
    """Hold the own key, wait for a sign, and take these keys: one, through a service ("~key"), or any of several.

    Without keys, wait for a second sign that never comes.
    """
    await ctx.awakeable(type_hint=str)[1]
    calls = {
        f"call{number}": ctx.service_call(fetch, key[1:])
        if key.startswith("~")
        else ctx.object_call(take, key=key, arg=None)
        for number, key in enumerate(keys)
    }
    if not calls:
        return await ctx.awakeable(type_hint=str)[1]
    await restate.select(**calls)
    return "obeyed"


@depot.handler(invocation_retry_policy=SELDOM)
async def spoil(ctx: ObjectContext) -> str:
    """Hold the key, and fail repeatedly in a step."""
    return await ctx.run_typed("count crates", _raise)


@depot.handler(kind="shared")
async def look(ctx: ObjectSharedContext) -> str:
    """Take the own key without holding it."""
    return await ctx.object_call(take, key=ctx.key(), arg=None)


# --- the same, without suspending during the wait


@eager.handler(name="take")
async def eager_take(ctx: ObjectContext) -> str:
    """Do nothing, once the key is free."""
    return ctx.key()


@eager.handler(name="visit")
async def eager_visit(ctx: ObjectContext, key: str) -> str:
    """Hold the own key, and take another."""
    await ctx.sleep(timedelta(seconds=1.5))
    return await ctx.object_call(eager_take, key=key, arg=None)


# --- a service, which holds nothing


@office.handler()
async def fetch(ctx: Context, key: str) -> str:
    return await ctx.object_call(take, key=key, arg=None)


@office.handler()
async def delegate(ctx: Context, key: str) -> str:
    return await ctx.service_call(fetch, key)


@office.handler()
async def fetch_all(ctx: Context, keys: list[str]) -> int:
    return len(await restate.gather(*[ctx.object_call(take, key=key, arg=None) for key in keys]))


@office.handler()
async def follow(ctx: Context, invocation_id: str) -> str:
    """Wait for the outcome of an invocation with another caller."""
    return str(await ctx.attach_invocation(invocation_id))


@office.handler()
async def ask(ctx: Context) -> str:
    _, outcome = ctx.awakeable(type_hint=str)
    return await outcome


@office.handler()
async def rest(ctx: Context) -> None:
    await ctx.sleep(LONG)


@consent.main()
async def run(ctx: WorkflowContext) -> str:
    return await ctx.promise("signed/by", type_hint=str).value()


def _raise() -> str:
    msg = "the crates are wet\nand the floor, too"
    raise ValueError(msg)


@contextlib.contextmanager
def running_waits(kind: str, folder: Path) -> Iterator[rl.Lab]:
    from support.bench import running_bench  # a process of the services does not need it

    with running_bench(kind, folder, __file__, ready=None, env={}) as bench:
        yield bench.lab


if __name__ == "__main__":
    serve_inherited(restate.app(services=[depot, eager, office, consent]))
