"""The choice of the cluster: its error messages, and the rule that no token or password is ever shown."""

from __future__ import annotations

import base64
import json
import pickle
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import restate_lab as rl
from restate_lab.audit import AuditLog
from restate_lab.client.lab import Lab
from restate_lab.client.settings import Settings, load_settings
from restate_lab.errors import SettingsError, SettingsWarning
from restate_lab.redaction import Secret
from support.tracebacks import our_locals

if TYPE_CHECKING:
    from collections.abc import Callable

HIDDEN = "hunter2"
PROD = "[prod]\nadmin_base_url='http://p:9070'\ningress_base_url='http://p'\nbearer_token='t'\n"


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Settings]:
    """Give load_settings() with an empty home and only the variables of the call; `config` is config.toml."""

    def load_with(cluster: str | None = None, *, config: str = "", dotenv: str = "", **options: Any) -> Settings:
        home = tmp_path / "home" / ".config" / "restate"
        work = tmp_path / "work"
        for folder, name, text in ((home, "config.toml", config), (work, ".env", dotenv)):
            folder.mkdir(parents=True, exist_ok=True)
            if text:
                (folder / name).write_text(text, encoding="utf-8")
        env = {"HOME": str(tmp_path / "home")} | options.pop("env", {})
        with warnings.catch_warnings():
            warnings.simplefilter("error", SettingsWarning)
            return load_settings(cluster, env=env, cwd=work, **options)

    return load_with


def jwt(exp: int) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": exp, "sub": HIDDEN}).encode()).decode().rstrip("=")
    return f"{HIDDEN}.{claims}.c2ln"


def shown(error: BaseException) -> str:
    """Return a verbose traceback of an error: messages, notes, causes, and our frames' local variables."""
    lines = []
    seen: BaseException | None = error
    while seen is not None:
        lines += [str(seen), repr(seen), repr(seen.__dict__)]
        frames = [frame for frame, _ in traceback.walk_tb(seen.__traceback__) if frame.f_code.co_filename != __file__]
        lines += [repr(value) for frame in frames for value in frame.f_locals.values()]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(lines)


class TestArguments:
    def test_a_url_is_taken_as_it_is(self, load: Callable[..., Settings]) -> None:
        """A URL needs no CLI: its base path is kept, its trailing slash is removed, host and port name the cluster."""
        settings = load("https://Restate.example:9070/base/", ingress_url="https://restate.example:8080/")
        assert settings == Settings(
            environment="restate.example:9070",
            admin_url="https://restate.example:9070/base",
            ingress_url="https://restate.example:8080",
            token=None,
            token_source="",
            chosen_by="the argument",
        )

    def test_a_url_gets_nothing_of_the_configuration(self, load: Callable[..., Settings]) -> None:
        settings = load(
            "http://other:9070",
            config="[global]\nbearer_token = 't'\ningress_base_url = 'http://x'\nenvironment_type = 'nonsense'\n",
            env={"RESTATE_ADMIN_URL": "http://x", "RESTATE_INGRESS_URL": "http://y", "RESTATE_HOST": ""},
        )
        assert (settings.admin_url, settings.ingress_url, settings.token) == ("http://other:9070", None, None)

    def test_the_token_of_the_process_goes_with_a_url(self, load: Callable[..., Settings]) -> None:
        settings = load("unix:/run/admin.sock", env={"RESTATE_AUTH_TOKEN": "t"})
        assert settings.token is not None
        assert settings.token.reveal() == "t"
        assert (settings.environment, settings.token_source) == ("unix:/run/admin.sock", "RESTATE_AUTH_TOKEN")

    def test_arguments_win(self, load: Callable[..., Settings]) -> None:
        """A token and an ingress given by argument win over every variable and file, also over an expired login."""
        settings = load(
            "prod",
            ingress_url="http://i:8080",
            token=Secret(" t\n"),
            config=f"[prod]\nadmin_base_url='http://a'\nenvironment_type='cloud'\n[global.cloud]\naccess_token='{jwt(1)}'",
            env={"RESTATE_AUTH_TOKEN": "x", "RESTATE_INGRESS_URL": "nonsense"},
        )
        assert settings.token is not None
        assert settings.token.reveal() == "t"
        assert (settings.token_source, settings.ingress_url) == ("the token argument", "http://i:8080")

    @pytest.mark.parametrize(
        ("cluster", "options", "said"),
        [
            ("", {}, "the cluster argument is empty"),
            ("http://x", {"token": ""}, "the token argument is empty"),
            ("ftp://x", {}, "scheme other than http"),
            ("http://x#y", {}, "query or a fragment"),
            ("http://", {}, "has no host"),
            ("http://x:y", {}, "not a valid URL"),
            (
                "http://x",
                {"ingress_url": "x"},
                "the ingress_url argument, the ingress address, does not begin with",
            ),
            ("unix:", {}, "has no path after unix:"),
            ("localhost:9070/x", {}, "Unknown environment 'localhost:9070/x'"),
        ],
    )
    def test_an_argument_that_cannot_be_right_is_named_with_the_reason(
        self, load: Callable[..., Settings], cluster: str, options: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(SettingsError, match=said):
            load(cluster, **options)

    @pytest.mark.parametrize("given", ["localhost:9070", " 127.0.0.1:9070 ", "admin.prod.example:443", "[::1]:9070"])
    def test_a_host_with_a_port_is_an_http_address(self, load: Callable[..., Settings], given: str) -> None:
        settings = load(given, ingress_url="localhost:8080", config=PROD)
        assert settings.admin_url == f"http://{given.strip()}"
        assert (settings.environment, settings.token) == (given.strip(), None)
        assert settings.ingress_url == "http://localhost:8080"


class TestEnvironments:
    def test_the_default_is_the_local_server(self, load: Callable[..., Settings]) -> None:
        settings = load()
        assert (settings.environment, settings.admin_url, settings.ingress_url, settings.chosen_by) == (
            "local",
            "http://127.0.0.1:9070",
            "http://127.0.0.1:8080",
            "the default",
        )

    def test_an_environment_has_its_configured_name_in_any_spelling(self, load: Callable[..., Settings]) -> None:
        assert load("PROD", config="[Prod]\nadmin_base_url = 'http://p'").environment == "Prod"

    @pytest.mark.parametrize(
        ("env", "said"),
        [
            ({"RESTATE_ADMIN_URL": "http://v:1"}, "RESTATE_ADMIN_URL is set to http://v:1, which is not the"),
            ({"RESTATE_HOST": "v"}, "RESTATE_HOST is set to http://v:9070, which is not the address of"),
            ({"RESTATE_INGRESS_URL": "http://v:2"}, "RESTATE_INGRESS_URL is set to http://v:2, which is not"),
            ({"RESTATE_HOST": "p"}, "RESTATE_HOST is set to http://p:8080, which is not the address of"),
            ({"RESTATE_AUTH_TOKEN": HIDDEN}, "RESTATE_AUTH_TOKEN is set and differs from the token of the environment"),
            ({"RESTATE_AUTH_TOKEN": ""}, "RESTATE_AUTH_TOKEN is set and differs from the token of the environment"),
        ],
    )
    def test_a_variable_does_not_replace_what_was_asked_for(
        self, load: Callable[..., Settings], env: dict[str, str], said: str
    ) -> None:
        """An environment named by the caller is used with its own values, or it is an error with the next step."""
        with pytest.raises(SettingsError) as caught:
            load("PROD", config=PROD, env=env)
        assert said in str(caught.value)
        assert str(caught.value).endswith("the environment 'prod' that you named. Unset it, or connect to the address.")
        assert HIDDEN not in shown(caught.value)

    @pytest.mark.parametrize(
        ("env", "arguments"),
        [
            ({"RESTATE_ADMIN_URL": "http://P:9070/"}, {}),
            ({"RESTATE_ADMIN_URL": "http://p:9070", "RESTATE_INGRESS_URL": "http://p/"}, {}),
            ({"RESTATE_AUTH_TOKEN": " t "}, {}),
            ({"RESTATE_INGRESS_URL": "http://v"}, {"ingress_url": "http://p"}),
            ({"RESTATE_AUTH_TOKEN": HIDDEN}, {"token": "t"}),
        ],
    )
    def test_a_variable_with_the_same_value_is_no_conflict(
        self, load: Callable[..., Settings], env: dict[str, str], arguments: dict[str, str]
    ) -> None:
        """An equal address in another spelling, the same token, or an argument that decides anyway is accepted."""
        settings = load("prod", config=PROD, env=env, **arguments)
        assert (settings.environment, settings.admin_url, settings.ingress_url) == ("prod", "http://p:9070", "http://p")
        assert settings.token is not None
        assert settings.token.reveal() == "t"
        assert settings.chosen_by == "the argument"

    @pytest.mark.parametrize("choice", [{}, {"RESTATE_ENVIRONMENT": "prod"}, {"RESTATE_ENVIRONMENT": "nowhere"}])
    @pytest.mark.parametrize(
        ("variable", "value", "name", "ingress"),
        [
            ("RESTATE_ADMIN_URL", "http://v:9070/base", "v:9070", None),
            ("RESTATE_ADMIN_URL", "unix:/run/a.sock", "unix:/run/a.sock", None),
            ("RESTATE_HOST", "v", "v:9070", "http://v:8080"),
        ],
    )
    def test_an_address_from_a_variable_is_its_own_name(
        self, load: Callable[..., Settings], choice: dict[str, str], variable: str, value: str, name: str, ingress: str
    ) -> None:
        """An address other than the environment's is another cluster: it gets neither name, token nor ingress of it."""
        config = f"{PROD}[local]\nbearer_token='t'\n[global]\nbearer_token='g'\n"
        settings = load(config=config, env={**choice, variable: value})
        assert (settings.environment, settings.chosen_by, settings.token) == (name, variable, None)
        assert settings.ingress_url == ingress
        settings = load(config=config, env={**choice, variable: value, "RESTATE_AUTH_TOKEN": "mine"})
        assert settings.token is not None
        assert settings.token.reveal() == "mine"

    def test_an_environment_at_its_own_address_keeps_its_name(self, load: Callable[..., Settings]) -> None:
        """RESTATE_ADMIN_URL with the address of the chosen environment changes nothing, as in the demo."""
        env = {"RESTATE_ENVIRONMENT": "prod", "RESTATE_ADMIN_URL": "http://p:9070/"}
        settings = load(config=PROD, env=env)
        assert (settings.environment, settings.chosen_by, settings.ingress_url) == (
            "prod", "RESTATE_ENVIRONMENT", "http://p",
        )  # fmt: skip
        assert settings.token is not None

    @pytest.mark.parametrize(
        ("env", "arguments", "token"),
        [
            ({}, {}, "t"),
            ({"RESTATE_INGRESS_URL": "http://p:80"}, {}, "t"),
            ({"RESTATE_INGRESS_URL": "http://v"}, {}, None),
            ({"RESTATE_INGRESS_URL": "http://v", "RESTATE_AUTH_TOKEN": "mine"}, {}, "mine"),
            ({"RESTATE_INGRESS_URL": "http://v"}, {"token": "given"}, "given"),
            ({}, {"ingress_url": "http://v"}, "t"),
        ],
    )
    def test_a_configured_token_reaches_no_ingress_of_a_variable(
        self, load: Callable[..., Settings], env: dict[str, str], arguments: dict[str, str], token: str | None
    ) -> None:
        """The token of an environment is sent only to its own ingress and to one given by argument."""
        settings = load(config=PROD, env={"RESTATE_ENVIRONMENT": "prod", **env}, **arguments)
        assert settings.token is not None
        sent = settings.of_ingress.token
        assert (None if sent is None else sent.reveal()) == token

    def test_requests_to_the_ingress_of_a_variable_have_no_token_of_an_environment(
        self, load: Callable[..., Settings], tmp_path: Path
    ) -> None:
        settings = load(config=PROD, env={"RESTATE_ENVIRONMENT": "prod", "RESTATE_INGRESS_URL": "http://v"})
        sent: list[tuple[str, str | None]] = []

        def answer(request: httpx.Request) -> httpx.Response:
            sent.append((request.url.host, request.headers.get("authorization")))
            return httpx.Response(200, json={"version": "1.7.12"}, headers={"x-restate-id": "inv_1"})

        with Lab(settings, audit=AuditLog(tmp_path), network=httpx.MockTransport(answer)) as lab:
            lab.check().ingress.call("Greeter", "greet")
        assert sent == [("p", "Bearer t"), ("v", None)]

    @pytest.mark.parametrize("env", [{}, {"RESTATE_ADMIN_URL": "http://v"}, {"RESTATE_HOST": "v"}])
    def test_an_unknown_name_is_an_error_always(self, load: Callable[..., Settings], env: dict[str, str]) -> None:
        """Neither a variable nor [default] nor [global] gives an address to a name that does not exist."""
        config = f"{PROD}[default]\nadmin_base_url='http://d'\n[global]\nbearer_token='t'\n"
        with pytest.raises(SettingsError, match=r"environment 'prodd': .* Did you mean 'prod'\?"):
            load("prodd", config=config, env=env)

    def test_an_unknown_choice_is_an_error(self, load: Callable[..., Settings]) -> None:
        """The same for a name in RESTATE_ENVIRONMENT, unless a variable gives the address and the name is not used."""
        config = "[default]\nadmin_base_url='http://d'\n"
        with pytest.raises(SettingsError, match=r"Unknown environment 'prod' \(chosen by RESTATE_ENV"):
            load(config=config, env={"RESTATE_ENVIRONMENT": "prod"})

    def test_an_unknown_name_has_the_file_its_environments_and_the_nearest_one(
        self, load: Callable[..., Settings], tmp_path: Path
    ) -> None:
        config = "[Staging]\nadmin_base_url='http://s'\n[prod]\nadmin_base_url='http://p'\n[global]\n[default]\n"
        with pytest.raises(SettingsError) as caught:
            load("stagin", config=config)
        said = str(caught.value)
        assert "Unknown environment 'stagin':" in said
        assert f"{tmp_path}/home/.config/restate/config.toml has Staging, local, prod. Did you mean 'Staging'?" in said
        assert "restate config edit" in said

    def test_without_a_file_an_unknown_name_has_its_origin_and_the_place(self, load: Callable[..., Settings]) -> None:
        with pytest.raises(SettingsError, match=r"chosen by RESTATE_ENVIRONMENT\): .*config\.toml does not exist"):
            load(env={"RESTATE_ENVIRONMENT": "prod"})

    def test_an_environment_without_an_address_has_another_message_than_an_unknown_one(
        self, load: Callable[..., Settings]
    ) -> None:
        with pytest.raises(SettingsError, match=r"'prod' has no address: add admin_base_url to \[prod\] in .*config"):
            load("prod", config="[prod]\n")

    def test_an_unreadable_choice_of_an_environment_is_an_error_that_names_the_file(
        self, load: Callable[..., Settings], tmp_path: Path
    ) -> None:
        load()
        (tmp_path / "home" / ".config" / "restate" / "environment").write_bytes(b"\xff\xfe")
        with pytest.raises(SettingsError, match=r"restate/environment with the name of the environment cannot be read"):
            load()


class TestTokens:
    def test_a_login_token_is_used_for_a_cloud_environment_and_has_a_source(
        self, load: Callable[..., Settings], tmp_path: Path
    ) -> None:
        config = (
            f"[c]\nenvironment_type='cloud'\nadmin_base_url='http://c'\n[global.cloud]\naccess_token='{jwt(9**11)}'"
        )
        settings = load("c", config=config)
        file = tmp_path / "home" / ".config" / "restate" / "config.toml"
        assert settings.token_source == f"the login token of [global.cloud] in {file}"

    def test_an_expired_login_is_an_error_with_the_time_and_the_command(self, load: Callable[..., Settings]) -> None:
        config = (
            f"[c]\nenvironment_type='cloud'\nadmin_base_url='http://c'\n[global.cloud]\naccess_token='{jwt(10**9)}'"
        )
        with pytest.raises(SettingsError, match=r"expired at 2001-09-09 01:46:40 UTC: run `restate cloud login`"):
            load("c", config=config)

    def test_pickle_refuses_a_token(self, load: Callable[..., Settings]) -> None:
        settings = load(token=HIDDEN)
        assert HIDDEN not in repr(settings)
        with pytest.raises(TypeError):
            pickle.dumps(settings)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"config": f"[local]\nbearer_token = '{HIDDEN}"}, "is not valid TOML at"),
            ({"config": f"[local]\nbearer_token = '{HIDDEN}'\nbearer_token = '{HIDDEN}'"}, "is not valid TOML at"),
            ({"config": f"[local]\nbearer_token = {HIDDEN}"}, "is not valid TOML at"),
            ({"config": f"bearer_token = '{HIDDEN}'"}, "'bearer_token' outside of a table"),
            ({"config": f"[local]\nbearer_token = ['{HIDDEN}']"}, r"bearer_token of \[local\] in .* must be text"),
            ({"config": f"[local]\nbearer_token = '{HIDDEN} x'"}, "without 'Bearer'"),
            ({"config": f"[local]\nadmin_base_url = 'http://u:{HIDDEN}@h'"}, "user name or password"),
            ({"config": f"[local]\nadmin_base_url = 'http://u:{HIDDEN}@h:x'"}, "not a valid URL"),
            ({"config": f"[local]\nadmin_base_url = 'u:{HIDDEN}@h:1'"}, "does not begin with"),
            ({"config": f"[local]\nbearer_token = '{HIDDEN}'\nenvironment_type = 'x'"}, "environment_type of"),
            ({"config": f"[local]\nbearer_token = '{HIDDEN}'\ncloud = '{HIDDEN}'"}, "must be a table"),
            ({"config": f"[local]\nenvironment_type='cloud'\n[global.cloud]\naccess_token='{jwt(1)}'"}, "expired at"),
            ({"config": f"[local]\nenvironment_type='cloud'\n[global.cloud]\naccess_token='{HIDDEN}'"}, "is invalid"),
            ({"env": {"RESTATE_AUTH_TOKEN": f"{HIDDEN}\nx"}}, "control character"),
            ({"env": {"RESTATE_AUTH_TOKEN": f"{HIDDEN}ü"}}, "beyond ASCII"),
            ({"env": {"RESTATE_ADMIN_URL": f"http://u:{HIDDEN}@h"}}, "user name or password"),
            ({"env": {"RESTATE_ADMIN_URL": f"http://h?token={HIDDEN}"}}, "query"),
            ({"env": {"RESTATE_HOST": f"u:{HIDDEN}@h"}}, "host name"),
            ({"env": {"RESTATE_HOST": "h", "RESTATE_HOST_SCHEME": HIDDEN}}, "must be http or https"),
            ({"env": {"RESTATE_ENVIRONMENT": f"http://u:{HIDDEN}@h"}}, "has an address"),
            ({"env": {"RESTATE_ENVIRONMENT": "x", "RESTATE_AUTH_TOKEN": HIDDEN}}, "Unknown environment 'x'"),
            ({"cluster": f"http://u:{HIDDEN}@h"}, "user name or password"),
            ({"cluster": f"u:{HIDDEN}@h:9070"}, "has an address"),
            ({"ingress_url": f"http://u:{HIDDEN}@h"}, "user name or password"),
            ({"token": f"{HIDDEN} x"}, "without 'Bearer'"),
        ],
    )
    def test_no_message_cause_or_local_variable_shows_a_secret(
        self, load: Callable[..., Settings], options: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(SettingsError, match=said) as caught:
            load(**options)
        assert HIDDEN not in shown(caught.value)


class TestDotenv:
    @pytest.mark.parametrize(
        ("dotenv", "options"),
        [
            ("RESTATE_ADMIN_URL=http://d", {}),
            ("RESTATE_HOST=d\nRESTATE_HOST_SCHEME=https", {}),
            ("RESTATE_CLI_CONFIG=/d", {}),
            ("  export RESTATE_ENVIRONMENT=local", {}),
            (f"RESTATE_AUTH_TOKEN={HIDDEN}", {"cluster": "http://x"}),
        ],
    )
    def test_warns(self, load: Callable[..., Settings], tmp_path: Path, dotenv: str, options: dict[str, Any]) -> None:
        """A .env that the CLI would read is named with the chosen cluster, and without its values."""
        with pytest.raises(SettingsWarning) as caught:
            load(dotenv=dotenv, **options)
        said = str(caught.value)
        assert f"{tmp_path / 'work' / '.env'} sets RESTATE_" in said
        assert f"at {options.get('cluster', 'http://127.0.0.1:9070')}." in said
        assert HIDDEN not in said

    @pytest.mark.parametrize(
        ("dotenv", "options"),
        [
            ("RESTATE_BASE_DIR=/d\n#RESTATE_ADMIN_URL=x\nMY_RESTATE_ADMIN_URL=x", {}),
            ("RESTATE_ADMIN_URL=http://d", {"env": {"RESTATE_ADMIN_URL": "http://e"}}),
            ("RESTATE_ADMIN_URL=http://d\nRESTATE_ENVIRONMENT=x", {"cluster": "http://x"}),
            ("RESTATE_ENVIRONMENT=x", {"cluster": "local"}),
            ("RESTATE_HOST_SCHEME=https", {}),
            ("RESTATE_AUTH_TOKEN=t", {"token": "u"}),
            ("RESTATE_INGRESS_URL=http://d", {"ingress_url": "http://e"}),
        ],
    )
    def test_is_quiet_where_it_changes_nothing(
        self, load: Callable[..., Settings], dotenv: str, options: dict[str, Any]
    ) -> None:
        """No warning for settings that the CLI does not read, or that a variable or an argument decides anyway."""
        load(dotenv=dotenv, **options)

    def test_the_warning_points_at_the_caller_of_connect(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("RESTATE_HOST=d")

        def connect() -> Settings:
            return load_settings("local", env={}, cwd=tmp_path)

        with pytest.warns(SettingsWarning) as caught:
            connect()
        source = Path(caught[0].filename).read_text(encoding="utf-8").splitlines()
        assert source[caught[0].lineno - 1].strip() == "connect()"


@pytest.mark.parametrize("argument", ["cluster", "ingress_url"])
def test_a_password_in_an_address_is_in_no_frame(argument: str) -> None:
    """Neither the message nor a verbose traceback of connect() has it."""
    given: dict[str, Any] = {"cluster": "http://127.0.0.1:1", argument: f"http://ann:{HIDDEN}@127.0.0.1:1"}
    with pytest.raises(SettingsError, match="password") as caught:
        rl.connect(given.pop("cluster"), check=False, **given)
    _check_frames(caught.value)


@pytest.mark.parametrize("argument", ["cluster", "ingress_url", "token"])
def test_what_is_no_text_is_refused_and_not_shown(argument: str) -> None:
    """A token in bytes, for example: neither the message nor a verbose traceback has it."""
    given: dict[str, Any] = {"cluster": "http://127.0.0.1:1", argument: HIDDEN.encode()}
    with pytest.raises(SettingsError, match=f"the {argument} argument must be text, not bytes") as caught:
        rl.connect(given.pop("cluster"), check=False, **given)
    _check_frames(caught.value)


def _check_frames(error: BaseException) -> None:
    assert HIDDEN not in our_locals(error)
