"""Find the cluster and its token in the same places as the restate CLI.

The order is that of the CLI 1.7.12; tests/integration/test_settings_cli.py compares it with the CLI itself:

- the environment: the argument, RESTATE_ENVIRONMENT, the file ``environment``, "local";
- its values, where a later one takes precedence: [default], [<environment>], [global] of config.toml, RESTATE_HOST,
  RESTATE_ADMIN_URL and RESTATE_INGRESS_URL, RESTATE_AUTH_TOKEN. The CLI's built-in "local" acts like a table [local]
  that sets every value, so [default] can only add a login token to it.

This module is stricter than the CLI:

- It refuses an address with a user name, a password, a query or a fragment (the CLI silently drops the first two), and
  a token that an HTTP header cannot contain.
- The name of an environment must exist: [default] and [global] give no address to a name without a table.
- If the caller names an environment, its own values are used, or SettingsError is raised: no variable replaces them.
- An address from RESTATE_ADMIN_URL or RESTATE_HOST that is not the environment's own is another cluster. Its name is
  its host and port, and it gets neither the token nor the ingress of the environment.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from restate_lab._public import did_you_mean, nearest_names
from restate_lab._text import format_timestamp
from restate_lab.client import cli_config as cli
from restate_lab.client.address import (
    ADMIN,
    INGRESS,
    address_from_layers,
    address_from_variable,
    is_address,
    is_own,
    parse_address,
)
from restate_lab.client.cli_config import CliConfig, ConfigSection, ConfigValue, Variables
from restate_lab.errors import SettingsError, SettingsWarning
from restate_lab.redaction import Secret, as_secret

_LOGIN = "`restate cloud login`"
_LATEST_TIME = 8_210_266_876_799  # seconds; for the CLI, a token that expires after the year 262142 is invalid


@dataclass(frozen=True, slots=True)
class Settings:
    """The addresses of a cluster, and its token.

    ``admin_url`` and ``ingress_url`` have no trailing slash and keep a base path; ``unix:<path>`` is a socket.
    ``ingress_url`` None means that it is not configured; the server itself may report it. ``environment`` is the name
    of the CLI's environment if ``admin_url`` is that environment's own, otherwise the host and port of ``admin_url``.
    ``token_source`` ("" without a token) and ``chosen_by`` are texts for messages. ``token_for_ingress`` is False if
    the token belongs to an environment and ``ingress_url`` does not. No repr, pickle or error shows the token.
    """

    environment: str
    admin_url: str
    ingress_url: str | None
    token: Secret | None
    token_source: str
    chosen_by: str
    token_for_ingress: bool = True

    @property
    def of_ingress(self) -> Settings:
        """Return the settings for requests to ``ingress_url``; without the token if it is not for that address."""
        return self if self.token_for_ingress else replace(self, token=None, token_source="")


@dataclass(frozen=True, slots=True)
class _Arguments:
    """The arguments, as Secrets because they can hold a password."""

    cluster: Secret | None
    ingress_url: Secret | None
    token: Secret | None

    @property
    def is_address(self) -> bool:
        return self.cluster is not None and is_address(self.cluster.reveal())


def load_settings(
    cluster: str | Secret | None = None,
    *,
    ingress_url: str | Secret | None = None,
    token: str | Secret | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Settings:
    """Find the cluster as the restate CLI does.

    ``cluster`` is an admin URL (``http://…``, ``https://…``, ``unix:/path``, ``host:port``), the name of an environment
    of the CLI, or None for the environment that the CLI would use. ``ingress_url`` and ``token`` override all other
    sources. ``env`` None means the variables of this process, ``cwd`` None its working folder.

    With a URL, the CLI's configuration is not used: the token of one environment must not reach the address of another.
    RESTATE_AUTH_TOKEN is sent, because it does not belong to an environment: it was set for this process, which uses
    this cluster. The CLI also sends it to any address.

    Warns SettingsWarning for a .env file that the CLI would read. Raises SettingsError for an unknown environment, for
    a variable that would replace a value of the environment named in ``cluster``, for a missing or invalid address, an
    invalid config.toml, and a login token that is missing, invalid or expired.
    """
    arguments = _Arguments(as_secret(cluster), as_secret(ingress_url), as_secret(token))
    variables = cli.read_variables(env)
    del cluster, ingress_url, token, env  # a verbose traceback would show them
    _check_text(arguments)
    here = cwd or Path()
    if arguments.is_address:
        address = ConfigValue(arguments.cluster, "the cluster argument")
        settings = _settings_for_address(address, "argument", arguments, variables)
    else:
        settings = _settings_for_environment(arguments, variables, here)
    _warn_about_dotenv(settings, arguments, variables, here)
    return settings


def _check_text(arguments: _Arguments) -> None:
    """Refuse an argument that is not text, such as a token in bytes, without showing its value."""
    for argument in ("cluster", "ingress_url", "token"):
        value: Secret | None = getattr(arguments, argument)
        if value is not None and not isinstance(value.reveal(), str):
            raise SettingsError(f"the {argument} argument must be text, not {type(value.reveal()).__name__}")


def _settings_for_address(
    address: ConfigValue, place: Literal["argument", "variable"], arguments: _Arguments, variables: Variables
) -> Settings:
    """Return the settings for an address, which belongs to no environment; a variable can also set its ingress."""
    admin_url = parse_address(address, ADMIN, place)
    environment = admin_url if admin_url.startswith("unix:") else urlsplit(admin_url).netloc
    token, source = _token(arguments, variables, [])
    is_argument = place == "argument"
    ingress_url = _ingress_url(arguments, [], {} if is_argument else variables)
    return Settings(
        environment, admin_url, ingress_url, token, source, "the argument" if is_argument else address.where
    )


def _settings_for_environment(arguments: _Arguments, variables: Variables, cwd: Path) -> Settings:
    config = cli.read_config(variables, cwd)
    name, chosen_by = _choose_environment(arguments, variables, cwd)
    layers = config.layers(name)
    override = address_from_variable(ADMIN, variables)
    is_used = arguments.cluster is not None or (_exists(name, config) and is_own(override, ADMIN, layers))
    if override is not None and not is_used:
        return _settings_for_address(override, "variable", arguments, variables)
    own = address_from_layers(ADMIN, layers) if _exists(name, config) else None
    if own is None:
        raise SettingsError(_no_address_message(name, chosen_by, config))
    admin_url = parse_address(own, ADMIN, "file")
    section = config.sections.get(cli.fold_case(name))
    environment = section.name if section else name or "default"  # without a name: only [default] and [global]
    if arguments.cluster is not None:
        _check_not_overridden(environment, arguments, variables, layers)
    token, source = _token(arguments, variables, layers)
    return Settings(
        environment,
        admin_url,
        _ingress_url(arguments, layers, variables),
        token,
        source,
        chosen_by,
        token_for_ingress=_reaches_ingress(source, arguments, layers, variables),
    )


def _choose_environment(arguments: _Arguments, variables: Variables, cwd: Path) -> tuple[str, str]:
    """Return the name of the environment and the source that chose it."""
    name, chosen_by = _find_environment(arguments, variables, cwd)
    if "@" in name.reveal() or is_address(name.reveal()):
        raise SettingsError(f"{chosen_by} has an address, but it must be the name of an environment")
    return name.reveal(), chosen_by


def _find_environment(arguments: _Arguments, variables: Variables, cwd: Path) -> tuple[Secret, str]:
    if arguments.cluster is not None:
        if not arguments.cluster.reveal().strip():
            raise SettingsError("the cluster argument is empty: pass an admin URL, the name of an environment, or None")
        return arguments.cluster, "the argument"
    if cli.ENVIRONMENT in variables:
        return variables[cli.ENVIRONMENT], cli.ENVIRONMENT
    path = cli.config_home(variables, cwd) / "environment"
    if not cli.is_file(path):
        return Secret(cli.LOCAL), "the default"
    try:
        return Secret(path.read_text(encoding="utf-8").strip()), f"the file {path}"
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the file {path} with the name of the environment cannot be read: {error}") from error


def _exists(name: str, config: CliConfig) -> bool:
    """Return whether an environment exists; without a name, [default] and [global] form one."""
    return not name or cli.fold_case(name) == cli.LOCAL or cli.fold_case(name) in config.sections


def _check_not_overridden(
    environment: str, arguments: _Arguments, variables: Variables, layers: Sequence[ConfigSection]
) -> None:
    """Raise SettingsError if a variable would replace a value of the environment that the caller named."""
    for key in (ADMIN, INGRESS):
        override = address_from_variable(key, variables)
        if override is None or (key == INGRESS and arguments.ingress_url is not None):
            continue
        if not is_own(override, key, layers):
            raise SettingsError(
                f"{override.where} is set to {parse_address(override, key, 'variable')}, which is not the address of "
                f"the environment {environment!r} that you named. Unset it, or connect to the address."
            )
    own = _own_token(layers)
    if arguments.token is not None or own is None:
        return
    if variables.get(cli.AUTH_TOKEN, own).reveal().strip() != own.reveal().strip():
        raise SettingsError(
            f"{cli.AUTH_TOKEN} is set and differs from the token of the environment {environment!r} that you named. "
            f"Unset it, or connect to the address."
        )


def _own_token(layers: Sequence[ConfigSection]) -> Secret | None:
    """Return the token of any kind that the configuration has for an environment, or None."""
    configured = cli.last_value(layers, "bearer_token")
    if configured is not None:
        return configured.value
    return _login(layers)[1] if _is_cloud(layers) else None


def _ingress_url(arguments: _Arguments, layers: Sequence[ConfigSection], variables: Variables) -> str | None:
    if arguments.ingress_url is not None:
        return parse_address(ConfigValue(arguments.ingress_url, "the ingress_url argument"), INGRESS, "argument")
    override = address_from_variable(INGRESS, variables)
    if override is not None:
        return parse_address(override, INGRESS, "variable")
    own = address_from_layers(INGRESS, layers)
    return None if own is None else parse_address(own, INGRESS, "file")


def _reaches_ingress(source: str, arguments: _Arguments, layers: Sequence[ConfigSection], variables: Variables) -> bool:
    """Return whether the token may be sent to the ingress.

    A token of config.toml is not sent to an address from a variable.
    """
    override = address_from_variable(INGRESS, variables)
    if override is None or arguments.ingress_url is not None or arguments.token is not None or source == cli.AUTH_TOKEN:
        return True
    return is_own(override, INGRESS, layers)


def _no_address_message(name: str, chosen_by: str, config: CliConfig) -> str:
    is_asked = chosen_by == "the argument"
    other = "pass an address (http://…)" if is_asked else f"set {cli.ADMIN_URL} or {cli.HOST}"
    remedy = f"with `restate config edit`, or {other}."
    if section := config.sections.get(cli.fold_case(name)):
        return f"The environment {section.name!r} has no address: add admin_base_url to {section.where} {remedy}"
    hint = f"{did_you_mean(nearest_names(name, config.names))} ".lstrip()
    choice = "" if is_asked else f" (chosen by {chosen_by})"
    seen = f"{config.file} has" if config.exists else f"{config.file} does not exist, so there is only"
    existing = "one of these" if len(config.names) > 1 else config.names[0]
    return (
        f"Unknown environment {name!r}{choice}: {seen} {', '.join(config.names)}. {hint}"
        f"Choose {existing}, add {name!r} {remedy}"
    )


def _token(arguments: _Arguments, variables: Variables, layers: Sequence[ConfigSection]) -> tuple[Secret | None, str]:
    """Return the token and its source; without layers, only the argument and the variable are used."""
    is_cloud = _is_cloud(layers)
    configured = _configured_token(arguments, variables, layers)
    if configured is None:
        return _login_token(layers) if is_cloud else (None, "")
    if configured.value is None:
        raise SettingsError(f"{configured.where} must be text in quotes")
    token = _check_token(configured.value, configured.where)
    if token is None and arguments.token is not None:
        raise SettingsError(f"{configured.where} is empty; omit it to use the configured token")
    if token is None and is_cloud:
        raise SettingsError(f"{configured.where} is empty and overrides the login token of Restate Cloud: remove it")
    return token, configured.where if token is not None else ""


def _configured_token(
    arguments: _Arguments, variables: Variables, layers: Sequence[ConfigSection]
) -> ConfigValue | None:
    if arguments.token is not None:
        return ConfigValue(arguments.token, "the token argument")
    if cli.AUTH_TOKEN in variables:
        return ConfigValue(variables[cli.AUTH_TOKEN], cli.AUTH_TOKEN)
    configured = cli.last_value(layers, "bearer_token")
    return configured and ConfigValue(configured.value, f"bearer_token of {configured.where}")


def _check_token(token: Secret, where: str) -> Secret | None:
    """Return a token that an HTTP header can contain; None if it is empty."""
    bare = Secret(token.reveal().strip())
    if not bare.reveal():
        return None
    if re.fullmatch(r"[\x21-\x7e]+", bare.reveal()) is None:
        raise SettingsError(
            f"{where} has a space, a control character or a character beyond ASCII, which a token cannot have. "
            "Pass only the token, without 'Bearer'."
        )
    return bare


def _is_cloud(layers: Sequence[ConfigSection]) -> bool:
    for layer in layers:
        if layer.cloud is None:
            raise SettingsError(f"cloud of {layer.where} must be a table")
    configured = cli.last_value(layers, "environment_type")
    kind = "default" if configured is None else configured.value and configured.value.reveal()
    if configured is not None and kind not in {"default", "cloud"}:
        raise SettingsError(f'environment_type of {configured.where} must be "default" or "cloud"')
    return kind == "cloud"


def _login(layers: Sequence[ConfigSection]) -> tuple[ConfigSection | None, Secret | None]:
    """Return the section that holds the token of `restate cloud login`, and the token."""
    holder = next((layer for layer in reversed(layers) if "access_token" in (layer.cloud or {})), None)
    return holder, holder.cloud["access_token"] if holder is not None and holder.cloud else None


def _login_token(layers: Sequence[ConfigSection]) -> tuple[Secret | None, str]:
    holder, token = _login(layers)
    if holder is None or not token:
        raise SettingsError(f"There is no login token for this Restate Cloud environment: run {_LOGIN} first.")
    where = f"the login token of [{holder.name}.cloud] in {holder.file}"
    expiry = _expiry(token)
    if expiry is None:
        raise SettingsError(f"T{where[1:]} is invalid, because it has no expiry time: run {_LOGIN}.")
    if expiry <= datetime.now(UTC).timestamp():
        when = datetime.fromtimestamp(max(expiry, 0), UTC)
        raise SettingsError(f"T{where[1:]} expired at {format_timestamp(when)}: run {_LOGIN}.")
    return _check_token(token, where), where


def _expiry(token: Secret) -> int | None:
    """Return when a JWT expires, in seconds since 1970; None if it has no expiry. Its signature is not checked."""
    try:
        claims = token.reveal().split(".")[1]
        padding = "=" * (-len(claims) % 4)
        exp = json.loads(base64.b64decode(claims + padding, altchars="-_", validate=True))["exp"]
    except (IndexError, binascii.Error, ValueError, KeyError, TypeError):
        return None
    return exp if isinstance(exp, int) and exp <= _LATEST_TIME else None


def _warn_about_dotenv(settings: Settings, arguments: _Arguments, variables: Variables, cwd: Path) -> None:
    dotenv = cli.find_dotenv(cwd)
    if dotenv is None:
        return
    known = {*variables, *dotenv.names}
    names = [name for name in dotenv.names if name not in variables and _matters(name, arguments, known)]
    if names:
        warnings.warn(
            f"{dotenv.file} sets {', '.join(names)}. The restate CLI would use this file, but restate_lab ignores it "
            f"and uses environment {settings.environment!r} at {settings.admin_url}. To use the values of the file, "
            "set its variables in the environment of the kernel, or pass the address and token as arguments.",
            SettingsWarning,
            stacklevel=4,  # the caller of connect()
        )


def _matters(name: str, arguments: _Arguments, known: set[str]) -> bool:
    """Return whether a variable could have changed the settings, with these arguments and other variables."""
    if name == cli.AUTH_TOKEN:
        return arguments.token is None
    if arguments.is_address:
        return False
    if name == cli.INGRESS_URL:
        return arguments.ingress_url is None
    if name == cli.HOST_SCHEME:
        return cli.HOST in known
    return name != cli.ENVIRONMENT or arguments.cluster is None
