"""Check and normalize the addresses of servers, without parts that must not be sent or shown."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Literal
from urllib.parse import urlsplit

from restate_lab.client.cli_config import (
    ADMIN_URL,
    AUTH_TOKEN,
    HOST,
    HOST_SCHEME,
    INGRESS_URL,
    ConfigSection,
    ConfigValue,
    Variables,
    last_value,
)
from restate_lab.errors import SettingsError
from restate_lab.redaction import Secret

ADMIN, INGRESS = "admin_base_url", "ingress_base_url"
"""The keys in config.toml of the two addresses of a cluster."""

_PORTS = {ADMIN: 9070, INGRESS: 8080}
_LABELS = {ADMIN: "admin", INGRESS: "ingress"}
_VARIABLES = {ADMIN: ADMIN_URL, INGRESS: INGRESS_URL}

Place = Literal["argument", "variable", "file"]
# Addresses without a scheme, by place. An argument needs a port, because without it the text is the name of an
# environment. The CLI accepts the others: config.toml can have a bare host or port, and a variable only a text that a
# URL parser reads as a scheme and the rest.
_BARE: dict[Place, re.Pattern[str]] = {
    "argument": re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\]):\d+", re.ASCII),
    "variable": re.compile(r"[A-Za-z][A-Za-z0-9.+-]*:\d+"),
    "file": re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\])?(:\d*)?", re.ASCII),
}


def is_address(text: str) -> bool:
    """Return whether a text is an address, not the name of an environment."""
    clean = text.strip()
    return "://" in clean or clean.startswith("unix:") or _BARE["argument"].fullmatch(clean) is not None


def parse_address(configured: ConfigValue, key: str, place: Place) -> str:
    """Return a configured address without its trailing slash: ``http(s)://host[:port][/path]`` or ``unix:<path>``.

    ``key`` is the key in config.toml. Raises SettingsError; its message never has the address.
    """
    clean, problem = ("", "must be text") if configured.value is None else _parse(configured.value.reveal(), key, place)
    if problem:
        example = f"http://127.0.0.1:{_PORTS[key]}"
        raise SettingsError(
            f"{configured.where}, the {_LABELS[key]} address, {problem}. A valid address is for example {example}."
        )
    return clean


def address_from_variable(key: str, variables: Variables) -> ConfigValue | None:
    """Return the address that RESTATE_ADMIN_URL, RESTATE_INGRESS_URL or RESTATE_HOST sets; None without these."""
    variable = _VARIABLES[key]
    if variable in variables:
        return ConfigValue(variables[variable], variable)
    return ConfigValue(_host_url(variables, _PORTS[key]), HOST) if HOST in variables else None


def _host_url(variables: Variables, port: int) -> Secret:
    scheme = variables.get(HOST_SCHEME, Secret("http"))
    if scheme.reveal().lower() not in {"http", "https"}:
        raise SettingsError(f"{HOST_SCHEME} must be http or https; unset it for http")
    if re.fullmatch(r"[\w.-]+|\[[0-9A-Fa-f:.]+\]", variables[HOST].reveal()) is None:
        raise SettingsError(
            f"{HOST} must be only a host name or an IP address (IPv6 in brackets), for the ports 9070 and 8080. "
            f"Otherwise set {ADMIN_URL} and {INGRESS_URL}, and unset {HOST}."
        )
    return Secret(f"{scheme.reveal()}://{variables[HOST].reveal()}:{port}")


def address_from_layers(key: str, layers: Sequence[ConfigSection]) -> ConfigValue | None:
    """Return the address that config.toml has for an environment, or None."""
    configured = last_value(layers, key)
    return configured and ConfigValue(configured.value, f"{key} of {configured.where}")


def is_own(override: ConfigValue | None, key: str, layers: Sequence[ConfigSection]) -> bool:
    """Return whether a variable has the same address as config.toml has for the environment."""
    own = address_from_layers(key, layers)
    if override is None or own is None:
        return False
    try:
        return _add_scheme_port(parse_address(override, key, "variable")) == _add_scheme_port(
            parse_address(own, key, "file")
        )
    except SettingsError:
        return False


def _add_scheme_port(clean: str) -> str:
    parts = urlsplit(clean)
    if clean.startswith("unix:") or parts.port is not None:
        return clean
    return f"{parts.scheme}://{parts.netloc}:{443 if parts.scheme == 'https' else 80}{parts.path}"


def is_covered(other: str, *, by: str) -> bool:
    """Return whether data for the address ``by`` may also be sent to the address ``other``.

    The port may differ. The hosts must be the same, or both must be this machine (as with a unix socket). The scheme
    must be the same or https.
    """
    first, second = urlsplit(by), urlsplit(other)
    if first.scheme == "unix":
        return is_loopback(second.hostname)
    is_same = first.hostname == second.hostname or (is_loopback(first.hostname) and is_loopback(second.hostname))
    return is_same and second.scheme in {first.scheme, "https"}


def is_loopback(host: str | None) -> bool:
    """Return whether a host is this machine."""
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost" or (host or "").endswith(".localhost")


def _parse(text: str, key: str, place: Place) -> tuple[str, str]:
    """Return a clean address and the problem; nothing is raised here, because the text can have a password."""
    text = text.strip()
    if not text:
        return "", "is empty"
    if re.search(r"[\s\x00-\x1f\x7f]", text):
        return "", "has a space or a control character"
    if text.startswith("unix:"):
        path = re.sub(r"^/+", "/", text.removeprefix("unix:"))
        return (f"unix:{path}", "") if path else ("", "has no path after unix:")
    if "://" not in text:
        if _BARE[place].fullmatch(text) is None:
            return "", "does not begin with http://, https:// or unix:"
        host, _, port = text.rpartition(":") if re.search(r":\d*$", text) else (text, "", "")
        text = f"http://{host or '127.0.0.1'}:{port or _PORTS[key]}"
    return parse_url(text)


def parse_url(text: str) -> tuple[str, str]:
    """Return a clean http(s) address and the problem that it has; "" if it has none."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return "", "is not a valid URL"
    if parts.scheme not in {"http", "https"}:
        has = "has a scheme other than http, https and unix"
        return "", has if parts.scheme else "does not begin with http://, https:// or unix:"
    if "@" in parts.netloc:
        return "", f"has a user name or password, which is never sent; set {AUTH_TOKEN} instead"
    if "?" in text or "#" in text:
        return "", "has a query or a fragment, which an address cannot have"
    if not parts.hostname:
        return "", "has no host"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    netloc = host if port is None else f"{host}:{port}"
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}", ""
