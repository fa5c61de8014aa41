"""The reader and writer of payloads: masks are where rules require them, and every other byte of any JSON stays."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from restate_lab.evidence.masking import MaskCounts, column_masks, mask_batch
from restate_lab.evidence.redaction import parse_patterns
from restate_lab.payload_json import (
    HEADERS,
    SECRETS,
    PathRule,
    PathStep,
    Unreadable,
    mask,
    mask_bytes,
    parse_path,
    read,
    scan,
    write,
)
from restate_lab.redaction import MASK

SECRET = "hunter2"
NAMES = ("password", "password", "a", "b", "é", 'odd "name"', "token/x")
PATHS = (
    "$..password",
    "$.password",
    "$.a.password",
    "$..a.password",
    "$..a..password",
    "$..b[0]",
    "$.a[*]",
    "$.*",
    "$..*",
    "$[1]",
    "$..é",
    "$['odd \"name\"']",
)
SCALARS = (
    *("true", "null", "0", "-0.0", "1.10", "1e2", "-1E+400", "12345678901234567.89", "9" * 30),
    *("NaN", "Infinity", "-Infinity"),
)
SPACES = ("", "", " ", "\n", "\t \r\n")
SIGNS = ["a", "é", "\N{GRINNING FACE}", '"', "\\", "/", "[", "{", "\n", "\x01", "\x7f", "\ud83d", "\udc00", "•", "u"]
Piece = tuple[str, str]
"""A part of a text unmasked and masked."""


@dataclass(frozen=True, eq=False)
class Value:
    """A value of a document that is not written yet: a scalar's text, a string, its parts, or JSON in a string."""

    scalar: str = ""
    string: str | None = None
    parts: Sequence[tuple[str | int, Value]] | None = None
    nested: Value | None = None


def values(strings: st.SearchStrategy[str]) -> st.SearchStrategy[Value]:
    # A string that begins like JSON, or has "name": in it, is JSON in a string: those are made on purpose.
    leaves = st.sampled_from(SCALARS).map(Value) | strings.map(lambda text: Value(string=f"z{text}"))
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4).map(lambda parts: Value(parts=list(enumerate(parts))))
            | st.lists(st.tuples(st.sampled_from(NAMES), inner), min_size=1, max_size=4).map(
                lambda parts: Value(parts=parts)
            )
            | inner.map(lambda value: Value(nested=value if value.parts else Value(parts=[(0, value)])))
        ),
        max_leaves=15,
    )


SEEDS = st.integers(0, 1 << 32)
VALUES = values(st.lists(st.sampled_from(SIGNS), max_size=5).map("".join))


def meant(value: Value, steps: Sequence[PathStep]) -> Iterator[Value]:
    if value.nested is not None:
        yield from meant(value.nested, steps)
    step, rest = steps[0], steps[1:]
    for key, below in value.parts or ():
        if step.matches(key):
            yield from meant(below, rest) if rest else [below]
        if step.deep and not (step.matches(key) and not rest):
            yield from meant(below, steps)


class Writer:
    """Writes a document in one of its many possible spellings."""

    def __init__(self, choice: random.Random, hidden: set[Value]) -> None:
        self.choice = choice
        self.hidden = hidden

    def pieces(self, value: Value) -> Iterator[Piece]:
        if value in self.hidden:
            yield "".join(before for before, _ in self.plain(value)), f'"{MASK}"'
        else:
            yield from self.plain(value)

    def plain(self, value: Value) -> Iterator[Piece]:
        if value.scalar:
            yield value.scalar, value.scalar
        elif value.string is not None:
            yield self.same(self.string(value.string))
        elif value.nested is not None:
            yield '"', '"'
            for before, after in self.pieces(value.nested):
                spelled = "".join(map(self.sign, before))
                yield spelled, spelled if before == after else json.dumps(after, ensure_ascii=False)[1:-1]
            yield '"', '"'
        else:
            yield from self.parts(value.parts or ())

    def parts(self, parts: Sequence[tuple[str | int, Value]]) -> Iterator[Piece]:
        is_object = bool(parts) and isinstance(parts[0][0], str)
        yield self.same("{" if is_object else "[")
        for at, (key, below) in enumerate(parts):
            name = f"{self.string(str(key))}{self.space()}:" if is_object else ""
            yield self.same(f"{',' if at else ''}{self.space()}{name}{self.space()}")
            yield from self.pieces(below)
            yield self.same(self.space())
        yield self.same("}" if is_object else "]")

    def same(self, text: str) -> Piece:
        return text, text

    def space(self) -> str:
        return self.choice.choice(SPACES)

    def string(self, text: str) -> str:
        return f'"{"".join(map(self.sign, text))}"'

    def sign(self, sign: str) -> str:
        is_half = "\ud800" <= sign <= "\udfff"
        if is_half or sign in '"\\' or self.choice.random() < 0.1:
            units = sign.encode("utf-16-be", "surrogatepass")
            codes = "".join(f"\\u{int.from_bytes(units[at : at + 2]):04x}" for at in range(0, len(units), 2))
            return f"\\{sign}" if sign in '"\\/' and self.choice.random() < 0.7 else codes
        return sign


def written(roots: Sequence[Value], steps: Sequence[PathStep], choice: random.Random) -> Piece:
    """Return a text with these values, and the same text with the values of a path masked."""
    writer = Writer(choice, {each for root in roots for each in meant(root, steps)})
    pieces = [writer.same(choice.choice(["", "\ufeff", " \n", "\0", ",", "\ufeff\n"]))]
    for root in roots:
        pieces += [*writer.pieces(root), writer.same(choice.choice(["\n", " ", ",\n", "\0", "\n\n"]))]
    return "".join(before for before, _ in pieces), "".join(after for _, after in pieces)


@settings(max_examples=120)
@given(st.lists(VALUES, min_size=1, max_size=3), st.sampled_from(PATHS), SEEDS)
def test_masking_changes_only_the_values_of_the_path(roots: list[Value], path: str, seed: int) -> None:
    before, after = written(roots, parse_path(path), random.Random(seed))  # noqa: S311 - repeatable
    masked, counts = mask_bytes(before.encode(), [PathRule(parse_path(path), path, strict=True)])
    assert masked.decode() == after
    assert not counts.unread
    assert bool(counts.hits) == (before != after)


@settings(max_examples=50)
@given(VALUES, st.sampled_from(PATHS), SEEDS)
def test_journals_are_masked_like_state(value: Value, path: str, seed: int) -> None:
    """A payload in an entry's byte array is masked as in state, whatever the quick check decides."""
    before, after = written([value], parse_path(path), random.Random(seed))  # noqa: S311 - repeatable
    entry = json.dumps({"Command": {"Output": {"result": {"Success": list(before.encode())}}}}, separators=(",", ":"))
    masks = column_masks("sys_journal", ["entry_json"], parse_patterns([path], {"sys_journal": ["entry_json"]}))
    batch = pa.RecordBatch.from_arrays([pa.array([entry])], names=["entry_json"])
    found = json.loads(mask_batch(batch, masks, MaskCounts()).column(0)[0].as_py())
    assert bytes(found["Command"]["Output"]["result"]["Success"]).decode() == after


def shown(text: str) -> Iterator[str]:
    """Yield a text unchanged, and with the escapes read at each level of strings in strings."""
    for _ in range(6):
        yield text
        text = re.sub(
            r"\\(?:u([0-9a-fA-F]{4})|(.))", lambda found: chr(int(found[1], 16)) if found[1] else found[2], text
        )


@settings(max_examples=50)
@given(VALUES, SEEDS, st.integers(0, 3))
def test_a_text_that_is_cut_after_a_secret_field_does_not_show_the_field(value: Value, seed: int, levels: int) -> None:
    choice = random.Random(seed)  # noqa: S311 - repeatable
    secret = Value(parts=[("b", value), ("password", Value(string=SECRET))])
    for _ in range(levels):
        secret = Value(parts=[("a", Value(nested=secret))])
    text, _ = written([secret], parse_path("$.none"), choice)
    rules = {"path": PathRule(parse_path("$..password"), "", strict=True), "secrets": SECRETS}
    for cut in (*(choice.randrange(len(text)) for _ in range(4)), len(text)):
        for rule in rules.values():
            masked, _ = mask_bytes(text[:cut].encode(), [rule])
            assert not [each for each in shown(masked.decode()) if SECRET in each]


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")), st.sampled_from(PATHS))
def test_any_bytes_can_be_masked_and_all_bytes_outside_of_masks_stay(value: bytes, path: str) -> None:
    masked, counts = mask_bytes(value, [HEADERS, PathRule(parse_path(path), path, strict=True)])
    assert counts.unread or counts.hits or masked == value


DAMAGED = ('{"a" 1}', '{"a":1', "{'a':1}", '{"a":1,}', "[1 2", '["a" "b"]', '"a', r'{"\x": 1}', "[1,]x", "truex", "01x")


@pytest.mark.parametrize("text", DAMAGED)
def test_text_that_parsers_read_differently_or_not_at_all_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        scan(text)


SLOW: tuple[Callable[[int], str], ...] = (
    lambda n: "[" * n,
    lambda n: '{"a":' * n,
    lambda n: '"' + "\\" * (2 * n),
    lambda n: '"' * n,
    lambda n: "[1," * n,
    lambda n: '["password' + "a" * n,
    lambda n: '{"a":"' + "'a' " * n + '","password":1}',
    lambda n: '{"a":"' + r"\"" * n + '","password":1}',
    lambda n: '{"a":"' + r"\\\\u0070" * n + '","password":1}',
    lambda n: "'" + "a " * n + ":",
    lambda n: "'a'" + " " * n,
    lambda n: '{"headers":"' + "token " * n + '"}',
    lambda n: "1 " * n,
    lambda n: "://" * n + '"password',
)


@pytest.mark.parametrize("make", SLOW)
def test_a_long_text_of_any_shape_takes_linear_time(make: Callable[[int], str]) -> None:
    rules = [PathRule(parse_path("$..password"), "", strict=True), HEADERS, SECRETS]
    mask(make(200_000), rules)


@pytest.mark.parametrize(
    "text",
    ["[1, 2.5, true, null]", '{"a": NaN, "b": [Infinity, -Infinity]}', f'{{"n": {"9" * 5000}, "m": [-{"8" * 4301}]}}'],
)
def test_what_is_read_is_written_back(text: str) -> None:
    """Values without an exact form in Python's json keep their text."""
    assert write(read(text)) == text
    assert read(text.encode()) is not None


def test_a_lone_surrogate_is_written_as_its_escape() -> None:
    assert write({"a": "\ud83d", "b": "é"}) == '{"a": "\\ud83d", "b": "\\u00e9"}'
    assert write({"b": "é"}, indent=1) == '{\n "b": "é"\n}'
    odd: Any = {"a": Decimal("1.5"), "b": b"x"}
    assert write(odd) == '{"a": "1.5", "b": "b\'x\'"}'
