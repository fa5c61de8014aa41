"""Services whose handlers combine results, and whose values are encoded by the SDK.

``python awaiting_services.py --fd N`` serves them. The encoded values are JSON, compressed, in base64.
"""

from __future__ import annotations

import base64
import json
import zlib
from datetime import timedelta
from typing import Any

import restate
from restate import Context, ObjectContext, WorkflowContext
from restate.serde import Serde

from restate_lab.demo.services_host import serve_inherited

HOUR = timedelta(hours=1)
MOMENT = timedelta(milliseconds=100)

SEALED = b"RTv1\0" + (4).to_bytes(2, "big") + b"key!" + b"n" * 12 + b"\xff" * 40
"""A value in the format of Restate's library journal-encryption."""
RESPONSE = {
    "id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-5", "created": 1,
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Seven mugs."}}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
}  # fmt: skip


def decode(value: bytes) -> bytes:
    return zlib.decompress(base64.b64decode(value, validate=True))


def encode(value: bytes) -> bytes:
    """Return JSON as the handlers store it."""
    return base64.b64encode(zlib.compress(value))


class Encoded(Serde[Any]):
    """JSON that is compressed and in base64, as a codec would do."""

    def serialize(self, obj: Any) -> bytes:
        return encode(json.dumps(obj).encode())

    def deserialize(self, buf: bytes) -> Any:
        return json.loads(decode(buf)) if buf else None


class Sealed(Serde[Any]):
    """Encrypted bytes, which nothing here decrypts."""

    def serialize(self, obj: Any) -> bytes:
        return SEALED

    def deserialize(self, buf: bytes) -> Any:
        return None


waiter = restate.Service("Waiter", inactivity_timeout=MOMENT)
approval = restate.Workflow("Approval", inactivity_timeout=MOMENT)
vault = restate.VirtualObject("Vault")


@waiter.handler()
async def rest(ctx: Context) -> None:
    await ctx.sleep(HOUR)


@waiter.handler()
async def both(ctx: Context) -> None:
    await restate.gather(ctx.sleep(HOUR, name="nap"), ctx.service_call(rest, arg=None))


@waiter.handler()
async def any_of_four(ctx: Context) -> None:
    """Wait for whichever comes first: an hour, a call, an awakeable, a signal."""
    await restate.select(
        time=ctx.sleep(HOUR),
        call=ctx.service_call(rest, arg=None),
        awakeable=ctx.awakeable(type_hint=str)[1],
        signal=ctx.signal("go", type_hint=str),
    )


@approval.main()
async def run(ctx: WorkflowContext) -> None:
    await restate.select(signed=ctx.promise("signed", type_hint=str).value(), late=ctx.sleep(HOUR))


@vault.handler(accept="*/*", input_serde=Encoded(), output_serde=Encoded())
async def count(ctx: ObjectContext, order: Any) -> Any:
    """Ask a model, and keep the number of mugs; every value is encoded, and one is encrypted."""
    await ctx.run_typed("ask the model", lambda: RESPONSE, restate.RunOptions(serde=Encoded()))
    await ctx.run_typed("seal", lambda: "secret", restate.RunOptions(serde=Sealed()))
    ctx.set("mugs", {"count": 7, "order": order}, serde=Encoded())
    return {"counted": 7}


if __name__ == "__main__":
    serve_inherited(restate.app(services=[waiter, approval, vault]))
