"""Decompress response bodies in small steps and limit their size, so that no response can exhaust the memory.

httpx decompresses each received block at once and reads a body to its end: 64 kB of zstd can become 4 GB, and an error
page can be endless.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import cast

import httpx

from restate_lab.redaction import mask_secrets, secrets_in

BODY_LIMIT = 64 << 20  # bytes, of a successful response
ERROR_LIMIT = 1 << 20  # bytes, of any other response; the rest is not read
_STEP = 256  # bytes; four bytes of zstd can become 128 KiB, so a step returns at most 8 MiB
_BLOCK = 256 << 10  # bytes
_WINDOW = 8 << 20  # bytes; the maximum in RFC 9659 for zstd as a content encoding


class TooLarge(httpx.DecodingError):
    """A successful response has more bytes than its limit."""


class BodyLimitTransport(httpx.BaseTransport):
    """Forwards requests to another transport, and limits and decompresses the bodies of its responses.

    The request extension ``body_limit`` is the number of bytes that a successful response may have after
    decompression; None means no limit, and without the extension it is BODY_LIMIT. The extension ``deadline``
    (time.monotonic seconds) also applies while a body is read. No error shows the secret headers of the request.
    """

    def __init__(self, network: httpx.BaseTransport) -> None:
        self._network = network

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        try:
            response = self._network.handle_request(request)
        except httpx.TransportError as error:
            masked = mask_secrets(str(error), secrets_in(request.headers))
            if masked == str(error):
                raise
            raise type(error)(masked) from None  # the cause also has the secret text
        headers = [(name, value) for name, value in response.headers.raw if name.lower() != b"content-encoding"]
        body = _DecodedBody(request, response)
        return httpx.Response(response.status_code, headers=headers, stream=body, extensions=response.extensions)

    def close(self) -> None:
        self._network.close()


class _DecodedBody(httpx.SyncByteStream):
    """The decompressed body of one response.

    Iterating raises httpx.DecodingError if the body of a successful response cannot be read. For an error response,
    the body has the reason as text instead, because the status is more important.
    """

    def __init__(self, request: httpx.Request, response: httpx.Response) -> None:
        self._stream = cast("httpx.SyncByteStream", response.stream)
        self._is_success = response.is_success
        self._encoding = response.headers.get("content-encoding", "identity").strip().lower() or "identity"
        self._requested = request.headers.get("accept-encoding", "identity")
        self._deadline = request.extensions.get("deadline")
        self._limit = request.extensions.get("body_limit", BODY_LIMIT) if self._is_success else ERROR_LIMIT

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._limit_size()
        except httpx.DecodingError as error:
            if self._is_success:
                raise
            if not isinstance(error, TooLarge):
                yield f"({error})".encode()

    def close(self) -> None:
        self._stream.close()

    def _limit_size(self) -> Iterator[bytes]:
        left = self._limit
        for block in self._decode():
            if left is None:
                yield block
                continue
            yield block[:left]
            left -= len(block)
            if left < 0:
                raise TooLarge(f"the response body exceeds {self._limit >> 20} MiB, so the rest was not read")

    def _decode(self) -> Iterator[bytes]:
        if self._encoding == "identity":
            return self._receive()
        if self._encoding == "zstd" and self._requested == "zstd":
            return _decompress_zstd(self._receive())
        raise httpx.DecodingError(
            f"the response body has the content-encoding {self._encoding[:40]!r}, but {self._requested!r} was requested"
        )

    def _receive(self) -> Iterator[bytes]:
        for block in self._stream:
            if self._deadline is not None and time.monotonic() > self._deadline:
                raise httpx.ReadTimeout("the time limit of this call has passed")
            yield block


def _decompress_zstd(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress zstd frames in limited steps, and yield the data of each block in parts of about _BLOCK bytes.

    Raises:
        httpx.DecodingError: the data is damaged, or ends within a frame.
    """
    import zstandard  # noqa: PLC0415 - not needed on loopback

    frames = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    frame = None
    try:
        for block in blocks:
            joined = bytearray()
            for start in range(0, len(block), _STEP):
                rest = block[start : start + _STEP]
                while rest:
                    frame = frames.decompressobj() if frame is None or frame.eof else frame
                    joined += frame.decompress(rest)
                    rest = frame.unused_data if frame.eof else b""
                if len(joined) >= _BLOCK:
                    yield bytes(joined)
                    joined = bytearray()
            yield bytes(joined)
    except zstandard.ZstdError as error:
        raise httpx.DecodingError(f"the response body is not valid zstd data, its content-encoding: {error}") from error
    if frame is not None and not frame.eof:
        raise httpx.DecodingError("the zstd data of the response body ends too early")
