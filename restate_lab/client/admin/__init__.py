"""AdminClient: one method per operation of the Admin API, named by its operationId."""

from __future__ import annotations

from restate_lab._public import public
from restate_lab.client.admin.cluster import Cluster, Limits, Vqueues
from restate_lab.client.admin.deployments import Deployments
from restate_lab.client.admin.invocations import Invocations
from restate_lab.client.admin.kafka import Kafka
from restate_lab.client.admin.services import Services
from restate_lab.client.admin.state import States

__all__ = ["AdminClient"]


@public
class AdminClient(Cluster, Deployments, Services, States, Invocations, Kafka, Limits, Vqueues):
    """Every operation of a cluster's Admin API, as ``lab.admin``; ``query`` alone is ``lab.sql``.

    Ids and names come first, the rest by keyword, spelled as in the API (``from`` is ``from_index``). Arguments are
    checked before anything is sent: ArgumentError. What the server lacks is NotOnThisServer. Changes are refused on a
    read-only connection and written to the audit log, with ``reason`` if you give one; headers, payloads and properties
    are not.

    ``transport`` is the door to the Admin API, ``arrow`` answers SQL: with it, methods look up what came of a change.
    """
