"""Contact a deployment's endpoint with recorded journals; no other module of restate_lab contacts a deployment.

An ``Endpoint`` sends requests to one address only: it follows no redirects, uses no proxy of the environment, and
registers nothing. Each request ends with the stop command, so no step runs (``messages.request_body``). If a response
shows that a step ran anyway, or that the code issued a command after the stop command, ``StepRan`` is raised. The first
bytes of a message show this, so neither the status nor the end of the response matters. Nothing is decompressed.

Observed with the SDKs for Python (0.10 to 1.3) and TypeScript (1.7 to 1.17). TypeScript's ``serve()`` takes HTTP/2 with
prior knowledge only. Hypercorn, which serves Python, closes a connection after 1,000 requests.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from restate_lab._text import format_duration, one_line
from restate_lab.client.arguments import path_segment
from restate_lab.client.endpoint.discovery import MANIFEST_TYPES, EndpointManifest, parse_manifest
from restate_lab.client.responses import connecting_reason
from restate_lab.errors import ServerFailed, StepRan, TimedOut, Unreachable
from restate_lab.protocol.messages import (
    ERROR,
    PROPOSE_RUN_COMPLETION,
    RUN_COMMAND,
    SUSPENSION,
    ErrorMessage,
    FrameReader,
    Message,
    Start,
    command_name,
    error_of,
    request_body,
)
from restate_lab.protocol.wire import text_of
from restate_lab.redaction import Secret, is_secret_header, mask_secrets

_RENEW_AFTER = 900  # requests; Hypercorn closes a connection after 1,000
_MOST_BYTES = 8 << 20  # of a response
_SHORTEST_SECRET = 6  # characters; a shorter value occurs in many texts
_CONNECT_LIMIT = 3.0  # seconds
_NOT_REQUESTED = "which was not requested"


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to one replayed journal: the HTTP status, the Error message, and whether the code was suspended.

    ``status`` is 0 if there was no response. ``problem`` describes a response that is missing or incomplete; "" if it
    arrived completely. ``is_timeout`` is True if the time limit was the reason. ``unreadable`` describes a response
    that arrived and was not read, such as "has the content-encoding 'gzip', which was not requested".
    """

    status: int = 0
    error: ErrorMessage | None = None
    is_suspended: bool = False
    problem: str = ""
    is_timeout: bool = False
    unreadable: str = ""


@dataclass(slots=True)
class Endpoint:
    """Requests to one address, one at a time; each worker has its own, with its own connection.

    ``timeout`` is the limit of one request in seconds. ``expire()`` and ``stop()`` are for another thread: they end a
    request that is over its limit, and every request from now on.
    """

    address: str
    headers: Mapping[str, Secret]
    timeout: float
    network: httpx.BaseTransport | None = None
    is_http2: bool = True
    _client: httpx.Client | None = None
    _sent: int = 0
    _ends: float | None = None
    _was_over: bool = False
    _is_stopped: bool = False
    _sockets: list[socket.socket] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def sibling(self) -> Endpoint:
        """Return an endpoint for another worker."""
        return Endpoint(self.address, self.headers, self.timeout, self.network, self.is_http2)

    def discover(self) -> EndpointManifest:
        """Ask for the handlers; HTTP/2 with prior knowledge first, then HTTP/1.1.

        Raises:
            Unreachable, TimedOut: there was no response.
            ServerFailed: the response is not that of a Restate endpoint.
        """
        try:
            response = self._discover()
        except httpx.ConnectError as error:
            raise Unreachable(f"Cannot reach {self.address}: {connecting_reason(error)}. Check the address.") from error
        except httpx.TimeoutException as error:
            limit = format_duration(self.timeout)
            raise TimedOut(f"{self.address}/discover did not respond within {limit}; check the process.") from error
        except httpx.HTTPError as error:
            raise Unreachable(f"{self.address}/discover did not respond: {self._mask(str(error))}") from error
        if response.status_code in {401, 403}:
            return EndpointManifest(status=response.status_code)
        manifest = parse_manifest(response) if response.status_code == 200 else None
        if manifest is None:
            raise ServerFailed(
                f"{self.address}/discover answered with status {response.status_code} and without a manifest: no "
                f"Restate endpoint is at this address.",
                status=response.status_code,
            )
        return manifest

    def replay(self, service: str, handler: str, start: Start, entries: Sequence[Message]) -> Answer:
        """Send a recorded journal with the stop command, and return how the code responds.

        A request whose connection breaks is sent once more on a new connection; that changes nothing.

        Raises:
            StepRan: the response shows that a step ran or began to run, or that the code passed the stop command.
        """
        path = f"/invoke/{path_segment(service)}/{path_segment(handler)}"
        content_type = f"application/vnd.restate.invocation.v{start.version}"
        headers = {"content-type": content_type, "accept": content_type}
        request = ("POST", path, headers, request_body(start, entries))
        about = f"{service}/{handler} ({start.debug_id})"
        answer = self._answer_to(request, about=about)
        is_broken = answer.problem and not answer.status and not answer.is_timeout
        return self._answer_to(request, about=about) if is_broken and not self._is_stopped else answer

    def expire(self) -> None:
        """End the current request if it is over its limit, also if the response arrives in very small parts."""
        if self._is_over():
            self._shut_down()

    def stop(self) -> None:
        """End the current request, and let all later ones fail at once."""
        self._is_stopped = True
        self._shut_down()

    def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _discover(self) -> httpx.Response:
        try:
            return self._get_manifest()
        except (httpx.ProtocolError, httpx.ReadError, httpx.ReadTimeout, httpx.WriteError):
            if httpx.URL(self.address).scheme == "https":  # TLS has negotiated the version
                raise
            self.close()
            self.is_http2 = False
            return self._get_manifest()

    def _get_manifest(self) -> httpx.Response:
        with self._send("GET", "/discover", {"accept": MANIFEST_TYPES}, b"") as response:
            if response.status_code != 200:
                return httpx.Response(response.status_code)
            if encoding := _unrequested_encoding(response):
                raise ServerFailed(
                    f"{self.address}/discover answered with the content-encoding {encoding!r}, {_NOT_REQUESTED}, so "
                    f"the response was not read. Use the deployment's own address, without a proxy.",
                    status=200,
                )
            blocks, size = [], 0
            for block in response.iter_raw():
                blocks.append(block)
                size += len(block)
                self._check_limits(size)
            return httpx.Response(200, headers=response.headers, content=b"".join(blocks))

    def _answer_to(self, request: tuple[str, str, dict[str, str], bytes], *, about: str) -> Answer:
        messages: list[Message] = []
        status, problem, frames = 0, "", FrameReader()
        try:
            with self._send(*request) as response:
                status = response.status_code
                if encoding := _unrequested_encoding(response):
                    return Answer(status, unreadable=f"has the content-encoding {encoding!r}, {_NOT_REQUESTED}")
                size = 0
                for block in response.iter_raw():
                    size += len(block)
                    for kind, body in frames.feed(block):
                        self._check_message(kind, body, about)
                        messages.append((kind, body))
                    self._check_message(frames.incomplete_type, b"", about)
                    self._check_limits(size)
        except (httpx.HTTPError, httpx.StreamError) as error:
            problem = self._describe(error, status)
            self.close()
            cause = error.__cause__ and error.__cause__.__context__
            # The head of a response over HTTP/1.1 is malformed; a closed connection has no such cause.
            if not status and type(cause).__module__.startswith("h11"):
                return Answer(unreadable=f"is not valid HTTP ({one_line(self._mask(str(error)))})")
        if status == 200 and not problem and not frames.is_complete:
            problem = "the response ended in the middle of a message"
        return self._to_answer(status, messages, problem)

    def _to_answer(self, status: int, messages: Sequence[Message], problem: str) -> Answer:
        errors = [error_of(body) for kind, body in messages if kind == ERROR]
        error = errors[-1] if errors else None
        if error is not None:
            error = ErrorMessage(
                error.code, self._mask(error.message), error.command_index, self._mask(error.name), error.command
            )
        is_suspended = any(kind == SUSPENSION for kind, _ in messages)
        return Answer(status, error, is_suspended, problem, is_timeout=bool(problem) and self._was_over)

    def _check_message(self, kind: int | None, body: bytes, about: str) -> None:
        """Raise StepRan if a message with this type shows that the SDK did not obey the stop command.

        The body is only for the name of a step, because it may not have arrived.
        """
        command = command_name(kind or 0)
        if kind in {PROPOSE_RUN_COMPLETION, RUN_COMMAND}:
            name = one_line(self._mask(text_of(body, 12))) if kind == RUN_COMMAND else ""
            event = f"a step{f' {name!r}' if name else ''} of {about} ran at {self.address}"
        elif command:
            event = f"{about} went on after its journal at {self.address} and issued {command}, so steps can have run"
        else:
            return
        raise StepRan(
            f"{event}: the SDK did not obey the stop command. The check was ended. Find out what the code did, and do "
            f"not check this deployment again."
        )

    @contextlib.contextmanager
    def _send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        if self._sent >= _RENEW_AFTER:
            self.close()
        if self._client is None:
            self._client, self._sent = self._new_client(), 0
        self._sent += 1
        # No header of the user replaces one of the request.
        fields = httpx.Headers({name: value.reveal() for name, value in self.headers.items()})
        fields.update({**headers, "accept-encoding": "identity"})
        self._ends = time.monotonic() + self.timeout
        try:
            self._check_limits(0)  # stop() can have been called before
            with self._client.stream(
                method,
                self.address + path,
                headers=fields,
                content=body,
                extensions={"trace": self._note_socket},
            ) as response:
                self._check_limits(0)
                yield response
        finally:
            self._was_over, self._ends = self._is_over(), None

    def _new_client(self) -> httpx.Client:
        is_tls = httpx.URL(self.address).scheme == "https"
        return httpx.Client(
            http1=is_tls or not self.is_http2,
            http2=is_tls or self.is_http2,
            timeout=httpx.Timeout(self.timeout, connect=min(self.timeout, _CONNECT_LIMIT)),
            limits=httpx.Limits(max_connections=1),
            follow_redirects=False,
            trust_env=False,  # no proxy, and no password of a .netrc file
            transport=self.network,
        )

    def _note_socket(self, event: str, info: Mapping[str, Any]) -> None:
        """Remember the socket of a new connection, so that another thread can end its requests."""
        if event in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            connected = info["return_value"].get_extra_info("socket")
            with self._lock:
                self._sockets = [*(each for each in self._sockets if each.fileno() >= 0), connected]
            if self._is_stopped:
                self._shut_down()

    def _shut_down(self) -> None:
        with self._lock:
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(each, socket.SHUT_RDWR)  # for TLS too, without a reply of the peer

    def _is_over(self) -> bool:
        ends = self._ends
        return ends is not None and time.monotonic() > ends

    def _check_limits(self, size: int) -> None:
        if self._is_stopped or self._is_over():
            raise httpx.ReadTimeout("the request is over its limit")
        if size > _MOST_BYTES:
            raise httpx.ReadError(f"the response has more than {_MOST_BYTES >> 20} MB")

    def _describe(self, error: Exception, status: int) -> str:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return f"no connection: {error}"
        if self._was_over or isinstance(error, httpx.TimeoutException):
            self._was_over = True
            return f"no complete response within {format_duration(self.timeout)}"
        what = "the response ended early" if status else "the connection ended without a response"
        return f"{what} ({one_line(self._mask(str(error) or type(error).__name__))})"

    def _mask(self, text: str) -> str:
        values = {name: value.reveal() for name, value in self.headers.items()}
        secrets = [each for name, each in values.items() if is_secret_header(name) or len(each) >= _SHORTEST_SECRET]
        return mask_secrets(text, filter(None, secrets))


def _unrequested_encoding(response: httpx.Response) -> str:
    """Return the content-encoding of a response, shortened; "" for identity, the only one that is requested."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    return "" if encoding == "identity" else one_line(encoding, 40)
