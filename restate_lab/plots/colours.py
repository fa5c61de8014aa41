"""The colors and hatches of plots, and which of them a notebook may replace by those of its theme."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.colors import to_hex, to_rgb

from restate_lab.status import COLOURS, OUTCOMES, STATUSES

DARK_INK, LIGHT_INK = "#1b1e23", "#f1f3f5"  # text on the background, which a notebook replaces by its text color
_DARK_LABEL, _LIGHT_LABEL = "#14161a", "#fbfcfd"  # text on a bar, which is the same in each theme
LARGEST_TINT = 0.55
"""Share of a color in a tint of white up to which a notebook shows it transparent, with text in its text color."""


@dataclass(frozen=True, slots=True)
class FillStyle:
    """The color of an area or a line, and the hatch that distinguishes it in grayscale."""

    colour: str
    hatch: str = ""


NEUTRAL = FillStyle(COLOURS["neutral"])
"""The style of values without a status, such as sizes."""
REST = FillStyle("#9aa0a8", "..")
"""The style of combined others."""
PALETTE = (
    *(FillStyle("#0072b2"), FillStyle("#e69f00"), FillStyle("#009e73"), FillStyle("#cc79a7")),
    *(FillStyle("#56b4e9"), FillStyle("#8c7a3d"), FillStyle("#7a5195")),
)
"""Colors of lines with names: the palette of Okabe and Ito without its red, which means failed."""
_UNKNOWN = FillStyle("#b0a8c0", "**")
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
