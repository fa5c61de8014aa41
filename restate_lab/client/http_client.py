"""The httpx client of an address: what carries its requests, through which proxy, under which certificates."""

from __future__ import annotations

import importlib.util
import ipaddress
import platform
import ssl
import urllib.request
from importlib import metadata
from pathlib import Path

import httpx

from restate_lab.client.settings import Settings
from restate_lab.client.wire import Wire
from restate_lab.errors import SettingsError

__all__ = ["http_client"]


def http_client(
    settings: Settings, address: str, *, ca: str | Path | None, network: httpx.BaseTransport | None
) -> httpx.Client:
    """Return a client of this address; ``network`` replaces what carries its requests, for tests of error paths.

    Raises:
        SettingsError: the certificate authority cannot be read.
    """
    base, carrier = _network(address, ca)
    return httpx.Client(
        base_url=base,
        transport=network or carrier,
        headers=_headers(settings, is_loopback=_is_loopback(base)),
        follow_redirects=False,
        trust_env=False,
    )


def _headers(settings: Settings, *, is_loopback: bool) -> dict[str, str]:
    headers = {
        "user-agent": f"restate-lab/{metadata.version('restate-lab')} python/{platform.python_version()}",
        "accept-encoding": "identity" if is_loopback or importlib.util.find_spec("zstandard") is None else "zstd",
    }
    if settings.token is not None:
        headers["authorization"] = f"Bearer {settings.token.reveal()}"
    return headers


def _network(address: str, ca: str | Path | None) -> tuple[str, httpx.BaseTransport]:
    """Return the base URL and what carries its requests: our wire, or httpx's own for proxies and unix sockets."""
    if address.startswith("unix:"):
        return "http://localhost", httpx.HTTPTransport(uds=address.removeprefix("unix:"))
    context = _context(ca) if address.startswith("https:") else None
    proxy = _proxy(httpx.URL(address))
    if proxy is not None:
        return address, httpx.HTTPTransport(proxy=proxy, verify=context or _context(ca))
    return address, Wire(context=context)


def _context(ca: str | Path | None) -> ssl.SSLContext:
    try:
        if ca is not None:
            return ssl.create_default_context(cafile=str(ca))
        context = httpx.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"the certificate authority {ca} cannot be read: {error}") from error
    context.load_default_certs()  # a company's own authority is usually installed on the system
    return context


def _proxy(url: httpx.URL) -> str | None:
    """Return the environment's proxy for a URL; loopback has none."""
    if _is_loopback(str(url)) or urllib.request.proxy_bypass(url.host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(url.scheme) or proxies.get("all")


def _is_loopback(address: str) -> bool:
    host = httpx.URL(address).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
