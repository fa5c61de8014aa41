"""Common parts of public classes and functions: their module, their errors for a wrong call, and their extras."""

from __future__ import annotations

import errno
import functools
import importlib
import importlib.util
import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from numbers import Integral, Real
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, ParamSpec, TypeVar

from restate_lab._text import one_line, truncate
from restate_lab.errors import ArgumentError, MissingExtra, NoSuchName, RestateLabError
from restate_lab.redaction import Secret, as_secret

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
    "text": ("a text", '"order 4711"'),
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
_SHOWN = frozenset({"bool", "int", "float", "Progress", "DurationInput", "TimeInput"})
"""The types of arguments whose wrong value a message has."""
_VOWELS = "aeiouAEIOU"
_LONGEST = 40  # characters of a wrong value
_PARAMETERS = re.compile(r"\[[^\[\]]*\]")
_NAMED = frozenset({inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY})
_PLACE_ERRORS = frozenset({
    errno.EACCES, errno.EEXIST, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT,
    errno.ENOTDIR, errno.ENXIO, errno.EPERM, errno.EROFS,
})  # fmt: skip
"""The errors of a path; a full or broken disk is an OSError."""


class _Type(NamedTuple):
    """What a parameter takes, for a message, and the function that recognizes it."""

    noun: str
    fits: Callable[[Any], bool]


def _of(noun: str, *types: type) -> _Type:
    return _Type(noun, lambda value: isinstance(value, types) and not isinstance(value, bool))


def _is_flag(value: object) -> bool:
    return type(value).__name__ in {"bool", "bool_"}  # numpy has both


def _is_list(value: object) -> bool:
    is_frame = hasattr(value, "columns")  # its iterator yields the names of columns
    return isinstance(value, Iterable) and not isinstance(value, bytes | Mapping) and not is_frame


def _has_ids(value: object) -> bool:
    """Return whether a value can have ids: a text, a list, an Arrow table, a finding or a result."""
    return any(hasattr(value, each) for each in ("__iter__", "column_names", "ids", "read_at"))


def _is_until(value: object) -> bool:
    return callable(value) or _is_list(value)


_NAMES = ("ACTIONS", "ActionName", "CheckName")
_CHOICES = ("Literal", "DtypeBackend", "Length", "Paper", "PlotKind")
_TYPES: Mapping[str, _Type] = MappingProxyType(
    {
        "bool": _Type("True or False", _is_flag),
        "Payloads": _Type("True, False or 'shape'", lambda value: _is_flag(value) or isinstance(value, str)),
        "str": _of("a text", str),
        **dict.fromkeys(_NAMES, _of("a text", str)),
        "Secret": _of("a text", Secret),
        "int": _of("a whole number", Integral),
        "float": _of("a number", Real),
        "DurationInput": _of("seconds, a duration such as '30s', or a timedelta", Real, str, timedelta),
        "TimeInput": _of("a time with its zone, or an age such as '2h'", str, datetime, timedelta),
        "datetime": _of("a time with its zone", datetime),
        "timedelta": _of("a timedelta", timedelta),
        "os.PathLike": _of("a path", os.PathLike),
        "Path": _of("a path", os.PathLike),
        "Iterable": _Type("a list", _is_list),
        "Sequence": _Type("a list", _is_list),
        "Collection": _Type("a list", _is_list),
        "Mapping": _of("a mapping", Mapping),
        "Headers": _of("a mapping", Mapping),
        "Callable": _Type("a function", callable),
        "Targets": _Type("ids, or a frame with a column id", _has_ids),
        "WaitUntil": _Type("a status, a list of them, or a function", _is_until),
        "fs.FileSystem": _Type("a pyarrow.fs.FileSystem", lambda value: hasattr(value, "get_file_info")),
        **dict.fromkeys(_CHOICES, _of("a text", str)),
        "Progress": _Type("a Progress", lambda value: hasattr(value, "update") and hasattr(value, "close")),
        "None": _Type("None", lambda value: value is None),
    }
)
"""The types that are checked before a call, by their names in annotations; the functions check others themselves."""


def public(kind: Class) -> Class:
    """Make a class report ``restate_lab`` as its module, where users import it from; return it.

    ``inspect.getsource`` cannot find its source, because with a line number Python 3.13 would show another module.
    """
    kind.__module__ = "restate_lab"
    if "__firstlineno__" in vars(kind):
        del kind.__firstlineno__  # type: ignore[attr-defined]
    return with_explained_calls(kind)


def with_explained_calls(kind: Class) -> Class:
    """Decorate the public methods of a class, inherited ones included, as ``explained`` does; return the class.

    An unknown attribute is an error with the most similar name.
    """
    if not hasattr(kind, "__getattr__"):
        kind.__getattr__ = _no_such_name  # type: ignore[attr-defined] # in the class, a type checker would accept any name
    for owner in (each for each in kind.__mro__ if each.__module__.startswith("restate_lab")):
        for name, member in list(vars(owner).items()):
            is_method = name == "__init__" or not name.startswith("_")
            if is_method and inspect.isfunction(member) and not hasattr(member, "is_explained"):
                setattr(owner, name, explained(member))
    return kind


def _no_such_name(value: object, name: str) -> Any:
    kind = type(value)
    known = {*dir(kind), *getattr(kind, "__dataclass_fields__", ())}
    if name.startswith("_") or name in known:  # the error comes from a property, or the object is not complete
        return object.__getattribute__(value, name)
    hint = did_you_mean(nearest_names(name, (each for each in known if not each.startswith("_")), most=1))
    raise NoSuchName(f"{kind.__name__} has no attribute {name!r}. {hint}".removesuffix(". "))


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Make a wrong call one short error with the right call, before the function does anything.

    A file or folder that cannot be used is such an error, too. Texts that can be secret become a Secret, so that a
    verbose traceback shows them in no frame: see ``conceal``.
    """
    places = source_places(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        args, kwargs = conceal(function, args, kwargs)  # type: ignore[assignment]
        check_call(function, places, args, kwargs)
        try:
            return function(*args, **kwargs)
        except OSError as error:
            if explanation := place_error(function, args, kwargs, error):
                raise explanation from error
            raise

    call.is_explained = True  # type: ignore[attr-defined]
    return call


def conceal(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call with texts as Secrets, if the function has a parameter that takes a Secret.

    Texts for another parameter remain as they are, but an unknown keyword can be a misspelled one.
    """
    shown = _shown_names(function)
    if shown is None:
        return args, dict(kwargs)
    named = {name: each if name in shown else _hide(each) for name, each in kwargs.items()}
    return tuple(map(_hide, args)), named


@functools.cache
def _shown_names(function: Callable[..., Any]) -> frozenset[str] | None:
    """Return the parameters that take no Secret; None if there are no others."""
    types = {name: type_names(str(each.annotation)) for name, each in _signature(function).parameters.items()}
    shown = frozenset(name for name, names in types.items() if "Secret" not in names)
    return None if len(shown) == len(types) else shown


def _hide(value: Any) -> Any:
    if isinstance(value, bytes):  # the function refuses it, and does not show it
        return Secret(value)  # type: ignore[arg-type]
    return as_secret(value) if isinstance(value, str) else value


def check_call(
    function: Callable[..., Any], places: Mapping[str, int], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    """Raise ArgumentError if a call has not the right arguments: their number, their names and their types."""
    check_sources(function, places, args)
    signature = _signature(function)
    try:
        known = signature.bind(*args, **kwargs).arguments
    except TypeError:
        raise _call_error(function, args, kwargs) from None
    if function.__name__ == "__init__" and hasattr(args[0], "__dataclass_fields__"):
        return  # a value that a verb makes, or that checks its fields itself
    for name, value in known.items():
        _check_type(function, args, signature.parameters[name], value)


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def _call_error(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ArgumentError:
    """Return the error for a call with an unknown name, or with more, fewer or twice the same arguments."""
    parameters = _signature(function).parameters
    by_name = {name: each for name, each in parameters.items() if each.kind in _NAMED}
    by_place = [name for name, each in parameters.items() if each.kind <= each.POSITIONAL_OR_KEYWORD]
    called, call = _called(function, args)
    unknown = [name for name in kwargs if name not in by_name]
    missing = [each for each in _required(function)[len(args) :] if each.name not in kwargs]
    if unknown and unknown[0] in parameters:
        return ArgumentError(f"{called}() takes {unknown[0]} without its name: {call}.")
    if unknown and not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        names = [name for name in by_name if name != "self"]
        hint = did_you_mean(nearest_names(unknown[0], names, most=1)) or f"It has {', '.join(names) or 'no names'}."
        return ArgumentError(f"{called}() has no argument {unknown[0]!r}. {hint}")
    if len(args) > len(by_place):
        others = ", ".join(f"{name}=" for name in by_name if name not in by_place)
        return ArgumentError(f"{called}() has too many arguments: {call}{others and f'; by name: {others}'}.")
    if missing:
        return _needs(function, args, missing[0])
    return ArgumentError(f"{called}() has an argument twice: {call}.")


def _check_type(
    function: Callable[..., Any], args: tuple[Any, ...], parameter: inspect.Parameter, value: object
) -> None:
    """Raise ArgumentError if an argument has another type than its annotation, as far as ``_TYPES`` has its names."""
    names = type_names(str(parameter.annotation))
    if parameter.name == "self" or not names <= _TYPES.keys() or value is parameter.default:
        return
    if any(_TYPES[name].fits(value) for name in names):
        return
    *nouns, last = dict.fromkeys(each.noun for name, each in _TYPES.items() if name in names)
    allowed = f"{', '.join(nouns)} or {last}" if nouns else last
    shows = names & _SHOWN and isinstance(value, str | bool | Real)  # a value of another argument can be a secret
    kind = type(value).__name__
    shown = truncate(repr(value), _LONGEST) if shows else f"{'an' if kind[0] in _VOWELS else 'a'} {kind}"
    text = f"{parameter.name} must be {allowed}; got {shown}"
    if parameter.default is parameter.empty:
        advice = " Of a frame, pass frame.id[0]." if hasattr(value, "columns") and "id" in parameter.name else ""
        raise ArgumentError(f"{text}: {_called(function, args)[1]}.{advice}")
    raise ArgumentError(f"{text}.")


def place_error(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], error: OSError
) -> ArgumentError | None:
    """Return the error for an argument that cannot be used as a path; None for another file, and for a full disk."""
    if isinstance(error, RestateLabError) or error.errno not in _PLACE_ERRORS:
        return None
    known = _signature(function).bind(*args, **kwargs).arguments
    paths = [name for name in known if "Path" in str(_signature(function).parameters[name])]
    name = next((each for each in paths if _is_about(error, known[each])), None)
    if name is None:
        return None
    why = os.strerror(error.errno or 0)
    return ArgumentError(
        f"{name} {os.fspath(known[name])!r} cannot be used: {why}. Pass a path where you can read and write."
    )


def _is_about(error: OSError, path: Any) -> bool:
    """Return whether an error names a path or its folder: a file is written under another name first."""
    if path is None:
        return False
    whole = Path(path).expanduser()
    text = f"{error.filename} {error}"
    return str(whole) in text or (whole.parent != Path() and str(whole.parent) in text)


def unusable_arguments(function: Callable[..., Any], args: tuple[Any, ...], error: Exception) -> ArgumentError:
    """Return the error for a call that failed before a response was read, so its arguments have unexpected values."""
    called, call = _called(function, args)
    return ArgumentError(
        f"{called}() cannot use these arguments: {type(error).__name__}: {one_line(str(error))}. Nothing was sent. The "
        f"call is {call}."
    )


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
            raise _needs(function, args, _signature(function).parameters[name])
        if missing:
            raise ArgumentError(
                f"{type(args[at]).__name__} is not a Source: it has no {', '.join(missing)}. Pass a Lab or Evidence, "
                f"or derive the class from restate_lab.Source and define stream, name, version, features and now."
            )


def missing_members(value: object) -> list[str]:
    """Return the members of a Source that an object does not have; properties are not read, they can send queries."""
    return [each for each in _MEMBERS if inspect.getattr_static(value, each, None) is None and not hasattr(value, each)]


def _required(function: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = _signature(function).parameters.values()
    variable = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    return [each for each in parameters if each.default is each.empty and each.kind not in variable]


def _needs(function: Callable[..., Any], args: tuple[Any, ...], missing: inspect.Parameter) -> ArgumentError:
    """Return the error for a call that lacks an argument, with an example of the call."""
    called, call = _called(function, args)
    noun = _example(missing)[0]
    if noun == _CONNECTION:
        return ArgumentError(f"{called}() needs {noun} first: {call}, with lab = rl.connect().")
    return ArgumentError(f"{called}() needs {noun}: {call}.")


def _called(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[str, str]:
    """Return the name of a function, and an example of its call with the required arguments."""
    required, called, owner = _required(function), function.__name__, "rl"
    if required and required[0].name == "self":
        required, owner = required[1:], type(args[0]).__name__
        owner, called = ("rl", owner) if called == "__init__" else (_OBJECTS.get(owner, owner.lower()), called)
    values = [f"{each.name}={_example(each)[1]}" if _is_named(each) else _example(each)[1] for each in required]
    return called, f"{owner}.{called}({', '.join(values)})"


def _example(parameter: inspect.Parameter) -> tuple[str, str]:
    name = parameter.name
    by_name = EXAMPLES.get(name, (name, name))
    return EXAMPLES.get(f"{name}=", by_name) if _is_named(parameter) else by_name


def _is_named(parameter: inspect.Parameter) -> bool:
    return (parameter.kind in _NAMED and parameter.name not in SOURCES) or parameter.kind is parameter.KEYWORD_ONLY


@functools.cache
def type_names(annotation: str) -> frozenset[str]:
    """Return the names of an annotation without their parameters: {"str", "Mapping"} of "str | Mapping[str, int]"."""
    while "[" in annotation:
        annotation = _PARAMETERS.sub("", annotation)
    return frozenset(each.strip() for each in annotation.split("|"))


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
