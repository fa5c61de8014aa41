"""The state view without a browser: searching, opening, editing; the server decides about a change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from restate_lab.actions.state import State
from restate_lab.actions.state.reader import find_objects
from restate_lab.errors import ArgumentError, OutcomeUnknown, StateConflict, Unreachable
from restate_lab.panels import state as module
from restate_lab.panels.panel import Panel
from restate_lab.panels.state import StateView
from support.sample_rows import LiveRows, SampleRows

ATTACK = "<img src=x onerror=alert(1)></script>\u202e"
SERVICES = [
    {"name": "Cart", "ty": "virtual_object"},
    {"name": "Order", "ty": "workflow"},
    {"name": "Plain", "ty": "service"},
]


def row(service: str, key: str, name: str, value: bytes, scope: str | None = None) -> dict[str, Any]:
    text = value.decode()
    return {
        "service_name": service,
        "service_key": key,
        "key": name,
        "value": value,
        "value_utf8": text,
        "scope": scope,
    }


STATE = [
    row("Cart", "a_b", "items", b'{"mug": 1}'),
    row("Cart", "a_b", "api_token", b'"hush"'),
    row("Cart", "a_b", ATTACK, f'"{ATTACK}"'.encode()),
    row("Cart", "axb", "items", b"{}"),
    row("Cart", "a_b", "items", b'"scoped"', scope="blue"),
    row("Order", "o1", "note", b"plain text"),
]


class Server:
    """Replaces set_state: it records its arguments, and raises ``outcome`` if that is set."""

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
def make_view(no_doctor: None, make: Callable[..., Panel]) -> Callable[..., Panel]:
    """Give a function that makes panels with the state view."""

    def make_view(source: Any, service: str | None = None, key: str | None = None) -> Panel:
        return make(source, view="state", service=service, key=key)

    return make_view


def live() -> LiveRows:
    return LiveRows(state=STATE, sys_service=SERVICES)


def view_of(panel: Panel) -> StateView:
    assert isinstance(panel.view, StateView)
    return panel.view


def review(panel: Panel, text: str) -> None:
    panel.fill("New value", text)
    panel.click("Review")


def send(panel: Panel, reason: str = "INC-7") -> None:
    panel.fill("Reason", reason)
    panel.click(view_of(panel).editor.set_button.description)
    assert panel.wait(timeout=60, action=True)


def test_search_finds_objects_by_service_and_a_part_of_the_key(make_view: Callable[..., Panel]) -> None:
    """The list has each object once, with its scope; wildcards in a key are plain characters."""
    source = live()
    panel = make_view(source)
    assert panel.error == ""
    assert panel.frame["service_key"].tolist() == ["a_b", "a_b", "axb", "o1"]
    assert [name for name, _ in view_of(panel).bar.service.options] == ["all", "Cart", "Order"]
    panel.fill("key", "a_")
    assert panel.wait(timeout=60)
    assert panel.frame["scope"].fillna("-").tolist() == ["blue", "-"]
    assert source.sql(panel.sql, params=panel.params).shape == (4, 5)
    panel.fill("service", "Order")
    panel.fill("key", "o")
    assert panel.wait(timeout=60)
    assert panel.frame["service_key"].tolist() == ["o1"]
    assert panel.code == "rl.Panel(lab, view='state', service='Order')"
    source.put(state=[*STATE, row("Order", "o2", "note", b"new")])
    panel.click("Search")
    assert panel.wait(timeout=60)
    assert panel.frame["service_key"].tolist() == ["o1", "o2"]
    panel.fill("service", "all")
    assert panel.wait(timeout=60)
    assert len(panel.frame) == 2, "the text stays"
    assert panel.code == "rl.Panel(lab, view='state')"


def test_a_view_without_an_object_says_what_can_be_done_and_nothing_else(make_view: Callable[..., Panel]) -> None:
    """No table of keys without keys, no advice that cannot be followed, and one button out of an empty search."""
    panel = make_view(SampleRows(state=STATE, sys_service=SERVICES))
    view = view_of(panel)
    hidden = (view.value_grid, view.list_button)
    assert view.owner.text == "No object is open\nClick an object in the list to see its state."
    assert [each.layout.display for each in hidden] == ["none", "none"]
    panel.fill("key", "nothing has this")
    panel.wait()
    assert view.owner.text == ""
    assert "Clear search" in view.object_grid.controls(None)
    panel.click("Clear search")
    panel.wait()
    assert (view.bar.search.key, len(view.frame)) == ("", 4)
    panel.state = {"view": "state", "service": "Cart", "key": "a_b"}
    panel.wait()
    assert [each.layout.display for each in hidden] == ["", ""]
    empty = view_of(make_view(SampleRows(sys_service=SERVICES)))
    assert empty.owner.text == ""
    assert "Clear search" not in empty.object_grid.controls(None)
    assert empty.object_grid.controller.options.empty == "No virtual object and no workflow has state."


def test_the_list_shows_values_cut_and_masked() -> None:
    """The list has the start of each state; if there are too many keys to read, it reports that there are more."""
    long = row("Cart", "long", "text", b'{"a": "' + b"x" * 10_000 + b'"}')
    found = find_objects(SampleRows(state=[*STATE, long, {**long, "key": "bytes", "value_utf8": None}]))
    previews = found.frame.set_index("service_key")["preview"]
    assert previews["o1"] == "{note: 'plain text'}"
    assert "api_token: •••" in previews["a_b"].iloc[1]
    assert "hush" not in str(previews)
    assert previews["long"].startswith('{bytes: bytes, text: {"a": "xxx')
    assert previews.str.len().max() <= 200
    cut = find_objects(live(), most_entries=2, most_objects=2)
    assert (len(cut.frame), cut.is_cut) == (2, True)
    assert live().sql(cut.sql, params=cut.params).shape == (3, 3)
    old = SampleRows(state=STATE[:1], without=("state.scope",))
    assert find_objects(old).frame["scope"].isna().all()


def test_a_click_opens_an_object_and_hides_its_secrets(make_view: Callable[..., Panel]) -> None:
    """A row, an exact key and the panel's state open an object; values are decoded, and secrets are masked."""
    panel = make_view(live())
    view = view_of(panel)
    panel.click("open", row='{"service": "Cart", "key": "a_b", "scope": null}')
    assert panel.wait(timeout=60)
    assert panel.code == "rl.Panel(lab, view='state', service='Cart', key='a_b')"
    assert len(panel.frame) == 4, "the list stays as it was"
    assert view.state is not None
    assert view.state["items"] == {"mug": 1}
    panel.click("open", row="api_token")
    assert view.editor.stage == "closed"
    assert "never shown" in view.whole.text
    page = panel._repr_mimebundle_()["text/html"]
    assert [each for each in ("hush", "<img", "</script>", "\u202e") if each in page] == []
    panel.state = {**panel.state, "scope": "blue"}
    assert panel.wait(timeout=60)
    assert dict(view.state) == {"items": "scoped"}
    assert "scoped" in view.whole.text, "the only value is shown in full"
    panel.fill("service", "Cart")
    assert panel.wait(timeout=60)
    assert view.state is None
    panel.fill("key", "nobody")
    panel.click("Open exact key")
    assert panel.wait(timeout=60)
    assert (view.state.key, len(view.state)) == ("nobody", 0)
    assert "It has no state." in view.owner.text


def test_the_panel_reports_an_object_that_cannot_be_opened(make_view: Callable[..., Panel]) -> None:
    """A plain service and an unknown service have no state: the panel reports that until it shows another object."""
    panel = make_view(live(), "Plain", "x")
    assert "plain service" in panel.error
    for service, error in (("Cast", "Similar: Cart"), ("Cart", "")):
        panel.state = {"view": "state", "service": service, "key": "axb"}
        assert panel.wait(timeout=60)
        assert error in panel.error
        assert bool(error) == bool(panel.error)
    panel.fill("service", "all")
    panel.click("Open exact key")
    assert "enter the complete key" in panel.error


def test_an_unfinished_edit_keeps_its_object_open(make_view: Callable[..., Panel]) -> None:
    """A click, another search or the panel's state keeps an unfinished edit; the panel's state names the object."""
    panel = make_view(live(), "Cart", "a_b")
    view = view_of(panel)
    panel.click("open", row="items")
    panel.fill("New value", "{}")
    code = "rl.Panel(lab, view='state', service='Cart', key='a_b')"
    panel.click("open", row='{"service": "Cart", "key": "axb", "scope": null}')
    assert "not finished" in panel.error
    panel.fill("service", "Order")
    assert (view.bar.service.value, panel.code) == ("Cart", code)
    panel.state = {"view": "state", "service": "Order", "key": "o1"}
    assert panel.wait(timeout=60)
    assert "not finished" in panel.error
    assert panel.code == code
    assert view.editor.text.value == "{}"
    panel.state = {"view": "overview"}
    panel.state = {"view": "state", "service": "Cart", "key": "a_b"}
    assert view.editor.text.value == "{}"


@pytest.mark.parametrize(("version", "vqueues"), [("1.7.12", True), ("1.7.12", False), ("1.8.1", True)])
def test_a_change_that_can_be_lost_is_marked_in_its_form(
    make_view: Callable[..., Panel], server: Server, version: str, vqueues: bool
) -> None:
    """The editor has the fault of 1.7 with vqueues and what to do, while editing and reviewing; others have none."""
    source = LiveRows(state=STATE, sys_service=SERVICES, vqueues=True)  # 1.7 has the tables in any case
    source.version, source.features = version, {"vqueues": vqueues}
    panel = make_view(source, "Cart", "a_b")
    panel.click("open", row="items")
    texts = [view_of(panel).editor.head.text]
    review(panel, "{}")
    texts.append(view_of(panel).editor.head.text)
    for text in texts:
        assert ("The change can be lost" in text) is (vqueues and version == "1.7.12")
        assert ("Upgrade to 1.7.13 or newer, and then write the state again." in text) is ("can be lost" in text)


def test_nothing_is_sent_before_review_and_reason(make_view: Callable[..., Panel], server: Server) -> None:
    """A change needs a text, a review of both values, a reason, and then one click; it names the original state."""
    panel = make_view(live(), "Cart", "a_b")
    panel.click("open", row="items")
    editor = view_of(panel).editor
    assert editor.text.value == '{\n  "mug": 1\n}'
    editor.set_button.click()
    assert "Review" in panel.error
    for text, error in (('{"mug": 1 }', "has not changed"), ("{", "invalid JSON"), ('{"mug": 3}', "")):
        review(panel, text)
        assert error in panel.error
    assert panel.error == ""
    assert '"mug": 1' in editor.compare.text
    assert '"mug": 3' in editor.compare.text
    send(panel, reason=" ")
    assert "the reason is empty" in panel.error
    assert server.told == []
    before = view_of(panel).state
    send(panel)
    assert [(each["values"], each["reason"], each["state"]) for each in server.told] == [
        ({"items": {"mug": 3}}, "INC-7", before)
    ]
    assert editor.stage == "closed"
    assert "was set; read back" in panel.head.event


def test_a_key_is_deleted_after_a_review_of_its_value(make_view: Callable[..., Panel], server: Server) -> None:
    """Deleting takes the same steps, and the button names its effect."""
    panel = make_view(live(), "Cart", "a_b")
    panel.click("open", row="items")
    panel.click("Delete this key")
    assert view_of(panel).editor.set_button.description == "Delete it on made"
    assert "(deleted)" in view_of(panel).editor.compare.text
    send(panel)
    assert [(each["values"], each["delete"]) for each in server.told] == [(None, ["items"])]


def test_a_conflict_shows_all_three_values(make_view: Callable[..., Panel], server: Server) -> None:
    """A conflict shows the value read, the new value and the current one, and continues only on request."""
    source = live()
    panel = make_view(source, "Cart", "a_b")
    panel.click("open", row="items")
    review(panel, '{"mug": 3}')
    before = view_of(panel).state
    assert before is not None
    theirs = replace(before, _raw={**before.raw, "items": b'{"mug": 2}'})
    server.outcome = StateConflict("lost", before=before, mine={}, theirs=theirs, sent=True, reason="")
    source.put(state=[*STATE[1:], row("Cart", "a_b", "items", b'{"mug": 2}')])
    send(panel)
    assert view_of(panel).editor.stage == "conflict"
    blocks = {block["title"]: block["text"] for block in view_of(panel).editor.compare.blocks}
    assert [blocks[title] for title in ("value you read", "your value", "current value")] == [
        f'{{\n  "mug": {n}\n}}' for n in (1, 3, 2)
    ]
    assert "Changed: items" in blocks["The state has changed since you read it"]
    panel.click("open", row=ATTACK)
    assert "not finished" in panel.error
    panel.click("Continue with the current state")
    assert (view_of(panel).editor.stage, view_of(panel).editor.text.value) == ("editing", '{"mug": 3}')
    server.outcome = None
    review(panel, '{"mug": 4}')
    send(panel)
    assert server.told[-1]["state"] == theirs
    assert view_of(panel).editor.stage == "closed"


def test_the_panel_watches_a_change_that_is_not_applied_yet(make_view: Callable[..., Panel], server: Server) -> None:
    """A change that is accepted but not visible yet is reported, and again when it is applied or dropped."""
    for value, words in ((b'{"mug": 3}', "The change is applied"), (b'{"mug": 9}', "The change was dropped")):
        source = live()
        panel = make_view(source, "Cart", "a_b")
        panel.click("open", row="items")
        review(panel, '{"mug": 3}')
        server.outcome = OutcomeUnknown("accepted (202), inv_1 holds the object")
        send(panel)
        assert "inv_1 holds the object" in view_of(panel).editor.compare.text
        source.put(state=[*STATE[1:], row("Cart", "a_b", "items", value)])
        panel.refresh()
        assert words in view_of(panel).editor.compare.text


def test_a_failed_change_keeps_the_edit(make_view: Callable[..., Panel], server: Server) -> None:
    """If nothing could be sent the panel gives the reason, and the edit stays for another try."""
    panel = make_view(live(), "Cart", "a_b")
    panel.click("open", row="items")
    review(panel, '{"mug": 3}')
    server.outcome = Unreachable("connection refused")
    send(panel)
    assert panel.error == "Unreachable: connection refused"
    assert (view_of(panel).editor.stage, view_of(panel).editor.text.value) == ("reviewing", '{"mug": 3}')
    server.outcome = None
    send(panel)
    assert len(server.told) == 2


def test_the_editor_reports_a_change_by_another_user(make_view: Callable[..., Panel], server: Server) -> None:
    """A refresh that finds another state reports it in the editor, and keeps the text."""
    source = live()
    panel = make_view(source, "Cart", "a_b")
    panel.click("open", row="items")
    panel.fill("New value", "{}")
    source.put(state=[*STATE[1:], row("Cart", "a_b", "items", b'{"mug": 2}')])
    panel.refresh()
    assert "Since then, this key changed" in view_of(panel).editor.head.text
    assert view_of(panel).editor.text.value == "{}"
    panel.click("open", row=ATTACK)
    assert "not finished" in panel.error
    panel.click("Close")
    panel.click("open", row="items")
    assert view_of(panel).editor.text.value == '{\n  "mug": 2\n}'


@pytest.mark.parametrize("is_live", [False, True], ids=["evidence", "read-only"])
def test_a_read_only_source_has_no_editor(make_view: Callable[..., Panel], is_live: bool) -> None:
    """On evidence and on a read-only connection a value is shown whole, without an editor, and with the reason."""
    source: Any = live() if is_live else SampleRows(state=STATE, sys_service=SERVICES)
    source.read_only = True
    panel = make_view(source, "Cart", "a_b")
    panel.click("open", row="items")
    assert '"mug": 1' in view_of(panel).whole.text
    assert view_of(panel).editor.stage == "closed"
    page = panel._repr_mimebundle_()["text/html"]
    assert "read-only" in page
    with pytest.raises(ArgumentError, match="read-only"):
        view_of(panel).edit("items")


def test_the_open_object_filters_no_other_view(make_view: Callable[..., Panel]) -> None:
    panel = make_view(live(), "Cart", "a_b")
    for view, state in (
        ("Overview", {"view": "overview"}),
        ("Invocations", {}),
        ("Deployments", {"view": "deployments"}),
        ("State", {"view": "state", "service": "Cart", "key": "a_b"}),
    ):
        panel.click(view)
        assert panel.state == state
    assert panel.wait(timeout=60)
    assert view_of(panel).state is not None
    panel.click("Invocations of this object")
    assert panel.state == {"status": "all", "service": "Cart", "key": "a_b"}
    panel.click("State")
    panel.state = {"view": "state", "service": "Order"}
    with pytest.raises(ArgumentError, match="no visible control is named 'Invocations of this object'"):
        panel.click("Invocations of this object")
