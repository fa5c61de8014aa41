"""``replay`` on a real server: its verdict is what the server reports after a move, and no step runs."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from restate_lab import errors
from restate_lab.frames import records
from support.clusters import IMITATION, NEWEST, PLAIN
from support.replay_bench import (
    PROTOCOL_5_SERVICES,
    SERVICES,
    ReplayBench,
    Verdict,
    python_services,
    running_replay_bench,
)
from support.replay_cases import ENDED, STRUCTURES, VALUES, programs_of, random_change
from support.typescript_services import PROGRAM, typescript_services

pytestmark = pytest.mark.server

RANDOM, MORE_RANDOM = 40, 300
VQUEUES = {"RESTATE_EXPERIMENTAL_ENABLE_VQUEUES": "true"}
UNIQUE_SEEDS = {"RESTATE_EXPERIMENTAL_ENABLE_UNIQUE_RANDOM_SEEDS": "true"}
LONG = pytest.mark.long
KINDS = (
    pytest.param((NEWEST, {}, SERVICES, RANDOM), id="newest"),
    pytest.param((NEWEST, {}, SERVICES, MORE_RANDOM), id="newest-more", marks=LONG),
    pytest.param((NEWEST, {}, PROTOCOL_5_SERVICES, RANDOM), id="protocol-5", marks=LONG),
    pytest.param((IMITATION, {}, SERVICES, RANDOM), id="1.8", marks=LONG),
    pytest.param((PLAIN, {}, SERVICES, RANDOM), id="plain", marks=LONG),
    pytest.param((PLAIN, {}, PROTOCOL_5_SERVICES, RANDOM), id="protocol-5-plain", marks=LONG),
    pytest.param((PLAIN, VQUEUES, SERVICES, RANDOM), id="vqueues", marks=LONG),
    pytest.param((PLAIN, UNIQUE_SEEDS, SERVICES, RANDOM), id="unique-seeds", marks=LONG),
)
"""A kind of server, its settings, the services, and the number of random programs."""


@dataclass
class VerdictComparison:
    """Invocations of all cases, and for each the expected verdict, the verdict of a replay, and that of the server."""

    bench: ReplayBench
    has_restarts: bool
    """Whether the server restarts invocations of this version of the service protocol."""
    expected: dict[str, str] = field(default_factory=dict)
    cases: dict[str, list[str]] = field(default_factory=dict)
    result: Any = None
    replayed: dict[str, Verdict] = field(default_factory=dict)
    real: dict[str, Verdict] = field(default_factory=dict)
    other_id: dict[str, Verdict] = field(default_factory=dict)
    steps: int = 0
    outside: int = 0
    restarted: dict[str, tuple[Verdict, Verdict, Verdict]] = field(default_factory=dict)
    """For each ended one: the verdict under another id, the server's about the restarted one, and a replay of that."""

    def start(self, case: str, before: Any, after: Any, expected: str = "", **options: Any) -> None:
        id_ = self.bench.start(before, after, **options)
        self.cases.setdefault(case, []).append(id_)
        self.expected[id_] = expected

    def play(self, count: int) -> None:
        for change in VALUES.values():
            for what, before, after in programs_of(change):
                fits = what == "unchanged" or (what == "changed" and not change.diverges)
                self.start("values", before, after, "fits" if fits else "diverges", service=change.service)
        for before, after, expected in STRUCTURES.values():
            self.start("structures", before, after, expected)
        for before, after, expected, _ in ENDED.values():
            self.start("ended", before, after, expected)
        chance = random.Random(19)  # noqa: S311 - it only chooses programs
        for _ in range(count):
            self.start("random", *random_change(chance))
        self.bench.settle(list(self.expected))
        self.replay()
        self.compare()

    def replay(self) -> None:
        self.result = self.bench.replay(list(self.expected))
        self.replayed = verdicts(self.result)
        self.other_id = verdicts(self.bench.replay(self.cases["ended"], as_restart=True))
        self.steps, self.outside = len(self.bench.new.steps), len(self.bench.new.outside)

    def compare(self) -> None:
        deployment = self.bench.register_new()
        opened = [id_ for case, ids in self.cases.items() for id_ in ids if case != "ended"]
        self.real = self.bench.move(opened, deployment)
        after = self.bench.restart(self.cases["ended"], deployment) if self.has_restarts else {}
        again = verdicts(self.bench.replay([new for new, _ in after.values()]))
        self.restarted = {id_: (self.other_id[id_], real, again[new]) for id_, (new, real) in after.items()}


def verdicts(result: Any) -> dict[str, Verdict]:
    return {row["id"]: (row["verdict"], row["command_index"]) for row in records(result.rows)}


@pytest.fixture(scope="module", params=KINDS)
def comparison(
    request: pytest.FixtureRequest, server: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VerdictComparison]:
    kind, settings, services, count = request.param
    serve = partial(python_services, program=services)
    with running_replay_bench(kind, tmp_path_factory.mktemp("replay"), settings, serve) as bench:
        comparison = VerdictComparison(bench, has_restarts=services is not PROTOCOL_5_SERVICES)
        comparison.play(count)
        yield comparison


@pytest.mark.parametrize("case", ["values", "structures", "random"])
def test_the_verdict_and_its_place_are_those_of_the_server(comparison: VerdictComparison, case: str) -> None:
    differences = {
        comparison.bench.describe(id_): (comparison.replayed[id_], comparison.real[id_])
        for id_ in comparison.real.keys() & set(comparison.cases[case])
        if comparison.replayed[id_] != comparison.real[id_]
    }
    assert differences == {}
    assert {"fits", "diverges"} <= {comparison.replayed[id_][0] for id_ in comparison.cases[case]}


@pytest.mark.parametrize("case", ["values", "structures", "ended"])
def test_the_verdict_is_the_expected_one(comparison: VerdictComparison, case: str) -> None:
    wrong = {
        comparison.bench.describe(id_): (comparison.replayed[id_], comparison.expected[id_])
        for id_ in comparison.cases[case]
        if comparison.replayed[id_][0] != comparison.expected[id_]
    }
    assert wrong == {}


def test_restarts(comparison: VerdictComparison) -> None:
    """Under another id, a replay predicts what a restart before the end does; a replay of the restarted one agrees.

    With unique seeds, a restart keeps its random values.
    """
    if not comparison.has_restarts:
        with pytest.raises(errors.RequestRefused, match="old service protocol"):
            comparison.bench.restart(comparison.cases["ended"], "latest")
        return
    has_unique_seeds = bool(comparison.bench.lab.features.get("unique_random_seeds"))
    for (id_, (predicted, real, again)), (name, (*_, expected)) in zip(
        comparison.restarted.items(), ENDED.items(), strict=True
    ):
        is_unclear = again[0] == "cannot say" and has_unique_seeds  # a restarted one may have drawn from another seed
        assert real == again or is_unclear, name
        assert real[0] == ("fits" if name == "a random value" and has_unique_seeds else expected), name
        is_before_end = predicted[1] not in {None, comparison.bench.last_command(id_)}
        assert real == predicted or (not is_before_end and real[0] == "fits"), name
    assert {predicted[0] for predicted, _, _ in comparison.restarted.values()} >= {"fits", "diverges", "other result"}


def test_a_replay_runs_code_outside_of_steps_and_no_step(comparison: VerdictComparison) -> None:
    assert comparison.steps == 0
    assert comparison.outside >= len(comparison.expected)


def test_a_diff_is_the_journal_up_to_the_parting(comparison: VerdictComparison) -> None:
    """Its recorded commands are those of the journal; the first difference is where the server finds the mismatch."""
    result = comparison.result
    statement = "SELECT id, index FROM sys_journal WHERE id IN :ids AND entry_type LIKE 'Command%' ORDER BY id, index"
    journals = comparison.bench.lab.sql(statement, ids=comparison.cases["structures"], progress=False).groupby("id")[
        "index"
    ]
    for id_ in comparison.cases["structures"]:
        frame = result.diff(id_)
        verdict, at = comparison.replayed[id_]
        recorded = frame[frame["recorded"].notna()]
        moved_on = list(journals.get_group(id_))
        assert list(recorded["journal_index"]) == moved_on[: len(recorded)], comparison.bench.describe(id_)
        if at is not None:
            assert frame.attrs["divergence"] == at
            assert comparison.real.get(id_, (verdict, at))[1] == at  # one that backs off was not moved
            assert frame["difference"].notna().tolist() == [number >= at for number in range(len(frame))]
        elif verdict == "fits":
            assert list(recorded["now"]) == list(recorded["recorded"])


@pytest.mark.long
def test_the_verdict_on_typescript_code_is_what_the_server_reports(server: Path, tmp_path: Path) -> None:
    known = set(re.findall(r"^  (\w+):", PROGRAM.read_text("utf-8"), re.MULTILINE))
    with running_replay_bench(NEWEST, tmp_path, serve=typescript_services) as bench:
        ids = [
            bench.start(before, after)
            for before, after in [
                *((before, after) for change in VALUES.values() for _, before, after in programs_of(change)),
                *((before, after) for before, after, _ in STRUCTURES.values()),
            ]
            if {operation for operation, *_ in before + after} <= known
        ]
        assert len(ids) > 60
        bench.settle(ids)
        result = bench.replay(ids)
        assert result.sdk.startswith("restate-sdk-typescript/")
        assert bench.new.steps == []
        replayed, real = verdicts(result), bench.move(ids, bench.register_new())
        assert len(real) > 50  # those that back off were not moved
        assert {bench.describe(id_): (replayed[id_], real[id_]) for id_ in real if replayed[id_] != real[id_]} == {}
        assert {"fits", "diverges", "fails"} <= {verdict for verdict, _ in real.values()}
