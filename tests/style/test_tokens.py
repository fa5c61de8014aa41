"""Every size, space, radius and colour is a design token: `restate_lab/tokens.py` has all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from restate_lab import status, tokens
from support.structure import PACKAGE

STYLED = sorted(path for end in ("css", "j2", "js", "py") for path in PACKAGE.rglob(f"*.{end}"))
SOURCES = [path for path in STYLED if path.name not in {"tokens.py", "model.html.j2"}]
NAMED = r"(?:var\(--rl-[\w-]+\)|\{\{ (?:html\.)?token[^}]+\}\}|inherit|0)"
VALUES = {
    "font-size": NAMED,
    "font": rf"(?:inherit|{NAMED}/[\d.]+ {NAMED}(?: !important)?)",
    "border-radius": rf"{NAMED}(?: {NAMED})*",
}
DECLARED = re.compile(r"(?<![\w-])(font-size|font|border-radius): ?((?:\{\{.*?\}\}|[^;}\"%])*)")
SPACED = re.compile(r"(?<![\w-])(?:row-gap|column-gap|gap|(?:padding|margin)(?:-[a-z-]+)?): ?([^;}\"]+)")
COLOUR = re.compile(r"#(?:[0-9a-fA-F]{8}|[0-9a-fA-F]{6}|[0-9a-fA-F]{3,4})\b(?=[^\w.\-/]|$)|\b(?:rgba?|hsl)\(")
# The margin of a printed page and the page that refuses a visitor have no style sheet.
ALONE = ("@page", "serve/refused.html.j2")


OUTCOMES = {f"--rl-j{name}" for name in status.OUTCOMES}  # which the journal sets


def styles(path: Path) -> list[str]:
    """Return the lines of a file that can have a style, without comments."""
    text = re.sub(r"/\*.*?\*/|\{#.*?#\}", "", path.read_text("utf-8"), flags=re.DOTALL)
    text = re.sub(r'" ~ (token[\w.]+)(?: ~ "| (?=%)|$)', r"{{ \1 }}", text, flags=re.MULTILINE)
    return [line for line in text.splitlines() if not line.startswith(ALONE) and not str(path).endswith(ALONE)]


SHEETS = [path for path in SOURCES if path.suffix in {".css", ".j2"}]


@pytest.mark.parametrize("path", SHEETS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_style_sheets_and_templates_have_no_values_of_their_own(path: Path) -> None:
    spaces = {"1px", "2px", *tokens.SPACES.values()}
    for line in styles(path):
        for name, value in DECLARED.findall(line):
            assert re.fullmatch(VALUES[name], value.strip()), line
        for value in SPACED.findall(line):
            assert spaces.issuperset(
                re.findall(r"(?<![\d-])[\d.]+px", re.sub(r"\w+\((?:[^()]|\(.*?\))*\)", "", value))
            ), line
        assert not COLOUR.search(line), line


def test_programs_name_no_colour() -> None:
    programs = (path for path in SOURCES if path not in SHEETS)
    assert not [
        line for path in programs for line in styles(path) if re.search(r"#[0-9a-fA-F]{6}\b|: ?#[0-9a-f]{3}\b", line)
    ]


def test_each_name_of_a_token_is_defined() -> None:
    text = "\n".join(path.read_text("utf-8") for path in SOURCES)
    used = set(re.findall(r"var\((--rl-[\w-]+)", text + tokens.panel_css() + tokens.page_css()))
    set_elsewhere = set(re.findall(r"(--rl-[\w-]+)(?::|\", )", text))
    for declared in (tokens.panel_css(), tokens.page_css()):
        assert used <= set_elsewhere | set(re.findall(r"(--rl-[\w-]+):", declared)) | {"--rl-scale", *OUTCOMES}
