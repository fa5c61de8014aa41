"""Text from a cluster becomes a label: within the width, and never invisible."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from restate_lab.plots.style import typeface
from support.pictures import is_visible

FACE = typeface()


@given(st.text(max_size=200), st.integers(8, 60))
def test_a_label_fits_its_width_and_has_nothing_invisible(text: str, width: int) -> None:
    shown = FACE.text(text, width)
    plain = shown.replace("\u200e", "")
    assert len(plain) <= width + 2  # the quotes around blanks
    assert is_visible(shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Cart", "Cart"),
        ("a" * 20, "a" * 20),
        ("a" * 10 + "b" * 11, "aaaaaaaaa…bbbbbbbbbb"),
        ("tab\there", "tab‹U+0009›here"),
        ("\u202egnp.exe", "‹U+202E›gnp.exe"),
        ("\ud800", "‹U+D800›"),
        ("\ue000", "‹U+E000›"),
        ("", '""'),
        ("  ", '"  "'),
        (None, "–"),
        (float("nan"), "–"),
        (7, "7"),
        ("café Ωμέγα Привет", "café Ωμέγα Привет"),
    ],
)
def test_a_label_is_shortened_in_the_middle_and_its_invisible_characters_are_escaped(text: object, shown: str) -> None:
    assert FACE.text(text, 20) == shown


def test_a_text_is_not_cut_inside_an_escape() -> None:
    assert FACE.text("\x00" * 50, 38) == "‹U+0000›‹U+0000›…‹U+0000›‹U+0000›"
