"""Invocations in every status on a separate server, as many of each as requested, all made at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restate_lab.client.lab import Lab
from restate_lab.client.sql.parts import complete
from restate_lab.errors import RestateLabError
from restate_lab.status import STATUSES_SQL
from support.bench import running_bench, wait_for
from support.clusters import has_vqueues

READY = ("Every", "greet", "you")
SERVICES = Path(__file__).with_name("status_services.py")
# The invocations that are sent at once, by their final status; the others need more than one step.
HANDLERS = {"succeeded": "greet", "failed": "fail", "suspended": "waits", "paused": "pauses"}
# The statuses of some invocations before they are acted on.
FIRST = {"ready": "paused", "to cancel": "suspended", "to kill": "suspended"}
SLOTS = 3  # for invocations that must run again for a short time


@dataclass(frozen=True)
class InvocationStatuses:
    """A server with ``ids`` in each status; ``fillers`` take the slots for which the ready ones wait."""

    kind: str
    lab: Lab
    ids: Mapping[str, list[str]]
    fillers: Sequence[str]

    @property
    def has_vqueues(self) -> bool:
        return has_vqueues(self.kind)

    def by_id(self) -> dict[str, str]:
        """Return id → status of every invocation, from the reference statement for all other reads."""
        rows = self.lab.arrow(complete(STATUSES_SQL, self.lab), progress=False).to_pylist()
        return {row["id"]: row["word"] for row in rows}

    def make_room(self) -> None:
        """End the invocations that hold the slots, and the ready ones: whatever wakes up later runs at once."""
        for id_ in (*self.fillers, *self.ids["ready"]):
            with contextlib.suppress(RestateLabError):
                self.lab.admin.kill_invocation(id_, verify=False, reason="INC-42")


@contextlib.contextmanager
def status_server(kind: str, folder: Path, *, slots: int | None = None) -> Iterator[Lab]:
    """Start a server and the services, and give a connection; ``slots`` is the number that may run at a time."""
    env = {}
    if slots is not None:
        # The limit counts for each partition.
        env = {
            "RESTATE_DEFAULT_NUM_PARTITIONS": "1",
            "RESTATE_WORKER__INVOKER__CONCURRENT_INVOCATIONS_LIMIT": str(slots),
        }
    with running_bench(kind, folder, SERVICES, ready=READY, env=env) as bench:
        yield bench.lab


@contextlib.contextmanager
def every_status(kind: str, folder: Path, *, each: int) -> Iterator[InvocationStatuses]:
    """Start a server with ``each`` invocations in every status, and give them."""
    # Without vqueues, invocations that back off keep their slot; with vqueues they do not.
    backing_off = 0 if has_vqueues(kind) else each
    with status_server(kind, folder, slots=each + backing_off + SLOTS) as lab:
        made = _StatusMaker(lab, kind, each)
        for status, handler in HANDLERS.items():
            made.send(status, lambda _, handler=handler: lab.ingress.send("Every", handler, "x"))
        made.send("to cancel", lambda _: lab.ingress.send("Every", "waits", "x"))
        made.send("to kill", lambda _: lab.ingress.send("Every", "waits", "x"))
        made.send("ready", lambda _: lab.ingress.send("Every", "pauses", "x"))
        made.send("scheduled", lambda _: lab.ingress.send("Every", "greet", "x", delay="1h"))
        holder = lab.ingress.send("Held", "hold", key="k").invocation_id
        made.wait(FIRST, holder=holder)
        made.act(
            "to cancel",
            lambda id_: lab.admin.cancel_invocation(id_, verify=False, reason="INC-42"),
            becomes="cancelled",
        )
        made.act("to kill", lambda id_: lab.admin.kill_invocation(id_, verify=False, reason="INC-42"), becomes="killed")
        made.send("pending", lambda _: lab.ingress.send("Held", "take", "x", key="k"))
        made.send("backing-off", lambda _: lab.ingress.send("Every", "flaky", "x"))
        made.wait(FIRST)
        made.send("running", lambda _: lab.ingress.send("Every", "busy", "x"))
        made.wait(FIRST)
        fillers = [lab.ingress.send("Every", "busy", "x").invocation_id for _ in range(SLOTS)]
        wait_for(lambda: {made.by_id().get(id_) for id_ in fillers}, lambda seen: seen == {"running"})
        made.act("ready", lab.admin.resume_invocation, becomes="ready")
        made.wait({})
        yield InvocationStatuses(kind, lab, made.ids, fillers)


class _StatusMaker:
    """Sends invocations, and waits until each has its status, which is the name of its list."""

    def __init__(self, lab: Lab, kind: str, each: int) -> None:
        self._statuses = InvocationStatuses(kind, lab, {}, ())
        self._each = each
        self.ids: dict[str, list[str]] = {}

    def by_id(self) -> dict[str, str]:
        return self._statuses.by_id()

    def send(self, status: str, send: Callable[[int], Any]) -> None:
        self.ids[status] = [send(number).invocation_id for number in range(self._each)]

    def act(self, name: str, act: Callable[[str], object], *, becomes: str) -> None:
        ids = self.ids.pop(name)
        for id_ in ids:
            act(id_)
        self.ids[becomes] = ids

    def wait(self, but: Mapping[str, str], *, holder: str | None = None) -> None:
        wanted = {id_: but.get(name, name) for name, ids in self.ids.items() for id_ in ids}
        if holder:
            wanted[holder] = "suspended"
        wait_for(lambda: _differing(wanted, self.by_id()), lambda seen: not seen)


def _differing(wanted: Mapping[str, str], seen: Mapping[str, str]) -> dict[str, str | None]:
    return {f"{id_}: {word}": seen.get(id_) for id_, word in wanted.items() if seen.get(id_) != word}
