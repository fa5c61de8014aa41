"""The addresses of pages: their parameters, their links, and the sorted and grouped lines of a list."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from markupsafe import Markup

from restate_lab._html import linked_ids, render
from restate_lab._text import shorten_id
from restate_lab.analysis.doctor.diagnosis import Diagnosis, build_diagnosis
from restate_lab.analysis.doctor.model import Finding, Severity
from restate_lab.analysis.invocations.filters import Filters
from restate_lab.analysis.invocations.groups import group_invocations
from restate_lab.analysis.invocations.reader import InvocationQuery, Rows
from restate_lab.analysis.suggestions import ask_call, plan_call, story_call, why_call
from restate_lab.calls import Step, SuggestedCall
from restate_lab.document import Calls, Document
from restate_lab.document.html import html_of
from restate_lab.errors import ArgumentError, NotFound
from restate_lab.serve.page import Missing, PageRequest, WebPage
from restate_lab.serve.pages import PAGES
from restate_lab.serve.pages.clusters import share_findings
from restate_lab.serve.pages.findings import fingerprints
from restate_lab.serve.pages.invocations import filters_of
from restate_lab.serve.pages.list_view import InvocationList, ListView
from restate_lab.serve.readings import Readings
from restate_lab.serve.rendering import NAVIGATION, address_of, page_of, render_page
from support.sample_rows import sample_id
from support.sample_source import SampleSource, invocations

ID = sample_id(1)
RETRIES = "/question/retry_storm_ids?service=A%2Fb&ids=x%2Cy"
HOSTILE = '"><script>alert(1)</script>&?#/%'


def request_of(name: str = "invocations", *, several: bool = False, **params: Any) -> PageRequest:
    """Return a request; the readings of its sources are never used."""
    readings = {each: Readings(each, SampleSource(invocations()), longest=1) for each in ("prod", "eu & us")}
    first = readings["eu & us"] if several else readings["prod"]
    known = readings if several else {"prod": first}
    values = {key: each if isinstance(each, list) else [each] for key, each in params.items()}
    return PageRequest(first, known, values, name=name, is_named=True)


def test_filters_of_an_address_are_those_of_the_panel() -> None:
    found = filters_of(request_of(status=["paused", "retrying"], service="Payments", retries="10", age="2h", key=""))
    assert found == Filters(status=("paused", "retrying"), service=("Payments",), retries=10, age="2h")


@pytest.mark.parametrize(
    ("params", "hint"),
    [
        ({"retries": "ten"}, "a whole number"),
        ({"retries": "0"}, "a whole number"),
        ({"status": "pausd"}, "did you mean 'paused'"),
        ({"since": "yesterday"}, "since is 'yesterday'"),
        ({"id": "inv_1"}, "an id is inv_1 followed by"),
        ({"handler": ["a", "b"]}, "pass one"),
    ],
)
def test_a_wrong_filter_states_what_is_allowed(params: dict[str, Any], hint: str) -> None:
    with pytest.raises(ArgumentError, match=hint):
        filters_of(request_of(**params))


@pytest.mark.parametrize("name", PAGES)
def test_each_page_refuses_an_unknown_parameter_with_a_suggestion(name: str) -> None:
    argument = {"question": "overview"}.get(name, "")
    request = PageRequest(*_one_source(), {"staus": ["x"]}, argument, name=name)
    with pytest.raises(ArgumentError, match="unknown parameter 'staus'"):
        asyncio.run(_open(name, request))


@pytest.mark.parametrize("name", [name for name in PAGES if name not in {"invocation", "story", "question"}])
def test_a_page_about_everything_has_no_page_below_it(name: str) -> None:
    with pytest.raises(NotFound):
        asyncio.run(_open(name, PageRequest(*_one_source(), {}, "x", name=name)))


def _one_source() -> tuple[Readings, dict[str, Readings]]:
    readings = Readings("prod", SampleSource(invocations()), longest=1)
    return readings, {"prod": readings}


async def _open(name: str, request: PageRequest) -> WebPage:
    return await PAGES[name](request)


def test_links_keep_every_character_and_the_source() -> None:
    """A value can have any character; the address of the page has it again."""
    request = request_of(several=True, status="all")
    link = urlsplit(request.link("/invocations", key=HOSTILE, service=["a&b", "c"]))
    assert parse_qs(link.query) == {"source": ["eu & us"], "key": [HOSTILE], "service": ["a&b", "c"]}
    assert "source" not in request_of().link("/waits")
    here = urlsplit(request.link_here(page=2))
    assert (here.path, parse_qs(here.query)) == (
        "/invocations",
        {"source": ["eu & us"], "status": ["all"], "page": ["2"]},
    )


def test_ids_lead_to_their_pages_and_other_ids_to_none() -> None:
    request = request_of()
    assert address_of(request, ID) == f"/invocation/{ID}"
    assert address_of(request, "dp_14yFN9PM9hM5ifo4xHW5mX7").startswith("/invocations?deployment=dp_1")
    assert address_of(request, "sub_14yFN9PM9hM5ifo4xHW5mX7") == ""


@pytest.mark.parametrize(
    ("call", "label", "address"),
    [
        (why_call(ID), f"Invocation {shorten_id(ID)}", f"/invocation/{ID}"),
        (story_call(ID), f"Story of {shorten_id(ID)}", f"/story/{ID}"),
        (SuggestedCall("waits"), "Waits", "/waits"),
        (SuggestedCall("waits", result="deadlocks"), "", ""),
        (ask_call("retry_storm_ids", service="A/b", ids=("x", "y")), "Question retry_storm_ids", RETRIES),
        (plan_call("cancel", [ID]), "", ""),
    ],
)
def test_a_call_with_a_page_is_a_link_to_it(call: SuggestedCall, label: str, address: str) -> None:
    assert page_of(request_of(), Step((call,))) == (label, address)
    assert page_of(request_of(), Step((call, call))) == page_of(None, Step((call,))) == ("", "")


def test_a_page_has_no_link_to_itself_and_no_code() -> None:
    """On the page of an invocation, "next: why" of its journal is hidden; a plan has no page, so it is hidden, too."""
    request = replace(request_of("invocation"), argument=ID)
    steps = [Step((call,)) for call in (why_call(ID), story_call(ID), plan_call("cancel", [ID]))]
    assert [page_of(request, each)[1] for each in steps] == ["", f"/story/{ID}", ""]
    document = Document("x", "", tuple(map(Calls, steps)))
    with linked_ids(partial(address_of, request), partial(page_of, request)):
        page = html_of(document)
    assert page.count("<a ") == 1
    assert page.count("next:") == 1
    assert "rl." not in page
    assert html_of(document).count("rl.") == 3


def test_only_ids_become_links_and_all_text_stays_text() -> None:
    """An id within a hostile text is a link, and nothing else of the text is markup."""
    with linked_ids(lambda id_: f"/x?{HOSTILE}{id_}"):
        page = render("serve/pages/states.html.j2", rows=[_state(f"{HOSTILE} {ID} {HOSTILE}")])
    assert page.count("<a ") == 2
    assert "<script" not in page
    assert "<a " not in render("serve/pages/states.html.j2", rows=[_state(ID)]).partition(ID)[0].partition("error")[2]


def _state(text: str) -> dict[str, Any]:
    names = ("name", "address", "version", "verdict", "colour")
    return {**dict.fromkeys(names, "x"), "text": text, "is_read": True}


def test_a_missing_part_gives_its_reason_and_the_others_are_shown() -> None:
    page = WebPage(HOSTILE, [Missing(HOSTILE), Markup("<b>shown</b>")], {}, request=request_of())
    html = render_page(page, name="invocations")
    assert "Not read: &#34;&gt;&lt;script" in html
    assert "<b>shown</b>" in html
    assert "<script>alert" not in html


def test_every_page_is_in_the_navigation_or_below_one() -> None:
    assert set(NAVIGATION) == set(PAGES) - {"invocation", "story", "question"}
    html = render_page(WebPage("Waits", [], {}, request=request_of("waits")), name="waits")
    assert html.count('aria-current="page"') == 1
    assert '<a href="/waits" aria-current="page">' in html


ROWS = [
    {"id": 1, "status": "backing-off", "retry_count": 9, "failure": "no answer", "step": "pay"},
    {"id": 2, "status": "paused", "failure": "closed", "step": "send", "retry_count": None},
    {"id": 3, "status": "backing-off", "retry_count": 20, "failure": "no answer", "step": "pay"},
    {"id": 4, "status": "running", "retry_count": 1},
]


def view(sort: str = "trouble", **params: Any) -> ListView:
    frame = group_invocations(invocations(*ROWS))
    frame = frame.assign(group=frame["group"].where(frame["group"].isna(), "first"))
    rows = Rows(frame, Filters(), InvocationQuery("", {}), len(frame))
    listed = InvocationList(rows, SampleSource.now, "prod", "1.7.12")
    return ListView(request_of(sort=sort, **params), listed, sort, 1)


def ids(of: ListView) -> list[int]:
    return [int(id_[5:]) for id_ in of.lines["id"]]


def test_equal_failures_are_one_line_which_leads_to_all_of_them() -> None:
    grouped = view()
    assert ids(grouped) == [1, 2, 4]
    line = next(iter(grouped.rows()))
    assert line["group"] == "2 × same step, same error"
    assert parse_qs(urlsplit(line["group_address"]).query)["group"] == ["first"]
    assert ids(view(group="first")) == [1, 3]
    assert ids(view(group="no")) == [1, 3, 2, 4]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("retry_count", [4, 1, 3, 2]),
        ("-retry_count", [3, 1, 4, 2]),
        ("status", [2, 1, 3, 4]),
        ("failure", [2, 1, 3, 4]),
    ],
)
def test_a_column_sorts_all_rows_and_those_without_a_value_are_last(sort: str, expected: list[int]) -> None:
    assert ids(view(sort)) == expected
    (head,) = [each for each in view(sort).heads() if each["order"]]
    assert head["order"] == ("descending" if sort.startswith("-") else "ascending")


def diagnosis(*findings: tuple[str, Severity, int]) -> Diagnosis:
    made = [
        Finding(
            severity=severity,
            title=f"{count} of {where}",
            where=where,
            count=count,
            ids=(),
            evidence=why_call(ID),
            suggested=(),
            check="retry_storm",
        )
        for where, severity, count in findings
    ]
    return build_diagnosis(
        source="x", version="1.7.12", at=SampleSource.now, seconds=1, findings=made, checked=[], gaps=[], skipped=0
    )


def test_equal_findings_of_several_clusters_are_one_with_the_worst_severity() -> None:
    """The problem of most clusters is before others of its severity, and a warning that is critical elsewhere rises."""
    shared = share_findings(
        {
            "prod": diagnosis(("A/run", Severity.WARNING, 3), ("B/run", Severity.CRITICAL, 90)),
            "eu": diagnosis(("A/run", Severity.CRITICAL, 4), ("C/run", Severity.NOTE, 500)),
            "us": diagnosis(("A/run", Severity.WARNING, 1)),
        }
    )
    assert [(each.title, each.severity, dict(each.counts)) for each in shared] == [
        ("4 of A/run", "critical", {"prod": 3, "eu": 4, "us": 1}),
        ("90 of B/run", "critical", {"prod": 90}),
        ("500 of C/run", "note", {"eu": 500}),
    ]
    assert fingerprints(diagnosis(("A/run", Severity.NOTE, 1)))[0] == shared[0].fingerprint


def test_a_report_has_links_in_its_header_and_a_file_has_none() -> None:
    document = Markup("<body><header><h1>x &lt;/header&gt;</h1></header><header></header>")
    page = WebPage("Incident report", [], {}, document=document, request=request_of("report"))
    html = render_page(page, name="report")
    assert html.count('class="quiet pages"') == 1
    assert html.endswith("</p></header><header></header>")
    assert render_page(WebPage("x", [], {}, document=document, file="x.html"), name="report") == document
