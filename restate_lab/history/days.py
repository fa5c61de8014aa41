"""Statements about given ids, which need only the files of the days on which these runs ended."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, TypeAlias

from restate_lab.client.sql.bind import bind
from restate_lab.client.sql.tokenizer import Token, tokens
from restate_lab.errors import StatementError
from restate_lab.evidence.engine import read

if TYPE_CHECKING:
    from datafusion import SessionContext

_MOST_IDS = 1_000
_MOST_SESSIONS = 8
_FEW = 3  # a third of the days: files of few days are read with more CPU
_DAYS = "SELECT DISTINCT id, day FROM archive.invocations WHERE cluster_name = :cluster AND id IN :ids"
_OF_RUNS = frozenset({
    *("SYS_INVOCATION", "SYS_INVOCATION_STATUS", "SYS_INVOCATION_STATE", "SYS_JOURNAL", "SYS_JOURNAL_EVENTS"),
    *("AGENT_STEPS", "JOURNAL_ENTRIES"),
})  # fmt: skip
_OTHERS = frozenset({"SYS_DEPLOYMENT", "SYS_SERVICE"})
_SET_WORDS = frozenset({"UNION", "EXCEPT", "INTERSECT"})
_AFTER_WHERE = frozenset({"GROUP", "ORDER", "HAVING", "LIMIT", "OFFSET", "WINDOW", "QUALIFY", "FETCH"})
_UNCLEAR = frozenset({"OR", "BETWEEN", "CASE"})
"""Keywords after which a part between two ANDs may be no condition of its own."""
_TEXTS = re.compile(r"(?:\s*+'(?:[^']++|'')*+'\s*+,?)++")
_TEXT = re.compile(r"'((?:[^']++|'')*+)'")
Group: TypeAlias = "list[Token | Group]"


@dataclass(slots=True)
class DaySessions:
    """The sessions of a history that have only the files of some days, for statements about given ids.

    ``context`` has all ``days`` of the cluster, and ``make`` returns a session with the files of some of them.
    """

    context: SessionContext
    cluster: str
    days: int
    make: Callable[[frozenset[date]], SessionContext]
    _days_of: dict[str, frozenset[date]] = field(default_factory=dict)
    _sessions: dict[frozenset[date], SessionContext] = field(default_factory=dict)

    def session(self, query: str, deadline: float | None) -> SessionContext:
        """Return the session that reads the fewest files for a bound statement.

        Raises:
            TimedOut: the deadline passed while the days of the ids were read.
        """
        if self.days <= _FEW:
            return self.context
        ids = {each.partition("@")[0] for each in ids_of(query)}
        if not 0 < len(ids) <= _MOST_IDS:
            return self.context
        if unknown := ids - self._days_of.keys():
            self._days_of |= self._read_days(unknown, deadline)
        days = frozenset[date]().union(*(self._days_of[each] for each in ids))
        if not 0 < len(days) * _FEW <= self.days:
            return self.context
        if days not in self._sessions:
            if len(self._sessions) == _MOST_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[days] = self.make(days)
        return self._sessions[days]

    def _read_days(self, ids: set[str], deadline: float | None) -> dict[str, frozenset[date]]:
        found: dict[str, set[date]] = defaultdict(set)
        _, batches = read(self.context, bind(_DAYS, cluster=self.cluster, ids=sorted(ids)), deadline=deadline)
        for batch in batches:
            for row in batch.to_pylist():
                found[row["id"]].add(row["day"])
        return {each: frozenset(found[each]) for each in ids}


class _Unclear(Exception):
    """The statement can read rows of other runs."""


def ids_of(statement: str) -> frozenset[str]:
    """Return the ids of a bound statement that reads only rows of runs with these ids; none if it can read others.

    Each SELECT from a table with rows per run has ``id = '…'`` or ``id IN ('…', …)`` as one of its conditions.
    """
    try:
        return frozenset(_ids_in(statement, _group(tokens(statement))))
    except (_Unclear, StatementError, RecursionError):
        return frozenset()


def _group(found: Iterator[Token]) -> Group:
    """Return the tokens until the next closing bracket, with those in brackets as groups of their own."""
    group: Group = []
    for token in found:
        if token.kind == "close":
            break
        group.append([token, *_group(found)] if token.kind == "open" else token)
    return group


def _ids_in(statement: str, group: Sequence[Token | Group]) -> Iterator[str]:
    keywords = [word for each in group if (word := _word(each))]
    if keywords[:1] == ["SELECT"]:
        for select in _split(group, _SET_WORDS):
            yield from _ids_of_select(statement, select)
    elif {"SELECT", "WITH", "VALUES", "TABLE", "FROM"} & set(keywords[:1]) or "SELECT" in keywords:
        raise _Unclear
    for each in group:
        if isinstance(each, list):
            yield from _ids_in(statement, each[1:])


def _ids_of_select(statement: str, select: Sequence[Token | Group]) -> Iterator[str]:
    parts = _split(select, {"FROM", "JOIN", "WHERE", *_AFTER_WHERE}, keep=True)
    read = [part for part in parts if _word(part[0]) in {"FROM", "JOIN"}]
    if any(len(part) == 1 or _is_list(part) or _has_schema(part) for part in read):
        raise _Unclear
    names = [_word(part[1]) for part in read if isinstance(part[1], Token)]
    if not set(names) <= _OF_RUNS | _OTHERS:
        raise _Unclear
    if not _OF_RUNS & set(names):
        return
    wheres = [part[1:] for part in parts if _word(part[0]) == "WHERE"]
    has_names = any(isinstance(each, list) for each in read[0])  # of its columns
    if has_names or len(read) != 1 or len(wheres) != 1 or any(_word(each) in _UNCLEAR for each in wheres[0]):
        raise _Unclear
    found = [ids for part in _split(wheres[0], {"AND"}) if (ids := _ids_compared(statement, part))]
    if not found:
        raise _Unclear
    yield from found[0]


def _is_list(part: Sequence[Token | Group]) -> bool:
    return any(isinstance(each, Token) and each.kind in {"comma", "items"} for each in part)


def _has_schema(part: Sequence[Token | Group]) -> bool:
    return isinstance(part[1], Token) and len(part) > 2 and getattr(part[2], "text", "") == "."


def _ids_compared(statement: str, part: Sequence[Token | Group]) -> list[str]:
    """Return the ids of a condition ``id = '…'`` or ``id IN ('…', …)``, with or without the name of the table."""
    if len(part) == 5 and isinstance(part[1], Token) and part[1].text == ".":
        part = part[2:]
    if len(part) != 3 or _word(part[0]) != "ID" or not isinstance(part[1], Token):
        return []
    values = part[2][1:] if isinstance(part[2], list) else [part[2]]
    flat = [each for each in values if isinstance(each, Token)]
    if not flat or len(flat) != len(values) or part[1].text not in ({"IN"} if isinstance(part[2], list) else {"="}):
        return []
    text = statement[flat[0].start : flat[-1].end]
    return [each.replace("''", "'") for each in _TEXT.findall(text)] if _TEXTS.fullmatch(text) else []


def _split(group: Iterable[Token | Group], keywords: Iterable[str], *, keep: bool = False) -> list[list[Token | Group]]:
    """Return the parts between keywords at this level; with ``keep``, each part begins with its keyword."""
    wanted = frozenset(keywords)
    parts: list[list[Token | Group]] = [[]]
    for each in group:
        if _word(each) in wanted:
            parts.append([each] if keep else [])
        else:
            parts[-1].append(each)
    return [part for part in parts if part]


def _word(each: Token | Group) -> str:
    return each.text if isinstance(each, Token) and each.kind == "word" else ""
