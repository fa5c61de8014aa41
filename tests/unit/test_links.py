"""Links to the pages of ``restate-lab serve``: what they have, and which addresses are refused."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta
from html import escape
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from restate_lab.analysis.why.chain import link_frame
from restate_lab.analysis.why.explanation import Explanation
from restate_lab.errors import SettingsWarning
from restate_lab.links import VARIABLE, build_link, page_link, parse_serve_address
from restate_lab.panels.panel.state import PanelState
from support.sample_source import LiveSource, invocations

ID = "inv_1lIyp2ByO1ey35cGbU0hywb06imDxMEZvH"
BASE = "https://lab.example.com/restate"
HOSTILE = '"><script>alert(1)</script>\u202e\x00\x1b[31m&source=other#?../%2e\ud800 ü\n'
ADDRESSES = {
    "http://127.0.0.1:9180": "http://127.0.0.1:9180",
    " https://lab.example.com/ ": "https://lab.example.com",
    "https://lab.example.com:8443/a/b/": "https://lab.example.com:8443/a/b",
    "http://[::1]:9180": "http://[::1]:9180",
    "lab.example.com:9180": "",
    "ftp://lab.example.com": "",
    "unix:/run/serve.sock": "",
    "javascript://lab.example.com/%0aalert(1)": "",
    "https://user:secret@lab.example.com": "",
    "https://secret@lab.example.com": "",
    "https://lab.example.com/?token=secret": "",
    "https://lab.example.com/#secret": "",
    "https://lab.example.com:99999": "",
    "https://lab.example.com/a b": "",
    'https://lab.example.com"><script>': "",
    "https://": "",
}


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"{BASE}/")


@pytest.mark.parametrize(("text", "address"), ADDRESSES.items())
def test_an_address_has_only_a_scheme_a_host_a_port_and_a_path(text: str, address: str) -> None:
    assert parse_serve_address(text) == address


def test_an_invalid_address_is_one_warning_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "https://user:secret-word@lab.example.com")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [page_link(LiveSource(invocations()), "waits") for _ in range(3)] == [""] * 3
    (warning,) = caught
    assert warning.category is SettingsWarning
    assert str(warning.message).startswith("RESTATE_LAB_SERVE is not the address of restate-lab serve")
    assert "secret-word" not in str(warning.message)


def test_hostile_names_are_values_and_nothing_else() -> None:
    """A name can add no parameter, no part of the path, and no character that a page or a terminal would interpret."""
    link = build_link(BASE, HOSTILE, "question", HOSTILE, {"service": [HOSTILE, "b"], "key": None})
    assert link.isascii()
    assert not set(link) & set("\"'<>\\ \n\x00\x1b#")
    parts = urlsplit(link)
    replaced = HOSTILE.replace("\ud800", "?")
    assert [unquote(each) for each in parts.path.split("/")] == ["", "restate", "question", replaced]
    assert parse_qs(parts.query) == {"service": [replaced, "b"], "source": [replaced]}


def test_a_link_that_a_page_would_refuse_is_missing() -> None:
    assert build_link(BASE, "prod", "invocations", params={"id": [ID] * 50})
    assert not build_link(BASE, "prod", "invocations", params={"id": [ID] * 51})
    assert not build_link(BASE, "prod", "invocations", params={"text": "x" * 6_000})


@pytest.mark.usefixtures("serve")
@pytest.mark.parametrize(
    ("live", "address", "expected"),
    [
        (True, "http://127.0.0.1:9070", "prod+%26+more"),
        (False, "/srv/inc-42.evidence", "inc-42"),
        (False, "s3://bucket/history", None),
        (False, "", None),
    ],
)
def test_a_source_has_the_name_that_the_server_gives_it(live: bool, address: str, expected: str | None) -> None:
    source: Any = SimpleNamespace(name="prod & more", live=live, address=address)
    assert page_link(source, "waits") == (f"{BASE}/waits?source={expected}" if expected else "")


STATES: dict[str, tuple[dict[str, Any], str | None]] = {
    "the list": ({}, "/invocations?"),
    "filters": (
        {"status": ("paused", "retrying"), "service": ["a", "b"], "text": "a b", "group": False, "limit": 5},
        "/invocations?status=paused&status=retrying&service=a&service=b&text=a+b&",
    ),
    "times": (
        {"since": "2h", "until": datetime(2026, 11, 1, tzinfo=UTC), "age": timedelta(minutes=90)},
        "/invocations?since=2h&until=2026-11-01T00%3A00%3A00%2B00%3A00&age=1h+30m&",
    ),
    "an invocation": ({"view": "overview", "service": "a", "open": ID}, f"/invocation/{ID}?"),
    "the overview": ({"view": "overview"}, "/?"),
    "the overview of a service": ({"view": "overview", "service": "a"}, "/invocations?service=a&"),
    "the queues": ({"view": "queues", "open": "blue"}, "/queues?"),
    "state": ({"view": "state", "service": "a"}, None),
    "a deployment": ({"view": "deployments", "open": "dp_1"}, None),
}


@pytest.mark.usefixtures("serve")
@pytest.mark.parametrize(("keywords", "expected"), STATES.values(), ids=STATES)
def test_the_link_of_a_panel_has_its_filters(keywords: dict[str, Any], expected: str | None) -> None:
    link = PanelState.of(keywords).link_for(LiveSource(invocations()))
    assert link == (f"{BASE}{expected}source={LiveSource.name}" if expected else "")


@pytest.mark.usefixtures("serve")
def test_the_filters_of_a_link_make_the_same_list() -> None:
    """The texts of a link are values of the panel's keywords."""
    state = PanelState.of({"status": "failed", "since": "2h", "age": "90m", "retries": 3, "id": [ID], "sort": "newest"})
    values: dict[str, Any] = parse_qs(urlsplit(state.link_for(LiveSource(invocations()))).query)
    del values["source"]
    again = {name: int(texts[0]) if name == "retries" else texts for name, texts in values.items()}
    single = {name: each[0] if name in {"since", "age", "sort"} else each for name, each in again.items()}
    assert PanelState.of(single).filters.changed == state.filters.changed


def explanation(link: str) -> Explanation:
    return Explanation(
        id=ID, target="A/b", status="paused", _paragraph="It is paused.", facts=(), chain=link_frame((), {}, None),
        _choices=(), source="prod", version="1.7.12", read_at=datetime.now(UTC), waiters=(), link=link,
    )  # fmt: skip


def test_a_card_has_a_plain_link_only_with_an_address() -> None:
    link = build_link(BASE, HOSTILE, "invocation", ID)
    card = explanation(link)._repr_html_()
    assert f'<a href="{escape(link)}" target="_blank" rel="noopener noreferrer"' in card
    assert "<script" not in card
    assert "<a " not in explanation("")._repr_html_()
