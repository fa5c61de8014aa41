"""Responses of another shape, from a proxy or a later server: the right result or one clear error, for every verb."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import pandas as pd
import pyarrow as pa
import pytest

import restate_lab as rl
from restate_lab.actions.plan.reader import read_pinned_ids, read_served_services
from restate_lab.actions.reader import read_invocations
from restate_lab.actions.rules import ACTIONS
from restate_lab.actions.state.reader import find_objects, stateful_services
from restate_lab.analysis.invocations.filters import ALL, Filters
from restate_lab.analysis.invocations.reader import read_rows
from restate_lab.audit import AuditLog
from restate_lab.client._http import QuickAckTransport
from restate_lab.client._stream import ARROW
from restate_lab.client.lab import Lab
from restate_lab.client.schema import FAMILIES, selected_columns
from restate_lab.client.settings import load_settings
from restate_lab.panels.invocation.reader import read_invocation
from restate_lab.reads import Reads
from support.clusters import Cluster

Way = Literal["drop", "rename", "retype", "null"]
KINDS: tuple[Way, ...] = ("drop", "rename", "retype", "null")
_SHAPE_ERROR = re.compile("unexpected shape|could not read a response")
_TIME = re.compile(r"arrow_cast\('[^']*', 'Timestamp[^']*'\)")
_COMMENT = re.compile(r"--[^\n]*")
_LITERAL = re.compile(r"'(?:[^']|'')*'|\b\d+\b")


@dataclass(frozen=True)
class Case:
    """One column of the responses to one statement, and its change."""

    statement: str
    column: str
    way: Way

    def apply(self, table: pa.Table) -> pa.Table:
        at = table.column_names.index(self.column)
        values = table.column(at)
        if self.way == "drop":
            return table.remove_column(at)
        if self.way == "rename":
            return table.rename_columns([f"{each}_2" if each == self.column else each for each in table.column_names])
        changed = (
            _change_type(values) if self.way == "retype" else pa.chunked_array([pa.nulls(len(values), values.type)])
        )
        return table.set_column(at, pa.field(self.column, changed.type), changed)


def _change_type(values: Any) -> Any:
    """Return texts as numbers and everything else as text."""
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return pa.chunked_array([pa.array([None if each is None else 7 for each in values.to_pylist()], pa.int64())])
    texts = [None if each is None else str(each) for each in values.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.large_string())])


@dataclass
class ReshapingProxy(httpx.BaseTransport):
    """Passes requests on to a server and reshapes one response; with ``remembers`` each query is sent once.

    ``seen`` has the statements, without their values, with their last response that had rows.
    """

    case: Case | None = None
    remembers: bool = True
    seen: dict[str, pa.Table] = field(default_factory=dict)
    _known: dict[str, pa.Table] = field(default_factory=dict)
    _wire: QuickAckTransport = field(default_factory=QuickAckTransport)

    def lab(self, url: str, folder: Path) -> Lab:
        return Lab(load_settings(url), audit=AuditLog(folder / "audit"), network=self)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/query":
            return self._wire.handle_request(request)
        query = json.loads(request.read())["query"]
        known = _TIME.sub("T", query)
        if known not in self._known or not self.remembers:
            response = self._wire.handle_request(request)
            if response.status_code != 200:
                return response
            self._known[known] = pa.ipc.open_stream(b"".join(response.iter_raw())).read_all()
            response.close()
        return httpx.Response(200, headers={"content-type": ARROW}, stream=httpx.ByteStream(self._body(query, known)))

    def _body(self, query: str, known: str) -> bytes:
        table = self._known[known]
        statement = " ".join(_LITERAL.sub("?", _TIME.sub("T", _COMMENT.sub("", query))).split())
        if table.num_rows:
            self.seen[statement] = table
        if self.case is not None and self.case.statement == statement and table.num_rows:
            table = self.case.apply(table)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue().to_pybytes()

    def close(self) -> None:
        """Stay open: many labs use it in turn."""

    def cases(self) -> Iterator[Case]:
        """Yield every case of the statements that were recorded since ``seen`` was cleared."""
        for statement, table in list(self.seen.items()):
            for name, values in zip(table.column_names, table.columns, strict=True):
                # nulls of another type mean the same
                ways = KINDS if values.null_count < len(values) else KINDS[:2]
                yield from (Case(statement, name, way) for way in ways)


Verb = Callable[[Lab, dict[str, Any], Path], Any]


def _make_plans(lab: Lab, ids: dict[str, Any], _: Path) -> Any:
    return [
        (each.frame, each.impact, each.prefixes, sorted(each.restarted))
        for action in ACTIONS
        for each in [
            rl.move_to(lab, ids["open"], deployment="latest")
            if action is ACTIONS.MOVE_TO
            else rl.plan(lab, action, ids["open"] + ids["ended"])
        ]
    ]


def _open_frozen(lab: Lab, _: dict[str, Any], folder: Path) -> Any:
    folder = folder / f"{len(list(folder.iterdir()))}.evidence"
    with rl.open_evidence(rl.freeze(lab, folder, redact="$..password", payloads=True, progress=False)) as evidence:
        return [(each.table, each.rows) for each in evidence.manifest.files], rl.doctor(evidence).findings


def _compare(lab: Lab, _: dict[str, Any], __: Path) -> Any:
    result = rl.compare(lab, lab)
    return str(result), result.invocations, result.deployments, result.not_read


def _ask_question(name: str) -> Verb:
    def run(lab: Lab, ids: dict[str, Any], _: Path) -> Any:
        needs = {"callers": {"ids": ids["open"]}, "stuck_without": {"deployment": ids["deployment"]}, **_NEEDS}
        return rl.ask(lab, name, **needs.get(name, {}))

    return run


_NEEDS: dict[str, dict[str, Any]] = {"ids_by_status": {"status": "completed"}}


def _diagnose(lab: Lab, _: dict[str, Any], __: Path) -> Any:
    result = rl.doctor(lab)
    return str(result), result.findings


def _waits(lab: Lab, _: dict[str, Any], __: Path) -> Any:
    result = rl.waits(lab)
    return str(result), result.edges


def _read_deployments(lab: Lab, _: dict[str, Any], __: Path) -> Any:
    served = read_served_services(Reads(lab), lab)
    return served, [read_pinned_ids(Reads(lab), each, limit=5) for each in sorted(served)]


VERBS: dict[str, Verb] = {
    "doctor": _diagnose,
    "why": lambda lab, ids, _: [str(rl.why(lab, each)) for each in ids["open"]],
    "waits": _waits,
    "journal": lambda lab, ids, _: [rl.journal(lab, each) for each in ids["open"]],
    "journal_diff": lambda lab, ids, _: rl.journal_diff(lab, ids["ended"][0], ids["ended"][1]),
    "story": lambda lab, ids, _: [
        frame for id_ in ids["ended"] for found in [rl.story(lab, id_)] for frame in (found.members, found.edges)
    ],
    "state": lambda lab, ids, _: dict(rl.state(lab, *ids["object"])),
    "plan": _make_plans,
    "states": lambda lab, ids, _: read_invocations(Reads(lab), ids["open"]),
    "freeze": _open_frozen,
    "compare": _compare,
    "before_after": lambda lab, _, __: rl.before_after(lab, "2h").comparisons,
    "contrast": lambda lab, _, __: rl.contrast(lab, "failed", payloads=True).sides.drop(columns="chosen"),
    "find": lambda lab, ids, _: rl.find(lab, "order", service=ids["object"][0], progress=False).frame,
    "wait_for": lambda lab, ids, _: rl.wait_for(lab, ids["open"], until=lambda _: True, progress=False),
    "clock": lambda lab, _, __: lab.now,
    "tables": lambda lab, _, __: lab.tables(),
    "card": lambda lab, _, __: re.sub(r"\d\d:\d\d:\d\d", "", lab._repr_html_()),
    "panel: invocations": lambda lab, _, __: read_rows(lab, Filters(status=(ALL,), limit=5)).frame,
    "panel: invocation": lambda lab, ids, _: [str(read_invocation(lab, each).facts) for each in ids["open"][:2]],
    "panel: objects": lambda lab, _, __: (
        [find_objects(lab, most_entries=most).frame for most in (1, 4_000)],
        stateful_services(lab),
    ),
    "panel: deployments": _read_deployments,
} | {f"ask: {name}": _ask_question(name) for name in rl.questions()["name"]}


def problem(run: Callable[[], Any], case: Case, good: str) -> str | None:
    """Return what a verb does wrong with another shape; None if it is right or one clear error."""
    try:
        result = format_result(run())
    except rl.errors.RestateLabError as error:
        is_named = case.way == "null" or _SHAPE_ERROR.search(str(error))
        return None if is_named else f"{type(error).__name__} does not name the shape: {str(error)[:300]}"
    except Exception as error:  # noqa: BLE001 - any other error is the defect that is tested
        return f"{type(error).__name__}: {error}"
    if case.way == "null" or result == good or _SHAPE_ERROR.search(result):
        return None
    return f"something else is shown as right: {result[:300]} instead of {good[:300]}"


def format_result(value: Any) -> str:
    """Return a result as text, its frames to the last cell."""
    if isinstance(value, pd.DataFrame):
        return str(value.to_csv())
    if isinstance(value, list | tuple):
        return "\n".join(map(format_result, value))
    return re.sub(r"in \d+(\.\d+)? s\b", "", str(value))  # the duration


pytestmark = [pytest.mark.server, pytest.mark.filterwarnings("ignore")]

FEW = ("ask: deployment_pins", "ask: overview", "ask: retry_storm")
"""Questions: one function reads all of them."""
STATUSES = "SELECT id, status, journal_size FROM sys_invocation_status ORDER BY created_at, id"
OBJECTS = "SELECT service_name, service_key FROM state ORDER BY service_name, service_key LIMIT 1"


@dataclass
class Try:
    """A server behind a proxy, and the invocations that the verbs read."""

    cluster: Cluster
    folder: Path
    proxy: ReshapingProxy
    ids: dict[str, Any]

    def cases(self, name: str) -> tuple[Callable[[], Any], str, list[Case]]:
        """Return a verb to be run, its good response, and the possible faults."""

        def run() -> Any:
            with warnings.catch_warnings(), self.proxy.lab(self.cluster.admin_url, self.folder) as lab:
                warnings.simplefilter("ignore")
                return VERBS[name](lab, self.ids, self.folder)

        self.proxy.case = None
        self.proxy.seen.clear()
        good = format_result(run())
        return run, good, list(self.proxy.cases())

    def problems(self, name: str, *, each: Callable[[list[Case]], list[Case]]) -> list[str]:
        run, good, cases = self.cases(name)
        found = []
        for case in each(cases):
            self.proxy.case = case
            told = problem(run, case, good)
            found += [f"{name}, {case.column} {case.way} in {case.statement[:80]}: {told}"] if told else []
        return found


def tried(cluster: Cluster, folder: Path) -> Try:
    with rl.connect(cluster.admin_url, audit=folder / "audit") as lab:
        rows = lab.sql(STATUSES, progress=False)
        thing = lab.sql(OBJECTS, progress=False).iloc[0]
        deployment = lab.sql("SELECT min(id) AS id FROM sys_deployment", progress=False)["id"][0]
    going = rows[rows["status"] != "completed"].groupby("status").head(2)
    ended = rows[(rows["status"] == "completed") & (rows["journal_size"] > 0)].head(2)
    ids = {"open": list(going["id"]), "ended": list(ended["id"]), "object": tuple(thing), "deployment": deployment}
    return Try(cluster, folder, ReshapingProxy(), ids)


@pytest.fixture(scope="module")
def newest_try(newest: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Try:
    return tried(newest, tmp_path_factory.mktemp("schema"))


def one_of_each_way(cases: list[Case]) -> list[Case]:
    """Return one case for each way, each of another statement or column."""
    ways = [[case for case in cases if case.way == way] for way in KINDS]
    return [some[at * len(some) // len(KINDS)] for at, some in enumerate(ways) if some]


@pytest.mark.parametrize("name", [name for name in VERBS if not name.startswith("ask") or name in FEW])
def test_a_response_of_another_shape_is_one_clear_error(newest_try: Try, name: str) -> None:
    """A column dropped, renamed, of another type or null: never a raw error, never a wrong result."""
    assert newest_try.problems(name, each=one_of_each_way) == []


@pytest.fixture(scope="module")
def incident_try(incident: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Try:
    return tried(incident, tmp_path_factory.mktemp("schema"))


@pytest.mark.long
@pytest.mark.parametrize("name", VERBS)
def test_every_column_of_every_response_in_every_way(incident_try: Try, name: str) -> None:
    """The same for each column of each response, on every kind of server; the type of each column is known."""
    try:
        assert incident_try.problems(name, each=list) == []
    except rl.errors.NotOnThisServer:
        return
    # A freeze reads whole tables, whose columns have the server's types.
    statements = [each for each in incident_try.proxy.seen if not each.startswith('SELECT "')]
    names = {column.name for each in statements for column in selected_columns(each)}
    # A comparison numbers its columns; their values are any.
    assert {each for each in names if each not in FAMILIES and not re.fullmatch(r"c\d+", each)} == set()


READ_NOW = "pinned_service_protocol_version"


def test_an_execution_that_cannot_be_read_says_what_was_done(newest_try: Try, newest: Cluster) -> None:
    """Statuses of another shape: nothing is sent before they can be read, and the outcome has a row per target."""
    proxy = ReshapingProxy(remembers=False)
    with proxy.lab(newest.admin_url, newest_try.folder) as lab:
        first, second = (lab.ingress.send("Inventory", "restock", 1, key="lamp", delay="1day") for _ in range(2))
        plan = rl.plan(lab, "cancel", [first.invocation_id])
        proxy.seen.clear()
        assert plan.execute(reason="a test")["outcome"].tolist() == ["done"]
        statement = next(each for each in proxy.seen if READ_NOW in each)
        plan = rl.plan(lab, "cancel", [second.invocation_id])
        proxy.case = Case(statement, "status", "drop")
        outcome = plan.execute(reason="a test")
        proxy.case = None
        assert outcome["outcome"].tolist() == ["not sent"]
        assert "column 'status' is missing" in outcome["error"][0]
        assert rl.plan(lab, "cancel", [second.invocation_id]).execute(reason="a test")["outcome"].tolist() == ["done"]


@pytest.mark.parametrize("column", ["key", "value"])
def test_a_state_that_cannot_be_read_is_not_changed(newest_try: Try, newest: Cluster, column: str) -> None:
    proxy, (service, key) = newest_try.proxy, newest_try.ids["object"]
    with proxy.lab(newest.admin_url, newest_try.folder) as lab:
        proxy.case = None
        proxy.seen.clear()
        before = rl.state(lab, service, key)
        statement = next(each for each in proxy.seen if " FROM state " in each)
        proxy.case = Case(statement, column, "drop")
        with pytest.raises(rl.errors.ServerFailed, match=f"column '{column}' is missing.*runs restate 1.7"):
            rl.set_state(lab, service, key, {"n": 1}, reason="a test")
        proxy.case = None
        assert dict(rl.state(lab, service, key)) == dict(before)
