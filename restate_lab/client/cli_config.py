"""Read the configuration of the restate CLI: its variables, its two files, and the .env that it would load.

Each text that can hold a token or a password becomes a Secret as soon as it is read. Nothing is raised before that,
because a notebook's verbose traceback prints the local variables of each frame.
"""

from __future__ import annotations

import os
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from restate_lab.errors import SettingsError
from restate_lab.redaction import Secret

ENVIRONMENT = "RESTATE_ENVIRONMENT"
CONFIG = "RESTATE_CLI_CONFIG"
CONFIG_HOME = "RESTATE_CLI_CONFIG_HOME"
HOST = "RESTATE_HOST"
HOST_SCHEME = "RESTATE_HOST_SCHEME"
ADMIN_URL = "RESTATE_ADMIN_URL"
INGRESS_URL = "RESTATE_INGRESS_URL"
AUTH_TOKEN = "RESTATE_AUTH_TOKEN"  # noqa: S105 - the name of a variable
VARIABLES = (ENVIRONMENT, CONFIG, CONFIG_HOME, HOST, HOST_SCHEME, ADMIN_URL, INGRESS_URL, AUTH_TOKEN)

LOCAL = "local"
_SHARED = ("default", "global")
_KEYS = ("admin_base_url", "ingress_base_url", "bearer_token", "environment_type")
_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_ASSIGNMENT = re.compile(rf"^[^\S\n]*+(?:export[^\S\n]+)?({'|'.join(VARIABLES)})[^\S\n]*=", re.MULTILINE)
_POSITION = re.compile(r"at (line \d+, column \d+|end of document)")

Variables = Mapping[str, Secret]


@dataclass(frozen=True, slots=True)
class ConfigValue:
    """A value and a text for its place; without ``value`` (None), the configured value is not text."""

    value: Secret | None
    where: str


@dataclass(frozen=True, slots=True)
class ConfigSection:
    """One table of config.toml: an environment, or the shared values of [default] and [global].

    None means: for a value, that it is not text; for ``cloud``, not a table; for ``file``, the built-in table.
    """

    name: str
    file: Path | None
    values: Mapping[str, Secret | None]
    cloud: Mapping[str, Secret | None] | None = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Return the text for its place."""
        return f"[{self.name}] in {self.file}" if self.file else f"the built-in environment {self.name!r}"


@dataclass(frozen=True, slots=True)
class CliConfig:
    """The CLI's config.toml; ``sections`` has folded names as keys, and is empty if there is no file."""

    file: Path
    exists: bool
    sections: Mapping[str, ConfigSection]

    @property
    def names(self) -> list[str]:
        """Return the names of the available environments, as they are spelled."""
        names = {LOCAL: LOCAL} | {key: section.name for key, section in self.sections.items() if key not in _SHARED}
        return sorted(names.values())

    def layers(self, name: str) -> list[ConfigSection]:
        """Return the sections with values for an environment; a later one takes precedence."""
        key = fold_case(name)
        default, own = self.sections.get("default"), self.sections.get(key)
        built_in = _BUILT_IN if key == LOCAL else None
        if default is not None and built_in is not None:
            # the CLI's built-in `local` sets every value, also "no token", so [default] can only add a login
            default = replace(default, values={})
        layers = (default, built_in, own, self.sections.get("global"))
        return [layer for layer in layers if layer is not None]


_BUILT_IN = ConfigSection(
    LOCAL,
    None,
    {"admin_base_url": Secret("http://127.0.0.1:9070"), "ingress_base_url": Secret("http://127.0.0.1:8080")},
)


@dataclass(frozen=True, slots=True)
class Dotenv:
    """The .env file that the CLI would load, and the CLI's variables that it sets."""

    file: Path
    names: tuple[str, ...]


def fold_case(name: str) -> str:
    """Return a name as the CLI compares it: ASCII letters in lower case."""
    return name.translate(_ASCII_LOWER)


def is_file(path: Path) -> bool:
    """Return whether a file exists; like for the CLI, a file without access does not exist."""
    try:
        return path.is_file()
    except OSError:
        return False


def read_variables(env: Mapping[str, str] | None) -> Variables:
    """Return the CLI's variables and the home folder as Secrets; ``env`` None means the variables of this process."""
    source = os.environ if env is None else env
    return {name: Secret(source[name]) for name in (*VARIABLES, "HOME") if name in source}


def config_home(variables: Variables, cwd: Path) -> Path:
    """Return the folder of the CLI's files; the CLI ignores XDG_CONFIG_HOME."""
    if CONFIG_HOME in variables:
        return cwd / variables[CONFIG_HOME].reveal()
    home = Path(variables["HOME"].reveal()) if "HOME" in variables else Path.home()
    return home / ".config" / "restate"


def read_config(variables: Variables, cwd: Path) -> CliConfig:
    """Return the CLI's configuration.

    Raises SettingsError for a file that cannot be read; the message has the position, never the text of the line.
    """
    path = cwd / variables[CONFIG].reveal() if CONFIG in variables else config_home(variables, cwd) / "config.toml"
    if not is_file(path):
        return CliConfig(path, exists=False, sections={})
    sections, problem = _parse_config(path)
    if problem:
        raise SettingsError(f"{path} {problem}. Correct it (`restate config edit`), or set {CONFIG} to another file.")
    return CliConfig(path, exists=True, sections=sections)


def environment_names() -> list[str]:
    """Return the environments in the configuration of this process; empty if the configuration is invalid."""
    try:
        return read_config(read_variables(None), Path()).names
    except SettingsError:
        return []


def _parse_config(path: Path) -> tuple[dict[str, ConfigSection], str]:
    """Return the sections and the problem ("" if there is none).

    The problem is not raised here: the exception would bring the text of the file, with its tokens, into a traceback.
    """
    import tomllib  # noqa: PLC0415 - many users have no configuration file

    try:
        tables = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        position = _POSITION.search(str(error))
        return {}, f"is not valid TOML at {position[1]}" if position else "is not valid TOML"
    except UnicodeDecodeError:
        return {}, "is not UTF-8 text"
    except OSError as error:
        return {}, f"cannot be read: {error.strerror}"
    for name, table in tables.items():
        if not isinstance(table, dict):
            return {}, f"has {name!r} outside of a table; each value must be in a table such as [local]"
    # if two names differ only in case, the CLI keeps the later table
    return {fold_case(name): _section(name, table, path) for name, table in tables.items()}, ""


def _section(name: str, table: Mapping[str, object], path: Path) -> ConfigSection:
    cloud = table.get("cloud", {})
    return ConfigSection(
        name,
        path,
        {key: _to_secret(table[key]) for key in _KEYS if key in table},
        {key: _to_secret(value) for key, value in cloud.items()} if isinstance(cloud, dict) else None,
    )


def _to_secret(value: object) -> Secret | None:
    return Secret(value) if isinstance(value, str) else None


def last_value(layers: Sequence[ConfigSection], key: str) -> ConfigValue | None:
    """Return the value that takes precedence, or None if no layer has the key."""
    for layer in reversed(layers):
        if key in layer.values:
            return ConfigValue(layer.values[key], layer.where)
    return None


def find_dotenv(cwd: Path) -> Dotenv | None:
    """Return the nearest .env from ``cwd`` upwards; None if there is none, or it sets no variable of the CLI."""
    try:
        start = cwd.absolute()
    except OSError:  # the working folder was deleted
        return None
    for folder in (start, *start.parents):
        path = folder / ".env"
        if is_file(path):
            return _read_dotenv(path)
    return None


def _read_dotenv(path: Path) -> Dotenv | None:
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return None
    names = tuple(dict.fromkeys(match[1] for match in _ASSIGNMENT.finditer(text)))
    return Dotenv(path, names) if names else None
