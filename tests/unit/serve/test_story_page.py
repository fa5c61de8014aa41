"""The page of a story: its address, its data, its links, and texts of the cluster in it."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.called_rows import CHARGE, HOSTILE_CALL, ORDER, OTHER, CalledRows, source_of
from support.page_servers import running_pages


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    CalledRows.go_on.set()
    folder: Path = tmp_path_factory.mktemp("audit")
    with running_pages({"prod": source_of()}, folder) as pages, pages.client() as client:
        yield client


def test_the_page_shows_the_story_with_links_to_its_members(client: httpx.Client) -> None:
    for path in (f"/story/{CHARGE}", f"/story?id=see+{CHARGE}+in+the+log"):
        page = client.get(path)
        assert page.status_code == 200, page.text
        assert "Orders/place and 2 invocations, 2m, open" in page.text
        assert all(f'<a href="/invocation/{each}"' in page.text for each in (ORDER, CHARGE, HOSTILE_CALL))
        assert OTHER not in page.text
        assert "&lt;img src=x" in page.text
        assert not any(each in page.text for each in ("<img", "\x1b", "\u202e"))


def test_the_data_has_the_members_and_the_search(client: httpx.Client) -> None:
    found = client.get(f"/story/{CHARGE}.json").json()
    assert [row["id"] for row in found["members"]] == [ORDER, CHARGE, HOSTILE_CALL]
    assert found["searched"] is False
    assert client.get(f"/story/{CHARGE}.json?search=yes").json()["searched"] is True


def test_the_page_links_to_a_search_and_back_and_the_invocation_to_its_story(client: httpx.Client) -> None:
    assert f'href="/story/{CHARGE}?search=yes"' in client.get(f"/story/{CHARGE}").text
    assert f'href="/story/{CHARGE}"' in client.get(f"/story/{CHARGE}?search=yes").text
    assert f'href="/story/{CHARGE}"' in client.get(f"/invocation/{CHARGE}").text


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/story", 400, "the address needs one id, key or trace"),
        (f"/story/{CHARGE}?key=a", 400, "the address needs one id, key or trace"),
        (f"/story/{CHARGE}?search=maybe", 400, "search is 'maybe'; choose from yes, no."),
        (f"/story/{CHARGE}?since=2h", 400, "since is only for a key"),
        ("/story/order-4711", 400, "order-4711"),
        (f"/story/{CHARGE[:-1]}7", 404, "retention is over"),
    ],
)
def test_a_wrong_address_states_what_is_allowed(client: httpx.Client, path: str, status: int, text: str) -> None:
    page = client.get(path)
    assert page.status_code == status, page.text
    assert text in html.unescape(page.text)
