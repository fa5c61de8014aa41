"""No regular expression takes more than linear time, whatever text it is applied to."""

from __future__ import annotations

import ast
import importlib
import re
import signal
import string
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from re import _constants as code, _parser as parser  # type: ignore[attr-defined]
from types import FrameType
from typing import Any

import pytest

from restate_lab.analysis.find import needle
from restate_lab.debugging.to_test import masking
from support.structure import STRUCTURE

METHODS = {"search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer"}
ANCHORED = {"match", "fullmatch"}
CANDIDATES = "a1 -_.<\n'\"\x00é" + string.printable


@dataclass(frozen=True)
class Use:
    """A pattern, and the method that the code applies to it; ``where`` is "module:line"."""

    module: str
    line: int
    pattern: re.Pattern[str]
    method: str

    @property
    def where(self) -> str:
        return f"{self.module}:{self.line}"

    def apply(self, text: str) -> None:
        if self.method in ANCHORED:
            getattr(self.pattern, self.method)(text)
        else:
            for _ in self.pattern.finditer(text):
                pass


def uses() -> tuple[list[Use], list[str]]:
    """Return the patterns of the package, and the places of those that are unknown until the code runs."""
    nodes = {module: _with_parents(tree) for module, tree in STRUCTURE.trees.items()}
    shared = _methods_by_name(pair for pairs in nodes.values() for pair in pairs)
    found: list[Use] = []
    unknown: list[str] = []
    for module, pairs in nodes.items():
        # another module has another pattern under the private name
        methods = shared | {name: how for name, how in _methods_by_name(pairs).items() if name.startswith("_")}
        for call, around in _calls_of_re(pairs):
            try:
                pattern = _pattern(call, module)
            except Exception as error:  # noqa: BLE001 - whatever evaluation raises, the place is reported
                unknown.append(f"{module}: {ast.unparse(call)} ({type(error).__name__})")
                continue
            found += [Use(module, call.lineno, pattern, how) for how in sorted(_methods_used(call, around, methods))]
    return found, unknown


def _with_parents(tree: ast.AST) -> list[tuple[ast.AST, ast.AST]]:
    """Return the nodes below a tree, with the node around each."""
    found = [(each, tree) for each in ast.iter_child_nodes(tree)]
    for node, _ in found:  # grows meanwhile
        found += [(each, node) for each in ast.iter_child_nodes(node)]
    return found


def _calls_of_re(pairs: Iterable[tuple[ast.AST, ast.AST]]) -> Iterator[tuple[ast.Call, ast.AST]]:
    for node, around in pairs:
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "re"
            and node.func.attr in METHODS | {"compile"}
        ):
            yield node, around


def _pattern(call: ast.Call, module: str) -> re.Pattern[str]:
    names = vars(importlib.import_module(module))
    given = [ast.unparse(each) for each in call.args]
    at = {"sub": 4, "subn": 4, "split": 3}.get(call.func.attr, 2)  # type: ignore[attr-defined]
    flags = [ast.unparse(word.value) for word in call.keywords if word.arg == "flags"]
    if call.func.attr == "compile":  # type: ignore[attr-defined]
        flags += given[1:2]
    else:
        flags += given[at : at + 1]
    values = [eval(each, dict(names)) for each in [given[0], *flags]]  # noqa: S307 - it is our own code
    return re.compile(*values)


def _methods_used(call: ast.Call, around: ast.AST, methods: dict[str, set[str]]) -> set[str]:
    if call.func.attr != "compile":  # type: ignore[attr-defined]
        return {call.func.attr}  # type: ignore[attr-defined]
    if isinstance(around, ast.Attribute):
        return {around.attr}
    names = [each.id for each in getattr(around, "targets", []) if isinstance(each, ast.Name)]
    return {how for name in names for how in methods.get(name, ())} or {"search"}


def _methods_by_name(pairs: Iterable[tuple[ast.AST, ast.AST]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for node, _ in pairs:
        if isinstance(node, ast.Attribute) and node.attr in METHODS and isinstance(node.value, ast.Name):
            found.setdefault(node.value.id, set()).add(node.attr)
    return found


@dataclass(frozen=True)
class HardText:
    """A text that repeatedly begins a match of a pattern, or almost ends it; it can be written in any size."""

    lead: str
    pump: str
    end: str

    def write(self, size: int) -> str:
        return self.lead + self.pump * (size // len(self.pump)) + self.end


def hard_texts(pattern: re.Pattern[str]) -> Iterator[HardText]:
    tree = parser.parse(pattern.pattern, pattern.flags)
    pumps: dict[tuple[str, str], None] = {}
    for lead, pump in _pumps(tree, ""):
        pumps[lead, pump] = None
        pumps["", lead + pump] = None
    for each in (" ", "\n", "a", "1", " \n"):
        pumps["", each] = None
    for lead, pump in pumps:
        if pump:
            yield HardText(lead, pump, "")
            yield HardText(lead, pump, "\x00")


def _pumps(nodes: Any, lead: str) -> Iterator[tuple[str, str]]:
    """Yield pairs of a prefix that leads to a part of a pattern, and a text that matches that part."""
    for kind, value in nodes:
        for inner in _inner(kind, value):
            yield from _pumps(inner, lead)
        text = _sample(kind, value)
        yield lead, text
        lead += text


def _inner(kind: Any, value: Any) -> list[Any]:
    if kind in {code.MAX_REPEAT, code.MIN_REPEAT, code.POSSESSIVE_REPEAT}:
        return [value[2]]
    if kind is code.SUBPATTERN:
        return [value[3]]
    if kind is code.BRANCH:
        return list(value[1])
    if kind in {code.ASSERT, code.ASSERT_NOT}:
        return [value[1]]
    return [value] if kind is code.ATOMIC_GROUP else []


def _sample(kind: Any, value: Any) -> str:
    """Return a text that matches a part of a pattern."""
    if kind in {code.LITERAL, code.NOT_LITERAL, code.ANY, code.IN}:
        return _letter(kind, value)
    if kind in {code.MAX_REPEAT, code.MIN_REPEAT, code.POSSESSIVE_REPEAT}:
        return "".join(_sample(*each) for each in value[2]) * max(value[0], 1)
    if kind is code.BRANCH:
        return "".join(_sample(*each) for each in value[1][0])
    if kind in {code.SUBPATTERN, code.ATOMIC_GROUP}:
        return "".join(_sample(*each) for each in _inner(kind, value)[0])
    return ""


def _letter(kind: Any, value: Any) -> str:
    """Return a letter that matches a part of a pattern."""
    if kind is code.LITERAL:
        return chr(value)
    own = parser.parse("x")
    own.data[0] = (kind, value)
    part = re.compile(re._compiler.compile(own))  # type: ignore[attr-defined]
    return next((each for each in CANDIDATES if part.fullmatch(each)), "~")


SIZE = 2_000  # characters
STEP = 4  # between the two sizes
LARGEST_RATIO = 7.0  # linear is STEP, quadratic STEP squared; a loaded machine narrows the difference
WORTH_MEASURING = 0.001  # seconds; below it the ratio is noise, and a superlinear pattern takes more
LONGEST = 0.5  # seconds of processor time for one text: only endless ones reach it
APPLIED_BY = {
    # the method of patterns that are not applied by name, but from a table or a dataclass
    "restate_lab.client.address": "fullmatch",
    "restate_lab.history.spark.translate": "fullmatch",
    "restate_lab.magics.completion": "match",
}
OUR_OWN_TEXT = {"restate_lab.guide.__main__": "the pages of our own guide, when it is built"}


MADE_AT_RUN_TIME = {
    needle.__name__: [
        needle._escaped_pattern(text, has_case=has_case)
        for text in ("order-4711", "a\\/b", "\\\\\\", "\\u00fc", "////", "üüüü")
        for has_case in (True, False)
    ],
    masking.__name__: [masking._short_pattern(texts) for texts in (["Ann"], ["a-b", "x.", "%%%"])],
}
"""A module whose pattern is made from texts of a user or a record, and its patterns for some texts."""


class TooLong(Exception):
    """The text took longer than LONGEST."""


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGVTALRM, stop)
    yield
    signal.signal(signal.SIGVTALRM, before)


def seconds(use: Use, text: str) -> float:
    """Return the processor time of one application; infinity if it was stopped."""
    signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST)
    started = time.thread_time()
    try:
        use.apply(text)
    except TooLong:
        return float("inf")
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return time.thread_time() - started


def is_superlinear(use: Use, text: HardText) -> bool:
    """Return True if the time grows faster than the text, from a quarter of it to all of it, and on to four of it.

    Both steps must show it: the caches of a processor can make one step of a linear pattern look superlinear.
    """
    first = seconds(use, text.write(SIZE))
    if first < WORTH_MEASURING or first == float("inf"):
        return first == float("inf")
    return grows(use, text, SIZE // STEP) and grows(use, text, SIZE)


def grows(use: Use, text: HardText, size: int) -> bool:
    """Return True if a text that is STEP times as large takes far more than STEP times as long."""
    return fastest(use, text.write(size * STEP), 3) > LARGEST_RATIO * fastest(use, text.write(size), 5)


def fastest(use: Use, text: str, times: int) -> float:
    return min(seconds(use, text) for _ in range(times))


def hard_for(use: Use) -> str:
    """Return a text on which a pattern is superlinear, or nothing."""
    return next((text.write(SIZE) for text in hard_texts(use.pattern) if is_superlinear(use, text)), "")


def test_every_pattern_is_linear() -> None:
    found, unknown = uses()
    assert {place.partition(":")[0] for place in unknown} == set(MADE_AT_RUN_TIME)
    found += [Use(module, 0, each, "search") for module, patterns in MADE_AT_RUN_TIME.items() for each in patterns]
    assert len(found) > 100
    slow = {}
    for use in found:
        if use.module in OUR_OWN_TEXT:
            continue
        how = Use(use.module, use.line, use.pattern, APPLIED_BY.get(use.module, use.method))
        if text := hard_for(how):
            slow[f"{use.where} {how.method} {use.pattern.pattern[:60]}"] = ascii(text[:60])
    assert slow == {}


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r"<title[^>]*>(.*?)</title>", "search"),
        pytest.param(r"\w+@", "search", marks=pytest.mark.long),
        (r"(a+)+b", "search"),
        (r"a+$", "sub"),
        pytest.param(r"[0-9]+\.?[0-9]*x", "fullmatch", marks=pytest.mark.long),
    ],
)
def test_known_slow_patterns_are_found(pattern: Any, method: str) -> None:
    assert hard_for(Use("a test", 1, re.compile(pattern, re.MULTILINE), method))
