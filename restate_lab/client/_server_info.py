"""What a server reports about itself: version, features and ingress; and the card with its counts by status."""

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
from restate_lab.status import STATUSES, statuses_sql

__all__ = ["COUNT_LIMIT", "INFO_LIFETIME", "ServerInfo", "ServerInfoCache", "StatusCard", "counts_sql"]

INFO_LIFETIME = 30.0  # seconds; then the server is asked again what it is: notebooks outlive upgrades
COUNT_LIMIT = 2.0  # seconds that counting for a card may take
_ACCENT = "#8a8f98"
_FRESH = 60.0  # seconds for which the same counts are shown again


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server reported at ``/version``, and when."""

    version: str
    features: Mapping[str, bool]
    ingress_endpoint: str | None
    read_at: float = field(default_factory=time.monotonic)


class ServerInfoCache:
    """The information of a transport's server, kept for a while; ``last`` is the latest, None before it was read."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.last: ServerInfo | None = None

    def info(self, *, retry_for: float = RETRY_FOR, within: float = 10.0) -> ServerInfo:
        """Return the information; the server is asked where it is not known, or has been known for long.

        Raises:
            Unreachable, AccessDenied, ServerFailed: it was never known, and does not say so now.
        """
        known = self.last
        if known is not None and time.monotonic() - known.read_at <= INFO_LIFETIME:
            return known
        try:
            self.last = info = _read_info(self._transport, retry_for if known is None else 0, within)
        except RestateLabError:
            if known is None:
                raise
            # Whoever asks goes on with what it was, and hears from the read that follows.
            self.last = info = replace(known, read_at=time.monotonic())
        return info

    def ingress_address(self) -> str:
        """Return the address of the ingress that the server names.

        Whoever answers for the Admin API chooses this address, so the token goes there only where it would go anyway:
        to the same host, and never without the encryption that the Admin API has.

        Raises:
            ServerFailed: the server does not name its ingress, or names none that can be used.
            SettingsError: there is a token, and it would go to another host or over plain HTTP.
        """
        settings = self._transport.settings
        named = self.info().ingress_endpoint
        if not named:
            raise ServerFailed("the server does not name its ingress: connect(ingress_url=…)", status=200)
        try:
            address = parse_address(
                ConfigValue(Secret(str(named)), "the /version of the server"), "ingress_base_url", "argument"
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


class StatusCard:
    """Counts at most once a minute, and says so where it could not count.

    ``count`` answers the counting query within ``COUNT_LIMIT``, or raises.
    """

    def __init__(self, count: Callable[[], pa.Table]) -> None:
        self._count = count
        self._counted_at = -_FRESH
        self._counts: dict[str, int] = {}
        self._note = ""

    def html(self, title: str, address: str, badge: tuple[str, str, str], origin: str) -> str:
        """Return the card as HTML: title, a badge (text, tooltip, colour), address, counts as a bar, and their time.

        ``origin`` says how this cluster was chosen; it is the tooltip of the address.
        """
        if time.monotonic() - self._counted_at >= _FRESH:
            self._counted_at = time.monotonic()
            self._refresh(format_time(datetime.now(UTC)))
        known = [status for status in STATUSES if status in self._counts]
        parts = [(status, self._counts[status], STATUSES[status].colour) for status in known]
        parts += [(name, n, STATUSES["ready"].colour) for name, n in self._counts.items() if name not in STATUSES]
        return render(
            "_html/card.html.j2",
            title=title,
            place=address,
            place_tip=origin,
            badges=[badge],
            facts=[],
            lines=[self._note],
            accent=_ACCENT,
            parts=parts,
        )

    def _refresh(self, time_text: str) -> None:
        try:
            rows = self._count().to_pylist()
        except RestateLabError as error:
            self._counts = {}
            self._note = f"The invocations were not counted at {time_text}: {error}"
            return
        self._counts = {row["word"]: row["n"] for row in rows}
        total = sum(self._counts.values())
        self._note = f"{total:,} invocations with the retained completed ones, counted at {time_text}"


def counts_sql(*, has_vqueues: bool) -> str:
    """Return the statement that counts invocations per status: columns ``word`` and ``n``. A scan."""
    return f"SELECT word, count(*) AS n FROM ({statuses_sql(has_vqueues=has_vqueues)}) GROUP BY 1"  # noqa: S608 - constants


def _read_info(transport: Transport, retry_for: float, within: float) -> ServerInfo:
    try:
        response = transport.read("GET", "/version", retry_for=retry_for, timeout=min(within, transport.timeout))
        body = response.json()
        return ServerInfo(str(body["version"]), body.get("features") or {}, body.get("ingress_endpoint"))
    except (RequestRefused, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServerFailed(
            f"{transport.address} answers, but not as a Restate Admin API does ({error}). "
            f"The Admin API listens on port 9070 by default, the ingress on 8080.",
            status=error.status if isinstance(error, RequestRefused) else 200,
        ) from error
