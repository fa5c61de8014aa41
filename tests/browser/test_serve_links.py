"""Links to served pages in a real browser: a click on another site opens the page, and that site reads nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Response, expect

from support.page_servers import RunningPages, running_pages
from support.raw_server import RawServer, raw_server
from support.sample_rows import SampleRows

REFUSED = "This page needs a link from the server."
PROBE = """async base => {
    const seen = {};
    for (const mode of ["cors", "no-cors"]) {
        try {
            const response = await fetch(base + "/waits", {mode, credentials: "include"});
            seen[mode] = response.type + " " + await response.text();
        } catch (error) { seen[mode] = "failed"; }
    }
    const frame = document.createElement("iframe");
    frame.src = base + "/waits";
    const loaded = new Promise(done => { frame.onload = done; });
    document.body.append(frame);
    await loaded;
    try { seen.frame = frame.contentDocument ? "readable" : "closed"; } catch (error) { seen.frame = "closed"; }
    return seen; }"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPages]:
    with running_pages({"made": SampleRows()}, tmp_path_factory.mktemp("audit")) as running:
        yield running


@pytest.fixture
def chat(pages: RunningPages) -> Iterator[RawServer]:
    """Give a page on another site, localhost, with links to 127.0.0.1."""
    body = f'<a href="{pages.new_link()}">login</a> <a href="{pages.url}/waits">waits</a>'.encode()
    response = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)

    def respond(connection: socket.socket, _request: bytes) -> bool:
        connection.sendall(response)
        return True

    with raw_server(respond=respond) as server:
        server.address = server.address.replace("127.0.0.1", "localhost")
        yield server


def statuses(page: Page, pages: RunningPages) -> list[tuple[str, int]]:
    """Return a list that gets the path and the status of each document that the page loads."""
    loaded: list[tuple[str, int]] = []

    def note(response: Response) -> None:
        if response.url.startswith(pages.url) and response.request.resource_type == "document":
            loaded.append((response.url.removeprefix(pages.url).partition("?")[0], response.status))

    page.on("response", note)
    return loaded


def test_a_click_on_another_site_opens_the_page(browser: Browser, pages: RunningPages, chat: RawServer) -> None:
    """A strict cookie is not sent after such a click, so the page loads itself once; then the cookie is sent."""
    with browser.new_context() as context:
        page = context.new_page()
        loaded = statuses(page, pages)
        page.goto(chat.address)
        page.click("text=login")
        expect(page.locator("main")).to_contain_text("made")
        assert page.url == f"{pages.url}/"
        assert page.evaluate("document.referrer") == ""
        assert loaded[0] == ("/login", 303)
        assert set(loaded[1:]) <= {("/", 401), ("/", 200)}
        assert loaded[-1] == ("/", 200)
        loaded.clear()
        page.goto(chat.address)
        page.click("text=waits")
        expect(page.locator("main")).to_contain_text("Waits")
        assert loaded == [("/waits", 401), ("/waits", 200)]
        (cookie,) = context.cookies(pages.url)
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert page.evaluate("document.cookie") == ""
        page.goto(chat.address)
        seen = page.evaluate(PROBE, pages.url)
        assert seen == {"cors": "failed", "no-cors": "failed", "frame": "closed"}, "CORP and frame-ancestors"


def test_a_click_without_a_cookie_does_not_load_again_and_again(
    browser: Browser, pages: RunningPages, chat: RawServer
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        loaded = statuses(page, pages)
        page.goto(chat.address)
        page.click("text=waits")
        expect(page.get_by_role("heading")).to_have_text(REFUSED)
        page.wait_for_timeout(500)
        assert loaded == [("/waits", 401), ("/waits", 401)]
        page.goto(f"{pages.url}/")
        expect(page.get_by_role("heading")).to_have_text(REFUSED)
        assert loaded[2:] == [("/", 401)]
