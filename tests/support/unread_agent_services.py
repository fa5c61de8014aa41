"""Agents of which a journal shows less: payloads that a codec encodes, and attempts that do not replay the journal.

The first two attempts of "fail" fail after two responses of the model. ``paid.log`` has the id of each paid invocation.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import restate
from restate import Context, InvocationRetryPolicy
from restate._preview import explicit_recovery
from restate.entry_codec import JournalValueCodec

from restate_lab.demo.faults import FOLDER_VARIABLE
from restate_lab.demo.services_host import serve_inherited

FOLDER = Path(os.environ[FOLDER_VARIABLE])
SOON = InvocationRetryPolicy(initial_interval=timedelta(milliseconds=50), exponentiation_factor=1.0)
HEAD = b"RTv1\0" + (4).to_bytes(2, "big") + b"key!" + b"\xff" * 12
TAG = b"\xff" * 16
attempts: Counter[str] = Counter()


class Sealing(JournalValueCodec):
    """Values in the form of Restate's library journal-encryption."""

    def encode(self, buf: bytes) -> bytes:
        return HEAD + bytes(255 - byte for byte in buf) + TAG

    async def decode(self, buf: bytes) -> bytes:
        return bytes(255 - byte for byte in buf[len(HEAD) : -len(TAG)]) if buf.startswith(HEAD) else buf


class Inverting(JournalValueCodec):
    """Bytes that are neither JSON nor text."""

    def encode(self, buf: bytes) -> bytes:
        return bytes(255 - byte for byte in buf)

    async def decode(self, buf: bytes) -> bytes:
        return bytes(255 - byte for byte in buf) if buf and buf[0] > 127 else buf


def respond(id_: str, text: str) -> dict[str, Any]:
    with (FOLDER / "paid.log").open("a") as log:
        log.write(f"{id_}\n")
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return {"object": "chat.completion", "id": "r", "model": "gpt-4o", "choices": [choice], "usage": usage}


async def converse(ctx: Context, prompt: str) -> str:
    """Call the model three times; with "large" the responses are longer than what the server sends without a search."""
    id_ = ctx.request().id
    attempts[id_] += 1
    text = "Hi" if prompt != "large" else "Hi " * 20_000
    for _ in range(2):
        await ctx.run_typed("LLM call", lambda: respond(id_, text))
    if prompt == "fail" and attempts[id_] < 3:
        raise RuntimeError("not yet")
    await ctx.run_typed("LLM call", lambda: respond(id_, text))
    return "done"


async def save(ctx: Context, prompt: str) -> str:
    """Save a text, without a model."""
    return await ctx.run_typed("save", lambda: prompt)


def service(name: str) -> Any:
    made = restate.Service(name, invocation_retry_policy=SOON)
    made.handler("run")(converse)
    made.handler("save")(save)
    return made


APPS = {
    "sealed": restate.app(services=[service("Sealed")], journal_value_codec=Sealing()),
    "inverted": restate.app(services=[service("Inverted")], journal_value_codec=Inverting()),
    "": restate.app(services=[service("Replaying"), explicit_recovery(service("Explicit"))]),
}


async def serve(scope: Any, receive: Any, send: Any) -> None:
    place = scope.get("path", "").split("/")[1:2]
    await APPS[place[0] if place and place[0] in APPS else ""](scope, receive, send)


if __name__ == "__main__":
    serve_inherited(serve)
