"""Services whose handlers follow a script: calls, sends, sleeps, awakeables, signals, promises, and failures.

``python story_services.py --fd N`` serves them. A script is a list of operations, such as
``["call", "Node", None, "do", [["sleep", 0.1]]]``; a text ``$name`` in a later operation is the value of a variable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import restate
from restate import (
    Context,
    InvocationRetryPolicy,
    ObjectContext,
    TerminalError,
    WorkflowContext,
    WorkflowSharedContext,
)

from restate_lab.demo.services_host import serve_inherited

SOON = timedelta(milliseconds=100)
OFTEN = InvocationRetryPolicy(initial_interval=SOON, max_interval=SOON)
Script = list[list[Any]]

node = restate.Service("Node", inactivity_timeout=SOON, invocation_retry_policy=OFTEN)
box = restate.VirtualObject("Box", inactivity_timeout=SOON, invocation_retry_policy=OFTEN)
flow = restate.Workflow("Flow", inactivity_timeout=SOON, invocation_retry_policy=OFTEN)


@node.handler()
async def do(ctx: Context, script: Script) -> str:
    return await follow(ctx, script)


@box.handler(name="do")
async def box_do(ctx: ObjectContext, script: Script) -> str:
    return await follow(ctx, script)


@flow.main()
async def run(ctx: WorkflowContext, script: Script) -> str:
    return await follow(ctx, script)


@flow.handler()
async def poke(ctx: WorkflowSharedContext, script: Script) -> str:
    return await follow(ctx, script)


class Player:
    """One invocation that follows its script; ``values`` are its variables."""

    def __init__(self, ctx: Any) -> None:
        self.ctx = ctx
        self.values: dict[str, Any] = {}
        self.awaited: dict[str, Awaitable[Any]] = {}
        self.started: list[Awaitable[Any]] = []
        self.sent: Any = None

    async def follow(self, script: Script) -> str:
        for name, *arguments in script:
            await OPERATIONS[name](self, *[self.filled(each) for each in arguments])
        return "done"

    def filled(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.filled(each) for each in value]
        if isinstance(value, str) and value.startswith("$"):
            return self.values.get(value[1:], value)
        return value

    async def log(self, path: str, tag: str) -> None:
        """Write the tag and the id of this invocation to the ledger, a file; also when it is replayed."""
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{tag} {self.ctx.request().id}\n")

    async def call(self, service: str, key: str | None, handler: str, script: Script, idempotency: str = "") -> None:
        await self.calling(service, key, handler, script, idempotency)

    async def start(self, service: str, key: str | None, handler: str, script: Script, idempotency: str = "") -> None:
        self.started.append(self.calling(service, key, handler, script, idempotency))

    async def join(self) -> None:
        await restate.gather(*self.started)
        self.started.clear()

    async def send(
        self, service: str, key: str | None, handler: str, script: Script, delay: float = 0, idempotency: str = ""
    ) -> None:
        options: dict[str, Any] = {"send_delay": timedelta(seconds=delay)} if delay else {}
        options |= {"idempotency_key": idempotency} if idempotency else {}
        self.sent = {
            "Node": lambda: self.ctx.service_send(do, script, **options),
            "Box": lambda: self.ctx.object_send(box_do, key, script, **options),
            "Flow": lambda: self.ctx.workflow_send(run if handler == "run" else poke, key, script, **options),
        }[service]()

    async def sent_id(self, name: str) -> None:
        """Wait for the id of the last one-way call; each wait can suspend this invocation."""
        self.values[name] = await self.sent.invocation_id()

    def calling(self, service: str, key: str | None, handler: str, script: Script, idempotency: str) -> Any:
        options = {"idempotency_key": idempotency} if idempotency else {}
        if service == "Node":
            return self.ctx.service_call(do, script, **options)
        if service == "Box":
            return self.ctx.object_call(box_do, key, script, **options)
        return self.ctx.workflow_call(run if handler == "run" else poke, key, script, **options)

    async def sleep(self, seconds: float) -> None:
        await self.ctx.sleep(timedelta(seconds=seconds))

    async def step(self, name: str, seconds: float = 0, failures: int = 0, path: str = "") -> None:
        """Run a step that takes some time and fails a number of times, counted in a file."""

        async def work() -> int:
            await asyncio.sleep(seconds)
            if failures:
                seen = Path(path).stat().st_size if Path(path).exists() else 0
                if seen < failures:
                    with Path(path).open("a", encoding="utf-8") as file:
                        file.write("x")
                    message = f"failure {seen}"
                    raise ValueError(message)
            return 1

        await self.ctx.run_typed(name, work)

    async def fail(self, message: str) -> None:
        raise TerminalError(message)

    async def awakeable(self, name: str) -> None:
        self.values[name], self.awaited[name] = self.ctx.awakeable()

    async def wait(self, name: str) -> None:
        await self.awaited[name]

    async def resolve(self, awakeable: str) -> None:
        self.ctx.resolve_awakeable(awakeable, "yes")

    async def listen(self, name: str) -> None:
        await self.ctx.signal(name)

    async def tell(self, invocation: str, name: str) -> None:
        self.ctx.resolve_signal(invocation, name, "yes")

    async def cancel(self, invocation: str) -> None:
        self.ctx.cancel_invocation(invocation)

    async def attach(self, invocation: str) -> None:
        await self.ctx.attach_invocation(invocation)

    async def promise(self, name: str) -> None:
        await self.ctx.promise(name)

    async def peek(self, name: str) -> None:
        await self.ctx.promise(name).peek()

    async def complete(self, name: str) -> None:
        await self.ctx.promise(name).resolve("yes")

    async def own_id(self, name: str) -> None:
        self.values[name] = self.ctx.request().id


OPERATIONS: Mapping[str, Callable[..., Awaitable[None]]] = {
    name: method for name, method in vars(Player).items() if asyncio.iscoroutinefunction(method) and name != "follow"
}


async def follow(ctx: Any, script: Script) -> str:
    return await Player(ctx).follow(script)


if __name__ == "__main__":
    serve_inherited(restate.app(services=[node, box, flow]))
