"""Memory, threads and open files of processes that run for hours: ``soak.py --minutes 120``, on the demo's incident.

At the same time: ``restate-lab watch --archive --every 10s`` with a receiver, a process that calls ``doctor``,
``waits``, ``why``, ``story``, ``journal`` and ``plan`` in turn, and ``restate-lab serve`` with a reader of its pages.
Every few seconds, an invocation ends. In the middle, the server is stopped for a minute and started again, and then the
receiver. The growth is the slope of least squares after the first half hour, or after the first quarter of a shorter
run. It is the growth of the memory that only the process has: the kernel takes pages of mapped files, and reads them
again, as it needs. Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
from rounds import MIB, Figure, say, show, table, versions

import restate_lab as rl
from restate_lab.demo.embedded import Embedded
from restate_lab.demo.install import find_server
from restate_lab.demo.process import Process
from restate_lab.demo.server import free_ports, server_settings, settings_for
from restate_lab.demo.stories import STORIES
from restate_lab.environment import clean_environment
from restate_lab.errors import RestateLabError

WATCH, LOOP, SERVE = "watch", "verbs", "serve"
INTERVAL = 10  # seconds between two visits
PAUSE = 5.0  # seconds between two calls, pages, invocations and samples
DOWN = 60.0  # seconds for which the server, and then the receiver, is stopped
SETTLED = 60.0  # seconds at the end for the last visits and messages
READY_WITHIN = 120.0
HALF_HOUR = 1800.0
REPORT = 600.0
HOUR = 3600.0
AT_MOST = {"MiB an hour": 5.0, "threads": 40, "files more at the end": 2}  # a connection can be open at one of the ends
RETRYING = "SELECT id FROM sys_invocation WHERE status = 'backing-off' ORDER BY created_at"
ENDED = "SELECT id FROM sys_invocation WHERE status = 'completed'"
PAGES = ("/", "/invocations", "/waits", "/queues", "/contrast", "/questions", "/invocation/{id}", "/story/{id}")
PRINTED = re.compile(r"^(OPENED|WORSE|RESOLVED) .*?\n  \S+ (\S+)$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Sample:
    at: float
    memory: int
    resident: int  # with the pages of mapped files
    threads: int
    files: int


@dataclass
class Receiver:
    """Takes the messages of ``watch``; ``events`` are (fingerprint, event) in order."""

    events: list[tuple[str, str]] = field(default_factory=list)
    port: int = field(default_factory=lambda: free_ports(1)[0])
    _server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self.events))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def _handler(events: list[tuple[str, str]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["content-length"])))
            events.append((message["fingerprint"], message["event"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120, help="the duration (120)")
    parser.add_argument("--loop", metavar="URL", help="be the process that calls the verbs")
    options = parser.parse_args()
    if options.loop:
        call_verbs(options.loop)
    with TemporaryDirectory(prefix="restate-lab-") as temporary, ExitStack() as stack:
        folder = Path(temporary)
        demo = stack.enter_context(Embedded(find_server(), folder / "demo", story=STORIES["incident"]))
        receiver = Receiver()
        receiver.start()
        stack.callback(receiver.stop)
        say(f"{options.minutes:g} minutes; {versions(demo.server.version)}")
        processes = stack.enter_context(started(demo, receiver, folder))
        for task in (partial_reader(folder, demo), lambda: add_invocation(demo)):
            stack.enter_context(repeated(task))
        samples = observed(processes, options.minutes * 60, [lambda: interrupt(demo), lambda: pause(receiver)])
        report(samples)
        check_results(demo, receiver, folder)


@contextmanager
def started(demo: Embedded, receiver: Receiver, folder: Path) -> Iterator[dict[str, psutil.Process]]:
    """Start the three processes, and stop them at the end."""
    config, token = folder / "config.toml", folder / "token"
    addresses = {"admin_base_url": demo.server.admin_url, "ingress_base_url": demo.server.ingress_url}
    config.write_text("[soak]\n" + "".join(f'{name} = "{value}"\n' for name, value in addresses.items()))
    token.touch(mode=0o600)
    token.write_text(secrets.token_urlsafe(32))
    (folder / "port").write_text(str(free_ports(1)[0]))
    env = {**os.environ, "RESTATE_CLI_CONFIG": str(config), "XDG_STATE_HOME": str(folder / "state")}
    lab = [sys.executable, "-c", "from restate_lab.cli import main; main()"]
    archive = ["--every", f"{INTERVAL}s", "--archive", str(folder / "archive"), "--state", str(folder / "watch.sqlite")]
    to = f"json://127.0.0.1:{receiver.port}/"
    listen = f"127.0.0.1:{(folder / 'port').read_text()}"
    commands = {
        WATCH: [*lab, "watch", "-e", "soak", *archive, "--to", to],
        LOOP: [sys.executable, __file__, "--loop", demo.server.admin_url],
        SERVE: [*lab, "serve", "-e", "soak", "--listen", listen, "--token-file", str(token)],
    }
    with ExitStack() as stack:
        processes = {}
        for name, command in commands.items():
            output = stack.enter_context((folder / f"{name}.txt").open("w"))
            process = subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT)
            stack.callback(stopped, process)
            processes[name] = psutil.Process(process.pid)
        yield processes


def stopped(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()


@contextmanager
def repeated(task: Callable[[], object]) -> Iterator[None]:
    """Call a function again and again in a thread; it may fail while the server is stopped."""
    end = threading.Event()

    def run() -> None:
        while not end.wait(PAUSE):
            with suppress(httpx.HTTPError):
                task()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def partial_reader(folder: Path, demo: Embedded) -> Callable[[], None]:
    """Return a function that fetches the next page."""
    headers = {"authorization": f"Bearer {(folder / 'token').read_text()}"}
    client = httpx.Client(base_url=f"http://127.0.0.1:{(folder / 'port').read_text()}", headers=headers, timeout=60)
    numbers = count()
    id_ = demo.roles["storm_503_1"]

    def read() -> None:
        client.get(PAGES[next(numbers) % len(PAGES)].format(id=id_), follow_redirects=True)

    return read


def add_invocation(demo: Embedded) -> None:
    httpx.post(f"{demo.server.ingress_url}/Inventory/soap/restock", json=1, timeout=30)


def call_verbs(url: str) -> None:
    """Call the verbs in turn for invocations that are retried, and build their cards."""
    with rl.connect(url, read_only=True) as lab:
        for number in count():
            with suppress(RestateLabError):
                ids = lab.sql(RETRYING)["id"].tolist()
                id_ = ids[number % len(ids)]
                for verb in verbs(lab, id_, ids):
                    verb()._repr_html_()
            time.sleep(PAUSE)


def verbs(lab: rl.Lab, id_: str, ids: Sequence[str]) -> list[Callable[[], Any]]:
    return [
        lambda: rl.doctor(lab),
        lambda: rl.waits(lab),
        lambda: rl.why(lab, id_),
        lambda: rl.story(lab, id_),
        lambda: rl.journal(lab, id_),
        lambda: rl.plan(lab, "resume", ids),
    ]


def observed(
    processes: Mapping[str, psutil.Process], seconds: float, faults: Sequence[Callable[[], None]]
) -> dict[str, list[Sample]]:
    """Return samples of the processes; the faults begin in the middle, one after the other."""
    samples: dict[str, list[Sample]] = {name: [] for name in processes}
    begin = time.monotonic()
    thread = threading.Thread(target=lambda: [fault() for fault in faults])
    told = 0.0
    while (at := time.monotonic() - begin) < seconds:
        for name, process in processes.items():
            with process.oneshot():
                memory = process.memory_info()
                own = memory.rss - memory.shared
                sample = Sample(at, own, memory.rss, process.num_threads(), process.num_fds())
            samples[name].append(sample)
        if at > seconds / 2 and thread.ident is None:
            thread.start()
        if at - told > REPORT:
            told = at
            say(f"{at / 60:.0f} minutes: " + "; ".join(f"{name} {text(each[-1])}" for name, each in samples.items()))
        time.sleep(PAUSE)
    thread.join()
    return samples


def text(sample: Sample) -> str:
    sizes = f"{sample.memory / MIB:.0f} MiB, resident {sample.resident / MIB:.0f} MiB"
    return f"{sizes}, {sample.threads} threads, {sample.files} files"


def interrupt(demo: Embedded) -> None:
    """Stop the server, and start it again with its data and its ports."""
    server = demo.server
    server.process.stop()
    time.sleep(DOWN)
    admin, ingress = (str(urlsplit(url).port) for url in (server.admin_url, server.ingress_url))
    ports = {"RESTATE_ADMIN__BIND_PORT": admin, "RESTATE_INGRESS__BIND_PORT": ingress}
    ports["RESTATE_BIND_PORT"] = str(free_ports(1)[0])
    env = clean_environment(**server_settings(server.base_dir), **settings_for(server.binary), **ports)
    log = server.base_dir / "restarted.log"
    server.process = Process([str(server.binary), "--no-logo"], env=env, log=log)
    deadline = time.monotonic() + READY_WITHIN
    while not demo.api.is_ready() and time.monotonic() < deadline:
        time.sleep(1)


def pause(receiver: Receiver) -> None:
    receiver.stop()
    time.sleep(DOWN)
    receiver.start()


def report(samples: Mapping[str, list[Sample]]) -> None:
    """Print the growth, the most threads, and the files of each process."""
    rows, figures = [], []
    for name, all_samples in samples.items():
        end = all_samples[-1].at
        begin = min(HALF_HOUR, end / 4)
        late = [each for each in all_samples if each.at >= begin]
        hours, sizes = [each.at / HOUR for each in late], [each.memory / MIB for each in late]
        slope = statistics.linear_regression(hours, sizes).slope
        threads = max(each.threads for each in late)
        first, last = (statistics.median(each.files for each in part) for part in (late[:20], late[-20:]))
        values = (slope, threads, last - first)
        figures += [
            Figure(f"{name}: {what}", value, at_most)
            for (what, at_most), value in zip(AT_MOST.items(), values, strict=True)
        ]
        resident = max(each.resident for each in all_samples) / MIB
        sizes_text = (f"{size:.0f}" for size in (sizes[0], sizes[-1], max(sizes), resident))
        rows.append((name, *sizes_text, f"{slope:+.1f}", str(threads), f"{first:g}", f"{last:g}"))
    header = ("process", "MiB then", "at end", "most", "resident", "MiB an hour", "threads", "files", "at end")
    say(f"after the first {begin / 60:.0f} of {end / 60:.0f} minutes:\n\n{table(header, rows)}")
    say(show(figures))


def check_results(demo: Embedded, receiver: Receiver, folder: Path) -> None:
    """Print how many ended invocations the archive does not have, and how many events did not arrive."""
    with closing(rl.connect(demo.server.admin_url, read_only=True)) as lab:
        ended = set(lab.sql(ENDED)["id"])
    time.sleep(SETTLED)
    with rl.open_history(folder / "archive") as history:
        missing = ended - set(history.sql(ENDED)["id"])
    printed = [(name, event.lower()) for event, name in PRINTED.findall((folder / f"{WATCH}.txt").read_text())]
    lost = Counter(printed) - Counter(receiver.events)
    say(f"{len(ended):,} ended invocations, {len(printed):,} events of alerts; {len(receiver.events):,} arrived")
    say(
        show([Figure("missing in the archive", len(missing), 0), Figure("events that did not arrive", lost.total(), 0)])
    )


if __name__ == "__main__":
    main()
