"""Format numbers and axes for readers: durations, sizes, counts and times."""

from __future__ import annotations

import math
from datetime import datetime, tzinfo
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from restate_lab._text import format_duration, three_digits
from restate_lab.durations import ROUND_STEPS

_DAY = 86_400_000.0  # milliseconds
SHORTEST_AXIS = 20 / _DAY
"""Length of a time axis in days; matplotlib has no ticks for a shorter one."""
NARROWEST_BAR = 0.004
"""Width of a bar as a share of the time axis; a narrower one is not visible."""
_TICKS, _FEW = 9, 4
DATE = "%d %b %Y"
"""The form of dates on axes: "29 Nov 2026"."""
# One form for each level: year, month, day, hour, minute, second.
_TIMES = ["%Y", "%b", "%d", "%H:%M", "%H:%M", "%S.%f"]
_FIRST_TIMES = ["", "%Y", "%b", "%d %b", "%H:%M", "%H:%M"]
_DATES = ["", "%Y", "%b %Y", DATE, DATE, f"{DATE} %H:%M"]


def parse_timestamp(text: Any) -> datetime | None:
    """Return the timestamp in an attribute of a frame, or None if it is not a timestamp with a zone."""
    try:
        # pandas, because datetime.fromisoformat() does not read nanoseconds
        timestamp = pd.to_datetime(text).floor("us").to_pydatetime() if isinstance(text, str) else None
    except ValueError:
        return None
    return timestamp if timestamp is not None and timestamp.tzinfo is not None else None


def to_axis_days(times: pd.Series) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return times in matplotlib's unit, days since 1970; NaN for missing values."""
    utc = pd.to_datetime(times, utc=True).dt.as_unit("us")
    days = utc.dt.tz_localize(None).to_numpy(dtype="datetime64[us]").astype("int64") / (_DAY * 1_000)
    return np.where(utc.isna().to_numpy(), np.nan, days)


def format_size(count: float) -> str:
    """Return a number of bytes in a fitting binary unit, with at most three digits, such as "1.5 MiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1023.5:
            return f"{three_digits(count)} {unit}"
        count /= 1024
    return f"{three_digits(count)} TiB"


def format_time_axis(axis: Axis, tz: tzinfo, *, few: bool = False) -> None:
    """Format a time axis in the zone, with the zone in its label; ``few`` means fewer ticks."""
    # The widest step of the locator is 30 of a unit. If that gives fewer ticks than minticks, matplotlib warns.
    least, most = (2, 5) if few else (4, 9)
    locator = AutoDateLocator(tz=tz, minticks=least, maxticks=most)  # type: ignore[no-untyped-call] # without types
    axis.set_major_locator(locator)
    forms = {"formats": _TIMES, "zero_formats": _FIRST_TIMES, "offset_formats": _DATES}
    axis.set_major_formatter(ConciseDateFormatter(locator, tz=tz, **forms))  # type: ignore[no-untyped-call]
    axis.set_label_text(f"time ({tz})")


def format_duration_axis(axis: Axis, highest: float, *, lowest: float = 0.0, few: bool = False) -> None:
    """Format a logarithmic axis of milliseconds with these ends; ``few`` means fewer ticks.

    If the highest value is 6.25 times the lowest one or more, there are at least two ticks.
    """
    steps = [0.0, *(1_000 * step for step in ROUND_STEPS)]
    inside = [step for step in steps if lowest <= step <= highest * 1.3]
    # Zero, if it is shown, is not thinned out.
    ends = inside[: 0.0 in inside]
    shown = inside
    for every in (1, 3, 6, 9):
        shown = [*ends, *inside[len(ends) :: every]]
        if len(shown) <= (_FEW if few else _TICKS):
            break
    axis.set_major_locator(FixedLocator(shown))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: format_duration(value / 1_000) if value else "0"))


def format_size_axis(axis: Axis, highest: float, *, few: bool = False) -> None:
    """Format an axis of bytes, with ticks at round numbers of KiB, MiB and so on; ``few`` means fewer ticks."""
    unit = 1024.0 ** max(0, math.floor(math.log(max(highest, 1), 1024)))
    ticks = MaxNLocator(nbins=3 if few else 6, steps=[1, 2, 5, 10], integer=unit == 1).tick_values(0, highest / unit)
    axis.set_major_locator(FixedLocator([tick * unit for tick in ticks if 0 <= tick * unit <= highest * 1.05]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: format_size(value)))


def format_number_axis(axis: Axis) -> None:
    """Format an axis of counts, with ticks at whole numbers and without a minus sign."""
    axis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):,.0f}"))
