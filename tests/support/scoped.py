"""Calls in a scope, with a limit key if a test has one: the client for the ingress has no scopes."""

from __future__ import annotations

from typing import Any

import httpx

from support.bench import Bench


def send_scoped(
    bench: Bench, path: str, *, scope: str, limit_key: str = "", count: int = 1, body: Any = None
) -> list[str]:
    """Send one-way calls in a scope, such as to "Work/hold", and return their ids."""
    headers = {"x-restate-limit-key": limit_key} if limit_key else {}
    address = f"{bench.lab.settings.ingress_url}/restate/scope/{scope}/send/{path}"
    with httpx.Client(headers=headers, verify=False) as client:  # noqa: S501 - plain HTTP: no certificates to load
        answers = [client.post(address, json={} if body is None else body) for _ in range(count)]
    return [str(answer.raise_for_status().json()["invocationId"]) for answer in answers]
