"""Access to pages: a token, one-time links that become a cookie, and the only names under which the server answers.

Everything is refused before a page is looked for: another ``Host``, another method than GET and HEAD, and a request
without the token or the cookie. So a viewer without access cannot tell which pages exist.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from restate_lab._html import render
from restate_lab.redaction import Secret

LOGIN, HEALTH, LINK = "/login", "/health", "/link"
CODE = "code"
"""The parameter of a link, whose value is never recorded."""
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
"""The headers of every response, which the web server adds."""
_COOKIE = "restate_lab"
_SESSION = 12 * 3_600  # seconds
_CODE_LIFETIME = 3_600  # seconds for which a link can be used
_MOST_CODES = 100
_LONGEST_ADDRESS = 8_000  # characters
_MOST_DIGITS = 12  # of the end of a cookie, in seconds since 1970


class Access:
    """The token, the unused codes, and the cookies that they become.

    A cookie is its end and a signature with the token, so that it is valid after a restart with the same token.
    """

    def __init__(self, token: Secret, *, name: str = _COOKIE, is_secure: bool = False) -> None:
        self._token, self._is_secure = token, is_secure
        self._name = f"__Host-{name}" if is_secure else name
        self._codes: dict[bytes, float] = {}

    def new_code(self) -> Secret:
        """Return a code that can be exchanged once, within an hour; only its hash is kept."""
        now = time.time()
        self._codes = {code: end for code, end in self._codes.items() if end > now}
        while len(self._codes) >= _MOST_CODES:
            del self._codes[next(iter(self._codes))]
        code = Secret(secrets.token_urlsafe(24))
        self._codes[_hash(code.reveal())] = now + _CODE_LIFETIME
        return code

    def use_code(self, code: str) -> bool:
        """Return whether the code is valid; it is not valid a second time.

        A hash is looked up, so the time of the comparison says nothing about the code.
        """
        return self._codes.pop(_hash(code), 0.0) > time.time()

    def has_token(self, headers: Headers) -> bool:
        """Return whether the request has the token, as ``Authorization: Bearer``."""
        values = headers.getlist("authorization")
        kind, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
        return kind.lower() == "bearer" and _equal(token.strip(), self._token.reveal())

    def has_cookie(self, headers: Headers) -> bool:
        """Return whether the request has a valid cookie."""
        pairs = [part.strip().partition("=") for each in headers.getlist("cookie") for part in each.split(";")]
        return any(name == self._name and self._is_valid(value) for name, _, value in pairs)

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
        if not (end.isascii() and end.isdigit() and len(end) <= _MOST_DIGITS):
            return False
        return _equal(signature, self._sign(end)) and int(end) > time.time()


class Guard:
    """Answers what needs no page, and refuses what may not see one.

    ``hosts`` are the values of ``Host`` that it accepts. ``on_login`` is called with a request whose code was
    valid; if it returns a text, this is why the viewer does not get a cookie. ``new_link`` returns a new one-time link.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        hosts: Collection[str],
        *,
        on_login: Callable[[Scope], Awaitable[str | None]],
        new_link: Callable[[], Secret],
    ) -> None:
        self._app, self._access = app, access
        self._hosts = frozenset(each.lower() for each in hosts)
        self._on_login, self.new_link = on_login, new_link

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "http":  # neither a lifespan nor a web socket, which the web server does not offer
            answer = await self._answer(scope)
            await (self._app if answer is None else answer)(scope, receive, send)

    async def _answer(self, scope: Scope) -> Response | None:
        """Return the answer to a request that needs no page; None if the viewer may see one."""
        headers, path = Headers(scope=scope), scope["path"]
        if "content-length" in headers and "transfer-encoding" in headers:
            # A proxy that prefers the length could take the rest for another request.
            return PlainTextResponse("The request has two lengths.\n", 400, {"Connection": "close"})
        if refusal := self._refuse(scope, headers.getlist("host")):
            return refusal
        if path == HEALTH:
            return PlainTextResponse("ok\n")
        if path == LOGIN:
            return await self._log_in(scope, headers)
        has_token = self._access.has_token(headers)
        if path == LINK and has_token:
            return self._link(scope)
        is_allowed = path != LINK and (has_token or self._access.has_cookie(headers))
        return None if is_allowed else _refusal(401, "This page needs a link from the server.", scope, headers)

    def _refuse(self, scope: Scope, hosts: Sequence[str]) -> Response | None:
        """Return the answer to a request that is for another server, changes something, or is too long."""
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return PlainTextResponse("This server has another name.\n", 421)
        if scope["method"] not in {"GET", "HEAD"}:
            return PlainTextResponse("Pages can only be read.\n", 405, {"Allow": "GET, HEAD"})
        if len(scope["path"]) + len(scope["query_string"]) > _LONGEST_ADDRESS:
            return PlainTextResponse(f"The address has more than {_LONGEST_ADDRESS:,} characters.\n", 414)
        return None

    def _link(self, scope: Scope) -> Response:
        if scope["method"] == "HEAD":
            return PlainTextResponse()
        return PlainTextResponse(f"{self.new_link().reveal()}\n")

    async def _log_in(self, scope: Scope, headers: Headers) -> Response:
        """Exchange a code for a cookie; HEAD does not use it up, because programs that preview links send it.

        A viewer with a cookie needs no code: a browser can load a link before its user opens it.
        """
        if self._access.has_cookie(headers):
            return RedirectResponse("/", 303)
        codes = parse_qs(scope["query_string"].decode("ascii", "replace"), max_num_fields=None).get(CODE, [])
        if scope["method"] == "HEAD" or len(codes) != 1 or not self._access.use_code(codes[0]):
            return _refusal(401, "This link was already used, or has expired.", scope, headers)
        if problem := await self._on_login(scope):
            return _refusal(503, problem, scope, headers)
        response = RedirectResponse("/", 303)
        self._access.set_cookie(response)
        return response


def _refusal(status: int, text: str, scope: Scope, headers: Headers) -> Response:
    challenge = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if scope["path"].endswith(".json"):
        body = json.dumps({"error": text})
        return PlainTextResponse(f"{body}\n", status, challenge, media_type="application/json")
    # A browser does not send a strict cookie after a click on another site, but it does when the page loads itself.
    loads_again = (
        headers.get("sec-fetch-site") == "cross-site"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )
    return HTMLResponse(render("serve/refused.html.j2", text=text, loads_again=loads_again), status, challenge)


def _hash(code: str) -> bytes:
    return hashlib.sha256(code.encode("utf-8", "replace")).digest()


def _equal(given: str, expected: str) -> bool:
    """Compare in constant time; texts of a request can have any character."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("utf-8", "replace"))
