"""The requests that the demo sends to its cluster; no other module of the demo sends requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from restate_lab.audit import AuditLog
from restate_lab.client.lab import connect
from restate_lab.client.models import VersionInformation
from restate_lab.client.sql.parts import complete
from restate_lab.demo.calendar import move_to_real_days
from restate_lab.errors import RestateLabError
from restate_lab.history.archive import archive
from restate_lab.status import STATUSES_SQL

_REASON = "the demo plays its story"
CLUSTER = "demo"  # as in the CLI's configuration of notebooks
PATIENCE = 120.0  # seconds; on a busy machine, the services need most of a minute to import their libraries
# Only the events always contain the code: with vqueues, last_failure is empty during a long back-off.
FAILURE_CODES = """
SELECT id, json_get_str(event_json, 'restate_doc_error_code') AS code FROM sys_journal_events
WHERE id IN :ids AND event_type = 'TransientError' ORDER BY appended_at"""
LAST_RESULT = "SELECT max(\"index\") AS last FROM sys_journal WHERE id = :id AND entry_type = 'Notification: Run'"
CHILDREN = "SELECT id FROM sys_invocation WHERE invoked_by_id = :id ORDER BY created_at"


class Api:
    """The demo's own connection to its cluster; ``audit`` is the folder of the audit log, in the demo's folder.

    The user in its records is "demo".
    """

    def __init__(self, admin_url: str, ingress_url: str, *, audit: Path) -> None:
        self.folder = audit.parent
        self.lab = connect(admin_url, ingress_url=ingress_url, timeout=PATIENCE, check=False)
        self.lab.transport.audit = AuditLog(audit, user=CLUSTER)

    def is_ready(self) -> bool:
        """Return whether the server reports that it is healthy and its partitions respond."""
        try:
            self.lab.transport.read("GET", "/health", timeout=2, retry_for=0)
            # After a restart, /health succeeds while queries still fail with "expecting a partition store".
            count = {"query": "SELECT count(*) AS invocations FROM sys_invocation_status"}
            self.lab.transport.read("POST", "/query", json=count, timeout=5, retry_for=0)
        except RestateLabError:
            return False
        return True

    def version(self) -> VersionInformation:
        """Return the version and the addresses that the server reports."""
        return self.lab.admin.version()

    def register(self, uri: str, *, force: bool = False, headers: Mapping[str, str] | None = None) -> str:
        """Register a deployment and return its id; ``force`` discovers a known deployment again."""
        return str(self.lab.admin.create_deployment(uri=uri, force=force, additional_headers=headers).id)

    def deployments(self) -> dict[str, str]:
        """Return the address of each deployment by id."""
        return {each.id: str(each.uri) for each in self.lab.admin.list_deployments()}

    def remove(self, deployment_id: str) -> None:
        """Remove a deployment, even if invocations are pinned to it."""
        self.lab.admin.delete_deployment(deployment_id, force=True, reason=_REASON)

    def move(self, deployment_id: str, uri: str) -> None:
        """Change the address of a registered deployment."""
        self.lab.admin.update_deployment(deployment_id, uri=uri)

    def send(self, handler: str, body: Any, *, delay: str | None = None, idempotency_key: str | None = None) -> str:
        """Start an invocation and return its id; ``handler`` is "service/handler" or "service/key/handler"."""
        service, *key, method = handler.split("/")
        sent = self.lab.ingress.send(
            service, method, body, key="/".join(key) or None, delay=delay, idempotency_key=idempotency_key
        )
        return sent.invocation_id

    def act(self, operation: str, id_: str) -> str:
        """Kill, cancel, pause or restart an invocation as new; return its id, or the id of the new one.

        "restart-from-last-step" keeps the journal up to the last result of a step; "restart-as-new" only the input.
        """
        admin = self.lab.admin
        if operation in {"restart-as-new", "restart-from-last-step"}:
            keeps = operation == "restart-from-last-step"
            index = int(self.lab.sql(LAST_RESULT, id=id_, progress=False)["last"][0]) if keeps else None
            return str(admin.restart_as_new_invocation(id_, from_index=index, reason=_REASON).new_invocation_id)
        act: Mapping[str, Any] = {
            "kill": admin.kill_invocation,
            "cancel": admin.cancel_invocation,
            "pause": admin.pause_invocation,
        }
        act[operation](id_, verify=False, reason=_REASON)
        return id_

    def statuses(self, ids: Iterable[str]) -> dict[str, str]:
        """Return the status of each of these invocations that exists, as in ``restate_lab.status``."""
        statement = complete(f"SELECT id, word FROM ({STATUSES_SQL}) WHERE id IN :ids", self.lab)  # noqa: S608
        frame = self.lab.sql(statement, ids=list(ids), progress=False)
        return dict(zip(frame["id"], frame["word"], strict=True))

    def failure_codes(self, ids: Iterable[str]) -> dict[str, str]:
        """Return the Restate error code of the last failed attempt, such as "RT0007", by id."""
        frame = self.lab.sql(FAILURE_CODES, ids=list(ids), progress=False)
        return dict(zip(frame["id"], frame["code"], strict=True))

    def archive(self) -> str:
        """Archive the invocations that have ended into the folder ``history``; return the name of the cluster there."""
        archive(self.lab, self.folder / "history", cluster_name=CLUSTER, timeout=PATIENCE, progress=False)
        return CLUSTER

    def move_archive(self, day: timedelta) -> None:
        """Move the archive to real days; a day in it takes ``day``."""
        move_to_real_days(self.folder / "history", day)

    def children(self, id_: str) -> list[str]:
        """Return the ids of the invocations that this invocation has called or sent so far, oldest first."""
        return list(self.lab.sql(CHILDREN, id=id_, progress=False)["id"])

    def close(self) -> None:
        """Close the connection."""
        self.lab.close()
