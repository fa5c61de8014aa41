"""The state panel without a browser: finding, looking, editing; what becomes of a change is what the server says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from restate_lab.actions.state import State
from restate_lab.errors import ArgumentError, OutcomeUnknown, StateConflict, Unreachable
from restate_lab.panels import state as module
from restate_lab.panels.state import StatePanel
from restate_lab.panels.state.search import Search, find_objects
from support.sample_tables import LiveTables, SampleTables

ATTACK = "<img src=x onerror=alert(1)></script>\u202e"
SERVICES = [
    {"name": "Cart", "ty": "virtual_object"},
    {"name": "Order", "ty": "workflow"},
    {"name": "Plain", "ty": "service"},
]


def row(service: str, key: str, name: str, value: bytes, scope: str | None = None) -> dict[str, Any]:
    return {"service_name": service, "service_key": key, "key": name, "value": value, "scope": scope}


STATE = [
    row("Cart", "a_b", "items", b'{"mug": 1}'),
    row("Cart", "a_b", "api_token", b'"hush"'),
    row("Cart", "a_b", ATTACK, f'"{ATTACK}"'.encode()),
    row("Cart", "axb", "items", b"{}"),
    row("Cart", "a_b", "items", b'"scoped"', scope="blue"),
    row("Order", "o1", "note", b"plain text"),
]


class Server:
    """Takes the place of set_state: it notes what it was told, and answers with ``outcome``."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.outcome: Exception | None = None

    def set_state(self, lab: Any, service: str, key: str, values: Any = None, /, **options: Any) -> State:
        self.told.append({"service": service, "key": key, "values": values, **options})
        if self.outcome is not None:
            raise self.outcome
        state: State = options["state"]
        return state


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(module, "set_state", server.set_state)
    return server


@pytest.fixture
def make(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., StatePanel]]:
    """Give what makes panels; when the test is over they are closed, and left neither a thread nor a line."""
    made: list[StatePanel] = []

    def make(source: Any, *given: Any, **options: Any) -> StatePanel:
        made.append(StatePanel(source, *given, **options))
        return made[-1]

    yield make
    for panel in made:
        panel.close()
    assert [each.name for each in threading.enumerate() if each.name.startswith("restate-lab")] == []
    assert capsys.readouterr() == ("", "")


def live() -> LiveTables:
    return LiveTables(state=STATE, sys_service=SERVICES)


def clicked(panel: StatePanel, name: str) -> None:
    """Click a key's row, as the grid's view does."""
    table = panel._values
    number = table._talk.model.number(list(table.frame["key"]).index(name))
    table._handle_custom_msg({"type": "open_row", "view": "v", "row": number}, [])


def reviewed(panel: StatePanel, text: str, reason: str = "INC-7") -> None:
    panel._editor.text.value = text
    panel._editor.edit_buttons.children[0].click()
    panel._editor.reason.value = reason


def sent(panel: StatePanel) -> None:
    panel._editor.set_button.click()
    assert panel._sender.wait(10)
    assert panel.wait(timeout=10)


def test_objects_are_found_by_service_and_a_part_of_the_key(make: Callable[..., StatePanel]) -> None:
    """The list has each object once, with its scope; a key's wildcards are characters; the fields do the same."""
    source = live()
    panel = make(source)
    assert panel.error == ""
    assert panel.frame["service_key"].tolist() == ["a_b", "a_b", "axb", "o1"]
    assert [name for name, _ in panel._bar._service.options] == ["all", "Cart", "Order"]
    assert panel.find("Cart", "a_")["scope"].fillna("-").tolist() == ["blue", "-"]
    assert source.sql(panel.sql, params=panel.params).shape == (2, 3)
    panel._bar._service.value = "Order"
    assert panel.wait(timeout=10)
    panel._bar._key.value = "o"
    assert panel.wait(timeout=10)
    assert panel.frame["service_key"].tolist() == ["o1"]
    panel._bar._service.value = ""
    assert panel.wait(timeout=10)
    assert len(panel.frame) == 1
    assert panel.code == "rl.StatePanel(lab)"
    cut = find_objects(source, Search(), limit=2)
    assert (len(cut.frame), cut.is_cut) == (2, True)
    assert "there are more" in cut.note
    old = SampleTables(state=STATE[:1], without=("state.scope",))
    assert find_objects(old, Search()).frame["scope"].isna().all()


def test_an_object_is_opened_and_its_secrets_are_not_shown(make: Callable[..., StatePanel]) -> None:
    """A row of the list, a typed key or a call open an object; values are decoded, what is secret is masked."""
    panel = make(live(), "Cart", "a_b")
    assert panel.state is not None
    assert panel.state["items"] == {"mug": 1}
    assert panel.code == "rl.state(lab, 'Cart', 'a_b')"
    clicked(panel, "api_token")
    assert panel._editor.stage == "closed"
    assert "never shown" in panel._whole.text
    page = panel._repr_mimebundle_()["text/html"]
    assert "hush" not in page
    assert "<img" not in page
    assert "</script>" not in page
    assert "\u202e" not in page
    scoped = panel.look_at("Cart", "a_b", scope="blue")
    assert scoped is not None
    assert dict(scoped) == {"items": "scoped"}
    assert panel.code == "rl.state(lab, 'Cart', 'a_b', scope='blue')"
    panel._bar._service.value = "Cart"
    assert panel.wait(timeout=10)
    panel._bar._key.value = "nobody"
    panel._bar.open_button.click()
    assert panel.wait(timeout=10)
    assert panel.state is not None
    assert (panel.state.key, len(panel.state)) == ("nobody", 0)
    assert "It has no state." in panel._of.text


def test_what_cannot_be_opened_is_said(make: Callable[..., StatePanel]) -> None:
    """A plain service and a service that is not there have no state: the panel says so, and goes on."""
    panel = make(live())
    assert panel.look_at("Plain", "x") is None
    assert "plain service" in panel.error
    assert panel.look_at("Cast", "x") is None
    assert "Is it Cart" in panel.error
    assert panel.look_at("Cart", "axb") is not None
    assert panel.error == ""
    panel._bar.open_button.click()
    assert "type the whole key" in panel.error
    with pytest.raises(ArgumentError, match="key needs service"):
        StatePanel(live(), None, "a")


def test_nothing_is_sent_before_review_and_reason(make: Callable[..., StatePanel], server: Server) -> None:
    """A change takes a text, a look at both values, a reason, and then one click; it names the state that was read."""
    panel = make(live(), "Cart", "a_b")
    clicked(panel, "items")
    assert panel._editor.text.value == '{\n  "mug": 1\n}'
    panel._editor.set_button.click()
    assert "Review" in panel.error
    reviewed(panel, '{"mug": 1 }')
    assert "nothing to set" in panel.error
    reviewed(panel, "{")
    assert "no JSON" in panel.error
    reviewed(panel, '{"mug": 3}', reason=" ")
    assert panel.error == ""
    assert '"mug": 1' in panel._editor.compare.text
    assert '"mug": 3' in panel._editor.compare.text
    assert panel._editor.set_button.description == "Set it on made"
    panel._editor.set_button.click()
    assert "say why" in panel.error
    assert server.told == []
    panel._editor.reason.value = "INC-7"
    before = panel.state
    sent(panel)
    assert [(each["values"], each["reason"], each["state"]) for each in server.told] == [
        ({"items": {"mug": 3}}, "INC-7", before)
    ]
    assert panel._editor.stage == "closed"
    assert "was set; read back" in panel._head.said


def test_a_key_is_deleted_only_after_a_look(make: Callable[..., StatePanel], server: Server) -> None:
    """Deleting takes the same steps, and the button says what it does."""
    panel = make(live(), "Cart", "a_b")
    clicked(panel, "items")
    panel._editor.edit_buttons.children[1].click()
    assert panel._editor.set_button.description == "Delete it on made"
    assert "(deleted)" in panel._editor.compare.text
    panel._editor.reason.value = "INC-7"
    sent(panel)
    assert [(each["values"], each["delete"]) for each in server.told] == [(None, ["items"])]


def test_a_lost_race_shows_all_three_values(make: Callable[..., StatePanel], server: Server) -> None:
    """A conflict shows what was read, what was meant and what is there, and goes on from there only when asked to."""
    source = live()
    panel = make(source, "Cart", "a_b")
    clicked(panel, "items")
    reviewed(panel, '{"mug": 3}')
    before = panel.state
    assert before is not None
    theirs = replace(before, _raw={**before.raw, "items": b'{"mug": 2}'})
    server.outcome = StateConflict("lost", before=before, mine={}, theirs=theirs, sent=True, reason="")
    source.put("state", [*STATE[1:], row("Cart", "a_b", "items", b'{"mug": 2}')])
    sent(panel)
    assert panel._editor.stage == "conflict"
    blocks = {block["title"]: block["text"] for block in panel._editor.compare.blocks}
    assert [blocks[title] for title in ("as you read it", "yours", "as it is now")] == [
        f'{{\n  "mug": {n}\n}}' for n in (1, 3, 2)
    ]
    assert "Changed meanwhile: items" in blocks["Somebody else changed this state"]
    clicked(panel, ATTACK)
    assert "not finished" in panel.error
    panel._editor.conflict_buttons.children[0].click()
    assert (panel._editor.stage, panel._editor.text.value) == ("editing", '{"mug": 3}')
    server.outcome = None
    reviewed(panel, '{"mug": 4}')
    sent(panel)
    assert server.told[-1]["state"] == theirs
    assert panel._editor.stage == "closed"


def test_a_change_that_waits_is_watched(make: Callable[..., StatePanel], server: Server) -> None:
    """What was accepted and is not there yet is said, and again when a later read has it, or can have it no more."""
    for value, words in ((b'{"mug": 3}', "It is applied"), (b'{"mug": 9}', "It was dropped")):
        source = live()
        panel = make(source, "Cart", "a_b")
        clicked(panel, "items")
        reviewed(panel, '{"mug": 3}')
        server.outcome = OutcomeUnknown("accepted (202), inv_1 holds the object")
        sent(panel)
        assert "inv_1 holds the object" in panel._editor.compare.text
        source.put("state", [*STATE[1:], row("Cart", "a_b", "items", value)])
        panel.refresh()
        assert words in panel._editor.compare.text


def test_a_failure_keeps_the_edit(make: Callable[..., StatePanel], server: Server) -> None:
    """Where nothing could be sent the panel says why, and the edit is there for another try."""
    panel = make(live(), "Cart", "a_b")
    clicked(panel, "items")
    reviewed(panel, '{"mug": 3}')
    server.outcome = Unreachable("connection refused")
    panel._editor.set_button.click()
    assert panel._sender.wait(10)
    assert panel.error == "Unreachable: connection refused"
    assert (panel._editor.stage, panel._editor.text.value) == ("reviewing", '{"mug": 3}')
    server.outcome = None
    sent(panel)
    assert len(server.told) == 2


def test_somebody_elses_change_shows_while_one_edits(make: Callable[..., StatePanel], server: Server) -> None:
    """A refresh that finds another state says so in the editor, and leaves the text alone."""
    source = live()
    panel = make(source, "Cart", "a_b")
    clicked(panel, "items")
    panel._editor.text.value = "{}"
    source.put("state", [*STATE[1:], row("Cart", "a_b", "items", b'{"mug": 2}')])
    panel.refresh()
    assert "this very key" in panel._editor.head.text
    assert panel._editor.text.value == "{}"
    clicked(panel, ATTACK)
    assert "not finished" in panel.error
    panel._editor.edit_buttons.children[2].click()
    clicked(panel, "items")
    assert panel._editor.text.value == '{\n  "mug": 2\n}'


@pytest.mark.parametrize("is_live", [False, True], ids=["evidence", "read-only"])
def test_what_can_only_be_read_has_no_editor(make: Callable[..., StatePanel], is_live: bool) -> None:
    """On evidence and on a read-only connection a value is shown whole, nothing is to be edited, and it says why."""
    source: Any = live() if is_live else SampleTables(state=STATE, sys_service=SERVICES)
    source.read_only = True
    panel = make(source, "Cart", "a_b")
    clicked(panel, "items")
    assert '"mug": 1' in panel._whole.text
    assert panel._editor.stage == "closed"
    page = panel._repr_mimebundle_()["text/html"]
    assert "may only read" in page or "can only be read" in page
    with pytest.raises(ArgumentError, match=r"only read|nothing can be changed"):
        panel.edit("items")
