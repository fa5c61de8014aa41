"""Addresses: what may name a server, cleaned of what must not be sent or shown."""

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

__all__ = [
    "ADMIN",
    "INGRESS",
    "address_from_layers",
    "address_from_variable",
    "is_address",
    "is_covered",
    "is_loopback",
    "is_own",
    "parse_address",
]  # fmt: skip

ADMIN, INGRESS = "admin_base_url", "ingress_base_url"
"""The two addresses of a cluster, by their names in config.toml."""

_PORTS = {ADMIN: 9070, INGRESS: 8080}
_LABELS = {ADMIN: "admin", INGRESS: "ingress"}
_VARIABLES = {ADMIN: ADMIN_URL, INGRESS: INGRESS_URL}

Place = Literal["argument", "variable", "file"]
# What the CLI takes without a scheme, by where it stands: config.toml may hold a bare host or port, a variable only
# what a URL parser takes for a scheme and its rest.
_BARE: dict[Place, re.Pattern[str]] = {
    "argument": re.compile(r"(?!)"),
    "variable": re.compile(r"[A-Za-z][A-Za-z0-9.+-]*:\d+"),
    "file": re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\])?(:\d*)?", re.ASCII),
}


def is_address(text: str) -> bool:
    """Tell an address from the name of an environment."""
    return "://" in text or text.lstrip().startswith("unix:")


def parse_address(configured: ConfigValue, key: str, place: Place) -> str:
    """Return a configured address without its trailing slash: ``http(s)://host[:port][/path]`` or ``unix:<path>``.

    ``key`` is the value's name in config.toml. Raises SettingsError, whose message never repeats the address.
    """
    clean, problem = ("", "must be text") if configured.value is None else _parse(configured.value.reveal(), key, place)
    if problem:
        example = f"http://127.0.0.1:{_PORTS[key]}"
        raise SettingsError(
            f"{configured.where}, the {_LABELS[key]} address, {problem}. A valid one looks like {example}."
        )
    return clean


def address_from_variable(key: str, variables: Variables) -> ConfigValue | None:
    """Return the address that RESTATE_ADMIN_URL, RESTATE_INGRESS_URL or RESTATE_HOST sets; None where none is set."""
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
            f"{HOST} must be a host name or an address and nothing else (IPv6 in brackets); it stands for the "
            f"ports 9070 and 8080. For anything else set {ADMIN_URL} and {INGRESS_URL}, and unset {HOST}."
        )
    return Secret(f"{scheme.reveal()}://{variables[HOST].reveal()}:{port}")


def address_from_layers(key: str, layers: Sequence[ConfigSection]) -> ConfigValue | None:
    """Return the address that config.toml has for an environment; None where it has none."""
    configured = last_value(layers, key)
    return configured and ConfigValue(configured.value, f"{key} of {configured.where}")


def is_own(override: ConfigValue | None, key: str, layers: Sequence[ConfigSection]) -> bool:
    """Tell whether a variable names the address that config.toml has for the environment anyway."""
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
    """Return a clean address with its port, also where that is the scheme's default."""
    parts = urlsplit(clean)
    if clean.startswith("unix:") or parts.port is not None:
        return clean
    return f"{parts.scheme}://{parts.netloc}:{443 if parts.scheme == 'https' else 80}{parts.path}"


def is_covered(other: str, *, by: str) -> bool:
    """Tell whether what may be sent to the address ``by`` may be sent to the ``other`` one, too.

    The port may differ. The host must be the same, or both must be this machine, as behind a unix socket. The scheme
    must be the same or https.
    """
    first, second = urlsplit(by), urlsplit(other)
    if first.scheme == "unix":
        return is_loopback(second.hostname)
    is_same = first.hostname == second.hostname or (is_loopback(first.hostname) and is_loopback(second.hostname))
    return is_same and second.scheme in {first.scheme, "https"}


def is_loopback(host: str | None) -> bool:
    """Tell whether a host is this machine."""
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost" or (host or "").endswith(".localhost")


def _parse(text: str, key: str, place: Place) -> tuple[str, str]:
    """Return a clean address, or what is wrong with it: the text may hold a password, so nothing is raised here."""
    text = text.strip()
    if not text:
        return "", "is empty"
    if re.search(r"[\s\x00-\x1f\x7f]", text):
        return "", "has a space or a control character in it"
    if text.startswith("unix:"):
        path = re.sub(r"^/+", "/", text.removeprefix("unix:"))
        return (f"unix:{path}", "") if path else ("", "names no socket after unix:")
    if "://" not in text:
        if _BARE[place].fullmatch(text) is None:
            return "", "does not begin with http://, https:// or unix:"
        text = f"http://{_add_port(text, _PORTS[key])}"
    return _parse_url(text)


def _add_port(bare: str, port: int) -> str:
    host, separator, given = bare.rpartition(":") if re.search(r":\d*$", bare) else (bare, "", "")
    return f"{host or '127.0.0.1'}:{given if separator and given else port}"


def _parse_url(text: str) -> tuple[str, str]:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return "", "is not a valid URL"
    if parts.scheme not in {"http", "https"}:
        return "", "has a scheme other than http, https and unix"
    if "@" in parts.netloc:
        return "", f"has a user name or password in it, which is never sent; set {AUTH_TOKEN} instead"
    if "?" in text or "#" in text:
        return "", "has a query or a fragment, which an address cannot have"
    if not parts.hostname:
        return "", "names no host"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}", ""
