"""Make the environments of child processes: only the variables that each kind of program needs.

A variable is passed only if its name is listed here, so that a child never inherits a secret of another program.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from restate_lab.redaction import is_secret_name

_PROGRAM = (
    *("HOME", "USER", "LOGNAME", "PATH", "TMPDIR", "TZ", "LANG", "LANGUAGE", "LC_*", "XDG_*", "FONTCONFIG_*"),
    *("LD_LIBRARY_PATH", "DYLD_*", "DBUS_SESSION_BUS_ADDRESS"),
    *("SYSTEMROOT", "COMSPEC", "PATHEXT", "TEMP", "TMP", "APPDATA", "LOCALAPPDATA", "USERPROFILE"),  # Windows
)
_PYTHON = ("PYTHON*", "VIRTUAL_ENV", "CONDA_*")
_NETWORK = (
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
_NOTEBOOK = ("RESTATE_*", "JUPYTER*", "IPYTHON*", "MPL*", "CHROMIUM", "COLUMNS", "LINES", "TERM")
_NPM = ("npm_config_*", "NPM_*", "NODE_*")
_TOKEN = "RESTATE_AUTH_TOKEN"  # noqa: S105 - the name of a variable


def clean_environment(**settings: str) -> dict[str, str]:
    """Return the variables that any program needs to run (Chromium, restate-server), and ``settings``."""
    return _allowed_variables(_PROGRAM) | settings


def python_environment(**settings: str) -> dict[str, str]:
    """Return the variables for a Python program with the packages of this one, and ``settings``."""
    return _allowed_variables((*_PROGRAM, *_PYTHON)) | settings


def npm_environment() -> dict[str, str]:
    """Return the variables for npm to reach its registry, including its own tokens."""
    return _allowed_variables((*_PROGRAM, *_NETWORK)) | _matching_variables(os.environ, _NPM)


def pip_environment() -> dict[str, str]:
    """Return the variables for pip to reach its index, including its own credentials."""
    return _allowed_variables((*_PROGRAM, *_NETWORK)) | _matching_variables(os.environ, ("PIP_*",))


def kernel_environment() -> dict[str, str]:
    """Return the variables for the kernel of a notebook.

    These are the variables for Python, proxies and certificates, Jupyter, matplotlib, and RESTATE_* for connections.
    Variables with a secret name are not passed, except RESTATE_AUTH_TOKEN.
    """
    listed = _allowed_variables((*_PROGRAM, *_PYTHON, *_NETWORK, *_NOTEBOOK))
    return listed | _matching_variables(os.environ, (_TOKEN,))


def _allowed_variables(patterns: Iterable[str]) -> dict[str, str]:
    return {
        name: value for name, value in _matching_variables(os.environ, patterns).items() if not is_secret_name(name)
    }


def _matching_variables(variables: Mapping[str, str], patterns: Iterable[str]) -> dict[str, str]:
    wanted = tuple(patterns)
    return {name: value for name, value in variables.items() if any(fnmatchcase(name, each) for each in wanted)}
