"""Approvals: one digest of exactly what a person read and of the targets, valid once, and only for a while."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from restate_lab.errors import ArgumentError, PlanExpired
from restate_lab.mcp.approvals import ApprovalRequest, ApprovalStore, approval_code, new_request_id


def request(**changes: Any) -> ApprovalRequest:
    expires_at = datetime.now(UTC) + timedelta(minutes=15)
    return replace(
        ApprovalRequest(new_request_id("plan"), "kill 3 of 3", "kill 3 invocations. Type:", "3", "a1b2", expires_at),
        **changes,
    )


@pytest.fixture
def store(tmp_path: Path) -> ApprovalStore:
    return ApprovalStore(tmp_path / "approvals")


def approve_in_a_terminal(store: ApprovalStore, request_id: str) -> None:
    store.approve(store.load(request_id))


def test_an_approval_is_valid_once_and_leaves_no_file(store: ApprovalStore) -> None:
    made = request()
    store.save(made)
    assert not store.take(made)
    approve_in_a_terminal(store, made.id)
    assert store.take(made)
    assert not store.take(made)
    assert list(store._files.path.iterdir()) == []


def test_a_copied_approval_is_not_valid_for_a_later_request_of_the_same_content(store: ApprovalStore) -> None:
    made = request()
    store.save(made)
    approve_in_a_terminal(store, made.id)
    (kept,) = store._files.path.glob("*.approved")
    digest = kept.read_text()
    assert store.take(made)
    later = request(id=made.id, expires_at=made.expires_at)
    store.save(later)
    kept.touch(0o600)
    kept.write_text(digest)
    assert not store.take(later)


@pytest.mark.parametrize("field", ["text", "question", "expected", "targets", "nonce"])
def test_an_approval_of_another_text_is_not_accepted(store: ApprovalStore, field: str) -> None:
    """If the file of a request was changed before the person read it, the server does not accept the approval."""
    made = request()
    store.save(made)
    (file,) = store._files.path.glob("*.pending")
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: "1"}))
    approve_in_a_terminal(store, made.id)
    assert not store.take(made)


def test_an_approval_without_the_nonce_is_not_accepted(store: ApprovalStore) -> None:
    made = request()
    for text in (replace(made, nonce="").digest, "", "approved", made.id, "3"):
        store.save(made)
        path = store._files.path / f"{made.id}.approved"
        path.touch(0o600)
        path.write_text(text)
        assert not store.take(made)


@pytest.mark.parametrize("call", [ApprovalStore.take, ApprovalStore.approve])
def test_an_expired_request_can_be_neither_approved_nor_used(store: ApprovalStore, call: Callable[..., object]) -> None:
    with pytest.raises(PlanExpired, match="expired at"):
        call(store, request(expires_at=datetime.now(UTC) - timedelta(seconds=1)))


def test_files_have_mode_0600_and_a_file_that_others_can_read_is_refused(store: ApprovalStore) -> None:
    made = request()
    store.save(made)
    (file,) = store._files.path.glob("*.pending")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(store._files.path.stat().st_mode) == 0o700
    file.chmod(0o644)
    with pytest.raises(ArgumentError, match="read by others"):
        store.load(made.id)


@pytest.mark.parametrize("name", ["../x", "plan-1", "plan-0123456z", "", "x" * 10_000, "plan-01234567/../a"])
def test_only_ids_of_the_known_form_name_a_file(store: ApprovalStore, name: str) -> None:
    with pytest.raises(ArgumentError, match="invalid plan"):
        store.load(name)


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"id": 1}', "\x00" * 100, "[" * 5_000])
def test_a_damaged_request_is_an_error_with_the_next_step(store: ApprovalStore, content: str) -> None:
    made = request()
    store.save(made)
    (store._files.path / f"{made.id}.pending").write_text(content)
    with pytest.raises(ArgumentError, match="cannot be read"):
        store.load(made.id)


def test_a_file_with_the_request_of_another_plan_is_refused(store: ApprovalStore) -> None:
    made, other = request(), request()
    store.save(made)
    (store._files.path / f"{made.id}.pending").rename(store._files.path / f"{other.id}.pending")
    with pytest.raises(ArgumentError, match="has another request"):
        store.load(other.id)


def test_a_request_that_is_stored_again_keeps_its_approval(store: ApprovalStore) -> None:
    made = request()
    store.save(made)
    assert not store.take(made)
    approve_in_a_terminal(store, made.id)
    store.save(made)
    assert store.take(made)


def test_of_many_threads_that_take_one_approval_one_gets_it(store: ApprovalStore, quick_switches: None) -> None:
    start = Barrier(8)

    def take(made: ApprovalRequest) -> bool:
        start.wait()
        return store.take(made)

    with ThreadPoolExecutor(8) as threads:
        for _ in range(60):
            made = request()
            store.save(made)
            approve_in_a_terminal(store, made.id)
            assert sum(threads.map(take, [made] * 8)) == 1
    assert list(store._files.path.iterdir()) == []


TAKER = """
import sys
from pathlib import Path
from restate_lab.mcp.approvals import ApprovalStore
store = ApprovalStore(Path(sys.argv[1]))
requests = [store.load(each) for each in sys.argv[2:]]
print("ready", flush=True)
sys.stdin.readline()
print(*(each.id for each in requests if store.take(each)))
"""


def test_of_many_processes_that_take_one_approval_one_gets_it(store: ApprovalStore) -> None:
    made = [request() for _ in range(60)]
    for each in made:
        store.save(each)
        approve_in_a_terminal(store, each.id)
    ids = [each.id for each in made]
    command = [sys.executable, "-c", TAKER, str(store._files.path), *ids]
    takers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for taker in takers:
        assert taker.stdout is not None
        assert taker.stdout.readline() == "ready\n"
    for taker in takers:
        assert taker.stdin is not None
        taker.stdin.write("go\n")
        taker.stdin.flush()
    assert sorted(id_ for taker in takers for id_ in taker.communicate(timeout=60)[0].split()) == sorted(ids)


def test_the_repr_of_a_request_has_no_nonce_and_codes_differ() -> None:
    made = request()
    assert made.nonce not in repr(made)
    assert len({approval_code() for _ in range(50)}) > 40
