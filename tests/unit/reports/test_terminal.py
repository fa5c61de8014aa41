"""The output of a program."""

from __future__ import annotations

import pytest

from restate_lab.reports.notebook.masking import render_terminal_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;https://x.example\x07link\x1b]8;;\x07", "link"),
        ("\x1b]0;title\x1b\\text", "text"),
        ("10%\r50%\r100%\nnext", "100%\nnext"),
        ("10%\rdone\r", "done"),
        ("a\r\nb", "a\nb"),
        ("", ""),
    ],
)
def test_escapes_are_removed_and_an_overwritten_line_has_its_last_state(text: str, shown: str) -> None:
    assert render_terminal_text(text) == shown
