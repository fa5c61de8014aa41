"""The stored examples of each format, and how they were made: ``python tests/support/stored_formats.py`` in tests/.

An example is what the product of its time wrote about a real server 1.7.12: an archive with two visits, evidence, the
state of ``watch`` with waiting messages, the audit log, notes, a plan, a request of an assistant, and tests with their
records. Examples of released formats do not change; a new version of a format gets a new example, and the product must
still open the old ones. Those of 1.6.1 have the services of the journal bench. They cannot be written again: the
product does not support this server any more.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import restate_lab as rl
from restate_lab.actions.plan.store import PlanStore, StoredPlan
from restate_lab.alerts.delivery import Senders, create_receivers
from restate_lab.alerts.reader import ClusterReader
from restate_lab.alerts.rules import Rules
from restate_lab.alerts.store import AlertStore
from restate_lab.alerts.watcher import Watcher
from restate_lab.client.lab import Lab
from restate_lab.demo.embedded import start_services
from restate_lab.mcp.approvals import ApprovalRequest, ApprovalStore
from restate_lab.reads import read_identity
from support.agent_bench import running_agent_bench
from support.archive_bench import SERVICES
from support.bench import once_served, wait_for
from support.clusters import NEWEST

EXAMPLES = Path(__file__).parents[1] / "samples" / "formats"
CLUSTER = "sample"
RECEIVER = "json://127.0.0.1:9/hook"
"""The receiver of the messages that wait in the state of ``watch``; nothing listens there."""
RECORDED_APP = "support.archive_services:ledger"
"""The app of the records, whose code the tests of the examples import."""
_NO_PATHS = "event_json:$..error_stacktrace"  # the paths of the machine that wrote the examples
_ENDED = "SELECT id FROM sys_invocation WHERE status = 'completed'"


def unpack(name: str, folder: Path) -> Path:
    """Unpack the example of a format, such as "archive-1", into a new folder, and return that folder."""
    with zipfile.ZipFile(EXAMPLES / name / f"{name.partition('-')[0]}.zip") as packed:
        packed.extractall(folder)
    return folder


def main() -> None:
    """Write the examples whose folders do not exist."""
    with tempfile.TemporaryDirectory() as temporary, _anonymous():
        folder = Path(temporary)
        with _sample_lab(folder) as lab:
            _play(lab, 0)
            rl.archive(lab, folder / "archive", cluster_name=CLUSTER, redact=_NO_PATHS, progress=False)
            _play(lab, 20)
            rl.archive(lab, folder / "archive", cluster_name=CLUSTER, redact=_NO_PATHS, progress=False)
            _write_shards(lab, folder / "shards" / "archive")
            rl.freeze(lab, folder / "evidence", redact=_NO_PATHS, progress=False)
            _write_watch_state(lab, folder / "watch")
            _write_records(lab, folder / "record")
            _write_plan(lab, folder / "plan")
            _write_approval(lab, folder / "approval")
            (folder / "audit" / "notes").rename(folder / "notes")
        for name in ("archive-1", "evidence-2", "watch-4", "audit-0", "notes-2", "record-1", "plan-2", "approval-2"):
            _pack(folder / name.partition("-")[0], EXAMPLES / name)
        _pack(folder / "shards" / "archive", EXAMPLES / "archive-2")


@contextlib.contextmanager
def _anonymous() -> Iterator[None]:
    """Write no name of a user or a machine."""
    names = {"LOGNAME": "sample", "KEPT_SECONDS": "3600"}
    with mock.patch.dict(os.environ, names), mock.patch.object(socket, "gethostname", return_value="127.0.0.1"):
        yield


@contextlib.contextmanager
def _sample_lab(folder: Path) -> Iterator[Lab]:
    """Start a server with agents and the services of the archive bench."""
    with running_agent_bench(NEWEST, folder) as bench, contextlib.ExitStack() as stack:
        (folder / "more").mkdir()
        process, uri = start_services(folder / "more", str(SERVICES))
        stack.enter_context(process)
        bench.lab.admin.create_deployment(uri=uri)
        bench.lab.admin.modify_service("Order", workflow_completion_retention=timedelta(hours=1))
        bench.run("OpenAIAgent/chat", "[one] Rome")
        yield bench.lab


def _play(lab: Lab, first: int) -> None:
    """Send calls of each kind: successes, failures, a killed one, one that is not kept, and one that stays open."""
    for handler, count in (("book", 3), ("refuse", 2), ("stumble", 1), ("never", 1)):
        once_served(lambda: lab.ingress.call("Ledger", "spread", [handler, first, count]))  # noqa: B023 - called at once
    lab.ingress.call("Account", "add", first, key="acme")
    lab.ingress.call("Order", "run", first, key=f"order {first}")
    lab.ingress.send("Ledger", "slow", 600.0)
    wait_for(lambda: len(lab.sql("SELECT id FROM sys_invocation WHERE completion_failure LIKE '%of %'")) > first // 20)
    wait_for(lambda: len(lab.sql(_ENDED)) > 10 + first // 2)


def _write_shards(lab: Lab, folder: Path) -> None:
    """Archive two shards, then release one of them, and archive one of its services as a third."""
    options = {"cluster_name": CLUSTER, "redact": _NO_PATHS, "progress": False}
    rl.archive(lab, folder, service=["Ledger", "Account"], shard="money", **options)
    rl.archive(lab, folder, service="Order", shard="orders", **options)
    with rl.open_history(folder) as history:
        history.release("money")
    rl.archive(lab, folder, service="Account", shard="accounts", **options)


def _write_watch_state(lab: Lab, folder: Path) -> None:
    """Let two invocations be paused and one of them end: an open and a resolved alert, whose messages wait.

    The open one is acknowledged by a note.
    """
    stuck = [str(lab.ingress.send("OpenAIAgent", each, "[stuck] Rome").invocation_id) for each in ("chat", "responses")]
    for id_ in stuck:
        wait_for(lambda: _is_paused(lab, id_))  # noqa: B023 - called at once
    store, senders = AlertStore(folder / "watch.sqlite"), Senders()
    try:
        reader = ClusterReader(name=CLUSTER, option=lab.address, rules=Rules(), commands=lambda *_: None)
        receivers = create_receivers(senders, [RECEIVER], [], keep=timedelta(minutes=5))
        watcher = Watcher([reader], store, receivers, senders, lambda *_: None, lambda _: None)
        watcher.start()
        watcher.once()
        lab.admin.kill_invocation(stuck[1], reason="INC-42")
        wait_for(lambda: not _has_status(lab, stuck[1], "paused"))
        watcher.once()
        rl.note(lab, "INC-42: called the provider")
        findings = rl.doctor(lab, checks="paused").findings
        rl.note(lab, "INC-42: paused by hand", finding=findings.iloc[[0]], until="31d")
        with mock.patch.dict(os.environ, {"RESTATE_LAB_AUDIT": str(lab.transport.audit.folder)}):
            watcher.once()
    finally:
        senders.close()
        store.close()


def _write_records(lab: Lab, folder: Path) -> None:
    """Write a test for one invocation of each of these handlers; their records name no folder of this machine."""
    folder.mkdir()
    for handler in ("stumble", "refuse", "spread"):
        ids = lab.sql("SELECT id FROM sys_invocation WHERE target_handler_name = :handler LIMIT 1", handler=handler)[
            "id"
        ]
        record = rl.to_test(lab, ids[0], folder, app=RECORDED_APP).paths[0]
        record.write_text(record.read_text("utf-8").replace(str(Path(__file__).parents[1]), "/app"), "utf-8")


def _is_paused(lab: Lab, id_: str) -> bool:
    with contextlib.suppress(rl.errors.RestateLabError):
        lab.admin.pause_invocation(id_)
    return _has_status(lab, id_, "paused")


def _has_status(lab: Lab, id_: str, status: str) -> bool:
    return bool(
        len(lab.sql("SELECT id FROM sys_invocation WHERE id = :id AND status = :status", id=id_, status=status))
    )


def _write_plan(lab: Lab, folder: Path) -> None:
    """Store a plan of two restarts that keep the first entries."""
    ended = lab.sql(f"{_ENDED} AND target_service_name = 'Ledger' AND target_handler_name = 'spread' ORDER BY id")
    plan = rl.plan(lab, "restart_as_new", ended[:2], deployment="latest", from_index=1)
    PlanStore(folder).save(StoredPlan.of(plan, read_identity(lab)))


def _write_approval(lab: Lab, folder: Path) -> None:
    """Store a request that never expires."""
    text = ("kill 3 of 3 invocations", "kill 3 invocations. To approve, type:", "3", "a1b2")
    expires_at = datetime(9999, 1, 1, tzinfo=UTC)
    ApprovalStore(folder).save(ApprovalRequest("plan-1a2b3c4d", *text, expires_at, read_identity(lab)))


def _pack(folder: Path, example: Path) -> None:
    """Pack the files of a folder, in the order of their names, unless the example exists.

    The logs of Delta name the folder in which a table was created, and do not use that name.
    """
    if example.exists():
        return
    example.mkdir(parents=True)
    for log in folder.rglob("*.json"):
        log.write_bytes(log.read_bytes().replace(str(folder.parent).encode(), b""))
    with zipfile.ZipFile(example / f"{folder.name}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            packed.write(file, file.relative_to(folder))


if __name__ == "__main__":
    main()
