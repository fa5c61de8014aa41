"""The order system: one deployment that takes orders, and some around it that come and go."""

from restate_lab.demo.services.orders.accounts import accounts
from restate_lab.demo.services.orders.invoices import invoices
from restate_lab.demo.services.orders.order import orders
from restate_lab.demo.services.orders.payments import payments
from restate_lab.demo.services.orders.shipping import shipping
from restate_lab.demo.services.orders.warehouses import warehouses

__all__ = ["ORDER_SYSTEM"]

ORDER_SYSTEM = (accounts, invoices, orders, payments, shipping, warehouses)
