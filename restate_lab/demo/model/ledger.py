"""The ledger of the scripted model: one record per request, in a file that survives the model's process."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restate_lab.demo.faults import demo_folder

if TYPE_CHECKING:
    import pandas as pd

LEDGER = "ledger.jsonl"


@dataclass(frozen=True)
class LedgerEntry:
    """One request to the model, and its response.

    ``time`` is an ISO timestamp in UTC of the response. ``status`` is the HTTP status; only a request with status 200
    costs tokens, and other requests have None for them. ``invocation_id`` is the invocation that the request names.
    ``script`` and ``step`` show which reply was sent. ``tool_calls`` has the id, name and arguments (as text) of each
    requested tool, ``tool_results`` the id and output of each tool result in the request.
    """

    time: str
    api: str
    status: int
    invocation_id: str | None
    script: str
    step: int
    prompt: str
    tool_results: list[dict[str, str]]
    asked_model: str
    model: str | None = None
    response_id: str | None = None
    text: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    is_cut: bool = False
    tool_calls: tuple[dict[str, str], ...] = ()
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None


class Ledger:
    """The records in a file, oldest first; ``path`` may have records of an earlier process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.is_file():
            # The earlier process may have ended while it wrote.
            whole, newline, _ = path.read_bytes().rpartition(b"\n")
            path.write_bytes(whole + newline)
        self.records = read_ledger(path)

    def append(self, record: LedgerEntry) -> None:
        """Add a record."""
        line = json.dumps(asdict(record), ensure_ascii=False)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        self.records.append(json.loads(line))

    def step_of(self, call_id: str) -> int | None:
        """Return the step in which the model requested this tool call, or None if it did not."""
        for record in reversed(self.records):
            if any(call["id"] == call_id for call in record["tool_calls"]):
                return int(record["step"])
        return None

    def call_ids(self, sender: str | None, prompt: str, step: int) -> list[str]:
        """Return the ids of the tool calls in the newest response to a prompt at a step.

        Responses to this invocation come first; one that was restarted as new may have the response to another.
        """
        place = (prompt, step, 200)
        answers = [each for each in self.records if (each["prompt"], each["step"], each["status"]) == place]
        newest = max(enumerate(answers), key=lambda each: (each[1]["invocation_id"] == sender, each[0]), default=None)
        return [call["id"] for call in newest[1]["tool_calls"]] if newest else []

    def attempts(self, sender: str | None, script: str, step: int, prompt: str) -> int:
        """Return how many requests of this invocation there were at this step."""
        place = (sender, script, step, prompt)
        return sum(
            (record["invocation_id"], record["script"], record["step"], record["prompt"]) == place
            for record in self.records
        )


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """Return the records in a file, oldest first; a file that does not exist has none."""
    if not path.is_file():
        return []
    # split("\n"): text of a model may contain other line separators, which splitlines() would also split at
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]  # the last line may be incomplete


def ledger(*, folder: Path | None = None) -> pd.DataFrame:
    """Return the requests that the demo's language model got: one row per request, oldest first.

    This is the model's own record, as a provider has it for its bill: each row with ``status`` 200 was paid once.
    ``invocation_id`` is the invocation that sent the request, and ``step`` counts its responses from 0. ``time`` is in
    UTC. Input tokens include cached tokens, and output tokens include reasoning tokens. ``tool_calls`` has the tools
    that the model requested, and ``tool_results`` the results in the request. ``folder`` is the demo's folder; None
    means the folder of the JupyterLab that the demo started.

    Raises:
        SettingsError: the folder of the demo is not known.

    """
    import pandas as pd  # noqa: PLC0415 - the services import this module, and do not need pandas

    rows = read_ledger(demo_folder(folder) / LEDGER)
    frame = pd.DataFrame(rows, columns=[field.name for field in fields(LedgerEntry)])
    frame["time"] = pd.to_datetime(frame["time"], utc=True, format="ISO8601").astype("datetime64[us, UTC]")
    tokens = [str(name) for name in frame if str(name).endswith("_tokens")]
    return frame.astype({"status": "int64", "step": "int64", "is_cut": "bool", **dict.fromkeys(tokens, "Int64")})
