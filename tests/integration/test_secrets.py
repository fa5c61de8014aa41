"""A canary token and canary headers: no output, error, log or file of restate_lab has any of them."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import http.client
import json
import logging
import pickle
import re
import sys
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab.analysis.queues import read_queues
from restate_lab.cli import app
from restate_lab.client.lab import Lab
from restate_lab.demo.embedded import start_services
from restate_lab.export.spans import span_records
from restate_lab.mcp.reads import ReadTools
from restate_lab.progress import NoProgress
from restate_lab.serve.pages import PAGES
from restate_lab.sources import Sources
from support import state_services, wait_services
from support.bench import once_served, wait_for
from support.clusters import NEWEST, KindServer
from support.page_servers import running_pages
from support.tcp_relay import Fault, tcp_relay
from support.tracebacks import is_ours

pytestmark = pytest.mark.server

TOKEN = "canary-token-4f1c7e"
HEADER_NAMES = (
    *("x-api-key", "x-hub-signature", "x-auth-key", "ocp-apim-subscription-key", "x-functions-key", "dpop", "x-auth"),
    *("cf-access-jwt-assertion", "x-goog-iap-jwt-assertion", "x-amzn-oidc-data", "x-ms-client-principal", "jwt", "pwd"),
    *(
        "x-forwarded-client-cert",
        "x-honeycomb-team",
        "dd-application-key",
        "private-token",
        "php-auth-pw",
        "x-session-id",
    ),
)
HEADERS = {
    "authorization": "Bearer canary-header-a91b",
    "cookie": "session=canary-header-c3d0",
    **{name: f"canary-header-{number:02}" for number, name in enumerate(HEADER_NAMES)},
}
"""Headers that a caller, or a proxy before the ingress, sends to a handler, and that we send to a deployment."""
CANARIES = (TOKEN, *(value.rpartition(" ")[2].rpartition("=")[2] for value in HEADERS.values()))
MARK = "canary-"  # at the start of each of them
MARK_AS_BYTES = ",".join(str(byte) for byte in MARK.encode())


@dataclass(frozen=True)
class Guarded:
    """A real server that has the canary headers in journals and deployments; ``lab`` sends the canary token.

    The journal of ``errand`` has the headers in payloads too, as agents record them. ``plain`` are like ``ended``,
    without the headers.
    """

    lab: Lab
    url: str
    held: str
    ended: tuple[str, ...]
    plain: tuple[str, ...]
    errand: str
    audit: Path


@pytest.fixture(scope="module")
def guarded(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("secrets")
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(KindServer(NEWEST))
        audit = folder / "audit"
        lab = stack.enter_context(
            rl.connect(running.admin_url, ingress_url=running.ingress_url, token=TOKEN, audit=audit)
        )
        for services in (wait_services, state_services):
            place = folder / Path(str(services.__file__)).stem
            place.mkdir()
            process, uri = start_services(place, str(services.__file__))
            stack.enter_context(process)
            lab.admin.create_deployment(uri=uri, additional_headers=HEADERS)
        send = lab.ingress.send
        held = once_served(lambda: send("Depot", "hold", key="north", headers=HEADERS)).invocation_id
        wait_for(lambda: _status(lab, held) == "suspended")
        ended = tuple(send("Plain", "nothing", headers=HEADERS).invocation_id for _ in range(6))
        plain = tuple(send("Plain", "nothing").invocation_id for _ in range(12))
        wait_for(lambda: all(_status(lab, id_) == "completed" for id_ in (*ended, *plain)))
        lab.ingress.call("Drawer", "put", {"total": 1}, key="k", headers=HEADERS)
        errand = send("Errand", "run", {"answer": {"response_headers": HEADERS}}, key="e", headers=HEADERS)
        wait_for(lambda: _status(lab, errand.invocation_id) == "suspended")
        yield Guarded(lab, running.admin_url, held, ended, plain, errand.invocation_id, audit)


def _status(lab: Lab, id_: str) -> str:
    return str(lab.sql("SELECT status FROM sys_invocation WHERE id = :id", id=id_)["status"][0])


def check(text: str, where: object) -> None:
    """Fail if a canary is in a text, also as numbers, as the server writes payloads and headers."""
    for found in (text.find(MARK), text.replace(" ", "").find(MARK_AS_BYTES)):
        assert found < 0, f"a canary in {where}: {text[max(0, found - 80) : found + 80]}"


def check_object(value: Any) -> None:
    """Check every form in which an object can be shown or saved."""
    where = type(value)
    for form in (repr, str):
        check(form(value), where)
    if hasattr(value, "_repr_html_"):
        check(value._repr_html_() or "", where)
    if hasattr(value, "_repr_mimebundle_"):
        check(json.dumps(value._repr_mimebundle_(), default=str), where)
    if isinstance(value, pd.DataFrame):
        check(value.to_csv(), where)
        check(repr(value.attrs), where)
    with contextlib.suppress(TypeError, AttributeError, pickle.PicklingError):
        check(pickle.dumps(value).decode("latin-1"), where)


def test_the_canaries_are_there(guarded: Guarded) -> None:
    """The canaries are on the wire and on the server, so that the tests below can find them."""
    with tcp_relay(guarded.url) as line, rl.connect(line.url, token=TOKEN):
        assert any(TOKEN.encode() in head for head in line.heads)
    raw = guarded.lab.sql("SELECT entry_json FROM sys_journal WHERE id = :id", id=guarded.held)["entry_json"].str.cat()
    for canary in CANARIES[1:]:
        assert canary in raw
    assert len(CANARIES) == len({*CANARIES}) == len(HEADERS) + 1
    assert all(canary.startswith(MARK) for canary in CANARIES)


READS: dict[str, Callable[[Guarded], Any]] = {
    "the connection": lambda on: on.lab,
    "its settings": lambda on: on.lab.settings,
    "its transport": lambda on: on.lab.transport,
    "its clients": lambda on: (on.lab.admin, on.lab.ingress),
    "doctor": lambda on: rl.doctor(on.lab),
    "waits": lambda on: rl.waits(on.lab),
    "queues": lambda on: read_queues(on.lab),
    "why": lambda on: rl.why(on.lab, on.held),
    "journal": lambda on: rl.journal(on.lab, on.held),
    "journal with payloads": lambda on: rl.journal(on.lab, on.held, payloads=True),
    "payloads with headers": lambda on: rl.journal(on.lab, on.errand, payloads=True),
    "a conversation": lambda on: rl.conversation(on.lab, on.errand),
    "spans": lambda on: span_records(rl.conversation(on.lab, on.errand), has_payloads=True),
    "a story": lambda on: rl.story(on.lab, on.errand, search=True),
    "a story in a report": lambda on: Path(
        rl.Report("x", source=on.lab).add(rl.story(on.lab, on.errand)).write(on.audit / "x.html", overwrite=True)
    ).read_text("utf-8"),
    "a story as spans": lambda on: span_records(rl.story(on.lab, on.held, search=True), has_payloads=True),
    "journal_diff": lambda on: rl.journal_diff(on.lab, on.ended[0], on.ended[1], payloads=True),
    "contrast": lambda on: rl.contrast(on.lab, list(on.ended), healthy=list(on.plain), payloads=True),
    "find": lambda on: rl.find(on.lab, "answer", payloads=True),
    "find in headers": lambda on: rl.find(on.lab, MARK, payloads=True),
    "state": lambda on: rl.state(on.lab, "Drawer", "k"),
    "plan": lambda on: rl.plan(on.lab, "kill", [on.held]),
    "restart plan": lambda on: rl.plan(on.lab, "restart_as_new", list(on.ended)).prefixes,
    "deployments": lambda on: on.lab.admin.list_deployments(),
    "a deployment": lambda on: on.lab.admin.get_deployment(on.lab.admin.list_deployments()[0].id),
    "services": lambda on: on.lab.admin.list_services(),
    "version": lambda on: on.lab.admin.version(),
    "tables": lambda on: on.lab.tables(),
}


@pytest.mark.parametrize("what", READS)
def test_what_is_shown(guarded: Guarded, what: str) -> None:
    """Reprs, cards, mime bundles and pickles of the results of reads."""
    value = READS[what](guarded)
    check_object(value)
    for each in value if isinstance(value, list | tuple) else []:
        check_object(each)
    frames = ("findings", "not_read", "edges", "blockers", "chain", "options", "frame", "impact", "conditions", "sides")
    for name in (*frames, "attributes", "states", "members", "path", "phases", "entries"):
        if hasattr(value, name):
            check_object(getattr(value, name))


def test_no_named_question_shows_a_canary(guarded: Guarded) -> None:
    for name in rl.questions()["name"]:
        with contextlib.suppress(rl.errors.RestateLabError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # expensive questions warn
            check_object(rl.ask(guarded.lab, name))


def test_pickles_reveal_no_token(guarded: Guarded) -> None:
    for value in (guarded.lab.settings, guarded.lab):
        with pytest.raises(TypeError):
            pickle.dumps(value)
    with pytest.raises(TypeError):
        copy.deepcopy(guarded.lab.settings)


ERRORS: dict[str, bytes | None] = {
    "401": b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n",
    "403": b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
    "302": b"HTTP/1.1 302 Found\r\nlocation: https://login.example/\r\ncontent-length: 0\r\n\r\n",
    "429": b"HTTP/1.1 429 Too Many\r\nretry-after: 99\r\ncontent-length: 0\r\n\r\n",
    "500": b"HTTP/1.1 500 Broken\r\ncontent-length: 5\r\n\r\nnope!",
    "503": b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
    "page": b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>",
    "an echo": f"HTTP/1.1 403 No\r\ncontent-length: {len(TOKEN)}\r\n\r\n{TOKEN}".encode(),
    "an echo in JSON": f"HTTP/1.1 502 No\r\ncontent-type: application/json\r\ncontent-length: {len(TOKEN) + 14}"
    f'\r\n\r\n{{"message":"{TOKEN}"}}'.encode(),
    "an echo elsewhere": f"HTTP/1.1 302 No\r\nlocation: http://x/?{TOKEN}\r\ncontent-length: 0\r\n\r\n".encode(),
    "junk": b"SSH-2.0-x\r\n\r\n",
    "cut": None,
}


@pytest.mark.parametrize("kind", ERRORS)
def test_errors(
    guarded: Guarded,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """Messages, causes, notes and tracebacks, with the local variables of all frames; and the logs of all levels."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    fault = Fault(response=ERRORS[kind], passes=40, times=1 << 30)
    with tcp_relay(guarded.url, fault=fault) as line:
        lab = rl.connect(line.url, token=TOKEN, check=False, timeout=0.4, audit=tmp_path)
        calls: list[Callable[[], object]] = [
            lambda: rl.connect(line.url, token=TOKEN, timeout=0.4),
            lambda: lab.sql("SELECT 1"),
            lambda: rl.doctor(lab, timeout="1s"),
            lambda: lab.admin.kill_invocation(guarded.held, reason="x"),
        ]
        for call in calls:
            with pytest.raises(rl.errors.RestateLabError) as caught:
                call()
            check(_all_of(caught.value), kind)
        with pytest.raises(rl.errors.RestateLabError) as caught:
            lab.admin.create_deployment(uri="http://127.0.0.1:1", additional_headers=HEADERS)
        check(f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__dict__}", kind)
        lab.close()
    check(caplog.text, "the log")
    check("".join(capfd.readouterr()), "what is printed")
    for file in tmp_path.rglob("*.jsonl"):
        check(file.read_text(), file)


def _all_of(error: BaseException) -> str:
    """Return a verbose traceback with local variables, except those of this test."""
    seen: list[str] = []
    each: BaseException | None = error
    while each is not None:
        seen += [str(each), repr(each), repr(each.__dict__), *getattr(each, "__notes__", [])]
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if is_ours(frame.f_code.co_filename):
                seen += [f"{name}={value!r}" for name, value in frame.f_locals.items()]
        each = each.__cause__ or each.__context__
    return "\n".join(seen)


def test_changes_and_the_audit_log(guarded: Guarded) -> None:
    """Plans, their outcomes, state, and calls with headers: the audit log has none of the headers, bodies or token."""
    lab = guarded.lab
    outcome = rl.plan(lab, "restart_as_new", list(guarded.ended)).execute(reason="a test", progress=NoProgress())
    check_object(outcome)
    check_object(rl.set_state(lab, "Drawer", "k", {"total": 2}, reason="a test"))
    check_object(lab.ingress.send("Plain", "nothing", headers=HEADERS))
    for at, row in rl.doctor(lab).findings.iterrows():
        check_object(rl.note(lab, f"a test {at}", finding=row, until="1h"))
    assert rl.doctor(lab).findings["known"].all()
    check_object(rl.doctor(lab))
    check_object(rl.audit_log(guarded.audit, notes=True))
    files = list(guarded.audit.rglob("*.jsonl"))
    assert files
    for file in files:
        check(file.read_text(), file)
    check_object(rl.audit_log(guarded.audit))


def test_a_plan_in_a_shell(guarded: Guarded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The plan, its file, its execution and the audit log in a terminal and for programs."""
    monkeypatch.setenv("RESTATE_AUTH_TOKEN", TOKEN)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def call(*arguments: str) -> str:
        told = CliRunner().invoke(app, [*arguments, "-e", guarded.url] if arguments[0] != "audit" else [*arguments])
        assert told.exit_code == 0, told.output
        return str(told.output)

    shown = call("plan", "restart-as-new", *guarded.ended, guarded.errand)
    texts = [shown, call("plan", "kill", guarded.held, guarded.errand, "--json")]
    texts += [call("execute", re.findall(r"plan-[0-9a-f]{16}", shown)[0], "--reason", "INC-42", "--json")]
    texts += [call("audit"), call("audit", "--json")]
    for text in texts:
        check(text, "the command line")
    assert len(list((tmp_path / "restate_lab" / "plans").iterdir())) == 2
    check_folder(tmp_path)


def test_saved_files(guarded: Guarded, tmp_path: Path) -> None:
    """Saved frames of data that we read for a person; a user's own statement returns the server's data."""
    lab = guarded.lab
    frames = (rl.journal(lab, guarded.held, payloads=True), rl.doctor(lab).findings, rl.ask(lab, "sdks"))
    for number, frame in enumerate(frames):
        for kind in ("csv", "jsonl", "parquet"):
            rl.save(frame, tmp_path / f"{number}.{kind}")
    check_folder(tmp_path)


def test_exported_lists(guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of the panel's export buttons, also of a journal whose payloads are open, and of state."""
    monkeypatch.chdir(tmp_path)
    exports: list[tuple[dict[str, Any], tuple[str, ...]]] = [
        ({"status": "all"}, ("Export csv", "Export xlsx")),
        ({"view": "deployments"}, ("Export csv",)),
        ({"open": guarded.errand}, ("Payloads (masked)", "Export csv", "Export xlsx")),
    ]
    with contextlib.closing(rl.Panel(guarded.lab, refresh=None)) as panel:
        for state, clicks in exports:
            panel.state = state
            for name in clicks:
                assert panel.wait()
                panel.click(name)
                assert panel.files.wait(30)
                assert panel.error == ""
    assert len(list(tmp_path.iterdir())) == 5
    (journal,) = tmp_path.glob("journal-*.csv")
    assert "response_headers" in journal.read_text(), "the payloads are in the file"
    check_folder(tmp_path)


def test_evidence(guarded: Guarded, tmp_path: Path) -> None:
    """Evidence without payloads and with them, and all data read from it."""
    for payloads in (False, True):
        path = Path(rl.freeze(guarded.lab, tmp_path / f"{payloads}.evidence", payloads=payloads, progress=False))
        check_folder(path)
        with rl.open_evidence(path) as evidence:
            for name in evidence.tables()["table"].unique():
                check_object(evidence.sql(f"SELECT * FROM {name}"))
            check_object(evidence)
            check_object(rl.journal(evidence, guarded.held, payloads=payloads))


def check_folder(folder: Path) -> None:
    """Check every byte of every file, packed files unpacked."""
    for file in folder.rglob("*"):
        if file.is_file():
            check(file.read_bytes().decode("latin-1"), file)
            if file.suffix == ".parquet":
                frame = pd.read_parquet(file)
                check(frame.to_csv(), file)
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as book:
                    for name in book.namelist():
                        check(book.read(name).decode("latin-1"), file)


def test_datasets_archives_and_the_command_line(guarded: Guarded, tmp_path: Path) -> None:
    """The files that leave the cluster, and what a terminal, a script and an assistant get, with payloads."""
    rl.save_dataset(guarded.lab, [guarded.errand], tmp_path / "runs.jsonl")
    rl.archive(guarded.lab, tmp_path / "history", payloads=True, cluster_name="lab", progress=False)
    check_folder(tmp_path)
    assert list((tmp_path / "history").rglob("*.parquet"))
    compared = CliRunner().invoke(
        app,
        ["contrast", *guarded.ended, "--payloads", "values", "--json", "-e", guarded.url],
        env={"RESTATE_AUTH_TOKEN": TOKEN},
    )
    assert "x-api-key" in compared.output, compared.output
    check(compared.output, "contrast")
    for text in ("answer", MARK):
        found = CliRunner().invoke(
            app, ["find", "-", "--payloads", "--json", "-e", guarded.url], input=text, env={"RESTATE_AUTH_TOKEN": TOKEN}
        )
        assert found.exit_code == 0, found.output
        check(found.output, "find")
    for id_ in (guarded.held, guarded.errand):
        journal, told = ["journal", id_, "--payloads"], ["story", id_, "--search"]
        for arguments in (journal, [*journal, "--json"], ["agents", id_], told, [*told, "--json"]):
            result = CliRunner().invoke(app, [*arguments, "-e", guarded.url], env={"RESTATE_AUTH_TOKEN": TOKEN})
            assert result.exit_code == 0, result.output
            check(result.output, arguments)
        with contextlib.ExitStack() as stack:
            tools = ReadTools(Sources(stack, [guarded.lab]))
            for answer in (
                tools.journal(id_, payloads=True),
                tools.conversation(id_, payloads=True),
                tools.story(id_, search=True),
            ):
                check(json.dumps(answer, default=str), "the result of a tool")


def test_served_pages(guarded: Guarded, tmp_path: Path) -> None:
    """Every page with payloads, in both forms, and the records of the accesses."""
    paths = {name: f"/{name}" for name in PAGES} | {
        "": "/?since=24h",
        "invocations": "/invocations?status=all",
        "contrast": "/contrast?service=Plain&status=slow",
        "question": "/question/latency",
        "report": "/report?length=short",
    }
    about = [paths.pop(name) for name in ("invocation", "story")]
    every = [*paths.values(), *(f"{path}/{each}" for path in about for each in (guarded.held, guarded.errand))]
    with (
        running_pages({"prod": guarded.lab}, tmp_path, payloads=True) as pages,
        pages.client() as client,
    ):
        for path in every:
            start, _, query = path.partition("?")
            for address in (path, f"{'/index' if start == '/' else start}.json?{query}"):
                page = client.get(address)
                assert page.status_code == 200, (address, page.text[-1_000:])
                check(page.text, address)
    check_folder(tmp_path)


def test_fields_and_keys_of_a_state_are_masked_wherever_they_are_shown(guarded: Guarded, tmp_path: Path) -> None:
    """A secret field of a payload, also in JSON within a text, and a state key with a secret name."""
    lab, field = guarded.lab, "field-of-a-payload-77"
    values = {"password": f"{field}-1", "note": json.dumps({"api_token": f"{field}-2"}), "total": 42}
    id_ = lab.ingress.send("Drawer", "put", values, key="fields").invocation_id
    wait_for(lambda: _status(lab, id_) == "completed")
    shown: dict[str, str] = {}
    with running_pages({"prod": lab}, tmp_path, payloads=True) as pages, pages.client() as client:
        shown |= {path: client.get(path).text for path in (f"/invocation/{id_}", f"/invocation/{id_}.json")}
    command = ["journal", id_, "--payloads", "-e", guarded.url]
    runs = [CliRunner().invoke(app, [*command, *form], env={"RESTATE_AUTH_TOKEN": TOKEN}) for form in ((), ("--json",))]
    shown["terminal"], data = (each.output for each in runs)
    with contextlib.ExitStack() as stack:
        tools = ReadTools(Sources(stack, [lab]))
        shown["journal"] = json.dumps(tools.journal(id_, payloads=True), default=str)
        shown["state"] = json.dumps(tools.state("Drawer", "fields", values=True), default=str)
    card = rl.journal(lab, id_, payloads=True)
    assert field in str(card["argument"].tolist() + card["payload"].tolist())
    shown["card"] = card._repr_html_()
    shown["state's card"] = rl.state(lab, "Drawer", "fields")._repr_html_()
    for where, text in shown.items():
        assert field not in text, where
        assert "•••" in text or "\\u2022\\u2022\\u2022" in text, where
        assert "42" in text, where
    assert f"{field}-1" in data
    assert "--json, --csv and --parquet are data" in " ".join(
        CliRunner().invoke(app, ["journal", "--help"]).output.split()
    )


@pytest.mark.parametrize("what", ["held", "errand"])
def test_a_written_test(guarded: Guarded, tmp_path: Path, what: str) -> None:
    """No header of an input is in its record, and those in payloads are masked; the code still takes the same path."""
    app_name = {"held": "support.wait_services:depot", "errand": "support.state_services:errand"}[what]
    made = rl.to_test(guarded.lab, getattr(guarded, what), tmp_path, app=app_name)
    check_object(made)
    check_folder(tmp_path)
    assert made.outcome.startswith("waits for "), made.outcome
    assert set(made.masked) == ({"headers", "secrets"} if what == "errand" else set())
    arguments = ["to-test", getattr(guarded, what), "--app", app_name, "--folder", str(tmp_path), "--force", "--json"]
    result = CliRunner().invoke(app, [*arguments, "-e", guarded.url], env={"RESTATE_AUTH_TOKEN": TOKEN})
    assert result.exit_code == 0, result.output
    check(result.output, arguments)


def test_a_report(guarded: Guarded, tmp_path: Path) -> None:
    """An incident's report, with the journal of an invocation that has the secrets."""
    check_folder(Path(rl.incident_report(guarded.lab, tmp_path / "x.html")).parent)


NOTEBOOK = """
import restate_lab as rl
lab = rl.connect(URL, token=TOKEN_FROM_ENVIRONMENT, ingress_url=None)
lab
---
rl.doctor(lab)
---
rl.journal(lab, HELD, payloads=True)
---
rl.why(lab, HELD)
---
plan = rl.plan(lab, "kill", [HELD])
plan
---
lab.admin.list_deployments()
---
%load_ext restate_lab
---
%restate
---
rl.connect("http://127.0.0.1:1", token=TOKEN_FROM_ENVIRONMENT)
"""


def test_notebook_outputs(guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The saved outputs of a notebook with all this, including the traceback of a failed connection."""
    from nbclient import NotebookClient

    monkeypatch.setenv("RESTATE_AUTH_TOKEN", TOKEN)
    monkeypatch.setenv("RESTATE_ADMIN_URL", guarded.url)
    source = NOTEBOOK.replace("URL", repr(guarded.url)).replace("HELD", repr(guarded.held))
    source = source.replace("TOKEN_FROM_ENVIRONMENT", "__import__('os').environ['RESTATE_AUTH_TOKEN']")
    cells = [nbformat.v4.new_code_cell(cell.strip()) for cell in source.split("---")]
    book = nbformat.v4.new_notebook(cells=cells)
    with contextlib.closing(asyncio.new_event_loop()):
        NotebookClient(book, timeout=120, allow_errors=True, resources={"metadata": {"path": str(tmp_path)}}).execute()
    kept = nbformat.writes(book)
    assert "Unreachable" in kept
    assert guarded.held in kept
    check(kept, "the notebook")


def test_warnings_and_what_is_printed(guarded: Guarded, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Warnings of all kinds, and the output to the terminal."""
    (tmp_path / ".env").write_text(f"RESTATE_AUTH_TOKEN={TOKEN}\n")
    with contextlib.chdir(tmp_path), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with rl.connect(guarded.url, token=TOKEN) as lab:
            sys.stdout.write(f"{lab}\n{rl.why(lab, guarded.held)}\n{rl.doctor(lab)}\n")
        gc.collect()
    check("".join(str(each.message) for each in caught), "a warning")
    said = capsys.readouterr()
    check(said.out + said.err, "the terminal")
    assert guarded.held in said.out
