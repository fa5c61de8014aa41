"""Addresses: what may name a server, cleaned of what must not be sent or shown."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from restate_lab.client.cli_config import AUTH_TOKEN, Found
from restate_lab.errors import SettingsError

__all__ = ["PORTS", "address", "is_address"]

PORTS = {"admin_base_url": 9070, "ingress_base_url": 8080}
_WORDS = {"admin_base_url": "admin", "ingress_base_url": "ingress"}

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


def address(found: Found, key: str, place: Place) -> str:
    """Return a configured address without its trailing slash: ``http(s)://host[:port][/path]`` or ``unix:<path>``.

    ``key`` is the value's name in config.toml. Raises SettingsError, whose message never repeats the address.
    """
    clean, problem = ("", "must be text") if found.value is None else _examined(found.value.reveal(), key, place)
    if problem:
        example = f"http://127.0.0.1:{PORTS[key]}"
        raise SettingsError(f"{found.where}, the {_WORDS[key]} address, {problem}. A valid one looks like {example}.")
    return clean


def _examined(text: str, key: str, place: Place) -> tuple[str, str]:
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
        text = f"http://{_with_port(text, PORTS[key])}"
    return _examined_url(text)


def _with_port(bare: str, port: int) -> str:
    host, separator, given = bare.rpartition(":") if re.search(r":\d*$", bare) else (bare, "", "")
    return f"{host or '127.0.0.1'}:{given if separator and given else port}"


def _examined_url(text: str) -> tuple[str, str]:
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
