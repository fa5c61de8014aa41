"""The address of an endpoint, and its response to ``/discover``: its SDK, its protocol versions, and its handlers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from restate_lab._text import is_invisible, one_line
from restate_lab.client.address import is_loopback, parse_url
from restate_lab.client.arguments import format_value
from restate_lab.errors import ArgumentError
from restate_lab.redaction import mask_user_info

MANIFEST_TYPES = ", ".join(f"application/vnd.restate.endpointmanifest.v{version}+json" for version in (4, 3, 2))
"""The forms of a manifest that are accepted, the newest first."""


def endpoint_address(argument: str, value: object) -> str:
    """Return an address without its trailing slash: ``http(s)://host[:port][/path]``.

    The host is the one that is contacted: letters of other scripts can look alike, so they are in Punycode (``xn--…``).

    Raises:
        ArgumentError: it is not such an address.
    """
    example = "use an address such as http://127.0.0.1:9080, or the id of a registered deployment (dp_1…)."
    if not isinstance(value, str):
        raise ArgumentError(f"{argument} is {format_value(value)}; {example}")
    if "@" in value:
        raise ArgumentError(f"{argument} {mask_user_info(value)!r} has a user name or password; use headers= instead.")
    address, problem = parse_url(value.strip())
    if any(map(is_invisible, value.strip())):
        problem = "has an invisible character"
    try:
        contacted = str(httpx.URL(address))
        address = address if address.isascii() else contacted
    except httpx.InvalidURL as error:
        problem = problem or f"is not valid ({one_line(str(error))})"
    if problem:
        raise ArgumentError(f"{argument} {format_value(value)} {problem}; {example}")
    return address


def is_unencrypted(address: str) -> bool:
    """Return whether journals would travel to an address without encryption, beyond this machine."""
    url = httpx.URL(address)
    return url.scheme == "http" and not is_loopback(url.host)


@dataclass(frozen=True, slots=True)
class EndpointManifest:
    """The response to ``/discover``: the SDK ("restate-sdk-python/1.3.0"), its protocol versions, and its handlers.

    ``status`` is 200, or the HTTP status of a refusal; then the other fields are empty.
    """

    status: int = 200
    sdk: str = ""
    protocols: range = range(0)
    handlers: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def has_handler(self, service: str, handler: str) -> bool:
        """Return whether the deployment has a handler."""
        return handler in self.handlers.get(service, ())


def parse_manifest(response: httpx.Response) -> EndpointManifest | None:
    """Return the manifest of a response; None if it has none."""
    try:
        content = json.loads(response.content)
        protocols = range(int(content["minProtocolVersion"]), int(content["maxProtocolVersion"]) + 1)
        handlers = {
            str(service["name"]): frozenset(str(each["name"]) for each in service["handlers"])
            for service in content["services"]
        }
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return EndpointManifest(200, response.headers.get("x-restate-server", ""), protocols, handlers)
