"""Every operation of the Admin API on real servers of each kind: its success, and its main errors.

Not reachable here, and tested against recorded shapes in tests/unit/client/test_admin.py: deployments on AWS Lambda,
tokens minted by Google, messages from a real Kafka broker, Restate Cloud.
"""

from __future__ import annotations

import json
import traceback
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab.client.models import DeleteRule, UpsertRule
from restate_lab.client.state_version import state_version
from restate_lab.redaction import MASK, Secret
from support import imitation
from support.bench import Bench, running_bench, wait_for
from support.clusters import KINDS, PLAIN, has_vqueues, server_binary

CANARY = "canary-91c2"
NO_INVOCATION = "inv_1gAaZyCx2a2b3ZBGB0x5Xx5wTjfHW9aaaa"
NO_DEPLOYMENT = "dp_14wO5igA5eW7BRQxVRQOyI1"
NO_SUBSCRIPTION = "sub_15VqmTOnXH3Vv2pl5HOG7UB"
NO_VQUEUE = "vq_1gKrtw7jHPrP6oObi5TfrnpEzkKPuKJphp"

pytestmark = pytest.mark.server
OTHER_FEATURES = pytest.mark.also_on(PLAIN, reason="each kind has other features and operations")
OTHER_EFFECTS = pytest.mark.also_on(PLAIN, reason="without vqueues these actions do something else")
WITH_VQUEUES = pytest.mark.parametrize("bench", [each for each in KINDS if has_vqueues(each)], indirect=True)
QUEUED_CHANGES = pytest.mark.also_on(PLAIN, reason="without vqueues a change of state has no place in the queue")


@pytest.fixture(scope="module", params=KINDS)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    try:
        server_binary(request.param)
    except errors.RestateLabError as error:
        pytest.skip(f"no restate-server {request.param}: {str(error).splitlines()[0]}")
    with running_bench(request.param, tmp_path_factory.mktemp("bench")) as bench:
        yield bench


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extend the wait for a visible effect: every effect that these tests wait for happens."""
    monkeypatch.setattr("restate_lab.client.admin.invocations._SEEN_WITHIN", 20.0)


@pytest.fixture
def other_uri(bench: Bench) -> str:
    """Give the same services by another address: for the server it is another deployment."""
    return bench.uri.replace("127.0.0.1", "localhost")


@pytest.fixture
def other(bench: Bench, other_uri: str) -> Iterator[str]:
    """Give the id of a second deployment, which is removed afterwards."""
    id_ = bench.admin.create_deployment(uri=other_uri, metadata={"team": "tests"}).id
    yield id_
    if id_ in [each.id for each in bench.admin.list_deployments()]:
        bench.admin.delete_deployment(id_, force=True, reason="INC-42")


@OTHER_FEATURES
def test_version_health_and_members(bench: Bench) -> None:
    """Version, flags, health and members come from the server, and a dead member would be among the members."""
    about = bench.admin.version()
    assert about.version == bench.lab.version
    assert bench.admin.health() is None
    if about.version.startswith("1.8"):
        return  # it reports neither its flags nor its members: test_migration.py
    assert ("vqueues" in (about.on or ())) is bench.has_vqueues
    cluster = bench.admin.cluster_health()
    assert cluster.members == (1,)
    assert "including dead ones" in repr(cluster)


def test_deployments_are_listed_oldest_first(bench: Bench, other: str) -> None:
    listed = bench.admin.list_deployments()
    assert [(each.id, each.type) for each in listed] == [(bench.deployment, "http"), (other, "http")]
    assert [service.name for service in listed[0].services or ()] == ["Counter", "Echo", "Signup"]
    one = bench.admin.get_deployment(other)
    assert one.metadata == {"team": "tests"}
    assert one.created_at is not None
    assert abs(one.created_at - datetime.now(UTC)) < timedelta(minutes=5)
    assert [handler.name for handler in (one.services or ())[0].handlers or ()] == ["add", "hold", "remember", "value"]
    frame = listed.frame
    assert list(frame["id"]) == [bench.deployment, other]
    assert str(frame["created_at"].dtype) == "datetime64[us, UTC]"
    with pytest.raises(errors.NotFound, match=NO_DEPLOYMENT):
        bench.admin.get_deployment(NO_DEPLOYMENT)


def test_registering_again_changes_nothing_unless_forced(bench: Bench) -> None:
    before = bench.admin.get_service("Echo").revision or 0
    again = bench.admin.create_deployment(uri=bench.uri)
    assert (again.id, again.is_new) == (bench.deployment, False)
    assert "nothing changed" in repr(again)
    assert bench.admin.get_service("Echo").revision == before
    forced = bench.admin.create_deployment(uri=bench.uri, force=True, breaking=True)
    assert "discovered again" in repr(forced)
    assert bench.admin.get_service("Echo").revision == before + 1


def test_a_dry_run_stores_nothing_and_says_so(bench: Bench, other_uri: str) -> None:
    made_up = bench.admin.create_deployment(uri=other_uri, dry_run=True)
    assert made_up.is_dry_run
    assert "invented" in repr(made_up)
    assert "invented" in made_up._repr_html_()
    with pytest.raises(errors.NotFound):
        bench.admin.get_deployment(made_up.id)


def test_an_address_without_an_sdk_gives_meta0003(bench: Bench) -> None:
    with pytest.raises(errors.ServerFailed) as nobody:
        bench.admin.create_deployment(uri="http://127.0.0.1:1")
    assert nobody.value.code == "META0003"
    with pytest.raises(errors.ServerFailed) as stranger:
        bench.admin.create_deployment(uri=bench.lab.transport.address, use_http_11=True)
    assert stranger.value.code == "META0003"


def test_a_deployment_is_moved_and_its_headers_replaced(bench: Bench, other: str, other_uri: str) -> None:
    changed = bench.admin.update_deployment(other, additional_headers={"x-one": "1"})
    assert changed.additional_headers == {"x-one": "1"}
    assert changed.uri == f"{other_uri}/"
    tried = bench.admin.update_deployment(other, additional_headers={"x-two": "2"}, dry_run=True)
    assert tried.is_dry_run
    assert "nothing was stored" in repr(tried)
    assert bench.admin.get_deployment(other).additional_headers == {"x-one": "1"}
    moved = bench.admin.update_deployment(other, uri=f"{other_uri}/moved", overwrite=True, use_http_11=False)
    assert moved.uri == f"{other_uri}/moved"
    assert bench.admin.get_deployment(other).additional_headers == {"x-one": "1"}


def test_a_refused_update_changes_no_deployment(bench: Bench, other: str) -> None:
    with pytest.raises(errors.NotFound):
        bench.admin.update_deployment(NO_DEPLOYMENT, uri=bench.uri)
    with pytest.raises(errors.ServerFailed, match="META0003"):
        bench.admin.update_deployment(other, uri="http://127.0.0.1:1")
    assert bench.admin.get_deployment(other).uri != "http://127.0.0.1:1"


def test_a_deployment_is_removed_by_force_only(bench: Bench, other: str) -> None:
    with pytest.raises(errors.NotOnThisServer, match="force=True"):
        bench.admin.delete_deployment(other, reason="INC-42")
    assert bench.admin.get_service("Echo").deployment_id == other
    assert bench.admin.delete_deployment(other, force=True, reason="INC-42") is None
    assert bench.admin.get_service("Echo").deployment_id == bench.deployment
    with pytest.raises(errors.NotFound):
        bench.admin.delete_deployment(other, force=True, reason="INC-42")
    if bench.lab.version != imitation.VERSION:
        with pytest.raises(errors.NotOnThisServer, match=rf"{bench.lab.version}.*delete_deployment"):
            bench.admin.bulk_delete_deployments([bench.deployment], reason="INC-42")


def test_a_secret_header_reaches_the_server_and_is_not_shown(bench: Bench, other_uri: str) -> None:
    admin = bench.admin
    headers = {"authorization": f"Bearer {CANARY}", "x-api-key": Secret(CANARY), "x-plain": "shown"}
    made = admin.create_deployment(uri=other_uri, additional_headers=headers)
    try:
        one, listed = admin.get_deployment(made.id), admin.list_deployments()
        updated = admin.update_deployment(made.id, additional_headers=headers)
        assert one.additional_headers is not None
        assert one.additional_headers["authorization"] == MASK
        assert one.additional_headers["x-plain"] == "shown"
        assert one.additional_headers.reveal()["authorization"] == f"Bearer {CANARY}"
        shown = [made, one, listed, updated, one.additional_headers, one.model_dump(), one.model_dump_json()]
        shown += [listed._repr_html_(), one._repr_html_(), listed.frame.to_csv(), listed.frame.to_string()]
        with pytest.raises(errors.ServerFailed) as unreachable:
            admin.update_deployment(made.id, uri="http://127.0.0.1:1", additional_headers=headers)
        with pytest.raises(errors.ArgumentError) as malformed:
            admin.create_deployment(uri=other_uri, additional_headers={"authorization": f"{CANARY}\n"})
        shown += ["".join(traceback.format_exception(error.value)) for error in (unreachable, malformed)]
        records = "".join(file.read_text() for file in bench.audit.glob("*.jsonl"))
        assert "create_deployment" in records
        assert CANARY not in "".join(map(repr, shown)) + "".join(map(str, shown)) + records
    finally:
        admin.delete_deployment(made.id, force=True, reason="INC-42")


def test_services_and_handlers_have_a_fixed_order_and_real_types(bench: Bench) -> None:
    admin = bench.admin
    assert [each.name for each in admin.list_services()] == ["Counter", "Echo", "Signup"]
    echo = admin.get_service("Echo")
    assert (echo.ty, echo.inactivity_timeout, echo.abort_timeout) == (
        "Service",
        timedelta(milliseconds=200),
        timedelta(minutes=10),
    )
    assert echo.retry_policy is not None
    assert echo.retry_policy.max_interval == timedelta(minutes=1)
    names = [[each.name for each in admin.list_service_handlers("Echo")] for _ in range(3)]
    assert names == [sorted(names[0])] * 3
    assert names[0] == [each.name for each in echo.handlers or ()]
    say = admin.get_service_handler("Echo", "say")
    assert (say.metadata, say.input_json_schema, say.public) == ({"team": "tests"}, {"type": "string"}, True)
    storm = admin.get_service_handler("Echo", "storm")
    assert storm.retry_policy is not None
    assert storm.retry_policy.initial_interval == timedelta(milliseconds=200)
    assert admin.get_service_openapi("Echo")["openapi"].startswith("3.")
    frame = admin.list_services().frame
    assert frame.loc[0, "abort_timeout"] == pd.Timedelta(minutes=10)
    assert frame.loc[2, "handlers"] == ["approve", "run"]


@pytest.mark.parametrize("name", ["Nope", "échö/with ?#%2F and more", ".."])
def test_any_text_is_one_name_and_an_unknown_one_is_not_found(bench: Bench, name: str) -> None:
    for ask in (
        lambda: bench.admin.get_service(name),
        lambda: bench.admin.list_service_handlers(name),
        lambda: bench.admin.get_service_openapi(name),
        lambda: bench.admin.modify_service(name, public=True),
        lambda: bench.admin.get_service_handler("Echo", name),
    ):
        with pytest.raises(errors.NotFound) as caught:
            ask()
        assert f"'{name}'" in caught.value.reason


def test_a_service_is_configured(bench: Bench) -> None:
    """Durations are sent as timedelta or text and come back as timedelta; an invalid one is never sent."""
    admin = bench.admin
    wanted = timedelta(days=1, hours=12, seconds=15, milliseconds=2)
    changed = admin.modify_service("Echo", journal_retention=wanted, idempotency_retention="1day 2h", public=False)
    assert (changed.journal_retention, changed.idempotency_retention) == (wanted, timedelta(hours=26))
    assert changed.public is False
    back = admin.modify_service(
        "Echo", journal_retention="P1D", idempotency_retention="1d", abort_timeout="10m", public=True
    )
    assert (back.journal_retention, back.public) == (timedelta(days=1), True)
    workflow = admin.modify_service("Signup", workflow_completion_retention="2h 30min", inactivity_timeout="200ms")
    assert workflow.workflow_completion_retention == timedelta(minutes=150)
    with pytest.raises(errors.RequestRefused) as refused:
        admin.modify_service("Echo", workflow_completion_retention="1d")
    assert refused.value.status == 400
    for arguments in ({}, {"abort_timeout": "soon"}, {"abort_timeout": timedelta(-1)}, {"public": "no"}):
        with pytest.raises(errors.ArgumentError):
            admin.modify_service("Echo", **arguments)  # type: ignore[arg-type]
    assert admin.get_service("Echo").abort_timeout == timedelta(minutes=10)


def state_of(bench: Bench, service: str, key: str) -> dict[str, bytes]:
    sql = "SELECT key, value FROM state WHERE service_name = :service AND service_key = :key AND scope IS NULL"
    return {row["key"]: row["value"] for row in bench.lab.arrow(sql, service=service, key=key).to_pylist()}


@QUEUED_CHANGES
def test_state_is_replaced_as_a_whole(bench: Bench) -> None:
    key = 'it\'s/50% "odd" _é'
    bench.ingress.call("Counter", "add", 5, key=key)
    assert state_of(bench, "Counter", key) == {"total": b"5"}
    change = bench.admin.modify_service_state(
        "Counter", key, new_state={"total": b"7", "raw": bytes(range(256))}, reason="INC-42"
    )
    assert (change.applied, change.queued_behind) == (True, None)
    assert state_of(bench, "Counter", key) == {"total": b"7", "raw": bytes(range(256))}
    assert bench.ingress.call("Counter", "add", 1, key=key) == 8
    assert bench.admin.modify_service_state("Counter", key, new_state={}, reason="INC-42").applied
    assert state_of(bench, "Counter", key) == {}


def test_state_of_another_version_is_left_alone(bench: Bench) -> None:
    """A change passes with the version of the state that was read, also of an empty one; an older one is a Conflict."""
    admin, empty = bench.admin, state_version({})
    assert admin.modify_service_state(
        "Counter", "versions", new_state={"b": b"2", "a": b"1"}, version=empty, reason="INC-42"
    ).applied
    read = state_version({"a": b"1", "b": b"2"})
    assert admin.modify_service_state(
        "Counter", "versions", new_state={"a": b"3"}, version=read, reason="INC-42"
    ).applied
    with pytest.raises(errors.Conflict, match="nothing was sent"):
        admin.modify_service_state("Counter", "versions", new_state={"a": b"4"}, version=read, reason="INC-42")
    assert state_of(bench, "Counter", "versions") == {"a": b"3"}


@QUEUED_CHANGES
def test_a_change_that_the_server_drops_is_a_conflict(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that changes between our read and the server's is a Conflict, although the server responds with 202."""
    bench.admin.modify_service_state("Counter", "race", new_state={"a": b"1"}, reason="INC-42")
    monkeypatch.setattr(bench.admin, "_check_version", lambda *_: None)
    with pytest.raises(errors.Conflict, match="while this change was sent"):
        bench.admin.modify_service_state(
            "Counter", "race", new_state={"a": b"2"}, version=state_version({}), reason="INC-42"
        )
    assert state_of(bench, "Counter", "race") == {"a": b"1"}


@QUEUED_CHANGES
def test_a_change_of_state_waits_for_the_holder_of_the_object(bench: Bench) -> None:
    """A change to a held object is applied when its holder ends; until then the outcome names the holder."""
    holder = bench.ingress.send("Counter", "hold", key="held").invocation_id
    bench.until(holder, "suspended")
    change = bench.admin.modify_service_state(
        "Counter", "held", new_state={"x": b"1"}, version=state_version({}), reason="INC-42"
    )
    assert (change.applied, change.queued_behind) == (None, holder)
    assert holder in repr(change)
    assert state_of(bench, "Counter", "held") == {}
    bench.admin.kill_invocation(holder, reason="INC-42")
    wait_for(lambda: state_of(bench, "Counter", "held") == {"x": b"1"})


def test_a_service_without_state_is_an_error(bench: Bench) -> None:
    with pytest.raises(errors.NotFound, match="Nope"):
        bench.admin.modify_service_state("Nope", "k", new_state={}, reason="INC-42")
    with pytest.raises(errors.RequestRefused, match="Service"):
        bench.admin.modify_service_state("Echo", "k", new_state={}, reason="INC-42")
    assert bench.admin.modify_service_state("Signup", "k", new_state={"name": b'"x"'}, reason="INC-42").applied


def test_a_scope_never_changes_the_object_without(bench: Bench) -> None:
    change = {"new_state": {"a": b"1"}, "scope": "blue", "reason": "INC-42"}
    assert bench.admin.modify_service_state("Counter", "scoped", **change).applied  # type: ignore[arg-type]
    assert state_of(bench, "Counter", "scoped") == {}


def test_cancel(bench: Bench) -> None:
    """A suspended invocation gets the signal and ends; a scheduled one is gone; a completed one is a Conflict."""
    waiting = bench.ingress.send("Echo", "wait").invocation_id
    bench.until(waiting, "suspended")
    told = bench.admin.cancel_invocation(waiting, reason="a test")
    assert told.status == 202
    bench.until(waiting, "completed")
    later = bench.ingress.send("Echo", "say", "hi", delay="1h").invocation_id
    gone = bench.admin.cancel_invocation(later, reason="INC-42")
    assert (gone.status, gone.took_effect, gone.state) == (200, True, None)
    assert "had not started" in gone.note
    with pytest.raises(errors.Conflict, match="already completed"):
        bench.admin.cancel_invocation(waiting, reason="INC-42")
    with pytest.raises(errors.NotFound):
        bench.admin.cancel_invocation(later, reason="INC-42")


def test_kill(bench: Bench) -> None:
    """A running invocation is completed as killed, a scheduled one is gone, a completed one is a Conflict."""
    busy = bench.ingress.send("Echo", "busy", 60).invocation_id
    bench.until(busy, "running")
    killed = bench.admin.kill_invocation(busy, reason="INC-42")
    assert (killed.status, killed.took_effect, killed.state) == (200, True, "completed")
    holder = bench.ingress.send("Counter", "hold", key="kill").invocation_id
    bench.until(holder, "suspended")
    pending = bench.ingress.send("Counter", "add", 1, key="kill").invocation_id
    bench.until(pending, "pending")
    gone = bench.admin.kill_invocation(pending, reason="INC-42")
    assert repr(gone).startswith(
        f"<ChangeResult kill_invocation target={pending} status=200 took_effect=True · it was removed"
    )
    assert "\n" not in repr(gone)
    bench.admin.kill_invocation(holder, reason="INC-42")
    with pytest.raises(errors.Conflict):
        bench.admin.kill_invocation(busy, reason="INC-42")
    with pytest.raises(errors.NotFound, match=NO_INVOCATION):
        bench.admin.kill_invocation(NO_INVOCATION, reason="INC-42")


@OTHER_EFFECTS
def test_pause_and_resume(bench: Bench) -> None:
    """A backing-off invocation is paused, stays so, and continues when resumed; a second pause changes nothing."""
    id_ = bench.ingress.send("Echo", "storm").invocation_id
    bench.until(id_, "backing-off")
    answer = bench.admin.pause_invocation(id_)
    assert answer.status == 202
    bench.until(id_, "paused")
    assert bench.admin.pause_invocation(id_).took_effect is True
    resumed = bench.admin.resume_invocation(id_, deployment="keep")
    assert resumed.status == 200
    bench.until(id_, "backing-off", "running", "ready")
    bench.admin.kill_invocation(id_, reason="INC-42")
    for turn in (bench.admin.pause_invocation, bench.admin.resume_invocation):
        with pytest.raises(errors.Conflict):
            turn(id_)
        with pytest.raises(errors.NotFound):
            turn(NO_INVOCATION)


def test_resume_on_another_deployment(bench: Bench) -> None:
    """A resume on a deployment moves a paused invocation; a running, scheduled or unknown one is refused."""
    id_ = bench.ingress.send("Echo", "storm").invocation_id
    bench.until(id_, "backing-off")
    bench.admin.pause_invocation(id_)
    bench.until(id_, "paused")
    with pytest.raises(errors.RequestRefused, match="deployment was not found"):
        bench.admin.resume_invocation(id_, deployment=NO_DEPLOYMENT)
    assert bench.admin.resume_invocation(id_, deployment=bench.deployment).status == 200
    bench.admin.kill_invocation(id_, reason="INC-42")
    scheduled = bench.ingress.send("Echo", "say", "x", delay="1h").invocation_id
    with pytest.raises(errors.Conflict) as caught:
        bench.admin.resume_invocation(scheduled)
    assert caught.value.status == 425
    bench.admin.cancel_invocation(scheduled, reason="INC-42")


def test_purge(bench: Bench) -> None:
    """The journal is purged first and the row stays; then the row goes. One that is not completed is a Conflict."""
    id_ = bench.ingress.send("Echo", "say", "x").invocation_id
    bench.until(id_, "completed")
    journal = "SELECT count(*) AS n FROM sys_journal WHERE id = :id"
    assert bench.lab.arrow(journal, id=id_)["n"][0].as_py() > 0
    assert bench.admin.purge_journal(id_, reason="INC-42").status == 200
    wait_for(lambda: bench.lab.arrow(journal, id=id_)["n"][0].as_py() == 0)
    assert bench.status(id_) == "completed"
    purged = bench.admin.purge_invocation(id_, reason="INC-42")
    assert (purged.took_effect, bench.status(id_)) == (True, None)
    waiting = bench.ingress.send("Echo", "wait").invocation_id
    for purge in (bench.admin.purge_invocation, bench.admin.purge_journal):
        with pytest.raises(errors.Conflict, match="not yet completed"):
            purge(waiting, reason="INC-42")
        with pytest.raises(errors.NotFound):
            purge(id_, reason="INC-42")
    bench.admin.kill_invocation(waiting, reason="INC-42")


def test_restart_as_new(bench: Bench) -> None:
    """A completed invocation starts again with its input; otherwise the error's class and status give the reason."""
    admin = bench.admin
    id_ = bench.ingress.send("Echo", "say", "again").invocation_id
    bench.until(id_, "completed")
    new = admin.restart_as_new_invocation(id_, from_index=0, deployment="latest", reason="INC-42")
    assert new.restarted_from == id_
    assert new.new_invocation_id != id_
    bench.until(new.new_invocation_id, "completed")
    assert bench.ingress.output(new.new_invocation_id) == "again"
    assert admin.restart_as_new_invocation(id_, reason="INC-42").new_invocation_id not in {id_, new.new_invocation_id}
    waiting = bench.ingress.send("Echo", "wait").invocation_id
    later = bench.ingress.send("Echo", "say", "x", delay="1h").invocation_id
    admin.purge_journal(new.new_invocation_id, reason="INC-42")
    bench.ingress.send("Signup", "run", "ann", key="restart")
    workflow = bench.ingress.send("Signup", "run", "ann", key="restart").invocation_id
    for begun in (waiting, workflow):
        bench.until(begun, "suspended")
    admin.kill_invocation(workflow, reason="INC-42")
    refused: list[tuple[type[errors.RestateLabError], int, Callable[[], Any]]] = [
        (errors.Conflict, 409, lambda: admin.restart_as_new_invocation(waiting, reason="INC-42")),
        (errors.Conflict, 425, lambda: admin.restart_as_new_invocation(later, reason="INC-42")),
        (errors.Conflict, 410, lambda: admin.restart_as_new_invocation(new.new_invocation_id, reason="INC-42")),
        (errors.RequestRefused, 422, lambda: admin.restart_as_new_invocation(workflow, reason="INC-42")),
        (errors.RequestRefused, 400, lambda: admin.restart_as_new_invocation(id_, from_index=99, reason="INC-42")),
        (
            errors.RequestRefused,
            400,
            lambda: admin.restart_as_new_invocation(id_, deployment=NO_DEPLOYMENT, reason="INC-42"),
        ),
        (errors.NotFound, 404, lambda: admin.restart_as_new_invocation(NO_INVOCATION, reason="INC-42")),
    ]
    for kind, status, ask in refused:
        with pytest.raises(kind) as caught:
            ask()
        assert getattr(caught.value, "status", None) == status
    for open_ in (waiting, later):
        admin.kill_invocation(open_, reason="INC-42")


def test_the_deprecated_delete_is_marked(bench: Bench) -> None:
    """It works, warns, and does not claim to know the outcome: unknown ids are accepted too."""
    id_ = bench.ingress.send("Echo", "wait").invocation_id
    bench.until(id_, "suspended")
    with pytest.warns(DeprecationWarning, match="cancel_invocation"):
        answer = bench.admin.delete_invocation(id_, mode="Kill", reason="INC-42")
    assert (answer.status, answer.took_effect) == (202, None)
    bench.until(id_, "completed")
    with pytest.warns(DeprecationWarning, match="deprecates"):
        assert bench.admin.delete_invocation(NO_INVOCATION, reason="INC-42").status == 202
    with (
        pytest.warns(DeprecationWarning, match="deprecates"),
        pytest.raises(errors.ArgumentError, match="Cancel, Kill, Purge"),
    ):
        bench.admin.delete_invocation(id_, mode="Stop", reason="INC-42")  # type: ignore[arg-type]


def test_subscriptions(bench: Bench) -> None:
    """Created, found by source and by sink, listed in order, removed; none of this contacts the broker."""
    admin, source = bench.admin, "kafka://settings/orders"
    secret = {"auto.offset.reset": "earliest", "sasl.password": CANARY}
    say = admin.create_subscription(source=source, sink="service://Echo/say", options=secret)
    raw = admin.create_subscription(source=source, sink="service://Echo/raw")
    assert CANARY not in repr(say) + say._repr_html_()
    assert say.options is not None
    assert say.options["auto.offset.reset"] == "earliest"
    assert admin.get_subscription(say.id) == say
    assert [each.id for each in admin.list_subscriptions()] == [raw.id, say.id]
    assert list(admin.list_subscriptions(sink="service://Echo/say").frame["id"]) == [say.id]
    assert [each.id for each in admin.list_subscriptions(source=source)] == [raw.id, say.id]
    assert admin.list_subscriptions(source="kafka://settings/other") == []
    with pytest.raises(errors.RequestRefused):
        admin.create_subscription(source="kafka://nope/orders", sink="service://Echo/say")
    with pytest.raises(errors.RequestRefused) as caught:
        admin.create_subscription(source=source, sink="service://Nope/say")
    assert caught.value.code == "META0009"
    for each in (say, raw):
        admin.delete_subscription(each.id, reason="INC-42")
    with pytest.raises(errors.NotFound):
        admin.get_subscription(say.id)
    with pytest.raises(errors.NotFound):
        admin.delete_subscription(NO_SUBSCRIPTION, reason="INC-42")


def test_kafka_clusters(bench: Bench) -> None:
    """Created, changed, listed and removed, with their subscriptions visible; passwords are not shown."""
    admin, properties = bench.admin, {"bootstrap.servers": "127.0.0.1:1", "oauth.token": Secret(CANARY)}
    made = admin.create_kafka_cluster("b-cluster", properties=properties)
    admin.create_kafka_cluster("a-cluster", properties={"bootstrap.servers": "127.0.0.1:1"})
    assert CANARY not in repr(made) + made._repr_html_()
    assert made.properties is not None
    assert made.properties.reveal()["oauth.token"] == CANARY
    assert [each.name for each in admin.list_kafka_clusters()] == ["a-cluster", "b-cluster", "settings"]
    subscription = admin.create_subscription(source="kafka://b-cluster/orders", sink="service://Echo/say")
    assert [each.id for each in admin.get_kafka_cluster("b-cluster").subscriptions or ()] == [subscription.id]
    assert admin.get_kafka_cluster("b-cluster", include_subscriptions=False).subscriptions is None
    changed = admin.update_kafka_cluster("b-cluster", properties={"bootstrap.servers": "127.0.0.1:2"})
    assert changed.properties == {"bootstrap.servers": "127.0.0.1:2"}
    with pytest.raises(errors.Conflict, match="orphan"):
        admin.delete_kafka_cluster("b-cluster", reason="INC-42")
    admin.delete_kafka_cluster("b-cluster", force=True, reason="INC-42")
    assert [each.id for each in admin.list_subscriptions()] == [subscription.id]
    admin.delete_subscription(subscription.id, reason="INC-42")
    with pytest.raises(errors.Conflict, match="already exists"):
        admin.create_kafka_cluster("a-cluster", properties={"bootstrap.servers": "127.0.0.1:1"})
    admin.delete_kafka_cluster("a-cluster", reason="INC-42")
    with pytest.raises(errors.RequestRefused, match=r"bootstrap\.servers"):
        admin.create_kafka_cluster("c-cluster", properties={})
    with pytest.raises(errors.NotFound):
        admin.get_kafka_cluster("a-cluster")
    with pytest.raises(errors.NotFound):
        admin.delete_kafka_cluster("a-cluster", reason="INC-42")
    with pytest.raises(errors.NotFound):
        admin.update_kafka_cluster("a-cluster", properties={"bootstrap.servers": "127.0.0.1:2"})


def test_limit_rules(bench: Bench) -> None:
    """Rules are made and replaced as a whole, all or none, under preconditions; removing returns the removed rules."""
    admin = bench.admin
    rules = admin.upsert_rules(
        [
            UpsertRule("b/*", limits={"concurrency": 3}, description="why"),
            UpsertRule("a", limits={"concurrency": 1}, disabled=True, precondition="does_not_exist"),
        ]
    )
    assert [rule.pattern for rule in rules] == ["a", "b/*"]
    assert (rules[1].description, rules[0].disabled) == ("why", True)
    assert rules[0].last_modified is not None
    assert abs(rules[0].last_modified - datetime.now(UTC)) < timedelta(minutes=5)
    assert list(rules.frame["limits.concurrency"]) == [1, 3]
    with pytest.raises(errors.Conflict, match="precondition"):
        admin.upsert_rules([UpsertRule("c"), UpsertRule("a", precondition=99)])
    patterns = bench.lab.sql("SELECT pattern FROM sys_rules ORDER BY 1")["pattern"]
    assert list(patterns) == ["a", "b/*"]
    again = admin.upsert_rules([UpsertRule("b/*", limits={"concurrency": 4}, precondition=rules[1].version)])
    assert again[0].description is None
    with pytest.raises(errors.RequestRefused) as caught:
        admin.upsert_rules([UpsertRule("a/b/c/d")])
    assert caught.value.status == 422
    with pytest.raises(errors.Conflict):
        admin.bulk_delete_rules([DeleteRule("a", expected_version=99), "b/*"], reason="INC-42")
    gone = admin.bulk_delete_rules(
        ["a", DeleteRule("b/*", expected_version=again[0].version), "never"], reason="INC-42"
    )
    assert (set(gone.removed), gone.absent) == ({"a", "b/*"}, ("never",))


@WITH_VQUEUES
def test_vqueues(bench: Bench) -> None:
    """A queue is paused and resumed, which its row shows; an unknown one is NotFound, although the server sends 202."""
    bench.ingress.call("Counter", "add", 1, key="queue")
    sql = "SELECT id FROM sys_vqueue_meta WHERE lock_name = 'Counter/queue'"
    id_ = wait_for(lambda: bench.lab.arrow(sql).to_pylist())[0]["id"]
    paused = bench.admin.pause_vqueue(id_)
    assert (paused.status, paused.took_effect, paused.state) == (202, True, "paused")
    waiting = bench.ingress.send("Counter", "add", 1, key="queue").invocation_id
    resumed = bench.admin.resume_vqueue(id_)
    assert (resumed.took_effect, resumed.state) == (True, "not paused")
    bench.until(waiting, "completed")
    for turn in (bench.admin.pause_vqueue, bench.admin.resume_vqueue):
        with pytest.raises(errors.NotFound, match=NO_VQUEUE):
            turn(NO_VQUEUE)


@pytest.mark.parametrize("bench", [each for each in KINDS if not has_vqueues(each)], indirect=True)
@OTHER_FEATURES
def test_a_queue_of_a_server_without_vqueues_is_not_paused(bench: Bench) -> None:
    for change in (bench.admin.pause_vqueue, bench.admin.resume_vqueue):
        with pytest.raises(errors.NotOnThisServer, match=f"{change.__name__}.*{bench.lab.version}"):
            change(NO_VQUEUE)


def test_the_audit_log_names_the_operation_and_has_no_body(bench: Bench) -> None:
    id_ = bench.ingress.send("Echo", "wait").invocation_id
    bench.admin.kill_invocation(id_, reason="INC-42")
    bench.admin.modify_service_state("Counter", "audited", new_state={"a": CANARY.encode()}, reason="INC-42")
    records = [json.loads(line) for file in bench.audit.glob("*.jsonl") for line in file.read_text().splitlines()]
    kill = next(each for each in records if each.get("targets") == [id_])
    assert (kill["action"], kill["reason"]) == ("kill_invocation", "INC-42")
    state = next(each for each in records if each.get("targets") == ["Counter/audited"])
    assert state["action"] == "modify_service_state"
    assert not [each for each in records if str(list(CANARY.encode()))[1:-1] in json.dumps(each)]


def test_a_read_only_connection_refuses_every_change_and_no_read(bench: Bench) -> None:
    with rl.connect(bench.lab.settings.admin_url, read_only=True, audit=bench.audit / "none") as lab:
        assert lab.admin.get_service("Echo").name == "Echo"
        changes: list[Callable[[], Any]] = [
            lambda: lab.admin.create_deployment(uri=bench.uri, dry_run=True),
            lambda: lab.admin.update_deployment(bench.deployment),
            lambda: lab.admin.delete_deployment(bench.deployment, force=True, reason="INC-42"),
            lambda: lab.admin.modify_service("Echo", public=False),
            lambda: lab.admin.modify_service_state("Counter", "k", new_state={}, reason="INC-42"),
            lambda: lab.admin.kill_invocation(NO_INVOCATION, reason="INC-42"),
            lambda: lab.admin.restart_as_new_invocation(NO_INVOCATION, reason="INC-42"),
            lambda: lab.admin.delete_subscription(NO_SUBSCRIPTION, reason="INC-42"),
            lambda: lab.admin.upsert_rules([UpsertRule("a")]),
        ]
        for change in changes:
            with pytest.raises(errors.ReadOnly):
                change()
    assert bench.admin.get_service("Echo").public is True
    assert not (bench.audit / "none").exists()


def test_a_step_that_an_upgrade_interrupts_is_a_warning(bench: Bench) -> None:
    if bench.lab.version == imitation.VERSION:
        assert rl.doctor(bench.lab, checks="upgrade_running").not_read["applies"].tolist() == [False]
        return
    busy = bench.ingress.send("Echo", "busy", 30.0).invocation_id
    waiting = bench.ingress.send("Echo", "wait").invocation_id
    bench.until(waiting, "suspended")

    def steps() -> list[dict[Any, Any]]:
        diagnosis = rl.doctor(bench.lab, checks="upgrade_running", thresholds={"waiting": "0s"})
        return diagnosis.findings.to_dict("records")

    (found,) = wait_for(steps)
    assert (found["severity"], found["ids"]) == ("warning", [busy])
    assert "1 invocation of Echo/busy has been executing “step” for up to " in found["title"]
    for id_ in (busy, waiting):
        bench.admin.kill_invocation(id_, reason="INC-42")


def test_waiting_for_invocations(bench: Bench) -> None:
    """The wait ends once all have the status; a timeout names the missing one; "ended" follows a cancellation."""
    key = f"waited {uuid.uuid4()}"  # a second run of the test must not wait for the key of the first one
    held = str(bench.ingress.send("Counter", "hold", key=key).invocation_id)
    rl.wait_for(bench.lab, held, until="suspended")
    queued = str(bench.ingress.send("Counter", "hold", key=key).invocation_id)
    rows = rl.wait_for(bench.lab, [queued, held], until=("suspended", "pending"))
    assert rows["id"].tolist() == [queued, held]
    assert sorted(rows["status"]) == ["pending", "suspended"]
    with pytest.raises(errors.TimedOut, match=rf"{held} is suspended|{queued} is pending"):
        rl.wait_for(bench.lab, [held, queued], timeout="3s")
    failing = str(bench.ingress.send("Echo", "storm").invocation_id)
    retried = rl.wait_for(bench.lab, failing, until=lambda rows: rows["retry_count"].max() >= 3)
    assert retried["failure"].notna().all()
    for id_ in (held, queued, failing):
        bench.admin.kill_invocation(id_, reason="INC-42")
    assert set(rl.wait_for(bench.lab, [held, queued, failing])["status"]) == {"killed"}
