"""Generated samples of invocations for ``contrast``: with a planted cause, which is known, or without any cause."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from restate_lab.analysis.contrast.decide import Causes
from restate_lab.analysis.contrast.model import MISSING, Attribute, Elements, Flags, Many, Observed, Sample, Where

_HOUR = 3_600 * 10**9
_START = 1_795_000_000 * 10**9
_NAMES = [
    *("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron"),
    *("inlet", "juniper", "kelp", "larch", "maple", "nova", "onyx", "pine"),
]
_FIELDS = [
    *("age", "book", "city", "depth", "edge", "fare", "gate", "home", "index", "jury"),
    *("knot", "lane", "mode", "note", "order", "price", "queue", "rate", "size", "tier"),
]


@dataclass(frozen=True)
class World:
    """A sample and its planted causes: for each, which rows meet it. Without a cause, the outcomes are random."""

    kind: str
    seed: int
    is_hard: bool
    sample: Sample
    causes: tuple[Flags, ...]


class Rows:
    """The attributes of rows while a world is made; a kind replaces or adds some."""

    def __init__(self, rng: np.random.Generator, count: int, fields: int) -> None:
        self.rng, self.count = rng, count
        self.created_at = _START + np.sort(rng.integers(0, 6 * _HOUR, count))
        self.callers: list[str | None] = [None] * count
        self.observed: dict[tuple[Where, str], tuple[Attribute, list[Any]]] = {}
        self._add_columns()
        self._add_inputs(fields)

    def put(self, where: Where, path: str, values: Sequence[Any], **options: Any) -> None:
        names = tuple(path.replace("[]", ".[]").split(".")) if where is Where.INPUT else ()
        attribute = Attribute(where, path, names, is_payload=where in {Where.INPUT, Where.HEADER}, **options)
        self.observed[where, path] = attribute, list(values)

    def choose(self, values: Sequence[Any], share_missing: float = 0.0) -> list[Any]:
        weights = self.rng.dirichlet(np.full(len(values), 2.0))
        chosen = [values[place] for place in self.rng.choice(len(values), self.count, p=weights)]
        missing = self.rng.random(self.count) < share_missing
        return [MISSING if is_missing else value for value, is_missing in zip(chosen, missing, strict=True)]

    def texts(self, lengths: Any) -> list[str]:
        letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
        return ["".join(self.rng.choice(letters, int(length))) for length in lengths]

    def sample(self, failing: Flags) -> Sample:
        self.put(Where.TIME, "created_at", self.created_at.tolist(), is_sequential=True, sql="created_at")
        observed = [Observed(attribute, values) for attribute, values in self.observed.values()]
        return Sample(failing, self.created_at, self.callers, observed)

    def _add_columns(self) -> None:
        turn = np.quantile(self.created_at, self.rng.uniform(0.2, 0.8))
        is_new = self.created_at > turn
        deployments = np.where(is_new, "dp_1new", "dp_1old").tolist()
        self.put(Where.COLUMN, "pinned_deployment_id", deployments, is_sequential=True, sql="pinned_deployment_id")
        sdks = np.where(is_new, "restate-sdk/1.5.0", "restate-sdk/1.4.2").tolist()
        self.put(Where.COLUMN, "sdk", sdks, is_sequential=True)
        self.put(Where.COLUMN, "invoked_by_service_name", self.choose(["Orders", "Gateway", "Backfill"], 0.4))
        self.put(Where.COLUMN, "node", self.choose(["1", "2", "3"]))
        self.put(Where.COLUMN, "partition", self.choose([str(each) for each in range(24)]))
        tenants, numbers = self.choose([f"{name}-" for name in _NAMES[:8]]), self.rng.integers(1, 5_000, self.count)
        self.put(Where.KEY, "target_service_key", [f"{a}{b}" for a, b in zip(tenants, numbers, strict=True)])
        self.put(Where.HEADER, "x-dry-run", self.choose(["yes"], 0.9))
        self.put(Where.HEADER, "user-agent", self.choose(["curl/8", "python-httpx/0.28", "okhttp/4"]))
        for step in ("reserve", "charge card", "notify"):
            self.put(Where.STEP, step, self.choose([True], self.rng.uniform(0, 0.6)))

    def _add_inputs(self, fields: int) -> None:
        rng = self.rng
        self.put(Where.INPUT, "id", [f"{each:016x}" for each in rng.integers(0, 2**62, self.count)])
        items = [rng.choice(_NAMES, rng.integers(1, 6)).tolist() for _ in range(self.count)]
        self.put(Where.INPUT, "items", [Elements(len(each)) for each in items])
        self.put(Where.INPUT, "items[].sku", [Many(tuple(each)) for each in items])
        self.put(Where.INPUT, "email", [f"u{n}@{d}" for n, d in enumerate(self.choose(["a.example", "b.example"]))])
        self.put(Where.INPUT, "text", self.texts(rng.poisson(12, self.count)))
        for place in range(fields):
            name = f"{_FIELDS[place % len(_FIELDS)]}{place // len(_FIELDS) or ''}"
            path = f"{rng.choice(['customer', 'order', 'cart'])}.{name}" if rng.random() < 0.5 else name
            self.put(Where.INPUT, path, self._values())

    def _values(self) -> list[Any]:
        rng, missing = self.rng, float(self.rng.choice([0, 0, 0.1, 0.3]))
        kind = rng.integers(6)
        if kind == 0:
            return self.choose(_NAMES[: rng.integers(2, 16)], missing)
        if kind == 1:
            return np.round(rng.lognormal(4, 1, self.count), 2).tolist()
        if kind == 2:
            return rng.integers(0, rng.integers(2, 3_000), self.count).tolist()
        if kind == 3:
            return self.choose([True, False], missing)
        if kind == 4:
            return self.choose([None, *_NAMES[: rng.integers(2, 6)]], missing)
        return [f"{a}-{b}" for a, b in zip(self.choose(_NAMES[:5]), rng.integers(1, 400, self.count), strict=True)]


# A function that plants a cause changes the rows and returns which of them meet it; ``met`` is a random choice of rows.
Plant = Callable[[Rows, Flags], "tuple[Flags, ...]"]


def _with(rows: Rows, met: Flags, value: Any, others: list[Any]) -> list[Any]:
    return [value if is_met else other for is_met, other in zip(met, others, strict=True)]


def _value(where: Where, path: str, value: Any, others: Sequence[Any], missing: float = 0.0, **options: Any) -> Plant:
    def plant(rows: Rows, met: Flags) -> tuple[Flags, ...]:
        rows.put(where, path, _with(rows, met, value, rows.choose(others, missing)), **options)
        return (met,)

    return plant


def _number(low: float, high: float) -> Plant:
    """Plant a range of numbers: as many rows as ``met`` has, from the end, or between ``low`` and ``high`` of them."""

    def plant(rows: Rows, met: Flags) -> tuple[Flags, ...]:
        numbers = np.round(rows.rng.lognormal(5, 1, rows.count), 1)
        start = 1 - met.mean() if high == 1 else rows.rng.uniform(low, high - met.mean())
        first, last = np.quantile(numbers, start), np.quantile(numbers, min(1.0, start + met.mean()))
        rows.put(Where.INPUT, "planted.number", numbers.tolist())
        return ((numbers > first) & (numbers <= last),)

    return plant


def _hour(rows: Rows, met: Flags) -> tuple[Flags, ...]:
    start = rows.rng.uniform(0, 1 - met.mean())
    first, last = np.quantile(rows.created_at, [start, start + met.mean()])
    return ((rows.created_at >= first) & (rows.created_at <= last),)


def _confounded(rows: Rows, met: Flags) -> tuple[Flags, ...]:
    """Plant a deployment that began at a time; a few later invocations were still pinned to the old one."""
    is_new = rows.created_at > np.quantile(rows.created_at, 1 - met.mean())
    is_new &= rows.rng.random(rows.count) > 0.01
    deployments = np.where(is_new, "dp_1planted", "dp_1old").tolist()
    rows.put(Where.COLUMN, "pinned_deployment_id", deployments, is_sequential=True, sql="pinned_deployment_id")
    rows.put(
        Where.COLUMN, "sdk", np.where(is_new, "restate-sdk/1.5.0", "restate-sdk/1.4.2").tolist(), is_sequential=True
    )
    return (is_new,)


def _length(rows: Rows, met: Flags) -> tuple[Flags, ...]:
    lengths = np.where(met, rows.rng.integers(11, 20, rows.count), rows.rng.integers(3, 11, rows.count))
    rows.put(Where.INPUT, "planted.language", rows.texts(lengths))
    return (met,)


def _item(rows: Rows, met: Flags) -> tuple[Flags, ...]:
    others = [rows.rng.choice(_NAMES, rows.rng.integers(1, 5)).tolist() for _ in range(rows.count)]
    lists = [
        Many((*each, "planted")) if is_met else Many(tuple(each)) for each, is_met in zip(others, met, strict=True)
    ]
    rows.put(Where.INPUT, "lines[].sku", lists)
    return (met,)


def _keys(rows: Rows, met: Flags) -> tuple[Flags, ...]:
    prefixes = _with(rows, met, "obsidian-", rows.choose([f"{name}-" for name in _NAMES[:8]]))
    numbers = rows.rng.integers(1, 5_000, rows.count)
    rows.put(Where.KEY, "target_service_key", [f"{a}{b}" for a, b in zip(prefixes, numbers, strict=True)])
    return (met,)


def _typed(rows: Rows, met: Flags) -> tuple[Flags, ...]:
    numbers = rows.rng.integers(1, 900, rows.count).tolist()
    values = [str(number) if is_met else number for number, is_met in zip(numbers, met, strict=True)]
    rows.put(Where.INPUT, "planted.total", values)
    return (met,)


def _proxy(rows: Rows, met: Flags) -> tuple[Flags, ...]:
    for name, share in zip(("alpha", "beta", "gamma"), rows.rng.uniform(0.85, 0.97, 3), strict=True):
        follows = np.where(rows.rng.random(rows.count) < share, met, ~met)
        rows.put(Where.INPUT, f"proxy.{name}", _with(rows, follows, "yes", rows.choose(["no", "maybe"])))
    return _value(Where.INPUT, "planted.region", "eu-west", _NAMES[:5])(rows, met)


def _pair(second: Where) -> Plant:
    """Plant two values that fail only together: each is also frequent among the healthy."""

    def plant(rows: Rows, met: Flags) -> tuple[Flags, ...]:
        first, other = (met | (rows.rng.random(rows.count) < rows.rng.uniform(0.15, 0.35)) for _ in range(2))
        other &= met | ~first
        first, other = first | met, other | met
        rows.put(Where.INPUT, "planted.plan", _with(rows, first, "maple", rows.choose(_NAMES[:4])))
        path = "x-planted" if second is Where.HEADER else "planted.score"
        rows.put(second, path, _with(rows, other, "thorn", rows.choose(_NAMES[4:8])))
        return (first & other,)

    return plant


def _two(rows: Rows, met: Flags) -> tuple[Flags, ...]:
    is_first = met & (rows.rng.random(rows.count) < rows.rng.uniform(0.4, 0.75))
    is_second = (met & ~is_first) | (rows.rng.random(rows.count) < met.mean() / 20)
    rows.put(Where.INPUT, "planted.region", _with(rows, is_first, "eu-west", rows.choose(_NAMES[:5])))
    rows.put(Where.COLUMN, "planted_caller", _with(rows, is_second, "Relay", rows.choose(["Orders", "Gateway"], 0.3)))
    return is_first, is_second


_REGION = _value(Where.INPUT, "planted.region", "eu-west", ["eu-north", "us-east", "us-west", "ap-south"])
_SMALL, _USUAL, _LARGE = (8, 12, 16), (30, 100, 300), (100, 300)


@dataclass(frozen=True)
class Kind:
    """How a kind of world is made.

    ``failing`` are its usual numbers of failing rows. ``fails`` and ``others`` are the shares of the rows that fail,
    with the cause and without it; without a value, the hardness of the world decides. With ``explains``, this share of
    the failing rows has the cause, and all others are random.
    """

    plant: Plant
    failing: tuple[int, ...] = _USUAL
    fails: tuple[float, float] | None = None
    others: tuple[float, float] | None = None
    explains: tuple[float, float] = (1.0, 1.0)


KINDS: dict[str, Kind] = {
    "deployment": Kind(_value(Where.COLUMN, "pinned_deployment_id", "dp_1planted", ["dp_1old"], is_sequential=True)),
    "json_value": Kind(_REGION),
    "json_missing": Kind(_value(Where.INPUT, "planted.tax_id", MISSING, _NAMES)),
    "json_item": Kind(_item),
    "proxy": Kind(_proxy),
    "key_prefix": Kind(_keys),
    "node": Kind(_value(Where.COLUMN, "node", "4", ["1", "2", "3"])),
    "json_type": Kind(_typed),
    "pair_mixed": Kind(_pair(Where.HEADER)),
    "header": Kind(_value(Where.HEADER, "x-planted", "on", [MISSING])),
    "step": Kind(_value(Where.STEP, "planted step", value=True, others=[MISSING])),
    "json_length": Kind(_length),
    "penetrance": Kind(_REGION, fails=(0.3, 0.6)),
    "two_causes": Kind(_two, _LARGE),
    "small": Kind(_REGION, _SMALL),
    "caller": Kind(_value(Where.COLUMN, "invoked_by_service_name", "Relay", ["Orders", "Gateway"], 0.3)),
    "partition": Kind(_value(Where.COLUMN, "partition", "24", [str(each) for each in range(24)])),
    "json_bool": Kind(_value(Where.INPUT, "planted.flag", value=True, others=[False])),
    "json_null": Kind(_value(Where.INPUT, "planted.coupon", None, _NAMES)),
    "pair_json": Kind(_pair(Where.INPUT)),
    "noise": Kind(_REGION, others=(0.01, 0.05)),
    "weak": Kind(_REGION, _LARGE, fails=(0.2, 0.4), others=(0.01, 0.03)),
    "confounded": Kind(_confounded),
    "hour": Kind(_hour),
    "json_number": Kind(_number(0, 1)),
    "json_range": Kind(_number(0.1, 0.9)),
    "partial": Kind(_REGION, explains=(0.15, 0.3)),
    "rare": Kind(_REGION, (5, 6, 8)),
}


def plant_world(kind: str, seed: int, *, is_hard: bool = False, is_small: bool = False) -> World:
    """Return a sample with a planted cause of this kind; a small one has few rows and fields, to save time.

    If it is hard, 40 to 90 % of the rows with the cause fail, and 0.2 to 3 % of all others.
    """
    made, rng = KINDS[kind], np.random.default_rng([seed, list(KINDS).index(kind), is_hard])
    fails = rng.uniform(*(made.fails or ((0.4, 0.9) if is_hard else (1.0, 1.0))))
    wanted, healthy = int(rng.choice(made.failing)), int(rng.choice([300] if is_small else [300, 1_000, 1_700]))
    with_cause = max(3, round(wanted * rng.uniform(*made.explains) / fails))
    total = max(wanted + healthy, 3 * with_cause)
    others = rng.uniform(*(made.others or ((0.002, 0.03) if is_hard else (0.0, 0.0))))
    others = min(others, wanted / total / 2)  # so that most of the failing rows have the cause
    if made.explains != (1.0, 1.0):
        others = (wanted - with_cause) / total
    rows = Rows(rng, total, int(rng.integers(4, 8) if is_small else rng.integers(10, 30)))
    causes = made.plant(rows, np.isin(np.arange(total), rng.choice(total, with_cause, replace=False)))
    chances = np.where(np.logical_or.reduce(causes), fails, others)
    return World(kind, seed, is_hard, rows.sample(rng.random(total) < chances), causes)


def place_of(world: World, causes: Causes) -> str:
    """Return how near the first place is to a planted cause: "right", "near", "wrong", or "none" without a claim."""
    if not causes.first:
        return "none"
    planted = [*world.causes, np.logical_or.reduce(world.causes)]
    likeness = max(_jaccard(causes.first[0].rows, rows) for rows in planted)
    return "right" if likeness >= 0.9 else "near" if likeness >= 0.5 else "wrong"


def _jaccard(rows: Flags, others: Flags) -> float:
    return float((rows & others).sum() / max((rows | others).sum(), 1))


def _plain(rows: Rows) -> None:
    """Keep the rows as they are."""


def _drift(rows: Rows) -> None:
    """Let the values of some fields change with time."""
    turned = rows.rng.random((8, rows.count)) < np.linspace(0, 1, rows.count)
    for place, is_late in enumerate(turned):
        values = _with(rows, is_late, "late", rows.choose(_NAMES[:4]))
        rows.put(Where.INPUT, f"drift{place}", values)


def _alike(rows: Rows) -> None:
    """Add fields that follow each other in most rows."""
    first = rows.choose(_NAMES[:6])
    for place in range(8):
        is_other = rows.rng.random(rows.count) < 0.1
        rows.put(Where.INPUT, f"alike{place}", [f"{a}{b}" for a, b in zip(first, is_other, strict=True)])


@dataclass(frozen=True)
class NullKind:
    """How a world without a cause is made: its numbers of rows, its fields, and what is special about its rows."""

    change: Callable[[Rows], None] = _plain
    failing: tuple[int, ...] = (12, 30, 100, 300)
    healthy: tuple[int, ...] = (300, 1_000, 1_700)
    fields: tuple[int, int] = (10, 30)
    in_bursts: bool = False
    has_callers: bool = False


NULL_KINDS: dict[str, NullKind] = {
    "plain": NullKind(),
    "drift": NullKind(_drift),
    "noise": NullKind(_alike),
    "wide": NullKind(fields=(100, 140)),
    "small": NullKind(failing=(4, 5, 6, 8, 12)),
    "imbalanced": NullKind(failing=(8, 600), healthy=(40, 2_000)),
    "fan_out": NullKind(in_bursts=True, has_callers=True),
    "burst": NullKind(in_bursts=True),
}


def null_world(kind: str, seed: int, *, is_small: bool = False) -> World:
    """Return a sample without a cause: random rows fail, or random bursts of rows with equal fields."""
    made, rng = NULL_KINDS[kind], np.random.default_rng([seed, list(NULL_KINDS).index(kind)])
    failing, healthy = int(rng.choice(made.failing)), int(rng.choice(made.healthy[:1] if is_small else made.healthy))
    rows = Rows(rng, failing + healthy, 6 if is_small else int(rng.integers(*made.fields)))
    made.change(rows)
    fails = np.isin(np.arange(rows.count), rng.choice(rows.count, failing, replace=False))
    if made.in_bursts:
        fails = _burst(rows, failing, has_callers=made.has_callers)
    return World(kind, seed, is_hard=False, sample=rows.sample(fails), causes=())


def _burst(rows: Rows, failing: int, *, has_callers: bool) -> Flags:
    """Make rows equal in bursts of 40 within three seconds, and let bursts fail until there are enough rows."""
    size = min(40, max(4, failing // 2))
    bursts = np.arange(rows.count) // size
    starts = np.sort(rows.rng.integers(0, 6 * _HOUR, bursts[-1] + 1))
    rows.created_at = _START + starts[bursts] + rows.rng.integers(0, 3 * 10**9, rows.count)
    for key, (attribute, values) in rows.observed.items():
        if not attribute.is_sequential and key != (Where.INPUT, "id"):
            rows.observed[key] = attribute, [values[burst * size] for burst in bursts]
    if has_callers:
        rows.callers = [f"inv_1{burst:05}" for burst in bursts]
    chosen = rows.rng.choice(bursts[-1] + 1, max(1, round(failing / size)), replace=False)
    return np.isin(bursts, chosen)
