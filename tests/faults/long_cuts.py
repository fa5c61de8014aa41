"""Every byte at which a real response can be cut, by closing and by resetting: ``python tests/faults/long_cuts.py``.

Run by hand and nightly; the suite tests the boundaries.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

import restate_lab as rl  # noqa: E402
from support.clusters import NEWEST, KindServer  # noqa: E402
from support.faults import END_OF_ANSWER  # noqa: E402
from support.tcp_relay import Fault, tcp_relay  # noqa: E402

ANSWER = """SELECT value, concat('inv_', value) AS id, value % 7 = 0 AS b, [value] AS l
FROM generate_series(1, 400) ORDER BY 1"""


def main() -> None:
    """Test them all; end with an error at the first incomplete result."""
    fault = Fault(where=b"/query", armed=False)
    with tempfile.TemporaryDirectory() as folder, KindServer(NEWEST) as server:
        with tcp_relay(server.admin_url, fault=fault) as line, rl.connect(line.url, audit=folder) as lab:
            whole = lab.arrow(ANSWER, progress=False)
            answer = bytes(line.answers[-1])
            fault.armed = True
            for end in ("close", "reset"):
                fault.end = end  # type: ignore[assignment]
                say(f"{end}: {dict(cuts(lab, fault, answer, whole))}")


def cuts(lab: rl.Lab, fault: Fault, answer: bytes, whole: object) -> Counter[str]:
    """Cut at every byte; return each outcome with its count."""
    counts: Counter[str] = Counter()
    body, last = answer.index(b"\r\n\r\n") + 4, len(answer) - len(END_OF_ANSWER) + 8
    for place in range(1, len(answer) + 1):
        fault.passes, fault.times = place, fault.seen + 1
        try:
            right = lab.arrow(ANSWER, progress=False).equals(whole)
        except rl.errors.QueryInterrupted:
            counts["interrupted"] += 1
            expected = body <= place < last or fault.end == "reset"
        else:
            counts["right"] += 1
            expected = right and (place < body or place >= last or fault.end == "reset")
        if not expected:
            raise SystemExit(f"cut at {place} of {len(answer)} ({fault.end}): not as it should be, {dict(counts)}")
    return counts


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
