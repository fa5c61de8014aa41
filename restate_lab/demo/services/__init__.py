"""The sample services of the demo, written as a user would write them."""

from restate_lab.demo.services.agent import agent
from restate_lab.demo.services.checkout import checkout
from restate_lab.demo.services.inventory import inventory

__all__ = ["SERVICES"]

SERVICES = (agent, checkout, inventory)
