"""The deployments of the demo; start them with ``python -m restate_lab.demo.services.deployments --fd N``."""

from restate_lab.demo.services.agent import agent
from restate_lab.demo.services.orders.orders import orders
from restate_lab.demo.services.orders.payments import accounts, invoices, payments, settlements
from restate_lab.demo.services.orders.satellites import courier, loyalty, promotions, returns_1, returns_2
from restate_lab.demo.services.orders.shipping import shipping, warehouses
from restate_lab.demo.services.parcels import DAILY, RELEASE_1, RELEASE_2
from restate_lab.demo.services.refunds import refunds
from restate_lab.demo.services.shop import checkout, checkout_corrected, checkout_next, inventory
from restate_lab.demo.services_host import Deployments, application, serve_inherited

DEPLOYMENTS: Deployments = {
    ("", "1"): (agent, checkout, inventory),
    ("orders", "1"): (accounts, invoices, orders, payments, settlements, shipping, warehouses),
    ("courier", "1"): (courier,),
    ("loyalty", "1"): (loyalty,),
    ("promotions-1", "1"): (promotions,),
    ("promotions-2", "1"): (promotions,),
    ("promotions-3", "1"): (promotions,),
    ("returns", "1"): (returns_1,),
    ("returns", "2"): (returns_2,),
    ("parcels-daily", "1"): DAILY,
    ("parcels-1", "1"): RELEASE_1,
    ("parcels-2", "1"): RELEASE_2,
    ("checkout-next", "1"): (checkout_next,),
    ("checkout-corrected", "1"): (checkout_corrected,),
    ("refunds", "1"): (refunds,),
}
UNAVAILABLE = {"courier": (502, b"no healthy upstream")}
"""Path → the response of the simulated proxy in front of services that do not run."""


if __name__ == "__main__":
    serve_inherited(application(DEPLOYMENTS, UNAVAILABLE))
