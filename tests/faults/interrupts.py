"""A thousand random interrupts of all verbs: ``python tests/faults/interrupts.py --fresh 300 --warm 700``.

A fresh session is interrupted at its first use of a verb, while libraries are loaded; a warm one has used all verbs.
After each interrupt the session must give the right results, and leave no thread, socket or file; at the end the audit
log must have a result for each change that agrees with the server. Run by hand; the suite has a short version.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from support.interrupted import main  # noqa: E402

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fresh", type=int, default=300, help="fresh sessions, with one interrupt each (300)")
    parser.add_argument("--warm", type=int, default=700, help="interrupts of warm sessions, 100 in each (700)")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the random times (0)")
    parser.add_argument("--at-once", type=int, default=2, help="fresh sessions at a time (2)")
    options = parser.parse_args()
    main(options.fresh, options.warm, seed=options.seed, at_once=options.at_once)
