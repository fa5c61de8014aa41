"""The critical path and the phases of a story, compared with a computation of each millisecond by itself."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from restate_lab.analysis.story.critical import Cause, critical_path, end_of_story
from restate_lab.analysis.story.journals import StoryEntry, StoryJournal
from restate_lab.analysis.story.runs import StoryRun
from restate_lab.analysis.story.timeline import EntryAnswer, RunTimeline

NOW = 60
CALLS = ("Call", "AttachInvocation")
ANSWERED = ("Signal", "GetPromise")
PLAIN = ("Run", "Sleep")


@dataclass(frozen=True)
class RandomEntry:
    type: str
    started: int
    completed: int | None
    other: str | None = None
    at: int | None = None


@dataclass(frozen=True)
class RandomMember:
    """One member: its times, entries and recorded failures; ``has_output``: it returned."""

    id: str
    created: int
    scheduled: int | None
    begun: int | None
    ended: int | None
    has_output: bool
    entries: list[RandomEntry]
    errors: list[int]
    pauses: list[int]

    @property
    def end(self) -> int:
        return NOW if self.ended is None else self.ended

    def timeline(self) -> RunTimeline:
        row = {"ended": self.ended is not None, "status": "running" if self.ended is None else "completed"}
        run = StoryRun(self.id, self.id, self.created, self.ended, self.begun, self.scheduled, None, None, None, row)
        entries = [
            StoryEntry(each.type, place, each.started, each.completed, True, True, "", None, None)  # noqa: FBT003
            for place, each in enumerate(self.entries)
        ]
        if self.has_output:
            entries.append(StoryEntry("Output", len(entries), self.end, self.end, True, True, "", None, None))  # noqa: FBT003
        journal = StoryJournal(run, entries, [], self.errors, self.pauses, True, False, 0)  # noqa: FBT003
        answers = {
            place: EntryAnswer(each.other, each.at) for place, each in enumerate(self.entries) if each.other is not None
        }
        return RunTimeline(run, journal, NOW, answers)


@dataclass(frozen=True)
class Ticks:
    """The definition of the critical path, for one millisecond at a time."""

    members: Mapping[str, RandomMember]
    causes: Mapping[str, Cause]
    active: frozenset[tuple[str, int]] = field(default=frozenset())

    def explain(self, id_: str, at: int, floor: int | None, tick: int, active: frozenset[Any] = frozenset()) -> Any:
        """Return (member, kind) of the millisecond after ``tick`` for a path that is at ``at`` in a member."""
        member = self.members[id_]
        last: Any = None
        for place, each in enumerate(member.entries):
            done = each.completed
            if done is None and (member.ended is None or not member.has_output):
                done = member.end
            if done is None:
                continue
            done, started = min(done, member.end), max(each.started, member.created)
            if started < done <= at and (last is None or (done, place) > last[:2]):
                last = done, place, started, each
        if last is None or (floor is not None and last[0] <= floor):
            return self.before_entries(member, tick)
        done, _, started, each = last
        if tick >= done:
            return id_, own(member, tick)
        since = started if floor is None else max(started, floor)
        if tick < since:
            return self.explain(id_, since, floor, tick, active)
        return self.inside(member, each, (since, done), tick, active | {(id_, at)})

    def before_entries(self, member: RandomMember, tick: int) -> Any:
        if tick >= member.created:
            return member.id, own(member, tick)
        cause = self.causes.get(member.id)
        if cause is None:
            return None
        source = self.members[cause.id]
        at = min(source.end if cause.is_restart else cause.at, member.created)
        if tick >= at:
            return source.id, "waiting" if cause.is_restart else "running"
        return self.explain(source.id, at, None, tick)

    def inside(self, member: RandomMember, each: RandomEntry, times: tuple[int, int], tick: int, active: Any) -> Any:
        since, done = times
        if each.other is None:
            marks = [mark for mark in failures(member) if each.started <= mark[0] < done and mark[0] <= tick]
            kinds = {"Sleep": "sleeping", "Run": marks[-1][1] if marks else "running"}
            return member.id, kinds.get(each.type, "waiting")
        other = self.members[each.other]
        answered = max(since, min(other.end if each.at is None else each.at, other.end, done))
        if (other.id, answered) in active:
            return member.id, "waiting"
        created = min(max(since, other.created), answered)
        if tick >= answered:
            return member.id, "running"
        if tick < created:
            return member.id, "running" if each.type in CALLS else "waiting"
        return self.explain(other.id, answered, created, tick, active)


def failures(member: RandomMember) -> list[tuple[int, str]]:
    marks = [(at, 1, "retrying") for at in member.errors] + [(at, 2, "waiting") for at in member.pauses]
    return [(at, kind) for at, _, kind in sorted(marks)]


def own(member: RandomMember, tick: int) -> str:
    """Return what a member does by itself in the millisecond after ``tick``."""
    scheduled = min(max(member.scheduled or member.created, member.created), member.end)
    first = [each.started for each in member.entries[:1]] + ([member.end] if member.has_output else [])
    seen = [*first[:1], *sorted(member.errors)[:1]]
    begun = member.begun if member.begun is not None else min(seen, default=member.end)
    if tick < scheduled:
        return "sleeping"
    if tick < max(begun, scheduled):
        return "queued"
    marks = [(at, 1, "retrying") for at in member.errors] + [(at, 2, "waiting") for at in member.pauses]
    for each in member.entries:
        marks += [(at, 0, "running") for at in (each.started, each.completed) if at is not None]
    marks += [(member.end, 0, "running")] if member.has_output else []
    last = [mark for mark in sorted(marks) if mark[0] <= tick]
    return last[-1][2] if last else "running"


def random_story(rng: random.Random) -> tuple[dict[str, RandomMember], dict[str, Cause]]:
    ids = "ABCDE"[: rng.randint(1, 5)]
    created = dict(zip(ids, sorted(rng.randint(0, 40) for _ in ids), strict=True))
    members, causes = {}, {}
    for place, id_ in enumerate(ids):
        born = created[id_]
        ended = rng.choice([None, rng.randint(born, NOW)])
        end = NOW if ended is None else ended
        entries = sorted(
            (random_entry(rng, ids, born, end) for _ in range(rng.randint(0, 5))), key=lambda each: each.started
        )
        begun = rng.choice([None, rng.randint(born, end)])
        times = [rng.randint(born, end) for _ in range(rng.choice([0, 0, 1, 3]))]
        members[id_] = RandomMember(
            id_,
            born,
            rng.choice([None, rng.randint(born, end)]),
            begun,
            ended,
            ended is not None and rng.random() < 0.7,
            entries,
            sorted(times[1:]),
            times[:1],
        )
        if place and rng.random() < 0.8:
            source = rng.choice(ids[:place])
            causes[id_] = Cause(source, rng.randint(created[source], born), rng.random() < 0.3)
    return members, causes


def random_entry(rng: random.Random, ids: str, born: int, end: int) -> RandomEntry:
    started = rng.randint(born, end)
    completed = rng.choice([None, rng.randint(started, end), rng.randint(started, end)])
    kind = rng.choice([*CALLS, *ANSWERED, *PLAIN])
    other = rng.choice([None, *ids]) if kind not in PLAIN else None
    at = rng.randint(0, NOW) if kind in ANSWERED and other else None
    return RandomEntry(kind, started, completed, other, at)


@pytest.mark.parametrize("seed", range(8))
def test_the_path_is_that_of_each_millisecond(seed: int) -> None:
    """On 50 random stories, with circles of waits, the path has no gap and says the same as the definition."""
    rng = random.Random(seed)  # noqa: S311 - a sample
    for _ in range(50):
        members, causes = random_story(rng)
        timelines = {id_: member.timeline() for id_, member in members.items()}
        last = end_of_story(timelines, list(members))
        path = critical_path(timelines, causes, last)
        ticks = Ticks(members, causes)
        explained = {tick: ticks.explain(last, members[last].end, None, tick) for tick in range(members[last].end)}
        expected = {tick: each for tick, each in explained.items() if each is not None}
        found = {tick: (span.id, span.kind) for span in path for tick in range(span.started, span.ended)}
        assert found == expected
        assert sum(span.ended - span.started for span in path) == len(found)
        assert [span.started for span in path[1:]] == [span.ended for span in path[:-1]]


def test_phases_fill_the_life_of_a_member() -> None:
    rng = random.Random(44)  # noqa: S311 - a sample
    for _ in range(200):
        members, _ = random_story(rng)
        for member in members.values():
            spans = member.timeline().phases()
            ticks = [tick for span in spans for tick in range(span.started, span.ended)]
            assert ticks == list(range(member.created, member.end))
