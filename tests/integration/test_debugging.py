"""Random programs with a planted failure, recorded on a real server, and replayed in this process.

The code of the record fails as in production, and the fixed code goes on after it. No step runs, and no socket is
connected.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import re
import socket
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab import errors
from restate_lab.cli import app as cli
from restate_lab.debugging import record_of
from restate_lab.debugging.session import run_session
from restate_lab.debugging.to_test.masking import ALWAYS, mask_string, parse_masks
from restate_lab.debugging.to_test.trial import MaskTrial, TrialOutcome, outcome_in_python, try_masks
from restate_lab.demo.faults import FOLDER_VARIABLE
from restate_lab.environment import python_environment
from restate_lab.protocol import messages
from restate_lab.testing import Outcome, Record, UnusableRecord
from restate_lab.testing.hook import HandlerHook
from support.clusters import NEWEST, PLAIN
from support.debug_bench import SERVICES, DebugBench, running_debug_bench
from support.debug_cases import BUGS, KINDS, Case, Expected, answers_for, random_cases, value_of
from support.replay_bench import Version

pytestmark = pytest.mark.server

APP = "debug_services:app"
REPEATS = 20
ALL_TYPES = 30
"""The types of entries of programs, without the two for keys of a state that are read lazily."""
CONNECTED: list[str] = []
"""The events of sockets in threads of replays, as Python's audit reports them."""


@functools.cache
def note_connections() -> None:
    """Fill CONNECTED from now on; a hook cannot be removed, and takes time of all that runs later in the process."""
    sys.addaudithook(_note)


def _note(event: str, _: tuple[Any, ...]) -> None:
    is_socket = event in {"socket.connect", "socket.bind", "socket.getaddrinfo"}
    if is_socket and threading.current_thread().name.startswith("restate-lab-replay"):
        CONNECTED.append(event)


@dataclass
class Trial:
    """Cases with their records, which were saved and loaded again, and the modules of their programs."""

    bench: DebugBench
    cases: list[Case]
    records: list[Record]
    programs: Any
    versions: tuple[Version, Version]

    @property
    def steps(self) -> int:
        """Return how many bodies of steps have run in this process."""
        return sum(len(version.steps) for version in self.versions)

    def use(self, *, fixed: bool) -> None:
        """Let the code play the failing or the fixed programs."""
        self.programs.FOLDER = self.versions[fixed].folder

    def outcome(self, record: Record, *, fixed: bool, **options: Any) -> Outcome:
        self.use(fixed=fixed)
        return record.outcome(APP, **options)

    def one(self, kind: str) -> tuple[Case, Record]:
        return next(each for each in zip(self.cases, self.records, strict=True) if each[0].kind == kind)


CANCEL = "Notification: Signal", 1
"""After it, the SDK sends signals to its callees; signals before it are those of the program."""
SHORT = (NEWEST, len(KINDS))
LONG = [pytest.param((kind, 300), marks=[pytest.mark.long, pytest.mark.timeout(1_800)]) for kind in (NEWEST, PLAIN)]


@pytest.fixture(scope="module", params=[SHORT, *LONG], ids=lambda param: f"{param[0]}-{param[1]}")
def trial(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    kind, number = request.param
    folder = tmp_path_factory.mktemp("debugging")
    note_connections()
    with running_debug_bench(kind, folder) as bench, pytest.MonkeyPatch.context() as patch:
        cases = list(random_cases(7, number))
        records = []
        for at, record in enumerate(bench.record(cases)):
            records.append(Record.load(record.save(folder / f"{at}.json")))
        versions = bench.copy(folder / "local")
        patch.setenv(FOLDER_VARIABLE, str(versions[0].folder))
        patch.syspath_prepend(str(SERVICES.parent))
        services = importlib.import_module("debug_services")
        yield Trial(bench, cases, records, services.base, versions)
        for name in ("debug_services", "replay_services"):
            del sys.modules[name]


def test_each_outcome_is_the_expected_one(trial: Trial) -> None:
    """The failing code fails with production's error at production's line, and the fixed code goes on."""
    steps, wrong = trial.steps, []
    CONNECTED.clear()
    for case, record in zip(trial.cases, trial.records, strict=True):
        failing, fixed = trial.outcome(record, fixed=False), trial.outcome(record, fixed=True)
        is_right = _is(failing, case.failing) and _is(fixed, case.fixed)
        if failing.outcome == "fails":
            is_right = is_right and failing.is_as_in_production and (not case.has_line or _line(failing))
        if not is_right:
            wrong.append(f"{case}\n  {failing}\n  {fixed}\n  {record.journal.error}")
    assert wrong == []
    assert (trial.steps - steps, CONNECTED) == (0, [])
    pinned = [record.journal.sdk for record in trial.records if len(record.journal.entries) > 1]
    assert {sdk.partition("/")[0] for sdk in pinned} == {"restate-sdk-python"}
    kinds = {entry["type"] for record in trial.records for entry in record.journal.entries}
    assert len(trial.cases) < 300 or len(kinds) == ALL_TYPES, kinds


def test_a_test_is_written_from_every_source_that_has_the_journal(trial: Trial, tmp_path: Path) -> None:
    """A read-only connection, evidence and an archive give the same record; others give the error for the next step."""
    lab, (_, record) = trial.bench.lab, trial.one("refused")
    id_, trial.programs.FOLDER = record.journal.id, trial.bench.versions[0].folder
    whole = rl.freeze(lab, tmp_path / "whole", ids=[id_], payloads=True, progress=False)
    bare = rl.freeze(lab, tmp_path / "bare", ids=[id_], progress=False)
    rl.archive(lab, tmp_path / "archive", payloads=True, cluster_name="prod", progress=False)
    facts = []
    with contextlib.ExitStack() as stack:
        for number, source in enumerate(
            (
                rl.connect(lab.settings.admin_url, read_only=True),
                rl.open_evidence(whole),
                rl.open_history(tmp_path / "archive"),
            )
        ):
            folder = tmp_path / f"tests{number}"
            folder.mkdir()
            made = rl.to_test(stack.enter_context(source), f"WARN {id_} failed", folder, app=APP)
            assert made.outcome.startswith("fails as in production: Refused("), made.outcome
            journal = Record.load(made.paths[0]).journal
            facts.append((journal.entries, journal.seed, journal.error, journal.created_at, journal.protocol))
        assert facts[0] == facts[1] == facts[2]
        with pytest.raises(errors.NotReplayable, match="frozen with payloads=True"):
            rl.to_test(stack.enter_context(rl.open_evidence(bare)), id_, folder, app=APP)
        away = stack.enter_context(rl.connect("127.0.0.1:9", check=False))
        with pytest.raises(errors.Unreachable):
            rl.to_test(away, id_, folder, app=APP)
        with pytest.raises(errors.NotFound):
            rl.to_test(lab, "inv_1lIyp2ByO1ey35cGbU0hywb06imDxMEZvH", folder, app=APP)


def test_masked_records_have_the_same_outcome_and_none_of_the_texts(trial: Trial) -> None:
    """All texts in payloads are masked, except the inputs, which name the programs."""
    masks, wrong = [*ALWAYS, *parse_masks("$")], []
    for case, record in zip(trial.cases, trial.records, strict=True):
        tried = try_masks(record, masks, lambda masked, whole=record: _run_masked(trial, masked, whole))
        left = _texts_left(record, tried)
        if tried.changed_by or left:
            wrong.append(f"{case}\n  {tried.without_masks.text}\n  {tried.outcome.text}\n  {left}")
    assert wrong == []


def _run_masked(trial: Trial, masked: Record, whole: Record) -> TrialOutcome:
    """Run the code of a record with masked payloads, and the input and the key of the whole record."""
    entries = (whole.journal.entries[0], *masked.journal.entries[1:])
    record = Record(replace(masked.journal, entries=entries, key=whole.journal.key))
    return outcome_in_python(record, trial.outcome(record, fixed=False))


def _texts_left(record: Record, tried: MaskTrial) -> set[str]:
    """Return the texts in payloads that are still in the masked record; but not UUIDs, and texts that the code has."""
    entries = record.journal.entries
    in_code = _texts([entries[int(each.removeprefix("entry "))] for each in tried.kept if each != "fields"])
    texts = {each for each in _texts(entries) - in_code if len(each) > 3 and any(map(str.isalpha, each))}
    after = _texts(tried.record.journal.entries)
    return {each for each in texts if mask_string(each) == "x" * len(each) and any(each in other for other in after)}


def _texts(entries: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the texts in the payloads of entries."""
    found: set[str] = set()
    pending: list[Any] = [each["value"] for each in entries if "value" in each]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                pending.append(json.loads(value))
                continue
            found.add(value)
        elif isinstance(value, dict | list):
            pending += [*value, *value.values()] if isinstance(value, dict) else value
    return found


def _is(outcome: Outcome, expected: Expected) -> bool:
    details = {
        "fails": type(outcome.exception).__name__,
        "returns": outcome.returned,
        "continues": outcome.next,
        "waits": "".join(outcome.waits_for[:1]),
        "step without result": outcome.steps,
    }
    detail = details.get(outcome.outcome)
    if outcome.outcome in {"continues", "waits"}:
        return outcome.outcome == expected.outcome and str(detail).startswith(expected.detail)
    return (outcome.outcome, detail) == (expected.outcome, expected.detail)


def _line(outcome: Outcome) -> bool:
    at, production = outcome.at, outcome.production
    if at is None or production is None or outcome.failure is None:
        return False
    return (at.file, at.line, at.function) == (production.file, production.line, production.function)


def test_fixed_code_returns_its_value_with_answers_for_the_rest(trial: Trial) -> None:
    """No step runs for it, and each command after the record gets its result from the answers."""
    steps, wrong = trial.steps, []
    for case, record in zip(trial.cases, trial.records, strict=True):
        if case.fixed.outcome == "continues":
            outcome = trial.outcome(record, fixed=True, answers=answers_for(case))
            if (outcome.outcome, outcome.returned) != ("returns", value_of(case)):
                wrong.append(f"{case}\n  {outcome}")
    assert wrong == []
    assert trial.steps == steps


def test_repeats_agree(trial: Trial) -> None:
    """A replay is the same each time, except the names that code takes from the clock."""
    repeats = REPEATS if len(trial.cases) < 300 else 5
    for case, record in list(zip(trial.cases, trial.records, strict=True))[:: 1 if repeats < REPEATS else 4]:
        outcomes = {str(trial.outcome(record, fixed=False)) for _ in range(repeats)}
        assert len(outcomes) == 1 or case.kind == "clock", case


def test_the_counters_move_without_the_limits(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without the stop command and the hook, the open step of a record runs."""
    _, record = trial.one("step")
    trial.use(fixed=True)
    monkeypatch.setattr(messages, "_with_stop_command", tuple)
    steps = trial.steps
    with contextlib.suppress(UnusableRecord):
        record.outcome(APP)
    assert trial.steps == steps  # the hook alone prevents it
    monkeypatch.setattr(HandlerHook, "guard", lambda *_: None)
    with contextlib.suppress(UnusableRecord):
        record.outcome(APP)
    assert trial.steps > steps
    CONNECTED.clear()
    thread = threading.Thread(name="restate-lab-replay", target=socket.getaddrinfo, args=("127.0.0.1", 80))
    thread.start()
    thread.join()
    assert CONNECTED == ["socket.getaddrinfo"]


def test_a_step_runs_if_it_is_named(trial: Trial) -> None:
    """The step that failed in production runs with the fixed code, and its result is used."""
    case, record = trial.one("step")
    steps = trial.steps
    outcome = trial.outcome(record, fixed=True, run_steps=["seal"], answers=answers_for(case))
    assert (outcome.outcome, outcome.returned) == ("returns", str(int(value_of(case))))
    assert trial.steps == steps + 1


def test_debug_raises_the_exception_of_production(trial: Trial, tmp_path: Path) -> None:
    """From a live cluster, evidence, a file and a log line; its frames are the user's."""
    _, record = trial.one("missing key")
    id_, lab = record.journal.id, trial.bench.lab
    trial.use(fixed=False)
    rl.freeze(lab, tmp_path / "all", payloads=True, progress=False)
    rl.freeze(lab, tmp_path / "lite", progress=False)
    with rl.open_evidence(tmp_path / "all") as evidence, rl.open_evidence(tmp_path / "lite") as lite:
        sources = [(lab, id_), (evidence, id_), (lab, f"12:00 ERROR {id_} failed"), (lab, record.save(tmp_path / "r"))]
        for source, what in sources:
            with pytest.raises(KeyError, match="prise") as caught:
                rl.debug(source, what, APP)
            frames = traceback.extract_tb(caught.tb)
            assert {Path(each.filename).name for each in frames[-4:]} == {"replay_services.py", "debug_services.py"}
            assert frames[-1].name == "_missing_key"
            assert caught.value.__context__ is None
        assert record_of(evidence, id_).journal.messages == record_of(lab, id_).journal.messages
        with pytest.raises(errors.NotReplayable, match="payloads=True"):
            rl.debug(lite, id_, APP)


def test_debug_returns_what_fixed_code_does(trial: Trial) -> None:
    case, record = trial.one("missing key")
    trial.use(fixed=True)
    outcome = rl.debug(trial.bench.lab, record.journal.id, APP)
    assert _is(outcome, case.fixed)
    assert repr(outcome).startswith("<Outcome: ")
    _, waiting = trial.one("waiting")
    assert rl.debug(trial.bench.lab, waiting.journal.id, APP).outcome == "waits"


def test_a_session_prints_each_entry(trial: Trial, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command of the record that the code issues, once and in order; the outcome is the same as without it."""
    steps, wrong = trial.steps, []
    for case, record in zip(trial.cases, trial.records, strict=True):
        expected = trial.outcome(record, fixed=False)
        capsys.readouterr()
        outcome = run_session(record, APP)
        shown = capsys.readouterr().out
        printed = [int(index) for index in re.findall(r"^entry (\d+)", shown, re.MULTILINE)]
        end = len(record.journal.entries) if expected.outcome != "diverges" else expected.entry or 0
        kinds = [(entry["type"], entry.get("signal_id")) for entry in record.journal.entries]
        cancelled_at = kinds.index(CANCEL) if CANCEL in kinds else len(kinds)
        entries = [
            each.index
            for each in record.journal.commands
            if each.type not in ({"Output", "SendSignal"} if each.index > cancelled_at else {"Output"})
        ]
        is_same = outcome is not None and (outcome.outcome, outcome.entry, outcome.passed, outcome.at) == (
            *(expected.outcome, expected.entry, expected.passed, expected.at),
        )
        if not is_same or (printed != [0, *(index for index in entries if 0 < index < end)] and case.kind != "input"):
            wrong.append(f"{case}\n{printed} {entries} {end}\n{outcome}\n{expected}\n{shown[-1500:]}")
    assert not wrong, "\n\n".join(wrong)
    assert trial.steps == steps


def test_a_command_debugs_an_invocation_of_a_server_and_of_evidence(trial: Trial, tmp_path: Path) -> None:
    _, record = trial.one("missing key")
    trial.use(fixed=False)
    lab, id_ = trial.bench.lab, record.journal.id
    rl.freeze(lab, tmp_path / "all", payloads=True, progress=False)
    for source in (["-e", lab.settings.admin_url], ["--evidence", str(tmp_path / "all")]):
        shown = CliRunner().invoke(cli, ["debug", APP, id_, *source])
        assert shown.exit_code == 1, shown.output
        assert "(the same error)" in shown.output
        assert ", in _missing_key\n" in shown.stderr
    for target in ("inv_1gDJfW1qSpFL5zxOUZt7f1XiSnGcJsVzYF", "inv_1short"):
        shown = CliRunner().invoke(cli, ["debug", APP, target, "-e", lab.settings.admin_url])
        assert shown.exit_code in {1, 2}
        assert "Traceback" not in shown.output


@pytest.mark.parametrize(
    ("call", "error", "problem"),
    [
        ({"app": "no_such_module"}, errors.ArgumentError, "there is no module 'no_such_module'"),
        ({"app": "debug_services:base"}, errors.ArgumentError, "it has .*app"),
        ({"results": {"Run no such step": 1}}, errors.ArgumentError, "which is not in the record"),
        ({"handler_timeout": "soon"}, errors.ArgumentError, "handler_timeout"),
        ({"id": "no id " * 200}, errors.ArgumentError, "not an invocation id"),
        ({"id": 3}, errors.ArgumentError, "invocation_id must be a text or a path; got an int"),
        ({"id": Path("no such file")}, errors.NotReplayable, "cannot be read as a record"),
        ({"id": "inv_1short"}, errors.ArgumentError, "not an invocation id"),
        ({"id": "inv_1gDJfW1qSpFL5zxOUZt7f1XiSnGcJsVzYF"}, errors.NotFound, "has no invocation"),
    ],
)
def test_a_wrong_call_of_debug_is_one_error(
    trial: Trial, call: dict[str, Any], error: type[Exception], problem: str
) -> None:
    _, record = trial.one("missing key")
    options = {name: value for name, value in call.items() if name not in {"app", "id"}}
    target, app = call.get("id", record.journal.id), call.get("app", APP)
    with pytest.raises(error, match=problem):
        rl.debug(trial.bench.lab, target, app, **options)


SESSION = """
import restate_lab as rl
with rl.connect({url!r}, audit={audit!r}) as lab:
    rl.debug(lab, {id!r}, "debug_services:app")
"""


def test_debug_works_in_a_kernel(trial: Trial) -> None:
    """The cell raises production's exception without frames of the SDK, and %debug in the next one has its locals."""
    _, record = trial.one("missing key")
    folder = trial.versions[0].folder
    code = SESSION.format(url=trial.bench.lab.settings.admin_url, audit=str(folder / "audit"), id=record.journal.id)
    modules = os.pathsep.join([str(SERVICES.parents[2]), str(SERVICES.parent)])
    env = python_environment(**{FOLDER_VARIABLE: str(folder), "PYTHONPATH": modules})
    manager = KernelManager()
    manager.start_kernel(env=env, independent=False)
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=120)
        answers, printed = ["p values", "up", "p name", "q"], []

        def answer(message: dict[str, Any]) -> None:
            client.input(answers.pop(0))

        def keep(message: dict[str, Any]) -> None:
            printed.append(str(message["content"].get("text", "")))

        failed = client.execute_interactive(code, timeout=120, output_hook=keep)["content"]
        assert "entry 0: Input ->" in "".join(printed), "the entries are in the output of the cell"
        assert (failed["ename"], failed["evalue"]) == ("KeyError", "'prise'")
        shown = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(failed["traceback"]))
        assert "_missing_key" in shown
        assert "/restate/" not in shown
        printed.clear()
        client.execute_interactive("%debug", timeout=120, allow_stdin=True, stdin_hook=answer, output_hook=keep)
        assert "[]" in "".join(printed)
        assert "'missing key'" in "".join(printed)
        assert answers == []
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_the_bugs_are_those_of_the_services(trial: Trial) -> None:
    assert sys.modules["debug_services"].BUGS.keys() == BUGS.keys()
