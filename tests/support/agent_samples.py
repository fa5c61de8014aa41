"""Responses of models as providers and frameworks write them, one file per package and version.

``tests/samples/agents/`` has the files. Each states how it was made, and has payloads with the expected values. A new
version of a package is a new file. Secret and encrypted values in them are "canary".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parents[1] / "samples" / "agents"
FILES = sorted(FOLDER.glob("*/*.json"))
HOW_MADE = {"from the provider's types", "by hand from documentation"}
SECRETS = (b"canary", b"Y2FuYXJ5")  # the second is bytes in base64


class Sample(NamedTuple):
    """A payload, the fields of the response that it has, and its tools as (id, name, arguments)."""

    file: str
    payload: Any
    expected: dict[str, Any]
    tools: list[list[Any]]


def _samples() -> Iterator[tuple[str, Sample]]:
    for path in FILES:
        name = f"{path.parent.name}/{path.stem}"
        for title, case in json.loads(path.read_text("utf-8"))["responses"].items():
            tools = case["expected"].pop("tools")
            yield f"{name}: {title}", Sample(name, case["payload"], case["expected"], tools)


SAMPLES: dict[str, Sample] = dict(_samples())
