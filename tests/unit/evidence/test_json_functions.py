"""The JSON functions of frozen evidence: the expected results were read from a server, 1.7.12."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from restate_lab.errors import QueryRefused, StatementError
from restate_lab.evidence.engine import read, session
from support.freezable import START

ASKED: list[tuple[str, str, str, Any]] = [
    ("json_get_str", '{"a":"x"}', "a", "x"),
    ("json_get_str", '{"a":1}', "a", None),
    ("json_get_str", '{"a":null}', "a", None),
    ("json_get_str", "not json", "a", None),
    ("json_get_str", "", "a", None),
    ("json_get_str", '{"a":NaN}', "a", None),
    ("json_get_str", r'{"a":"\ud83d\ude00"}', "a", "😀"),
    ("json_get_str", r'{"a":"\ud83d"}', "a", None),
    ("json_get_str", r'{"\u0061":"x"}', "a", "x"),
    ("json_get_str", '{"a.b":"x"}', "a.b", "x"),
    ("json_get_str", '{"é":"x"}', "é", "x"),
    ("json_get_json", '{"a": {"b":  1 } }', "a", '{"b":  1 }'),
    ("json_get_json", '  { "b" : [1, {"c":2}] , "a" :  "q" }', "a", '"q"'),
    ("json_get_json", '{"a":1.50}', "a", "1.50"),
    ("json_get_json", '{"a":null}', "a", "null"),
    ("json_get_json", '{"a":1, "a":2}', "a", "1"),
    ("json_get_json", '{"a":1', "a", "1"),
    ("json_get_json", '{"a":1, "b":tru}', "a", "1"),
    ("json_get_json", '{"b":tru, "a":1}', "a", None),
    ("json_get_json", '{"a":{"x":tru}}', "a", None),
    ("json_get_json", '{"a":[1,2}', "a", None),
    ("json_get_json", "{}", "a", None),
    ("json_get_int", '{"a":1764043200000}', "a", 1764043200000),
    ("json_get_int", '{"a":999999999999999999}', "a", 999999999999999999),
    ("json_get_int", '{"a":1000000000000000000}', "a", None),
    ("json_get_int", '{"a":-5}', "a", None),
    ("json_get_int", '{"a":1.0}', "a", None),
    ("json_get_int", '{"a":01}', "a", None),
    ("json_get_int", '{"a":true}', "a", None),
    ("json_get_int", '{"a":"-1"}', "a", -1),
    ("json_get_int", '{"a":"9223372036854775807"}', "a", 9223372036854775807),
    ("json_get_int", '{"a":"9223372036854775808"}', "a", None),
    ("json_get_int", '{"a":" 1"}', "a", None),
    ("json_get_float", '{"a":1}', "a", 1.0),
    ("json_get_float", '{"a":"1.5"}', "a", 1.5),
    ("json_get_float", '{"a":9223372036854775808}', "a", 9223372036854775808.0),
    ("json_get_float", '{"a":-1e3}', "a", None),
    ("json_get_bool", '{"a":true}', "a", True),
    ("json_get_bool", '{"a":"true"}', "a", True),
    ("json_get_bool", '{"a":"t"}', "a", None),
    ("json_get_array", '{"a":[ 1 , "b" , {"c":2}, null]}', "a", ["1", '"b"', '{"c":2}', "null"]),
    ("json_get_array", '{"a":[]}', "a", []),
    ("json_get_array", '{"a":1}', "a", None),
    ("json_as_text", '{"a":"x"}', "a", "x"),
    ("json_as_text", '{"a":{"b": 1}}', "a", '{"b": 1}'),
    ("json_as_text", '{"a":null}', "a", None),
    ("json_length", '{"a":{"b":1,"c":2}}', "a", 2),
    ("json_length", '{"a":"xyz"}', "a", None),
    ("json_contains", '{"a":null}', "a", True),
    ("json_contains", '{"a":1}', "b", False),
    ("json_contains", "x", "b", False),
    ("json_object_keys", '{"z":{"b":1,"a":2}}', "z", ["b", "a"]),
]


def answers(statement: str, **tables: pa.Table) -> list[Any]:
    context = session(START)
    for name, table in tables.items():
        context.register_record_batches(name, [table.to_batches()])
    schema, batches = read(context, statement)
    return pa.Table.from_batches(batches, schema).column(0).to_pylist()


@pytest.mark.parametrize("name", sorted({name for name, *_ in ASKED}))
def test_json_functions_return_what_a_server_returns(name: str) -> None:
    asked = [each for each in ASKED if each[0] == name]
    for key in {key for _, _, key, _ in asked}:
        some = [(text, answer) for _, text, at, answer in asked if at == key]
        texts = pa.table({"j": pa.array([text for text, _ in some] + [None], pa.large_string())})
        found = answers(f"SELECT {name}(j, '{key}') AS x FROM t", t=texts)
        missing = False if name == "json_contains" else None
        assert found == [*(answer for _, answer in some), missing]


def test_an_index_counts_from_0_and_a_key_can_be_a_column() -> None:
    assert answers("SELECT json_get_int('[4,5,6]', 1)") == [5]
    assert answers("SELECT json_get_json('[[1], [2, 3]]', 1)") == ["[2, 3]"]
    assert answers("SELECT json_get_str('[\"p\"]', 1)") == [None]
    rows = pa.table({"j": ['{"a":"x","b":"y"}'] * 3, "k": ["a", "b", None]})
    assert answers("SELECT json_get_str(j, k) FROM t", t=rows) == ["x", "y", None]


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("SELECT '{}' -> 'a'", StatementError),
        ("SELECT j->>'a' FROM t", StatementError),
        ("SELECT json_get_str('{}', 'a', 'b')", QueryRefused),
        ("SELECT json_get('{}', 'a')", QueryRefused),
    ],
)
def test_unsupported_forms_are_refused_with_the_supported_form(statement: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"json_get_str\(json_get_json\(entry_lite_json, 'Command'\), 'name'\)"):
        answers(statement)


def test_an_arrow_within_a_string_is_not_an_operator() -> None:
    assert answers("SELECT 'a -> b' -- and ->> here") == ["a -> b"]


def test_the_schema_has_the_actual_types_of_the_batches() -> None:
    statement = "SELECT w, count(*) FROM (SELECT CASE WHEN x THEN 'ready' ELSE y END AS w FROM t) GROUP BY 1"
    rows = pa.table({"x": [True, False], "y": pa.array(["a", "b"], pa.large_string())})
    context = session(START)
    context.register_record_batches("t", [rows.to_batches()])
    schema, batches = read(context, statement)
    table = pa.Table.from_batches(batches, schema)
    table.validate(full=True)
    assert sorted(table["w"].to_pylist()) == ["b", "ready"]


def test_now_and_its_other_names_are_the_time_of_the_freeze() -> None:
    moment = START.replace(tzinfo=None)
    assert [value.to_pydatetime() for value in answers("SELECT now() FROM (VALUES (1), (2))")] == [moment] * 2
    assert answers("SELECT current_date") == answers("SELECT today()") == [moment.date()]
    rows = pa.table({"at": pa.array([START], pa.timestamp("ms", "+00:00"))})
    assert answers("SELECT at < now() - INTERVAL '1 second' FROM t", t=rows) == [False]
    assert answers("SELECT current_timestamp - at < INTERVAL '1 second' FROM t", t=rows) == [True]
