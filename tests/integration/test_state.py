"""State read and changed on real servers of each kind, with handlers that write, hold, and interfere."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab.actions.state import set_state, state
from restate_lab.analysis.ids import FIRST_AWAKEABLE, awakeable_id
from restate_lab.client.state_version import state_version
from support import state_services
from support.bench import Bench, running_bench, wait_for
from support.clusters import KINDS, PLAIN, Cluster, server_binary
from support.table_source import TableSource

pytestmark = pytest.mark.server
QUEUED_CHANGES = pytest.mark.also_on(PLAIN, reason="without vqueues a change of state has no place in the queue")

WHY = "INC-7"
ODD = "a/\"b'é✓ %_"
BINARY = bytes(range(256))


class Drawers(Bench):
    def put(self, key: str, **values: Any) -> None:
        self.lab.ingress.call("Drawer", "put", values, key=key)

    def raw(self, key: str, service: str = "Drawer") -> dict[str, bytes]:
        return dict(state(self.lab, service, key).raw)

    def set(self, key: str, values: dict[str, Any] | None = None, **options: Any) -> Any:
        return set_state(self.lab, "Drawer", key, values, reason=WHY, **options)

    def changes(self, key: str) -> Any:
        log = rl.audit_log(self.audit)
        of_key = log["targets"].map(lambda targets: f"Drawer/{key}" in targets)
        return log[of_key & log["action"].eq("modify_service_state")]

    def until_sent(self, key: str) -> None:
        """Wait until the server has a change of the key's state."""
        wait_for(lambda: list(self.changes(key)["outcome"]) == ["done"])

    @contextlib.contextmanager
    def held(self, key: str) -> Iterator[str]:
        """Let a handler hold the key within the block, and end normally after it."""
        id_ = self.lab.ingress.send("Drawer", "hold", key=key).invocation_id
        wait_for(lambda: self.status(id_) == "suspended")
        yield id_
        self.lab.ingress.resolve_awakeable(str(awakeable_id(id_, FIRST_AWAKEABLE)), "go on")

    def queue(self, key: str, handler: str = "put", **values: Any) -> None:
        id_ = self.lab.ingress.send("Drawer", handler, values, key=key).invocation_id
        wait_for(lambda: self.status(id_) in {"pending", "ready"})


def in_the_background(call: Callable[[], Any]) -> Callable[[], Any]:
    """Start a call, and return a function that waits for its end and returns its result or raises its error."""
    ended: list[Any] = []

    def run() -> None:
        try:
            ended.append(call())
        except errors.RestateLabError as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def outcome() -> Any:
        thread.join(60)
        assert ended, "the call has not ended"
        return ended[0]

    return outcome


@pytest.fixture(scope="module", params=KINDS)
def drawers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drawers]:
    try:
        server_binary(request.param)
    except errors.RestateLabError as error:
        pytest.skip(f"no restate-server {request.param}: {str(error).splitlines()[0]}")
    folder = tmp_path_factory.mktemp("state")
    ready = ("Plain", "nothing", None)
    with running_bench(request.param, folder, state_services.__file__, ready=ready, env={}, bench=Drawers) as running:
        yield running


def test_a_state_is_a_mapping_of_what_its_bytes_say(drawers: Drawers) -> None:
    """JSON is decoded, other text is text, the rest stays bytes; the version equals the server's."""
    drawers.put(ODD, total=5, cart={"mug": 2}, gone=None)
    drawers.lab.ingress.call("Drawer", "put_hex", {"text": b"not json".hex(), "raw": BINARY.hex()}, key=ODD)
    read = state(drawers.lab, "Drawer", ODD)
    assert dict(read) == {"cart": {"mug": 2}, "gone": None, "raw": BINARY, "text": "not json", "total": 5}
    assert (read.service, read.key, read.scope, read.source) == ("Drawer", ODD, None, drawers.lab.name)
    assert read.raw["gone"] == b""
    assert read.state_version == state_version(read.raw)
    assert list(read.frame["encoding"]) == ["json", "empty", "bytes", "text", "json"]


def test_where_no_state_can_be(drawers: Drawers) -> None:
    """An unused key has an empty state, a plain service has none, an unknown one raises NotFound with near names."""
    assert len(state(drawers.lab, "Drawer", "never used")) == 0
    with pytest.raises(errors.ArgumentError, match="plain service"):
        state(drawers.lab, "Plain", "k")
    with pytest.raises(errors.NotFound, match="Similar: Drawer"):
        state(drawers.lab, "Drawers", "k")
    with pytest.raises(errors.ArgumentError, match="plain service"):
        set_state(drawers.lab, "Plain", "k", {"a": 1}, reason=WHY)


def test_untouched_keys_stay_byte_for_byte(drawers: Drawers) -> None:
    """One key changes; empty values, bytes, odd keys and odd JSON spacing do not."""
    drawers.put(ODD + "2", total=5, **{"é\x00\n😀": 1, "": [1]}, none=None)
    spaced = b'{ "a" : 1.0 }'
    drawers.lab.ingress.call("Drawer", "put_hex", {"raw": BINARY.hex(), "spaced": spaced.hex()}, key=ODD + "2")
    before = drawers.raw(ODD + "2")
    after = drawers.set(ODD + "2", {"total": 6, "new": {"x": [None, "é"]}})
    assert dict(after.raw) == before | {"total": b"6", "new": b'{"x": [null, "\\u00e9"]}'}
    assert drawers.raw(ODD + "2") == dict(after.raw)
    assert drawers.lab.ingress.call("Drawer", "look", "new", key=ODD + "2") == {"x": [None, "é"]}


def test_an_encoding_is_kept(drawers: Drawers) -> None:
    """A text replaces a text as text, bytes stay bytes, and another encoding is refused unless it is explicit."""
    drawers.lab.ingress.call("Drawer", "put_hex", {"text": b"old words".hex(), "raw": BINARY.hex()}, key="kept")
    assert dict(drawers.set("kept", {"text": "new words", "raw": b"\xfe"}).raw) == {
        "text": b"new words",
        "raw": b"\xfe",
    }
    for values in ({"raw": "words"}, {"text": {"a": 1}}, {"text": b"\xff"}):
        with pytest.raises(errors.ArgumentError, match="recode=True"):
            drawers.set("kept", values)
    assert drawers.set("kept", {"raw": "words"}, recode=True).raw["raw"] == b'"words"'
    assert len(drawers.changes("kept")) == 2


def test_deleting_and_clearing_are_said(drawers: Drawers) -> None:
    drawers.put("less", a=1, b=2, c=3)
    assert dict(drawers.set("less", {"b": 4}, delete=["a"])) == {"b": 4, "c": 3}
    assert dict(drawers.set("less", {"d": 5}, clear=True)) == {"d": 5}
    with pytest.raises(errors.ArgumentError, match="its keys: 'd'"):
        drawers.set("less", delete=["a"])
    assert dict(drawers.set("less", clear=True)) == drawers.raw("less") == {}


@QUEUED_CHANGES
def test_a_fault_of_the_server_is_reported_with_each_change(
    drawers: Drawers, capsys: pytest.CaptureFixture[str]
) -> None:
    """1.7.12 with vqueues can lose a change: the State, its card and a line on stderr report it; others do not."""
    drawers.put("lost", total=5)
    read = state(drawers.lab, "Drawer", "lost")
    changed = drawers.set("lost", {"total": 6}, state=read)
    assert changed.warnings == read.warnings
    assert capsys.readouterr().err == "".join(f"{each}\n" for each in read.warnings)
    drawers.set("lost", {"total": 6})
    assert capsys.readouterr().err == "", "nothing was sent"
    if drawers.lab.version.startswith("1.7.") and drawers.lab.features.get("vqueues"):
        (warning,) = read.warnings
        assert "more than one replica" in warning
        assert "Upgrade to 1.7.13 or newer, and then write the state again." in warning
        assert warning in changed._repr_html_()
    else:
        assert read.warnings == ()


@QUEUED_CHANGES
def test_a_change_since_it_was_read_is_a_conflict_with_both_values(drawers: Drawers) -> None:
    """The State that was read guards the change: a handler's later write stays, also in other keys."""
    drawers.put("since", total=5, token="old")
    read = state(drawers.lab, "Drawer", "since")
    drawers.put("since", total=6, token="hush")
    with pytest.raises(errors.StateConflict, match="'total' was 5, your value is 7, now it is 6") as caught:
        drawers.set("since", {"total": 7}, state=read)
    lost = caught.value
    assert (lost.before["total"], lost.mine["total"], lost.theirs["total"], lost.sent) == (5, 7, 6, False)
    assert "hush" not in str(lost)
    assert drawers.raw("since") == {"total": b"6", "token": b'"hush"'}
    with pytest.raises(errors.StateConflict):
        drawers.set("since", {"total": 5}, state=read)
    assert drawers.set("since", {"total": 7}, state=lost.theirs)["total"] == 7


@QUEUED_CHANGES
def test_a_handler_that_writes_while_the_change_waits_wins(drawers: Drawers) -> None:
    """A change that is queued behind a handler that writes is dropped by the server, and reported as lost."""
    drawers.put("race", total=5)
    with drawers.held("race"):
        drawers.queue("race", total=6)
        outcome = in_the_background(lambda: drawers.set("race", {"total": 7}))
        drawers.until_sent("race")
    lost = outcome()
    assert isinstance(lost, errors.StateConflict), lost
    assert (lost.before["total"], lost.mine["total"], lost.theirs["total"], lost.sent) == (5, 7, 6, True)
    assert drawers.raw("race") == {"total": b"6"}


@QUEUED_CHANGES
def test_a_change_is_applied_when_the_holder_ends(drawers: Drawers) -> None:
    drawers.put("held", total=5)
    with drawers.held("held"):
        outcome = in_the_background(lambda: drawers.set("held", {"total": 7}))
        drawers.until_sent("held")
        assert drawers.raw("held") == {"total": b"5"}
    assert dict(outcome()) == {"total": 7}


@QUEUED_CHANGES
def test_a_state_that_is_put_back_before_the_turn_comes_is_no_conflict(drawers: Drawers) -> None:
    """A different state seen while another invocation is ahead decides nothing: the server compares when it is due."""
    drawers.put("back", total=5, status="idle")
    with drawers.held("back"):
        drawers.queue("back", status="busy")
        drawers.queue("back", "put_later", status="idle")
        outcome = in_the_background(lambda: drawers.set("back", {"total": 7}))
        drawers.until_sent("back")
    wait_for(lambda: state(drawers.lab, "Drawer", "back")["status"] == "busy")
    assert dict(outcome()) == {"status": "idle", "total": 7}


@QUEUED_CHANGES
def test_what_comes_behind_the_change_does_not_hide_that_it_was_applied(drawers: Drawers) -> None:
    """A handler that was queued behind the change and writes other keys does not make it look lost."""
    drawers.put("busy", total=5)
    with drawers.held("busy"):
        outcome = in_the_background(lambda: drawers.set("busy", {"limit": 7}))
        drawers.until_sent("busy")
        drawers.queue("busy", total=6)
    assert outcome()["limit"] == 7
    wait_for(lambda: drawers.raw("busy") == {"total": b"6", "limit": b"7"})


@QUEUED_CHANGES
def test_a_limit_that_passes_says_behind_whom_the_change_waits(drawers: Drawers) -> None:
    """The outcome is not known then, and the change is applied when the holder ends."""
    with drawers.held("late") as holder:
        with pytest.raises(errors.OutcomeUnknown, match=f"{holder} holds the object.*cannot be undone"):
            drawers.set("late", {"x": 1}, timeout="1.2s")
        assert drawers.raw("late") == {}
    wait_for(lambda: drawers.raw("late") == {"x": b"1"})


def test_a_workflow_has_state_like_an_object(drawers: Drawers) -> None:
    """Its run handler does not hold its key."""
    id_ = drawers.lab.ingress.send("Errand", "run", {"a": 1}, key="w").invocation_id
    wait_for(lambda: drawers.status(id_) == "suspended")
    assert dict(set_state(drawers.lab, "Errand", "w", {"b": 2}, reason=WHY)) == {"a": 1, "b": 2}
    assert drawers.raw("w", "Errand") == {"a": b"1", "b": b"2"}


def test_a_scope_is_another_object(drawers: Drawers) -> None:
    drawers.put("scoped", a=0)
    assert dict(drawers.set("scoped", {"a": 1}, scope="blue")) == {"a": 1}
    assert dict(state(drawers.lab, "Drawer", "scoped", scope="blue")) == {"a": 1}
    assert dict(state(drawers.lab, "Drawer", "scoped")) == {"a": 0}


def test_every_change_is_in_the_audit_log_and_what_changes_nothing_is_not_sent(drawers: Drawers) -> None:
    """The record has object and reason, and no value; a state that already has the new values creates no record."""
    canary = "canary-55d1"
    drawers.set("audited", {"a": canary})
    assert dict(drawers.set("audited", {"a": canary})) == {"a": canary}
    record = drawers.changes("audited")
    assert record[["reason", "outcome"]].values.tolist() == [[WHY, "done"]]
    assert canary not in "".join(file.read_text() for file in drawers.audit.iterdir())


def test_a_read_only_connection_reads_and_does_not_change(drawers: Drawers) -> None:
    drawers.put("closed", a=1)
    address, before = drawers.lab.settings.admin_url, len(rl.audit_log(drawers.audit))
    with rl.connect(address, read_only=True, audit=drawers.audit) as lab:
        assert dict(state(lab, "Drawer", "closed")) == {"a": 1}
        for value in (1, 2):
            with pytest.raises(errors.ReadOnly):
                set_state(lab, "Drawer", "closed", {"a": value}, reason=WHY)
    assert drawers.raw("closed") == {"a": b"1"}
    assert len(rl.audit_log(drawers.audit)) == before


def test_a_state_too_large_for_the_admin_api_is_refused_before_it_is_sent(drawers: Drawers) -> None:
    """The limit is the server's own: a state just below it is accepted, a larger one is not sent."""
    drawers.set("large", {"b": b"\xff" * 520_000})
    with pytest.raises(errors.ArgumentError, match="2,097,152"):
        drawers.set("large", {"c": b"\xff" * 10_000})
    assert list(drawers.raw("large")) == ["b"]


def test_the_stop_button_says_that_the_change_is_still_coming(
    drawers: Drawers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: float) -> None:
        raise KeyboardInterrupt

    with drawers.held("stopped"):
        with monkeypatch.context() as patch:
            patch.setattr("restate_lab.actions.state.change.time", SimpleNamespace(monotonic=monotonic, sleep=stop))
            with pytest.raises(KeyboardInterrupt) as stopped:
                drawers.set("stopped", {"x": 1})
        assert "applied when its turn comes" in stopped.value.__notes__[0]
    wait_for(lambda: drawers.raw("stopped") == {"x": b"1"})


class Frozen(TableSource):
    """Tables of a live source as they were at a certain time, queried with DataFusion, the server's own engine."""

    def __init__(self, lab: rl.Lab) -> None:
        super().__init__({name: lab.arrow(f"SELECT * FROM {name}") for name in ("state", "sys_service")}, now=lab.now)
        self.name, self.version, self.features = f"{lab.name}, frozen", lab.version, lab.features


def test_a_frozen_source_gives_the_same_state_and_takes_no_change(drawers: Drawers) -> None:
    drawers.put(ODD + "3", total=5)
    drawers.lab.ingress.call("Drawer", "put_hex", {"raw": BINARY.hex()}, key=ODD + "3")
    frozen: Any = Frozen(drawers.lab)
    drawers.put(ODD + "3", total=6)
    read = state(frozen, "Drawer", ODD + "3")
    assert dict(read) == {"raw": BINARY, "total": 5}
    assert (read.source, read.read_at) == (frozen.name, frozen.now)
    with pytest.raises(errors.ArgumentError, match="plain service"):
        state(frozen, "Plain", "k")
    with pytest.raises(errors.ArgumentError, match="live cluster"):
        set_state(frozen, "Drawer", ODD + "3", {"total": 7}, reason=WHY)
    with pytest.raises(errors.ArgumentError, match="read the state here"):
        drawers.set(ODD + "3", {"total": 7}, state=read)


def test_the_stock_of_the_demo_is_read_from_a_read_only_cluster(healthy: Cluster) -> None:
    with rl.connect(healthy.admin_url, read_only=True) as lab:
        read = state(lab, "Inventory", "mug")
        assert read
        assert json.dumps(dict(read))


def test_a_value_that_only_python_reads_stays_json(drawers: Drawers) -> None:
    """Over a NaN, which Python's serializer writes, a text is written as JSON, and the handler reads it."""
    raw = {"n": b"NaN", "score": b'{"api_key": "hush", "score": NaN}', "kept": b"[1.10, Infinity]"}
    values = {name: value.hex() for name, value in raw.items()}
    drawers.lab.ingress.call("Drawer", "put_hex", values, key="nan")
    assert "hush" not in state(drawers.lab, "Drawer", "nan")._repr_html_()
    drawers.set("nan", {"n": "abc"})
    assert drawers.raw("nan") == raw | {"n": b'"abc"'}
    assert drawers.lab.ingress.call("Drawer", "look", "n", key="nan") == "abc"
