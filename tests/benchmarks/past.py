"""The cost of ``lab.at(time)`` and of the verbs on it: ``past.py --rows 74000 --executed 0.3 --trouble small``.

In turn: the count, ``at`` for the present and for a time since which many invocations have changed, and each verb now
and on both. Below: the memory and the requests of each method.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from functools import partial

import httpx
from populate import arguments, populated
from rounds import MIB, compare, growth_since, in_turn, reset_peak, say, table, timed, versions

import restate_lab as rl
from restate_lab.client.lab import Lab
from restate_lab.client.settings import load_settings

COUNT = "count(*)"
COUNTED = "SELECT count(*) AS n FROM sys_invocation_status"
BUSIEST = "SELECT median(arrow_cast(running_at, 'Int64')) AS ms FROM sys_invocation_status WHERE status = 'completed'"
CHANGED = "SELECT count(*) AS n FROM sys_invocation_status WHERE created_at <= :time AND modified_at > :time"


def _panel(source: rl.Source) -> object:
    with closing(rl.Panel(source, refresh=None)) as panel:
        return panel.frame


VERBS: dict[str, Callable[[rl.Source], object]] = {
    "overview": lambda source: rl.ask(source, "overview"),
    "doctor": lambda source: rl.doctor(source, timeout="5m"),
    "waits": lambda source: rl.waits(source, timeout="5m"),
    "panel": _panel,
}


class CountedRequests(httpx.HTTPTransport):
    """Counts the requests that it sends."""

    sent = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        self.sent += 1
        return super().handle_request(request)


def main() -> None:
    options = arguments(__doc__).parse_args()
    network = CountedRequests()
    with populated(options) as population, Lab(load_settings(population.admin_url), network=network) as lab:
        say(f"{population}; {options.rounds} rounds; {versions(population.version)}")
        busy = datetime.fromtimestamp(lab.sql(BUSIEST)["ms"][0] / 1000, UTC)
        times = {"now": None, "at 1s ago": "1s", "at a busy time": busy}
        say(f"{lab.sql(CHANGED, time=busy)['n'][0]:,} invocations have changed since the busy time")
        methods: dict[str, Callable[[], object]] = {COUNT: partial(lab.arrow, COUNTED, progress=False)}
        for name, time in times.items():
            source: rl.Source = lab
            if time is not None:
                methods[name] = partial(lab.at, time)
                source = lab.at(time)
            methods |= {f"{verb}, {name}": partial(call, source) for verb, call in VERBS.items()}
        costs = [(name, *_costs(network, method)) for name, method in methods.items()]
        say(table(("what", "requests", "peak MB"), costs))
        say(compare("what", in_turn({name: timed(method) for name, method in methods.items()}, options.rounds), COUNT))


def _costs(network: CountedRequests, method: Callable[[], object]) -> tuple[str, str]:
    """Return the requests of a call, and how much its memory grew."""
    before, peak = network.sent, reset_peak()
    method()
    return str(network.sent - before), f"{growth_since(peak) / MIB:,.0f}"


if __name__ == "__main__":
    main()
