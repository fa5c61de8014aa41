"""Send spans to a collector or trace store over OTLP (HTTP).

OpenTelemetry encodes the spans, and our own transport sends them. OpenTelemetry's exporter would take headers, proxies
and passwords from the environment, and it accepts redirects, login pages and rejected spans as a success.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, Self, TypeAlias

import httpx

from restate_lab._text import format_duration, one_line
from restate_lab.client._bodies import BodyLimitTransport
from restate_lab.client._http import CONNECT_LIMIT, route_to
from restate_lab.client.responses import is_page, read_error_response, retry_after
from restate_lab.errors import MissingExtra, ServerFailed
from restate_lab.redaction import Secret, is_secret_header, mask_secrets

_AT_ONCE = 500  # spans in one request
_MOST_BYTES = 1 << 20  # of a response
_SHORTEST_SECRET = 6  # characters; a shorter value occurs in many texts
_TEMPORARY = frozenset({429, 502, 503, 504})  # statuses after which OTLP repeats a request
_FIRST_PAUSE = 0.5  # seconds
_OWN_HEADERS = MappingProxyType({"content-type": "application/x-protobuf", "accept-encoding": "identity"})

RoleInCall: TypeAlias = Literal["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]
"""OpenTelemetry's kind of a span."""


@dataclass(frozen=True, slots=True)
class SpanLink:
    """A relation of a span to another one of the same trace that is not its parent."""

    span_id: int
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """One span: times in nanoseconds since 1970, ids as numbers. ``error`` is the message of a failed span.

    An attribute of None is not sent.
    """

    name: str
    trace_id: int
    span_id: int
    parent_id: int | None
    start: int
    end: int
    attributes: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    error: str | None = None
    role: RoleInCall = "INTERNAL"
    links: Sequence[SpanLink] = ()


def stable_id(length: int, *parts: object) -> int:
    """Return an id of so many bytes that is always the same for these parts, and not 0."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:length]) or 1


def nanoseconds(time: datetime) -> int:
    """Return a time as nanoseconds since 1970, in whole microseconds."""
    return int(time.timestamp() * 1_000_000) * 1_000


def send_spans(spans: Sequence[SpanRecord], endpoint: str, *, headers: Mapping[str, Secret], seconds: float) -> None:
    """Send the spans; ``seconds`` limits each request with its repetitions.

    Raises:
        MissingExtra: OpenTelemetry is not installed.
        SettingsError: the proxy in the environment cannot be used.
        ServerFailed: a request failed, or spans were rejected; spans of earlier requests have arrived.
    """
    library = _Library()
    with _Collector(endpoint, headers, seconds) as collector:
        for start in range(0, len(spans), _AT_ONCE):
            status, problem = collector.send(library.encode(spans[start : start + _AT_ONCE]), library)
            if problem:
                raise ServerFailed(
                    f"{endpoint}{collector.description} did not accept the spans: {problem}. {start:,} of "
                    f"{len(spans):,} spans have arrived before; sending all of them again creates no duplicates.",
                    status=status,
                    reason=problem,
                )


class _Collector:
    """The connection to an endpoint: no redirects, nothing from the environment but a proxy, none for loopback."""

    def __init__(self, endpoint: str, headers: Mapping[str, Secret], seconds: float) -> None:
        route = route_to(endpoint, None)
        self.description = route.description
        self._endpoint, self._headers, self._seconds = endpoint, headers, seconds
        self._client = httpx.Client(transport=BodyLimitTransport(route.network), trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def send(self, body: bytes, library: _Library) -> tuple[int, str]:
        """Return the status of the response (0 without one), and why the spans were not accepted; "" if they were."""
        ends, pause = time.monotonic() + self._seconds, _FIRST_PAUSE
        while True:
            try:
                response = self._post(body, ends)
            except httpx.HTTPError as error:
                return 0, self._describe(error)
            wait = retry_after(response) or pause
            if response.status_code not in _TEMPORARY or time.monotonic() + wait > ends:
                return response.status_code, one_line(self._mask(_problem_of(response, library)), 600)
            time.sleep(wait)
            pause *= 2

    def _post(self, body: bytes, ends: float) -> httpx.Response:
        left = max(0.01, ends - time.monotonic())
        headers = httpx.Headers({name: value.reveal() for name, value in self._headers.items()})
        headers.update(_OWN_HEADERS)
        return self._client.post(
            self._endpoint,
            content=body,
            headers=headers,
            timeout=httpx.Timeout(left, connect=min(left, CONNECT_LIMIT)),
            extensions={"deadline": ends, "body_limit": _MOST_BYTES},
        )

    def _describe(self, error: httpx.HTTPError) -> str:
        if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
            return f"no response within {format_duration(self._seconds)}"
        what = "no connection: " if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) else ""
        return f"{what}{one_line(self._mask(str(error)))}"

    def _mask(self, text: str) -> str:
        values = {name: value.reveal() for name, value in self._headers.items()}
        secrets = [each for name, each in values.items() if is_secret_header(name) or len(each) >= _SHORTEST_SECRET]
        return mask_secrets(text, filter(None, [*secrets, *(each.rpartition(" ")[2] for each in secrets)]))


def _problem_of(response: httpx.Response, library: _Library) -> str:
    """Return why a response does not confirm that all spans were accepted; "" if it does."""
    if response.has_redirect_location:
        target = response.headers["location"]
        return f"{response.status_code}, a redirect to {target}, which is not followed; use the address of the endpoint"
    if not response.is_success or is_page(response):
        return read_error_response(response).summary
    try:
        rejected, message = library.read_rejected(response)
    except ValueError:
        return f"{response.status_code}, and the response is not OTLP"
    return f"it rejected {rejected:,} spans ({message or 'without a message'})" if rejected else ""


class _Library:
    """The classes of OpenTelemetry, which is an optional part."""

    def __init__(self) -> None:
        try:
            from google.protobuf.message import DecodeError  # noqa: PLC0415 - these are in the extra "agents"
            from opentelemetry import trace  # noqa: PLC0415
            from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans  # noqa: PLC0415
            from opentelemetry.proto.collector.trace.v1 import trace_service_pb2  # noqa: PLC0415
            from opentelemetry.sdk import trace as sdk  # noqa: PLC0415
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        except ImportError as error:
            raise MissingExtra("spans are encoded by OpenTelemetry: pip install 'restate-lab[agents]'.") from error
        self._trace, self._sdk, self._encode, self._messages = trace, sdk, encode_spans, trace_service_pb2
        self._decode_error = DecodeError
        self._resource = Resource({"service.name": "restate_lab"})

    def encode(self, records: Sequence[SpanRecord]) -> bytes:
        encoded: bytes = self._encode([self._span(each) for each in records]).SerializeToString()
        return encoded

    def read_rejected(self, response: httpx.Response) -> tuple[int, str]:
        """Return the number of rejected spans, and the message of the endpoint.

        Raises:
            ValueError: the body is neither of the two forms of OTLP, although its content type is.
        """
        kind = response.headers.get("content-type", "")
        if "json" in kind:
            found = json.loads(response.content or b"{}")
            partial = found.get("partialSuccess") if isinstance(found, dict) else None
            partial = partial if isinstance(partial, dict) else {}
            return int(partial.get("rejectedSpans") or 0), str(partial.get("errorMessage", ""))
        try:
            partial = self._messages.ExportTraceServiceResponse.FromString(response.content).partial_success
        except self._decode_error as error:
            if "protobuf" in kind:
                raise ValueError("not protobuf") from error
            return 0, ""  # some stores respond with a text
        return partial.rejected_spans, partial.error_message

    def _span(self, record: SpanRecord) -> Any:
        code = self._trace.StatusCode.UNSET if record.error is None else self._trace.StatusCode.ERROR
        return self._sdk.ReadableSpan(
            _encodable(record.name),
            context=self._context(record.trace_id, record.span_id),
            parent=None if record.parent_id is None else self._context(record.trace_id, record.parent_id),
            resource=self._resource,
            attributes=_sent(record.attributes),
            kind=self._trace.SpanKind[record.role],
            links=[self._link(record.trace_id, each) for each in record.links],
            start_time=record.start,
            end_time=record.end,
            status=self._trace.Status(code, None if record.error is None else _encodable(record.error)),
        )

    def _link(self, trace_id: int, link: SpanLink) -> Any:
        return self._trace.Link(self._context(trace_id, link.span_id), _sent(link.attributes))

    def _context(self, trace_id: int, span_id: int) -> Any:
        flags = self._trace.TraceFlags(self._trace.TraceFlags.SAMPLED)
        return self._trace.SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags)


def _sent(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _encodable(value) if isinstance(value, str) else value
        for name, value in attributes.items()
        if value is not None
    }


def _encodable(text: str) -> str:
    """Return a text without halves of characters, such as a name that was cut within an emoji."""
    return text.encode("utf-8", "replace").decode()
