"""The named questions, as their SQL files tell them."""

from __future__ import annotations

from restate_lab.analysis.questions.catalog import Question, names, read_question

__all__: list[str] = []

_HEAD = """The named questions: `rl.ask(lab, "name", parameter=value)`.

Each is a file in `restate_lab/analysis/questions`, with variants where servers differ; the first whose needs the
source meets is taken. Costs: *point* reads by id, *scan* reads one table of all invocations, *heavy* reads journals
or payloads and says so before it runs. `limit=None` gives all rows; what a limit cut is warned of (`Truncated`).

"""


def _page() -> str:
    """Return the catalogue as Markdown."""
    return _HEAD + "\n".join(_question_section(question) for name in names() if (question := read_question(name)))


def _question_section(question: Question) -> str:
    first = question.variants[0]
    parameters = "".join(
        f"- `{each}`: {each.description}{' (a time)' if each.kind.startswith('time') else ''}\n"
        for each in first.parameters
        if each.name != "now"
    )
    variants = ", ".join(f"`{each.file}` ({each.cost}: {each.reads})" for each in question.variants)
    return f"## {question.name}\n{first.text} One row: {first.row}.\n\n{parameters}\nFiles: {variants}.\n"


__doc__ = _page()
