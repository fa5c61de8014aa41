"""The application: finds the page of a path, records each access, and turns errors into short pages."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import parse_qs, quote, urlencode

from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from restate_lab.analysis.times import is_relative, to_datetime
from restate_lab.audit import AuditLog
from restate_lab.calls import without_options
from restate_lab.errors import (
    AccessDenied,
    ArgumentError,
    AuditFailed,
    NotFound,
    NotOnThisServer,
    RestateLabError,
    StatementError,
    TimedOut,
)
from restate_lab.export.json_text import json_text
from restate_lab.serve.page import AT, SOURCE, PageRequest, WebPage, exact_time
from restate_lab.serve.pages import PAGES
from restate_lab.serve.readings import EarlierReadings, Readings, TooManyReadings
from restate_lab.serve.records import AccessRecords
from restate_lab.serve.rendering import asset, render_page
from restate_lab.sources import Sources

SCRIPT = "/page.js"
NO_PAGE = "?"
"""The name of the page of a path that no page has."""
_JSON = ".json"
_HOME = "index"  # the name of the first page in the path of its data
_GRACE = 2.0  # seconds after the time limit, in which a reading reports that it was reached
_MOST_FIELDS = 200  # of a query
_MOST_RECORDED = 1_000  # characters of an error in the audit log
_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (ArgumentError, 400),
    (StatementError, 400),
    (NotFound, 404),
    (NotOnThisServer, 404),
    (TimedOut, 504),
    (AuditFailed, 503),
    (TooManyReadings, 503),
    (AccessDenied, 502),
    (RestateLabError, 502),
)
"""An error of the library → the status of the page; the first class that fits."""


def status_of(error: Exception) -> int:
    """Return the HTTP status of a page that failed."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


class PageAddress(NamedTuple):
    """The parts of a path: "/invocation/inv_1.json" is the page "invocation" about "inv_1" as JSON."""

    name: str
    argument: str
    is_json: bool


def address_of(path: str) -> PageAddress:
    """Return the parts of a path; the name is ``NO_PAGE`` for the path of no page, such as "//" and "/waits/"."""
    is_json = path.endswith(_JSON)
    begin, *parts = path.removesuffix(_JSON).split("/", 2)
    if begin or not parts or not parts[-1] or not parts[0]:
        return PageAddress("" if path == "/" else NO_PAGE, "", is_json)
    is_home = is_json and parts == [_HOME]
    return PageAddress("" if is_home else parts[0], "".join(parts[1:]), is_json)


class PageServer:
    """The application behind the guard: finds the page of a path, and records each access before it answers.

    ``timeout`` is the limit of a page, in seconds.
    """

    def __init__(self, sources: Sources, *, timeout: float, payloads: bool, audit: AuditLog) -> None:
        self._limit = timeout + _GRACE
        self._readings = {name: Readings(name, each, longest=self._limit) for name, each in sources.items()}
        self._earlier = EarlierReadings()
        self._timeout, self._payloads = timeout, payloads
        self.records = AccessRecords(audit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request with a page, also if something unexpected fails."""
        response = _script() if scope["path"] == SCRIPT else _redirect(scope) or await self._answer(scope)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope) -> Response:
        """Return the page of a request; what cannot be recorded is not shown."""
        started, address = time.monotonic(), address_of(scope["path"])
        params: dict[str, list[str]] = {}
        error: Exception | None = None
        try:
            params = _params(scope)
            page = await self._page(address, params)
            # Not in the event loop: a long list or journal takes some tenths of a second.
            body, media_type = await asyncio.to_thread(self._body, page, address.name, is_json=address.is_json)
        except Exception as problem:  # noqa: BLE001 - no traceback may reach a viewer
            error, page = problem, _failure(problem)
            body, media_type = self._body(page, address.name, is_json=address.is_json)
        unwritten = await self.records.write(
            scope,
            params,
            source=self._source(params),
            bytes=len(body),
            milliseconds=round((time.monotonic() - started) * 1000),
            error=None if error is None else describe_error(error),
        )
        if unwritten is not None:
            error = AuditFailed(unwritten)
            page = _failure(error)
            body, media_type = self._body(page, address.name, is_json=address.is_json)
        headers = {"Retry-After": str(error.retry_after)} if isinstance(error, TooManyReadings) else {}
        if page.file and not address.is_json:
            headers["Content-Disposition"] = f'attachment; filename="{page.file}"'
        return Response(body, page.status, headers, media_type)

    async def _page(self, address: PageAddress, params: Mapping[str, Sequence[str]]) -> WebPage:
        function = PAGES.get(address.name)
        if function is None:
            names = ", ".join(f"/{name}" for name in PAGES)
            raise NotFound(f"there is no such page; choose from {names}.", status=404)
        source = self._source(params)
        if source is None:
            names = ", ".join(params[SOURCE])[:100]
            raise ArgumentError(f"unknown source {names!r}; choose from {', '.join(self._readings)}.")
        ends, readings, at = time.monotonic() + self._limit, self._readings[source], _time_of(params)
        if at is not None:
            readings = await self._earlier.at(readings, at, timeout=self._timeout, within=self._limit)
        request = PageRequest(
            readings,
            self._readings,
            {name: values for name, values in params.items() if name not in {SOURCE, AT}},
            address.argument,
            payloads=self._payloads,
            is_named=SOURCE in params or at is not None,
            timeout=self._timeout,
            ends=ends,
            name=address.name,
        )
        return replace(await function(request), request=request)

    def _source(self, params: Mapping[str, Sequence[str]]) -> str | None:
        """Return the name of the source of a page; None if there is no such source."""
        names = params.get(SOURCE) or [next(iter(self._readings))]
        return names[0] if len(names) == 1 and names[0] in self._readings else None

    def _body(self, page: WebPage, name: str, *, is_json: bool) -> tuple[bytes, str]:
        if is_json:
            return json_text(page.data).encode(), "application/json"
        return render_page(page, name=name).encode("utf-8", "backslashreplace"), "text/html; charset=utf-8"

    def close(self) -> None:
        """Let no other reading begin."""
        for each in self._readings.values():
            each.close()
        self._earlier.close()


def _params(scope: Scope) -> dict[str, list[str]]:
    query = scope["query_string"].decode("latin-1")
    try:
        return parse_qs(query, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise ArgumentError(f"the address has more than {_MOST_FIELDS} parameters.") from error


def _time_of(params: Mapping[str, Sequence[str]]) -> datetime | None:
    """Return the time of an address; None is the present. A relative one is rounded down, so that viewers share it.

    Raises:
        ArgumentError: there are several, or it is not a time.
    """
    texts = [each for each in params.get(AT, ()) if each]
    if len(texts) > 1:
        raise ArgumentError(f"{AT} has {len(texts)} values; pass one.")
    if not texts:
        return None
    at = to_datetime(texts[0], now=datetime.now(UTC), name=AT)
    return at.replace(microsecond=0) if is_relative(texts[0]) else at


def _redirect(scope: Scope) -> Response | None:
    """Return the redirect from a relative time to its timestamp, so that a copied link shows the same time later.

    Programs get the data of a relative time at once.
    """
    address = address_of(scope["path"])
    if address.name not in PAGES or address.is_json:
        return None
    try:
        params = _params(scope)
        at = _time_of(params)
    except ArgumentError:
        return None  # the page of this address states it
    if at is None or not is_relative("".join(params[AT])):
        return None
    query = urlencode({**params, AT: exact_time(at)}, doseq=True)
    return RedirectResponse(f"{quote(scope['path'])}?{query}", 303)


def _failure(error: Exception) -> WebPage:
    is_known = isinstance(error, RestateLabError | TooManyReadings)
    text = (
        without_options(str(error))
        if is_known
        else f"An internal error ({type(error).__name__}); this is a bug in restate_lab."
    )
    return WebPage("This page could not be made", [text], {"error": text}, status_of(error))


def describe_error(error: Exception) -> str:
    """Return an error for the audit log: its message or, of a bug, where it was raised."""
    if isinstance(error, RestateLabError | TooManyReadings):
        return f"{type(error).__name__}: {error}"[:_MOST_RECORDED]
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {place.name} of {place.filename}, line {place.lineno}"


def _script() -> Response:
    return Response(asset("page.js"), media_type="text/javascript")
