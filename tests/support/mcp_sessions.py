"""The official client over stdio, with the real command: a scripted assistant that remembers everything it received."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from subprocess import PIPE
from typing import TYPE_CHECKING, Any, Self

from anyio.from_thread import BlockingPortal, start_blocking_portal

from support.forked import restate_lab

if TYPE_CHECKING:
    from mcp import Client
    from mcp_types import CallToolResult, ElicitResult

Answer = Callable[[str], "ElicitResult"]
"""The answer of a person to a question that the client shows."""


@dataclass
class Assistant:
    """Calls tools one after the other; ``received`` has every text that it got, and ``calls`` counts its calls."""

    client: Client
    portal: BlockingPortal
    received: list[str] = field(default_factory=list)
    calls: int = 0

    @property
    def tools(self) -> list[str]:
        listed = self.portal.call(self.client.list_tools)
        self.received.append(listed.model_dump_json())
        return [tool.name for tool in listed.tools]

    def result(self, tool: str, **arguments: Any) -> CallToolResult:
        self.calls += 1
        result = self.portal.call(self.client.call_tool, tool, arguments)
        self.received.append(result.model_dump_json())
        return result

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Return the structured content of a call, which must succeed."""
        result = self.result(tool, **arguments)
        assert not result.is_error, text_of(result)
        content: dict[str, Any] = result.structured_content or {}
        assert json.loads(text_of(result).partition("\n")[2]) == content
        return content

    def error(self, tool: str, **arguments: Any) -> str:
        result = self.result(tool, **arguments)
        assert result.is_error, text_of(result)
        return text_of(result)


def text_of(result: CallToolResult) -> str:
    from mcp_types import TextContent

    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


@contextlib.contextmanager
def mcp_session(
    *options: str, mode: str = "auto", person: Answer | None = None, command: Sequence[str] = ()
) -> Iterator[Assistant]:
    """Start ``restate-lab mcp`` with the options and connect to it; with ``person``, the client can show questions."""
    from mcp import Client, Implementation, StdioServerParameters

    async def ask(_: Any, params: Any) -> ElicitResult:
        assert person is not None
        return person(params.message)

    command = command or restate_lab()
    client = Client(
        StdioServerParameters(command=command[0], args=[*command[1:], "mcp", *options], env=dict(os.environ)),
        client_info=Implementation(name="scripted", version="1.0"),
        mode=mode,
        elicitation_callback=None if person is None else ask,
    )
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(client) as connected:
        yield Assistant(connected, portal)


class RawClient:
    """A client that writes and reads lines of JSON itself, and may cancel a call or leave at any time."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen([*restate_lab(), "mcp", *options], stdin=PIPE, stdout=PIPE, stderr=PIPE)
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
        self.send(id=0, method="initialize", params=hello)
        self.receive(0)
        self.send(method="notifications/initialized")

    def send(self, **message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def begin(self, number: int, tool: str, **arguments: Any) -> None:
        """Send a call without waiting for its result."""
        self.send(id=number, method="tools/call", params={"name": tool, "arguments": arguments})

    def receive(self, number: int) -> dict[str, Any]:
        assert self.process.stdout is not None
        while True:
            message: dict[str, Any] = json.loads(self.process.stdout.readline())
            if message.get("id") == number:
                return message

    def leave(self) -> None:
        """Close the stdin of the server, as a client that ends."""
        stdin, self.process.stdin = self.process.stdin, None  # communicate() would close it again
        assert stdin is not None
        stdin.close()

    def errors(self) -> str:
        """Return what the server wrote on stderr until it ended, which must be within 15 seconds, with code 0."""
        _, errors = self.process.communicate(timeout=15)
        assert self.process.returncode == 0
        return errors.decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()  # has no effect if it has ended
        self.process.communicate()
