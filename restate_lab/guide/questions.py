"""The page of the named questions, written from their SQL files."""

from __future__ import annotations

from restate_lab.analysis.questions.catalog import Question, names, read_question

_HEAD = """# Questions

The named questions: `rl.ask(lab, "name", parameter=value)`. `restate-lab ask NAME -p parameter=value` prints the same
rows in a shell.

A question is a SQL file in `restate_lab/analysis/questions`. Where servers differ, `-- if:` in the file chooses its
parts. The questions about agents and backlogs are functions, and their files have no statement. The cost is *point*
(a read by id), *scan* (a read of all rows of a table) or *heavy* (a read of journals or payloads, with a message before
it runs). `limit=None` returns all rows. If a limit cuts rows, `ask` warns (`Truncated`).

"""


def _page() -> str:
    return _HEAD + "\n".join(_question_section(question) for name in names() if (question := read_question(name)))


def _question_section(question: Question) -> str:
    parameters = "".join(
        f"- `{each}`: {each.description}{' (a time)' if each.kind.startswith('time') else ''}\n"
        for each in question.parameters
        if each.name != "now"
    )
    cost = f"Cost: {question.cost}, reads {question.reads}."
    return f"## {question.name}\n{question.text} One row: {question.row}.\n\n{parameters}\n{cost}\n"


__doc__ = _page()
