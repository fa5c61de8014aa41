"""The button that submits its fields, pressed without a browser."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets
import pytest

from restate_lab.panels._base.submit import Submit


@pytest.fixture
def fields() -> tuple[Any, Any]:
    return widgets.Text(value="half"), widgets.Dropdown(options=["a", "b"])


def pressed(button: Submit, *values: Any) -> None:
    button.receive({"type": "press", "seen": button.shown, "values": list(values)})


def test_the_fields_are_filled_before_it_acts(fields: tuple[Any, Any]) -> None:
    """The fields have the visible values when it acts, and the handler knows which of them changed."""
    seen: list[tuple[str, str, tuple[Any, ...]]] = []
    button = Submit("Go", lambda: seen.append((fields[0].value, fields[1].value, button.changed)), fields=fields)
    pressed(button, "half a reason", 0)
    pressed(button, "half a reason", 1)
    button.click()
    assert seen == [
        ("half a reason", "a", (fields[0],)),
        ("half a reason", "b", (fields[1],)),
        ("half a reason", "b", ()),
    ]


@pytest.mark.parametrize(
    "content",
    [{}, {"type": "press", "seen": 0, "values": ["x"]}, {"type": "press", "seen": 0, "values": ["x", 7]}, "x"],
)
def test_an_invalid_message_does_nothing(content: Any, fields: tuple[Any, Any]) -> None:
    """Another message has no effect except an error, and a view cannot set the fields through the button."""
    seen: list[int] = []
    button = Submit("Go", lambda: seen.append(1), fields=fields)
    button.receive(content)
    assert "sent" in button.error
    assert "Reload the page." in button.error
    button.set_state({"description": "Kill nothing"})
    assert button.description == "Go"
    assert seen == []
    pressed(button, "x", 0)
    assert (button.error, seen) == ("", [1])


def test_an_outdated_press_does_nothing(fields: tuple[Any, Any]) -> None:
    """A press while the button changes its meaning does nothing, and is reported until the button is renewed."""
    acted: list[str] = []
    button = Submit("Go", lambda: acted.append(fields[0].value), fields=fields)
    button.renew()
    button.receive({"type": "press", "seen": 0, "values": ["a reason", 1]})
    assert (acted, fields[0].value, fields[1].value) == ([], "half", "a")
    assert "changed before your click arrived, so nothing was done" in button.error
    button.renew()
    assert button.error == ""
    pressed(button, "a reason", 1)
    assert acted == ["a reason"]
