"""The colors and hatches of plots, and which of them a notebook may replace by those of its theme."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.colors import to_hex, to_rgb

from restate_lab.status import OUTCOMES, STATUSES
from restate_lab.tokens import INKS, LINES, MARKS

DARK_INK, LIGHT_INK = INKS["dark"], INKS["light"]  # text on the background, which a notebook replaces by its own
_DARK_LABEL, _LIGHT_LABEL = INKS["dark on a bar"], INKS["light on a bar"]  # which is the same in each theme
LARGEST_TINT = 0.55
"""Share of a color in a tint of white up to which a notebook shows it transparent, with text in its text color."""


@dataclass(frozen=True, slots=True)
class FillStyle:
    """The color of an area or a line, and the hatch that distinguishes it in grayscale."""

    colour: str
    hatch: str = ""


NEUTRAL = FillStyle(MARKS["neutral"])
"""The style of values without a status, such as sizes."""
REST = FillStyle(MARKS["others"], "..")
"""The style of combined others."""
PALETTE = tuple(FillStyle(colour) for colour in LINES)
"""Colors of lines with names."""
_UNKNOWN = FillStyle(MARKS["new status"], "**")
FIXED_COLOURS = frozenset(
    {_DARK_LABEL, _LIGHT_LABEL, NEUTRAL.colour, REST.colour, _UNKNOWN.colour}
    | {each.colour for each in PALETTE}
    | {each.colour for each in STATUSES.values()}
    | {each.colour for each in OUTCOMES.values()}
)
"""The colors that are the same on each background."""
_HATCHES = {
    "scheduled": "..",
    "pending": "///",
    "ready": "\\",
    "backing-off": "xxx",
    "yielded": "oo",
    "running": "/",
    "in-progress": "//",
    "suspended": "---",
    "paused": "|||",
    "unknown": "*",
    "succeeded": "",
    "failed": "\\\\\\",
    "cancelled": "--",
    "killed": "+++",
}


def status_style(status: str) -> FillStyle:
    """Return the style of a status; all unknown statuses of newer servers share one style."""
    return FillStyle(STATUSES[status].colour, _HATCHES[status]) if status in STATUSES else _UNKNOWN


def mix_colours(colour: str, other: str, share: float) -> str:
    """Mix two colors; ``share`` is the share of the second one."""
    red, green, blue = ((1 - share) * a + share * b for a, b in zip(to_rgb(colour), to_rgb(other), strict=True))
    return to_hex((red, green, blue))


def is_light(colour: str) -> bool:
    """Return whether dark text is easier to read on this color than light text."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179


def ink_on(colour: str) -> str:
    """Return the text color that is easiest to read on this color."""
    return _DARK_LABEL if is_light(colour) else _LIGHT_LABEL
