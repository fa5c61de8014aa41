"""Mask secrets in an executed notebook (outputs, widgets, parameters), and render text as a terminal shows it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from nbformat import NotebookNode

from restate_lab.reports.masking import Masker

# CSI … (such as colors), OSC … (titles, links), and escapes of two characters
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def mask_notebook(content: NotebookNode, masker: Masker) -> None:
    """Mask a notebook in place; the source of its own cells is not changed."""
    for cell in content.cells:
        if "injected-parameters" in cell.metadata.get("tags", ()):
            cell.source = masker.text(cell.source)
        if "outputs" in cell:
            cell.outputs = [_mask_output(output, masker) for output in join_streams(cell.outputs)]
    if "widgets" in content.metadata:
        content.metadata["widgets"] = _to_node(masker.value(content.metadata["widgets"]))


def render_terminal_text(text: str) -> str:
    """Return the text as a terminal shows it: without escapes, and with only the last state of an overwritten line."""
    plain = _ESCAPES.sub("", text).replace("\r\n", "\n")
    states = [[state for state in line.split("\r") if state] for line in plain.split("\n")]
    return "\n".join(each[-1] if each else "" for each in states)


def join_streams(outputs: Sequence[Any]) -> list[Any]:
    """Join consecutive outputs of the same stream, because a secret can be split between two of them."""
    merged: list[Any] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if output.output_type == "stream" and last is not None and last.get("name") == output.name:
            merged[-1] = NotebookNode({**last, "text": f"{last.text}{output.text}"})
        else:
            merged.append(output)
    return merged


def _mask_output(output: Any, masker: Masker) -> Any:
    masked = NotebookNode(output)
    if output.output_type == "stream":
        masked.text = masker.text(str(output.text))
    elif output.output_type == "error":
        # Color escapes between a name and its value would prevent a match.
        masked.traceback = [masker.text(render_terminal_text(line)) for line in output.traceback]
        masked.evalue = masker.text(str(output.evalue))
    else:
        masked.data = NotebookNode({kind: _mask_data(kind, value, masker) for kind, value in output.data.items()})
    return masked


def _mask_data(kind: str, value: Any, masker: Masker) -> Any:
    return value if kind.startswith("image/") and kind != "image/svg+xml" else _to_node(masker.value(value))


def _to_node(value: Any) -> Any:
    """Convert dicts to NotebookNode, which nbformat needs."""
    if isinstance(value, dict):
        return NotebookNode({key: _to_node(each) for key, each in value.items()})
    return [_to_node(each) for each in value] if isinstance(value, list) else value
