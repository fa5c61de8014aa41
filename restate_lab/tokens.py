"""The design tokens: each size, space, radius and colour of panels, cards, pages, reports, plots and the terminal.

A style sheet uses them by name, such as ``var(--rl-f3)``. A card, which is also in pages without our style sheets,
contains the value beside the name. ``tests/style`` refuses others.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SIZES = {"f1": "18px", "f2": "14px", "f3": "13px", "f4": "11.5px"}
"""Font sizes: a title, the sentence of a finding, data, and labels. ``--rl-scale`` makes all of them larger."""
SPACES = {"s1": "4px", "s2": "8px", "s3": "12px", "s4": "16px", "s5": "24px"}
RADII = {"control": "4px", "card-radius": "8px", "pill": "999px"}
HEIGHTS = {"row": "28px", "button": "26px"}
FONTS = {
    "sans": 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Noto Sans", sans-serif',
    "mono": 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace',
}
LIGHT = {
    "ground": "#f6f7f9",
    "card": "#ffffff",
    "raised": "#eceef1",
    "text": "#1b1e23",
    "soft": "#59606b",
    "frame": "#868c95",
    "accent": "#1a5fb4",
    "on-accent": "#ffffff",
    "on-bar": "#ffffff",
    "paper": "#ffffff",
    "red": "#b3261e",
    "amber": "#8a5300",
    "green": "#1f7a3f",
}
"""The colors of a light page; on a dark one, ``on-bar``, the text of bars, and ``paper``, below pictures, stay."""
DARK = {
    "ground": "#151719",
    "card": "#1d2023",
    "raised": "#2b2f34",
    "text": "#e8eaed",
    "soft": "#a9b0ba",
    "frame": "#777d86",
    "accent": "#8ab4f8",
    "on-accent": "#14161a",
    "red": "#ff8a80",
    "amber": "#ffb951",
    "green": "#6fd08c",
}
_MIXED = {
    "line": "color-mix(in srgb, var(--rl-text) 9%, transparent)",
    "over": "color-mix(in srgb, var(--rl-text) 7%, transparent)",
    "open": "color-mix(in srgb, var(--rl-text) 13%, transparent)",
    "link": "color-mix(in srgb, var(--rl-accent) 80%, var(--rl-text))",
    "chosen": "color-mix(in srgb, var(--rl-accent) 16%, transparent)",
    "tinted": "color-mix(in srgb, var(--rl-accent) 9%, transparent)",
    "red-tint": "color-mix(in srgb, var(--rl-red) 12%, transparent)",
    "amber-tint": "color-mix(in srgb, var(--rl-amber) 12%, transparent)",
    "green-tint": "color-mix(in srgb, var(--rl-green) 12%, transparent)",
    "tick": "rgb(0 0 0 / 75%)",
    "shadow": "0 1px 2px rgb(0 0 0 / 6%), 0 0 0 1px color-mix(in srgb, var(--rl-text) 9%, transparent)",
    "lifted": "0 3px 12px rgb(0 0 0 / 22%), 0 0 0 1px color-mix(in srgb, var(--rl-text) 12%, transparent)",
}
"""Tints, lines and shadows, which follow the colours of their page."""
_NOTEBOOK = {
    "ground": "color-mix(in srgb, var(--rl-text) 3.5%, var(--rl-card))",
    "card": "var(--jp-layout-color0, var(--vscode-editor-background, {card}))",
    "raised": "var(--jp-layout-color2, var(--vscode-sideBar-background, {raised}))",
    "text": "var(--jp-content-font-color1, var(--vscode-editor-foreground, {text}))",
    "soft": "color-mix(in srgb, var(--jp-content-font-color2, var(--vscode-descriptionForeground, {soft})) 80%, "
    "var(--rl-text))",
    "accent": "var(--jp-brand-color1, var(--vscode-focusBorder, {accent}))",
    "sans": "var(--jp-ui-font-family, var(--vscode-font-family, {sans}))",
    "mono": "var(--jp-code-font-family, {mono})",
}
"""The colours and fonts of a notebook, where it has them; JupyterLab's own soft text is too faint on a tint."""
_DARK_NOTEBOOK = _NOTEBOOK | {
    "ground": "var(--jp-layout-color0, var(--vscode-editor-background, {ground}))",
    "card": "color-mix(in srgb, var(--rl-text) 6%, var(--rl-ground))",
}

_GREY = "#8a8f98"
STATUSES: Mapping[str, str] = MappingProxyType(
    {
        "scheduled": "#b6bac2",
        "pending": "#d9a400",
        "ready": "#a5aab3",
        "backing-off": "#e8710a",
        "yielded": "#c9b458",
        "running": "#2f6fde",
        "in-progress": "#5b8def",
        "suspended": _GREY,
        "paused": "#c98500",
        "unknown": "#9aa0a6",
        "succeeded": "#2f9e55",
        "failed": "#d93025",
        "cancelled": "#6d727b",
        "killed": "#53575e",
    }
)
"""A status → its color on light and dark backgrounds."""
MARKS: Mapping[str, str] = MappingProxyType(
    {
        "no result": _GREY,
        "waiting": "#6b84a3",
        "created": "#4f7fd6",
        "neutral": "#5b8db8",
        "evidence": "#3c7d8c",
        "archive": "#7a5c99",
        "others": "#9aa0a8",
        "new status": "#b0a8c0",
    }
)
"""The colors of marks and bars that are not a status."""
LINES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8c7a3d", "#7a5195")
"""Colors of lines with names in plots: the palette of Okabe and Ito without its red, which means failed."""
INKS: Mapping[str, str] = MappingProxyType(
    {"dark": LIGHT["text"], "light": "#f1f3f5", "dark on a bar": "#14161a", "light on a bar": "#fbfcfd"}
)
"""The text of plots: on the background, which a notebook replaces by its own, and on a bar."""
POINTS = (11.0, 8.0, 6.0)
"""Font sizes of plots, in points: titles, other text, and other text on small Axes."""
_ORANGE, _BLUE = "color(166)", "color(33)"  # readable on light and dark backgrounds
TERMINAL: Mapping[str, str] = MappingProxyType(
    {"scheduled": "dim", "pending": "yellow", "ready": "", "backing-off": _ORANGE, "yielded": "yellow"}
    | {"running": _BLUE, "in-progress": _BLUE, "suspended": "", "paused": "yellow", "unknown": "dim"}
    | {"succeeded": "green", "failed": "red", "cancelled": "dim", "killed": "dim"}
    | {"critical": "red", "warning": "yellow", "note": "dim", "incomplete": "yellow", "healthy": "green"}
    | {"strong": "bold", "quiet": "dim", "waiting": "color(67)"}
)
"""A tone → its style in a terminal; the user's theme defines the colors with names."""

_INLINE = {
    **SIZES,
    **RADII,
    "sans": "var(--jp-ui-font-family,system-ui,sans-serif)",
    "mono": "var(--jp-code-font-family,ui-monospace,monospace)",
    "text": "var(--jp-ui-font-color1,currentcolor)",
    "soft": "color-mix(in srgb,var(--jp-ui-font-color2,currentcolor) 80%,var(--jp-ui-font-color1,currentcolor))",
    "accent": f"var(--jp-content-link-color,{LIGHT['accent']})",
    "card": "transparent",
    "line": "rgb(128 128 128 / 20%)",
    "frame": "rgb(128 128 128 / 70%)",
    "over": "rgb(128 128 128 / 10%)",
    "tick": _MIXED["tick"],
    "red-tint": "rgb(217 48 37 / 10%)",
    "amber-tint": "rgb(232 113 10 / 10%)",
    "shadow": "0 0 0 1px rgb(128 128 128 / 25%)",
}
INLINE: Mapping[str, str] = MappingProxyType({name: f"var(--rl-{name},{value})" for name, value in _INLINE.items()})
"""The tokens for style attributes, with their values for a page without tokens: the colors of a notebook."""
_PANELS = ":is(.rl-panel, .rl-grid)"


def page_css() -> str:
    """Return the tokens of a page of our own, light or dark as the reader's system."""
    return (
        f":root {{ color-scheme: light dark; {_declare(_FIXED | FONTS | LIGHT | _MIXED)} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_declare(DARK)} }} }}\n"
    )


def panel_css() -> str:
    """Return the tokens of a panel: the colors and fonts of JupyterLab or VS Code, or those of a light or dark page."""
    dark = f"color-scheme: dark; {_declare(_of_notebook(DARK, _DARK_NOTEBOOK))}"
    return (
        f"{_PANELS} {{ {_declare(_FIXED | _of_notebook(LIGHT, _NOTEBOOK) | _MIXED)} "
        "color: var(--rl-text); font: var(--rl-f3)/1.45 var(--rl-sans); }\n"
        f'[data-jp-theme-light="false"] {_PANELS}, .vscode-dark {_PANELS} {{ {dark} }}\n'
        "@media (prefers-color-scheme: dark) {\n"
        f"  body:not([data-jp-theme-light]):not([data-vscode-theme-kind]) {_PANELS} {{ {dark} }}\n"
        "}\n"
    )


_FIXED = {name: f"calc({size} * var(--rl-scale, 1))" for name, size in SIZES.items()} | SPACES | RADII | HEIGHTS


def _of_notebook(page: Mapping[str, str], notebook: Mapping[str, str]) -> dict[str, str]:
    return {**page, **{name: value.format(**FONTS, **page) for name, value in notebook.items()}}


def _declare(values: Mapping[str, str]) -> str:
    return " ".join(f"--rl-{name}: {value};" for name, value in values.items())
