"""The options of the web server: its address, the names that it answers, and its certificate."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from restate_lab.errors import ArgumentError

_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"https?://([\w-]+(\.[\w-]+)*\.?|\[[0-9A-Fa-f:.]+\])(:[1-9]\d{0,4})?/?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How pages are served.

    ``listen`` is host and port; port 0 is a free one. ``url`` is the address under which viewers reach the server, by
    default that of ``listen``. ``token_file`` has the token; without it a token is made and stored for the time of
    the server. ``certificate`` and ``key`` are PEM files. ``timeout`` is the limit of a page, in seconds. ``say``
    prints the link, ``warn`` a warning.

    Raises:
        ArgumentError: an address is invalid, or needs TLS or a proxy in front.
    """

    listen: str = "127.0.0.1:9180"
    url: str | None = None
    token_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    behind_proxy: bool = False
    payloads: bool = False
    timeout: float = 30.0
    say: Callable[[str], None] = print
    warn: Callable[[str], None] = print

    def __post_init__(self) -> None:
        host, port = self.listen.rpartition(":")[::2]
        if not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
            raise ArgumentError(f"--listen is {self.listen!r}; use HOST:PORT, such as 127.0.0.1:9180.")
        if (self.certificate is None) != (self.key is None):
            raise ArgumentError("TLS needs both files: --tls-certificate and --tls-key.")
        if self.behind_proxy and self.url is None:
            raise ArgumentError("--behind-proxy needs --url, the address under which viewers reach the proxy.")
        if not (is_loopback(self.host) or self.certificate or self.behind_proxy):
            raise ArgumentError(
                f"{self.host} can be reached by others: add --tls-certificate and --tls-key, or --behind-proxy with "
                f"--url if a proxy in front of the server has TLS."
            )
        if self.url is None and self.host in {"0.0.0.0", "::"}:  # noqa: S104 - no address to listen on
            raise ArgumentError(
                f"--listen {self.listen} needs --url, the address under which viewers reach the server."
            )
        if self.url is not None:
            _check_url(self.url)

    @property
    def host(self) -> str:
        """Return the host without brackets."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Return the port."""
        return int(self.listen.rpartition(":")[2])

    def address(self, port: int) -> str:
        """Return the address under which viewers reach the server."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.url or f"{'https' if self.certificate else 'http'}://{host}:{port}").rstrip("/")

    def hosts(self, port: int) -> set[str]:
        """Return the values of ``Host`` that the server answers; browsers omit the default port."""
        address = urlsplit(self.address(port))
        names = {address.netloc}
        if self.url is None and is_loopback(self.host):
            names.add(f"localhost:{port}")
        default = f":{_PORTS[address.scheme]}"
        return names | {each.removesuffix(default) for each in names} | {_with_port(address, default)}

    def tls(self) -> ssl.SSLContext | None:
        """Return the certificate with its key; None without TLS.

        Raises:
            ArgumentError: a file cannot be used.
        """
        if self.certificate is None or self.key is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            # OpenSSL asks the terminal for the password of an encrypted key, unless there is a password.
            context.load_cert_chain(self.certificate, self.key, password="")
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
            files = f"{self.certificate} and {self.key}"
            raise ArgumentError(
                f"{files} cannot be used: {reason}; pass PEM files of a pair, without a password."
            ) from error
        return context


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _check_url(url: str) -> None:
    """Refuse an address of viewers with a path, a password, or without encryption."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # an invalid port raises ValueError
    except ValueError:
        host = None
    is_plain = host and parts.scheme in _PORTS and parts.path in {"", "/"} and not (parts.query or parts.fragment)
    if not is_plain or _URL.fullmatch(url) is None:
        raise ArgumentError(f"--url is {url!r}; use an address without a path, such as https://restate.example.org.")
    if parts.scheme != "https" and not is_loopback(str(host)):
        raise ArgumentError(f"--url is {url!r}, and viewers would send the cookie unencrypted; use https://.")


def _with_port(address: SplitResult, default: str) -> str:
    return address.netloc if address.port else f"{address.netloc}{default}"
