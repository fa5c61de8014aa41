"""Every form of ``app``, and what is reported where there is no app or no handler."""

from __future__ import annotations

import base64
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import restate

from restate_lab.testing import (
    AppNotFound,
    HandlerNotFound,
    NetworkUsed,
    ReplayTimedOut,
    UnusableRecord,
    replay as replay_module,
)
from support import local_app
from support.local_app import PLACED, app, orders, payments, place, record


class Mount:
    """A route of Starlette or FastAPI."""

    def __init__(self, app: Any, path: str) -> None:
        self.app, self.path = app, path


class Api:
    """An app of Starlette or FastAPI, with routes that are mounted."""

    def __init__(self, *routes: Mount) -> None:
        self.routes = list(routes)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the endpoint is called without the routes")


class Middleware(Api):
    """An app around another one."""

    def __init__(self, app: Any) -> None:
        super().__init__()
        self.app = app


api = Api(Mount(object(), "/static"), Mount(Middleware(app), "/restate"))


def decorated() -> Any:
    inner = app

    async def wrapper(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)

    return wrapper


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make an empty folder the current one, and forget the modules that a test imports from it."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    path = list(sys.path)
    yield tmp_path
    local_app.release()
    assert sys.path == path
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def write(folder: Path, name: str, code: str) -> None:
    (folder / f"{name}.py").write_text(textwrap.dedent(code))


@pytest.mark.parametrize(
    "form",
    [
        app,
        orders,
        [orders, payments],
        (payments, orders),
        place,
        api,
        Middleware(api),
        decorated(),
        local_app.create_app,
        "support.local_app:app",
        "support.local_app",
        "support.local_app:create_app()",
        "support.local_app:create_app",
        "support.local_app:orders",
        "support.local_app:place",
        " support.local_app : app ",
    ],
    ids=lambda form: form if isinstance(form, str) else type(form).__name__,
)
def test_an_app_has_many_forms(form: Any) -> None:
    """Also one with identity keys, which accepts only requests that a server signed."""
    assert record("place", *PLACED).run(form).next == "Run 'ship'"


def test_a_module_of_the_current_folder_is_imported(folder: Path) -> None:
    write(folder, "shop_of_folder", "from support.local_app import app as service\n")
    assert record("place").run("shop_of_folder:service").next == "Run 'price'"


def test_a_real_app_of_starlette(folder: Path) -> None:
    starlette = pytest.importorskip("starlette.applications")
    routing = pytest.importorskip("starlette.routing")
    mounted = starlette.Starlette(routes=[routing.Mount("/restate", app=app)])
    assert record("place").run(mounted).next == "Run 'price'"


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ("no_such_module:app", "there is no module 'no_such_module' in .*"),
        ("support.no_such_module", r"there is no module 'support\.no_such_module'"),
        ("support.local_app:api", r"module 'support\.local_app' has no Restate app 'api'; it has .*app"),
        ("support.local_app:step", "has no Restate app 'step'"),
        ("support.local_app:orders.name", "has no Restate app 'orders.name'"),
        ("", "app is empty"),
        (":app", "app is empty"),
        (3, "app is a int, not a Restate app"),
        ([], "app is a list, not a Restate app"),
        (object(), "app is a object, not a Restate app"),
        ("broken_app:app", r"importing broken_app failed: ZeroDivisionError\('division by zero'\)"),
        ("leaving_app:app", r"importing leaving_app failed: SystemExit\(3\)"),
        ("needing_app:app", r"importing needing_app failed: KeyError\('OPENAI_API_KEY'\)"),
        ("half_app:app", r"importing half_app failed: ModuleNotFoundError\(\"No module named 'no_such_part'\"\)"),
    ],
)
def test_no_app_is_one_short_error(folder: Path, form: Any, problem: str) -> None:
    write(folder, "broken_app", "1 / 0\n")
    write(folder, "leaving_app", "raise SystemExit(3)\n")
    write(folder, "needing_app", "import os\nos.environ['OPENAI_API_KEY']\n")
    write(folder, "half_app", "import no_such_part\n")
    with pytest.raises(AppNotFound, match=problem):
        record("place").run(form)


def test_the_names_of_a_module_that_are_apps_are_listed(folder: Path) -> None:
    write(folder, "mounted_app", "from test_apps_parts import api\n")
    write(
        folder,
        "test_apps_parts",
        """
        from support.local_app import app as inner

        class Route:
            def __init__(self):
                self.app, self.path = inner, "/restate"

        class Api:
            routes = [Route()]

            async def __call__(self, scope, receive, send): ...

        api = Api()
        """,
    )
    with pytest.raises(AppNotFound, match=r"has no Restate app 'app'; it has api \(Api, mounted at /restate\)\."):
        record("place").run("mounted_app")


def test_a_module_that_starts_a_server_is_reported(folder: Path) -> None:
    write(
        folder,
        "serving_app",
        """
        import socket
        from support.local_app import app

        socket.create_server(("127.0.0.1", 0)).accept()
        """,
    )
    with pytest.raises(NetworkUsed, match=r"importing serving_app:app: .*:0' at serving_app.py:5, .*'__main__'"):
        record("place").run("serving_app:app")


def test_a_module_that_tries_the_network_at_its_import_is_no_error(folder: Path) -> None:
    """Libraries try whether there is IPv6, and go on without it."""
    write(
        folder,
        "trying_app",
        """
        import socket
        from support.local_app import app

        try:
            with socket.socket() as each:
                each.bind(("127.0.0.1", 0))
            HAS_NETWORK = True
        except Exception:
            HAS_NETWORK = False
        """,
    )
    assert record("place").run("trying_app:app").next == "Run 'price'"
    assert sys.modules["trying_app"].HAS_NETWORK is False


def test_a_module_that_waits_is_over_at_the_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "waiting_app", "from support.local_app import HELD\nHELD.wait(20)\n")
    monkeypatch.setattr(replay_module, "_IMPORT_LIMIT", 0.3)
    local_app.HELD.clear()
    with pytest.raises(ReplayTimedOut, match=r"importing waiting_app:app did not end within 0.3 s at waiting_app"):
        record("place").run("waiting_app:app", timeout=0.1)


def test_a_handler_that_the_app_does_not_have() -> None:
    with pytest.raises(HandlerNotFound, match=r"no handler Orders/refund; it has Orders/place, .*Payments/"):
        record("refund").run(app)
    with pytest.raises(HandlerNotFound, match="the app has no handler Orders/place; it has Payments/charge"):
        record("place").run(payments)


def test_a_service_with_the_codec_of_an_app_keeps_it() -> None:
    """The values of a journal with a codec are not compared, and are decoded with it."""
    from restate.entry_codec import JournalValueCodec

    class Reversing(JournalValueCodec):
        def encode(self, buf: bytes) -> bytes:
            return buf[::-1]

        async def decode(self, buf: bytes) -> bytes:
            return buf[::-1]

    encoded = restate.app([orders, payments], journal_value_codec=Reversing())
    entries = ({"type": "Command: Input", "value": '}"A" :"uks"{'[::1]}, *PLACED[1:2])
    answers = {"Run price": b'}3 :"ecirp"{'}
    outcome = record("place", *entries).outcome(encoded, answers=answers)
    assert outcome.next == "Call Payments/charge"


def test_encrypted_payloads_need_the_codec_of_the_app() -> None:
    sealed = base64.b64encode(b"RTv1\0" + bytes(40)).decode()
    with pytest.raises(UnusableRecord, match="encrypted by the SDK, and this app has no codec"):
        record("place", {"type": "Command: Input", "value": {"base64": sealed}}).run(app)
