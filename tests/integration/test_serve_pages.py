"""Every page of ``restate-lab serve``, of a cluster with the incident and of its evidence and its archive."""

from __future__ import annotations

import contextlib
import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Page
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab.cli import app
from restate_lab.links import VARIABLE
from restate_lab.serve.pages import PAGES, clusters
from restate_lab.source import Source
from support.accessibility import faint_texts, overflowing_parts, unnamed_roles
from support.bench import wait_for
from support.clusters import NEWEST, Cluster, KindServer
from support.jupyter import chromium
from support.page_servers import RunningPages, running_pages
from support.raw_server import Talk, raw_server, respond_with
from support.surfaces import foreign_texts, text_of_page

pytestmark = pytest.mark.server

SOURCES = ("prod", "frozen", "months")
REFUSED = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n"
GARBAGE = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 12\r\n\r\n<html>hello\n"
MARKS = "▲✖●↻✓…·"
NO_PART = re.compile(r"Not read(?::|</[^>]+>\s*<[^>]+>) *([^<]+)")


@pytest.fixture(scope="module")
def folder(incident: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with evidence and an archive of the incident."""
    path = tmp_path_factory.mktemp("pages")
    with rl.connect(incident.admin_url, read_only=True) as lab:
        rl.freeze(lab, path / "frozen.evidence", payloads=True, progress=False)
        rl.archive(lab, path / "months", cluster_name="prod", progress=False)
    return path


@pytest.fixture(scope="module")
def sources(incident: Cluster, folder: Path) -> Iterator[dict[str, Source]]:
    with contextlib.ExitStack() as stack:
        yield {
            "prod": stack.enter_context(rl.connect(incident.admin_url, read_only=True)),
            "frozen": stack.enter_context(rl.open_evidence(folder / "frozen.evidence")),
            "months": stack.enter_context(rl.open_history(folder / "months")),
        }


@pytest.fixture(scope="module")
def pages(sources: Mapping[str, Source], folder: Path) -> Iterator[RunningPages]:
    with running_pages(sources, folder / "audit") as running:
        yield running


@pytest.fixture(scope="module")
def client(pages: RunningPages) -> Iterator[httpx.Client]:
    with pages.client() as connected:
        yield connected


def paths_of(incident: Cluster) -> dict[str, str]:
    """Return an address of each page; the invocation has ended, so that all sources have it."""
    return {
        "": "/?since=2h",
        "invocations": "/invocations?service=Settlements&sort=-created_at",
        "invocation": f"/invocation/{incident.roles['refused_settlement_1']}",
        "story": f"/story/{incident.roles['refused_settlement_1']}",
        "waits": "/waits",
        "queues": "/queues",
        "contrast": "/contrast?service=Settlements",
        "agents": "/agents",
        "questions": "/questions",
        "question": "/question/terminal_failures?service=Settlements",
        "report": "/report?length=short",
    }


def of_source(path: str, name: str, *, is_json: bool = False) -> str:
    start, _, query = path.partition("?")
    start = f"{'/index' if start == '/' else start}.json" if is_json else start
    return f"{start}?{'&'.join(filter(None, (query, f'source={name}')))}"


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", PAGES)
def test_each_page_of_each_source_has_a_result(client: httpx.Client, incident: Cluster, name: str, source: str) -> None:
    """A page shows the data of its source, and states which parts it does not have; so does its data."""
    path = paths_of(incident)[name]
    page, data = client.get(of_source(path, source)), client.get(of_source(path, source, is_json=True))
    assert (page.status_code, data.status_code) == (200, 200), page.text[-2_000:]
    assert data.json()
    assert foreign_texts(text_of_page(page.text)) == []  # a page has links: no Python, and no command
    missing = [html.unescape(each) for each in NO_PART.findall(page.text)]
    # An archive has only invocations that have ended, and without vqueues there are no queues to show.
    if (source == "months" and name in {"waits", "queues"}) or (name == "queues" and not incident.vqueues):
        assert missing == [data.json()["not_read"]]
    elif name in {"agents", "report"} and source == "months":  # without payloads and open invocations
        assert missing or data.json()["rows"] == []
    elif name == "story":  # it searches other journals only on request
        assert [each.rpartition(" were ")[2] for each in missing] == ["not searched"]
    else:
        assert missing == []


def command(*arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code in {0, 3, 4}, result.output
    return json.loads(result.stdout)


def test_the_data_of_a_page_is_that_of_the_command_line(client: httpx.Client, folder: Path, incident: Cluster) -> None:
    """Frozen evidence does not change between a page and a command."""
    id_ = incident.roles["refused_settlement_1"]
    where = ("--evidence", str(folder / "frozen.evidence"))

    def page(path: str) -> Any:
        return client.get(of_source(path, "frozen", is_json=True)).json()

    overview, own = page("/"), command("doctor", *where)
    for name in ("verdict", "worst", "findings", "not_read", "source", "version"):
        assert overview[name] == own[name]
    assert page("/waits") == command("waits", *where)
    invocation = page(f"/invocation/{id_}")
    assert invocation["why"] == command("why", id_, *where)
    assert invocation["journal"] == command("journal", id_, *where)
    assert page("/contrast?service=Settlements") == command("contrast", "--service", "Settlements", *where)
    question = page("/question/retry_storm?limit=3")
    assert question["rows"] == command("ask", "retry_storm", "-p", "limit=3", *where)
    assert question["truncated"]["limit"] == 3
    assert page("/agents?since=24h")["rows"] == command("agents", "--since", "24h", *where)
    full = page("/questions")["questions"]
    assert [row["name"] for row in full] == [row["name"] for row in command("questions")]


def test_the_list_is_that_of_the_panel(client: httpx.Client, sources: Mapping[str, Source]) -> None:
    """The rows, their order and their number are those of a panel with the same filters."""
    panel = rl.Panel(sources["frozen"], status="retrying", group=False, refresh=None)
    with contextlib.closing(panel):
        assert panel.wait()
        expected = list(panel.frame["id"])
    data = client.get(of_source("/invocations?status=retrying&group=no", "frozen", is_json=True)).json()
    assert [row["id"] for row in data["rows"]] == expected
    assert data["total"] == len(expected)
    assert data["filters"] == {"status": "retrying"}
    grouped = client.get(of_source("/invocations?status=retrying", "frozen", is_json=True)).json()["rows"]
    assert sum(row["group_size"] or 1 for row in grouped) == len(expected)
    (first, *_) = [row for row in grouped if row["group_size"]]
    one = client.get(of_source(f"/invocations?status=retrying&group={first['group']}", "frozen", is_json=True)).json()
    assert len(one["rows"]) == first["group_size"]


def links(text: str, label: str) -> list[str]:
    return [html.unescape(each) for each in re.findall(rf'<a [^>]*href="([^"]+)"[^>]*>{label}</a>', text)]


def test_findings_lead_to_their_invocations_and_these_to_their_pages(client: httpx.Client) -> None:
    """The list behind a finding has its ids, the comparison is about them, and each id leads to its page."""
    overview = client.get("/", params={"source": "frozen"}).text
    findings = client.get("/index.json", params={"source": "frozen"}).json()["findings"]
    (storm,) = [row for row in findings if row["title"].startswith("15 invocations of Payments/charge")]
    addresses = [each.replace("/invocations?", "/invocations.json?") for each in links(overview, "List 15")]
    lists = [client.get(f"{each}&group=no").json()["rows"] for each in addresses]
    (own,) = [at for at, rows in enumerate(lists) if {row["id"] for row in rows} == set(storm["ids"])]
    shared = addresses[own].replace("/invocations.json?", "/contrast?")
    assert shared in links(overview, "What they share")
    assert "Of the finding: 15 invocations of Payments/charge" in html.unescape(client.get(shared).text)
    assert "deadlock" in client.get(links(overview, "Waits")[0]).text
    ids = re.findall(r'<a href="(/invocation/inv_[^"]+)">', overview)
    assert ids
    assert client.get(html.unescape(ids[0])).status_code == 200
    gone = client.get("/invocations?finding=0123456789abcdef&source=frozen")
    assert gone.status_code == 404
    assert "does not have this finding" in gone.text


def test_what_does_not_exist_is_404_and_what_is_wrong_is_400_with_a_hint(client: httpx.Client) -> None:
    missing = "inv_1" + "0" * 33
    answers: Mapping[str, tuple[int, str]] = {
        f"/invocation/{missing}": (404, "has no invocation"),
        f"/invocation/{missing}?source=months": (404, "has no invocation"),
        "/invocation/inv_1": (400, "an id is inv_1 followed by"),
        "/invocation": (400, "the address has no id"),
        "/invocations?status=pausd": (400, "did you mean 'paused'"),
        "/invocations?sort=-tarket": (400, "Did you mean '-target'"),
        "/invocations?page=2000": (400, "the last one is"),
        "/invocations?staus=paused": (400, "Did you mean 'status'"),
        "/question/retry_strom": (404, "Did you mean 'retry_storm'"),
        "/question/retry_storm?limit=none": (400, "at most 10,000 rows"),
        "/question/retry_storm?limit=x": (400, "use a whole number"),
        "/report?length=long": (400, "choose from full, short"),
        "/?since=yesterday&source=prod": (400, "since is 'yesterday'"),
        "/waits?source=staging": (400, "choose from prod, frozen, months"),
    }
    found = {path: client.get(path) for path in answers}
    for path, (status, text) in answers.items():
        assert found[path].status_code == status, path
        assert text in html.unescape(found[path].text), path


def test_an_invocation_is_found_by_any_text_with_its_id(client: httpx.Client, incident: Cluster) -> None:
    id_ = incident.roles["refused_settlement_1"]
    line = f"2026-11-30 03:00 ERROR [{id_}] settlement refused"
    assert client.get("/invocation", params={"id": line, "source": "frozen"}).status_code == 200


def test_payloads_are_shown_only_by_a_server_that_was_started_with_them(
    sources: Mapping[str, Source], client: httpx.Client, incident: Cluster, folder: Path
) -> None:
    """The page and its data have the input of an agent, or nothing of it."""
    path, question = f"/invocation/{incident.roles['agent_detroit']}", "What is the weather in Detroit?"
    addresses = of_source(path, "frozen"), of_source(path, "frozen", is_json=True)
    assert not any(question in client.get(each).text for each in addresses)
    with running_pages(sources, folder / "audit", payloads=True) as open_pages, open_pages.client() as viewer:
        assert all(question in viewer.get(each).text for each in addresses)


def test_a_report_can_be_kept(client: httpx.Client) -> None:
    """The page has links to the others; the file to keep has none, and loads nothing."""
    page = client.get("/report?length=short&source=frozen")
    (address,) = links(page.text, "Download")
    assert links(page.text, "Waits") == ["/waits?source=frozen"]
    file = client.get(address)
    assert file.headers["content-disposition"] == 'attachment; filename="incident-frozen.html"'
    assert 'href="/' not in file.text
    assert file.headers["content-security-policy"] == page.headers["content-security-policy"]


def test_broken_clusters_are_shown_with_their_reason_and_delay_no_other(
    sources: Mapping[str, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal findings of two sources are one line; a cluster that is still being read does not hold the page."""
    monkeypatch.setattr(clusters, "WAIT", 1.0)
    talks: dict[str, Talk] = {
        "hangs": lambda *_: True,
        "refuses": respond_with(REFUSED),
        "answers with garbage": respond_with(GARBAGE),
    }
    with contextlib.ExitStack() as stack:
        broken = {name: stack.enter_context(raw_server(talk)) for name, talk in talks.items()}
        labs = {
            name: stack.enter_context(rl.connect(each.address, read_only=True, check=False))
            for name, each in broken.items()
        }
        every = {"prod": sources["prod"], **labs, "frozen": sources["frozen"]}
        running = stack.enter_context(running_pages(every, tmp_path, timeout=30.0))
        viewer = stack.enter_context(running.client())
        first = viewer.get("/")
        wait_for(lambda: {"prod", "frozen"} <= read_names(viewer), within=30)
        page, data = viewer.get("/"), viewer.get("/index.json").json()
    assert "still being read" in first.text, "the page waited for the cluster that hangs"
    reasons = {name: data["sources"][name]["not_read"] for name in broken}
    assert "still being read" in reasons["hangs"] or "timeout" in reasons["hangs"]
    assert "401" in reasons["refuses"]
    assert "internal error" not in reasons["answers with garbage"]
    text = html.unescape(page.text)
    assert "Their findings are unknown, not absent." in text
    assert reasons["refuses"][:60] in text
    (storm,) = [each for each in data["findings"] if each["title"].startswith("15 invocations of Payments/charge")]
    assert storm["sources"] == {"prod": 15, "frozen": 15}
    assert re.search(r"15 invocations of Payments/charge.*?<b>in 2 of 5</b>", text, re.DOTALL)
    assert data["sources"]["prod"]["version"] in text


def read_names(viewer: httpx.Client) -> set[str]:
    """Return the names of the sources that the first page has read."""
    found = viewer.get("/index.json").json()["sources"]
    return {name for name, each in found.items() if "verdict" in each}


def test_a_cluster_that_refuses_is_stated_on_each_page(tmp_path: Path) -> None:
    """Each page has a result, and none of them looks as if the cluster had no problem."""
    with (
        raw_server(respond_with(REFUSED)) as server,
        rl.connect(server.address, read_only=True, check=False) as lab,
        running_pages({"prod": lab}, tmp_path) as running,
        running.client() as viewer,
    ):
        paths = {name: f"/{name}" for name in PAGES if name != "questions"}
        paths |= {"question": "/question/overview"}
        paths |= {name: f"/{name}/inv_1" + "0" * 33 for name in ("invocation", "story")}
        paths["contrast"] = "/contrast?service=Payments"
        found = {name: viewer.get(path) for name, path in paths.items()}
    for name, page in found.items():
        assert page.status_code in {200, 502}, name
        assert "401" in page.text, name


def test_an_empty_cluster_is_stated_on_each_page(server: Path, tmp_path: Path) -> None:
    """Nothing looks healthy, because it may be the wrong cluster; every page has a result."""
    with (
        KindServer(NEWEST) as running,
        rl.connect(running.admin_url, read_only=True) as lab,
        running_pages({"prod": lab}, tmp_path) as pages,
        pages.client() as viewer,
    ):
        names = [name for name in PAGES if name not in {"invocation", "story", "question"}]
        found = {name: viewer.get("/report?length=short" if name == "report" else f"/{name}") for name in names}
    assert "nothing is registered here" in found[""].text
    assert "No invocation matches." in found["invocations"].text
    assert "No run of an agent in this time." in found["agents"].text
    for name, page in found.items():
        assert page.status_code == 200, name
        assert "Not read" not in page.text, name


@pytest.mark.long  # it opens every page in both themes
def test_pages_can_be_read_by_everyone(pages: RunningPages, incident: Cluster) -> None:
    """In both themes and on a telephone: names and contrast of all texts, no cut part, no error of the browser."""
    own = [of_source(path, "prod") for name, path in paths_of(incident).items() if name not in {"", "report"}]
    paths = ["/", *own]
    faults: list[str] = []
    with chromium() as browser:
        first = browser.new_context()
        first.new_page().goto(pages.new_link())
        state: Any = first.storage_state()
        for scheme, width in (("light", 1280), ("dark", 400)):
            options: Any = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
            context = browser.new_context(storage_state=state, **options)
            chosen = paths[:4] if scheme == "light" else paths[:2]
            faults += [f"{scheme} {width} {each}" for each in _faults_of(context.new_page(), pages.url, chosen)]
    assert faults == []


def _faults_of(page: Page, url: str, paths: Sequence[str]) -> list[str]:
    """Return the faults that a reader would meet, and the errors of the browser."""
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    for path in paths:
        page.goto(f"{url}{path}")
        body = page.locator("body")
        faint = [each for each in faint_texts(body) if each[6:7] not in MARKS]  # which have a name of their own
        found = [*overflowing_parts(body), *unnamed_roles(body), *faint]
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") != "skip":
            found.append("the first stop of the keyboard is not the link to the content")
        if page.locator("header, main, h1").count() != 3:
            found.append("a landmark is missing")
        faults += [f"{path}: {each}" for each in found]
    return faults


def test_links_of_results_and_panels_open_their_pages(
    incident: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that a colleague gets shows the same: the result, or the rows of the panel with its filters."""
    one = incident.ids("storm_503")[0]
    with (
        rl.connect(incident.admin_url, read_only=True) as lab,
        running_pages({lab.name: lab}, tmp_path) as running,
        running.client() as client,
    ):
        monkeypatch.setenv(VARIABLE, running.url)
        shown = {
            "Overview": rl.doctor(lab).link,
            "Waits": rl.waits(lab).link,
            "Settlements": rl.contrast(lab, "failed", service="Settlements").link,
            one: rl.why(lab, one).link,
        }
        assert rl.journal(lab, one).attrs["link"] == shown[one]
        for text, link in shown.items():
            page = client.get(link)
            assert (page.status_code, text in page.text) == (200, True), link
        with contextlib.closing(rl.Panel(lab, service="Payments", status="retrying")) as panel:
            ids = set(panel.frame["id"])
            listed = client.get(panel.link.replace("/invocations?", "/invocations.json?") + "&group=no").json()
        assert {row["id"] for row in listed["rows"]} == ids


def test_times_of_a_report_open_the_cluster_at_that_time(
    incident: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time of the timeline is a link to the page of this time; without pages, there are no links."""
    with (
        rl.connect(incident.admin_url, read_only=True) as lab,
        running_pages({lab.name: lab}, tmp_path) as running,
        running.client() as client,
    ):
        plain = rl.incident_report(lab, tmp_path / "plain.html", length="short").read_text("utf-8")
        monkeypatch.setenv(VARIABLE, running.url)
        linked = rl.incident_report(lab, tmp_path / "linked.html", length="short").read_text("utf-8")
        assert running.url not in plain
        rows = re.findall(rf'<td class="time"><a href="({running.url}/[^"]+)"[^>]+>([^<]+)</a></td>', linked)
        marks = re.findall(rf'<a class="mark" href="({running.url}/[^"]+)"[^>]+ title="([^ ]+) ', linked)
        assert min(len(rows), len(marks)) > 2
        for link, text in [*rows, *marks]:
            at = parse_qs(urlsplit(html.unescape(link)).query)
            assert at.keys() == {"at", "source"}
            assert text in at["at"][0].replace("T", " ")
        for link, text in (rows[0], rows[-1]):
            page = client.get(html.unescape(link))
            assert (page.status_code, f"as it was at <b>{text}" in page.text) == (200, True)
        assert "lab.at(" not in plain
