"""What a server says that it is: its version, its features, its ingress."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pyarrow as pa

from restate_lab._html import render
from restate_lab._text import format_time
from restate_lab.client.address import address as address_of, is_covered
from restate_lab.client.cli_config import Found
from restate_lab.client.transport import RETRY_FOR, Transport
from restate_lab.errors import RequestRefused, RestateLabError, ServerFailed, SettingsError
from restate_lab.redaction import Secret
from restate_lab.status import STATUSES, statuses_sql

__all__ = ["COUNT_LIMIT", "KNOWN_FOR", "About", "Server", "StatusCard", "counts_sql"]

KNOWN_FOR = 30.0  # seconds; then the server is asked again what it is: notebooks outlive upgrades
COUNT_LIMIT = 2.0  # seconds that counting for a card may take
_FRESH = 60.0  # seconds for which the same counts are shown again


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


def counts_sql(*, has_vqueues: bool) -> str:
    """Return the statement that counts invocations per status word: columns ``word`` and ``n``. A scan."""
    return f"SELECT word, count(*) AS n FROM ({statuses_sql(has_vqueues=has_vqueues)}) GROUP BY 1"  # noqa: S608 - constants


class StatusCard:
    """Counts at most once a minute, and says so where it could not count.

    ``count`` answers the counting query within ``COUNT_LIMIT``, or raises.
    """

    def __init__(self, count: Callable[[], pa.Table]) -> None:
        self._count = count
        self._counted_at = -_FRESH
        self._counts: dict[str, int] = {}
        self._note = ""

    def html(self, title: str, address: str, mode: str, *, accent: str) -> str:
        """Return the card as HTML: title and address large, counts as a bar, mode and time below."""
        if time.monotonic() - self._counted_at >= _FRESH:
            self._counted_at = time.monotonic()
            self._refresh(format_time(datetime.now(UTC)))
        words = [word for word in STATUSES if word in self._counts]
        parts = [(word, self._counts[word], STATUSES[word].colour) for word in words]
        parts += [(word, n, STATUSES["ready"].colour) for word, n in self._counts.items() if word not in STATUSES]
        lines = [self._note, mode]
        return render("_html/card.html.j2", title=title, place=address, lines=lines, accent=accent, parts=parts)

    def _refresh(self, moment: str) -> None:
        try:
            rows = self._count().to_pylist()
        except RestateLabError as error:
            self._counts = {}
            self._note = f"not counted at {moment}: {error}"
            return
        self._counts = {row["word"]: row["n"] for row in rows}
        self._note = f"{sum(self._counts.values()):,} invocations, retained completed ones included, at {moment}"
