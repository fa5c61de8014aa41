"""AdminClient against the server's own description of its API: it has every part."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

import restate_lab as rl
from restate_lab.client.admin import AdminClient
from restate_lab.client.models import DeleteRule, UpsertRule
from restate_lab.client.responses import SUCCESS
from support.clusters import Cluster

IS_LAB_SQL = "query"
RENAMED = {"from": "from_index"}
BATCHES = {"upsert_rules": UpsertRule, "bulk_delete_rules": DeleteRule}


@pytest.fixture
def document(cluster: Cluster) -> dict[str, Any]:
    answer = httpx.get(f"{cluster.own_url}/openapi", trust_env=False, timeout=60)
    found: dict[str, Any] = answer.json()
    return found


def operations(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for path in document["paths"].values():
        yield from (operation for method, operation in path.items() if method != "parameters")


def asked_for(document: Mapping[str, Any], operation: Mapping[str, Any]) -> set[str]:
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        names |= properties(document, content["schema"])
    return names


def properties(document: Mapping[str, Any], schema: Mapping[str, Any]) -> set[str]:
    if "$ref" in schema:
        return properties(document, document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
    if schema.get("type") == "array":
        return properties(document, schema["items"])
    names = set(schema.get("properties", ()))
    for variant in [*schema.get("oneOf", ()), *schema.get("anyOf", ()), *schema.get("allOf", ())]:
        names |= properties(document, variant)
    return names


def missing(document: Mapping[str, Any], client: type) -> list[str]:
    found = []
    for operation in operations(document):
        name = operation["operationId"]
        method = getattr(client, name, None)
        if name == IS_LAB_SQL:
            continue
        if method is None:
            found.append(name)
            continue
        batch = BATCHES.get(name)
        taken = set(inspect.signature(method).parameters)
        taken |= {field.name for field in dataclasses.fields(batch)} if batch else set()
        wanted = {RENAMED.get(each, each) for each in asked_for(document, operation)}
        found += [f"{name}({each}=…)" for each in sorted(wanted - taken)]
    return found


def test_every_operation_and_parameter_has_its_place(document: dict[str, Any], cluster: Cluster) -> None:
    served_by = httpx.get(f"{cluster.own_url}/version", trust_env=False, timeout=60).json()["version"]
    assert document["info"]["version"] == served_by  # the document of the server itself
    assert len(list(operations(document))) >= 28
    assert missing(document, AdminClient) == []


def test_the_check_finds_each_missing_part_of_the_api(
    document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Short(AdminClient):
        purge_journal = None  # type: ignore[assignment]

        def restart_as_new_invocation(self, invocation_id: str) -> Any: ...  # type: ignore[override]
        def get_service_handler(self, handler: str) -> Any: ...  # type: ignore[override]
        def modify_service_state(self, service: str, *, new_state: Any) -> Any: ...  # type: ignore[override]

    found = missing(document, Short)
    assert {
        "purge_journal",
        "restart_as_new_invocation(from_index=…)",
        "restart_as_new_invocation(deployment=…)",
        "get_service_handler(service=…)",
        "modify_service_state(object_key=…)",
        "modify_service_state(version=…)",
    } <= set(found)


def test_every_operation_is_tried_on_a_server(document: dict[str, Any]) -> None:
    tests = Path(__file__).with_name("test_admin.py").read_text("utf-8")
    names = [operation["operationId"] for operation in operations(document) if operation["operationId"] != IS_LAB_SQL]
    assert [name for name in names if f".{name}(" not in tests] == []


def test_the_table_of_successes_is_that_of_the_document(document: dict[str, Any]) -> None:
    changes = {
        operation["operationId"]: operation["responses"]
        for path in document["paths"].values()
        for method, operation in path.items()
        if method != "get" and operation["operationId"] != IS_LAB_SQL
    }
    for name, responses in changes.items():
        good = {int(status): response for status, response in responses.items() if status.startswith("2")}
        assert set(good) <= set(SUCCESS[name].statuses), name
        has_body = [bool(response.get("content")) for response in good.values()]
        assert has_body == [SUCCESS[name].body != "nothing"] * len(good), name


def test_the_page_of_tables_is_complete(cluster: Cluster) -> None:
    text = (Path(__file__).parents[2] / ".github" / "CONTRIBUTING.md").read_text("utf-8")
    page = text.partition("## What a source knows")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \| .+ \| (.+) \|$", page, re.MULTILINE)
    served = {name for names, where in rows if where != "only there" for name in re.findall(r"`(\w+)`", names)}
    with rl.connect(cluster.own_url, read_only=True) as lab:
        assert served == set(lab.tables()["table"])
