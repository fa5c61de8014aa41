"""Replay recorded journals on a deployment of new code, without running a step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from restate_lab.analysis.ids import Targets
from restate_lab.analysis.replay.check import ReplayCheck, confirm_address
from restate_lab.analysis.replay.result import Replay
from restate_lab.client.arguments import check_count, check_seconds, check_strings
from restate_lab.client.endpoint import Endpoint
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError
from restate_lab.progress import Progress
from restate_lab.reads import begin
from restate_lab.redaction import Secret
from restate_lab.source import Source

_MOST_WORKERS = 64


@translate_errors
def replay(
    source: Source,
    targets: Targets,
    deployment: str,
    /,
    *,
    as_restart: bool = False,
    sample: int | None = 200,
    timeout: DurationInput = "2m",
    journal_timeout: DurationInput = "10s",
    workers: int = 4,
    headers: Mapping[str, str | Secret] | None = None,
    allow: Iterable[str] = (),
    confirm: str | None = None,
    progress: bool | Progress | None = None,
) -> Replay:
    """Replay recorded journals on a deployment of new code, and report whether it takes the recorded paths.

        rl.replay(lab, {"service": "Orders"}, "http://127.0.0.1:9081", confirm="http://127.0.0.1:9081")

    It predicts RT0016 before new code is deployed. Each journal is sent to the deployment like the server does, with a
    final command that no code can match, so no step runs. **Code outside of steps runs**: logs, metrics, unwrapped HTTP
    calls, ``except`` and ``finally`` blocks. Use a deployment that is not connected to production. ``confirm`` must
    repeat the address that is contacted. Nothing is registered, and nothing on the cluster changes, so a read-only
    connection may replay.

    ``targets``: ids, a frame with a column ``id``, or filters of the list such as ``{"service": "Orders", "status":
    "all"}``; by default filters select invocations that have not ended. ``deployment``: an address, or the id of a
    registered deployment. ``as_restart`` replays under another id, as after a restart from a prefix: code that sends
    the ids of awakeables, or random values, diverges then. ``sample``: the maximum number of journals, spread over
    those with different paths; None checks all. ``timeout`` is for the whole call; when it is over, the result is
    incomplete, and the others are in ``not_read``. ``journal_timeout`` is the limit of one request. ``headers`` are
    sent only to the deployment and never shown. ``allow``: SDKs (as in ``x-restate-server``, "restate-sdk-java") to
    check although it was never tried that they run no step; "unknown" is one without a name. ``progress``: None or True
    shows a line once the call takes longer than a second, False shows nothing, and a ``Progress`` is updated instead.

    ``help(rl.Replay)`` describes the frames of the result.

    Raises:
        ArgumentError: an argument is invalid, or ``confirm`` is not the address.
        StepRan: the deployment ran a step, or did not stop after the journal; the check was ended.
        NotFound: the deployment's id is not registered.
        Unreachable, ServerFailed: no Restate endpoint is at the address.
        TimedOut: the invocations were not read within ``timeout``, or the deployment does not respond.
    """
    seconds, limit = check_seconds("timeout", timeout), check_seconds("journal_timeout", journal_timeout)
    if not seconds or not limit:
        raise ArgumentError("timeout and journal_timeout must be more than 0; use for example '2m' and '10s'.")
    if check_count("workers", workers, least=1) > _MOST_WORKERS:
        raise ArgumentError(f"workers is {workers}; choose from 1 to {_MOST_WORKERS}.")
    most = None if sample is None else check_count("sample", sample, least=1)
    secrets = {name: Secret(value) for name, value in check_strings("headers", headers or {}, as_headers=True).items()}
    names: list[Any] = [allow] if isinstance(allow, str) else list(allow)
    for name in names:
        if not isinstance(name, str) or not name:
            raise ArgumentError(f"allow has {name!r}; pass names of SDKs such as 'restate-sdk-java'.")
    reads = begin(source, "replay", seconds)
    check = ReplayCheck(source, reads, as_restart=bool(as_restart), allowed=frozenset(names))
    address, registered = check.resolve(deployment)
    confirm_address(address, confirm)
    endpoint = Endpoint(address, {**registered, **secrets}, limit)
    return check.replay(targets, endpoint, most=most, workers=workers, progress=progress)
