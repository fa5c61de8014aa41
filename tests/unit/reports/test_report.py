"""A report: sections in, one file out that loads nothing and runs nothing."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
from datetime import UTC
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import restate_lab as rl
from restate_lab.audit import AuditLog
from restate_lab.errors import ArgumentError
from restate_lab.plots.style import canvas_on
from restate_lab.redaction import MASK
from restate_lab.reports.figures import picture, render_figure
from restate_lab.reports.parts import Card, DrawnPicture, FrameTable
from restate_lab.reports.report import Report
from support.sample_reports import Page, report_source
from support.sample_rows import SampleRows
from support.stories import hostile_story, large_story

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "</style><b>",
    "{{ 7 * 7 }} {% raw %}",
    "\x1b[31mred\x1b[0m",
    "file\u202egpj.exe",
    "\ud800 half",
    'quote " > and & amp',
)


def written(report: Report, folder: Path, **options: Any) -> Page:
    return Page(report.write(folder / "report.html", overwrite=True, **options).read_text("utf-8"))


def test_add_returns_a_new_report_and_the_earlier_one_is_unchanged() -> None:
    empty = Report("INC-42")
    one = empty.add("text")
    assert (len(empty.sections), len(one.sections), len(one.add("more").sections)) == (0, 1, 2)
    with pytest.raises(AttributeError):
        one.title = "other"  # type: ignore[misc]
    assert repr(one) == "<Report 'INC-42', 1 sections; .write('x.html') writes the file>"


def test_summary_contents_and_numbered_sections_are_in_this_order(tmp_path: Path) -> None:
    report = Report("INC-42", summary="One.\n\nTwo.").add("a", title="First", caption="of all").add("b", title="Second")
    page = written(report, tmp_path)
    order = [page.text.index(each) for each in ("INC-42", "One.", "Two.", "Contents", "1 First", "of all", "2 Second")]
    assert order == sorted(order)
    assert [attributes["href"] for tag, attributes in page.tags if tag == "a"] == ["#s1", "#s2"]
    assert {attributes.get("id") for _, attributes in page.tags} >= {"s1", "s2"}


def figure() -> Figure:
    made = Figure()
    made.subplots().plot([1, 2], [3, 4])
    return made


@pytest.mark.parametrize(
    ("thing", "parts"),
    [
        (pd.DataFrame({"a": [1]}), [FrameTable]),
        (pd.Series([1, 2], name="n"), [FrameTable]),
        (pa.table({"a": [1]}), [FrameTable]),
        (figure(), [DrawnPicture]),
        (figure().get_axes()[0], [DrawnPicture]),
    ],
    ids=["frame", "series", "table", "figure", "axes"],
)
def test_frames_and_pictures_of_any_origin_are_shown(thing: Any, parts: list[type]) -> None:
    (section,) = Report("r").add(thing).sections
    assert [type(each) for each in section.parts] == parts


@pytest.mark.parametrize(
    "thing",
    [1, None, b"bytes", [1], {"a": 1}, object(), Report("r"), rl, print],
    ids=lambda thing: type(thing).__name__,
)
def test_an_object_that_a_report_cannot_show_is_an_error_with_the_accepted_types(thing: Any) -> None:
    with pytest.raises(ArgumentError, match=r"a report cannot show \w+; add a frame"):
        Report("r").add(thing)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Report(""),
        lambda: Report("r", tz="Mars/Olympus"),
        lambda: Report("r", since="soon"),
        lambda: Report("r").add("x", rows=0),
        lambda: Report("r").write("x.docx"),
        lambda: Report("r").write("nowhere/x.html"),
        lambda: Report("r").write("s3://bucket/x.html"),
        lambda: Report("r").write("x.html", paper="A3"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_argument_is_an_argument_error_and_no_file_is_created(
    make: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError):
        make()
    assert not list(tmp_path.iterdir())


def test_a_figure_is_closed_when_it_is_added_so_that_a_notebook_does_not_show_it_too() -> None:
    drawn, axes = plt.subplots()
    axes.set_title("Retries")
    report = Report("r", source=report_source()).add(axes)
    assert drawn.number not in plt.get_fignums()
    assert report.sections[-1].title == "Retries"


def hostile_report() -> Report:
    frame = pd.DataFrame({text: [text] * 60 for text in HOSTILE if "\ud800" not in text})
    frame.attrs |= {"sql": f"SELECT '{HOSTILE[0]}'", "params": {HOSTILE[0]: HOSTILE[1]}, "question": HOSTILE[0]}
    drawn = figure()
    drawn.suptitle(HOSTILE[0])
    report = Report(HOSTILE[0], source=report_source(name=HOSTILE[1], version=HOSTILE[2]), summary="\n\n".join(HOSTILE))
    report = report.add(frame, caption=HOSTILE[1]).add(drawn)
    for text in HOSTILE:
        report = report.add(text, title=text, caption=text)
    return report


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    page = written(hostile_report(), tmp_path)
    assert not list(page.active_parts())
    assert not list(page.loaded_addresses())
    assert not [tag for tag, _ in page.tags if tag in {"script", "b"}]
    for text in (
        "<img src=x onerror=alert(1)>",
        "{{ 7 * 7 }}",
        "‹U+001B›[31mred",
        "file‹U+202E›gpj.exe",
        'quote " > and & amp',
    ):
        assert text in page.text
    assert "\x1b" not in page.html
    assert "\u202e" not in page.html
    assert "49" not in re.sub(r"data:[^\"]*", "", page.styles)


def test_nothing_is_loaded_and_a_policy_in_the_page_forbids_it(tmp_path: Path) -> None:
    report = Report("r", source=report_source()).add(figure()).add(pd.DataFrame({"a": range(99)}))
    page = written(report, tmp_path)
    assert not list(page.loaded_addresses())
    policy = next(each["content"] for tag, each in page.tags if each.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert "http" not in policy


def test_the_token_and_secrets_of_the_environment_are_in_no_part_of_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_TOKEN", "from-the-environment")
    secrets = ("s3cret-of-made", "from-the-environment")
    said = f"uses {' and '.join(secrets)}, cookie: abc=def"
    frame = pd.DataFrame({"message": [said] * 60})
    frame.attrs |= {"sql": f"SELECT '{said}'", "params": {"token": "by-name-alone"}}
    report = Report(said, source=report_source(), summary=said).add(frame, title=said, caption=said).add(said)
    page = written(report, tmp_path)
    downloaded = report.sections[0].parts[0].download.uri.partition(",")[2]  # type: ignore[union-attr]
    everything = page.html + base64.b64decode(downloaded).decode()
    for secret in (*secrets, "by-name-alone", "abc=def"):
        assert secret not in everything
    assert MASK in page.text


def test_a_report_names_its_cluster_server_time_toolkit_evidence_and_changes(tmp_path: Path) -> None:
    page = written(Report("r", source=report_source(features={"vqueues": True}, read_only=True)), tmp_path)
    for fact in (
        "Cluster made", "As of 2026-11-25 04:00:00 UTC", "restate 1.7.12, vqueues", "Address http://127.0.0.1:1",
        f"restate_lab {rl.__version__}", "none (read from the live cluster)", "this connection was read-only",
    ):  # fmt: skip
        assert fact in page.text
    allowed = written(Report("r", source=report_source()), tmp_path)
    assert "allowed on this connection" in allowed.text
    frozen = report_source(digest="ab12" * 16, verified=False, live=False, address="inc.evidence")
    page = written(Report("r", source=frozen), tmp_path)
    assert f"{'ab12' * 16} (not verified)" in page.text
    assert "Evidence at inc.evidence" in page.text
    assert "frozen evidence is read-only" in page.text


def test_every_time_of_the_page_is_in_the_zone_which_is_named(tmp_path: Path) -> None:
    frame = pd.DataFrame({"created_at": [pd.Timestamp("2026-11-25T04:22:10Z")]})
    page = written(Report("r", source=report_source(), tz="Asia/Tokyo").add(frame), tmp_path)
    for text in (
        "times in Asia/Tokyo",
        "created at (Asia/Tokyo)",
        "2026-11-25 13:22:10",
        "2026-11-25 13:00:00 Asia/Tokyo",
    ):
        assert text in page.text
    assert "2026-11-25 04:" not in page.text


def test_the_sql_is_folded_on_the_screen_and_printed_at_the_end(tmp_path: Path) -> None:
    asked = pd.DataFrame({"n": [1]})
    asked.attrs |= {
        "question": "overview",
        "sql": "SELECT 1 AS n\nFROM t WHERE a < :a",
        "params": {"a": 5},
        "seconds": 0.25,
    }
    page = written(Report("r").add(asked).add(pd.DataFrame({"n": [1]}), sql="SELECT 2 AS n"), tmp_path)
    folded = [attributes for tag, attributes in page.tags if tag == "details"]
    assert [(each.get("class"), "open" in each) for each in folded] == [("sql", False)] * 2
    for text in ("SELECT 1 AS n", "WHERE a < :a", ":a = 5", 'rl.ask(source, "overview")', "250ms", "SELECT 2 AS n"):
        assert page.text.count(text) == 2
    assert ("section", {"class": "statements"}) in page.tags
    assert "statements" not in {
        attributes.get("class") for _, attributes in written(Report("r").add("x"), tmp_path).tags
    }


def test_the_actions_taken_come_from_the_audit_log(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    facts = {"environment": "made", "request": "PATCH", "reason": "INC-42 <b>"}
    for address in ("http://127.0.0.1:1", "http://127.0.0.1:2", "http://another:1"):
        change = log.intent("resume", [f"inv_of_{address[-1]}_{address[7:10]}"], address=address, **facts)
        log.result(change, "done")
    log.intent("kill", ["inv_unknown"], address="http://127.0.0.1:1", **facts)
    page = written(Report("r", source=report_source(), audit=tmp_path / "audit", since="24h"), tmp_path)
    assert "Actions taken" in page.text
    for text in ("inv_of_1_127", "inv_of_2_127", "INC-42 <b>", "kill", "the process ended before the result"):
        assert text in page.text
    assert "inv_of_1_ano" not in page.text
    assert "2 resume inv_of_1_127, inv_of_2_127 done" in " ".join(page.text.split())  # equal changes are one row
    (link,) = [attributes for tag, attributes in page.tags if attributes.get("download") == "actions.csv"]
    assert base64.b64decode(link["href"].partition("base64,")[2]).count(b"INC-42 <b>") == 3
    nothing = written(Report("r", source=report_source(), audit=tmp_path / "none"), tmp_path)
    assert "This user made no changes to made" in nothing.text
    assert "are not in this log" in nothing.text
    frozen = report_source(digest="ab" * 32, live=False)
    assert "Frozen evidence has no audit log" in written(Report("r", source=frozen), tmp_path).text
    assert "Actions taken" not in written(Report("r"), tmp_path).text


def test_notes_are_between_the_actions_in_the_order_of_time(tmp_path: Path) -> None:
    """Notes of other clusters and of earlier times are not in the report."""
    log = AuditLog(tmp_path / "audit")
    about = {"finding": "06f07fc5ff48e7e7", "title": "15 retry", "until": "2200-01-01T00:00:00+00:00"}
    for at, address in enumerate(("http://127.0.0.1:1", "http://another:1")):
        log.note(id=f"{at}", text=f"first {at}", address=address)
        log.result(log.intent("resume", ["inv_1"], address=address, reason=f"second {at}"), "done")
        log.note(id=f"{at}b", text=f"third {at} <b>", address=address, **about)
    page = written(Report("r", source=report_source(), audit=tmp_path / "audit", since="24h"), tmp_path)
    texts = " ".join(page.text.split())
    places = [texts.index(text) for text in ("noted first 0", "second 0", "known until 2200-01-01", "third 0 <b>")]
    assert places == sorted(places)
    assert "acknowledge 15 retry" in texts
    assert "first 1" not in page.text


def test_the_card_of_a_result_is_its_own_escaped_html_without_its_secrets(tmp_path: Path) -> None:

    class Panel:
        sql, params = "SELECT 3", {"n": 3}

        def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
            return {"text/html": "<p>static <b>table</b> s3cret-of-made</p>"}

    Panel.__module__, Panel.__name__ = "restate_lab.panels.made", "MadePanel"
    report = Report("r", source=report_source()).add(Panel())
    assert report.sections[0].title == "Made"
    assert isinstance(report.sections[0].parts[0], Card)
    page = written(report, tmp_path)
    assert f"static table {MASK}" in page.text
    assert "SELECT 3" in page.text
    Panel._repr_mimebundle_ = lambda self, **_: {"text/plain": "x"}  # type: ignore[method-assign,assignment]
    with pytest.raises(ArgumentError, match="it has no static form"):
        Report("r").add(Panel())


def test_pictures_with_few_marks_are_vectors_and_others_are_pixels(tmp_path: Path) -> None:
    few, many, hatched = figure(), figure(), figure()
    many.get_axes()[0].scatter(range(500), range(500))
    hatched.get_axes()[0].bar(range(6), range(6), hatch="//")
    uris = [Report("r").add(each).sections[0].parts[0].uri for each in (few, many, hatched)]  # type: ignore[union-attr]
    assert [uri.partition(";")[0] for uri in uris] == ["data:image/svg+xml", "data:image/png", "data:image/png"]
    assert not plt.get_fignums()


class CountedPatch(Rectangle):
    drawn = 0

    def draw(self, renderer: Any) -> None:
        super().draw(renderer)
        self.drawn += 1


@pytest.mark.parametrize(("hatch", "kind"), [("", "svg+xml"), ("///", "png")], ids=["lines", "dots"])
def test_a_picture_is_drawn_once_and_has_the_size_of_one_that_is_drawn_twice(hatch: str, kind: str) -> None:
    areas = [CountedPatch((number, 0), 1, 1, hatch=hatch) for number in range(5)]

    def plot(title: str, *, tz: Any) -> Axes:
        canvas = canvas_on(None, width=4)
        for area in areas:
            canvas.ax.add_patch(area)
        canvas.ax.set_ylabel("a name\nof two lines")
        canvas.ax.set_xlim(0, 5)
        canvas.ax.text(5.1, 0.5, "beside the Axes")
        canvas.set_title(title, {}, tz)
        return canvas.ax

    ours = render_figure(plot, "A title", UTC, "alt")
    assert ours.uri.startswith(f"data:image/{kind};")
    assert [area.drawn for area in areas] == [1] * 5
    assert not plt.get_fignums()
    for area in areas:
        area.remove()
    with plt.style.context("default"), plt.ioff():
        other = picture(plot("A title", tz=UTC), "alt")
    assert size_of(ours) == pytest.approx(size_of(other), rel=0.01)


def size_of(shown: DrawnPicture) -> tuple[float, float]:
    """Return how wide and how high a picture is, in its own units."""
    content = base64.b64decode(shown.uri.partition(",")[2])
    if shown.uri.startswith("data:image/png"):
        return (int.from_bytes(content[16:20]), int.from_bytes(content[20:24]))
    box = re.search(rb'viewBox="0 0 ([\d.]+) ([\d.]+)"', content)
    assert box is not None
    return (float(box[1]), float(box[2]))


def test_a_wrong_name_of_an_incident_report_is_refused_before_anything_is_loaded() -> None:
    """The modules that draw take seconds to load."""
    program = """
import sys, restate_lab as rl
sys.path.insert(0, sys.argv[1])
from support.sample_rows import SampleRows
from support.stories import hostile_story, large_story
try:
    rl.incident_report(SampleRows(), "r.docx")
except rl.errors.ArgumentError as error:
    assert "use a name that ends with .html or .pdf" in str(error)
    assert "matplotlib" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, str(Path(__file__).parents[2])], check=True, timeout=60)


def test_a_written_report_is_a_path_that_a_notebook_shows_as_a_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a folder").mkdir()
    path = Report("<b>INC-42</b>").add("text").write("a folder/r.html")
    assert isinstance(path, Path)
    assert path == Path("a folder/r.html")
    assert re.fullmatch(r"<Report 'a folder/r\.html', \d+ kB>", repr(path))
    card = path._repr_html_()  # type: ignore[attr-defined]
    assert 'href="a%20folder/r.html"' in card
    assert "&lt;b&gt;INC-42&lt;/b&gt;" in card
    assert "PosixPath" not in card
    assert path.with_suffix(".pdf")._repr_html_() is None  # type: ignore[attr-defined]
    elsewhere = Report("r").write(tmp_path.parent / f"{tmp_path.name}.html")
    assert "href" not in elsewhere._repr_html_()  # type: ignore[attr-defined]


def test_without_overwrite_an_existing_or_new_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    path.write_text("mine")
    with pytest.raises(ArgumentError, match="already exists"):
        Report("r").write(path)
    nobody: Any = SampleRows()
    with pytest.raises(ArgumentError, match="already exists"):
        rl.incident_report(nobody, path)  # before any request
    assert path.read_text() == "mine"
    assert Report("r").write(path, overwrite=True) == path
    assert "<title>r</title>" in path.read_text()


@pytest.mark.parametrize("error", [OSError("the disk is full"), KeyboardInterrupt()], ids=["disk", "interrupt"])
def test_a_failed_write_keeps_the_existing_file_and_leaves_no_incomplete_file(
    error: BaseException, tmp_path: Path, monkeypatch: Any
) -> None:
    path = tmp_path / "r.html"
    path.write_text("before")

    def fails(self: Path, *_: Any, **__: Any) -> int:
        self.touch()
        raise error

    monkeypatch.setattr(Path, "write_text", fails)
    with pytest.raises(type(error)):
        Report("r").write(path, overwrite=True)
    monkeypatch.undo()
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["r.html"]


SLOW = """
import pathlib, sys, time
from restate_lab.reports.report import Report
write = pathlib.Path.write_text
def slowly(self, text, **options):
    write(self, text[: len(text) // 2], **options)
    print("half", flush=True)
    time.sleep(60)
pathlib.Path.write_text = slowly
Report("r").add("text").write(sys.argv[1])
"""


def test_kill_9_while_writing_leaves_no_file_that_looks_like_a_report(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    with subprocess.Popen([sys.executable, "-c", SLOW, str(path)], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"half\n"
        os.kill(running.pid, signal.SIGKILL)
    assert not path.exists()
    assert [each.suffix for each in tmp_path.iterdir()] == [".unfinished"]
    assert Report("r").write(path) == path


def test_a_story_has_its_waterfall_and_a_table_of_its_first_members(tmp_path: Path) -> None:
    report = Report("r").add(large_story(500), caption="the import of Monday")
    page = written(report, tmp_path)
    assert report.sections[0].title == "Story of Import/run and 499 invocations"
    for text in ("the import of Monday", "489 × Row/store succeeded", "The first 20 of 500 rows."):
        assert text in page.text
    assert page.text.count("Row/") == 21  # 19 of the table


def test_texts_of_a_story_are_masked_and_stay_texts(tmp_path: Path) -> None:
    secret = "s3cret-of-made cookie: abc=def"
    report = Report("r", source=report_source()).add(hostile_story(f"{''.join(HOSTILE[:6])} {secret}"))
    page = written(report, tmp_path)
    assert not list(page.active_parts())
    assert "<img src=x onerror=alert(1)>" in page.text
    downloaded = report.sections[0].parts[1].download.uri.partition(",")[2]  # type: ignore[union-attr]
    for text in ("s3cret-of-made", "abc=def", "\x1b", "\u202e"):
        assert text not in page.html
    for text in ("s3cret-of-made", "abc=def"):
        assert text not in base64.b64decode(downloaded).decode("utf-8", "replace")
    assert MASK in page.text
