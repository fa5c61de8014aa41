"""The way to an address: our own wire, the environment's proxy, or a unix socket; and whom TLS trusts."""

from __future__ import annotations

import importlib.util
import platform
import ssl
import urllib.request
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import httpx

from restate_lab.client.address import is_loopback as is_loopback_host
from restate_lab.client.settings import Settings
from restate_lab.client.wire import Wire
from restate_lab.errors import SettingsError
from restate_lab.redact import Secret

__all__ = ["Way", "headers_for", "is_loopback", "way_to"]


@dataclass(frozen=True, slots=True)
class Way:
    """The base URL, what carries its requests, and the words for what stands between ("" for nothing)."""

    base: str
    network: httpx.BaseTransport
    words: str = ""


def way_to(address: str, ca: str | Path | None) -> Way:
    """Return the way to an address; httpx's own transports go through proxies and to unix sockets.

    Raises:
        SettingsError: the certificate authority cannot be read, or the environment's proxy is none.
    """
    if address.startswith("unix:"):
        return Way("http://localhost", httpx.HTTPTransport(uds=address.removeprefix("unix:")))
    context = _context(ca) if address.startswith("https:") else None
    proxy = _proxy(httpx.URL(address))
    if proxy is not None:
        network, words = _through(proxy, context or _context(ca))
        return Way(address, network, words)
    return Way(address, Wire(context=context))


def is_loopback(address: str) -> bool:
    """Tell whether an address is on this machine."""
    return is_loopback_host(httpx.URL(address).host)


def headers_for(settings: Settings, *, is_loopback: bool) -> dict[str, str]:
    """Return the headers of every request; without a network in between, compression only takes time."""
    headers = {
        "user-agent": f"restate-lab/{metadata.version('restate-lab')} python/{platform.python_version()}",
        "accept-encoding": "identity" if is_loopback or importlib.util.find_spec("zstandard") is None else "zstd",
    }
    if settings.token is not None:
        headers["authorization"] = f"Bearer {settings.token.reveal()}"
    return headers


def _context(ca: str | Path | None) -> ssl.SSLContext:
    try:
        if ca is not None:
            return ssl.create_default_context(cafile=str(ca))
        context = httpx.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"the certificate authority {ca} cannot be read: {error}") from error
    context.load_default_certs()  # a company's own authority is usually installed on the system
    return context


def _proxy(url: httpx.URL) -> Secret | None:
    """Return the environment's proxy for a URL, which may hold a password; loopback has none."""
    if is_loopback(str(url)) or urllib.request.proxy_bypass(url.host):
        return None
    proxies = urllib.request.getproxies()
    found = proxies.get(url.scheme) or proxies.get("all")
    return Secret(found if "://" in found else f"http://{found}") if found else None


def _through(proxy: Secret, context: ssl.SSLContext) -> tuple[httpx.BaseTransport, str]:
    network, words = _made_for(proxy, context)
    if network is None:  # not within the except: the frames of that error hold the address
        raise SettingsError(
            f"the proxy in the environment (http_proxy, https_proxy or all_proxy) cannot be used: {words}. Set it to "
            f"http://host:port, or name this server in no_proxy."
        )
    return network, words


def _made_for(proxy: Secret, context: ssl.SSLContext) -> tuple[httpx.BaseTransport | None, str]:
    """Return what goes through a proxy and the words for it, or why there is none."""
    try:
        url = httpx.URL(proxy.reveal())
        words = f", through the environment's proxy {url.host}:{url.port or url.scheme}"
        return httpx.HTTPTransport(proxy=url, verify=context), words
    except ImportError:
        return None, "for SOCKS, httpx[socks] is to be installed"
    except (ValueError, httpx.InvalidURL):
        return None, "it is no address of a proxy"
