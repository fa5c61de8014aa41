"""The checks before an upgrade on made rows: what no server of the tests can have, such as an old service protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from restate_lab.analysis.doctor import doctor
from restate_lab.analysis.doctor.checks import CHECKS
from restate_lab.analysis.doctor.diagnosis import Diagnosis
from restate_lab.analysis.doctor.upgrade import UPGRADE, _time_range
from restate_lab.cli._exit_codes import doctor_exit_code
from restate_lab.errors import ArgumentError
from restate_lab.source import Coverage, SourceWrapper
from support.sample_rows import NOW, SampleRows, invocation, sample_id

A, B, C, D = (sample_id(number) for number in (1, 2, 3, 4))
NOTES = {"upgrade_settings"}


class Versioned(SourceWrapper):
    def __init__(self, source: SampleRows, version: str, *, vqueues: bool = False, **coverage: Any) -> None:
        super().__init__(source)
        self._version, self._features, self._coverage = version, {"vqueues": vqueues}, Coverage(**coverage)

    @property
    def version(self) -> str:
        return self._version

    @property
    def features(self) -> Mapping[str, bool]:
        return self._features

    @property
    def coverage(self) -> Coverage:
        return self._coverage

    @contextmanager
    def stream(self, statement: str, /, **options: Any) -> Iterator[pa.RecordBatchReader]:
        with super().stream(statement, **options) as reader:
            yield reader


def upgrade(source: Any, **options: Any) -> Diagnosis:
    return doctor(source, checks="upgrade", **options)


def found(diagnosis: Diagnosis) -> list[tuple[str, str, int]]:
    """Return the findings besides the notes that every cluster has."""
    rows = diagnosis.findings.to_dict("records")
    return [(row["check"], row["severity"], row["count"]) for row in rows if row["check"] not in NOTES]


def ended(id_: str, **columns: Any) -> dict[str, Any]:
    at = NOW - timedelta(minutes=5)
    return invocation(id_, "completed", completed_at=at, completion_retention=timedelta(days=1), **columns)


def test_protocol_3_is_critical_and_a_note_for_an_unused_deployment() -> None:
    source = SampleRows(
        sys_invocation_status=[
            invocation(A, pinned_service_protocol_version=3, pinned_deployment_id="dp_1"),
            invocation(B, pinned_service_protocol_version=4, pinned_deployment_id="dp_2"),
            invocation(C, "inboxed"),
            ended(D, pinned_service_protocol_version=3, pinned_deployment_id="dp_1"),
        ],
        sys_deployment=[
            {"id": "dp_1", "endpoint": "http://old", "max_service_protocol_version": 3},
            {"id": "dp_2", "endpoint": "http://new", "max_service_protocol_version": 4},
            {"id": "dp_3", "endpoint": "http://unused", "max_service_protocol_version": 2},
        ],
    )
    diagnosis = upgrade(source)
    rows = diagnosis.findings[diagnosis.findings["check"] == "upgrade_protocols"].to_dict("records")
    assert [(row["severity"], row["ids"]) for row in rows] == [
        ("critical", [A]),
        ("critical", ["dp_1"]),
        ("note", ["dp_3"]),
    ]
    assert "1 open invocation of Svc/run uses service protocol 3 or older and fails" in rows[0]["title"]
    assert "1 open invocation without an attempt would start there" in rows[1]["details"]
    assert (diagnosis.verdict, doctor_exit_code(diagnosis, strict=False)) == ("critical", 3)


def test_a_cluster_that_needs_no_preparation_has_only_notes() -> None:
    assert found(upgrade(SampleRows())) == []
    diagnosis = upgrade(SampleRows(sys_invocation_status=[invocation(A, pinned_service_protocol_version=4)]))
    assert found(diagnosis) == [("upgrade_migration", "note", 1)]
    assert (diagnosis.verdict, doctor_exit_code(diagnosis, strict=True)) == ("healthy", 0)


@pytest.mark.parametrize(
    ("version", "expected", "verdict"),
    [
        ("1.6.2", [("upgrade_version", "critical", 0)], "critical"),
        ("1.7.0", [], "healthy"),
        ("1.7.12", [], "healthy"),
        ("1.8.0-rc.1", [("upgrade_version", "note", 0)], "healthy"),
        ("1.9.2", [("upgrade_version", "note", 0)], "healthy"),
    ],
)
def test_an_upgrade_goes_one_minor_version_at_a_time(
    version: str, expected: list[tuple[str, str, int]], verdict: str
) -> None:
    diagnosis = upgrade(Versioned(SampleRows(), version))
    assert (found(diagnosis), diagnosis.verdict) == (expected, verdict)


def test_on_1_8_the_only_findings_are_invocations_that_are_not_migrated() -> None:
    rows = [invocation(A, pinned_service_protocol_version=3), ended(B, vqueue_id="vq_1")]
    diagnosis = upgrade(Versioned(SampleRows(sys_invocation_status=rows), "1.8.1", vqueues=True))
    assert [tuple(row) for row in diagnosis.findings[["check", "severity", "title"]].to_numpy()] == [
        ("upgrade_migration", "warning", "1 open invocation is not migrated to vqueues yet; 1 invocation is"),
        ("upgrade_version", "note", "this cluster already has restate 1.8.1"),
    ]
    assert set(diagnosis.not_read["applies"]) == {False}


@pytest.mark.parametrize(
    ("rows", "severity", "words"),
    [
        ([invocation(A), ended(B)], "note", "the upgrade migrates 1 open and 1 completed invocations to vqueues"),
        ([invocation(A, vqueue_id="vq_1"), ended(B)], "note", "1 completed invocation is not migrated to vqueues yet"),
        ([invocation(A, vqueue_id="vq_1"), invocation(B)], "warning", "1 open invocation is not migrated"),
        ([ended(A, vqueue_id="vq_1")], "note", "the upgrade has nothing to migrate: 1 invocation is in vqueues"),
    ],
)
@pytest.mark.parametrize("vqueues", [False, True])
def test_the_rows_show_what_is_migrated(rows: list[dict[str, Any]], severity: str, words: str, vqueues: bool) -> None:
    """The flag of the node that answers is not evidence: it is off after a roll-back."""
    source = Versioned(SampleRows(sys_invocation_status=rows), "1.7.12", vqueues=vqueues)
    (row,) = doctor(source, checks="upgrade_migration").findings.to_dict("records")
    assert row["severity"] == severity
    assert words in row["title"]


def test_a_migration_of_many_is_a_warning_and_a_long_one_names_ways_to_shorten_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = SampleRows(sys_invocation_status=[ended(A), ended(B)])
    (short,) = doctor(source, checks="upgrade_migration").findings.to_dict("records")
    monkeypatch.setattr("restate_lab.analysis.doctor.upgrade._MANY", 2)
    monkeypatch.setattr("restate_lab.analysis.doctor.upgrade._LONG", timedelta(0))
    (long,) = doctor(source, checks="upgrade_migration").findings.to_dict("records")
    assert (short["severity"], long["severity"]) == ("note", "warning")
    assert "skip-completed" in long["details"]
    assert "skip-completed" not in short["details"]
    assert "The last completed one expires in 23h 55m" in short["details"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(1, "less than 1s"), (100_000, "1s to 1.29s"), (10_000_000, "32.1s to 2m 8s"), (140_000_000, "7m 30s to 30m")],
)
def test_the_expected_time_is_half_to_twice_the_report_and_at_least_a_second(count: int, text: str) -> None:
    assert _time_range(count) == text


def test_the_largest_partition_is_named_if_the_number_of_partitions_is_known() -> None:
    keys = [0, 2**62, 2**62 + 1, 2**64 - 1]
    rows = [ended(id_, partition_key=key) for id_, key in zip((A, B, C, D), keys, strict=True)]
    source = SampleRows(sys_invocation_status=rows)
    details = upgrade(source, partitions=4).findings.set_index("check")["details"]["upgrade_migration"]
    assert "Of 4 partitions, number 1 has the most completed ones: 2, or less than 1s" in details
    assert "partitions," not in upgrade(source).findings.set_index("check")["details"]["upgrade_migration"]
    for options in ({}, {"checks": "paused"}):
        with pytest.raises(ArgumentError, match="only for the checks of an upgrade"):
            doctor(source, partitions=4, **options)
    with pytest.raises(ArgumentError, match="partitions"):
        upgrade(source, partitions=0)


def test_evidence_of_a_part_of_a_cluster_is_incomplete_with_the_reason() -> None:
    diagnosis = upgrade(Versioned(SampleRows(), "1.7.12", part="service agent"))
    assert diagnosis.verdict == "incomplete"
    assert "has only service agent" in diagnosis.not_read["reason"][0]


def test_no_check_of_an_upgrade_runs_on_a_history_and_each_states_the_reason() -> None:
    diagnosis = upgrade(Versioned(SampleRows(), "1.7.12", open_invocations=False))
    assert list(diagnosis.not_read["part"]) == list(UPGRADE)
    assert all("has only invocations that have ended" in reason for reason in diagnosis.not_read["reason"])
    assert diagnosis.verdict == "incomplete"


def test_the_checks_of_an_upgrade_run_only_if_they_are_named() -> None:
    assert not set(doctor(SampleRows()).checked["check"]) & set(UPGRADE)
    assert set(upgrade(SampleRows()).checked["check"]) == set(UPGRADE)
    both = doctor(SampleRows(), checks=["paused", "upgrade"])
    assert (set(both.checked["check"]), both.skipped) == ({"paused", *UPGRADE}, len(CHECKS) - 1)
    assert list(doctor(SampleRows(), checks="upgrade_version").checked["check"]) == ["upgrade_version"]
