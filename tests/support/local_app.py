"""An app with small handlers, and journals for them that were written by hand: for replays without a server."""

from __future__ import annotations

import _socket
import asyncio
import atexit
import contextlib
import multiprocessing
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import restate
from restate import Context, ObjectContext, TerminalError

from restate_lab.testing import Record
from restate_lab.testing.journal import Failure, Journal

STEPS: list[str] = []
"""The steps that ran."""
ID_BYTES = bytes(range(24))
ID = "inv_1iGNiIFQWiu36yH4qRUkjeMq1EhGoQ7kAB"
HELD = threading.Event()
"""Ends handlers that block, after a test."""
UDP = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
"""A socket that was created at the import, as a client of statsd does."""
atexit.register(UDP.close)
POOL = ThreadPoolExecutor(1)
TARGET: dict[str, Any] = {"udp": ("127.0.0.1", 9), "tcp": ("127.0.0.1", 9)}
"""The addresses of listeners, an open connection (``connection``), and a file that a program creates (``file``)."""


def release() -> None:
    """End the handlers that block, and wait for the threads of their replays."""
    HELD.set()
    for thread in threading.enumerate():
        if thread.name.startswith("restate-lab-replay"):
            thread.join(10)


orders = restate.VirtualObject("Orders")
payments = restate.Service("Payments")


def step(name: str, value: Any = None) -> Any:
    STEPS.append(name)
    return value


@payments.handler()
async def charge(ctx: Context, amount: int) -> dict[str, int]:
    return {"id": amount}


def price_of(price: Mapping[str, int]) -> int:
    return price["price"]


@orders.handler()
async def place(ctx: ObjectContext, order: dict[str, Any]) -> dict[str, Any]:
    price = await ctx.run_typed("price", lambda: step("price", {"price": 1}))
    ctx.set("count", 1)
    paid = await ctx.service_call(charge, price_of(price))
    shipped = await ctx.run_typed("ship", lambda: step("ship", "by train"))
    return {"order": order, "paid": paid, "shipped": shipped}


@orders.handler()
async def cheap(ctx: ObjectContext, order: dict[str, Any]) -> None:
    price = await ctx.run_typed("price", lambda: step("price", {"price": 1}))
    if price["price"] > 100:
        raise TerminalError("too expensive", status_code=402)


@orders.handler()
async def two_steps(ctx: ObjectContext) -> list[Any]:
    return list(await restate.gather(ctx.run_typed("one", lambda: step("one")), ctx.run_typed("two", _fail)))


def _fail() -> None:
    STEPS.append("two")
    raise OSError("the disk is full")


@orders.handler()
async def swallow(ctx: ObjectContext) -> str:
    for name in ("a", "b", "c"):
        with contextlib.suppress(Exception):
            await ctx.run_typed(name, lambda name=name: step(name))
    return "done"


@orders.handler()
async def everything(ctx: ObjectContext) -> list[Any]:
    """Use every command with a result that ``answers`` can give."""
    values: list[Any] = [await ctx.get("total"), await ctx.state_keys()]
    await ctx.sleep(timedelta(hours=1), name="nap")
    values.append(await ctx.awakeable(type_hint=str)[1])
    values.append(await ctx.signal("bell", type_hint=str))
    values.append(await ctx.attach_invocation(ID, type_hint=str))
    handle = ctx.service_send(charge, 3)
    values.append(await handle.invocation_id())
    try:
        await ctx.service_call(charge, 4)
    except TerminalError as error:
        values.append(error.message)
    return values


@orders.handler()
async def connect(ctx: ObjectContext, how: str) -> str:
    await _CONNECT[how]()
    return "connected"


def _connect(method: str = "connect") -> None:
    with socket.socket() as connection:
        getattr(connection, method)(("127.0.0.1", 9))


def _connect_quietly() -> None:
    with contextlib.suppress(Exception):
        _connect()


def _connect_below() -> None:
    with contextlib.closing(_socket.socket()) as connection:
        connection.connect(TARGET["tcp"])


async def _now(function: Any) -> None:
    function()


def _send() -> None:
    UDP.sendto(b"sent", TARGET["udp"])


def _in_thread(function: Callable[..., Any], *args: Any) -> None:
    thread = threading.Thread(target=function, args=args)
    thread.start()
    thread.join()


def _touch() -> list[str]:
    return ["/bin/sh", "-c", f"echo sent > {TARGET['file']}"]


def _in_process(method: str) -> None:
    process = multiprocessing.get_context(method).Process(target=os.getpid)
    process.start()
    process.join()


async def _asyncio_program() -> None:
    process = await asyncio.create_subprocess_exec(*_touch())
    await process.wait()


_CONNECT: dict[str, Any] = {
    "blocking": lambda: _now(_connect),
    "swallowed": lambda: _now(_connect_quietly),
    "in a thread": lambda: asyncio.to_thread(_connect),
    "by a name": lambda: asyncio.open_connection("shop.example", 80),
    "by an address": lambda: asyncio.open_connection("127.0.0.1", 9),
    "listening": lambda: asyncio.start_server(lambda *_: None, "127.0.0.1", 0),
    "a lookup": lambda: _now(lambda: socket.getaddrinfo("shop.example", 80)),
    "connect_ex": lambda: _now(lambda: _connect("connect_ex")),
    "another lookup": lambda: _now(lambda: socket.gethostbyname("shop.example")),
    "of _socket": lambda: _now(_connect_below),
    "a datagram": lambda: _now(_send),
    "a message": lambda: _now(lambda: UDP.sendmsg([b"sent"], [], 0, TARGET["udp"])),
    "send": lambda: _now(lambda: TARGET["connection"].send(b"sent")),
    "sendall": lambda: _now(lambda: TARGET["connection"].sendall(b"sent")),
    "sendmsg": lambda: _now(lambda: TARGET["connection"].sendmsg([b"sent"])),
    "a thread": lambda: _now(lambda: _in_thread(_send)),
    "a thread of a thread": lambda: _now(lambda: _in_thread(_in_thread, _send)),
    "a thread of a library": lambda: _now(lambda: _in_thread(UDP.sendto, b"sent", TARGET["udp"])),
    "a pool": lambda: _now(lambda: ThreadPoolExecutor().submit(_send).exception()),
    "a pool of before": lambda: _now(lambda: POOL.submit(UDP.sendto, b"sent", TARGET["udp"]).exception()),
    "a library in a pool": lambda: asyncio.to_thread(UDP.sendto, b"sent", TARGET["udp"]),
    "a program": lambda: _now(lambda: subprocess.run(_touch(), check=True)),
    "a program of asyncio": _asyncio_program,
    "a shell": lambda: _now(lambda: os.system(_touch()[2])),  # noqa: S605 - the path of the test
    "a spawned program": lambda: _now(lambda: os.waitpid(os.posix_spawn("/bin/sh", _touch(), {}), 0)),
    "a fork": lambda: _now(lambda: _in_process("fork")),
    "a process of multiprocessing": lambda: _now(lambda: _in_process("spawn")),
}


@orders.handler()
async def hang(ctx: ObjectContext, how: str) -> str:
    await _HANG[how]()
    return "done"


async def _wait_forever() -> None:
    await asyncio.Event().wait()


async def _cannot_be_cancelled() -> None:
    while not HELD.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.05)


def _busy() -> None:
    while not HELD.is_set():
        pass


_HANG: dict[str, Any] = {
    "await": _wait_forever,
    "stubborn": _cannot_be_cancelled,
    "block": lambda: _now(lambda: HELD.wait(30)),
    "busy": lambda: _now(_busy),
    "sleep": lambda: _now(lambda: time.sleep(1.5)),
}


@orders.handler()
async def unserializable(ctx: ObjectContext) -> Any:
    return {object()}


@orders.handler()
async def debug(ctx: ObjectContext) -> str:
    import pdb  # noqa: T100 - a person puts it into a handler

    pdb.set_trace()  # noqa: T100
    await asyncio.sleep(0.3)
    return "after the prompt"


app = restate.app([orders, payments])


def create_app() -> Any:
    return restate.app([orders, payments], identity_keys=["publickeyv1_w7YHemBctH5Ck2nQRQ47iBBqhNHy4FV7t2Usbye2A6f"])


def value(content: str = "") -> dict[str, Any]:
    return {"type": "Command: Input", "value": content}


PLACED: tuple[dict[str, Any], ...] = (
    value('{"sku": "A"}'),
    {"type": "Command: Run", "result_completion_id": 1, "name": "price"},
    {"type": "Notification: Run", "completion_id": 1, "value": '{"price": 3}'},
    {"type": "Command: SetState", "key": "count", "value": "1"},
    {
        "type": "Command: Call",
        "service": "Payments",
        "handler": "charge",
        "parameter": "3",
        "invocation_id_completion_id": 2,
        "result_completion_id": 3,
    },
    {"type": "Notification: Call", "completion_id": 3, "value": '{"id": 3}'},
)
"""A journal of ``place`` up to the step "ship"."""


def record(handler: str, *entries: Mapping[str, Any], error: Failure | None = None, **more: Any) -> Record:
    """Return a record of a handler of ``Orders``."""
    members: dict[str, Any] = {"id": ID, "id_bytes": ID_BYTES, "protocol": 6, "seed": 7, "key": "k", **more}
    return Record(Journal("Orders", handler, entries=tuple(entries or (value(),)), error=error, **members))


def changed(place: int, entries: tuple[dict[str, Any], ...] = PLACED, **fields: Any) -> tuple[dict[str, Any], ...]:
    """Return entries in which the fields of one are others."""
    return (*entries[:place], {**entries[place], **fields}, *entries[place + 1 :])
