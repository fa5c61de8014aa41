"""The deployments of the demo: ``python -m restate_lab.demo.services.deployments --fd N`` serves them."""

from restate_lab.demo.services import SERVICES
from restate_lab.demo.services.orders import ORDER_SYSTEM
from restate_lab.demo.services.orders.courier import courier
from restate_lab.demo.services.orders.loyalty import loyalty
from restate_lab.demo.services.orders.promotions import promotions
from restate_lab.demo.services.orders.returns import returns_1, returns_2
from restate_lab.demo.services_host import Deployments, application, serve_inherited

__all__ = ["DEPLOYMENTS", "UNAVAILABLE"]

DEPLOYMENTS: Deployments = {
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
UNAVAILABLE = {"courier": (502, b"no healthy upstream")}
"""Path → the response of the proxy in front of services that are gone."""


if __name__ == "__main__":
    serve_inherited(application(DEPLOYMENTS, UNAVAILABLE))
