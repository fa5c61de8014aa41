"""The information that a server reports about itself (version, features, ingress), and the card with its counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pyarrow as pa

from restate_lab._html import render
from restate_lab._text import format_time
from restate_lab.client.address import is_covered, parse_address
from restate_lab.client.cli_config import ConfigValue
from restate_lab.client.transport import RETRY_FOR, Transport
from restate_lab.errors import RequestRefused, RestateLabError, ServerFailed, SettingsError
from restate_lab.redaction import Secret
from restate_lab.server import complete_features
from restate_lab.status import COLOURS, status_parts

INFO_LIFETIME = 30.0  # seconds; then it is read again, because a server can be upgraded while a notebook is open
_INFO_LIMIT = 10.0  # seconds
COUNT_LIMIT = 2.0  # seconds; the time limit of counting for a card
_FRESH = 60.0  # seconds for which the same counts are shown again


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The response of a server at ``/version``, with completed features, and when it was read."""

    version: str
    features: Mapping[str, bool]
    ingress_endpoint: str | None
    read_at: float = field(default_factory=time.monotonic)


class ServerInfoCache:
    """Caches the information of a transport's server; ``last`` is the latest, None before the first read."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.last: ServerInfo | None = None

    def info(self, *, retry_for: float = RETRY_FOR) -> ServerInfo:
        """Return the information; it is read if it is unknown, or older than ``INFO_LIFETIME``.

        Raises:
            Unreachable, AccessDenied, ServerFailed: it cannot be read, and no earlier value is known.
        """
        known = self.last
        if known is not None and time.monotonic() - known.read_at <= INFO_LIFETIME:
            return known
        try:
            self.last = info = _read_info(self._transport, retry_for if known is None else 0)
        except RestateLabError:
            if known is None:
                raise
            # Keep the cached value; the next read reports the failure.
            self.last = info = replace(known, read_at=time.monotonic())
        return info

    def ingress_address(self) -> str:
        """Return the address of the ingress that the server reports.

        The server chooses this address, so the token is sent to it only if it is on the same host as the Admin API and
        at least as well encrypted.

        Raises:
            ServerFailed: the server does not report its ingress, or reports an invalid address.
            SettingsError: there is a token, and it would be sent to another host or over plain HTTP.
        """
        settings = self._transport.settings
        named = self.info().ingress_endpoint
        if not named:
            raise ServerFailed("the server does not report its ingress: use connect(ingress_url=…)", status=200)
        try:
            address = parse_address(
                ConfigValue(Secret(str(named)), "the /version of the server"), "ingress_base_url", "argument"
            )
        except SettingsError as error:
            raise ServerFailed(f"{error} Pass the address yourself: connect(ingress_url=…).", status=200) from None
        if settings.token is not None and not is_covered(address, by=settings.admin_url):
            raise SettingsError(
                f"the token for {settings.environment} was not sent to {address}. The server reported this ingress "
                f"address, but it is on another host than {settings.admin_url}, or not encrypted. If the address is "
                f"correct, pass it yourself: connect(ingress_url=…)."
            )
        return address


class StatusCard:
    """A card with the counts by status. It counts at most once a minute, and shows the error if counting fails.

    ``count`` returns the rows of the counting query within ``COUNT_LIMIT``, or raises.
    """

    def __init__(self, count: Callable[[], pa.Table]) -> None:
        self._count = count
        self._counted_at = -_FRESH
        self._counts: dict[str, int] = {}
        self._note = ""

    def html(self, title: str, address: str, badge: tuple[str, str, str], origin: str) -> str:
        """Return the card as HTML: title, a badge (text, tooltip, colour), address, counts as a bar, and their time.

        ``origin`` is the tooltip of the address: a text about how this cluster was chosen.
        """
        if time.monotonic() - self._counted_at >= _FRESH:
            self._counted_at = time.monotonic()
            self._refresh(format_time(datetime.now(UTC)))
        return render(
            "_html/card.html.j2",
            title=title,
            place=address,
            place_tip=origin,
            badges=[badge],
            facts=[],
            lines=[self._note],
            accent=COLOURS["quiet"],
            parts=status_parts(self._counts),
        )

    def _refresh(self, time_text: str) -> None:
        try:
            rows = self._count().to_pylist()
        except RestateLabError as error:
            self._counts = {}
            self._note = f"The invocations were not counted at {time_text}: {error}"
            return
        self._counts = {row["word"]: row["invocations"] for row in rows}
        total = sum(self._counts.values())
        self._note = f"{total:,} invocations, including retained completed ones; counted at {time_text}"


def _read_info(transport: Transport, retry_for: float) -> ServerInfo:
    try:
        response = transport.read("GET", "/version", retry_for=retry_for, timeout=min(_INFO_LIMIT, transport.timeout))
        body = response.json()
        version = str(body["version"])
        return ServerInfo(version, complete_features(version, body.get("features")), body.get("ingress_endpoint"))
    except (RequestRefused, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServerFailed(
            f"{transport.address} answers, but it is not a Restate Admin API ({error}). "
            f"By default, the Admin API listens on port 9070 and the ingress on port 8080.",
            status=error.status if isinstance(error, RequestRefused) else 200,
        ) from error
