"""Take secrets out of an executed notebook: what its cells gave, its widgets, and the parameters that it was given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from nbformat import NotebookNode

from restate_lab.reports.masking import Masker

__all__ = ["as_printed", "joined", "mask_notebook"]

# CSI … (colours and the like), OSC … (titles, links), and escapes of two characters
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def as_printed(text: str) -> str:
    """Return the text without a terminal's escapes; of a line that was written over, the last state is left."""
    plain = _ESCAPES.sub("", text).replace("\r\n", "\n")
    return "\n".join(_last(line) for line in plain.split("\n"))


def _last(line: str) -> str:
    return next((each for each in reversed(line.split("\r")) if each), "")


def mask_notebook(content: NotebookNode, masker: Masker) -> None:
    """Mask a notebook in place; the cells that a person wrote stay as they are."""
    for cell in content.cells:
        if "injected-parameters" in cell.metadata.get("tags", ()):
            cell.source = masker.text(cell.source)
        if "outputs" in cell:
            cell.outputs = [_masked(output, masker) for output in joined(cell.outputs)]
    if "widgets" in content.metadata:
        content.metadata["widgets"] = _node(masker.value(content.metadata["widgets"]))


def joined(outputs: Sequence[Any]) -> list[Any]:
    """Return the outputs with what was printed in pieces in one: a secret may lie across the border."""
    made: list[Any] = []
    for output in outputs:
        last = made[-1] if made else None
        if output.output_type == "stream" and last is not None and last.get("name") == output.name:
            made[-1] = NotebookNode({**last, "text": f"{last.text}{output.text}"})
        else:
            made.append(output)
    return made


def _masked(output: Any, masker: Masker) -> Any:
    masked = NotebookNode(output)
    if output.output_type == "stream":
        masked.text = masker.text(str(output.text))
    elif output.output_type == "error":
        # Colours would stand between a name and its value.
        masked.traceback = [masker.text(as_printed(line)) for line in output.traceback]
        masked.evalue = masker.text(str(output.evalue))
    else:
        masked.data = NotebookNode({kind: _data(kind, value, masker) for kind, value in output.data.items()})
    return masked


def _data(kind: str, value: Any, masker: Masker) -> Any:
    return value if kind.startswith("image/") and kind != "image/svg+xml" else _node(masker.value(value))


def _node(value: Any) -> Any:
    """Return what nbformat writes: its own mappings."""
    if isinstance(value, dict):
        return NotebookNode({key: _node(each) for key, each in value.items()})
    return [_node(each) for each in value] if isinstance(value, list) else value
