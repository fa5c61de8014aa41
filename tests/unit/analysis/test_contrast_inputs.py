"""Inputs and steps as attributes: paths, maps, unread inputs, hidden names, and the steps before a failure."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

import restate_lab as rl
from restate_lab.analysis.contrast.attributes import ATTRIBUTES, COLUMNS, Cost
from restate_lab.analysis.contrast.inputs import Input, flatten, input_of, observe_fields, observe_headers
from restate_lab.analysis.contrast.model import MISSING, UNKNOWN, Elements, Fields, Many, Where
from restate_lab.analysis.contrast.reader import ContrastReader
from restate_lab.analysis.contrast.steps import step_at_failure, steps_taken
from restate_lab.reads import begin
from support.sample_rows import BEFORE, SampleRows, invocation, sample_id


def entry(value: Any, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the row of an Input with this JSON value."""
    body = {
        "headers": [{"name": name, "value": text} for name, text in (headers or {}).items()],
        "payload": list(json.dumps(value).encode()) if value is not MISSING else [],
        "name": "",
    }
    return {"index": 0, "entry_type": "Command: Input", "entry_json": json.dumps({"Command": {"Input": body}})}


def values_of(inputs: dict[str, Any], redact: tuple[str, ...] = ()) -> dict[str, list[object]]:
    read = {id_: Input({}, value) for id_, value in inputs.items()}
    return {each.attribute.path: list(each.values) for each in observe_fields([*inputs], read, redact)}


def test_a_value_has_a_path_a_list_its_elements_and_an_object_its_number_of_fields() -> None:
    order = {"customer": {"region": "eu", "vip": None}, "items": [{"sku": "a"}, {"sku": "b", "n": 2}], "tags": ["x", 1]}
    assert flatten(order) == {
        (): Fields(3),
        ("customer",): Fields(2),
        ("customer", "region"): "eu",
        ("customer", "vip"): None,
        ("items",): Elements(2),
        ("items", "[]"): Many((Fields(1), Fields(2))),
        ("items", "[]", "sku"): Many(("a", "b")),
        ("items", "[]", "n"): Many((2,)),
        ("tags",): Elements(2),
        ("tags", "[]"): Many(("x", 1)),
    }
    assert flatten("only text") == {(): "only text"}
    assert flatten(MISSING) == {}


def test_a_deep_input_ends_at_five_levels() -> None:
    value: Any = "end"
    for name in "gfedcba":
        value = {name: value}
    assert max(map(len, flatten(value))) == 5


def test_an_object_with_very_many_rare_names_is_a_map() -> None:
    """The names of a map are data, so its values are at one path; one with the same names in all rows is not a map."""
    scores = {sample_id(at): {"name": "x", "scores": {f"user{at}@x.org": at}} for at in range(60)}
    values = values_of(scores)
    assert set(values) == {"", "name", "scores", "scores.*"}
    assert values["scores.*"][:2] == [Many((0,)), Many((1,))]
    wide = {sample_id(at): {f"field{number}": number for number in range(60)} for at in range(60)}
    assert "field59" in values_of(wide)


def test_an_input_that_was_not_read_is_unknown_and_never_missing() -> None:
    ids = [sample_id(at) for at in range(3)]
    inputs = {ids[0]: Input({"x-a": "1"}, {"a": 1}), ids[1]: Input({}, UNKNOWN)}
    fields = {each.attribute.path: list(each.values) for each in observe_fields(ids, inputs, ())}
    assert fields == {"": [Fields(1), UNKNOWN, UNKNOWN], "a": [1, UNKNOWN, UNKNOWN]}
    (header,) = observe_headers(ids, inputs, ())
    assert list(header.values) == ["1", MISSING, UNKNOWN]


@pytest.mark.parametrize(
    ("path", "pattern"),
    [("password", ""), ("a.email", "a.email"), ("a.email", "*mail"), ("items[].pan", "PAN"), ("items[].pan", "$..pan")],
)
def test_secret_names_and_redacted_paths_are_hidden(path: str, pattern: str) -> None:
    value = {"password": "x", "a": {"email": "y", "other": 1}, "items": [{"pan": "z"}]}
    inputs = {sample_id(1): Input({"authorization": "Bearer x", "x-a": "1"}, value)}
    fields = {each.attribute.path: each.attribute for each in observe_fields([*inputs], inputs, (pattern,))}
    headers = {each.attribute.path: each.attribute for each in observe_headers([*inputs], inputs, ())}
    assert fields[path].is_hidden
    assert not fields["a.other"].is_hidden
    assert all(each.is_payload for each in (*fields.values(), *headers.values()))
    assert headers["authorization"].is_hidden
    assert not headers["x-a"].is_hidden


def test_an_input_has_its_headers_in_lower_case_and_its_value_or_the_size_of_its_bytes() -> None:
    assert input_of(entry({"a": 1}, {"X-Tenant": "acme"}), None) == Input({"x-tenant": "acme"}, {"a": 1})
    assert input_of(entry(MISSING), None) == Input({}, MISSING)
    with pytest.raises(ValueError, match="an entry"):
        input_of({"entry_json": "{}"}, None)


def test_headers_of_every_call_are_no_attributes() -> None:
    inputs = {sample_id(1): Input({"content-length": "7", "x-restate-ingress-path": "/a", "accept": "*/*"}, 1)}
    assert [each.attribute.path for each in observe_headers([*inputs], inputs, ())] == ["accept"]


def reader_of(*journal: dict[str, Any]) -> ContrastReader:
    return ContrastReader(begin(SampleRows(sys_journal=list(journal)), "contrast"))


@pytest.mark.parametrize("journal_entries", [20, 1_000_000], ids=["scan", "by id"])
def test_inputs_are_read_by_a_scan_or_by_id_and_large_ones_are_not_read(journal_entries: int) -> None:
    ids = [sample_id(at) for at in range(4)]
    journal = [{"id": ids[0], **entry({"a": 1})}, {"id": ids[1], **entry("x" * 80_000)}]
    journal += [{"id": sample_id(9), **entry("of another handler")}, {"id": ids[3], "index": 0, "entry_json": "[]"}]
    reader = reader_of(*journal)
    rows = [{"id": id_, "journal_size": None if id_ == ids[2] else 2} for id_ in ids]
    inputs = reader.inputs(rows, [{"n": 4, "journal_entries": journal_entries}])
    assert inputs is not None
    assert inputs.by_id == {ids[0]: Input({}, {"a": 1})}
    assert {id_: reason.split()[-1] for id_, reason in inputs.unread.items()} == {
        ids[1]: "KiB",
        ids[2]: "source",
        ids[3]: "form",
    }
    statement = reader.reads.queries[-1]["sql"]
    assert ("id IN :ids" in statement) == (journal_entries > 1_000)


def test_all_inputs_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restate_lab.analysis.contrast.reader.TOTAL_BYTES", 200)
    ids = [sample_id(at) for at in range(9)]
    reader = reader_of(*({"id": id_, **entry("x" * 40)} for id_ in ids))
    inputs = reader.inputs([{"id": id_, "journal_size": 2} for id_ in ids], [{"n": 9, "journal_entries": 18}])
    assert inputs is not None
    assert 0 < len(inputs.by_id) < 9
    assert len(inputs.by_id) + len(inputs.unread) == 9
    assert set(inputs.unread.values()) == {"all inputs together have more than 64 MiB"}


def journal_of(*entries: tuple[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a journal: ("run", (id, name)), ("done", id), ("failed", id)."""
    rows = []
    for at, (kind, what) in enumerate(entries):
        completion, name = what if kind == "run" else (what, None)
        type_ = "Command: Run" if kind == "run" else "Notification: Run"
        result = {"run": None, "done": "Success", "failed": "Failure"}[kind]
        rows.append(
            {"entry_index": at, "entry_type": type_, "name": name, "completion_id": completion, "result": result}
        )
    return rows


RESERVED = (("run", (1, "reserve")), ("done", 1))


@pytest.mark.parametrize(
    ("entries", "taken", "stopped"),
    [
        ((*RESERVED, ("run", (2, "charge")), ("failed", 2)), {"reserve"}, "charge"),
        ((*RESERVED, ("run", (2, "charge"))), {"reserve"}, "charge"),
        ((*RESERVED, ("run", (2, "charge")), ("failed", 2), ("run", (3, "undo")), ("done", 3)), {"reserve"}, "charge"),
        (RESERVED, {"reserve"}, ""),
        ((), set(), ""),
    ],
    ids=["failed", "open", "undone", "after all steps", "no step"],
)
def test_only_steps_before_the_failure_were_taken(entries: Any, taken: set[str], stopped: str) -> None:
    journal = journal_of(*entries)
    assert steps_taken(journal, is_failing=True) == taken
    assert step_at_failure(journal) == stopped


def test_a_healthy_invocation_took_all_steps_that_succeeded() -> None:
    entries = (("run", (1, "try")), ("failed", 1), ("run", (2, "again")), ("done", 2))
    assert steps_taken(journal_of(*entries)) == {"again"}


def test_each_attribute_states_from_where_it_is_read() -> None:
    """A column has a name; what is made of journals has none, and its values are payloads unless they are steps."""
    for each in ATTRIBUTES:
        assert bool(each.columns) == (each.cost is Cost.STATUS), each.name
        assert each.observe or each.columns, each.name
        assert each.is_payload == (each.where in {Where.HEADER, Where.INPUT}), each.name
    assert len({each.name for each in ATTRIBUTES}) == len(ATTRIBUTES)
    assert "target_service_key" in COLUMNS


def planted() -> SampleRows:
    rows, journal = [], []
    for at in range(60):
        is_bad = at % 3 == 0
        created = BEFORE + timedelta(seconds=at)
        row = invocation(
            at, "failed" if is_bad else "succeeded", created_at=created, completed_at=created, journal_size=2
        )
        rows.append(row | ({"completion_failure": "[500] no"} if is_bad else {}))
        journal.append({"id": row["id"], **entry({"region": "kanarie" if is_bad else f"r{at % 5}"})})
    return SampleRows(sys_invocation_status=rows, sys_journal=journal)


def test_without_payloads_no_column_with_a_payload_is_read() -> None:
    source = planted()
    rl.contrast(source, "failed")
    assert any("sys_journal" in each for each in source.asked)
    assert not [each for each in source.asked if "entry_json" in each or "raw" in each]
    rl.contrast(source, "failed", payloads="shape")
    assert [each for each in source.asked if "entry_json" in each]


def test_a_source_without_payloads_is_reported() -> None:
    source = planted()
    bare = SampleRows(
        sys_invocation_status=source.arrow("SELECT * FROM sys_invocation_status").to_pylist(),
        without=("sys_journal.entry_json",),
    )
    found = rl.contrast(bare, "failed", payloads=True)
    assert any("the source has no inputs" in each for each in found.reasons)


@pytest.mark.parametrize("side", ["failing", "healthy"])
def test_a_side_whose_inputs_are_all_unread_is_reported_and_not_compared(side: str) -> None:
    source = planted()
    rows = source.arrow("SELECT id, completion_result FROM sys_invocation_status").to_pylist()
    result = "failure" if side == "failing" else "success"
    ids = {row["id"] for row in rows if row["completion_result"] != result}
    journal = source.arrow("SELECT * FROM sys_journal").to_pylist()
    source.put(sys_journal=[each for each in journal if each["id"] in ids])
    found = rl.contrast(source, "failed", payloads=True)
    assert f"all inputs, because no input of a {side} invocation could be read" in found.reasons
    counts = found.sides.set_index("side")["without_input"]
    assert counts[side] == len(rows) - len(ids)
    assert "kanarie" not in str(found)


@pytest.mark.parametrize("level", [0, 1, "values", None])
def test_an_unknown_level_of_payloads_is_refused(level: Any) -> None:
    with pytest.raises(rl.errors.ArgumentError, match=r"payloads (must be|is) .*'shape'"):
        rl.contrast(planted(), "failed", payloads=level)
