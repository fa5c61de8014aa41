"""What the demo asks of its cluster and does to it; the one place of the demo that sends requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from restate_lab.client.lab import connect
from restate_lab.client.models import VersionInformation
from restate_lab.errors import RestateLabError
from restate_lab.status import statuses_sql

__all__ = ["Api"]

# Only the events always have it: with vqueues a long back-off leaves last_failure empty.
FAILURE_CODES = """
SELECT id, json_get_str(event_json, 'restate_doc_error_code') AS code FROM sys_journal_events
WHERE id IN :ids AND event_type = 'TransientError' ORDER BY appended_at"""
CHILDREN = "SELECT id FROM sys_invocation WHERE invoked_by_id = :id ORDER BY created_at"


class Api:
    """The demo's own connection to its cluster; ``audit`` is the folder of the audit log."""

    def __init__(self, admin_url: str, ingress_url: str, *, audit: Path) -> None:
        self.lab = connect(admin_url, ingress_url=ingress_url, audit=audit, timeout=30, check=False)

    def is_ready(self) -> bool:
        """Return whether the server says that it is healthy, and its partitions answer."""
        try:
            self.lab.transport.read("GET", "/health", timeout=2, retry_for=0)
            # After a restart it is healthy for a moment before "expecting a partition store" has passed.
            count = {"query": "SELECT count(*) AS n FROM sys_invocation_status"}
            self.lab.transport.read("POST", "/query", json=count, timeout=5, retry_for=0)
        except RestateLabError:
            return False
        return True

    def version(self) -> VersionInformation:
        """Return the version and the addresses that the server reports."""
        return self.lab.admin.version()

    def register(self, uri: str, *, force: bool = False, headers: Mapping[str, str] | None = None) -> str:
        """Make a deployment known and return its id; with ``force`` read again what a known one serves."""
        return str(self.lab.admin.create_deployment(uri=uri, force=force, additional_headers=headers).id)

    def deployments(self) -> dict[str, str]:
        """Return deployment id → address of every deployment."""
        return {each.id: str(each.uri) for each in self.lab.admin.list_deployments()}

    def remove(self, deployment_id: str) -> None:
        """Forget a deployment, whatever is still bound to it."""
        self.lab.admin.delete_deployment(deployment_id, force=True)

    def move(self, deployment_id: str, uri: str) -> None:
        """Say where a known deployment listens now."""
        self.lab.admin.update_deployment(deployment_id, uri=uri)

    def send(self, handler: str, body: Any, *, delay: str | None = None, idempotency_key: str | None = None) -> str:
        """Start an invocation and return its id; ``handler`` is "service/handler" or "service/key/handler"."""
        service, *key, method = handler.split("/")
        sent = self.lab.ingress.send(
            service, method, body, key="/".join(key) or None, delay=delay, idempotency_key=idempotency_key
        )
        return sent.invocation_id

    def act(self, operation: str, id_: str) -> str:
        """Kill, cancel, pause or restart as new an invocation; return its id, or that of the new one."""
        admin = self.lab.admin
        if operation == "restart-as-new":
            return str(admin.restart_as_new_invocation(id_).new_invocation_id)
        act = {"kill": admin.kill_invocation, "cancel": admin.cancel_invocation, "pause": admin.pause_invocation}
        act[operation](id_, verify=False)
        return id_

    def statuses(self, ids: Iterable[str]) -> dict[str, str]:
        """Return the status of each of these invocations that exists, as in ``restate_lab.status``."""
        words = statuses_sql(has_vqueues=self.lab.features.get("vqueues", False))
        statement = f"SELECT id, word FROM ({words}) WHERE id IN :ids"  # noqa: S608 - constants
        frame = self.lab.sql(statement, ids=list(ids), progress=False)
        return dict(zip(frame["id"], frame["word"], strict=True))

    def failure_codes(self, ids: Iterable[str]) -> dict[str, str]:
        """Return the Restate error code, such as "RT0007", of the last failed attempt of each that had one."""
        frame = self.lab.sql(FAILURE_CODES, ids=list(ids), progress=False)
        return dict(zip(frame["id"], frame["code"], strict=True))

    def children(self, id_: str) -> list[str]:
        """Return what an invocation has called or sent so far, the oldest first."""
        return list(self.lab.sql(CHILDREN, id=id_, progress=False)["id"])

    def close(self) -> None:
        """Close the connections."""
        self.lab.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
