"""The Admin API's values: real types, one line, a small table, a frame, and no secret in any of them."""

from __future__ import annotations

import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pydantic
import pytest
from hypothesis import given, strategies as st

from restate_lab._text import format_duration
from restate_lab.client.models import (
    Deployment,
    Handler,
    KafkaCluster,
    LimitRule,
    RegisteredDeployment,
    Service,
    Subscription,
    VersionInformation,
)
from restate_lab.client.models.base import ModelList, SafeMap
from restate_lab.client.state_version import state_version
from restate_lab.durations import parse_duration, to_iso8601
from restate_lab.redaction import MASK

CANARY = "canary-2d55"
HTTP: dict[str, Any] = {
    "id": "dp_14yqifhlPIRPw7VsqkRWQjn",
    "uri": "http://127.0.0.1:9080/",
    "protocol_type": "BidiStream",
    "http_version": "HTTP/2.0",
    "additional_headers": {"x-plain": "shown", "authorization": f"Bearer {CANARY}"},
    "created_at": "2026-11-25T01:12:41.135000789Z",
    "min_protocol_version": 5,
    "max_protocol_version": 6,
    "sdk_version": "restate-sdk-python/1.3.0",
    "services": [{"name": "b", "revision": 2}, {"name": "a", "revision": 1}],
}
LAMBDA: dict[str, Any] = {
    "id": "dp_16gi4AlsBGQjDMRK2jk2cHn",
    "arn": "arn:aws:lambda:eu-central-1:123456789012:function:greeter:3",
    "assume_role_arn": "arn:aws:iam::123456789012:role/restate",
    "compression": "Zstd",
    "created_at": "2026-11-24T23:00:00+01:00",
    "min_protocol_version": 5,
    "max_protocol_version": 5,
    "services": [],
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1d", timedelta(days=1)),
        ("10m", timedelta(minutes=10)),
        ("2h 30min", timedelta(minutes=150)),
        ("500ms", timedelta(milliseconds=500)),
        ("1day 2h", timedelta(hours=26)),
        ("1h30m", timedelta(minutes=90)),
        ("1d 1h 1m 1s 500ms", timedelta(seconds=90061.5)),
        ("2 hours, 5 minutes", timedelta(minutes=125)),
        ("1.5s", timedelta(milliseconds=1500)),
        ("0s", timedelta(0)),
        ("7µs 900ns", timedelta(microseconds=8)),
        ("P1DT2H", timedelta(hours=26)),
        ("PT90061.5S", timedelta(seconds=90061.5)),
        ("P2W", timedelta(weeks=2)),
        ("999999999999d", timedelta.max),
    ],
)
def test_durations_are_read_in_the_spelling_of_people_and_in_iso_8601(text: str, expected: timedelta) -> None:
    assert abs(parse_duration(text) - expected) <= timedelta(microseconds=1)


@pytest.mark.parametrize("text", ["", "soon", "5", "1month", "1y", "-1s", "1d1", "P", "PT", "P1M", "1s -2s", "1h1h x"])
def test_another_text_than_a_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="30s"):
        parse_duration(text)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=100_000)))
def test_a_duration_that_was_written_for_a_request_or_for_people_is_read_back(duration: timedelta) -> None:
    assert parse_duration(to_iso8601(duration)) == duration
    assert parse_duration(format_duration(duration, exact=True)) == duration


def test_real_types() -> None:
    """Times are UTC (nine digits cut to six), durations timedeltas, nested values models, all in a fixed order."""
    deployment = Deployment.model_validate(HTTP)
    assert deployment.created_at == datetime(2026, 11, 25, 1, 12, 41, 135000, UTC)
    assert Deployment.model_validate(LAMBDA).created_at == datetime(2026, 11, 24, 22, tzinfo=UTC)
    assert [each.name for each in deployment.services or ()] == ["a", "b"]
    handler = Handler.model_validate({"name": "h", "inactivity_timeout": "1m", "retry_policy": {"max_attempts": None}})
    assert handler.inactivity_timeout == timedelta(minutes=1)
    assert handler.retry_policy is not None
    rule = LimitRule.model_validate({"pattern": "a", "last_modified_millis_since_epoch": 1795569161512})
    assert rule.last_modified == datetime(2026, 11, 25, 1, 12, 41, 512000, UTC)


def test_unknown_fields_are_kept_and_missing_ones_none() -> None:
    service = Service.model_validate({"name": "a", "colour": "blue", "nested": {"x": [1]}})
    assert service.extra == {"colour": "blue", "nested": {"x": [1]}}
    assert (service.ty, service.journal_retention, service.handlers, service.retry_policy) == (None,) * 4
    assert VersionInformation.model_validate({"version": "1.6.1"}).features is None
    assert "colour" in service._repr_html_()


def test_neither_a_field_nor_a_header_of_a_model_can_be_changed() -> None:
    deployment = Deployment.model_validate(HTTP)
    with pytest.raises(pydantic.ValidationError):
        deployment.uri = "x"  # type: ignore[misc]
    assert deployment.additional_headers is not None
    with pytest.raises(TypeError):
        deployment.additional_headers["x"] = "y"  # type: ignore[index]
    deployment.additional_headers.reveal()["x-plain"] = "changed"
    assert deployment.additional_headers["x-plain"] == "shown"


def test_a_repr_is_one_line_whatever_the_server_put_into_a_field() -> None:
    assert repr(Deployment.model_validate(HTTP)) == (
        "<Deployment dp_14yqifhlPIRPw7VsqkRWQjn uri=http://127.0.0.1:9080/ services=a, b "
        "sdk_version=restate-sdk-python/1.3.0 created_at=2026-11-25T01:12:41.135000Z>"
    )
    odd = Handler.model_validate({"name": "a\nb" * 100, "input_description": "x" * 500})
    assert "\n" not in repr(odd)
    assert len(repr(odd)) < 200
    hostile = repr(Handler.model_validate({"name": "a\x1b[31m\u202eb"}))
    assert "a‹U+001B›[31m‹U+202E›b" in hostile
    assert hostile.isprintable()
    assert "dry run" in repr(RegisteredDeployment.model_validate({"id": "dp_1", "is_dry_run": True}))


def test_text_from_a_server_is_escaped_in_a_table() -> None:
    service = Service.model_validate({"name": "<script>", "documentation": "<b>", "<i>": 1})
    for html in (service._repr_html_(), ModelList(Service, [service], by=lambda each: each.name)._repr_html_()):
        assert "&lt;script&gt;" in html
        assert "<script>" not in html
        assert "<i>" not in html
    assert "&lt;i&gt;" in service._repr_html_()


def test_a_list_of_models_is_a_typed_frame_in_its_order_even_if_it_is_empty() -> None:
    models = ModelList(
        Deployment, [Deployment.model_validate(each) for each in (HTTP, LAMBDA)], by=lambda each: each.id
    )
    frame = models.frame
    assert list(frame["id"]) == [HTTP["id"], LAMBDA["id"]]
    assert str(frame["created_at"].dtype) == "datetime64[us, UTC]"
    assert frame.loc[0, "services"] == ["a", "b"]
    assert pd.isna(frame.loc[1, "uri"])
    services = ModelList(Service, [Service(name="x", abort_timeout=timedelta(minutes=10))], by=lambda each: each.name)
    assert services.frame["abort_timeout"].dtype.kind == "m"
    assert str(services.frame["revision"].dtype) == "Int64"
    empty = ModelList(Service, [], by=lambda each: each.name).frame
    assert list(empty.columns) == list(services.frame.columns)
    assert "retry_policy.max_attempts" in ModelList(Handler, [], by=lambda each: each.name).frame.columns


def test_a_secret_is_masked_in_every_rendering_and_revealed_only_by_reveal() -> None:
    deployment = Deployment.model_validate(HTTP)
    cluster = KafkaCluster.model_validate(
        {"name": "k", "properties": {"sasl.jaas.config": CANARY, "sasl.password": CANARY, "ssl.key.pem": CANARY}}
    )
    subscription = Subscription.model_validate({"id": "sub_1", "options": {"sasl.oauthbearer.config": CANARY}})
    models: list[Any] = [deployment, cluster, subscription]
    for model in models:
        listed = ModelList(type(model), [model], by=lambda each: each.id if hasattr(each, "id") else each.name)
        shown = [repr(model), str(model), f"{model}", model._repr_html_(), listed._repr_html_(), repr(listed)]
        shown += [model.model_dump_json(), repr(model.model_dump()), repr(vars(model)), listed.frame.to_csv()]
        shown += [repr(pickle.loads(pickle.dumps(model)))]  # noqa: S301
        assert CANARY not in "".join(shown)
    assert pickle.dumps(deployment).find(CANARY.encode()) == -1
    assert deployment.additional_headers is not None
    assert deployment.additional_headers["authorization"] == MASK
    assert deployment.additional_headers.reveal()["authorization"] == f"Bearer {CANARY}"


def test_the_error_about_a_field_does_not_quote_its_value() -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        Deployment.model_validate({**HTTP, "additional_headers": [CANARY]})
    assert CANARY not in str(caught.value)


def test_a_safe_map_compares_by_its_visible_values_in_the_order_of_names() -> None:
    values = SafeMap({"b": "2", "a": "1"})
    assert values == {"a": "1", "b": "2"}
    assert list(values) == ["a", "b"]
    assert (len(values), "a" in values, values.get("c")) == (2, True, None)


def test_the_version_of_a_state() -> None:
    """The empty state's version is the one that servers use; the order of insertion does not matter, all values do."""
    assert state_version({}) == "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
    assert state_version({"a": b"1", "b": b"2"}) == state_version({"b": b"2", "a": b"1"})
    assert len({state_version(each) for each in ({"a": b"1"}, {"a": b"2"}, {"b": b"1"}, {"a": b"1", "b": b""})}) == 4


def test_pydantic_loads_with_the_admin_api_only() -> None:
    code = (
        "import sys, restate_lab, restate_lab.client.lab, restate_lab.client.ingress; "
        "assert 'pydantic' not in sys.modules; import restate_lab.client.admin; assert 'pydantic' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
