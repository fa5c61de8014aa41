"""The base of all operations: read, change, parse responses, and check which operations the server has."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from pydantic import ValidationError

from restate_lab.client._server_info import INFO_LIFETIME, ServerInfoCache
from restate_lab.client.models.base import Model
from restate_lab.client.responses import SUCCESS
from restate_lab.client.schema import check_columns, note_response
from restate_lab.client.transport import Transport
from restate_lab.errors import NotOnThisServer, OutcomeUnknown, RequestRefused, RestateLabError, ServerFailed
from restate_lab.server import is_older
from restate_lab.source import Source

_MOST_REFERENCES = 20  # from one to the next
M = TypeVar("M", bound=Model)
V = TypeVar("V")


class Operations:
    """The base of the classes with the operations of the Admin API; ``source`` runs SQL on the same server."""

    def __init__(self, transport: Transport, *, source: Source) -> None:
        self._transport = transport
        self._source = source
        self._catalog = OperationCatalog(transport)

    def _read(self, operation: str, path: str, params: Mapping[str, Any] | None = None) -> Any:
        with self._catalog.expect(operation):
            response = self._transport.read("GET", path, params=params)
        return parse_json(operation, response)

    def _change(
        self, operation: str, method: str, path: str, *, targets: Sequence[str], reason: str | None, **request: Any
    ) -> httpx.Response:
        with self._catalog.expect(operation):
            return self._transport.change(
                method, path, action=operation, targets=targets, success=SUCCESS[operation], reason=reason, **request
            )

    def _rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = check_columns(
            self._source.arrow(sql, progress=False, **parameters), sql, None
        ).to_pylist()
        return rows

    def _value(self, sql: str, **parameters: Any) -> Any:
        """Return the only column of the first row; None without a row."""
        return next((value for row in self._rows(sql, **parameters) for value in row.values()), None)

    def _model(self, model: type[M], operation: str, answer: Any, **known: Any) -> M:
        """Return a model of a response, or of parsed JSON; ``known`` adds fields that its body does not have."""
        body = parse_json(operation, answer) if isinstance(answer, httpx.Response) else answer
        try:
            return model.model_validate({**body, **known} if isinstance(body, dict) else body)
        except ValidationError as error:
            fields = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise ServerFailed(invalid_response_message(operation, fields), status=200, reason=fields) from None

    def _models(self, model: type[M], operation: str, answer: Any, within: str) -> list[M]:
        try:
            bodies = answer[within]
        except (KeyError, TypeError):
            raise ServerFailed(invalid_response_message(operation, f"{within} is missing"), status=200) from None
        return [self._model(model, operation, body) for body in bodies]


@dataclass(frozen=True, slots=True)
class IdsRequest:
    """The form of a request with a list of ids: in a property of the body, or the list is the body (``name`` None).

    ``flags`` are the names of its optional flags, with their place ("body" or "query").
    """

    name: str | None
    flags: Mapping[str, str]

    def arguments(self, ids: Sequence[str], **flags: bool) -> dict[str, Any]:
        """Return the arguments for httpx; flags with the value False are omitted.

        Raises:
            NotOnThisServer: the request does not have a flag that is set.
        """
        wanted = [name for name, is_set in flags.items() if is_set]
        for name in wanted:
            if name not in self.flags or (self.name is None and self.flags[name] == "body"):
                raise NotOnThisServer(f"the request has no parameter {name} on this server. Nothing was sent: omit it.")
        body = {name: True for name in wanted if self.flags[name] == "body"}
        params = {name: "true" for name in wanted if self.flags[name] == "query"}
        json = list(ids) if self.name is None else {self.name: list(ids), **body}
        return {"json": json, **({"params": params} if params else {})}


class OperationCatalog:
    """The operations and parameters that the server has; read when they are needed, and again after a while."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._operations: dict[str, frozenset[str]] | None = None
        self._document: Mapping[str, Any] = {}
        self._since = 0.0
        self._server = ServerInfoCache(transport)

    @property
    def version(self) -> str:
        """Return the server's version, such as "1.7.12"."""
        return self._server.info().version

    @property
    def features(self) -> Mapping[str, bool]:
        """Return the server's feature flags; empty before 1.7."""
        return self._server.info().features

    @contextmanager
    def expect(self, operation: str) -> Iterator[None]:
        """Convert the empty 404 or 405 of a server that does not have the operation into NotOnThisServer.

        An empty response alone is not enough, because a gateway can also send it. The server's version or API document
        must confirm that the operation is missing.
        """
        try:
            yield
        except RequestRefused as error:
            if error.status not in {404, 405} or error.reason or self.has(operation):
                raise
            raise NotOnThisServer(
                f"{operation} is not supported by this server, Restate {self.version}; it needs 1.7 or newer. "
                f"Nothing was changed."
            ) from error

    def require(self, operation: str, parameter: str) -> None:
        """Raise NotOnThisServer if the server would silently ignore a parameter."""
        if not self.has(operation, parameter):
            raise NotOnThisServer(
                f"{operation}({parameter}=…) is not supported by this server, Restate {self.version}, which would "
                f"ignore it; it needs 1.7 or newer. Nothing was sent."
            )

    def has(self, operation: str, parameter: str | None = None) -> bool:
        """Return whether the server has an operation, or a parameter of an operation."""
        if self._operations is None or time.monotonic() - self._since > INFO_LIFETIME:
            self._operations, self._since = self._read(), time.monotonic()
        if self._operations:
            known = self._operations.get(operation)
            return known is not None and (parameter is None or parameter in known)
        return not is_older(self.version)

    def ids_request(self, operation: str, path: str) -> IdsRequest:
        """Return the form of a POST with a list of ids, from the server's API document.

        Raises:
            NotOnThisServer: the document does not have this path, or it describes another form.
        """
        self.has(operation)
        try:
            described = self._document.get("paths", {}).get(path, {}).get("post")
            if described is None:
                raise NotOnThisServer(f"{operation} is not supported by this server, Restate {self.version}")
            return _ids_request(self._document, described)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotOnThisServer(
                f"{operation} was not sent: Restate {self.version} describes a request that this version of "
                f"restate_lab does not know ({error})"
            ) from error

    def _read(self) -> dict[str, frozenset[str]]:
        try:
            self._document = document = self._transport.read("GET", "/openapi").json()
            return {
                operation["operationId"]: frozenset(_parameters(document, operation))
                for methods in document["paths"].values()
                for operation in methods.values()
            }
        except (RestateLabError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}  # not every gateway forwards this path


def drop_none(**arguments: Any) -> dict[str, Any]:
    """Return the arguments that are not None; for the others, the server uses its defaults."""
    return {name: value for name, value in arguments.items() if value is not None}


def poll_until(poll: Callable[[], V], is_done: Callable[[V], bool], *, within: float) -> V:
    """Return the result of ``poll`` once ``is_done`` accepts it, or the last one after ``within`` seconds."""
    deadline = time.monotonic() + within
    pause = 0.01
    while True:
        value = poll()
        if is_done(value) or time.monotonic() + pause > deadline:
            return value
        time.sleep(pause)
        pause = min(pause * 2, 0.1)


@contextmanager
def verification_errors(what: str) -> Iterator[None]:
    """Report that a change was accepted if its outcome cannot be read; the error of the read does not show that.

    Raises:
        OutcomeUnknown: reading failed.
    """
    try:
        yield
    except RestateLabError as error:
        raise OutcomeUnknown(
            f"{what} was accepted, but its outcome could not be read ({error}) "
            f"Read the current state before you repeat it."
        ) from error


def parse_json(operation: str, response: httpx.Response) -> Any:
    """Return the JSON of a response."""
    note_response()
    try:
        return response.json()
    except ValueError:
        raise ServerFailed(invalid_response_message(operation, "it is not JSON"), status=response.status_code) from None


def invalid_response_message(operation: str, why: str) -> str:
    """Return the message for a response that is not from a Restate Admin API."""
    return (
        f"the response to {operation} is not a valid response of a Restate Admin API ({why}). It may be from a proxy, "
        f"or the server is newer than this version of restate_lab."
    )


def _parameters(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[str]:
    yield from (parameter["name"] for parameter in operation.get("parameters", ()))
    for content in operation.get("requestBody", {}).get("content", {}).values():
        yield from _properties(document, content["schema"])


def _properties(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield from _properties(document, document["components"]["schemas"][name])
    yield from schema.get("properties", ())
    for variant in schema.get("oneOf", ()):
        yield from _properties(document, variant)


def _ids_request(document: Mapping[str, Any], operation: Mapping[str, Any]) -> IdsRequest:
    """Return the form of a request; raise ValueError if it needs more than one list of ids."""
    schema = _resolve(document, operation["requestBody"]["content"]["application/json"]["schema"])
    parameters = [_resolve(document, each) for each in operation.get("parameters", ())]
    flags = {each["name"]: "query" for each in parameters if each.get("in") == "query"}
    needed = [each["name"] for each in parameters if each.get("required")]
    if _is_list_of_texts(document, schema):
        name = None
    else:
        properties = {name: _resolve(document, each) for name, each in schema.get("properties", {}).items()}
        lists = [name for name, each in properties.items() if _is_list_of_texts(document, each)]
        if len(lists) != 1:
            raise ValueError(f"properties: {', '.join(properties) or 'none'}")
        name = lists[0]
        needed += [each for each in schema.get("required", ()) if each != name]
        flags |= {name: "body" for name, each in properties.items() if "boolean" in _types(each)}
    if needed:
        raise ValueError(f"it also needs {', '.join(needed)}")
    return IdsRequest(name, flags)


def _is_list_of_texts(document: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    return "array" in _types(schema) and _types(_resolve(document, schema.get("items", {}))) == ["string"]


def _types(schema: Mapping[str, Any]) -> list[str]:
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _resolve(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema or parameter itself, or the one that it refers to."""
    for _ in range(_MOST_REFERENCES):
        reference = schema.get("$ref")
        if reference is None:
            return schema
        schema = document
        for name in reference.removeprefix("#/").split("/"):
            schema = schema[name]
    raise ValueError("its references have no end")
