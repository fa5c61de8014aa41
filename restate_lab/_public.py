"""Common parts of public classes and functions: their module, their errors for a wrong call, and their extras."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

from restate_lab.errors import ArgumentError, MissingExtra

Class = TypeVar("Class", bound=type)
P = ParamSpec("P")
R = TypeVar("R")

_SHORTEST_PART = 3  # characters; names often contain shorter texts by chance
SOURCES = frozenset({"source", "lab", "before", "after"})
"""The parameters of public functions that are a connection, or another source."""
_MEMBERS = ("name", "address", "version", "features", "now", "live", "coverage", "tables", "sql", "arrow", "stream")
_CONNECTION = "a connection"
EXAMPLES = {
    "a": ("the id of an invocation", '"inv_1…"'),
    "action": ("an action", '"resume"'),
    "after": ("a second source", "after"),
    "app": ("an app", '"shop.app:app"'),
    "awakeable_id": ("the id of an awakeable", '"sign_1…"'),
    "before": ("two sources", "before"),
    "cluster_name": ("the name of a Kafka cluster", '"kafka"'),
    "content": ("a frame, a plot, a result or a text", "frame"),
    "deployment": ("the id of a deployment", '"dp_1…"'),
    "deployment_or_time": ("a deployment or a time", '"dp_1…"'),
    "deployments": ("the ids of deployments", "ids"),
    "endpoint": ("the address of an endpoint", '"http://127.0.0.1:4318/v1/traces"'),
    "entry": ("the index of an entry", "7"),
    "failed": ("the ids of invocations", "ids"),
    "failing": ("the failing invocations", '"failed"'),
    "folder": ("a folder", '"tests"'),
    "frame": ("a frame", "frame"),
    "handler": ("the name of a handler", '"charge"'),
    "ids": ("the ids of invocations", "ids"),
    "invocation_id": ("the id of an invocation", '"inv_1…"'),
    "key": ("a key", '"4711"'),
    "lab": (_CONNECTION, "lab"),
    "message": ("a message", '"the address is wrong"'),
    "n": ("a number of targets", "10"),
    "name": ("a name", '"retry_storm"'),
    "new_state": ("the new state", '{"count": b"7"}'),
    "object_key": ("a key", '"4711"'),
    "path": ("a path", "path"),
    "properties": ("properties", '{"bootstrap.servers": "host:9092"}'),
    "reason": ("a reason", '"INC-42: …"'),
    "result": ("a result or a frame", "rl.waits(lab)"),
    "rules": ("a list of rules", "rules"),
    "runs": ("conversations, or the frame of agent_runs()", "rl.conversation(lab, id)"),
    "service": ("the name of a service", '"Payments"'),
    "sink=": ("a handler", '"service://Service/handler"'),
    "source": (_CONNECTION, "lab"),
    "source=": ("a topic", '"kafka://cluster/topic"'),
    "statement": ("a statement", '"SHOW TABLES"'),
    "subscription": ("the id of a subscription", '"sub_1…"'),
    "targets": ("the ids of invocations", "ids"),
    "text": ("a text", '"order 4711: the API is back"'),
    "title": ("a title", '"INC-42"'),
    "vqueue_id": ("the id of a queue", '"vq_1…"'),
    "where": ("a folder", '"archive"'),
}
"""What a required parameter is, and its value in the example of a call, by name; "=" marks one that is not positional.

Without a row, the message has the parameter's name.
"""
INSTALL = "pip install restate-lab"
"""The command that installs the required packages that an installation without dependencies does not have."""
_OBJECTS = {"AdminClient": "lab.admin", "IngressClient": "lab.ingress"}


def public(kind: Class) -> Class:
    """Make a class report ``restate_lab`` as its module, where users import it from; return it.

    ``inspect.getsource`` cannot find its source, because with a line number Python 3.13 would show another module.
    """
    kind.__module__ = "restate_lab"
    if "__firstlineno__" in vars(kind):
        del kind.__firstlineno__  # type: ignore[attr-defined]
    return with_explained_calls(kind)


def with_explained_calls(kind: Class) -> Class:
    """Decorate the public methods of a class, inherited ones included, as ``explained`` does; return the class."""
    for owner in (each for each in kind.__mro__ if each.__module__.startswith("restate_lab")):
        for name, member in list(vars(owner).items()):
            is_method = name == "__init__" or not name.startswith("_")
            if is_method and inspect.isfunction(member) and not hasattr(member, "is_explained"):
                setattr(owner, name, explained(member))
    return kind


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Make a call without a connection, or without another required argument, one short error with an example."""
    places = source_places(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        check_sources(function, places, args)
        try:
            return function(*args, **kwargs)
        except TypeError:
            if explanation := explain_call(function, args, kwargs):
                raise explanation from None
            raise

    call.is_explained = True  # type: ignore[attr-defined]
    return call


def source_places(function: Callable[..., Any]) -> dict[str, int]:
    """Return the positions of the arguments of a function that are sources, by the parameter's name."""
    code = inspect.unwrap(function).__code__
    names = code.co_varnames[: code.co_posonlyargcount]
    return {name: at for at, name in enumerate(names) if name in SOURCES}


def check_sources(function: Callable[..., Any], places: Mapping[str, int], args: tuple[Any, ...]) -> None:
    """Raise ArgumentError if an argument for a connection or another source is something else."""
    for name, at in places.items():
        missing = missing_members(args[at]) if at < len(args) else ()
        if "sql" in missing and "stream" in missing:
            raise _needs(function, args, inspect.signature(function).parameters[name])
        if missing:
            raise ArgumentError(
                f"{type(args[at]).__name__} is not a Source: it has no {', '.join(missing)}. Pass a Lab or Evidence, "
                f"or derive the class from restate_lab.Source and define stream, name, version, features and now."
            )


def missing_members(value: object) -> list[str]:
    """Return the members of a Source that an object does not have; properties are not read, they can send queries."""
    return [each for each in _MEMBERS if inspect.getattr_static(value, each, None) is None and not hasattr(value, each)]


def explain_call(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> ArgumentError | None:
    """Return the error for a call without a required argument; None for another call."""
    signature = inspect.signature(function)
    try:
        known = signature.bind_partial(*args, **kwargs).arguments
    except TypeError:  # Python's error names an unknown keyword, or has the number of arguments
        return None
    missing = [each for each in _required(function) if each.name not in known]
    return _needs(function, args, missing[0]) if missing else None


def _required(function: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = inspect.signature(function).parameters.values()
    variable = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    return [each for each in parameters if each.default is each.empty and each.kind not in variable]


def _needs(function: Callable[..., Any], args: tuple[Any, ...], missing: inspect.Parameter) -> ArgumentError:
    """Return the error for a call that lacks an argument, with an example of the call."""
    required, called, owner = _required(function), function.__name__, "rl"
    if required[0].name == "self":
        required, owner = required[1:], type(args[0]).__name__
        owner, called = ("rl", owner) if called == "__init__" else (_OBJECTS.get(owner, owner.lower()), called)
    values = [f"{each.name}={_example(each)[1]}" if _is_keyword(each) else _example(each)[1] for each in required]
    call = f"{owner}.{called}({', '.join(values)})"
    noun = _example(missing)[0]
    if noun == _CONNECTION:
        return ArgumentError(f"{called}() needs {noun} first: {call}, with lab = rl.connect().")
    return ArgumentError(f"{called}() needs {noun}: {call}.")


def _example(parameter: inspect.Parameter) -> tuple[str, str]:
    name = parameter.name
    by_name = EXAMPLES.get(name, (name, name))
    return EXAMPLES.get(f"{name}=", by_name) if _is_keyword(parameter) else by_name


def _is_keyword(parameter: inspect.Parameter) -> bool:
    return parameter.kind is parameter.KEYWORD_ONLY


def import_extra(module: str, extra: str, *, purpose: str, advice: str = "") -> Any:
    """Return a module that an extra installs; ``purpose`` is the first part of the error, such as "x requires y".

    Raises:
        MissingExtra: the module is not installed. The message has the command that installs it, and the advice.
    """
    try:
        return importlib.import_module(module)
    except MissingExtra:  # of a part that the module uses; it has its own command
        raise
    except ImportError as error:
        command = f"pip install 'restate-lab[{extra}]'"
        text = f"{purpose}, which is not installed: run {command}."
        raise MissingExtra(f"{text} {advice}".rstrip()) from error


def require_packages(purpose: str, *packages: str, extra: str = "") -> None:
    """Check that packages are installed which a container can omit: those of notebooks and plots.

    ``purpose`` is the first part of the error, such as "a plot".

    Raises:
        MissingExtra: one of them is not installed. The message has the command that installs all of them.
    """
    missing = next((each for each in packages if importlib.util.find_spec(each) is None), None)
    if missing is not None:
        command = f"pip install 'restate-lab[{extra}]'" if extra else INSTALL
        raise MissingExtra(f"{purpose} requires {missing}, which is not installed: run {command}.")


def nearest_names(name: str, known: Iterable[str], most: int = 3) -> tuple[str, ...]:
    """Return the known names that are most similar to a name, best first; case is ignored.

    Names with similar spelling are first, followed by names that contain the whole name.
    """
    import difflib  # noqa: PLC0415 - only needed for a wrong name

    spelled = {each.casefold(): each for each in sorted(known, reverse=True)}
    wanted = name.strip().casefold()
    close = difflib.get_close_matches(wanted, spelled, n=most)
    longer = [each for each in spelled if len(wanted) >= _SHORTEST_PART and wanted in each and each not in close]
    return tuple(spelled[each] for each in (close + sorted(longer, key=len))[:most])


def did_you_mean(names: Iterable[str]) -> str:
    """Return "Did you mean 'a' or 'b'?" for suggested names; "" if there are none."""
    quoted = [repr(str(name)) for name in names]
    return f"Did you mean {' or '.join(quoted)}?" if quoted else ""
