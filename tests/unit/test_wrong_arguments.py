"""Wrong arguments of every public function and method: one short ArgumentError, and no request."""

from __future__ import annotations

import gc
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab._public import _TYPES, EXAMPLES, type_names
from restate_lab.analysis.find.needle import Needle
from restate_lab.audit import AuditLog
from restate_lab.client.lab import Lab
from restate_lab.client.settings import load_settings
from restate_lab.redaction import Secret
from support.faults import no_room_in_files
from support.sample_rows import SampleRows, invocation
from support.tracebacks import our_locals

ID = "inv_1lIyp2ByO1ey35cGbU0hywb06imDxMEZvH"
FRAME = pd.DataFrame({"id": [ID]})
WRONG: Mapping[str, object] = {
    "object": object(),
    "number": 5,
    "frame": FRAME,
    "list": [ID],
}
FITS = {
    "number": {"int", "float", "DurationInput"},
    "frame": {"pd.DataFrame", "FindingInput", "Targets"},
    "list": {"Iterable", "Sequence", "Collection", "Targets", "WaitUntil"},
}
"""The types of parameters for which a value of ``WRONG`` is right."""
FREE = {"Any", "object"}
VARIABLE = {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
OTHERS = {"load_ipython_extension", "tracebacks"}  # IPython calls the one; the other has its own test
UNCLEAR = re.compile("could not read a response|a bug of|cannot use these arguments")
LONGEST = 300
NEEDLE = "order-4711-of-Kim"


class Calls:
    """The public functions, and the methods of a connection that counts its requests."""

    def __init__(self, folder: Path) -> None:
        self.requests: list[str] = []
        settings = load_settings("http://127.0.0.1:9", ingress_url="http://127.0.0.1:8")
        self.lab = Lab(settings, audit=AuditLog(folder), network=httpx.MockTransport(self._refuse))
        self.names = {"lab": self.lab, "rl": rl, "ids": [ID], "frame": FRAME, "path": folder / "new", "rules": ["a"]}
        self.names |= {"before": self.lab, "after": self.lab}

    def _refuse(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request.url.path)
        return httpx.Response(404)

    def functions(self) -> Iterator[tuple[str, Callable[..., Any]]]:
        for name in set(rl.__all__) - OTHERS:
            if inspect.isfunction(function := getattr(rl, name)):
                yield name, function
        for owner in (self.lab, self.lab.admin, self.lab.ingress):
            for name, member in inspect.getmembers_static(type(owner), inspect.isfunction):
                if not name.startswith("_") and member.__module__.startswith("restate_lab"):
                    yield f"{type(owner).__name__}.{name}", getattr(owner, name)

    def wrong(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """Yield a call of each function with each wrong value of each parameter."""
        for name, function in self.functions():
            for each in inspect.signature(function).parameters.values():
                types = type_names(str(each.annotation))
                for kind, value in WRONG.items() if each.kind not in VARIABLE and not types & FREE else ():
                    if not types & FITS.get(kind, set()):
                        yield f"{name}({each.name}={kind})", self._call(function, each.name, value)

    def _call(self, function: Callable[..., Any], name: str, wrong: object) -> Callable[[], object]:
        positional, named = [], {}
        for each in inspect.signature(function).parameters.values():
            is_needed = each.default is each.empty and each.kind not in VARIABLE
            value = wrong if each.name == name else self._right(each) if is_needed else each.default
            if each.kind is each.POSITIONAL_ONLY:
                positional.append(value)
            elif is_needed or each.name == name:
                named[each.name] = value
        return lambda: function(*positional, **named)

    def _right(self, parameter: inspect.Parameter) -> object:
        """Return the value of a required parameter in the example of the call."""
        key = f"{parameter.name}=" if parameter.kind is parameter.KEYWORD_ONLY else parameter.name
        text = EXAMPLES.get(key, EXAMPLES.get(parameter.name, ("", "'x'")))[1]
        return text if text.startswith("rl.") else eval(text, dict(self.names))  # noqa: S307 - a row of our own table


@pytest.fixture
def calls(tmp_path: Path) -> Calls:
    return Calls(tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of delete_invocation
def test_an_argument_of_a_wrong_type_is_one_line_and_sends_nothing(calls: Calls) -> None:
    """For each parameter of each public function, and each type that it does not take."""
    faults, count = {}, 0
    for title, call in calls.wrong():
        count += 1
        with pytest.raises(errors.ArgumentError) as caught:
            result = call()
            pytest.fail(f"{title} returned {type(result)}")
        message = str(caught.value)
        if calls.requests or UNCLEAR.search(message) or "\n" in message or len(message) > LONGEST:
            faults[title] = (message, calls.requests)
    assert faults == {}
    assert count > 1_000


CHECKED_INSIDE = {
    *("Any", "Axes", "Conversation", "FindingInput", "GoogleIdTokenAuth", "Lab", "Source", "SparkSession", "State"),
    *("Story", "pa.Table", "pd.DataFrame", "tzinfo"),
}


def test_each_type_of_a_parameter_is_checked_before_the_call_or_in_it(calls: Calls) -> None:
    """A new name in an annotation needs a row in the table of types, or one here."""
    parameters = [each for _, function in calls.functions() for each in inspect.signature(function).parameters.values()]
    names = {name for each in parameters if each.kind not in VARIABLE for name in type_names(str(each.annotation))}
    assert names - _TYPES.keys() == CHECKED_INSIDE
    assert _TYPES.keys() - names == {"Path"}  # of Lab, which connect() makes


IN_WRONG_ORDER: Mapping[str, Callable[[Any], object]] = {
    'action must be a text; got a list: rl.plan(lab, "resume", ids).': lambda lab: rl.plan(lab, [ID], "resume"),
    'action must be a text; got a DataFrame: rl.plan(lab, "resume", ids).': lambda lab: rl.plan(lab, FRAME, "resume"),
    'action must be a text; got a Series: rl.plan(lab, "resume", ids).': lambda lab: rl.plan(lab, FRAME.id, "resume"),
    'plan() needs a connection first: rl.plan(lab, "resume", ids), with lab = rl.connect().': lambda lab: rl.plan(
        "resume", lab, [ID]
    ),
    'why() needs a connection first: rl.why(lab, "inv_1…"), with lab = rl.connect().': lambda lab: rl.why(ID, lab),
    'find() needs a connection first: rl.find(lab, "order 4711"), with lab = rl.connect().': (
        lambda lab: rl.find(NEEDLE, lab)
    ),
    "path must be a text or a path; got a DataFrame: rl.save(frame, path).": lambda _: rl.save("a.csv", FRAME),
    "progress must be True or False, a Progress or None; got 5.": lambda lab: rl.find(lab, NEEDLE, progress=5),
    "checks must be a text, a list or None; got an int.": lambda lab: rl.doctor(lab, checks=5),
    "journal() has no argument 'depths'. Did you mean 'depth'?": lambda lab: rl.journal(lab, ID, depths=2),
    'why() takes invocation_id without its name: rl.why(lab, "inv_1…").': lambda lab: rl.why(lab, invocation_id=ID),
    'plan() needs the ids of invocations: rl.plan(lab, "resume", ids).': lambda lab: rl.plan(lab, "resume"),
    "connect() has no argument 'readonly'. Did you mean 'read_only'?": lambda _: rl.connect(readonly=True),
    "doctor() has too many arguments: rl.doctor(lab); by name: ": lambda lab: rl.doctor(lab, "upgrade"),
}


@pytest.mark.parametrize("message", IN_WRONG_ORDER)
def test_a_wrong_call_is_answered_with_the_right_one(calls: Calls, message: str) -> None:
    with pytest.raises(errors.ArgumentError) as caught:
        IN_WRONG_ORDER[message](calls.lab)
    text = str(caught.value)
    assert text.startswith(message)
    assert text == message or message.endswith(": ")
    assert calls.requests == []


NEEDS_REASON: Mapping[str, tuple[object, ...]] = {
    "cancel_invocation": (ID,),
    "kill_invocation": (ID,),
    "purge_invocation": (ID,),
    "purge_journal": (ID,),
    "restart_as_new_invocation": (ID,),
    "delete_invocation": (ID,),
    "delete_deployment": ("dp_14yqifhlPIRPw7VsqkRWQjn",),
    "bulk_delete_deployments": (["dp_14yqifhlPIRPw7VsqkRWQjn"],),
    "delete_subscription": ("sub_14yqifhlPIRPw7VsqkRWQjn",),
    "delete_kafka_cluster": ("kafka",),
    "bulk_delete_rules": (["a"],),
    "modify_service_state": ("Payments", "4711"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of delete_invocation
def test_each_destructive_change_needs_a_reason_and_other_changes_do_not(calls: Calls) -> None:
    """A missing, empty or placeholder reason is refused before anything is sent, by the same check as in a plan."""
    admin = calls.lab.admin
    for name, args in NEEDS_REASON.items():
        options = {"new_state": {}} if name == "modify_service_state" else {}
        change = getattr(admin, name)
        with pytest.raises(errors.ArgumentError, match=rf"^{name}\(\) needs a reason: lab\.admin\.{name}\(.*reason="):
            change(*args, **options)
        for reason in ("", "  "):
            with pytest.raises(errors.ArgumentError, match=r"^reason is empty: .*INC-42"):
                change(*args, **options, reason=reason)
        for reason in ("…", "...", " reason ", '"…"', "INC-42: …", "?"):
            with pytest.raises(errors.ArgumentError, match=r"^reason has the placeholder .*INC-42"):
                change(*args, **options, reason=reason)
    assert calls.requests == []
    methods = dict(inspect.getmembers_static(type(admin), inspect.isfunction))
    reasons = {name: inspect.signature(each).parameters.get("reason") for name, each in methods.items()}
    needed = {name for name, each in reasons.items() if each is not None and each.default is each.empty}
    assert {name for name in needed if not name.startswith("_")} == set(NEEDS_REASON)


def test_an_unknown_attribute_of_a_result_is_an_error_with_the_nearest_name(calls: Calls) -> None:
    diagnosis = rl.doctor(SampleRows(), checks="retry_storm")
    for value, wrong, right in (
        (diagnosis, "finding", "findings"),
        (rl.Plan.__new__(rl.Plan), "excute", "execute"),
        (calls.lab, "sqll", "lab.sql"),
        (calls.lab.admin, "list_deploymets", "list_deployments"),
        (rl.Report("INC-42"), "wirte", "write"),
    ):
        with pytest.raises(errors.NoSuchName, match=rf"has no attribute '{wrong}'\. Did you mean '?{right}'?\?"):
            getattr(value, wrong)
        assert not hasattr(value, wrong)
    with pytest.raises(AttributeError, match="_repr_nothing_"):
        diagnosis._repr_nothing_  # noqa: B018
    with pytest.raises(AttributeError, match="of the property"):
        _Broken().summary  # noqa: B018


class _Broken(SampleRows):
    @property
    def summary(self) -> str:
        raise AttributeError("of the property")


UNWRITABLE: Mapping[str, Callable[[Any, str], object]] = {
    "freeze": lambda source, path: rl.freeze(source, path, progress=False),
    "csv": lambda _, path: rl.save(FRAME, f"{path}.csv"),
    "parquet": lambda _, path: rl.save(FRAME, f"{path}.parquet"),
    "xlsx": lambda _, path: rl.save(FRAME, f"{path}.xlsx"),
    "report": lambda _, path: rl.Report("INC-42").write(f"{path}.html"),
    "evidence": lambda _, path: rl.open_evidence(path),
    "archive": lambda _, path: rl.open_history(path),
}


@pytest.mark.parametrize("name", UNWRITABLE)
@pytest.mark.parametrize("folder", ["/proc", "/dev/null"])
def test_a_place_that_cannot_be_used_is_one_line_with_its_path(name: str, folder: str) -> None:
    source = SampleRows(sys_invocation_status=[invocation(1, "invoked")])
    with pytest.raises(errors.ArgumentError) as caught:
        UNWRITABLE[name](source, f"{folder}/x")
    assert folder in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # files of xlsxwriter
@pytest.mark.parametrize("name", [name for name in UNWRITABLE if name not in {"evidence", "archive"}])
def test_a_full_disk_is_one_line_with_the_path_and_leaves_no_file(name: str, tmp_path: Path) -> None:
    source = SampleRows(sys_invocation_status=[invocation(1, "invoked")])
    with pytest.raises(errors.WriteFailed) as caught, no_room_in_files():
        UNWRITABLE[name](source, str(tmp_path / "new"))
    message = rf"{tmp_path}/new\S* cannot be written: File too large\. Make room on the disk\."
    assert re.fullmatch(message, str(caught.value))
    assert list(tmp_path.iterdir()) == []
    del caught
    gc.collect()


def test_an_error_of_another_file_stays_its_own(tmp_path: Path) -> None:
    other = FileNotFoundError(2, "No such file", "/of/the/source")
    with pytest.raises(FileNotFoundError) as caught:
        rl.freeze(_failing(other), tmp_path / "new", progress=False)
    assert caught.value is other


class _Failing(SampleRows):
    """Raises an error at the first statement about invocations."""

    error: Exception

    def stream(self, statement: str, /, **options: Any) -> Any:
        if "sys_invocation" in statement and "information_schema" not in statement:
            raise self.error
        return super().stream(statement, **options)


def _failing(error: Exception) -> SampleRows:
    source = _Failing(sys_invocation_status=[invocation(1, "invoked")])
    source.error = error
    return source


SEARCHES: Mapping[str, Callable[[], object]] = {
    "too long": lambda: rl.find(SampleRows(), NEEDLE * 100),
    "source": lambda: rl.find("lab", NEEDLE),
    "swapped": lambda: rl.find(NEEDLE, SampleRows()),
    "misspelled": lambda: rl.find(SampleRows(), NEEDLE, servce="Payments"),
    "by name": lambda: rl.find(SampleRows(), text=NEEDLE),
    "misspelled name": lambda: rl.find(SampleRows(), txet=NEEDLE),
    "too many": lambda: rl.find(SampleRows(), NEEDLE, "Payments"),
    "wrong type": lambda: rl.find(SampleRows(), NEEDLE, progress=5),
    "size": lambda: rl.find(SampleRows(), NEEDLE, max_bytes="much"),
    "time": lambda: rl.find(SampleRows(), NEEDLE, since="yesterday"),
    "service": lambda: rl.find(SampleRows(), NEEDLE, service="Paymnts"),
    "timeout": lambda: rl.find(SampleRows(), NEEDLE, timeout=-1),
    "of the source": lambda: rl.find(_failing(errors.TimedOut("too slow")), NEEDLE),
    "unreadable": lambda: rl.find(_failing(KeyError("id")), NEEDLE),
    "connect": lambda: rl.connect("http://127.0.0.1:9", token=NEEDLE, audit=5),
    "connect, misspelled": lambda: rl.connect(tokne=NEEDLE),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_searched_text_is_in_no_message_and_no_local_variable(name: str) -> None:
    """Of each error of a search, and of a connection with a token, as a verbose traceback shows it."""
    with pytest.raises(errors.RestateLabError) as caught:
        SEARCHES[name]()
    assert NEEDLE not in our_locals(caught.value) + str(caught.value)


def test_a_needle_whose_check_failed_has_a_repr() -> None:
    for text in (None, Secret("abc")):
        needle = Needle.__new__(Needle)
        with pytest.raises(errors.ArgumentError):
            needle.__init__(text)  # type: ignore[misc]
        assert repr(needle) == "<Needle Secret(•••)>"
