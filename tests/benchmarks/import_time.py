"""The cost of ``import restate_lab`` beyond the packages that every notebook imports anyway: ``import_time.py``.

Each import runs in a fresh process; the time of an empty one is subtracted. All of them read compiled modules, like
those of an installed package: the first round, which is not counted, compiles them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from functools import partial

from rounds import Figure, in_turn, ratio, show, table, versions

EMPTY, PACKAGES, LAB, CONNECT = "nothing", "pandas, pyarrow, httpx", "restate_lab", "restate_lab.connect"
STATEMENTS = {
    EMPTY: "pass",
    PACKAGES: "import pandas, pyarrow, httpx",
    LAB: "import restate_lab",
    CONNECT: "import restate_lab; restate_lab.connect",
    "connect(check=False)": "import restate_lab; restate_lab.connect('http://127.0.0.1:9070', check=False)",
    "every public name": "import restate_lab; [getattr(restate_lab, name) for name in restate_lab.__all__]",
}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="rounds (11)")
    options = parser.parse_args()
    times = in_turn({name: partial(_run, code) for name, code in STATEMENTS.items()}, options.rounds)
    empty = times.pop(EMPTY)
    net = {name: [a - b for a, b in zip(seconds, empty, strict=True)] for name, seconds in times.items()}
    rows = [
        (name, f"{statistics.median(seconds) * 1000:,.0f}", f"{ratio(seconds, net[PACKAGES]):.2f}")
        for name, seconds in net.items()
    ]
    sys.stdout.write(f"{options.rounds} rounds; {versions('none')}\n\n")
    sys.stdout.write(f"{table(('import', 'median ms', f'× {PACKAGES}'), rows)}\n\n")
    figures = [
        Figure(f"{name}, × the packages", ratio(net[name], net[PACKAGES]), at_most=1.1) for name in (LAB, CONNECT)
    ]
    sys.stdout.write(f"{show(figures)}\n")


def _run(code: str) -> float:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=variables)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
