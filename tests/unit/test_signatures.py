"""One signature convention for everything public: the source is positional, and the rest are keyword arguments.

The rules hold for every callable that ``restate_lab.__all__`` names, for the public methods of its classes, and for
those of the types that they return. A verb that is added later is checked without being listed here. Exceptions are in
``EXCEPTIONS``, with the reason.
"""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any, get_args

import pytest

import restate_lab as rl
from restate_lab import choices
from restate_lab._public import EXAMPLES, SOURCES
from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.doctor.checks import CHECKS, UPGRADE_GROUP
from restate_lab.analysis.doctor.upgrade import UPGRADE
from restate_lab.analysis.invocations.filters import PRESETS, RETRYING
from restate_lab.errors import ArgumentError
from restate_lab.panels.panel.state import VIEWS
from restate_lab.status import STATUSES
from support.sample_rows import SampleRows
from support.tracebacks import our_locals

CHOICES = {
    choices.ActionName: list(ACTIONS),
    choices.ViewName: list(VIEWS),
    choices.StatusName: [*STATUSES, RETRYING, *PRESETS],
    choices.CheckName: [*CHECKS, UPGRADE_GROUP, *UPGRADE],
}
ID = "inv_1lIyp2ByO1ey35cGbU0hywb06imDxMEZvH"
SECRET = "s3cret-in-a-wrong-keyword"
PROGRESS = (
    "``progress``: None or True shows a line once the call takes longer than a second, False shows nothing, and a "
    "``Progress`` is updated instead"
)
NOT_PARAMETERS = {"budget", "from_", "limit_seconds", "seconds", "wait"}
DURATIONS = re.compile(r"(timeout|every|refresh|age|delay|.*_timeout|.*_retention)")
DURATION_TYPES = {"DurationInput", "DurationInput | None"}
_READINGS = "the reading methods of a source: the docstring of sql says it for arrow, stream and to_parquet"
_STREAM = "a stream shows no line unless it is asked to: the caller works on the rows meanwhile"
_KINDS = ("Source", "EngineSource", "Evidence", "History", "JoinedHistory", "Lab", "PastCluster")
COPIES = {"archive", "freeze"}
EXCEPTIONS: Mapping[tuple[str, str], str] = {
    ("Panel", "names"): "wait= is a flag: whether the panel is filled before the call returns",
    ("Plan.execute", "positional"): "a person types the reason first, and it reads well by name, too",
    ("audit_log", "has a timeout"): "it reads files of this computer, and no request is sent",
    (
        "open_evidence",
        "has a timeout",
    ): "it reads files, and what it checks has to be checked whole: verify=False is fast",
    ("open_history", "has a timeout"): "it reads files, and a cluster within the limit of its connection",
    (
        "connect",
        "says how it ends",
    ): "timeout= is that of later calls; its own request is /version, ten seconds at most",
    ("connect", "costs"): "timeout= is that of later calls; None means two minutes",
    ("incident_report", "costs"): "it makes several scans, and writes the report also when the time is over",
    ("Lab", "says how it ends"): "timeout= is that of later calls",
    ("Panel.wait", "says how it ends"): "it returns whether the panel has read, and reads nothing",
    **{
        (f"{kind}.{name}", rule): _READINGS
        for kind in _KINDS
        for name in ("arrow", "stream")
        for rule in ("says how it ends", "progress")
        if (name, rule) != ("stream", "progress")
    },
    **{(name, rule): _READINGS for name in ("Lab.to_parquet",) for rule in ("says how it ends", "progress")},
    **{(f"{kind}.stream", "progress"): _STREAM for kind in _KINDS},
}


def public() -> dict[str, Callable[..., Any]]:
    """Return every public callable by its name: functions, classes, and the methods of all classes."""
    found: dict[str, Callable[..., Any]] = {}
    left = [(name, getattr(rl, name)) for name in rl.__all__]
    seen: set[str] = set()
    while left:
        name, thing = left.pop()
        if name in seen or not callable(thing) or (inspect.isclass(thing) and issubclass(thing, enum.Enum)):
            continue
        seen.add(name)
        if inspect.isclass(thing):
            left += [(f"{name}.{each}", member) for each, member in methods(thing)]
        if not inspect.isclass(thing) or name in set(rl.__all__) - rl._TYPES:  # others are made by verbs
            found[name] = thing
        left += [(kind.__name__, kind) for kind in returned(thing)]
    return found


def methods(kind: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the public methods that are written in this package, inherited ones included."""
    for name, member in inspect.getmembers_static(kind, inspect.isfunction):
        if not name.startswith("_") and str(member.__module__).startswith("restate_lab"):
            yield name, member


def returned(thing: Callable[..., Any]) -> Iterator[type]:
    """Yield the classes of this package that a callable returns, and that the properties of a class return."""
    members = inspect.getmembers_static(thing, lambda each: isinstance(each, property | cached_property))
    properties = [each for name, each in members if not name.startswith("_")]
    for function in (thing, *(each.fget if isinstance(each, property) else each.func for each in properties)):
        plain: Any = inspect.unwrap(function) if inspect.isfunction(function) else None
        for name in re.findall(r"\w+", str(plain.__annotations__.get("return", ""))) if plain else ():
            kind = plain.__globals__.get(name) or imported(plain.__module__).get(name)
            if inspect.isclass(kind) and kind.__module__.startswith("restate_lab"):
                yield kind


@cache
def imported(module: str) -> dict[str, Any]:
    """Return the names that a module imports from this package, also for types only or late."""
    tree = ast.parse(Path(inspect.getfile(importlib.import_module(module))).read_text(encoding="utf-8"))
    found = [each for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)]
    ours = [each for each in found if str(each.module).startswith("restate_lab.")]
    return {
        alias.name: getattr(importlib.import_module(str(each.module)), alias.name, None)
        for each in ours
        for alias in each.names
    }


def parameters(thing: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of a caller."""
    try:
        found = list(inspect.signature(thing).parameters.values())
    except ValueError:  # of a protocol or an exception
        return []
    return [each for each in found if each.name != "self"]


PUBLIC = public()
VERBS = {name: each for name, each in PUBLIC.items() if inspect.isfunction(each) and "." not in name}


def positional(_: str, thing: Callable[..., Any]) -> Iterator[str]:
    """Yield the parameters that could be passed by position and by name."""
    for each in parameters(thing):
        if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            yield f"{each.name} is taken by position and by name: choose one"


def names(_: str, thing: Callable[..., Any]) -> Iterator[str]:
    """Yield the parameters with a name that differs from the usual one."""
    for each in parameters(thing):
        if each.name in NOT_PARAMETERS:
            yield f"{each.name}: a time limit is timeout, an index in a journal is from_index"


def durations(_: str, thing: Callable[..., Any]) -> Iterator[str]:
    """Yield the durations that do not take seconds, text and a timedelta."""
    for each in parameters(thing):
        is_duration = DURATIONS.fullmatch(each.name) or re.fullmatch(r".*\btimedelta\b.*", str(each.annotation))
        is_time = "datetime" in str(each.annotation)
        if is_duration and not is_time and str(each.annotation) not in DURATION_TYPES:
            yield f"{each.name} is {each.annotation}, and should be DurationInput"


def has_a_timeout(name: str, thing: Callable[..., Any]) -> Iterator[str]:
    """Yield the verbs that read from a source, or from a path, and have no timeout."""
    given = parameters(thing)
    is_verb = inspect.isfunction(thing) and "." not in name
    reads = bool(given) and re.search(r"\b(Source|Lab|PathLike)\b", str(given[0].annotation))
    if is_verb and reads and "timeout" not in {each.name for each in given}:
        yield "it reads and has no timeout"


def costs(name: str, thing: Callable[..., Any]) -> Iterator[str]:
    """Yield the verbs whose default timeout is not the one of a point read, a scan or a copy."""
    given = {each.name: each.default for each in parameters(thing)}
    if inspect.isfunction(thing) and "." not in name and "timeout" in given:
        usual = (None,) if name in COPIES else ("30s", "2m")
        if given["timeout"] not in usual:
            yield f"the default timeout is {given['timeout']!r}, and should be {' or '.join(map(str, usual))}"


def says_how_it_ends(_: str, thing: Callable[..., Any]) -> Iterator[str]:
    """Report a callable with a timeout whose docstring does not state the effect of the timeout."""
    has_timeout = "timeout" in {each.name for each in parameters(thing)}
    if has_timeout and not re.search(r"TimedOut|incomplete|OutcomeUnknown", inspect.getdoc(thing) or ""):
        yield "its docstring says neither TimedOut, nor incomplete, nor OutcomeUnknown"


def progress(_: str, thing: Callable[..., Any]) -> Iterator[str]:
    """Yield the callables whose progress parameter differs from all others."""
    for each in parameters(thing):
        if each.name != "progress":
            continue
        if (str(each.annotation), each.default) != ("bool | Progress | None", None):
            yield f"progress is {each.annotation}"
        if PROGRESS not in " ".join((inspect.getdoc(thing) or "").split()):
            yield "its docstring lacks the sentence about progress"


RULES = (positional, names, durations, has_a_timeout, costs, says_how_it_ends, progress)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_public_callable_follows_the_rule(rule: Callable[..., Iterator[str]]) -> None:
    """Each rule holds for all callables except its exceptions, and each exception is needed."""
    title = rule.__name__.replace("_", " ")
    found = {name: list(rule(name, thing)) for name, thing in PUBLIC.items()}
    broken = {name: faults for name, faults in found.items() if faults}
    excepted = {name for name, about in EXCEPTIONS if about == title}
    assert {name: faults for name, faults in broken.items() if name not in excepted} == {}
    assert excepted <= broken.keys(), "these follow the rule: take them out of EXCEPTIONS"


def test_the_rules_see_the_result_types() -> None:
    """The results of verbs follow the rules, too; and a verb is recognized by its first parameter."""
    methods_of_results = {"Plan.execute", "Diagnosis.by_severity", "Waits.graph", "Evidence.sql"}
    methods_of_a_lab = {"Lab.sql", "AdminClient.modify_service", "IngressClient.call"}
    assert methods_of_results | methods_of_a_lab | {"Report.add", "Panel.open_invocation"} <= PUBLIC.keys()
    timed = {name for name, thing in VERBS.items() if "timeout" in {each.name for each in parameters(thing)}}
    assert {"ask", "doctor", "journal", "move_to", "plan", "set_state", "state", "waits", "why"} <= timed


def test_each_rule_finds_what_breaks_it() -> None:
    for rule in RULES:
        assert list(rule("reading", _reading)) or list(rule("waiting", _waiting)), rule.__name__


def _reading(source: rl.Source, wait: float, *, every: float = 3, progress: bool = False) -> None:
    """Read for a while."""


def _waiting(source: rl.Source, /, *, timeout: str = "10s") -> None:
    """Wait for a while."""


def test_a_misspelled_keyword_is_named_in_the_error() -> None:
    """Every public callable refuses an unknown keyword before it does anything; the error has no value of it."""
    strict = {name: thing for name, thing in OWNED.items() if not _takes_any(thing)}
    del strict["tracebacks"], strict["Source"]  # the one is below the layer of these errors, the other has no arguments
    for name, thing in strict.items():
        receiver = ["self"] if "." in name else []
        with pytest.raises(ArgumentError, match=r"\(\) has no argument 'tokne'\. (Did you mean|It has) ") as caught:
            thing(*receiver, tokne=SECRET)
        assert SECRET not in str(caught.value)
        if name in {"connect", "find"}:
            assert SECRET not in our_locals(caught.value)
    assert {"connect", "plot", "Panel", "Report", "Plan.execute"} <= set(strict)
    assert len(strict) > 100


OWNED = {name: thing for name, thing in PUBLIC.items() if name.partition(".")[0] in rl.__all__}
"""The callables of the public names, without those of types that only a panel makes."""


def lacking(thing: Callable[..., Any]) -> list[str]:
    """Return the required parameters of a callable."""
    kinds = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    return [each.name for each in parameters(thing) if each.default is each.empty and each.kind not in kinds]


NEEDING = {name: thing for name, thing in OWNED.items() if lacking(thing) and not name.startswith("Source")}
# Source is abstract; Lab has its methods
READING = {
    name: thing
    for name, thing in OWNED.items()
    if any(each.name in SOURCES and each.kind is each.POSITIONAL_ONLY for each in parameters(thing))
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of delete_invocation
@pytest.mark.parametrize("name", NEEDING)
def test_a_call_without_arguments_is_one_short_error_with_an_example(name: str) -> None:
    owner, is_method, called = name.partition(".")
    receiver = [getattr(rl, owner).__new__(getattr(rl, owner))] if is_method else []
    with pytest.raises(rl.errors.ArgumentError) as caught:
        NEEDING[name](*receiver)
    message, prefix = (
        str(caught.value),
        re.escape({"AdminClient": "lab.admin", "IngressClient": "lab.ingress"}.get(owner, owner.lower())),
    )
    call = rf"{prefix}\.{called}\(.+\)" if is_method else rf"rl\.{name}\(.+\)"
    assert re.fullmatch(rf"{called or name}\(\) needs .+: {call}(, with lab = rl\.connect\(\))?\.", message)
    assert len(message) < 160


@pytest.mark.parametrize("name", READING)
@pytest.mark.parametrize("value", ["demo", None, {"a": 1}, rl.connect], ids=lambda value: type(value).__name__)
def test_another_value_than_a_source_is_one_short_error_with_an_example(name: str, value: object) -> None:
    with pytest.raises(rl.errors.ArgumentError, match=rf"^{name}\(\) needs .*: rl\.{name}\(.+\)") as caught:
        READING[name](*[value] * 2)
    assert "demo" not in str(caught.value)


def test_calls_that_lack_one_argument_name_it() -> None:
    lab: Any = SampleRows()
    cases: dict[str, Callable[[], object]] = {
        'why() needs a connection first: rl.why(lab, "inv_1…"), with lab = rl.connect().': lambda: rl.why(ID),
        'why() needs the id of an invocation: rl.why(lab, "inv_1…").': lambda: rl.why(lab),
        "compare() needs a second source: rl.compare(before, after).": lambda: rl.compare(lab),
        'archive() needs a folder: rl.archive(lab, "archive").': lambda: rl.archive(lab),
        "doctor() needs a connection first: rl.doctor(lab), with lab = rl.connect().": lambda: rl.doctor("demo"),
        'execute() needs a reason: plan.execute(reason="INC-42: …").': lambda: rl.Plan.__new__(rl.Plan).execute(),
    }
    for message, call in cases.items():
        with pytest.raises(rl.errors.ArgumentError) as caught:
            call()
        assert str(caught.value) == message


def test_each_example_of_an_argument_is_used() -> None:
    names = {name for thing in NEEDING.values() for name in lacking(thing)}
    assert {name.rstrip("=") for name in EXAMPLES} <= names
    assert READING.keys() >= {"doctor", "compare", "Panel", "plan", "incident_report", "save_dataset"}


def _takes_any(thing: Callable[..., Any]) -> bool:
    is_deprecated = hasattr(thing, "__deprecated__")  # its warning is first
    return is_deprecated or any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters(thing))


def test_no_module_has_the_name_of_a_function() -> None:
    """A submodule, once imported, would replace the function that loads lazily."""
    modules = {module.name for module in pkgutil.iter_modules(rl.__path__)}
    assert modules.isdisjoint(name for name, thing in PUBLIC.items() if not inspect.ismodule(thing))


def test_the_types_of_names_have_all_names() -> None:
    """A type checker and an editor know the actions, views, statuses and checks that there are, in their order."""
    for type_, names in CHOICES.items():
        assert list(get_args(type_)) == names
