"""Reports as their readers see them: a file in a browser without a network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page

import restate_lab as rl
from support.clusters import NEWEST, Cluster, Clusters

WIDE, NARROW = 1280, 390
GROUND = "getComputedStyle(document.body).backgroundColor"
FITS = "document.documentElement.scrollWidth <= window.innerWidth"
SEEN = "[...document.images].every(each => each.complete && each.naturalWidth > 0)"


@contextlib.contextmanager
def opened(browser: Browser, path: Path, *, width: int = WIDE, scheme: str = "light") -> Iterator[Page]:
    """Open a file without a network; at the end only the file was requested, and the console has no errors."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
        accept_downloads=True,
    )
    context.set_offline(True)
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    yield page
    context.close()
    assert [each for each in asked if not each.startswith("data:")] == [path.as_uri()]
    assert said == []


@pytest.fixture(scope="module")
def report(clusters: Clusters, newest: Cluster, server: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the ready report of the demo's incident; JupyterLab's own cluster is kept for later modules."""
    with rl.connect(clusters.get(NEWEST, "incident").admin_url, read_only=True) as lab:
        return rl.incident_report(
            lab,
            tmp_path_factory.mktemp("report") / "incident.html",
            summary="The provider works on it; ask in the channel of INC-42.",
        )


@pytest.mark.parametrize("width", [pytest.param(WIDE, marks=pytest.mark.long), NARROW])
def test_light_and_dark_wide_and_narrow(browser: Browser, report: Path, width: int, screenshots: Path) -> None:
    """The page uses the reader's color scheme, is never wider than the window, and every picture is visible."""
    grounds = {}
    for scheme in ("light", "dark"):
        with opened(browser, report, width=width, scheme=scheme) as page:
            grounds[scheme] = page.evaluate(GROUND)
            assert page.evaluate(FITS)
            assert page.evaluate(SEEN)
            page.screenshot(path=screenshots / f"report-{scheme}-{width}.png", full_page=True)
            page.screenshot(path=screenshots / f"report-first-page-{scheme}-{width}.png")
    assert grounds == {"light": "rgb(246, 247, 249)", "dark": "rgb(21, 23, 25)"}


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_words_of_ten_thousand_letters_fit(browser: Browser, tmp_path: Path, width: int) -> None:
    """Wherever such a long string is, the page stays as wide as the window, and no heading fills the screen."""
    long, accents = "k" * 10_000, "a" + "\u0301" * 3_000
    frame = pd.DataFrame({"id": [f"inv_1{'a' * 33}"] * 2, "key": [long, accents], "n": [1, 2]})
    frame.attrs = {"sql": f"SELECT '{long}'", "params": {"x": long}}
    report = rl.Report(long, summary=long).add(frame, caption=long, title=long).add(long)
    report = report.add(frame.rename(columns={"n": long})).add(pd.DataFrame({f"column {n}": [n] for n in range(80)}))
    with opened(browser, report.write(tmp_path / "long.html"), width=width) as page:
        assert page.evaluate(FITS)
        page.get_by_text("The SQL behind this section").first.click()
        assert page.evaluate(FITS)
        heights = page.evaluate("[...document.querySelectorAll('h1,h2,th')].map(each => each.offsetHeight)")
        assert max(heights) < 600


def test_contents_are_a_rail_that_stays_in_sight(browser: Browser, report: Path) -> None:
    """In a wide window the contents are beside the page and stay; in a narrow one and in print they are above it."""
    with opened(browser, report) as page:
        contents, main = page.get_by_role("navigation", name="Contents"), page.locator("main")
        assert contents.bounding_box()["x"] + contents.bounding_box()["width"] <= main.bounding_box()["x"]  # type: ignore[index]
        contents.get_by_role("link", name="Deployments").focus()
        page.keyboard.press("Enter")
        heading = page.get_by_role("heading", name="10 Deployments")
        heading.wait_for()
        page.wait_for_function("h => Math.abs(h.getBoundingClientRect().top) < 200", arg=heading.element_handle())
        assert contents.bounding_box()["y"] >= 0  # type: ignore[index]
        page.emulate_media(media="print")
        assert contents.bounding_box()["y"] < main.bounding_box()["y"]  # type: ignore[index]
        folded = page.locator("details [role='listitem']").first
        assert folded.bounding_box()["height"] > 0  # type: ignore[index]
        page.emulate_media(media="screen")
        assert not folded.is_visible()


def test_wide_tables_scroll_by_themselves(browser: Browser, report: Path) -> None:
    """In a narrow window a table scrolls below its heading, also with the keyboard; ids are not broken."""
    with opened(browser, report, width=NARROW) as page:
        table = page.locator(".scroll").first
        assert table.evaluate("each => each.scrollWidth > each.clientWidth")
        assert table.get_attribute("tabindex") == "0"
        rows = page.locator("td.id").first
        assert rows.evaluate("each => getComputedStyle(each).whiteSpace") == "nowrap"


def test_all_of_a_table_can_be_saved_and_its_sql_unfolded(browser: Browser, report: Path, tmp_path: Path) -> None:
    """A link in the page saves the whole frame as CSV, and a click shows the statement."""
    with opened(browser, report) as page:
        with page.expect_download() as download:
            page.get_by_role("link", name="oldest_unmoved.csv").click()
        download.value.save_as(tmp_path / "all.csv")
        note = page.get_by_text("The first 15 of").inner_text()
        assert len(pd.read_csv(tmp_path / "all.csv")) == int(note.split("of ")[1].split(" rows")[0])
        statement = page.locator("details.sql pre", has_text="FROM sys_invocation_status").first
        assert not statement.is_visible()
        page.locator("details.sql", has_text="FROM sys_invocation_status").first.locator("summary").click()
        assert statement.is_visible()
        page.get_by_role("link", name="Deployments", exact=True).click()
        assert page.get_by_role("heading", name="10 Deployments").is_visible()


# JupyterLab has this rule, and a cell of this width if the window has 400 pixels.
NOTEBOOK_CELL = "<style>svg {{ max-width: 100%; height: auto; }}</style><div style='width: 210px'>{card}</div>"
LETTERS = """[...document.querySelectorAll("td, th, div, span")]
    .filter(each => each.clientWidth && each.clientWidth < 60
    && getComputedStyle(each).overflow !== "hidden"  // the hidden part of an id
    && [...each.childNodes].some(node => node.nodeType === 3 && node.textContent.trim().length > 12))
    .map(each => each.textContent)"""


def test_cards_are_readable_in_a_narrow_cell(browser: Browser, server: Path, clusters: Clusters) -> None:
    """No column is a few letters wide, and no card or picture is cut or wider than its cell."""
    incident = clusters.get(NEWEST, "incident")
    with rl.connect(incident.admin_url, read_only=True) as lab:
        waits = rl.waits(lab)
        locked = waits.edges[waits.edges["waiter_target"].str.startswith("Warehouse/")]["waiter"].iloc[0]
        held = waits.blockers.sort_values("total_waiting").iloc[-1]["id"]
        cards = {"why": rl.why(lab, locked), "waits": waits, "plan": rl.plan(lab, "kill", [held]), "lab": lab}
        html = {name: card._repr_html_() for name, card in cards.items()}
    page = browser.new_page(viewport={"width": 400, "height": 900})
    for name, card in html.items():
        page.set_content(NOTEBOOK_CELL.format(card=card))
        assert page.evaluate(LETTERS) == [], name
        assert page.evaluate("document.querySelector('body > div').scrollWidth <= 210"), name
        drawn = "e => [e.getBoundingClientRect().width, e.getBoundingClientRect().height].map(Math.round)"
        for svg in page.locator("svg[role]").all():
            assert svg.evaluate(drawn) == [int(svg.get_attribute(each) or 0) for each in ("width", "height")], name
    page.close()
    assert 'title="inv_1' in html["plan"], "a plan has short ids, with the whole ones in tooltips"


HOSTILE = "<img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script>"


def test_hostile_text_does_nothing(browser: Browser, tmp_path: Path) -> None:
    """Text from a cluster is read and not run."""
    frame = pd.DataFrame({HOSTILE: [HOSTILE]})
    path = rl.Report("safe", summary=HOSTILE).add(frame, caption=HOSTILE).add(HOSTILE).write(tmp_path / "r.html")
    with opened(browser, path) as page:
        assert page.title() == "safe"
        assert page.evaluate(SEEN)
        assert page.get_by_text("document.title='owned'").count()
