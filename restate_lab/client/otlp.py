"""Send spans to a collector or trace store over OTLP (HTTP), with OpenTelemetry's own exporter."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

from restate_lab._text import one_line
from restate_lab.errors import MissingExtra, ServerFailed
from restate_lab.interrupts import Shield
from restate_lab.redaction import Secret

__all__ = ["SpanRecord", "send_spans"]

_AT_ONCE = 500  # spans in one request


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """One span: times in nanoseconds since 1970, ids as numbers. ``error`` is the message of a failed span."""

    name: str
    trace_id: int
    span_id: int
    parent_id: int | None
    start: int
    end: int
    attributes: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    error: str | None = None


def send_spans(spans: Sequence[SpanRecord], endpoint: str, *, headers: Mapping[str, Secret], seconds: float) -> None:
    """Send the spans; ``seconds`` limits each request with its repetitions.

    Raises:
        MissingExtra: OpenTelemetry's exporter is not installed.
        ServerFailed: a request failed; spans of earlier requests have arrived.
    """
    library = _Library()
    values = {name: value.reveal() for name, value in headers.items()}
    exporter = library.exporter(endpoint=endpoint, headers=values, timeout=seconds)
    try:
        for start in range(0, len(spans), _AT_ONCE):
            part = spans[start : start + _AT_ONCE]
            with _Messages() as messages:
                result = exporter.export([library.span(each) for each in part])
            if result is not library.success or messages.texts:
                reason = one_line("; ".join(messages.texts)) or "the exporter gives no reason"
                raise ServerFailed(
                    f"{endpoint} did not accept the spans: {reason}. {start:,} of {len(spans):,} spans have arrived; "
                    f"sending all of them again creates no duplicates.",
                    status=0,
                    reason=reason,
                )
    finally:
        exporter.shutdown()


class _Messages(logging.Handler):
    """Collects what the exporter logs: it reports failures only there."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []
        self._logger = logging.getLogger("opentelemetry.exporter")

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message of an error; a warning is about a repetition."""
        if record.levelno >= logging.ERROR:
            self.texts.append(record.getMessage())

    def __enter__(self) -> Self:
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)


class _Library:
    """The classes of OpenTelemetry, which is an optional part."""

    def __init__(self) -> None:
        try:
            with Shield():
                from opentelemetry import trace  # noqa: PLC0415 - part of the extra "agents"
                from opentelemetry.exporter.otlp.proto.http import trace_exporter  # noqa: PLC0415
                from opentelemetry.sdk import trace as sdk  # noqa: PLC0415
                from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
                from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415
        except ImportError as error:
            raise MissingExtra(
                "spans are sent with OpenTelemetry's exporter: pip install 'restate-lab[agents]'."
            ) from error
        self.exporter: Any = trace_exporter.OTLPSpanExporter
        self.success: Any = SpanExportResult.SUCCESS
        self._trace, self._sdk = trace, sdk
        self._resource = Resource({"service.name": "restate_lab"})

    def span(self, record: SpanRecord) -> Any:
        """Return a span of the library."""
        code = self._trace.StatusCode.UNSET if record.error is None else self._trace.StatusCode.ERROR
        return self._sdk.ReadableSpan(
            record.name,
            context=self._context(record.trace_id, record.span_id),
            parent=None if record.parent_id is None else self._context(record.trace_id, record.parent_id),
            resource=self._resource,
            attributes=dict(record.attributes),
            start_time=record.start,
            end_time=record.end,
            status=self._trace.Status(code, record.error),
        )

    def _context(self, trace_id: int, span_id: int) -> Any:
        flags = self._trace.TraceFlags(self._trace.TraceFlags.SAMPLED)
        return self._trace.SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags)
