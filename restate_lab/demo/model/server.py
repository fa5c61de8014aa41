"""The scripted model: an ASGI application with the interfaces of OpenAI (responses and chat completions) and Gemini.

The prompt selects the script by a marker such as "[parallel]"; the results of tools select the step of the script.
Requests to Gemini have no ids of calls, so there the results are counted. ``GET /ledger`` returns all requests so far.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from restate_lab.demo.model.ledger import LEDGER, Ledger, LedgerEntry
from restate_lab.demo.model.replies import (
    ModelRequest,
    Reply,
    Script,
    chat_response,
    gemini_response,
    responses_response,
    usage_of,
)

INVOCATION_HEADER = "x-restate-invocation-id"
"""The request header in which services name the invocation that calls the model; Restate does not record it."""
CANARIES: Mapping[str, str] = MappingProxyType(
    {
        "set-cookie": "session=canary-cookie; Path=/; HttpOnly",
        "openai-organization": "canary-organization",
        "x-request-id": "canary-request",
    }
)
"""Headers of every response, which must not appear in any output."""
ANSWERED_BY = {
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "o3-mini": "o3-mini-2025-01-31",
    "gemini-2.5-flash": "gemini-2.5-flash-001",
}
MARKER = re.compile(r"\[([\w-]+)\]")
RETRY_AFTER = ("retry-after-ms", "50")
SHAPES = {"responses": responses_response, "chat": chat_response, "gemini": gemini_response}
IDS = {"responses": "resp_", "chat": "chatcmpl-", "gemini": "gemini-"}
_RESULTS = {
    "responses": ("call_id", "output", "type", "function_call_output"),
    "chat": ("tool_call_id", "content", "role", "tool"),
}
"""Interface → the keys of a tool's result: its call and its content; a key with its value that only results have."""
PATHS = re.compile(
    r"/v1/(?P<responses>responses)|/v1/(?P<chat>chat/completions)|/v1beta/models/(?P<gemini>[^/:]+):generateContent"
)


def model_application(folder: Path, scripts: Mapping[str, Script], default: Script) -> Any:
    """Return the ASGI application of a model; ``folder`` gets the ledger.

    ``scripts`` maps a marker to its replies; ``default`` replies to prompts without a known marker.
    """
    ledger = Ledger(folder / LEDGER)

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = await _read(receive)
        if (scope["method"], scope["path"]) == ("GET", "/ledger"):
            await _send(send, 200, ledger.records)
        elif scope["method"] == "POST" and (path := PATHS.fullmatch(scope["path"])):
            api = str(path.lastgroup)
            request = json.loads(body) | ({"model": path[api]} if api == "gemini" else {})
            await _reply(api, request, dict(scope["headers"]), send)
        else:
            await _send(send, 404, _error(404, f"there is nothing at {scope['path']}"))

    async def _reply(api: str, request: Mapping[str, Any], headers: Mapping[bytes, bytes], send: Any) -> None:
        sender = headers.get(INVOCATION_HEADER.encode(), b"").decode() or None
        turn = _turn(api, request, ledger, sender)
        marker = next((name for name in MARKER.findall(turn.prompt) if name in scripts), "")
        script = scripts[marker] if marker else default
        steps = [step for id_, _ in turn.results if (step := ledger.step_of(id_)) is not None]
        step = max(steps) + 1 if steps else 0
        reply = script(turn) if callable(script) else script[min(step, len(script) - 1)]
        asked = str(request["model"])
        results = [{"id": id_, "output": output} for id_, output in turn.results]
        record = LedgerEntry("", api, 200, sender, marker, step, turn.prompt, results, asked)
        attempt = ledger.attempts(sender, marker, step, turn.prompt)
        if attempt < len(reply.errors):
            status = reply.errors[attempt]
            ledger.append(replace(record, time=_now(), status=status))
            await _send(send, status, _error(status, f"scripted failure {attempt + 1}", api))
            return
        await asyncio.sleep(reply.delay)
        await _send(send, 200, _answer(ledger, record, turn, reply))

    return serve


def _answer(ledger: Ledger, record: LedgerEntry, turn: ModelRequest, reply: Reply) -> dict[str, Any]:
    number = len(ledger.records) + 1
    if reply.text is not None:
        reply = replace(reply, text=reply.text.replace("{results}", "; ".join(output for _, output in turn.results)))
    usage = usage_of(turn, reply, step=record.step)
    model = ANSWERED_BY.get(record.asked_model, record.asked_model)
    id_ = f"{IDS[record.api]}{number}"
    ids = [f"call_{number}_{position}" for position, _ in enumerate(reply.calls, 1)]
    ledger.append(
        replace(
            record,
            time=_now(),
            model=model,
            response_id=id_,
            text=reply.text,
            reasoning=reply.reasoning,
            refusal=reply.refusal,
            is_cut=reply.is_cut,
            tool_calls=tuple(
                {"id": call_id, "name": call.name, "arguments": call.arguments_json}
                for call, call_id in zip(reply.calls, ids, strict=True)
            ),
            input_tokens=usage.input_tokens,
            cached_tokens=usage.cached_tokens,
            output_tokens=usage.output_tokens,
            reasoning_tokens=usage.reasoning_tokens,
        )
    )
    return SHAPES[record.api](reply, id_, model, usage, ids)


def _turn(api: str, request: Mapping[str, Any], ledger: Ledger, sender: str | None) -> ModelRequest:
    if api == "gemini":
        return _gemini_turn(request, ledger, sender)
    messages = request["input" if api == "responses" else "messages"]
    if isinstance(messages, str):
        return ModelRequest(messages, (), len(messages))
    last = max((n for n, message in enumerate(messages) if message.get("role") == "user"), default=0)
    id_, content, kind, result = _RESULTS[api]
    results = [(each[id_], _text(each[content])) for each in messages[last:] if each.get(kind) == result]
    return ModelRequest(_text(messages[last].get("content")), tuple(results), len(json.dumps(messages)))


def _gemini_turn(request: Mapping[str, Any], ledger: Ledger, sender: str | None) -> ModelRequest:
    """Return the request; the nth group of results has the ids of the calls in this invocation's nth response."""
    contents = request["contents"]
    last = max(
        (n for n, each in enumerate(contents) if each["role"] == "user" and _text(each["parts"])),
        default=0,
    )
    prompt = _text(contents[last]["parts"])
    groups = [
        outputs
        for each in contents[last:]
        if (outputs := [part["functionResponse"] for part in each["parts"] if "functionResponse" in part])
    ]
    results = [
        (id_, json.dumps(output.get("response")))
        for step, outputs in enumerate(groups)
        for id_, output in zip(ledger.call_ids(sender, prompt, step), outputs, strict=False)
    ]
    return ModelRequest(prompt, tuple(results), len(json.dumps(contents)))


def _text(content: str | Sequence[Mapping[str, Any]] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text", "") for part in content)


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _error(status: int, message: str, api: str = "") -> dict[str, Any]:
    if api == "gemini":
        kind = "RESOURCE_EXHAUSTED" if status == 429 else "UNAVAILABLE" if status >= 500 else "INVALID_ARGUMENT"
        return {"error": {"message": message, "status": kind, "code": status}}
    kind = "rate_limit_exceeded" if status == 429 else "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": kind}}


async def _read(receive: Any) -> bytes:
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body


async def _send(send: Any, status: int, content: Any) -> None:
    headers = [*CANARIES.items(), ("content-type", "application/json"), *([RETRY_AFTER] if status >= 429 else [])]
    pairs = [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})
