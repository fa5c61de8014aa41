"""AdminClient: one method per operation of the Admin API, named by its operationId."""

from restate_lab.client.admin.client import AdminClient

__all__ = ["AdminClient"]
