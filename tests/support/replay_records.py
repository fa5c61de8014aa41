"""Replay the records of a folder on an app, with nothing but the standard library, the SDK and the app's own packages.

``python replay_records.py APP FOLDER`` prints one JSON object per record.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from restate_lab.testing import Record, ReplayError

OPTIONS = {"timeout": 120.0}


def main(app: str, folder: str) -> None:
    for path in sorted(Path(folder).glob("*.json")):
        record = Record.load(path)
        result: dict[str, object] = {"name": path.stem}
        try:
            for checked in (True, False):
                outcome = record.outcome(app, check_payloads=checked, **OPTIONS)
                if checked or result["outcome"] == "diverges":
                    result |= {"outcome": outcome.outcome, "text": str(outcome), "returned": outcome.returned}
                    result |= {"is_as_in_production": outcome.is_as_in_production, "is_checked": checked}
        except ReplayError as error:
            result |= {"outcome": type(error).__name__, "text": str(error)}
        sys.stdout.write(f"{json.dumps(result, default=str)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
