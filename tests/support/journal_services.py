"""Services whose journals hold every type of entry: ``python journal_services.py --fd N`` serves them."""

from __future__ import annotations

import contextlib
from collections import Counter
from datetime import timedelta
from typing import TypedDict

import restate
from restate import (
    Context,
    InvocationRetryPolicy,
    ObjectContext,
    RunOptions,
    TerminalError,
    WorkflowContext,
    WorkflowSharedContext,
)
from restate.serde import BytesSerde

from restate_lab.demo.services_host import serve_inherited

SOON = timedelta(milliseconds=200)
LATER = timedelta(hours=1)
OFTEN = InvocationRetryPolicy(initial_interval=SOON, max_interval=SOON)
SLOW = InvocationRetryPolicy(initial_interval=timedelta(seconds=4), max_interval=timedelta(seconds=4))
PAUSING = InvocationRetryPolicy(initial_interval=SOON, max_interval=SOON, max_attempts=3, on_max_attempts="pause")
SLOWLY = InvocationRetryPolicy(initial_interval=timedelta(hours=1), max_interval=timedelta(hours=1))

helper = restate.Service("Helper", inactivity_timeout=SOON)
tour = restate.VirtualObject("Tour", inactivity_timeout=SOON)
lazy_tour = restate.VirtualObject("LazyTour", inactivity_timeout=SOON, enable_lazy_state=True)
approval = restate.Workflow("Approval", inactivity_timeout=SOON)
retries = restate.Service("Retries", inactivity_timeout=SOON)

ATTEMPTS: Counter[str] = Counter()


class Guests(TypedDict):
    """Invocations that a tour calls or signals."""

    awakeable: str
    listener: str
    victim: str
    finished: str


# --- the callees of a tour


@helper.handler()
async def answer(ctx: Context, words: str) -> str:
    return f"answer to {words}"


@helper.handler()
async def refuse(ctx: Context, words: str) -> None:
    raise TerminalError(words, status_code=418)


@helper.handler()
async def wait(ctx: Context) -> str:
    id_, outcome = ctx.awakeable()
    await ctx.run_typed("publish", lambda: id_)
    return f"got {await outcome}"


@helper.handler()
async def wait_for_two(ctx: Context) -> list[str]:
    first, first_outcome = ctx.awakeable()
    second, second_outcome = ctx.awakeable()
    await ctx.run_typed("publish", lambda: [first, second])
    return [await second_outcome, await first_outcome]


@helper.handler()
async def listen(ctx: Context) -> str:
    return f"heard {await ctx.signal('bell', type_hint=str)}"


@helper.handler()
async def nap(ctx: Context) -> None:
    await ctx.sleep(LATER, name="siesta")


@helper.handler(
    accept="*/*", content_type="application/octet-stream", input_serde=BytesSerde(), output_serde=BytesSerde()
)
async def raw(ctx: Context, body: bytes) -> bytes:
    """Send the bytes back after two bytes that are not valid text."""
    return b"\x00\xff" + body


@helper.handler()
async def down(ctx: Context, levels: int) -> int:
    if levels == 0:
        await ctx.sleep(LATER)
    return await ctx.service_call(down, levels - 1)


@helper.handler(journal_retention=timedelta(0), idempotency_retention=timedelta(hours=1))
async def forgets(ctx: Context) -> str:
    return "what was it?"


@helper.handler()
async def fails(ctx: Context) -> None:
    """Fail in a step with a terminal error, which ends the invocation."""
    await ctx.run_typed("bad step", _fail)


@helper.handler()
async def fan(ctx: Context, width: int) -> int:
    calls = [ctx.service_call(answer, str(n)) for n in range(width)]
    await restate.gather(*calls)
    return width


async def _nothing() -> int:
    return 1


# --- the tours


@tour.handler()
async def every(ctx: ObjectContext, guests: Guests) -> str:
    """Make every type of entry that a virtual object can make, and return."""
    ctx.set("kept", {"n": 1})
    await ctx.get("kept")
    await ctx.get("never")
    await ctx.state_keys()
    ctx.clear("kept")
    ctx.clear_all()
    await ctx.run_typed("good step", lambda: {"done": True})
    with contextlib.suppress(TerminalError):
        await ctx.run_typed("bad step", _fail)
    await ctx.sleep(timedelta(milliseconds=1), name="blink")
    await ctx.service_call(answer, "call")
    with contextlib.suppress(TerminalError):
        await ctx.service_call(refuse, "no tea")
    ctx.service_send(answer, "later", send_delay=LATER)
    handle = ctx.service_send(answer, "now", idempotency_key=f"now-{ctx.key()}")
    sent = await handle.invocation_id()
    ctx.resolve_awakeable(guests["awakeable"], "awake")
    ctx.resolve_signal(guests["listener"], "bell", "ding")
    ctx.cancel_invocation(guests["victim"])
    await ctx.attach_invocation(guests["finished"], type_hint=str)
    return sent


@lazy_tour.handler()
async def lazily(ctx: ObjectContext) -> list[str]:
    """Read state that is not sent with the request."""
    ctx.set("other", 1)
    await ctx.get("kept")
    return await ctx.state_keys()


@lazy_tour.handler()
async def keep(ctx: ObjectContext) -> None:
    ctx.set("kept", "kept value")


@approval.main()
async def run(ctx: WorkflowContext) -> str:
    await ctx.promise("granted", type_hint=str).peek()
    return await ctx.promise("granted", type_hint=str).value()


@approval.handler()
async def grant(ctx: WorkflowSharedContext, by: str) -> None:
    await ctx.promise("granted", type_hint=str).resolve(by)


# --- handlers that are retried


@retries.handler(invocation_retry_policy=OFTEN)
async def third_time(ctx: Context) -> str:
    """Succeed the third time, after two equal errors in a step."""
    await ctx.run_typed("before", _nothing)

    async def step() -> str:
        return _fails_until(3, ctx, "weather service is down")

    return await ctx.run_typed("get weather", step)


@retries.handler(invocation_retry_policy=OFTEN)
async def always(ctx: Context) -> str:
    return await ctx.run_typed("get weather", _raise)


@retries.handler(invocation_retry_policy=OFTEN)
async def two_steps(ctx: Context) -> str:
    """Fail twice in a first step, and forever in a second one."""

    async def first() -> str:
        return _fails_until(3, ctx, "the first is down")

    await ctx.run_typed("first", first)
    return await ctx.run_typed("second", _raise)


@retries.handler(invocation_retry_policy=OFTEN)
async def between_steps(ctx: Context) -> None:
    """Fail outside of any step, forever, each time with another message."""
    ATTEMPTS[ctx.request().id] += 1
    await ctx.run_typed("before", _nothing)
    msg = f"attempt {ATTEMPTS[ctx.request().id]}"
    raise ValueError(msg)


@retries.handler(invocation_retry_policy=SLOW)
async def slowly(ctx: Context) -> None:
    """Fail in a step, every few seconds and with one message."""
    await ctx.run_typed("get weather", _raise)


@retries.handler(invocation_retry_policy=PAUSING)
async def pauses(ctx: Context) -> None:
    """Fail three times in a step, and be paused."""
    await ctx.run_typed("get weather", _raise)


@retries.handler(invocation_retry_policy=OFTEN)
async def own_policy(ctx: Context) -> str:
    """Fail in a step whose own retry policy ends it."""
    return await ctx.run_typed("limited", _raise, RunOptions(max_attempts=3, initial_retry_interval=SOON))


@retries.handler(invocation_retry_policy=SLOWLY)
async def changes(ctx: Context, kind: str) -> str:
    """Do something in the second attempt that differs from the journal of the first: RT0016."""
    id_ = ctx.request().id
    await ctx.run_typed("common", _nothing)
    if not ATTEMPTS[id_]:

        async def old() -> int:
            ATTEMPTS[id_] += 1
            return 1

        await ctx.run_typed("old step", old)
        # much longer than the inactivity timeout: it is suspended, and continues in another attempt
        await ctx.sleep(10 * SOON)
        return "unchanged"
    if kind == "name":
        await ctx.run_typed("new step", _nothing)
    elif kind == "type":
        await ctx.service_call(answer, "new")
    return "changed"


def _fails_until(attempt: int, ctx: Context, message: str) -> str:
    ATTEMPTS[ctx.request().id] += 1
    if ATTEMPTS[ctx.request().id] < attempt:
        raise ValueError(message)
    return "sunny"


async def _raise() -> str:
    msg = "weather service is down"
    raise ValueError(msg)


def _fail() -> None:
    raise TerminalError("spilled", status_code=422)


if __name__ == "__main__":
    serve_inherited(restate.app(services=[helper, tour, lazy_tour, approval, retries]))
