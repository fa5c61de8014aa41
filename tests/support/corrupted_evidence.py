"""Opens evidence with flipped bits and an adapted sha256: ``python corrupted_evidence.py FOLDER FIRST LAST``.

Runs in its own process, because a Parquet reader may crash it. Prints each outcome with its count.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sys
import warnings
from collections import Counter
from pathlib import Path

from restate_lab.errors import RestateLabError
from restate_lab.evidence.freeze import freeze
from restate_lab.evidence.store import open_evidence
from support.freezable import Freezable

FILES = ("state.parquet", "sys_journal.parquet", "sys_invocation_status.parquet")
TABLES = ("state", "sys_journal", "sys_invocation_status", "sys_invocation")


def freeze_sample(folder: Path) -> Path:
    numbers = range(50)
    source = Freezable(
        sys_invocation_status=[{"id": f"inv_{n}", "status": "suspended", "waits_for": [1, 2]} for n in numbers],
        state=[{"service_name": "S", "service_key": f"k{n}", "key": "a", "value": b"x" * n} for n in numbers],
        sys_journal=[{"id": f"inv_{n}", "index": n, "entry_lite_json": '{"Command": {}}'} for n in numbers],
    )
    return Path(freeze(source, folder / "good.evidence", progress=False, payloads=True))


def rewrite(folder: Path, name: str, content: bytes, **more: int) -> None:
    """Replace a file, and adapt the manifest to it."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    entry = next(each for each in manifest["files"] if each["file"] == name)
    entry |= {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), **more}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def outcome(folder: Path) -> str:
    try:
        with open_evidence(folder) as evidence:
            for table in TABLES:
                evidence.sql(f"SELECT * FROM {table}")
    except RestateLabError as error:
        return type(error).__name__
    return "read"


def main(folder: Path, first: int, last: int) -> None:
    warnings.simplefilter("ignore")
    good, bad = freeze_sample(folder), folder / "bad.evidence"
    counts: Counter[str] = Counter()
    for seed in range(first, last):
        chance = random.Random(seed)  # noqa: S311 - the same files in every run
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(good, bad)
        name = chance.choice(FILES)
        content = bytearray((bad / name).read_bytes())
        for _ in range(chance.choice([1, 1, 3])):
            content[chance.randrange(4, len(content) - 4)] ^= 1 << chance.randrange(8)
        rewrite(bad, name, bytes(content))
        counts[outcome(bad)] += 1
    sys.stdout.write(json.dumps(counts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
