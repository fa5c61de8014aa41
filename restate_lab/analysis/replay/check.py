"""One replay check: resolve the deployment, select journals, send them with several workers, and collect verdicts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, zip_longest
from queue import SimpleQueue
from typing import Any, TypeVar

from restate_lab.analysis.patterns import group_by
from restate_lab.analysis.replay.reader import RecordingReader, target_ids, uri_of_deployment
from restate_lab.analysis.replay.recording import NOT_CHECKABLE, Recording, ReplayOutcome
from restate_lab.analysis.replay.result import (
    SAMPLED_OUT,
    Replay,
    not_read_frame,
    outcome_frames,
)
from restate_lab.analysis.replay.verdict import FAILS, judge
from restate_lab.client.endpoint import Endpoint
from restate_lab.client.endpoint.discovery import EndpointManifest, endpoint_address, is_unencrypted
from restate_lab.client.lab import is_lab
from restate_lab.errors import ArgumentError, StepRan, TimedOut, UnencryptedWarning
from restate_lab.progress import InvocationsLine, Progress, progress_of, warn
from restate_lab.reads import Reads
from restate_lab.redaction import Secret
from restate_lab.source import Source

T = TypeVar("T")
_POLL = 0.05  # seconds between two checks of the limits of the requests
CONTACT = (
    "A replay sends recorded journals to {address}. No step runs there, but code outside of steps does: logs, metrics, "
    "unwrapped HTTP calls."
)

# The oldest and newest version of each SDK that was observed to run no step in a check.
_TRIED = {"restate-sdk-python": ((0, 10), (1, 3)), "restate-sdk-typescript": ((1, 7), (1, 17))}
_UNKNOWN = "unknown"  # in allow=, an SDK without a name
_CODE_RAN = (
    "Code outside of steps ran at {address} for each journal: logs, metrics, unwrapped HTTP calls, except and finally "
    "blocks. No response showed that a step ran."
)
_CHANCE = "Code that decides by the clock or by its environment can take another path in another run."
_RESTART = "The journals were replayed under another id, as after a restart: awakeable ids and random values differ."
_NO_HEADERS = "Headers that are registered for the deployment are not in the source and were not sent."
_CONFIRM = f"{CONTACT} {{problem}}Nothing was sent. To confirm, pass confirm={{address!r}}."


def confirm_address(address: str, confirm: object, *, stacklevel: int = 4) -> None:
    """Check that ``confirm`` repeats the address, and warn if journals would be sent there without encryption.

    ``stacklevel`` is the level of the line that the warning belongs to.

    Raises:
        ArgumentError: it does not.
    """
    if confirm is None or endpoint_address("confirm", confirm) != address:
        problem = "" if confirm is None else f"confirm is {confirm!r}, another address. "
        raise ArgumentError(_CONFIRM.format(address=address, problem=problem))
    if warning := encryption_warning(address):
        warn(warning, UnencryptedWarning, stacklevel=stacklevel)


def encryption_warning(address: str) -> str:
    """Return the warning that journals would be sent to an address without encryption; "" if they would not."""
    warning = f"{address} is not encrypted and not on this machine: others can read the payloads of the journals."
    return warning if is_unencrypted(address) else ""


def deployment_address(source: Source, deployment: object) -> str:
    """Return the address that a replay contacts for a deployment: an address, or the id of a registered one.

    Raises:
        ArgumentError: it is not an HTTP address, or the deployment has none.
        NotFound: the id is not registered.
    """
    if isinstance(deployment, str) and deployment.startswith("dp_"):
        return endpoint_address("the deployment's address", uri_of_deployment(Reads(source), deployment))
    return endpoint_address("deployment", deployment)


def choose_sample(groups: Mapping[str, Hashable], most: int) -> list[str]:
    """Return at most so many ids, in turns from each group, the largest group first; the order of ids is kept."""
    by_size = sorted(group_by(groups, groups.__getitem__), key=len, reverse=True)
    turns = chain.from_iterable(zip_longest(*by_size))
    chosen = {id_ for id_, _ in zip((id_ for id_ in turns if id_ is not None), range(most), strict=False)}
    return [id_ for id_ in groups if id_ in chosen]


@dataclass(slots=True)
class ReplayCheck:
    """The steps of one replay check, and what they collect.

    ``last_entries`` has the index of the last entry that a restart keeps, for ids of which only a prefix is replayed.
    """

    source: Source
    reads: Reads
    as_restart: bool = False
    allowed: frozenset[str] = frozenset()
    last_entries: Mapping[str, int] = field(default_factory=dict)
    outcomes: list[tuple[Recording, ReplayOutcome]] = field(default_factory=list)
    missed: list[tuple[Mapping[str, Any], str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sdk: str = ""
    _reader: RecordingReader = field(init=False)

    def __post_init__(self) -> None:
        self._reader = RecordingReader(self.reads, as_restart=self.as_restart)

    def resolve(self, deployment: object) -> tuple[str, dict[str, Secret]]:
        """Return the address of a deployment, and the headers that are registered for it."""
        address = deployment_address(self.reads, deployment)
        if not isinstance(deployment, str) or not deployment.startswith("dp_"):
            return address, {}
        if not is_lab(self.source):
            self.warnings.append(_NO_HEADERS)
            return address, {}
        headers = self.source.admin.get_deployment(deployment).additional_headers
        return address, {name: Secret(value) for name, value in (headers.reveal() if headers else {}).items()}

    def replay(
        self,
        targets: Any,
        endpoint: Endpoint,
        *,
        most: int | None = None,
        workers: int = 4,
        progress: bool | Progress | None = None,
    ) -> Replay:
        """Replay the targets, or a sample of at most ``most`` of them, and return the result."""
        line = progress_of(progress, lambda: InvocationsLine("replaying, invocations checked"))
        try:
            self._select(targets, most)
            self._run(endpoint, workers, line)
        finally:
            line.close()
        return self._result(endpoint.address)

    def _select(self, targets: Any, most: int | None) -> None:
        ids = target_ids(self.reads, targets)
        rows = self._reader.rows(ids)
        self.missed += [({"id": id_}, "it does not exist") for id_ in ids if id_ not in rows]
        if most is not None and len(rows) > most:
            chosen = set(choose_sample(self._reader.shapes(rows), most))
            self.missed += [(row, SAMPLED_OUT) for id_, row in rows.items() if id_ not in chosen]
            rows = {id_: row for id_, row in rows.items() if id_ in chosen}
        self.rows = rows

    def _run(self, endpoint: Endpoint, workers: int, progress: Progress) -> None:
        if not self.rows:
            return
        with running(endpoint, workers=workers, ends=self.reads.ends) as runner:
            manifest = runner.discover(lambda: progress.update(0, len(self.rows)))
            self.sdk = manifest.sdk
            refusal = self._refusal(manifest)
            seen: set[str] = set()
            try:
                for recordings, moved in self._reader.recordings(self.rows, self.last_entries):
                    seen.update(moved, (each.id for each in recordings))
                    self.missed += [(self.rows[id_], "it changed while it was read") for id_ in moved]
                    ready = [_with_obstacle(each, manifest, refusal) for each in recordings]
                    self._judge(runner, ready, progress)
            except TimedOut:
                if not self.outcomes:
                    raise
            self.missed += [(row, self._over()) for id_, row in self.rows.items() if id_ not in seen]
        self.warnings[:0] = [_CODE_RAN.format(address=endpoint.address), _CHANCE]

    def _result(self, address: str) -> Replay:
        rows, groups = outcome_frames(self.outcomes)
        shared: dict[Any, Any] = {}  # many invocations take the same path
        paths = {each.id: shared.setdefault(each.commands, each.commands) for each, _ in self.outcomes}
        return Replay(
            rows=rows,
            groups=groups,
            address=address,
            sdk=self.sdk,
            source=self.source.name,
            version=self.source.version,
            read_at=self.source.now,
            not_read=not_read_frame(self.missed),
            warnings=(*self.warnings, *([_RESTART] if self.as_restart else [])),
            _paths=paths,
            queries=tuple(self.reads.queries),
        )

    def _judge(self, runner: _ReplayRunner, recordings: Sequence[Recording], progress: Progress) -> None:
        before = len(self.outcomes)
        outcomes = runner.judge(recordings, lambda done: progress.update(before + done, len(self.rows)))
        for recording, outcome in zip(recordings, outcomes, strict=True):
            if outcome is None:
                self.missed.append((recording.row, self._over()))
            else:
                self.outcomes.append((recording, outcome))

    def _over(self) -> str:
        return f"the timeout of {self.reads.limit} was over"

    def _refusal(self, manifest: EndpointManifest) -> ReplayOutcome | None:
        if manifest.status != 200:
            reason = f"the deployment accepts only requests that the server has signed ({manifest.status})"
            return ReplayOutcome(NOT_CHECKABLE, reason)
        name, _, version = (manifest.sdk or _UNKNOWN).partition("/")
        if {name, manifest.sdk} & self.allowed:
            self.warnings.append(f"It was never tried whether {name} runs no step in a check.")
            return None
        tried = _TRIED.get(name)
        number = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
        if tried is None or not tried[0] <= number < (tried[1][0] + 1,):
            reason = f"it was never tried whether {manifest.sdk or 'an SDK without a name'} runs no step in a check"
            return ReplayOutcome(NOT_CHECKABLE, f"{reason}; allow={name!r} checks it anyway")
        if number > tried[1]:
            newest = ".".join(map(str, tried[1]))
            self.warnings.append(f"{manifest.sdk} is newer than {newest}, the newest version that was tried.")
        return None


def _with_obstacle(recording: Recording, manifest: EndpointManifest, refusal: ReplayOutcome | None) -> Recording:
    """Return the recording, with the reason why it is not sent if the deployment cannot replay it."""
    obstacle, start, row = recording.obstacle or refusal, recording.start, recording.row
    if obstacle is None and start is not None:
        offered = manifest.protocols
        if row["protocol_version"] is None and offered:
            start = replace(start, version=min(start.version, offered[-1]))  # it is not pinned to a version yet
        if not manifest.has_handler(row["service"], row["handler"]):
            reason = f"the deployment does not have the handler {row['service']}/{row['handler']} (RT0012)"
            obstacle = ReplayOutcome(FAILS, reason)
        elif start.version not in offered:
            supported = f"{offered.start} to {offered.stop - 1}" if len(offered) > 1 else f"{offered.start}"
            reason = f"its journal has protocol version {start.version}, and the deployment supports {supported}"
            obstacle = ReplayOutcome(NOT_CHECKABLE, f"{reason}: the server does not move it there")
    return replace(recording, start=start, obstacle=obstacle)


@dataclass(slots=True)
class _ReplayRunner:
    """Workers with a connection each; ``ends`` (of time.monotonic) is the end of the whole run.

    ``refusal`` is set by a response after which no other journal may be sent.
    """

    endpoints: list[Endpoint]
    pool: ThreadPoolExecutor
    ends: float
    idle: SimpleQueue[Endpoint] = field(default_factory=SimpleQueue)
    refusal: ReplayOutcome | None = None

    def discover(self, on_wait: Callable[[], object]) -> EndpointManifest:
        first = self.endpoints[0]
        (manifest,) = self._run([first.discover], lambda _: on_wait())
        if manifest is None:
            return first.discover()  # raises: the run is over
        for each in self.endpoints[1:]:
            each.is_http2 = first.is_http2
        return manifest

    def judge(self, recordings: Sequence[Recording], on_progress: Callable[[int], None]) -> list[ReplayOutcome | None]:
        # A recording that was not judged before the end of the run has None.
        return self._run([partial(self._judge_one, each) for each in recordings], on_progress)

    def _judge_one(self, recording: Recording) -> ReplayOutcome:
        recording = replace(recording, obstacle=recording.obstacle or self.refusal)
        row, endpoint = recording.row, self.idle.get()
        try:
            outcome = judge(
                recording, lambda start, messages: endpoint.replay(row["service"], row["handler"], start, messages)
            )
        except StepRan:
            for each in self.endpoints:  # here, because this worker would send the next journal before _run raises
                each.stop()
            raise
        finally:
            self.idle.put(endpoint)
        if outcome.ends_check:
            self.refusal = ReplayOutcome(outcome.verdict, f"not sent, because the check was ended: {outcome.reason}")
        return outcome

    def _run(self, calls: Sequence[Callable[[], T]], on_progress: Callable[[int], object]) -> list[T | None]:
        futures = [self.pool.submit(call) for call in calls]
        pending: set[Future[T]] = set(futures)
        while pending and time.monotonic() < self.ends:
            done, pending = wait(pending, _POLL, FIRST_COMPLETED)
            for each in done:
                each.result()  # raises the first error
            for endpoint in self.endpoints:
                endpoint.expire()
            on_progress(len(futures) - len(pending))
        return [None if each in pending else each.result() for each in futures]


@contextlib.contextmanager
def running(first: Endpoint, *, workers: int, ends: float) -> Iterator[_ReplayRunner]:
    """Yield a runner; at the end of the block, also by an error or an interrupt, its requests and threads end."""
    endpoints = [first, *(first.sibling() for _ in range(workers - 1))]
    pool = ThreadPoolExecutor(workers, thread_name_prefix="restate-lab-replay")
    try:
        runner = _ReplayRunner(endpoints, pool, ends)
        for each in endpoints:
            runner.idle.put(each)
        yield runner
    finally:
        for each in endpoints:
            each.stop()
        pool.shutdown(wait=True, cancel_futures=True)
        for each in endpoints:
            each.close()
