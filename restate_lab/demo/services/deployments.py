"""Which services answer at which path and in which release: every deployment of the demo, in one process."""

from collections.abc import Mapping
from typing import Any

import restate
from restate import Service, VirtualObject, Workflow

from restate_lab.demo.release import RELEASE_HEADER
from restate_lab.demo.services import SERVICES
from restate_lab.demo.services.hospital import HOSPITAL
from restate_lab.demo.services.hospital.discharge import discharge_1, discharge_2
from restate_lab.demo.services.hospital.porters import porters
from restate_lab.demo.services.hospital.wholesale import wholesale
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
    ("hospital", "1"): HOSPITAL,
    ("wholesale", "1"): (wholesale,),
    ("porters", "1"): (porters,),
    ("discharge", "1"): (discharge_1,),
    ("discharge", "2"): (discharge_2,),
}
# What the proxy in front of them says instead of them.
UNAVAILABLE = {"courier": (502, b"no healthy upstream"), "wholesale": (504, b"upstream request timeout")}


def application() -> Any:
    """Return the ASGI application that serves all deployments."""
    apps = {place: restate.app(services=list(services)) for place, services in DEPLOYMENTS.items()}

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        path, release = _place(scope)
        if path in UNAVAILABLE and "/invoke/" in scope["path"]:
            await _answer(*UNAVAILABLE[path], receive, send)
        else:
            await apps[path, release](scope, receive, send)

    return serve


def _place(scope: Any) -> tuple[str, str]:
    first = scope.get("path", "").split("/")[1:2]
    path = first[0] if first and any(first[0] == known for known, _ in DEPLOYMENTS) else ""
    release = dict(scope.get("headers", ())).get(RELEASE_HEADER.encode(), b"1").decode()
    return path, release


async def _answer(status: int, body: bytes, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    # A request that is not read to its end keeps others of the same HTTP/2 connection waiting.
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.body", "body": body})
