"""The inputs of invocations as attributes: the paths of their JSON with the values at them, and their headers.

An input is the payload of the first entry of a journal. Objects with many rare names are maps, whose names are data:
their values are at one path, ``scores.*``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from restate_lab.analysis.contrast.model import MISSING, UNKNOWN, Attribute, Elements, Fields, Many, Observed, Where
from restate_lab.analysis.journal.encoding import OF_EVERY_CALL, input_entry_of
from restate_lab.analysis.journal.payloads import decode
from restate_lab.payload_json import Decoding, EncryptedPayload
from restate_lab.redaction import is_secret_header, is_secret_name

MOST_BYTES = 64 << 10
"""The largest input that is read; the server does not send larger ones."""
TOTAL_BYTES = 64 << 20
"""The bytes of the inputs of both sides together."""
_DEEPEST, _MOST_PATHS, _MOST_ELEMENTS = 5, 400, 50
_MOST_HEADERS = 100
_MAP_NAMES, _RARE = 50, 0.01  # an object is a map if it has more names than this in less than this share of the rows
_ELEMENT, _ANY = "[]", "*"

Path: TypeAlias = tuple[str, ...]
"""The names from the input to a value; "[]" is any element of a list, "*" any field of a map."""


@dataclass(frozen=True, slots=True)
class Input:
    """The input of one invocation: its headers by name in lower case, and its value, or UNKNOWN if it is encrypted."""

    headers: Mapping[str, str]
    value: object


@dataclass(slots=True)
class Inputs:
    """The inputs that were read, by the id of their invocation, and the reason for each other id."""

    by_id: dict[str, Input] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


def input_of(entry: Mapping[str, Any], decoding: Decoding | None) -> Input:
    """Return the input of a row of ``sys_journal`` with ``raw`` or ``entry_json``.

    Raises:
        ValueError: the entry has an unknown form.
    """
    read = input_entry_of(entry, decoding)
    value = decode(read.payload)
    if isinstance(value, EncryptedPayload):
        return Input(read.headers, UNKNOWN)
    content = f"{len(value)} bytes" if isinstance(value, bytes) else value
    return Input(read.headers, content if read.payload else MISSING)


def observe_headers(ids: Sequence[str], inputs: Mapping[str, Input], redact: Sequence[str]) -> list[Observed]:
    """Return the headers of the inputs, those of most rows first; an input that was not read is UNKNOWN."""
    names = Counter(name for id_ in ids if id_ in inputs for name in inputs[id_].headers)
    chosen = [name for name, _ in names.most_common() if name not in OF_EVERY_CALL][:_MOST_HEADERS]
    return [
        Observed(
            Attribute(
                Where.HEADER, name, is_payload=True, is_hidden=is_secret_header(name) or _is_redacted((name,), redact)
            ),
            [inputs[id_].headers.get(name, MISSING) if id_ in inputs else UNKNOWN for id_ in ids],
        )
        for name in chosen
    ]


def observe_fields(ids: Sequence[str], inputs: Mapping[str, Input], redact: Sequence[str]) -> list[Observed]:
    """Return the paths in the inputs, those of most rows first; an input that was not read is UNKNOWN."""
    known = {id_: inputs[id_].value for id_ in ids if id_ in inputs and inputs[id_].value is not UNKNOWN}
    maps = _find_maps(known.values())
    flat = {id_: flatten(value, maps) for id_, value in known.items()}
    counts = Counter(path for each in flat.values() for path in each)
    return [
        Observed(_attribute(path, redact), [flat[id_].get(path, MISSING) if id_ in flat else UNKNOWN for id_ in ids])
        for path, _ in counts.most_common(_MOST_PATHS)
    ]


def flatten(value: object, maps: frozenset[Path] = frozenset()) -> dict[Path, object]:
    """Return path → the value of an input there: a scalar, ``Fields``, ``Elements``, or ``Many`` in a list or map."""
    single: dict[Path, object] = {}
    several: defaultdict[Path, list[object]] = defaultdict(list)
    for path, leaf in _leaves(value, (), maps):
        if _ELEMENT in path or _ANY in path:
            several[path].append(leaf)
        else:
            single[path] = leaf
    return single | {path: Many(tuple(values)) for path, values in several.items()}


def _leaves(value: object, path: Path, maps: frozenset[Path]) -> Iterator[tuple[Path, object]]:
    if isinstance(value, dict):
        yield path, Fields(len(value))
        names = list(value.items()) if len(path) < _DEEPEST else []
        below: Iterable[tuple[str, object]] = names[:_MOST_ELEMENTS] if path in maps else names[:_MOST_PATHS]
        for name, each in below:
            yield from _leaves(each, (*path, _ANY if path in maps else name), maps)
    elif isinstance(value, list):
        yield path, Elements(len(value))
        for each in value[:_MOST_ELEMENTS] if len(path) < _DEEPEST else []:
            yield from _leaves(each, (*path, _ELEMENT), maps)
    elif value is not MISSING:
        yield path, float(value) if isinstance(value, Decimal) else value


def _find_maps(values: Iterable[object]) -> frozenset[Path]:
    """Return the paths of the objects that are maps: with very many names, each in few of the rows."""
    rows = list(values)
    maps: frozenset[Path] = frozenset()
    for depth in range(_DEEPEST):  # a level below a map has the path of all its objects
        names: defaultdict[Path, Counter[str]] = defaultdict(Counter)
        for value in rows:
            names_of_row: defaultdict[Path, set[str]] = defaultdict(set)
            _collect_names(value, (), maps, depth, names_of_row)
            for path, found in names_of_row.items():
                names[path].update(found)
        maps |= {path for path, counts in names.items() if _is_map(counts, len(rows))}
    return maps


def _collect_names(
    value: object, path: Path, maps: frozenset[Path], depth: int, found: defaultdict[Path, set[str]]
) -> None:
    """Add the names of the objects at this depth."""
    if isinstance(value, dict):
        if len(path) == depth:
            found[path].update(value)
            return
        for name, each in value.items():
            _collect_names(each, (*path, _ANY if path in maps else name), maps, depth, found)
    elif isinstance(value, list) and len(path) < depth:
        for each in value[:_MOST_ELEMENTS]:
            _collect_names(each, (*path, _ELEMENT), maps, depth, found)


def _is_map(counts: Counter[str], rows: int) -> bool:
    rare = sum(1 for count in counts.values() if count < max(2, _RARE * rows))
    return rare > _MAP_NAMES


def _attribute(path: Path, redact: Sequence[str]) -> Attribute:
    is_hidden = any(map(is_secret_name, path)) or _is_redacted(path, redact)
    return Attribute(Where.INPUT, path_text(path), path, is_payload=True, is_hidden=is_hidden)


def path_text(path: Path) -> str:
    """Return a path as text: "items[].sku"."""
    text = ""
    for name in path:
        text += name if name == _ELEMENT else f".{name}" if text else name
    return text


def _is_redacted(path: Path, redact: Sequence[str]) -> bool:
    """Return whether a pattern of ``redact=`` matches the path, its end, or one of its names; "$." may begin it."""
    patterns = [pattern.lower().lstrip("$.") for pattern in redact]
    ends = [path_text(path[at:]) for at in range(len(path))]
    return any(fnmatchcase(each.lower(), pattern) for pattern in patterns for each in (*ends, *path))
