"""Replace single values of a JSON text by masks; all other characters stay unchanged.

JSON within JSON strings, such as the arguments of an LLM's tool calls, is masked in the same way, at any depth. A text
that cannot be parsed is masked as a whole if it could contain a value that a rule masks.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeAlias

from restate_lab.payload_json.scan import Node, Unreadable, begins_like_json, scan, string_at
from restate_lab.redaction import MASK

MASKED = f'"{MASK}"'
Replacement: TypeAlias = Callable[[str, Node | None, str], str]
"""Returns what replaces a value, from the text, its node (None: a text that is not JSON) and the rule's label."""
Edit = tuple[int, int, str]
"""A range of a text (start, end) and its replacement."""

_ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)
_CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_MOST_LEVELS = 8  # maximum depth of nested escapes in a text that cannot be parsed
_NOT_IN_TEXT = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
# A field of JSON or code in the middle of a text: "name": or 'name':
_FIELD = re.compile(r"""["']([\w .$@/-]{1,100}+)\\*+["']\s*+:""")


class MaskRule:
    """Decides which values are masked. A rule starts at the root and yields the rules for the values below.

    ``label`` is its name in counts. A ``strict`` rule also masks payloads that are not JSON: binary payloads, which
    cannot be parsed, and texts that contain its names.
    """

    label = ""
    strict = False

    def descend(self, node: Node, text: str) -> Iterator[tuple[Node, MaskRule | None]]:
        """Yield the values directly below ``node``, each with the rule for it, or None if the value is masked."""
        raise NotImplementedError

    def is_mentioned(self, text: str) -> bool:
        """Return whether a text without Unicode escapes could contain a masked value; True if uncertain."""
        raise NotImplementedError

    def is_among(self, names: Sequence[str]) -> bool:
        """Return whether the rule could mask fields with these names in the middle of a text."""
        raise NotImplementedError

    def is_within(self, text: str) -> bool:
        """Return whether a text that does not begin like JSON contains such fields, like code within prose."""
        names = _FIELD.findall(text)
        return bool(names) and self.is_among(names)

    def is_possible(self, text: str) -> bool:
        """Return whether a text, possibly with Unicode escapes, could contain a masked value; True if uncertain."""
        return "\\u" in text or self.is_mentioned(text)


@dataclass(slots=True)
class MaskResult:
    """A masked text, the number of matches per rule label, and the number of parts that could not be parsed."""

    value: str
    hits: Counter[str] = field(default_factory=Counter)
    unread: int = 0


def _as_mask(_text: str, _node: Node | None, _label: str) -> str:
    return MASKED


def mask(text: str, rules: Iterable[MaskRule], replacement: Replacement = _as_mask) -> MaskResult:
    """Return a JSON text with the values masked that the rules select.

    A text that is not JSON and could contain such a value is masked as a whole and counted in ``unread``. Any other
    text that is not JSON is returned unchanged. ``replacement`` returns what replaces a value.
    """
    likely = [rule for rule in rules if rule.is_possible(text) or (rule.strict and _NOT_IN_TEXT.search(text))]
    if not likely:
        return MaskResult(text)
    walk = MaskWalk(replacement=replacement)
    try:
        edits = walk.edits(text, scan(text), likely)
    except Unreadable:
        if not any(_may_hold(rule, text) for rule in likely):
            return MaskResult(text)
        return MaskResult(replacement(text, None, ""), unread=1)
    return MaskResult(splice(text, edits), walk.hits, walk.unread)


def mask_bytes(
    value: bytes, rules: Iterable[MaskRule], replacement: Replacement = _as_mask
) -> tuple[bytes, MaskResult]:
    """Mask the bytes of a JSON text like ``mask``, and return the new bytes and the result with its counts."""
    text, encoding, errors = _decode(value)
    result = mask(text, rules, replacement)
    return (value if result.value is text else result.value.encode(encoding, errors)), result


def splice(text: str, edits: Iterable[Edit]) -> str:
    """Return the text with the edits applied; of two overlapping edits the outer one is applied."""
    parts, at = [], 0
    for start, end, new in sorted(edits, key=lambda edit: (edit[0], -edit[1])):
        if start >= at:
            parts += [text[at:start], new]
            at = end
    return "".join([*parts, text[at:]]) if parts else text


@dataclass(slots=True)
class MaskWalk:
    """Applies rules to a text and to the JSON in its strings, and counts the matches."""

    hits: Counter[str] = field(default_factory=Counter)
    unread: int = 0
    replacement: Replacement = _as_mask

    def edits(self, text: str, roots: Iterable[Node], rules: Sequence[MaskRule]) -> list[Edit]:
        """Return the edits that mask a text with the values ``roots``."""
        pending = [(root, rule) for root in roots for rule in rules]
        seen: set[tuple[Node, MaskRule | None]] = {*pending}
        strings, hits = dict[Node, list[MaskRule]](), set[tuple[Node, str]]()
        while pending:
            node, rule = pending.pop()
            if node.kind == "string":
                strings.setdefault(node, []).append(rule)
                continue
            for step in rule.descend(node, text):
                below, next_rule = step
                if next_rule is None:
                    hits.add((below, rule.label))
                elif step not in seen:
                    seen.add(step)
                    pending.append((below, next_rule))
        self.hits.update(label for _, label in hits)
        edits = [(node.start, node.end, self.replacement(text, node, label)) for node, label in hits]
        for node, node_rules in strings.items():
            edits += self._nested_edits(text, node, node_rules)
        return edits

    def _nested_edits(self, text: str, node: Node, rules: Sequence[MaskRule]) -> Iterable[Edit]:
        raw = text[node.start + 1 : node.end - 1]
        likely = [rule for rule in rules if rule.is_possible(raw)]
        if not likely:
            return ()
        try:
            inner = string_at(text, node.start)
        except Unreadable:
            return self._mask_unread(text, node) if any(_is_mentioned(rule, raw) for rule in likely) else ()
        if not begins_like_json(inner):
            return self._mask_unread(text, node) if any(rule.is_within(inner) for rule in likely) else ()
        try:
            edits = self.edits(inner, scan(inner), likely)
        except Unreadable:
            return self._mask_unread(text, node) if any(_is_mentioned(rule, inner) for rule in likely) else ()
        return _outer_edits(edits, raw, node.start + 1)

    def _mask_unread(self, text: str, node: Node) -> list[Edit]:
        self.unread += 1
        return [(node.start, node.end, self.replacement(text, node, ""))]


def _outer_edits(edits: Sequence[Edit], raw: str, offset: int) -> Iterator[Edit]:
    """Convert edits of a string's content to edits of the text that contains it, at ``offset``, with escapes."""
    if not edits:
        return
    escapes = [each.span() for each in _ESCAPE.finditer(raw)]
    longer = [0, *accumulate(end - start - 1 for start, end in escapes)]
    places = [start - before for (start, _), before in zip(escapes, longer, strict=False)]

    def outer(at: int) -> int:
        return offset + at + longer[bisect_left(places, at)]

    for start, end, new in edits:
        yield outer(start), outer(end), json.dumps(new, ensure_ascii=False)[1:-1]


def _may_hold(rule: MaskRule, text: str) -> bool:
    """Return whether a text that is not JSON could contain a value that the rule masks."""
    if rule.strict and _NOT_IN_TEXT.search(text):
        return True
    return _is_mentioned(rule, text) if rule.strict or begins_like_json(text) else rule.is_within(text)


def _is_mentioned(rule: MaskRule, text: str) -> bool:
    """Return whether a text, with any escaping, could contain a value that the rule masks; True if uncertain."""
    for _ in range(_MOST_LEVELS):
        if rule.is_mentioned(text):
            return True
        plain = _ESCAPE.sub(_unescape, text)
        if plain == text:
            return False
        text = plain
    return True


def _unescape(escape: re.Match[str]) -> str:
    code = escape[0][1:]
    if code[0] != "u" or len(code) == 1:
        return _CONTROLS.get(code, code)
    units = bytes.fromhex(code.replace("\\", "").replace("u", ""))
    return units.decode("utf-16-be", "surrogatepass")


def _decode(value: bytes) -> tuple[str, str, str]:
    """Return bytes as text, with the encoding and error handler that convert it back to the same bytes."""
    encoding = json.detect_encoding(value)
    if encoding.startswith(("utf-16", "utf-32")):  # or UTF-8 with NULs around the value
        try:
            text = value.decode(encoding, "surrogatepass")
            if scan(text) and text.encode(encoding, "surrogatepass") == value:
                return text, encoding, "surrogatepass"
        except (UnicodeError, Unreadable):
            pass
    return value.decode("utf-8", "surrogateescape"), "utf-8", "surrogateescape"
