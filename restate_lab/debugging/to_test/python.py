"""The Python test that replays a record, its names, and the copy of the testing code that a test can import.

The test is code of the user from then on. It has no text of a cluster: names, keys, ids and messages are only in the
record. The name of its files has only ASCII letters, digits and _; the app is the text that the user passed.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import restate_lab
from restate_lab.errors import ArgumentError
from restate_lab.testing.network import NOT_REFUSED

_APP = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*(?::[^\W\d]\w*(?:\.[^\W\d]\w*)*(?:\(\))?)?")
_FILE = '''\
"""A recorded invocation, replayed on the code of this repository. Written by restate-lab; yours to change."""

{imports}
record = Record.load(__file__, "{journal}")


def test_{stem}():
    # {comment}
    # {network}
    outcome = record.run({app})
    assert {assertion}
'''
_NETWORK = (
    "No step runs. Code outside of steps does. The network and new processes are refused to it, but not to "
    f"{NOT_REFUSED}."
)
_WIDTH = 110
_COMMENTS = {
    "fails": "Until the code is corrected, this raises the recorded error.",
    "in_step": "The recorded failure is inside of a step: it has no result and does not run, so this raises the error\n"
    "    # StepWithoutResult. To go on, pass its result in answers={...}, or run it with run_steps=[...].",
    "same": "The code must follow the record to its end.",
}
_PASSES = "outcome.continues_past({last})"
KINDS = {
    "fails": ("fails", _PASSES),
    "in_step": ("in_step", _PASSES),
    "continues": ("same", _PASSES),
    "returns": ("same", "outcome.returns(record.returned)"),
    "ends": ("same", 'outcome.outcome == "returns"'),
    "waits": ("same", 'outcome.outcome == "waits"'),
}
"""What a test is for → its comment and its assertion."""
_IMPORT = "from restate_lab.testing import Record\n"
_STANDALONE = """\
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # the copy of restate_lab's testing code
from {package}.testing import Record  # noqa: E402
"""
PACKAGE = "restate_lab_testing"
"""The folder of the copy, beside the test, and the package that the test imports."""
_COPIED = ("testing", "protocol")
_OWN_IMPORT = re.compile(r"^( *(?:from|import) )restate_lab\.(?=(?:testing|protocol)\b)", re.MULTILINE)
_HEAD = "# A copy from restate_lab {version}. Do not change it: restate-lab to-test --standalone --force replaces it.\n"
_OTHER = re.compile(r"[^A-Za-z0-9]+")
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LONGEST = 30  # characters of a part
_OF_ID = 8  # the last characters of an id; its first ones are those of all invocations with the same key


def stem_of(service: str, handler: str, id_: str) -> str:
    """Return the name that the files of a test have without their endings, such as "orders_place_im6fk2aq"."""
    parts = [*(_name(each)[:_LONGEST].strip("_") for each in (service, handler)), _OTHER.sub("", id_)[-_OF_ID:].lower()]
    return "_".join(filter(None, parts)) or "invocation"


def _name(text: str) -> str:
    return _OTHER.sub("_", _WORD_START.sub("_", text)).strip("_").lower()


def check_app(app: object) -> str:
    """Return the text that names the app.

    Raises:
        ArgumentError: it is not such a text. A test imports the app, so an object cannot be passed.
    """
    if isinstance(app, str) and _APP.fullmatch(app):
        return app
    raise ArgumentError(f"app is {app!r:.80}; pass a text such as 'shop.app:app', because the test imports it.")


def write_test(stem: str, journal: str, app: str, *, kind: str, last: int, package: str = "") -> str:
    """Return the text of a test; ``kind`` is a key of ``KINDS``, ``last`` the index of the last recorded entry.

    ``package`` is the copy of the testing code that the test imports; "" for the installed one.
    """
    imports = _STANDALONE.format(package=package) if package else _IMPORT
    comment, assertion = KINDS[kind]
    return _FILE.format(
        imports=imports,
        journal=journal,
        stem=stem,
        comment=_COMMENTS[comment],
        network="\n    # ".join(textwrap.wrap(_NETWORK, _WIDTH)),
        app=f'"{check_app(app)}"',
        assertion=assertion.format(last=last),
    )


def testing_code() -> dict[str, str]:
    """Return the text of each file of the copy, by its path beside the test."""
    root, head = Path(restate_lab.__file__).parent, _HEAD.format(version=restate_lab.__version__)
    files = {f"{PACKAGE}/__init__.py": head}
    for folder in _COPIED:
        for file in sorted((root / folder).glob("*.py")):
            text = _OWN_IMPORT.sub(rf"\1{PACKAGE}.", file.read_text("utf-8"))
            files[f"{PACKAGE}/{folder}/{file.name}"] = head + text
    return files
