"""The calls of restate_lab in texts: where they are, and whether Python would accept them."""

from __future__ import annotations

import ast
import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import restate_lab as rl
from restate_lab.analysis.questions.catalog import names
from restate_lab.analysis.questions.parameters import parameters_of
from restate_lab.client.models.base import ModelList

BEHIND = {"rl": rl, "lab": rl.Lab, "lab.admin": rl.AdminClient, "lab.ingress": rl.IngressClient, "plan": rl.Plan}
METHODS = {"execute": rl.Plan.execute, "first": rl.Plan.first, "add": rl.Report.add, "write": rl.Report.write}
"""The objects behind the names in texts; a method of a result is listed by its own name."""
RESULTS: dict[str, Any] = {name: getattr(rl, name) for name in rl.__all__ if isinstance(getattr(rl, name), type)}
RESULTS["ModelList"] = ModelList
_CALL = re.compile(r"(?<![\w.$\"'])(?:rl|lab|plan)(?:\.[a-z]\w*)+\(")
_FOLLOWING = re.compile(r"\.[a-z]\w*")
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_VALUE, _COMPOSED = "X", "Y"  # in place of the value of an argument, and of a part that a text composes


def calls_in(text: str) -> Iterator[str]:
    """Give the complete calls of restate_lab in a text, with what follows such as ``.frame``, as Python code."""
    text = re.sub(r"(: )?…", r"\1...", text)
    for start in _CALL.finditer(text):
        end = _end_of_call(text, start.end() - 1)
        while end and (following := _FOLLOWING.match(text, end)):
            is_called = text[following.end() :].startswith("(")
            end = _end_of_call(text, following.end()) if is_called else following.end()
        if end:
            yield " ".join(text[start.start() : end].split())


def _end_of_call(text: str, start: int) -> int | None:
    expected: list[str] = []
    for at, character in enumerate(text[start:], start):
        if character in _CLOSING:
            expected.append(_CLOSING[character])
        elif expected and character == expected[-1]:
            expected.pop()
        if not expected:
            return at + 1
    return None


def texts_of(path: Path) -> Iterator[str]:
    """Give the texts of a file; of Python, its strings, in which each composed part is ``Y``."""
    text = path.read_text("utf-8")
    if path.suffix != ".py":
        yield text
        return
    tree = ast.parse(text)
    parts: set[ast.AST] = set()
    for node in ast.walk(tree):  # a node before its parts
        if isinstance(node, ast.JoinedStr):
            parts.update(ast.walk(node))
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else _COMPOSED for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in parts:
            yield node.value
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("SuggestedCall", "ask_call")):
            yield from _code_of(node)


def _code_of(call: ast.Call) -> Iterator[str]:
    """Give the code of a suggested call whose verb is written out; the values of its arguments are ``X``."""
    if not (call.args and isinstance(call.args[0], ast.Constant)):
        return
    if ast.unparse(call.func) == "ask_call":
        options = [f"{each.arg}=X" for each in call.keywords if each.arg not in {"comment", None}]
        yield f"rl.ask({', '.join(['lab', repr(call.args[0].value), *options])})"
        return
    verb = call.args[0].value
    named = {each.arg: each.value for each in call.keywords}
    arguments = call.args[1] if len(call.args) > 1 else named.get("arguments", ast.Tuple([]))
    options = call.args[2] if len(call.args) > 2 else named.get("options", ast.Dict([], []))
    result = named.get("result")
    if not isinstance(arguments, ast.Tuple) or not isinstance(options, ast.Dict):
        return
    written = [_VALUE] * len(arguments.elts) + [f"{ast.literal_eval(name)}=X" for name in options.keys if name]
    code = f"{verb}({', '.join(written)})" if "." in verb else f"rl.{verb}({', '.join(['lab', *written])})"
    yield f"{code}.{result.value}" if isinstance(result, ast.Constant) else code


def check(code: str) -> None:
    """Assert that a name in the code exists, and that each call of restate_lab gets the arguments that it takes."""
    tree = ast.parse(code)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (owner := BEHIND.get(ast.unparse(node.value))):
            assert hasattr(owner, node.attr), code
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call):
            _check_result(node, code, is_called=id(node) in called)
        if isinstance(node, ast.Call) and (function := behind(node.func)):
            assert_fits(function, node, code)


def _check_result(attribute: ast.Attribute, code: str, *, is_called: bool) -> None:
    """Assert that a result has the attribute, and that only a method is called."""
    function = behind(typing.cast("ast.Call", attribute.value).func)
    returned = inspect.signature(function).return_annotation if inspect.isroutine(function) else ""
    kind = RESULTS.get(returned.partition("[")[0])
    if kind is not None:
        assert attribute.attr in {
            *dir(kind),
            *(name for each in kind.__mro__ for name in inspect.get_annotations(each)),
        }, code
        assert callable(getattr(kind, attribute.attr, None)) == is_called, code


def behind(function: ast.expr) -> Any:
    """Return the function that is called; None if it is not from restate_lab."""
    if not isinstance(function, ast.Attribute):
        return None
    owner = BEHIND.get(ast.unparse(function.value))
    return getattr(owner, function.attr) if owner else METHODS.get(function.attr)


def _is_open(argument: ast.expr) -> bool:
    """Return whether an argument can be several ones: an ellipsis, or a composed part of a text."""
    written = ast.unparse(argument)
    return written == "..." or not written.strip(_COMPOSED)


def assert_fits(called: Any, call: ast.Call, code: str) -> None:
    """Bind the arguments as Python would; some arguments may not be in the text."""
    positional = [None for each in call.args if not _is_open(each)]
    open_end = len(positional) < len(call.args)
    signature = inspect.signature(called)
    if next(iter(signature.parameters), "") == "self":
        positional.insert(0, None)
    named = {each.arg: None for each in call.keywords if each.arg}
    try:
        (signature.bind_partial if open_end or not call.args + call.keywords else signature.bind)(*positional, **named)
    except TypeError as error:
        raise AssertionError(f"{code}: {error}") from error
    if called is rl.ask and len(call.args) > 1 and isinstance(call.args[1], ast.Constant):
        question = call.args[1].value
        if question == _COMPOSED:
            return
        assert question in {*names(), "name"}, code
        takes = {"timeout", "now", "parameter"} | {each.name for each in parameters_of(question)}
        assert set(named) <= takes, code
