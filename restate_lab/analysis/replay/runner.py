"""Send recordings to a deployment with several workers; every end of the run leaves no thread and no connection."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

from restate_lab.analysis.replay.recording import Obstacle, Recording
from restate_lab.analysis.replay.verdict import ReplayOutcome, judge
from restate_lab.client.endpoint import Endpoint
from restate_lab.client.endpoint.discovery import EndpointManifest
from restate_lab.errors import StepRan

T = TypeVar("T")
_POLL = 0.05  # seconds between two looks at the limits of the requests


@dataclass(slots=True)
class ReplayRunner:
    """Workers with a connection each; ``ends`` (of time.monotonic) is the end of the whole run.

    ``refusal`` is set by a response after which no other journal may be sent.
    """

    endpoints: list[Endpoint]
    pool: ThreadPoolExecutor
    ends: float
    idle: SimpleQueue[Endpoint] = field(default_factory=SimpleQueue)
    refusal: Obstacle | None = None

    def discover(self, on_wait: Callable[[], object]) -> EndpointManifest:
        """Return the manifest of the deployment; the other workers use the same version of HTTP."""
        first = self.endpoints[0]
        (manifest,) = self._run([first.discover], lambda _: on_wait())
        if manifest is None:
            return first.discover()  # raises: the run is over
        for each in self.endpoints[1:]:
            each.is_http2 = first.is_http2
        return manifest

    def judge(self, recordings: Sequence[Recording], on_progress: Callable[[int], None]) -> list[ReplayOutcome | None]:
        """Return the outcome of each recording, in their order; None for those that the end of the run cut off."""
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
            self.refusal = Obstacle(outcome.verdict, f"not sent, because the check was ended: {outcome.reason}")
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
def running(first: Endpoint, *, workers: int, ends: float) -> Iterator[ReplayRunner]:
    """Yield a runner; at the end of the block, also by an error or an interrupt, its requests and threads end."""
    endpoints = [first, *(first.sibling() for _ in range(workers - 1))]
    pool = ThreadPoolExecutor(workers, thread_name_prefix="restate-lab-replay")
    try:
        runner = ReplayRunner(endpoints, pool, ends)
        for each in endpoints:
            runner.idle.put(each)
        yield runner
    finally:
        for each in endpoints:
            each.stop()
        pool.shutdown(wait=True, cancel_futures=True)
        for each in endpoints:
            each.close()
