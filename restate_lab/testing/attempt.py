"""One attempt: send a journal to an app in this process, as a server does, and read what it responds.

The app is called as an ASGI server calls it, without a socket. The whole request is sent at once, and its input ends
there. An attempt that is ended from outside gets a disconnect, because a cancelled attempt waits for more input.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from restate_lab.protocol.messages import (
    ERROR,
    SUSPENSION,
    ErrorMessage,
    FrameReader,
    Message,
    Start,
    body_without_stop,
    error_of,
    request_body,
)
from restate_lab.testing.errors import UnusableRecord
from restate_lab.testing.hook import HandlerHook, Observation

_STATUSES = {
    0: "this version of restate-sdk does not support protocol version {version}, or fails before the handler",
    401: "the app accepts only requests that a server has signed; build it without identity keys",
    404: "the app does not have this handler",
    415: "this version of restate-sdk does not support protocol version {version}",
    500: "the app fails before the handler",
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """What an app responded: its messages, of these the error, and the observation of the handler."""

    messages: tuple[Message, ...]
    error: ErrorMessage | None
    seen: Observation

    @property
    def is_suspended(self) -> bool:
        """Return whether the code waits, as SDKs report it that are older than the error for it."""
        return self.error is None and any(kind == SUSPENSION for kind, _ in self.messages)


@dataclass(slots=True)
class InProcess:
    """An app that attempts are made on, all in one thread; ``end`` ends the current one.

    ``on_begin`` is called before each attempt. ``hook`` watches them while its block is entered.
    """

    app: Callable[..., Any]
    path: str
    start: Start
    on_begin: Callable[[], object] = field(default=lambda: None)
    hook: HandlerHook = field(init=False)
    _gone: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.hook = HandlerHook(self.end)

    def end(self) -> None:
        """End the current attempt, from its own thread."""
        self._gone.set()

    async def replay(self, entries: Sequence[Message]) -> Attempt:
        """Send entries with the stop command, so that no step runs."""
        return await self._attempt(request_body(self.start, entries), frozenset())

    async def go_on(self, entries: Sequence[Message], steps: frozenset[str]) -> Attempt:
        """Send entries without the stop command: the code goes on, and the bodies of ``steps`` run, but no other's."""
        return await self._attempt(body_without_stop(self.start, entries), steps)

    async def _attempt(self, body: bytes, steps: frozenset[str]) -> Attempt:
        self._gone = asyncio.Event()
        self.on_begin()
        seen = self.hook.begin(steps)
        exchange = _Exchange(body, self._gone)
        content_type = f"application/vnd.restate.invocation.v{self.start.version}".encode()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "2",
            "method": "POST",
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"content-type", content_type), (b"accept", content_type)],
            "extensions": {},
        }
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except Exception as error:
            if exchange.status == 200 and not isinstance(error, AssertionError):
                raise
            exchange.problem = repr(error)
        if exchange.status != 200 or exchange.problem:
            text = _STATUSES.get(exchange.status, f"the app responds with status {exchange.status}")
            more = f" ({exchange.problem})" if exchange.problem else ""
            raise UnusableRecord(f"{text.format(version=self.start.version)}{more}.")
        errors = [error_of(content) for kind, content in exchange.messages if kind == ERROR]
        return Attempt(tuple(exchange.messages), errors[0] if errors else None, seen)


@dataclass(slots=True)
class _Exchange:
    """A request and its response, as an ASGI app sees them."""

    body: bytes | None
    gone: asyncio.Event
    status: int = 0
    problem: str = ""
    messages: list[Message] = field(default_factory=list)
    _reader: FrameReader = field(default_factory=FrameReader)

    async def receive(self) -> dict[str, Any]:
        body, self.body = self.body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, event: dict[str, Any]) -> None:
        if event["type"] == "http.response.start":
            self.status = event["status"]
        elif self.status == 200:
            self.messages += self._reader.feed(bytes(event.get("body", b"")))
