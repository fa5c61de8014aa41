"""What a server says that it is: its version, its features, its ingress."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from restate_lab.client.address import address as address_of, is_covered
from restate_lab.client.cli_config import Found
from restate_lab.client.transport import RETRY_FOR, Transport
from restate_lab.errors import RequestRefused, RestateLabError, ServerFailed, SettingsError
from restate_lab.redact import Secret

__all__ = ["KNOWN_FOR", "About", "Server"]

KNOWN_FOR = 30.0  # seconds; then the server is asked again what it is: notebooks outlive upgrades


@dataclass(frozen=True, slots=True)
class About:
    """What a server said, and when."""

    version: str
    features: Mapping[str, bool]
    ingress_endpoint: str | None
    read_at: float = field(default_factory=time.monotonic)


class Server:
    """The server at the other end of a transport; ``last`` is what it said last, None before it was asked."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.last: About | None = None

    def about(self, *, retry_for: float = RETRY_FOR, within: float = 10.0) -> About:
        """Return what it is; it is asked where that is not known, or has been for long.

        Raises:
            Unreachable, AccessDenied, ServerFailed: it was never known, and does not say so now.
        """
        known = self.last
        if known is not None and time.monotonic() - known.read_at <= KNOWN_FOR:
            return known
        try:
            self.last = about = _read(self._transport, retry_for if known is None else 0, within)
        except RestateLabError:
            if known is None:
                raise
            # Whoever asks goes on with what it was, and hears from the read that follows.
            self.last = about = replace(known, read_at=time.monotonic())
        return about

    def ingress(self) -> str:
        """Return the address of the ingress that the server names.

        Whoever answers for the Admin API chooses this address, so the token goes there only where it would go anyway:
        to the same host, and never without the encryption that the Admin API has.

        Raises:
            ServerFailed: the server does not name its ingress, or names none that can be used.
            SettingsError: there is a token, and it would go to another host or over plain HTTP.
        """
        settings = self._transport.settings
        named = self.about().ingress_endpoint
        if not named:
            raise ServerFailed("the server does not name its ingress: connect(ingress_url=…)", status=200)
        try:
            address = address_of(
                Found(Secret(str(named)), "the /version of the server"), "ingress_base_url", "argument"
            )
        except SettingsError as error:
            raise ServerFailed(f"{error} Give it yourself: connect(ingress_url=…).", status=200) from None
        if settings.token is not None and not is_covered(address, by=settings.admin_url):
            raise SettingsError(
                f"the token for {settings.environment} is not sent to {address}. The server itself named this ingress "
                f"address; it is on another host than {settings.admin_url}, or not encrypted. If the address is right, "
                f"give it yourself: connect(ingress_url=…)."
            )
        return address


def _read(transport: Transport, retry_for: float, within: float) -> About:
    try:
        response = transport.read("GET", "/version", retry_for=retry_for, timeout=min(within, transport.timeout))
        said = response.json()
        return About(str(said["version"]), said.get("features") or {}, said.get("ingress_endpoint"))
    except (RequestRefused, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServerFailed(
            f"{transport.address} answers, but not as a Restate Admin API does ({error}). "
            f"The Admin API listens on port 9070 by default, the ingress on 8080.",
            status=error.status if isinstance(error, RequestRefused) else 200,
        ) from error
