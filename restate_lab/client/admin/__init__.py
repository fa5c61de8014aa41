"""AdminClient: one method per operation of the Admin API, named by its operationId."""

from restate_lab._public import public
from restate_lab.client.admin.cluster import Cluster
from restate_lab.client.admin.deployments import Deployments
from restate_lab.client.admin.invocations import Invocations
from restate_lab.client.admin.kafka import Kafka
from restate_lab.client.admin.services import Services
from restate_lab.client.admin.state import States


@public
class AdminClient(Cluster, Deployments, Services, States, Invocations, Kafka):
    """All operations of a cluster's Admin API, as ``lab.admin``; only ``query`` is elsewhere, as ``lab.sql``.

    Ids and names are the first arguments; pass the others by keyword, with the names of the API (``from`` is
    ``from_index``). Arguments are checked before anything is sent, and an invalid one raises ArgumentError. Methods
    raise NotOnThisServer if the server does not support them. Changes are refused on a read-only connection and
    written to the audit log with their ``reason``; headers, payloads and properties are not written. Methods that
    cancel, kill, purge, restart or delete something, or change state, require a reason that is not a placeholder. For
    other changes it is optional.

    ``transport`` is the connection to the Admin API. ``source`` runs SQL, with which methods read the outcome of a
    change.
    """
