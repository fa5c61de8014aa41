"""Write conversations as evaluation data: one JSON object per run, with its messages in chat format."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from restate_lab._public import explained
from restate_lab._text import join
from restate_lab.analysis.agents import conversation
from restate_lab.analysis.agents.entries import ShapeFunction
from restate_lab.analysis.agents.result import Conversation
from restate_lab.analysis.ids import Targets, parse_ids
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError
from restate_lab.export.files import check_absent, resolve_target, save
from restate_lab.source import Source, without_decoding


@explained
def save_dataset(
    source: Source,
    ids: Targets,
    path: str | os.PathLike[str],
    /,
    *,
    shapes: Sequence[ShapeFunction] = (),
    overwrite: bool = False,
    timeout: DurationInput | None = "30s",
) -> Path:
    """Write the conversations of agents to a JSON lines file, as evaluation data, and return its path.

    Each line is one run: ``id``, ``target``, ``status``, ``models``, ``messages`` (as in chat completions: system,
    user, assistant with ``tool_calls``, tool), the journaled tokens, and ``not_read`` about parts that were not read.
    ``ids`` is an id, a list, or a frame such as that of ``rl.agent_runs``. The file has prompts, answers, tool
    arguments and results as they are in the journal; redacted values of evidence stay redacted. ``path`` ends with
    ``.jsonl``, and the file appears when it is complete. ``shapes`` and ``timeout`` (for each run) are those of
    ``rl.conversation``.

    Raises:
        ArgumentError: an id is not valid, the suffix is another, or the file exists (unless ``overwrite=True``).
        NotFound: an invocation does not exist any more.
        TimedOut: reading a run took longer; no file is written.
    """
    target = resolve_target(path)
    if target.suffix not in {".jsonl", ".ndjson"}:
        raise ArgumentError(f"a dataset is a JSON lines file; {target.name!r} must end with .jsonl.")
    check_absent(target, overwrite=overwrite)
    recorded = without_decoding(source)
    read = [conversation(recorded, id_, shapes=shapes, timeout=timeout) for id_ in parse_ids(ids)[0]]
    return save(pd.DataFrame([_row(each) for each in read]), target, overwrite=overwrite)


def _row(run: Conversation) -> Mapping[str, Any]:
    models = [turn.model for turn in run.turns if turn.model]
    return {
        "id": run.id,
        "target": run.target,
        "status": run.status,
        "models": join(models) or None,
        "messages": run.messages(),
        **run.tokens,
        "not_read": run.reasons,
    }
