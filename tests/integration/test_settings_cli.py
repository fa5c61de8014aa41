"""load_settings() beside the real restate CLI: same files, same variables, one recording server.

Each case runs `restate whoami`, which prints its addresses and requests GET /version of the admin address.
"""

from __future__ import annotations

import base64
import json
import re
import socketserver
import subprocess
import tempfile
import threading
import time
import warnings
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from restate_lab.client.settings import Settings, load_settings
from restate_lab.errors import SettingsError, SettingsWarning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.server

CONFIG = "home/.config/restate/config.toml"
CHOICE = "home/.config/restate/environment"
DOTENV = "work/.env"
VERSION = {
    "version": "1.7.12",
    "min_admin_api_version": 2,
    "max_admin_api_version": 4,
    "ingress_endpoint": "http://127.0.0.1:8080/",
    "features": {},
}
OVERRIDES = {"RESTATE_ADMIN_URL", "RESTATE_HOST"}
SOURCES = {"argument": "the argument", "$RESTATE_ENVIRONMENT": "RESTATE_ENVIRONMENT", "file": "the file"}


def jwt(claims: object, *, padding: str = "") -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{body}{padding}.c2ln"


VALID = jwt({"exp": int(time.time()) + 3600})
EXPIRED = jwt({"exp": int(time.time()) - 3600})


class Request(NamedTuple):
    """A request that reached the server."""

    host: str
    path: str
    authorization: str | None


class Handler(BaseHTTPRequestHandler):
    """Answer GET /version as a Restate server does, and record every request."""

    server: Any

    def do_GET(self) -> None:
        self.server.requests.append(Request(self.headers["host"], self.path, self.headers["authorization"]))
        known = self.path.partition("?")[0].endswith(("/version", "/health"))
        body = json.dumps(VERSION).encode() if known else b""
        self.send_response(200 if known else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""

    def address_string(self) -> str:
        return "client"  # a unix socket's client has no address


class Recorder(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[Request] = []


class SocketRecorder(socketserver.ThreadingUnixStreamServer):
    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Handler)
        self.requests: list[Request] = []


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@dataclass(frozen=True)
class World:
    """The settings that both sides read: files below a folder, variables, and the argument or -e.

    ``{url}``, ``{port}`` and ``{root}`` are replaced with the recorder's address, its port and the folder.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    cwd: str = "work"


class Outcome(NamedTuple):
    """The actions of one side; only ``error`` is set if it gave up before it would have sent anything."""

    admin: str = ""
    ingress: str = ""
    authorization: str | None = None
    error: str = ""


def build(world: World, root: Path, server: Any) -> World:
    def filled(text: str) -> str:
        port = str(getattr(server, "server_port", ""))
        return text.replace("{url}", f"http://127.0.0.1:{port}").replace("{port}", port).replace("{root}", str(root))

    (root / "home").mkdir()
    (root / "work" / "below").mkdir(parents=True)
    for name, text in world.files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(filled(text).encode())
    env = {"HOME": str(root / "home"), "DO_NOT_TRACK": "1", "TERM": "dumb", "NO_PROXY": "*"}
    return World(env | {key: filled(value) for key, value in world.env.items()}, {}, world.name, str(root / world.cwd))


def ask_cli(cli: Path, world: World, server: Any) -> tuple[Outcome, str]:
    """Run the CLI and return its settings, and the origin of its environment's name."""
    server.requests.clear()
    chosen = [] if world.name is None else [f"--environment={world.name}"]
    command = [str(cli), "--connect-timeout", "500", *chosen, "whoami"]
    done = subprocess.run(
        command, env=dict(world.env), cwd=world.cwd, capture_output=True, text=True, timeout=20, check=False
    )
    printed = done.stdout + done.stderr
    source = re.search(r"^ Environment  .*\(source: (.*?)\)", printed, re.MULTILINE)
    if not server.requests and "Unable to connect" not in printed:
        return Outcome(error=printed.strip().splitlines()[-1]), ""
    admin, ingress = (re.search(rf"{what} base URL +(\S+)", printed)[1] for what in ("Admin", "Ingress"))  # type: ignore[index]
    first = server.requests[0] if server.requests else None
    if first is not None and not admin.startswith("unix:"):
        admin = f"http://{first.host}{first.path.removesuffix('/version')}"
    outcome = Outcome(admin.rstrip("/"), clean(ingress), first and first.authorization)
    return outcome, source[1] if source else ""


def clean(ingress: str) -> str:
    return "" if ingress == "(NONE)" else ingress.rstrip("/")


def ask_ours(world: World) -> tuple[Outcome, Settings | None]:
    try:
        settings = load_settings(world.name, env=world.env, cwd=Path(world.cwd))
    except SettingsError as error:
        return Outcome(error=str(error)), None
    authorization = None if settings.token is None else f"Bearer {settings.token.reveal()}"
    return Outcome(settings.admin_url, settings.ingress_url or "", authorization), settings


def section(name: str, **values: object) -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""])


def at(name: str, path: str | None = None, **values: object) -> str:
    """Return a section with the recorder's admin address and a path of its own."""
    return section(name, admin_base_url=f"{{url}}/{name if path is None else path}", **values)


def cloud(*, token: object = None, **values: object) -> dict[str, str]:
    """Return the files of a Restate Cloud environment [prod], as `restate cloud` writes them."""
    text = at("prod", environment_type="cloud", **values) + section("prod.cloud", account_id="a", environment_id="e")
    return {CONFIG: text + ("" if token is None else section("global.cloud", access_token=token))}


PROD = {"RESTATE_ENVIRONMENT": "prod"}
LOCAL = {CONFIG: at("local")}
THREE = {CONFIG: at("default") + at("prod") + at("global")}

SAME: dict[str, World] = {
    # the choice of the environment
    "nothing at all": World(),
    "argument before variable": World({"RESTATE_ENVIRONMENT": "x"}, {CONFIG: at("prod") + at("x")}, "prod"),
    "variable before file": World(PROD, {CONFIG: at("prod") + at("x"), CHOICE: "x"}),
    "file before default": World({}, {CONFIG: at("prod") + at("local"), CHOICE: "prod"}),
    "file with white space": World({}, {CONFIG: at("prod"), CHOICE: "  prod \n\n"}),
    "empty file": World({}, {CONFIG: at("local"), CHOICE: ""}),
    "empty file and [default]": World({}, {CONFIG: at("default"), CHOICE: "\n"}),
    "empty variable": World({"RESTATE_ENVIRONMENT": ""}, LOCAL),
    "empty variable and [default]": World({"RESTATE_ENVIRONMENT": ""}, {CONFIG: at("default")}),
    "a folder named environment": World({}, {**LOCAL, f"{CHOICE}/x": ""}),
    "variable with spaces": World({"RESTATE_ENVIRONMENT": " prod "}, {CONFIG: at("prod")}),
    "name in capitals": World({"RESTATE_ENVIRONMENT": "PROD"}, {CONFIG: at("prod")}),
    "section in capitals": World({}, {CONFIG: at("PROD")}, "prod"),
    "built-in name in capitals": World({"RESTATE_ENVIRONMENT": "LOCAL"}),
    "built-in section in capitals": World({}, {CONFIG: at("Local", bearer_token="t")}),
    "case beyond ASCII": World({"RESTATE_ENVIRONMENT": "ÄB"}, {CONFIG: at('"äb"', "x")}),
    "two spellings, the later is taken": World(PROD, {CONFIG: at("prod") + at("PROD")}),
    "two spellings, not merged": World(PROD, {CONFIG: at("PROD") + section("prod", bearer_token="t")}),
    "unknown": World({"RESTATE_ENVIRONMENT": "prdo"}, {CONFIG: at("prod")}),
    "unknown argument": World({}, {CONFIG: at("prod")}, "prdo"),
    "unknown with RESTATE_ADMIN_URL": World({"RESTATE_ENVIRONMENT": "x", "RESTATE_ADMIN_URL": "{url}"}),
    "named default": World({"RESTATE_ENVIRONMENT": "default"}, THREE),
    "named default, no file": World({"RESTATE_ENVIRONMENT": "default"}),
    "named global": World({"RESTATE_ENVIRONMENT": "global"}, {CONFIG: at("default") + at("global")}),
    "without an address": World(PROD, {CONFIG: section("prod", bearer_token="t")}),
    # precedence of values
    "[local] before the built-in": World({}, LOCAL),
    "[default] not before the built-in": World({}, {CONFIG: at("default", bearer_token="t")}),
    "[default] for others": World(PROD, {CONFIG: at("default", bearer_token="t") + "[prod]\n"}),
    "[prod] before [default]": World(PROD, {CONFIG: at("prod") + at("default", bearer_token="t")}),
    "[global] before [prod]": World(PROD, THREE),
    "[GLOBAL] and [DEFAULT]": World(PROD, {CONFIG: at("DEFAULT") + section("GLOBAL", bearer_token="t") + "[prod]\n"}),
    "[global] before the built-in": World({}, {CONFIG: at("global")}),
    "RESTATE_HOST before [global]": World({"RESTATE_HOST": "127.0.0.1"}, {CONFIG: at("global")}),
    "RESTATE_ADMIN_URL before [global]": World({**PROD, "RESTATE_ADMIN_URL": "{url}/v"}, THREE),
    "RESTATE_ADMIN_URL before RESTATE_HOST": World({"RESTATE_HOST": "127.0.0.2", "RESTATE_ADMIN_URL": "{url}/v"}),
    "RESTATE_ADMIN_URL, the argument's own": World({"RESTATE_ADMIN_URL": "{url}/global/"}, THREE, "prod"),
    "RESTATE_ADMIN_URL, the environment's own": World(
        {**PROD, "RESTATE_ADMIN_URL": "{url}/prod/"}, {CONFIG: at("prod", bearer_token="t")}
    ),
    "RESTATE_AUTH_TOKEN, the argument has none": World({"RESTATE_AUTH_TOKEN": "v"}, {CONFIG: at("prod")}, "prod"),
    "RESTATE_INGRESS_URL": World(
        {"RESTATE_HOST": "127.0.0.1", "RESTATE_INGRESS_URL": "http://127.0.0.1:1/i/"},
        {CONFIG: section("global", ingress_base_url="http://127.0.0.1:2")},
    ),
    "ingress of [global]": World(
        PROD, {CONFIG: at("prod") + section("global", ingress_base_url="http://127.0.0.1:2/")}
    ),
    "ingress from RESTATE_HOST": World({**PROD, "RESTATE_HOST": "127.0.0.1"}, THREE),
    "ingress of nobody": World(PROD, {CONFIG: at("prod")}),
    "ingress on a socket": World({"RESTATE_INGRESS_URL": "unix:/x/ingress.sock"}, LOCAL),
    "broken ingress": World({"RESTATE_INGRESS_URL": "127.0.0.1:1"}, LOCAL),
    "empty ingress": World({"RESTATE_INGRESS_URL": ""}, LOCAL),
    # RESTATE_HOST
    "https host": World({"RESTATE_HOST": "127.0.0.1", "RESTATE_HOST_SCHEME": "https"}),
    "scheme without host": World({"RESTATE_HOST_SCHEME": "https"}),
    "IPv6 host": World({"RESTATE_HOST": "[::1]"}),
    "IPv6 host without brackets": World({"RESTATE_HOST": "::1"}),
    "empty host": World({"RESTATE_HOST": ""}, LOCAL),
    "empty scheme": World({"RESTATE_HOST": "127.0.0.1", "RESTATE_HOST_SCHEME": ""}),
    "host with port": World({"RESTATE_HOST": "127.0.0.1:1"}),
    # tokens
    "no token": World({}, LOCAL),
    "token variable": World({"RESTATE_AUTH_TOKEN": "v"}, LOCAL),
    "token of [local]": World({}, {CONFIG: at("local", bearer_token="t")}),
    "token of [global]": World({}, {CONFIG: at("local", bearer_token="t") + section("global", bearer_token="g")}),
    "token variable before [global]": World(
        {"RESTATE_AUTH_TOKEN": "v"}, {CONFIG: at("local", bearer_token="t") + section("global", bearer_token="g")}
    ),
    "[default]'s token not for local": World({}, {CONFIG: at("local") + section("default", bearer_token="t")}),
    "token is a number": World({}, {CONFIG: at("local", bearer_token=5)}),
    "token of another is a number": World({}, {CONFIG: at("local") + section("x", bearer_token=5)}),
    # Restate Cloud
    "cloud login": World(PROD, cloud(token=VALID)),
    "cloud without login": World(PROD, cloud()),
    "cloud login expired": World(PROD, cloud(token=EXPIRED)),
    "cloud login before 1970": World(PROD, cloud(token=jwt({"exp": -5}))),
    "cloud login for millions of years": World(PROD, cloud(token=jwt({"exp": 10**15}))),
    "cloud login for thousands of years": World(PROD, cloud(token=jwt({"exp": 10**12}))),
    "cloud login is no JWT": World(PROD, cloud(token="junk")),
    "cloud login without exp": World(PROD, cloud(token=jwt({"sub": "me"}))),
    "cloud login with a float": World(PROD, cloud(token=jwt({"exp": 9e9}))),
    "cloud login with a word": World(PROD, cloud(token=jwt({"exp": "9999999999"}))),
    "cloud login with true": World(PROD, cloud(token=jwt({"exp": True}))),
    "cloud login with a list": World(PROD, cloud(token=jwt([1]))),
    "cloud login padded": World(PROD, cloud(token=jwt({"exp": 9999999999, "x": "1"}, padding="=="))),
    "cloud login of two parts": World(PROD, cloud(token=VALID.rpartition(".")[0])),
    "cloud login empty": World(PROD, cloud(token="")),
    "cloud login is a number": World(PROD, cloud(token=5)),
    "cloud login of the section itself": World(
        PROD, {CONFIG: at("prod", environment_type="cloud") + section("prod.cloud", access_token=VALID)}
    ),
    "cloud login of [global] wins": World(
        PROD,
        {
            CONFIG: at("prod", environment_type="cloud")
            + section("prod.cloud", access_token=VALID)
            + section("global.cloud", access_token=EXPIRED)
        },
    ),
    "cloud login of [default]": World(PROD, {CONFIG: cloud()[CONFIG] + section("default.cloud", access_token=VALID)}),
    "login of [default] for local": World(
        {}, {CONFIG: at("local", environment_type="cloud") + section("default.cloud", access_token=VALID)}
    ),
    "cloud with bearer_token": World(PROD, cloud(token=EXPIRED, bearer_token="t")),
    "cloud with token variable": World({**PROD, "RESTATE_AUTH_TOKEN": "v"}, cloud(token=EXPIRED)),
    "login is not for plain environments": World(
        {}, {CONFIG: at("local") + section("global.cloud", access_token=VALID)}
    ),
    "expired login of no concern": World({}, {CONFIG: at("local") + section("global.cloud", access_token=EXPIRED)}),
    "cloud without address": World(
        PROD, {CONFIG: section("prod", environment_type="cloud") + section("global.cloud", access_token=VALID)}
    ),
    "type of [default] not for local": World({}, {CONFIG: at("local") + section("default", environment_type="cloud")}),
    "type of [default] for others": World(PROD, {CONFIG: at("prod") + section("default", environment_type="cloud")}),
    "type of [global]": World({}, {CONFIG: at("local") + section("global", environment_type="cloud")}),
    "type in capitals": World({}, {CONFIG: at("local", environment_type="Cloud")}),
    "type is a number": World({}, {CONFIG: at("local", environment_type=5)}),
    "type of another is unknown": World({}, {CONFIG: at("local") + section("x", environment_type="y")}),
    "cloud is no table": World({}, {CONFIG: at("local", cloud="x")}),
    # files
    "RESTATE_CLI_CONFIG": World({"RESTATE_CLI_CONFIG": "{root}/x.toml"}, {"x.toml": at("local"), CONFIG: at("global")}),
    "RESTATE_CLI_CONFIG, relative": World({"RESTATE_CLI_CONFIG": "../x.toml"}, {"x.toml": at("local")}),
    "RESTATE_CLI_CONFIG, a tilde": World({"RESTATE_CLI_CONFIG": "~/x.toml"}, {"home/x.toml": at("local")}),
    "RESTATE_CLI_CONFIG, missing": World({"RESTATE_CLI_CONFIG": "{root}/x.toml"}, LOCAL),
    "RESTATE_CLI_CONFIG, empty": World({"RESTATE_CLI_CONFIG": ""}, LOCAL),
    "RESTATE_CLI_CONFIG, the choice stays": World(
        {"RESTATE_CLI_CONFIG": "{root}/x.toml"}, {"x.toml": at("prod"), CHOICE: "prod"}
    ),
    "RESTATE_CLI_CONFIG_HOME": World(
        {"RESTATE_CLI_CONFIG_HOME": "{root}/c"}, {"c/config.toml": at("prod"), "c/environment": "prod", CHOICE: "x"}
    ),
    "RESTATE_CLI_CONFIG_HOME, empty": World(
        {"RESTATE_CLI_CONFIG_HOME": ""}, {"work/config.toml": at("local", "w"), **LOCAL}
    ),
    "both variables": World(
        {"RESTATE_CLI_CONFIG": "{root}/x.toml", "RESTATE_CLI_CONFIG_HOME": "{root}/c"},
        {"x.toml": at("prod"), "c/config.toml": at("local"), "c/environment": "prod"},
    ),
    "XDG_CONFIG_HOME is no matter": World(
        {"XDG_CONFIG_HOME": "{root}/xdg"}, {"xdg/restate/config.toml": at("local", "xdg"), **LOCAL}
    ),
    "config.toml is a folder": World({}, {f"{CONFIG}/x": ""}),
    "byte order mark": World({}, {CONFIG: "\ufeff" + at("local")}),
    "line ends of Windows": World({}, {CONFIG: at("local").replace("\n", "\r\n")}),
    "dotted keys": World({}, {CONFIG: 'local.admin_base_url = "{url}/d"'}),
    "unknown keys": World({}, {CONFIG: at("local", colour="red")}),
    "value outside of a section": World({}, {CONFIG: "colour = 5\n" + at("local")}),
    "list of sections": World({}, {CONFIG: at("local") + "[[x]]\na = 1\n"}),
    "broken": World({}, {CONFIG: at("local") + 'bearer_token = "t'}),
    "broken, with RESTATE_ADMIN_URL": World({"RESTATE_ADMIN_URL": "{url}"}, {CONFIG: "[local"}),
    "key twice": World({}, {CONFIG: section("local", bearer_token="t") + 'bearer_token = "t"'}),
    "broken address overridden": World(
        {"RESTATE_ADMIN_URL": "{url}"}, {CONFIG: section("local", admin_base_url="a b")}
    ),
    "address is a number": World({}, {CONFIG: section("local", admin_base_url=5)}),
    # .env: it does not change variables of the real environment
    ".env behind a variable": World({"RESTATE_ADMIN_URL": "{url}/real"}, {DOTENV: "RESTATE_ADMIN_URL={url}/dot"}),
    ".env behind -e": World({}, {CONFIG: at("prod"), DOTENV: "RESTATE_ENVIRONMENT=x"}, "prod"),
    ".env without RESTATE_": World({}, {**LOCAL, DOTENV: "HOME=/nowhere\nrestate_admin_url={url}/dot"}),
    ".env hidden by a nearer one": World(
        {}, {**LOCAL, DOTENV: "RESTATE_ADMIN_URL={url}/dot", "work/below/.env": "X=1"}, cwd="work/below"
    ),
}
ADDRESSES = [
    *("{url}", "{url}/", "{url}/pre", "{url}/pre/", "{url}/a/b", "{url}//", " {url} ", "{url}\n"),
    *("HTTP://127.0.0.1:{port}", "http://localhost:{port}", "http://LOCALHOST:{port}/Pre", "http://127.0.0.1:"),
    *("127.0.0.1:{port}", "localhost:{port}", "localhost:{port}/x", ":{port}", "//127.0.0.1:{port}", "localhost", ""),
    *("ftp://127.0.0.1:{port}", "http://", "http://[::1", "http://[::1]:1", "unix:/nope.sock", "unix:nope.sock"),
]
for address in ADDRESSES:
    SAME[f"variable {address!r}"] = World({"RESTATE_ADMIN_URL": address})
    SAME[f"config {address!r}"] = World({}, {CONFIG: section("local", admin_base_url=address)})


@pytest.mark.parametrize("case", SAME)
def test_takes_what_the_cli_takes(case: str, tmp_path: Path, recorder: Recorder, restate_cli: Path) -> None:
    """Address, ingress, token and source equal the CLI's, and if the CLI gives up, we do too."""
    world = build(SAME[case], tmp_path, recorder)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SettingsWarning)
        ours, settings = ask_ours(world)
    theirs, source = ask_cli(restate_cli, world, recorder)
    assert bool(ours.error) == bool(theirs.error), (ours, theirs)
    if settings is None:
        return
    is_elsewhere = settings.chosen_by in OVERRIDES
    if is_elsewhere and not {"RESTATE_INGRESS_URL", "RESTATE_HOST"} & set(world.env):
        theirs = theirs._replace(ingress="")  # the CLI pairs the address with the ingress of the environment
    assert _comparable(ours) == _comparable(theirs)
    assert is_elsewhere or not source or settings.chosen_by.startswith(SOURCES.get(source, "the default"))
    assert not is_elsewhere or settings.environment == _host_and_port(settings.admin_url)


def _host_and_port(address: str) -> str:
    return address if address.startswith("unix:") else urlsplit(address).netloc


def _comparable(outcome: Outcome) -> Outcome:
    """Return an address in one spelling: the CLI prints the configured one, without adding scheme, host or port."""
    admin = outcome.admin
    if not admin.startswith("unix:"):
        parts = urlsplit(admin if "://" in admin else f"http://{admin if ':' in admin else f'{admin}:9070'}")
        admin = f"{parts.scheme}://{parts.hostname}:{parts.port or 80}{parts.path}"
    return outcome._replace(admin=admin)


@dataclass(frozen=True)
class Different:
    """A request that the CLI sends where we refuse or send less, and a part of our message."""

    world: World
    sent: Request | None
    said: str


DIFFERENT: dict[str, Different] = {
    "password in the address": Different(
        World({"RESTATE_ADMIN_URL": "http://u:hunter2@127.0.0.1:{port}/x"}),
        Request("127.0.0.1:{port}", "/x/version", None),
        "user name or password",
    ),
    "query in the address": Different(
        World({"RESTATE_ADMIN_URL": "{url}/x?a=1"}), Request("127.0.0.1:{port}", "/x/version?a=1", None), "query"
    ),
    "empty token for the cloud": Different(
        World({**PROD, "RESTATE_AUTH_TOKEN": ""}, cloud(token=VALID)),
        Request("127.0.0.1:{port}", "/prod/version", "Bearer "),
        "RESTATE_AUTH_TOKEN is empty",
    ),
    "an unknown name, and [default] has an address": Different(
        World({"RESTATE_ENVIRONMENT": "x"}, {CONFIG: at("default")}),
        Request("127.0.0.1:{port}", "/default/version", None),
        "Unknown environment 'x' (chosen by RESTATE_ENVIRONMENT)",
    ),
    "an unknown argument, and RESTATE_ADMIN_URL": Different(
        World({"RESTATE_ADMIN_URL": "{url}/v"}, {CONFIG: at("prod")}, "prodd"),
        Request("127.0.0.1:{port}", "/v/version", None),
        "Unknown environment 'prodd':",
    ),
    "an argument, and RESTATE_ADMIN_URL": Different(
        World({"RESTATE_ADMIN_URL": "{url}/v"}, {CONFIG: at("prod", bearer_token="t")}, "prod"),
        Request("127.0.0.1:{port}", "/v/version", "Bearer t"),
        "/v, which is not the address of the environment 'prod' that you named. Unset it, or connect to the address.",
    ),
    "an argument, and RESTATE_AUTH_TOKEN": Different(
        World({"RESTATE_AUTH_TOKEN": "v"}, {CONFIG: at("prod", bearer_token="t")}, "prod"),
        Request("127.0.0.1:{port}", "/prod/version", "Bearer v"),
        "RESTATE_AUTH_TOKEN is set and differs from the token of the environment 'prod'",
    ),
    "an argument, and RESTATE_AUTH_TOKEN before its login": Different(
        World({"RESTATE_AUTH_TOKEN": "v"}, cloud(token=VALID), "prod"),
        Request("127.0.0.1:{port}", "/prod/version", "Bearer v"),
        "RESTATE_AUTH_TOKEN is set and differs from the token of the environment 'prod'",
    ),
    "line end in the token": Different(World({"RESTATE_AUTH_TOKEN": "a\nb"}, LOCAL), None, "control character"),
    "the word Bearer in the token": Different(
        World({"RESTATE_AUTH_TOKEN": "Bearer t"}, LOCAL),
        Request("127.0.0.1:{port}", "/local/version", "Bearer Bearer t"),
        "without 'Bearer'",
    ),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_is_stricter_than_the_cli(case: str, tmp_path: Path, recorder: Recorder, restate_cli: Path) -> None:
    """If the CLI sends something that cannot be right, we report an error before anything is sent."""
    different = DIFFERENT[case]
    world = build(different.world, tmp_path, recorder)
    ask_cli(restate_cli, world, recorder)
    sent = different.sent and different.sent._replace(host=f"127.0.0.1:{recorder.server_port}")
    assert recorder.requests[:1] == ([sent] if sent else [])
    ours, _ = ask_ours(world)
    assert different.said in ours.error
    assert "hunter2" not in ours.error


@pytest.mark.parametrize("choice", [PROD, {}])
def test_a_token_stays_with_its_environment(
    choice: dict[str, str], tmp_path: Path, recorder: Recorder, restate_cli: Path
) -> None:
    """The CLI sends the token of an environment to the address in RESTATE_ADMIN_URL; we send none there."""
    files = {CONFIG: at("prod", bearer_token="t") + at("local", bearer_token="t")}
    world = build(World({**choice, "RESTATE_ADMIN_URL": "{url}/v"}, files), tmp_path, recorder)
    theirs, _ = ask_cli(restate_cli, world, recorder)
    ours, settings = ask_ours(world)
    assert ours.admin == theirs.admin == f"http://127.0.0.1:{recorder.server_port}/v"
    assert (theirs.authorization, ours.authorization) == ("Bearer t", None)
    assert settings is not None
    assert settings.environment == f"127.0.0.1:{recorder.server_port}"


def test_an_empty_token_is_no_token(tmp_path: Path, recorder: Recorder, restate_cli: Path) -> None:
    """RESTATE_AUTH_TOKEN= hides a configured token, as in the CLI, which then sends the empty one."""
    world = build(World({"RESTATE_AUTH_TOKEN": ""}, {CONFIG: at("local", bearer_token="t")}), tmp_path, recorder)
    theirs, _ = ask_cli(restate_cli, world, recorder)
    ours, _ = ask_ours(world)
    assert (theirs.authorization, ours.authorization) == ("Bearer ", None)


READ_BY_THE_CLI = {
    "address": World({}, {DOTENV: "# mine\nexport RESTATE_ADMIN_URL='{url}/dot' # here\n"}),
    "in a parent": World({}, {DOTENV: "RESTATE_ADMIN_URL={url}/dot"}, cwd="work/below"),
    "beside a folder named .env": World(
        {}, {DOTENV: "RESTATE_ADMIN_URL = {url}/dot", "work/below/.env/x": ""}, cwd="work/below"
    ),
    "token": World({}, {**LOCAL, DOTENV: "RESTATE_AUTH_TOKEN=dotted\r\n"}),
    "environment": World({}, {CONFIG: at("prod") + at("local"), DOTENV: "\ufeffRESTATE_ENVIRONMENT=prod"}),
    "folder": World({}, {"c/config.toml": at("local", "c"), DOTENV: "RESTATE_CLI_CONFIG_HOME={root}/c"}),
    "ingress": World({}, {**LOCAL, DOTENV: "RESTATE_INGRESS_URL=http://127.0.0.1:1"}),
}


@pytest.mark.parametrize("case", READ_BY_THE_CLI)
def test_warns_of_a_dotenv_that_the_cli_obeys(case: str, tmp_path: Path, recorder: Recorder, restate_cli: Path) -> None:
    """A .env that changes the CLI's behavior changes nothing here, and the warning names file, variable and cluster."""
    world = build(READ_BY_THE_CLI[case], tmp_path, recorder)
    theirs, _ = ask_cli(restate_cli, world, recorder)
    with pytest.warns(SettingsWarning) as caught:
        ours, settings = ask_ours(world)
    assert settings is not None
    assert _comparable(ours) != _comparable(theirs)
    said = str(caught[0].message)
    assert str(tmp_path / DOTENV) in said
    assert "RESTATE_" in said
    assert settings.admin_url in said
    assert "dotted" not in said


def test_takes_the_cli_s_unix_sockets(recorder: Recorder, restate_cli: Path) -> None:
    """`unix:` and a path, absolute with one or three slashes or relative, reach the same socket as with the CLI."""
    with tempfile.TemporaryDirectory() as folder, SocketRecorder(Path(folder) / "a.sock") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        env = {"HOME": folder, "DO_NOT_TRACK": "1"}
        for written in (f"unix:{folder}/a.sock", f"unix://{folder}/a.sock", "unix:a.sock"):
            world = World({**env, "RESTATE_ADMIN_URL": written}, cwd=folder)
            ask_cli(restate_cli, world, server)
            assert [request.path for request in server.requests][:1] == ["/version"]
            ours, _ = ask_ours(world)
            assert Path(folder, ours.admin.removeprefix("unix:")).samefile(Path(folder) / "a.sock")
        server.shutdown()
