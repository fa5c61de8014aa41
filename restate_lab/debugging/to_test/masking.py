"""Mask texts of a record: by path or name, with their types and lengths.

A masked text has an "x" for each character, so a handler that reads it takes the same path in most cases. Numbers,
dates and UUIDs decide more often: below a selected value they are kept and counted, and only a path whose last step
names one masks it, in its form. Names of fields, true, false and null are kept.

A text that is masked in one place is masked everywhere in the record: in other payloads, keys and messages. In names
of steps, and in keys of state and calls, it is masked only in the entries that ``names`` has: they are compared with
what the code computes, and a name that the code has itself must stay.
"""

from __future__ import annotations

import base64
import contextlib
import html
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from urllib.parse import quote, quote_plus

from restate_lab.errors import ArgumentError
from restate_lab.payload_json import (
    HEADERS,
    SECRETS,
    Edit,
    MaskRule,
    Node,
    PathRule,
    Unreadable,
    begins_like_json,
    mask_bytes,
    parse_path,
    scan,
    splice,
    string_at,
)
from restate_lab.protocol.entries import is_encrypted, payload_bytes, payload_of
from restate_lab.redaction import is_secret_header

_SHORTEST = 4  # characters of a text that is masked within longer texts; shorter ones occur in many other texts
_FEW = 64  # texts that are searched one by one
_LONGEST_NAME = 6  # parts of a name or an address; a longer text has many common ones
_SHORT_WORD = re.compile(r"\w{1,3}")
_LONG_WORD = re.compile(r"[^\W_]{4,}")
_BEFORE_A_WORD = r"(?:(?<!\w)|(?<=%[0-9a-f][0-9a-f])|(?<=\\[nrt]))"  # or after an escaped character
_NOT_ENCODED = "!'()*"  # by encodeURIComponent
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UUID_VERSION = (14, 19)  # the characters with the version and the variant, which some models check
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_DIGIT = re.compile(r"\d")
_NAME = re.compile(r"[\w-]+")
_PAYLOADS = ("value", "parameter")
_NAMES = frozenset(
    [
        *("name", "key", "idempotency_key", "signal_name", "scope", "limit_key", "state_keys", "headers"),
        *("idempotent_request", "workflow"),
    ]
)
_HEAD = ("key", "idempotency_key", "scope", "limit_key")
_FIXED = frozenset({"service", "handler", "workflow"})  # the names of code


@dataclass(frozen=True, slots=True)
class Mask:
    """One mask of the user, or one that is always applied.

    ``is_named`` is False for masks that select texts only. A ``rule`` of None masks each whole payload.
    """

    label: str
    rule: MaskRule | None
    is_named: bool = False


ALWAYS = (Mask("headers", HEADERS), Mask("secrets", SECRETS))
"""What no card shows, and no record has: secret headers in payloads, and fields with a secret name."""
_WHOLE = "$"


def _short_pattern(texts: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that finds each of these short texts where it is not a part of a longer one."""
    others = [re.escape(each) for each in texts if not _SHORT_WORD.fullmatch(each)]
    pattern = "|".join([*others, _SHORT_WORD.pattern])
    return re.compile(rf"{_BEFORE_A_WORD}(?:{pattern})(?!\w)", re.IGNORECASE)


def parse_masks(masks: str | Iterable[str] | None) -> tuple[Mask, ...]:
    """Return the masks of the user: "$" for all texts, a path, or a name for the fields of this name at any depth.

    Raises:
        ArgumentError: one is neither a path nor a name.
    """
    texts = [masks] if isinstance(masks, str) else list(masks or ())
    parsed = []
    for text in texts:
        if not isinstance(text, str):
            raise ArgumentError(f"mask has {text!r}; pass paths such as '$.customer.email', or names such as 'email'.")
        if text == _WHOLE:
            parsed.append(Mask(_WHOLE, None))
            continue
        steps = parse_path(f"$..{text}" if _NAME.fullmatch(text) else text)
        parsed.append(Mask(text, PathRule(steps, text, strict=True), is_named=steps[-1].key is not None))
    return tuple(parsed)


@dataclass(slots=True)
class MaskedRecord:
    """A record with its masks applied.

    ``hits`` counts the masked values by the label of the mask, ``kept`` the numbers, dates and UUIDs below a selected
    value. ``unread`` are the entries with a payload that is not JSON and was masked as a whole, ``named`` those with a
    masked text in a name, ``changed`` those that a mask changed, ``with_words`` those that still have a word of a
    masked text. ``has_fields`` tells whether a name of a field has a masked text.
    """

    record: dict[str, Any]
    hits: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    unread: list[int] = field(default_factory=list)
    named: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    with_words: list[int] = field(default_factory=list)
    has_fields: bool = False

    @property
    def count(self) -> int:
        """Return the number of masked values."""
        return sum(self.hits.values()) + len(self.unread)


def mask_record(
    record: Mapping[str, Any],
    masks: Sequence[Mask],
    *,
    names: Collection[int] = (),
    kept: Collection[int] = (),
    fields: bool = True,
) -> MaskedRecord:
    """Return a record, the object of a record file, with the values masked that the masks select.

    ``names`` are the indexes of the entries whose names are masked too, ``kept`` of those whose payloads are not
    masked. With ``fields``, a name of a field that has a masked text is masked too.
    """
    selection, before = MaskSelection(masks), record["entries"]
    entries = [_select(entry, selection, index, is_kept=index in kept) for index, entry in enumerate(before)]
    result = MaskedRecord({**record, "entries": entries}, selection.hits, selection.kept, selection.unread)
    if not result.count:
        return result
    texts = MaskedTexts(selection.texts, selection.numbers, masks_fields=fields)
    for index, entry in enumerate(entries):
        entries[index], has_names = _replace(entry, texts, masks_names=index in names, is_kept=index in kept)
        result.named += [index] * has_names
        result.with_words += [index] * texts.has_words
        texts.has_words = False
        result.changed += [index] * (entries[index] != before[index])
    labels = [each.label for each in masks if result.hits[each.label] or (result.unread and each not in ALWAYS)]
    result.record |= {name: texts.within(record[name]) for name in _HEAD if record.get(name)}
    result.record |= {"masked": list(dict.fromkeys([*record.get("masked", ()), *labels]))}
    if error := record.get("error"):
        result.record["error"] = {**error, "message": texts.within(error["message"])}
    result.has_fields = texts.has_fields
    return result


def _select(entry: Mapping[str, Any], selection: MaskSelection, index: int, *, is_kept: bool) -> dict[str, Any]:
    """Return an entry with the selected values of its payloads, and its secret headers, masked."""
    masked = dict(entry)
    for name in _PAYLOADS:
        if name in entry and not is_kept:
            masked[name] = selection.mask_payload(entry[name], index)
    if "headers" in entry:
        masked["headers"] = [[name, selection.mask_header(name, value)] for name, value in entry["headers"]]
    return masked


def _replace(
    entry: Mapping[str, Any], texts: MaskedTexts, *, masks_names: bool, is_kept: bool
) -> tuple[dict[str, Any], bool]:
    """Return an entry with the masked texts replaced, and whether one of its names has one."""
    replaced = dict(entry)
    for name in _PAYLOADS:
        if name in entry and not is_kept:
            replaced[name] = texts.within_payload(entry[name])
    if "failure" in entry:
        replaced["failure"] = {name: _in_failure(name, value, texts) for name, value in entry["failure"].items()}
    if "body" in entry:
        content = texts.within_bytes(payload_bytes({"base64": entry["body"]}))
        replaced["body"] = base64.b64encode(content).decode()
    names = {name: _in_names(entry[name], texts) for name in _NAMES if name in entry}
    has_names = any(entry[name] != value for name, value in names.items())
    return {**replaced, **(names if masks_names else {})}, has_names


def _in_failure(name: str, value: Any, texts: MaskedTexts) -> Any:
    return texts.within(value) if name == "message" else _in_names(value, texts)


def _in_names(value: Any, texts: MaskedTexts) -> Any:
    """Return a name, or the names in lists and objects, with the masked texts replaced."""
    if isinstance(value, str):
        return texts.within(value)
    if isinstance(value, list):
        return [_in_names(each, texts) for each in value]
    if isinstance(value, dict):
        return {name: each if name in _FIXED else _in_names(each, texts) for name, each in value.items()}
    return value


def mask_string(text: str) -> str:
    """Return the mask of a text: dates and UUIDs keep their form, other texts their length."""
    if _UUID.fullmatch(text):
        return "".join(each if each == "-" or at in _UUID_VERSION else "1" for at, each in enumerate(text))
    return re.sub(r"\d", "1", text) if _DATE.fullmatch(text) else "x" * len(text)


def mask_number(number: str) -> str:
    """Return the mask of a number with as many digits; true, false and null are kept."""
    return re.sub(r"\d", "1", number) if _NUMBER.match(number) else number


@dataclass(slots=True)
class MaskSelection:
    """Masks the values that rules select, and collects their texts.

    Numbers, dates and UUIDs are masked only by the masks that name them.
    """

    masks: Sequence[Mask]
    texts: set[str] = field(default_factory=set)
    numbers: set[str] = field(default_factory=set)
    hits: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    unread: list[int] = field(default_factory=list)

    def mask_payload(self, payload: Any, index: int) -> Any:
        """Return the payload of the entry with this index, with the selected values masked."""
        content = payload_bytes(payload)
        if is_encrypted(content):
            self.kept["encrypted payload"] += 1
            return payload
        rules = [each.rule for each in self.masks if each.rule is not None]
        masked, result = mask_bytes(content, rules, self._replacement)
        self.unread += [index] * bool(result.unread)
        payload = payload_of(masked)
        return self._mask_whole(payload) if any(each.rule is None for each in self.masks) else payload

    def _mask_whole(self, payload: Any) -> Any:
        """Return a payload with all of its texts masked; one that is not UTF-8 becomes a text."""
        text = payload if isinstance(payload, str) else payload_bytes(payload).decode("utf-8", "replace")
        try:
            edits = [(root.start, root.end, self._replacement(text, root, _WHOLE)) for root in scan(text)]
        except Unreadable:
            self.hits[_WHOLE] += 1
            return self._mask_text(text)
        return splice(text, edits)

    def _is_named(self, label: str) -> bool:
        return not label or any(each.is_named for each in self.masks if each.label == label)

    def mask_header(self, name: str, value: str) -> str:
        """Return the value of a header, masked if the name is secret."""
        if not value or not is_secret_header(name):
            return value
        self.hits[ALWAYS[0].label] += 1
        return self._mask_text(value)

    def _replacement(self, text: str, node: Node | None, label: str) -> str:
        if node is None:
            return self._mask_text(text)
        before = text[node.start : node.end]
        after = splice(before, self._edits(text, node, is_named=self._is_named(label)))
        self.hits[label] += bool(label) and after != before
        return after

    def _edits(self, text: str, root: Node, *, is_named: bool) -> Iterator[Edit]:
        """Yield the edits that mask a value, with positions in the text of that value."""
        pending = [root]
        while pending:
            node = pending.pop()
            pending += node.parts
            value, is_root = text[node.start : node.end], node is root
            if node.kind == "string":
                after = self._mask_quoted(text, node, is_named=is_named and is_root)
            elif node.kind == "scalar" and is_root and is_named:
                after = self._mask_number(value)
            else:
                self.kept["number"] += node.kind in {"scalar", "numbers"} and bool(_DIGIT.search(value))
                continue
            yield node.start - root.start, node.end - root.start, after

    def _mask_quoted(self, text: str, node: Node, *, is_named: bool) -> str:
        try:
            content = string_at(text, node.start)
        except Unreadable:
            return json.dumps(self._mask_text(text[node.start + 1 : node.end - 1]))
        return json.dumps(self._mask_content(content, is_named=is_named))

    def _mask_content(self, content: str, *, is_named: bool) -> str:
        if not is_named and (_DATE.fullmatch(content) or _UUID.fullmatch(content)):
            self.kept["date or UUID"] += 1
            return content
        roots = _containers(content)
        if not roots:
            return self._mask_text(content)
        return splice(
            content, [_moved(edit, root) for root in roots for edit in self._edits(content, root, is_named=False)]
        )

    def _mask_text(self, text: str) -> str:
        if text:
            self.texts.add(text)
        return mask_string(text)

    def _mask_number(self, number: str) -> str:
        if _DIGIT.search(number):
            self.numbers.add(number)
        return mask_number(number)


class MaskedTexts:
    """Replaces masked texts wherever they are, in upper and lower case, and as JSON, Python and URLs write them.

    A text with fewer than four characters is replaced only where it is a word. ``has_fields`` is True once a masked
    text is the name of a field, ``has_words`` once a text is left with a word of a masked name, address or the like.
    """

    def __init__(self, texts: Collection[str], numbers: Collection[str], *, masks_fields: bool) -> None:
        masks = {**{each: mask_number(each) for each in numbers}, **{each: mask_string(each) for each in texts}}
        self._masks = {_fold(form): masked for each, masked in masks.items() for form in _forms(each)}
        self._masks |= {_fold(each): masked for each, masked in masks.items()}  # also if another text has an equal form
        self._numbers = {each for each in masks if _NUMBER.fullmatch(each) and len(_DIGIT.findall(each)) >= _SHORTEST}
        self._masks_fields = masks_fields
        longest_first = sorted(self._masks, key=len, reverse=True)
        self._by_start: dict[str, list[str]] = {}  # a search for each of 10,000 texts would take seconds
        for each in longest_first:
            if len(each) >= _SHORTEST:
                self._by_start.setdefault(each[:_SHORTEST], []).append(each)
        short = [each for each in longest_first if len(each) < _SHORTEST and any(map(str.isalnum, each))]
        self._short = _short_pattern(short) if short else None
        self._in_bytes = {form for each in masks for form in _forms(each) if len(form) >= _SHORTEST}
        self._words = {
            word for each in texts if len(each.split()) <= _LONGEST_NAME for word in _LONG_WORD.findall(_fold(each))
        }
        self.has_fields = self.has_words = False

    def within(self, text: str) -> str:
        """Return a text with the masked texts in it replaced."""
        after = self._replaced(text)
        self.has_words |= bool(self._words) and not self._words.isdisjoint(_LONG_WORD.findall(_fold(after)))
        return after

    def _replaced(self, text: str) -> str:
        folded = _fold(text)
        if folded in self._masks:
            return self._masks[folded]
        text = self._without_long(text, folded)
        if self._short is None:
            return text
        return self._short.sub(lambda found: self._masks.get(_fold(found[0]), found[0]), text)

    def _without_long(self, text: str, folded: str) -> str:
        if len(self._by_start) <= _FEW and not any(start in folded for start in self._by_start):
            return text
        parts, done, at = [], 0, 0
        while at <= len(text) - _SHORTEST:
            candidates = self._by_start.get(folded[at : at + _SHORTEST], ())
            found = next((each for each in candidates if folded.startswith(each, at)), None)
            if found is None:
                at += 1
                continue
            parts += [text[done:at], self._masks[found]]
            done = at = at + len(found)
        return "".join([*parts, text[done:]]) if parts else text

    def within_bytes(self, content: bytes) -> bytes:
        """Return bytes with the masked texts in them replaced by as many bytes."""
        for each in chain.from_iterable((form, form.lower(), form.upper()) for form in self._in_bytes):
            encoded = each.encode("utf-8", "surrogatepass")
            content = content.replace(encoded, b"x" * len(encoded))
        return content

    def within_payload(self, payload: Any) -> Any:
        """Return a payload with the masked texts in its values and names of fields replaced."""
        if isinstance(payload, str):
            return self._within_json(payload)
        return payload_of(self.within_bytes(payload_bytes(payload)))

    def _within_json(self, text: str) -> str:
        try:
            pending = scan(text)
        except Unreadable:
            return self.within(text)
        edits: list[Edit] = []
        while pending:
            node = pending.pop()
            edits += self._edits(text, node)
            pending += [each for _, each in node.pairs(text)]
        return splice(text, edits)

    def _edits(self, text: str, node: Node) -> Iterator[Edit]:
        value = text[node.start : node.end]
        if node.kind == "scalar" and value in self._numbers:
            yield node.start, node.end, mask_number(value)
        elif node.kind == "string":
            with contextlib.suppress(Unreadable):
                content = string_at(text, node.start)
                after = self._within_json(content) if begins_like_json(content) else self.within(content)
                if after != content:
                    yield node.start, node.end, json.dumps(after)
        elif node.kind == "object":
            yield from self._field_edits(text, node)

    def _field_edits(self, text: str, node: Node) -> Iterator[Edit]:
        end = node.start
        for name, part in zip(node.names, node.parts, strict=True):
            after = self._replaced(name)
            if after != name:
                self.has_fields = True
                if self._masks_fields:
                    yield text.index('"', end, part.start), text.rindex('"', end, part.start) + 1, json.dumps(after)
            end = part.end


def _forms(text: str) -> set[str]:
    """Return a text as it is, and as JSON, Python, HTML and URLs write it within another text."""
    written = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1], ascii(text)[1:-1]}
    encodable = text.encode("utf-8", "replace")
    urls = {quote(encodable), quote(encodable, safe=""), quote(encodable, safe=_NOT_ENCODED), quote_plus(encodable)}
    lines = {text.replace("\r\n", "\n").replace("\n", end) for end in ("\n", "\r\n", " ")}
    return {text, text.upper(), text.casefold(), html.escape(text), *written, *urls, *lines}


def _fold(text: str) -> str:
    """Return a text in lower case, with as many characters."""
    lower = text.lower().replace("ς", "σ")  # Python writes the last one of a word in another way
    if len(lower) == len(text):
        return lower
    return "".join(each if len(each.lower()) > 1 else each.lower() for each in text)


def _containers(text: str) -> list[Node]:
    """Return the objects and arrays of a text that is JSON; [] for another text."""
    if not begins_like_json(text):
        return []
    try:
        roots = scan(text)
    except Unreadable:
        return []
    return roots if all(each.kind in {"object", "array"} for each in roots) else []


def _moved(edit: Edit, root: Node) -> Edit:
    start, end, new = edit
    return start + root.start, end + root.start, new
