"""Find the members of a story and their edges, in rounds, until nothing new is connected.

Each round reads the journals of the new members, and the rows of all invocations that they name, by id. After the
rounds, one scan finds what no journal of a member names: children of members without a complete journal, restarts,
other invocations of the same trace, the other handlers of a workflow, and, if the journals of all invocations are
searched, their owners. What is found begins new rounds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from restate_lab._text import plural
from restate_lab.analysis.story.journals import NamedId, StoryEntry, StoryJournal, journal_of
from restate_lab.analysis.story.model import EdgeKind, FoundBy, KnownFrom
from restate_lab.analysis.story.reader import JournalSearch, StoryReader
from restate_lab.analysis.story.runs import CLOCK, LATE, KnownRuns, StoryRun, unread_ids
from restate_lab.errors import ResultTooLarge, TimedOut

MOST_MEMBERS = 10_000
MOST_ROUNDS = 1_000
AT_ONCE = 1_000  # milliseconds in which the result of a completed promise arrives
CALLS = ("call", "one-way call", "invoked")
"""The kinds of edges by which an invocation is created."""


WorkflowKey: TypeAlias = tuple[str, str]


class RunEdge(NamedTuple):
    """An edge between two runs, by their ids; times are milliseconds, ``number`` is the index of the entry."""

    source: str
    target: str
    kind: EdgeKind
    number: int | None
    at: int
    done: int | None
    known_from: KnownFrom = "journal"
    token: str | None = None


class Membership(NamedTuple):
    """How a member was found."""

    by: FoundBy
    source: str | None


@dataclass
class Discovery:
    """The members and edges that are known so far; ``gaps`` has the ids with an unknown edge, by reason."""

    reader: StoryReader
    is_searched: bool = False
    known: KnownRuns = field(default_factory=KnownRuns)
    members: dict[str, Membership] = field(default_factory=dict)
    journals: dict[str, StoryJournal] = field(default_factory=dict)
    edges: dict[tuple[object, ...], RunEdge] = field(default_factory=dict)
    gaps: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    stopped: str = ""
    _new: list[StoryRun] = field(default_factory=list)
    _scanned: set[str] = field(default_factory=set)
    _traces: set[str] = field(default_factory=set)
    _workflows: dict[WorkflowKey, list[StoryRun]] = field(default_factory=dict)
    _candidates: defaultdict[str, dict[str, StoryRun]] = field(default_factory=lambda: defaultdict(dict))
    _left: set[str] = field(default_factory=set)
    _unread: set[str] = field(default_factory=set)
    _search: JournalSearch | None = None
    _unsearched: str = ""

    def begin(self, runs: Iterable[StoryRun], found_by: FoundBy) -> None:
        """Make these runs members."""
        for run in runs:
            self._join(run, Membership(found_by, None))

    def follow(self) -> None:
        """Find everything that is connected with the members; after the timeout, ``stopped`` has the reason."""
        try:
            for _ in range(MOST_ROUNDS):
                if not self._new and not self._scan():
                    return
                self._round()
            self.stopped = f"it has more than {MOST_ROUNDS:,} steps from one invocation to the next"
        except TimedOut as error:
            self.stopped = f"not everything was read within the timeout ({error})"

    def finish(self) -> None:
        """Read nothing more: give members whose journal was not read an empty one, and link those of the same key."""
        for id_ in self.members:
            if id_ not in self.journals:
                self._unread.add(id_)
                self.journals[id_] = journal_of(self.known.by_id[id_], (), (), 0)
        of_key = [self.known.by_id[id_] for id_, each in self.members.items() if each.by == "key" and not each.source]
        targets = {edge.target for edge in self.edges.values()}
        oldest = min(of_key, key=lambda run: (run.created, run.id), default=None)
        for run in of_key:
            if oldest is not None and run is not oldest and run.id not in targets:
                self._connect(RunEdge(oldest.id, run.id, "key", None, run.created, None, "row"))
                self.members[run.id] = Membership("key", oldest.id)

    def _round(self) -> None:
        frontier, self._new = self._new, []
        self._read_journals(frontier)
        named = [each.id for run in frontier for each in self.journals[run.id].named]
        above = [id_ for run in frontier for id_ in (run.caller, run.restarted)]
        self.read([*named, *above])
        callers = [self.known.before(run.caller, run.created) for run in frontier if run.caller]
        self._read_journals([caller for caller in callers if caller is not None])
        for run in frontier:
            self._link_row(run)
            for each in self.journals[run.id].named:
                self._link_named(run, each)
            for candidate in self._candidates.get(run.plain, {}).values():
                self._link_row(candidate)

    def read(self, ids: Iterable[str | None]) -> None:
        """Read the runs of the ids that were not read yet."""
        wanted = list(unread_ids(self.known, ids))
        if wanted:
            self.known.add(wanted, self.reader.runs(wanted))

    def _read_journals(self, runs: Iterable[StoryRun]) -> None:
        wanted = {run.id: run for run in runs if run.id not in self.journals}
        for journal in self.reader.journals(list(wanted.values())) if wanted else ():
            self.journals[journal.run.id] = journal

    def _join(self, run: StoryRun, membership: Membership) -> bool:
        """Make a run a member; False if the story is full."""
        if run.id in self.members:
            return True
        if len(self.members) >= MOST_MEMBERS:
            self._left.add(run.id)
            return False
        self.members[run.id] = membership
        self._new.append(run)
        return True

    def _connect(self, edge: RunEdge) -> None:
        key = (edge.source, edge.target, edge.kind, edge.number)
        if edge.source == edge.target and edge.kind not in CALLS:
            return
        source, target = self.known.by_id[edge.source], self.known.by_id[edge.target]
        if edge.source in self.members:
            is_connected = self._join(target, Membership(edge.kind, edge.source))
        else:
            is_connected = self._join(source, Membership(edge.kind, edge.target))
        if is_connected and key not in self.edges:
            self.edges[key] = edge

    def _link_row(self, run: StoryRun) -> None:
        """Link a run with its caller and with the run that it was restarted from; one of both is a member."""
        if run.restarted:
            source = self.known.before(run.restarted, run.created - CLOCK)
            if source is None:
                self._miss("{} restarted from a run that is not in the source any more", run)
            elif self._touches(run, source):
                self._connect(RunEdge(source.id, run.id, "restart", None, run.created, None, "row"))
        if run.caller and (caller := self._caller_of(run)) is not None and self._touches(run, caller):
            self._link_caller(caller, run)

    def _touches(self, *runs: StoryRun) -> bool:
        return any(run.id in self.members for run in runs)

    def _caller_of(self, run: StoryRun) -> StoryRun | None:
        """Return the run that created this one, or None; a member without its caller is counted."""
        caller = self.known.before(run.caller or "", run.created)
        if caller is not None and self._may_call(caller, run):
            return caller
        self._miss("{} called by a run that is not in the source any more", run)
        if caller is not None and caller.id in self.members and not self.journals[caller.id].is_complete:
            self.gaps["{} called by a run of the same id after a member had ended"].add(run.id)
        return None

    def _miss(self, reason: str, run: StoryRun) -> None:
        if run.id in self.members:
            self.gaps[reason].add(run.id)

    def _may_call(self, caller: StoryRun, run: StoryRun) -> bool:
        journal = self.journals[caller.id]
        if any(self._target_of(caller, each) is run for each in self.journals[caller.id].calls.get(run.plain, ())):
            return True
        if caller.ended is not None:
            return not journal.is_complete and run.created <= caller.ended + LATE
        # the journal of an open run may have grown since it was read
        return not journal.is_complete or run.created >= (journal.progress or [run.created])[-1] - CLOCK

    def _link_caller(self, caller: StoryRun, run: StoryRun) -> None:
        target = [
            each for each in self.journals[caller.id].calls.get(run.plain, ()) if self._target_of(caller, each) is run
        ]
        if not target:
            self._connect(RunEdge(caller.id, run.id, "invoked", None, run.created, None, "row"))
        for each in target:
            self._connect(_edge(caller, run, each))

    def _link_named(self, run: StoryRun, named: NamedId) -> None:
        target = self._target_of(run, named)
        if target is not None:
            self._connect(_edge(run, target, named))
        elif self.known.of(named.id):
            self.gaps["{} named by an entry, of which the source has only later runs"].add(named.id)
        else:
            self.gaps["{} named by an entry and not in the source any more"].add(named.id)

    def _target_of(self, run: StoryRun, named: NamedId) -> StoryRun | None:
        """Return the run that an entry names; see the module ``runs``."""
        if named.kind in {"call", "one-way call"}:
            following = None if named.until is None else named.until - CLOCK - 1
            ends = [named.done if named.kind == "call" else None, following, run.ended and run.ended + LATE]
            until = min((end for end in ends if end is not None), default=None)
            own = self.known.created_by(named.id, run.plain, named.at, until if until is not None else 1 << 62)
            if own is not None:
                return own
        return self.known.before(named.id, named.at)

    def _scan(self) -> bool:
        """Read what no journal of a member names; return whether there are new members."""
        before = len(self.members)
        new = [self.known.by_id[id_] for id_ in self.members if id_ not in self._scanned]
        if not new or len(self.members) >= MOST_MEMBERS:
            return False
        self._scanned.update(run.id for run in new)
        self._scan_rows(new)
        self._scan_promises(new)
        self._scan_journals(new)
        return len(self.members) > before

    def _scan_rows(self, new: Sequence[StoryRun]) -> None:
        callers = [run.plain for run in new if not self.journals[run.id].is_complete]
        traces = {run.trace for run in new if run.trace} - self._traces
        self._traces |= traces
        ids = self.reader.related(callers, [run.plain for run in new], sorted(traces))
        self.read(ids)
        found = [run for id_ in ids if (run := self.known.by_id.get(id_)) is not None]
        for run in found:
            for id_ in {run.caller, run.restarted} - {None}:
                self._candidates[str(id_)][run.id] = run
        self.read([id_ for run in found for id_ in (run.caller, run.restarted)])
        callers_of = [self.known.before(run.caller, run.created) for run in found if run.caller]
        self._read_journals([caller for caller in callers_of if caller is not None])
        for run in found:
            self._link_row(run)
        of_traces = defaultdict(list)
        for run in self.known.by_id.values() if traces else ():
            of_traces[run.trace].append(run)
        for trace in sorted(traces):
            self._link_trace(of_traces[trace])

    def _link_trace(self, of_trace: Sequence[StoryRun]) -> None:
        """Link the oldest run of a trace with the others that no other run of the source created."""
        oldest = min(of_trace, key=lambda run: (run.created, run.id))
        self._join(oldest, Membership("trace", None))
        for run in of_trace:
            if run is not oldest and not (run.caller and self.known.before(run.caller, run.created)):
                self._connect(RunEdge(oldest.id, run.id, "trace", None, run.created, None, "row"))

    def _scan_promises(self, new: Sequence[StoryRun]) -> None:
        types = ("GetPromise", "PeekPromise", "CompletePromise")
        with_promises = [run for run in new if any(self.journals[run.id].promises(*types))]
        workflows = {_workflow_of(run) for run in with_promises}
        if unread := workflows - self._workflows.keys():
            ids = self.reader.of_workflows(unread)
            self.read(ids)
            found = [run for id_ in ids if (run := self.known.by_id.get(id_)) is not None]
            self._read_journals(found)
            for run in found:
                self._workflows.setdefault(_workflow_of(run), []).append(run)
        for workflow in sorted(workflows):
            by_scope = defaultdict(list)
            for run in self._workflows.get(workflow, ()):
                by_scope[run.row["scope"]].append(self.journals[run.id])
            for own in by_scope.values():
                self._link_promises(own)

    def _link_promises(self, own: Sequence[StoryJournal]) -> None:
        """Link the readers of promises of one workflow with the runs that completed them."""
        completions = defaultdict(list)
        for each in own:
            for entry in each.promises("CompletePromise"):
                if entry.is_success:
                    completions[entry.token].append((entry.started, entry.number, each.run))
        for each in own:
            for entry in each.promises("GetPromise", "PeekPromise"):
                if entry.completed is not None and (entry.type == "GetPromise" or entry.has_value):
                    self._link_promise(each.run, entry, entry.completed, completions[entry.token])

    def _link_promise(
        self, reader: StoryRun, entry: StoryEntry, done: int, completions: Sequence[tuple[int, int | None, StoryRun]]
    ) -> None:
        """Link a reader with the last completion before its result; one that had to wait, only with one since then."""
        least = entry.started if done - entry.started > AT_ONCE else 0
        fitting = [each for each in completions if least - CLOCK <= each[0] <= done + CLOCK]
        at, number, run = max(fitting, key=lambda each: each[0], default=(0, None, reader))
        if run is not reader and self._touches(run, reader):
            self._connect(RunEdge(run.id, reader.id, "promise", number, at, done, "journal", entry.token))

    def _scan_journals(self, new: Sequence[StoryRun]) -> None:
        if not self.is_searched or self._unsearched:
            return
        if self._search is None:
            try:
                self._search = self.reader.search()
            except ResultTooLarge as error:
                self._unsearched = f"the journals of invocations outside of the story were not searched: {error}"
                return
        owners = self._search.naming(run.plain for run in new)
        self.read(owners)
        runs = [run for id_ in owners if (run := self.known.by_id.get(id_)) is not None and id_ not in self.members]
        self._read_journals(runs)
        wanted = {run.plain for run in new}
        for run in runs:
            for each in self.journals[run.id].named:
                if each.id not in wanted:
                    continue
                target = self._target_of(run, each)
                if target is not None and target.id in self.members:
                    self._connect(_edge(run, target, each)._replace(known_from="search"))

    @property
    def has_searched(self) -> bool:
        """Return whether the journals of all invocations were searched."""
        return self._search is not None

    @property
    def reasons(self) -> Iterator[tuple[str, str]]:
        """Yield the parts that are not complete, with the reasons."""
        if self.stopped:
            yield "members", self.stopped
        if self._unsearched:
            yield "edges", self._unsearched
        if self._left:
            left = plural(len(self._left), "connected invocation")
            yield "members", f"the story has more than {MOST_MEMBERS:,} invocations: {left} were not followed"
        if self._unread:
            yield "phases", f"the journal of {plural(len(self._unread), 'invocation')} was not read"
        journals = [self.journals[id_] for id_ in self.members if id_ not in self._unread]
        if missing := sum(each.is_missing for each in journals):
            yield "phases", f"the journal of {plural(missing, 'invocation')} is not in the source, or not complete"
        if undecoded := sum(each.undecoded for each in journals):
            entries = plural(undecoded, "entry", "entries")
            yield "edges", f"{entries} with a target by its key, or with an awakeable of an old form"
        for text, ids in self.gaps.items():
            yield "edges", text.format(plural(len(ids), "invocation"))


def _workflow_of(run: StoryRun) -> WorkflowKey:
    return run.row["service"], run.row["key"]


def _edge(run: StoryRun, target: StoryRun, named: NamedId) -> RunEdge:
    return RunEdge(run.id, target.id, named.kind, named.number, named.at, named.done, "journal", named.token)
