"""A notebook as a report, with real kernels and no server."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import nbformat
import pytest

from restate_lab.errors import ArgumentError
from restate_lab.redaction import MASK
from restate_lab.reports.masking import Masker
from restate_lab.reports.notebook import notebook_report
from restate_lab.reports.notebook.sections import sections_of, title_of
from restate_lab.reports.parts import Card, Code, Notice, Picture
from support.sample_reports import Page

SECRET = "from-the-environment"
SHOW = """
from IPython.display import HTML, Image, Markdown, display
import os
display(HTML("<b>bold</b><script>alert(1)</script><img src='http://e.example/x.png'>"))
display(Markdown("**strong** ![x](http://e.example/x.png)"))
print("the token is", os.environ["MY_API_TOKEN"], end="")
print("; half of ", os.environ["MY_API_TOKEN"][:9], sep="", end="", flush=True)
print(os.environ["MY_API_TOKEN"][9:], "\\x1b[31mred\\x1b[0m")
print("10%\\r100%", flush=True)
{"password": "by-its" + "-name"}
"""


def write(path: Path, *cells: Any) -> Path:
    made = [nbformat.v4.new_markdown_cell(each) if isinstance(each, str) else each for each in cells]
    nbformat.write(nbformat.v4.new_notebook(cells=made), path)
    return path


def code(source: str, *tags: str, outputs: Any = ()) -> Any:
    made = nbformat.v4.new_code_cell(source, outputs=list(outputs))
    made.metadata["tags"] = list(tags)
    return made


def test_the_report_of_a_notebook_has_chapters_and_folded_code_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_TOKEN", SECRET)
    notebook = write(
        tmp_path / "n.ipynb",
        "# The `incident` of *Monday*\n\nIntro.",
        code("city, token = 'Denver', ''", "parameters"),
        "## What was shown\n\n- one <i onclick='x()'>i</i>",
        code(SHOW),
        code("city, len(token)"),
    )
    values = {"city": "O'Hare </script>", "token": "a-parameter-token"}
    done = notebook_report(notebook, tmp_path / "out.html", parameters=values, pass_env=["MY_API_TOKEN"])
    assert (done.failure, done.path, done.executed) == (None, tmp_path / "out.html", tmp_path / "out.executed.ipynb")
    page = Page(done.path.read_text("utf-8"))
    executed = done.executed.read_text("utf-8")
    assert not list(page.loaded_addresses())
    assert not list(page.active_parts())
    for text in (
        "The incident of Monday",
        "Intro.",
        "What was shown",
        "bold",
        "strong",
        "; half of",
        "100%",
        "Code of cell 4",
    ):
        assert text in page.text
    for secret in (SECRET, "by-its-name", "a-parameter-token"):
        assert secret not in page.html
        assert secret not in executed
    assert page.text.count(MASK) >= 4
    assert "O'Hare </script>" in page.text
    assert '("O\'Hare </script>", 17)' in page.text
    assert "Changes not allowed: the kernel was read-only" in page.text
    assert "parameters of this report" in page.text
    assert [each for each in page.tags if each[0] == "details"] == [("details", {"class": "code"})] * 4


PROGRESS = """
from restate_lab import progress
progress.DELAY = progress.EVERY = 0.0
bar = progress.InvocationsLine("kill")
bar.update(1, 5)
"""


def test_a_notebook_keeps_the_last_progress_of_an_interrupted_call_only(tmp_path: Path) -> None:
    notebook = write(tmp_path / "n.ipynb", code(PROGRESS), code("bar.update(3, 5)"), code(PROGRESS + "bar.close()"))
    done = notebook_report(notebook, tmp_path / "out.html")
    cells = nbformat.read(done.executed, as_version=4).cells
    interrupted, finished = (output.data for cell in cells for output in cell.get("outputs", ()))
    assert interrupted["text/plain"].startswith("kill: 3 of 5, 00:")
    assert set(finished.values()) == {""}
    text = Page(done.path.read_text("utf-8")).text
    assert "kill: 3 of 5" in text
    assert "needs scripts" not in text


def test_a_report_begins_with_the_failed_cell_and_lists_the_missing_parts(tmp_path: Path) -> None:
    notebook = write(
        tmp_path / "n.ipynb",
        "# T",
        code("print('before')"),
        code("password = 'hunter2'\n1 / 0"),
        code("print('after')"),
    )
    for name in ("out.html", "out.executed.ipynb"):
        (tmp_path / name).write_text("of the last run")
    done = notebook_report(notebook, tmp_path / "out.html", overwrite=True)
    assert done.failure is not None
    assert done.failure.number == 2
    page = Page(done.path.read_text("utf-8"))
    order = [page.text.index(each) for each in ("Cell 2 failed: ZeroDivisionError", "The notebook failed", "before")]
    assert order == sorted(order)
    assert "were not executed, so their outputs are missing below" in page.text
    assert "hunter2" not in page.html
    assert "ZeroDivisionError" in done.executed.read_text()


def test_a_wrong_argument_is_reported_before_the_notebook_runs(tmp_path: Path) -> None:
    ran = f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()"
    notebook = write(tmp_path / "n.ipynb", code(ran))
    (tmp_path / "there.html").touch()
    (tmp_path / "x.executed.ipynb").touch()
    (tmp_path / "no.ipynb").write_text("{")
    write(tmp_path / "empty.ipynb", "# only text")
    for asked, options, said in (
        ((tmp_path / "nope.ipynb", "o.html"), {}, "notebook not found"),
        ((tmp_path / "no.ipynb", "o.html"), {}, "cannot read .* as a notebook"),
        ((tmp_path / "empty.ipynb", "o.html"), {}, "has no code"),
        ((tmp_path, "o.html"), {}, "cannot read .* as a notebook"),
        ((notebook, "o.txt"), {}, "use a name that ends with .html or .pdf"),
        ((notebook, tmp_path / "there.html"), {}, "already exists"),
        ((notebook, tmp_path / "x.html"), {}, "x.executed.ipynb already exists"),
        ((notebook, tmp_path / "o.html"), {"parameters": {"a b": 1}}, "use a Python identifier"),
        ((notebook, tmp_path / "o.html"), {"evidence": tmp_path}, "does not accept evidence"),
    ):
        with pytest.raises(ArgumentError, match=said):
            notebook_report(*asked, **options)  # type: ignore[arg-type]
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "o.html").exists()


def parts(*outputs: Any) -> list[Any]:
    made = nbformat.v4.new_notebook(cells=[code("x", outputs=outputs)])
    (section,) = sections_of(made, Masker(["hunter2hunter2"]))
    return list(section.parts[1:])


def shown(**data: Any) -> Any:
    return nbformat.v4.new_output("display_data", {name.replace("__", "/"): value for name, value in data.items()})


def test_html_is_cleaned_pictures_stay_and_other_outputs_are_reported() -> None:
    dot = "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAUCAIAAAA="
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "m"}}
    (static,) = parts(
        nbformat.v4.new_output("display_data", {**widget, "text/html": "<p>rows</p>", "text/plain": "W()"})
    )
    assert isinstance(static, Card)
    assert "rows" in static.html
    # The output before a panel's widget has the panel's content.
    assert parts(nbformat.v4.new_output("display_data", {**widget, "text/html": "", "text/plain": "P()"})) == []
    (moving,) = parts(nbformat.v4.new_output("display_data", {**widget, "text/plain": "IntSlider()"}))
    assert isinstance(moving, Notice)
    (picture,) = parts(shown(image__png=dot, text__plain="<Figure>"))
    assert isinstance(picture, Picture)
    assert (picture.uri, picture.width) == (f"data:image/png;base64,{dot}", 10)
    (lines,) = parts(shown(**{"image/svg+xml": "<svg>hunter2hunter2</svg>"}))
    assert isinstance(lines, Picture)
    assert "hunter2" not in base64.b64decode(lines.uri.partition(",")[2]).decode()
    (script,) = parts(shown(application__javascript="alert(1)"))
    assert isinstance(script, Notice)
    (frame,) = parts(shown(text__html="<iframe src='http://e.example'></iframe>"))
    assert isinstance(frame, Notice)
    stream = [nbformat.v4.new_output("stream", name="stdout", text=each) for each in ("hunter2", "hunter2\n")]
    (printed,) = parts(*stream)
    assert isinstance(printed, Code)
    assert printed.text == MASK


def test_the_first_heading_is_the_title_of_a_notebook() -> None:
    assert title_of(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("text\n# no heading")])) == ""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("## A [link](http://x) and `code` ##\ntext")])
    assert title_of(made) == "A link and code"
    assert [each.title for each in sections_of(made, Masker())] == [""]
