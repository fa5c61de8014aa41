"""The data of a comparison: attributes of failing and healthy invocations, as values of rows and as counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, Literal, TypeAlias

import numpy as np

Payloads: TypeAlias = Literal[False, "shape", True]
"""False: no payload was read. "shape": payloads were compared, and their values are hidden. True: they are shown."""
Flags: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"
Integers: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Numbers: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"


LEAST = 4
"""The least number of invocations on a side that can be compared."""
ENOUGH = 30
"""The least number of healthy invocations for a conclusion; with fewer, a difference is only a clue."""
SEPARATORS = "-_:/.@#|"
"""The characters that can end the prefix of a text."""


class Where(StrEnum):
    """Where an attribute is; of attributes that select the same rows, the first in this order is named first."""

    COLUMN = "column"
    TIME = "time"
    KEY = "key"
    HEADER = "header"
    STEP = "step"
    INPUT = "input"


class Absence(Enum):
    """Why a row has no value of an attribute. An unknown one is not counted, a missing one is a condition."""

    MISSING = "missing"
    UNKNOWN = "unknown"


MISSING = Absence.MISSING
"""The row does not have the attribute: a null column, a path that is not in the input, a step that was not taken."""
UNKNOWN = Absence.UNKNOWN
"""The attribute of the row was not read: it is not in any count of the attribute."""


class Operator(StrEnum):
    """How a condition compares a value; of conditions on the same rows, the first in this order is named."""

    EQUAL = "="
    TYPE = "type"
    MISSING = "missing"
    PRESENT = "present"
    PREFIX = "prefix"
    DOMAIN = "domain"
    ABOVE = ">"
    BELOW = "<"
    BETWEEN = "between"
    COUNT_ABOVE = "count >"
    COUNT_BELOW = "count <"
    LENGTH_ABOVE = "length >"
    LENGTH_BELOW = "length <"
    PATTERN = "pattern"
    NOT_EQUAL = "≠"
    PAIR = "and"


_COUNTED_OPS = frozenset({Operator.EQUAL, Operator.NOT_EQUAL, Operator.MISSING, Operator.PRESENT, Operator.PREFIX})


@dataclass(frozen=True, slots=True)
class Elements:
    """A list of an input, of which only the number of elements is compared."""

    count: int


@dataclass(frozen=True, slots=True)
class Fields:
    """An object of an input, of which only the number of fields is compared."""

    count: int


@dataclass(frozen=True, slots=True)
class Many:
    """The values of all elements at a path such as ``items[].sku``: a condition is met if one of them meets it."""

    values: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute: ``path`` is its name, such as "pinned_deployment_id", "x-dry-run", "charge card", "items[].sku".

    - ``names``: for an input, the names in the path one by one ("items", "[]", "sku"), because a name can have dots
    - ``verb``: the text before its value in a sentence: "run on", "were called by"; without it, "have `path` ="
    - ``sql``: its expression in a filter on ``sys_invocation_status``; "" if it is not a column
    - ``is_payload``: its values are payloads, and are hidden without ``payloads=True``
    - ``is_hidden``: its values are never shown: a secret name, or a path of ``redact=``
    - ``is_sequential``: a time, or begins at a time for all rows: a deployment, an SDK
    """

    where: Where
    path: str
    names: tuple[str, ...] = ()
    verb: str = ""
    sql: str = ""
    is_payload: bool = False
    is_hidden: bool = False
    is_sequential: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """The value of an attribute in each row of a sample, in its order.

    A value is a text, a number, True, False, None (the JSON null), ``Elements``, ``Fields``, ``Many``, ``MISSING`` or
    ``UNKNOWN``. A column is a text or ``MISSING``; a time is in nanoseconds since 1970; a step is True if it was taken.
    """

    attribute: Attribute
    values: Sequence[object]


@dataclass(frozen=True, slots=True)
class Counted:
    """The counts of the values of an attribute in the whole population; the attribute is also observed in the sample.

    A value is a text or ``MISSING``; for a key, it is the text up to the first separator, ``prefix_of(key)``. Rare
    values can be absent, so the numbers of all rows are ``failing_total`` and ``healthy_total``.
    """

    attribute: Attribute
    values: Sequence[object]
    failing: Integers
    healthy: Integers
    failing_total: int
    healthy_total: int

    def counts_of(self, op: Operator, value: object) -> tuple[int, int, int, int] | None:
        """Return how many of all failing and of all healthy rows meet a condition; None if it is not counted.

        The counts are (failing with it, healthy with it, failing, healthy).
        """
        if op not in _COUNTED_OPS or (op is Operator.EQUAL and self.attribute.where is Where.KEY):
            return None
        wanted = MISSING if op in {Operator.MISSING, Operator.PRESENT} else value
        if wanted not in self.values:
            return None
        at = list(self.values).index(wanted)
        failing, healthy = int(self.failing[at]), int(self.healthy[at])
        if op in {Operator.PRESENT, Operator.NOT_EQUAL}:
            failing, healthy = self.failing_total - failing, self.healthy_total - healthy
        return failing, healthy, self.failing_total, self.healthy_total


@dataclass(frozen=True, slots=True)
class Sample:
    """The rows that are compared one by one, failing and healthy ones in any order.

    ``created_at`` is in nanoseconds since 1970, ``callers`` the ids of the calling invocations, None without one.
    """

    failing: Flags
    created_at: Integers
    callers: Sequence[str | None]
    observed: Sequence[Observed]
    counted: Sequence[Counted] = ()


class Role(StrEnum):
    """What a condition that passed the test is, the first of a cause first: a cause, another name of it, in a burst."""

    DISTINGUISHES = "distinguishes"
    FURTHER = "further"
    SAME_ROWS = "same rows"
    INDISTINCT = "cannot be distinguished"
    IN_A_BURST = "in a burst"


@dataclass(frozen=True, slots=True)
class Claim:
    """One condition that passed the test: a row of ``Contrast.conditions``. It has no value that must be hidden.

    - ``group``: the number of the cause; also of conditions that select its rows or cannot be distinguished from it
    - ``condition``: the condition in short; ``phrase`` and ``echo`` are a predicate and its short form in a sentence
      ("have `input.region = "eu-west"`", "do"); ``healthy_type`` is the usual type of the healthy values, for a type
    - ``value``: None if it is hidden
    - ``failing_with`` of ``failing`` and ``healthy_with`` of ``healthy`` rows meet it: rows of the sample, or of the
      whole population if ``is_counted``
    - ``gap, low, high``: the difference of both shares and its 95 % interval, in percentage points
    - ``all_with, all_failing``: the rows of the whole population that meet it, and the failing ones of them; None if
      unknown
    - ``parts``: for a pair, its two conditions with their own counts
    - ``outside``: for a further cause, (failing, all failing outside of the causes before, healthy, all healthy there)
    """

    group: int
    role: Role
    where: Where
    path: str
    op: Operator
    value: object
    condition: str
    phrase: str
    echo: str
    failing_with: int
    failing: int
    healthy_with: int
    healthy: int
    gap: float
    low: float
    high: float
    adjusted_p: float
    is_counted: bool = False
    is_sequential: bool = False
    healthy_type: str = ""
    all_with: int | None = None
    all_failing: int | None = None
    sql: str = ""
    parts: tuple[Claim, ...] = ()
    outside: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """One attribute that was compared: a row of ``Contrast.attributes``, with its largest gap in points."""

    where: Where
    path: str
    conditions: int
    unknown: int
    gap: float | None
    low: float | None
    high: float | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Burst:
    """The failing rows came in few bursts: ``runs`` of failing rows within ``seconds``, from ``callers`` if known."""

    rows: int
    runs: int
    seconds: float
    callers: int | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What distinguishes the failing rows from the healthy ones.

    ``tests`` is the number of distinct conditions, ``detectable`` the smallest difference in points that would have
    been found (None if none would have been), ``failing`` and ``healthy`` the rows that were compared.
    ``is_of_close_times`` is whether the causes are only times of creation that are less than a second apart.
    """

    claims: tuple[Claim, ...]
    attributes: tuple[Compared, ...]
    tests: int
    detectable: int | None
    failing: int
    healthy: int
    burst: Burst | None = None
    is_of_close_times: bool = False
