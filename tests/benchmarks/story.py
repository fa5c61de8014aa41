"""The cost of ``story``: ``story.py --rows 100000``.

In turn: the count, a story of 50 members, the same with a search of all journals, a story of almost 10,000 members, and
the statements for the rows and the journals of these 10,000 alone.
"""

from __future__ import annotations

from functools import partial

from populate import arguments, populated
from rounds import Figure, compare, in_turn, ratio, say, show, timed, versions

import restate_lab as rl
from restate_lab.analysis.journal.reader import JournalReader
from restate_lab.analysis.story.reader import StoryReader
from restate_lab.client.sql.bind import chunks
from restate_lab.reads import Reads

SMALL, LARGE = 50, 9_990
COUNT, OF_SMALL, SEARCHED = "count(*)", f"story of {SMALL}", f"story of {SMALL}, searched"
READ, OF_LARGE = "rows and journals", f"story of {LARGE:,}"
COUNTED = "SELECT count(*) AS n FROM sys_invocation_status"
ROOTS = """SELECT id FROM sys_invocation_status WHERE target_service_name = 'Tales' AND invoked_by_target LIKE 'Filler%'
ORDER BY created_at LIMIT 2"""


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(stories=(SMALL, LARGE))
    options = parser.parse_args()
    with populated(options) as population, rl.connect(population.admin_url, read_only=True) as lab:
        say(f"{population}; {options.rounds} rounds; {versions(population.version)}")
        roots = lab.sql(ROOTS)["id"].tolist()
        small, large = sorted((rl.story(lab, root) for root in roots), key=lambda each: len(each.members))
        say(f"{len(small.members):,} and {len(large.members):,} members, {len(large.phases):,} phases")
        methods = {
            COUNT: partial(lab.arrow, COUNTED, progress=False),
            OF_SMALL: partial(rl.story, lab, small.ids[0]),
            SEARCHED: partial(rl.story, lab, small.ids[0], search=True),
            READ: partial(read_alone, lab, large.ids),
            OF_LARGE: partial(rl.story, lab, large.ids[0], timeout="2m"),
        }
        times = in_turn({name: timed(method) for name, method in methods.items()}, options.rounds)
        say(compare("what", times, COUNT))
        figures = [
            Figure(f"{OF_SMALL}, × count(*)", ratio(times[OF_SMALL], times[COUNT]), at_most=20),
            Figure(f"{OF_LARGE}, × its rows and journals", ratio(times[OF_LARGE], times[READ]), at_most=4),
        ]
        say(show(figures))


def read_alone(lab: rl.Lab, ids: list[str]) -> None:
    """Read the rows and the journals of these invocations, and nothing else."""
    reads = Reads(lab)
    list(StoryReader(reads).runs(ids))
    journals = JournalReader(reads)
    for part in chunks(ids, 500):
        journals.read(part)


if __name__ == "__main__":
    main()
