"""Access to pages: a token, one-time links that become a cookie, and the only names under which the server answers.

Everything is refused before a page is looked for: another ``Host``, another method than GET and HEAD, and a request
without the token or the cookie. So a viewer without access cannot tell which pages exist.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from restate_lab._html import render
from restate_lab.redaction import Secret

LOGIN, HEALTH, LINK = "/login", "/health", "/link"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""The headers of every response."""
_COOKIE = "restate_lab"
_SESSION = 12 * 3_600  # seconds
_CODE = 3_600  # seconds for which a link can be used
_MOST_CODES = 100


class Access:
    """The token, the unused codes, and the cookies that they become.

    A cookie is its end and a signature with the token, so that it is valid after a restart with the same token.
    """

    def __init__(self, token: Secret, *, name: str = _COOKIE, is_secure: bool = False) -> None:
        self._token, self._is_secure = token, is_secure
        self._name = f"__Host-{name}" if is_secure else name
        self._codes: dict[str, float] = {}

    def new_code(self) -> str:
        """Return a code that can be exchanged once, within an hour."""
        now = time.time()
        self._codes = {code: end for code, end in self._codes.items() if end > now}
        while len(self._codes) >= _MOST_CODES:
            del self._codes[next(iter(self._codes))]
        code = secrets.token_urlsafe(24)
        self._codes[code] = now + _CODE
        return code

    def use_code(self, code: str) -> bool:
        """Return whether the code is valid; it is not valid a second time."""
        found = [each for each in self._codes if _equal(each, code)]
        return any(self._codes.pop(each) > time.time() for each in found)

    def has_token(self, headers: Headers) -> bool:
        """Return whether the request has the token, as ``Authorization: Bearer``."""
        values = headers.getlist("authorization")
        kind, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
        return kind.lower() == "bearer" and _equal(token.strip(), self._token.reveal())

    def has_cookie(self, headers: Headers) -> bool:
        """Return whether the request has a valid cookie."""
        return any(self._is_valid(each) for each in _cookies(headers, self._name))

    def set_cookie(self, response: Response) -> None:
        """Give the response a cookie, for 12 hours."""
        end = str(int(time.time()) + _SESSION)
        response.set_cookie(
            self._name,
            f"{end}.{self._sign(end)}",
            max_age=_SESSION,
            httponly=True,
            samesite="strict",
            secure=self._is_secure,
        )

    def _sign(self, end: str) -> str:
        return hmac.new(self._token.reveal().encode(), f"cookie {end}".encode(), hashlib.sha256).hexdigest()

    def _is_valid(self, cookie: str) -> bool:
        end, _, signature = cookie.partition(".")
        is_number = end.isascii() and end.isdigit() and len(end) <= 12
        return _equal(signature, self._sign(end)) and is_number and int(end) > time.time()


class Guard:
    """Answers what needs no page, refuses what may not see one, and gives every response its headers."""

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        hosts: Collection[str],
        *,
        on_login: Callable[[], None],
        new_link: Callable[[], str],
    ) -> None:
        self._app, self._access = app, access
        self._hosts = frozenset(each.lower() for each in hosts)
        self._on_login, self._new_link = on_login, new_link

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":  # a lifespan or a web socket, which uvicorn does not offer
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        answer = self._answer(scope)
        await (self._app if answer is None else answer)(scope, receive, send_with_headers)

    def _answer(self, scope: Scope) -> Response | None:
        """Return the answer to a request that needs no page; None if the viewer may see one."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return PlainTextResponse("This server has another name.\n", 421)
        if scope["method"] not in {"GET", "HEAD"}:
            return PlainTextResponse("Pages can only be read.\n", 405, {"Allow": "GET, HEAD"})
        if scope["path"] == LOGIN:
            return self._log_in(scope)
        if scope["path"] == HEALTH:
            return PlainTextResponse("ok\n")
        has_token = self._access.has_token(headers)
        if scope["path"] == LINK and has_token:
            return PlainTextResponse(f"{self._new_link()}\n")
        is_allowed = scope["path"] != LINK and (has_token or self._access.has_cookie(headers))
        return None if is_allowed else _refusal(scope, headers)

    def _log_in(self, scope: Scope) -> Response:
        """Exchange a code for a cookie; HEAD does not use it up, because programs that preview links send it."""
        codes = parse_qs(scope["query_string"].decode("ascii", "replace")).get("code", [""])
        if scope["method"] == "GET" and self._access.use_code(codes[0]):
            response = RedirectResponse("/", 303)
            self._access.set_cookie(response)
            self._on_login()
            return response
        return _page(401, "This link was already used, or has expired.")


def _refusal(scope: Scope, headers: Headers) -> Response:
    if scope["path"].endswith(".json"):
        return PlainTextResponse('{"error": "This page needs the token."}\n', 401, media_type="application/json")
    # A browser does not send a strict cookie after a click on another site, but it does when the page loads itself.
    is_from_elsewhere = headers.get("sec-fetch-site") == "cross-site"
    return _page(401, "This page needs a link from the server.", loads_again=is_from_elsewhere)


def _page(status: int, text: str, *, loads_again: bool = False) -> Response:
    return HTMLResponse(render("serve/refused.html.j2", text=text, loads_again=loads_again), status)


def _cookies(headers: Headers, name: str) -> list[str]:
    values = []
    for header in headers.getlist("cookie"):
        for part in header.split(";"):
            try:
                cookie = SimpleCookie(part.strip())
            except CookieError:
                continue
            values += [each.value for key, each in cookie.items() if key == name]
    return values


def _equal(given: str, expected: str) -> bool:
    """Compare in constant time; texts of a request can have any character."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("utf-8", "replace"))
