"""What all operations share: reading, changing, and making models of the answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
from pydantic import ValidationError

from restate_lab.client.admin.served import Served
from restate_lab.client.models import Model
from restate_lab.client.responses import SUCCESS
from restate_lab.client.schema import checked
from restate_lab.client.transport import Transport
from restate_lab.errors import OutcomeUnknown, RestateLabError, ServerFailed

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Door", "await_that", "given", "not_understood", "parsed", "read_back"]

M = TypeVar("M", bound=Model)
V = TypeVar("V")


class Door:
    """The Admin API's way out, for the classes that hold its operations.

    ``arrow`` answers ``arrow(sql, progress=False, **parameters)`` with a pyarrow.Table.
    """

    def __init__(self, transport: Transport, *, arrow: Callable[..., pa.Table]) -> None:
        self._transport = transport
        self._arrow = arrow
        self._served = Served(transport)

    def _read(self, operation: str, path: str, params: Mapping[str, Any] | None = None) -> Any:
        with self._served.expecting(operation):
            response = self._transport.read("GET", path, params=params)
        return parsed(operation, response)

    def _change(
        self, operation: str, method: str, path: str, *, targets: Sequence[str], reason: str | None, **request: Any
    ) -> httpx.Response:
        with self._served.expecting(operation):
            return self._transport.change(
                method, path, action=operation, targets=targets, success=SUCCESS[operation], reason=reason, **request
            )

    def _rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = checked(self._arrow(sql, progress=False, **parameters), sql, None).to_pylist()
        return rows

    def _model(self, model: type[M], operation: str, answer: Any, **known: Any) -> M:
        """Return a model of an answer, parsed JSON or a response; ``known`` adds what its body does not say."""
        body = parsed(operation, answer) if isinstance(answer, httpx.Response) else answer
        try:
            return model.model_validate({**body, **known} if isinstance(body, dict) else body)
        except ValidationError as error:
            fields = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise ServerFailed(not_understood(operation, fields), status=200, reason=fields) from None

    def _models(self, model: type[M], operation: str, answer: Any, within: str) -> list[M]:
        try:
            bodies = answer[within]
        except (KeyError, TypeError):
            raise ServerFailed(not_understood(operation, f"there is no {within} in it"), status=200) from None
        return [self._model(model, operation, body) for body in bodies]


def given(**arguments: Any) -> dict[str, Any]:
    """Return the arguments that are not None: what is left out keeps the server's default."""
    return {name: value for name, value in arguments.items() if value is not None}


def await_that(look: Callable[[], V], holds: Callable[[V], bool], *, within: float) -> V:
    """Return what a look shows once that holds, or what the last look shows after ``within`` seconds."""
    deadline = time.monotonic() + within
    pause = 0.01
    while True:
        seen = look()
        if holds(seen) or time.monotonic() + pause > deadline:
            return seen
        time.sleep(pause)
        pause = min(pause * 2, 0.1)


@contextmanager
def read_back(what: str) -> Iterator[None]:
    """Say that a change was accepted where it cannot be read back: the read's own error sounds as if it was not sent.

    Raises:
        OutcomeUnknown: reading raised.
    """
    try:
        yield
    except RestateLabError as error:
        raise OutcomeUnknown(
            f"{what} was accepted, and what came of it could not be read ({error}) "
            f"Read the present state before you repeat it."
        ) from error


def parsed(operation: str, response: httpx.Response) -> Any:
    """Return an answer's JSON."""
    try:
        return response.json()
    except ValueError:
        raise ServerFailed(not_understood(operation, "it is not JSON"), status=response.status_code) from None


def not_understood(operation: str, why: str) -> str:
    """Return the message for a response that a Restate Admin API does not give."""
    return (
        f"the answer to {operation} is not what a Restate Admin API gives ({why}). A proxy may have answered, or the "
        f"server is newer than this restate_lab knows."
    )
