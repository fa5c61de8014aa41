"""Which services answer at which path and in which release: every deployment of the demo, in one process."""

from collections.abc import Mapping
from typing import Any

import restate
from restate import Service, VirtualObject, Workflow

from restate_lab.demo.release import RELEASE_HEADER
from restate_lab.demo.services import SERVICES
from restate_lab.demo.services.orders import ORDER_SYSTEM
from restate_lab.demo.services.orders.courier import courier
from restate_lab.demo.services.orders.loyalty import loyalty
from restate_lab.demo.services.orders.promotions import promotions
from restate_lab.demo.services.orders.returns import returns_1, returns_2

__all__ = ["DEPLOYMENTS", "application"]

DEPLOYMENTS: Mapping[tuple[str, str], tuple[Service | VirtualObject | Workflow, ...]] = {
    ("", "1"): SERVICES,
    ("orders", "1"): ORDER_SYSTEM,
    ("courier", "1"): (courier,),
    ("loyalty", "1"): (loyalty,),
    ("promotions-1", "1"): (promotions,),
    ("promotions-2", "1"): (promotions,),
    ("promotions-3", "1"): (promotions,),
    ("returns", "1"): (returns_1,),
    ("returns", "2"): (returns_2,),
}
UNAVAILABLE = {"courier"}


def application() -> Any:
    """Return the ASGI application that serves all deployments."""
    apps = {place: restate.app(services=list(services)) for place, services in DEPLOYMENTS.items()}

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        path, release = _place(scope)
        if path in UNAVAILABLE and "/invoke/" in scope["path"]:
            await _bad_gateway(receive, send)
        else:
            await apps[path, release](scope, receive, send)

    return serve


def _place(scope: Any) -> tuple[str, str]:
    first = scope.get("path", "").split("/")[1:2]
    path = first[0] if first and any(first[0] == known for known, _ in DEPLOYMENTS) else ""
    release = dict(scope.get("headers", ())).get(RELEASE_HEADER.encode(), b"1").decode()
    return path, release


async def _bad_gateway(receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 502, "headers": [(b"content-type", b"text/plain")]})
    # A request that is not read to its end keeps others of the same HTTP/2 connection waiting.
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.body", "body": b"no healthy upstream"})
