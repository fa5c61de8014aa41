"""Write a large archive, and measure it as a history: ``history.py --archive /tmp/1m --runs 1000000``.

An archive that exists is only measured. ``--compact`` merges the files of each day before. The times are ratios to a
plain count of all runs with the native engine of Delta, in turn; memory is that of a fresh process.
"""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from rounds import say

from support.large_archive import write_archive


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, required=True, help="the folder of the archive")
    parser.add_argument("--runs", type=int, default=1_000_000, help="runs of an archive to write (1000000)")
    parser.add_argument("--days", type=int, default=10, help="its days (10)")
    parser.add_argument("--every", type=int, default=60, help="minutes between its visits (60)")
    parser.add_argument("--shards", type=int, default=1, help="its archivers (1)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if not options.archive.exists():
        write(options)


def write(options: argparse.Namespace) -> None:
    visits = write_archive(
        options.archive,
        runs=options.runs,
        days=options.days,
        every=timedelta(minutes=options.every),
        shards=options.shards,
        seed=options.seed,
    )
    for number, runs in enumerate(visits):
        if number % 24 == 0:
            say(f"{runs:,} runs")


if __name__ == "__main__":
    main()
