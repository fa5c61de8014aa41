"""A gateway repeats our token in a response, in any form: no error, traceback or audit record has it."""

from __future__ import annotations

import html
import html.entities
import json
import re
import string
import traceback
import urllib.parse
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings, strategies as st

from restate_lab.audit import AuditLog
from restate_lab.client._stream import send_query
from restate_lab.client.ingress import IngressClient, IngressTransport
from restate_lab.client.responses import SUCCESS
from restate_lab.client.settings import Settings
from restate_lab.client.transport import Transport
from restate_lab.errors import RestateLabError
from restate_lab.progress import NoProgress
from restate_lab.redaction import MASK, Secret, mask_secrets
from restate_lab.source import read_table
from support.faults import reads_give_up_after
from support.raw_server import raw_server, respond_with

ADDRESS = "http://127.0.0.1:9070"
KILLED = SUCCESS["kill_invocation"]
# Hypothesis also draws names from the source, and a traceback shows source: "+/7" is in no name.
TOKENS = st.text(string.ascii_letters + string.digits + "/+=._-", min_size=8, max_size=60).map("{}+/7".format)
NAMED = {value: f"&{name}" for name, value in html.entities.html5.items() if name.endswith(";")}
LETTERS: dict[str, Callable[[str], str]] = {
    "plain": lambda letter: letter,
    "json slash": lambda letter: "\\/" if letter == "/" else letter,
    "json": lambda letter: f"\\u{ord(letter):04x}",
    "JSON": lambda letter: f"\\u{ord(letter):04X}",
    "hexadecimal escape": lambda letter: f"\\x{ord(letter):02x}",
    "html": html.escape,
    "html decimal": lambda letter: f"&#{ord(letter)};",
    "html hexadecimal": lambda letter: f"&#x{ord(letter):X};",
    "html named": lambda letter: NAMED.get(letter, letter),
    "url": lambda letter: urllib.parse.quote(letter, safe=""),
    "url, all": lambda letter: f"%{ord(letter):02x}",
    "html in json": lambda letter: f"\\u0026#{ord(letter)};",  # Go escapes & in JSON
    "html in a url": lambda letter: urllib.parse.quote(f"&#{ord(letter)};"),
    "url twice": lambda letter: f"%25{ord(letter):02X}",
    "html twice": lambda letter: f"&amp;#{ord(letter)};",
    "json twice": lambda letter: f"\\\\u{ord(letter):04x}",
}


@st.composite
def escaped(draw: st.DrawFn) -> tuple[str, str]:
    """Draw a token, and a form of it: all letters escaped in one way, or each in its own."""
    token = draw(TOKENS)
    ways = draw(st.sampled_from(list(LETTERS)).map(lambda name: [name]) | st.just(list(LETTERS)))
    return token, "".join(LETTERS[draw(st.sampled_from(ways))](letter) for letter in token)


@pytest.fixture(autouse=True, scope="module")
def no_repeats() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        reads_give_up_after(0, patch)
        yield


def json_body(form: str) -> bytes:
    return b'{"message": "bad header: Bearer %s", "restate_code": "%s"}' % (form.encode(), form.encode())


BODIES: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "json": ("application/json", json_body),
    "broken json": ("application/json", lambda form: json_body(form)[:-1]),
    "text": ("text/plain", lambda form: f"bad header: Bearer {form}".encode()),
    "html": ("text/html", lambda form: f"<html><title>No Bearer {form}</title><body>{form}".encode()),
    "no type": ("", lambda form: f"Bearer {form}".encode()),
}
STATUSES = (200, 302, 400, 401, 404, 409, 429, 470, 500, 502, 503)


def calls(tmp: Path, address: str, token: str, network: httpx.BaseTransport | None) -> dict[str, Callable[[], Any]]:
    made = Settings("prod", address, address, Secret(token), "RESTATE_AUTH_TOKEN", "the argument")
    how: dict[str, Any] = {"read_only": False, "timeout": 20, "audit": AuditLog(tmp), "transport": network}
    transport, ingress = Transport(made, address, **how), IngressClient(IngressTransport(made, address, **how))

    def query() -> None:
        with send_query(transport, "SELECT 1", timeout=20, max_bytes=None, progress=NoProgress()) as answer:
            read_table(answer.reader())

    return {
        "read": lambda: transport.read("GET", "/x", retry_for=0),
        "query": query,
        "change": lambda: transport.change("PATCH", "/x", action="kill", targets=["inv_1"], success=KILLED),
        "call": lambda: ingress.call("S", "h", 1),
        "output": lambda: ingress.output(workflow="W", key="k"),
    }


def all_forms(text: str) -> str:
    """Return the text in every form that a reader could make of it."""
    forms = [text]
    for _ in range(6):
        text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)
        text = re.sub(r"\\x([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), text).replace("\\", "")
        forms.append(text := urllib.parse.unquote(text))
        forms.append(text := html.unescape(text))
    return "\n".join(forms)


def shown_by(call: Callable[[], Any]) -> str:
    """Return all output for a person of a call that raises, or nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except RestateLabError as error:
        return "".join(traceback.format_exception(error)) + str(error) + repr(vars(error))
    return ""


@settings(max_examples=60)
@given(escaped(), st.sampled_from(list(BODIES)), st.sampled_from(STATUSES))
def test_no_form_of_the_token_is_shown(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[str, str], body: str, status: int
) -> None:
    """Body, content type, location and error id are masked for every status and every kind of call."""
    token, form = drawn
    kind, made = BODIES[body]
    headers = {"location": f"/login?was={form}", "x-restate-id": form, "content-type": kind or f"x/{form}"}
    headers["x-restate-error-source"] = "invocation" if status == 409 else "ingress"
    network = httpx.MockTransport(lambda _: httpx.Response(status, headers=headers, content=made(form)))
    folder = tmp_path_factory.mktemp("audit")
    for call in calls(folder, ADDRESS, token, network).values():
        assert token not in all_forms(shown_by(call))
    for file in folder.glob("*.jsonl"):
        assert token not in all_forms(file.read_text())


@pytest.mark.parametrize("answer", ["Bearer {0}\r\n\r\n", "HTTP/1.1 103 {0}\r\n\r\n", "HTTP/1.1 {0}\r\n\r\n"])
def test_what_is_no_response_is_masked(tmp_path: Path, answer: str) -> None:
    """A status line that repeats the token is in no error, nor in its cause."""
    token = "abc+def/ghi=12"
    with raw_server(respond_with(answer.format(token).encode(), then_close=True)) as server:
        for name, call in calls(tmp_path, server.address, token, None).items():
            shown = shown_by(call)
            assert "prod" in shown, name
            assert token not in all_forms(shown)
    assert all(token not in file.read_text() for file in tmp_path.glob("*.jsonl"))


@given(st.text(max_size=200), TOKENS)
def test_a_text_without_the_token_is_unchanged(text: str, token: str) -> None:
    for other in (text, json.dumps(text), urllib.parse.quote(text), html.escape(text)):
        if token not in all_forms(other):
            assert mask_secrets(other, [token]) == other


def test_the_text_around_the_token_stays() -> None:
    for form in ("ab+cd/ef=", r"ab\u002bcd\/ef=", "ab&#43;cd/ef&#61;", "ab%2Bcd%2Fef%3D"):
        assert mask_secrets(f"bad header {form} (431)", ["ab+cd/ef="]) == f"bad header {MASK} (431)"
