"""The cost of ``import restate_lab`` beyond the packages that every notebook imports anyway: ``import_time.py``.

Each import runs in a fresh process; the time of an empty one is subtracted. All of them read compiled modules, like
those of an installed package: the first round, which is not counted, compiles them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from functools import partial

from rounds import Figure, compare, in_turn, ratio, say, show, timed, versions

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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="rounds (11)")
    options = parser.parse_args()
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    run = partial(subprocess.run, check=True, env=variables)
    methods = {name: timed(partial(run, [sys.executable, "-c", code])) for name, code in STATEMENTS.items()}
    times = in_turn(methods, options.rounds)
    empty = times.pop(EMPTY)
    net = {name: [a - b for a, b in zip(seconds, empty, strict=True)] for name, seconds in times.items()}
    say(f"{options.rounds} rounds; {versions('none')}\n\n{compare('import', net, PACKAGES)}")
    limits = [Figure(f"{name}, × the packages", ratio(net[name], net[PACKAGES]), 1.1) for name in (LAB, CONNECT)]
    say(show(limits))


if __name__ == "__main__":
    main()
