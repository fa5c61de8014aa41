"""Hostile names, keys, values and failures on a real server, through everything that shows them.

External content is text: never a tag in HTML, never a formula in a sheet, never a command to a terminal. Panels,
reports and evidence have tests of their own.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import html.parser
import importlib
import json
import pkgutil
import re
import runpy
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import matplotlib.pyplot as plt
import pandas as pd
import platformdirs
import pytest
import typer
from matplotlib.figure import Figure
from playwright.sync_api import Browser
from restate import TerminalError

import restate_lab as rl
from restate_lab._text import escape_invisible
from restate_lab.actions.plan.store import PlanStore, StoredPlan
from restate_lab.analysis.queues import read_queues
from restate_lab.audit import AuditLog
from restate_lab.cli import app
from restate_lab.client.lab import Lab
from restate_lab.client.models import UpsertRule
from restate_lab.panels.grid import Grid
from restate_lab.reads import read_identity
from restate_lab.sources import Sources
from support import hostile_services
from support.bench import once_served, running_bench, wait_for
from support.clusters import NEWEST
from support.every_status import InvocationStatuses
from support.hostile_services import CUT
from support.jupyter import chromium
from support.page_servers import RunningPages, running_pages

pytestmark = pytest.mark.server

HOSTILE = {
    "img": "<img src=x onerror=alert(1)>",
    "script": "</script><script>alert(1)</script>",
    "attribute": "\" onmouseover='alert(1)' x=\"",
    "entity": "&lt;b&gt; &amp;amp; &#x3c;i",
    "ansi": "\x1b[31mred\x1b[2J\x1b]0;title\x07\x9b1m",
    "osc": "\x1b]8;;http://x.example\x07link\x1b]8;;\x07\x1b]52;c;AAAA\x07over\rwritten",
    "unseen": "\u200b\ufeffa\u2060\U000e0068\U000e0069" + "\u200b" * 40 + "z\u0301\u0489" * 200,
    "link": "[a](javascript:alert(1)) $\\href{javascript:alert(1)}{x}$ url(http://x.example/a) {{7*7}}",
    "turned": "\u202egnp.exe\u2066abc\u200f",
    "formula": '=HYPERLINK("http://x.example","x")',
    "at": "@SUM(A1)",
    "minus": "-2+3+cmd|' /C calc'!A0",
    "nul": "a\0b",
    "lines": "one\r\ntwo\tthree\x0b\x0c\u2028four",
    "math": "$\\frac{1}{0}$ $",
    "path": "../../etc/passwd",
    "sql": "'; DROP TABLE state; --",
    "template": "{{ 7*7 }} {% raw %} ${x} %(y)s {0}",
    "long": "0123456789" * 10_000,
}
COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
VICTIM = "support.hostile_services:victim"
"""The app that has the code of these invocations."""
NO_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
ALL_STATE = "SELECT service_key, key, value_utf8 FROM state"
SHOWN_BY_OTHER_TESTS = {"DiagnosisCard", "TemplatePart", "_ProgressDisplay", "ShownFrame"}
"""Parts of served pages, a line of progress, which has only numbers, and a frame of the user (test_html.py)."""
OPENED = ("img", "attribute", "ansi", "turned")
"""The hostile names whose invocations and object a panel opens."""
HALF, OTHER_HALF = list(HOSTILE)[::2], list(HOSTILE)[1::2]
"""Where a verb runs for single invocations: each surface has one half, and two surfaces have all."""
PAGE: Any = {"width": 1280, "height": 900}
PAYLOAD_LEVELS: tuple[Any, ...] = (False, "shape", True)
SHOWN = "target_service_key, target, completion_failure, status"


@dataclass(frozen=True)
class Vandalised:
    """A server with all of these texts in every place where a server accepts them."""

    lab: Lab
    holders: dict[str, str]
    failed: dict[str, str]
    retrying: dict[str, str]
    agent: str
    """An agent whose payloads have half of an emoji."""
    frozen: Path
    services: str
    """The address of the services."""
    refused: list[str]
    """Failed ones with each text as a key, a step, and a name and a value of their inputs; others have none of them."""


@pytest.fixture(scope="module")
def vandalised(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vandalised]:
    folder = tmp_path_factory.mktemp("hostile")
    with running_bench(NEWEST, folder, hostile_services.__file__, ready=None, env={}) as bench:
        lab = bench.lab
        send = lab.ingress.send
        once_served(lambda: send("Signing", "run", "x", key="first"))
        made: list[dict[str, str]] = [{}, {}, {}]
        for name, words in HOSTILE.items():
            key = words[:300]
            for ids, handler in zip(made, ("hold", "fail", "retry"), strict=True):
                ids[name] = send("Victim", handler, words, key=key).invocation_id
            send("Victim", "take", words, key=key)
            send("Signing", "run", words, key=f"{name} {key}")
        rules = [UpsertRule(f"rule{n}", {"concurrency": 1}, words[:300]) for n, words in enumerate(HOSTILE.values())]
        lab.admin.upsert_rules(rules)
        agent = send("Victim", "recall", "x", key="agent").invocation_id
        texts = {words[:200]: words[:200] for words in HOSTILE.values()}
        keys = [words[:200] for words in HOSTILE.values()]
        refused = [send("Victim", "choose", texts, key=key).invocation_id for key in keys]
        chosen = [send("Victim", "choose", {}, key="plain").invocation_id for _ in range(2 * len(keys))]
        wait_for(lambda: _ended(lab, [*refused, *chosen]), within=60)
        wait_for(lambda: _settled(lab, made), within=60)
        frozen = Path(rl.freeze(lab, folder / "frozen", payloads=True, progress=False))
        yield Vandalised(lab, *made, agent, frozen, bench.uri, refused)


def _settled(lab: Lab, made: list[dict[str, str]]) -> bool:
    wanted = ("suspended", "failed", "backing-off")
    statuses = InvocationStatuses("", lab, {}, ()).by_id()
    return all(
        {statuses.get(id_) for id_ in ids.values()} == {status} for ids, status in zip(made, wanted, strict=True)
    )


def _ended(lab: Lab, ids: list[str]) -> bool:
    statement = "SELECT count(*) AS n FROM sys_invocation_status WHERE id IN :ids AND status = 'completed'"
    return bool(lab.sql(statement, ids=ids)["n"][0] == len(ids))


class _Tags(html.parser.HTMLParser):
    """Collects everything that a browser would run or load, and every event attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "img", "iframe", "object", "embed", "link", "i", "b"}:
            self.bad.append(tag)
        self.bad += [f"{tag} {name}" for name, _ in attrs if name.startswith("on")]


def check_html(page: str) -> None:
    tags = _Tags()
    tags.feed(page)
    # <b> and <i> are ours; those of the hostile text are escaped.
    assert [bad for bad in tags.bad if bad not in {"b", "i"}] == []


def check_text(text: str) -> None:
    assert not COMMANDS.search(text), f"a control character in: {text[:400]!r}"


def objects(source: Lab, vandalised: Vandalised) -> Iterator[Any]:
    """Give every object of ours that has a card, or is a panel."""
    with rl.open_evidence(vandalised.frozen) as frozen:
        yield frozen
        yield rl.compare(frozen, source)
        yield rl.doctor(frozen)
    archived = vandalised.frozen.with_name("archived")
    rl.archive(source, archived, cluster_name="prod", progress=False)
    with rl.open_history(archived) as history:
        yield history
        yield rl.doctor(history)
    yield rl.contrast(source, "backing-off", payloads=True)
    yield rl.before_after(source, next(iter(source.admin.list_deployments())).id)
    yield source.admin.list_deployments()
    yield from source.admin.list_deployments()
    findings = rl.doctor(source).findings
    for at, words in enumerate(HOSTILE.values()):  # the later views have these notes about their findings
        finding = findings.loc[at % len(findings)]
        yield rl.note(source, words[:2_000], finding=finding, until="2h" if at % 2 else None)
    yield from views(source, vandalised)
    yield rl.doctor(source)
    yield rl.waits(source)
    yield read_queues(source)
    yield rl.ask(source, "draining")
    yield from (rl.ask(source, "stuck_without", deployment=each.id) for each in source.admin.list_deployments())
    yield rl.plan(source, "resume", list(vandalised.retrying.values()))
    yield source
    yield from (rl.why(source, vandalised.retrying[name]) for name in HALF)
    yield from (rl.state(source, "Victim", HOSTILE[name][:300]) for name in HOSTILE)
    yield from (rl.why(source, vandalised.holders[name]) for name in OPENED)
    yield from (rl.journal(source, vandalised.retrying[name]) for name in OPENED)
    yield from (rl.conversation(source, vandalised.retrying[name]) for name in OPENED)
    yield from (rl.story(source, vandalised.retrying[name]) for name in OPENED)
    yield rl.story(source, [*vandalised.retrying.values(), *vandalised.failed.values()], search=True)
    yield from (rl.contrast(source, vandalised.refused, payloads=level) for level in PAYLOAD_LEVELS)
    yield from (rl.find(source, HOSTILE[name], payloads=True) for name in (*OPENED, "lines"))
    yield rl.find(source, "Victim", service="Victim", payloads=True)
    yield rl.agent_runs(source, ids=list(vandalised.retrying.values()))
    yield rl.ask(source, "agent_tools", ids=list(vandalised.retrying.values()))
    replayed = [*vandalised.holders.values(), *vandalised.retrying.values()]
    yield rl.replay(source, replayed, vandalised.services, confirm=vandalised.services)
    yield rl.plan(source, "kill", list(vandalised.holders.values()))
    yield rl.plan(source, "restart_as_new", list(vandalised.failed.values()))
    yield rl.incident_report(source, vandalised.frozen.with_name("hostile.html"), progress=False)
    folder = vandalised.frozen.with_name("tests")
    folder.mkdir(exist_ok=True)
    yield from (rl.to_test(source, vandalised.retrying[name], folder, app=VICTIM, force=True) for name in OPENED)


def views(source: Lab, vandalised: Vandalised) -> Iterator[Any]:
    """Give one panel with each of its views in turn, with the doctor's findings above them, and its grids."""
    alternately = (vandalised.retrying, vandalised.failed) * 2
    opened = [{"open": ids[name]} for ids, name in zip(alternately, OPENED, strict=True)]
    with contextlib.closing(rl.Panel(source, refresh=None)) as panel:
        plain = ({}, *({"view": name} for name in ("overview", "deployments", "waits", "queues")))
        for state in (*plain, *object_states(), *opened):
            panel.state = state
            assert panel.wait(doctor=True)
            assert panel.error == ""
            if state.get("view") == "waits":
                picture = panel.view.picture.content["html"]
                assert "&lt;" in picture
                check_html(picture)
                check_text(picture)
            if "open" in state:
                panel.click("Story")
                assert panel.wait(action=True)
                picture = panel.view.detail.story.picture.content["html"]
                assert state["open"] in picture
                check_html(picture)
                check_text(picture)
            yield panel
            yield from grids(panel)


def object_states() -> Iterator[dict[str, Any]]:
    """Give the state of a panel that lists the objects, and those that open one."""
    yield {"view": "state"}
    yield from ({"view": "state", "service": "Victim", "key": HOSTILE[name][:300]} for name in OPENED)


def grids(widget: Any) -> Iterator[Grid]:
    for child in getattr(widget, "children", ()):
        yield from [child] if isinstance(child, Grid) else grids(child)


def test_cards_and_reprs_show_text(vandalised: Vandalised) -> None:
    """No card has one of its tags or events, or is wider than the page, and no line has a command to the terminal."""
    seen: set[type] = set()
    cards: list[str] = []
    for each in objects(vandalised.lab, vandalised):
        seen.update(type(each).__mro__)
        check_html(page_of(each))
        if hasattr(type(each), "_display_"):  # what marimo shows
            seen.add(type(each._display_()))
            check_html(page_of(each._display_()))
        if type(each) is not pd.DataFrame and not hasattr(each, "_repr_mimebundle_"):  # pandas' own, or a widget
            cards.append(page_of(each))
        if not isinstance(each, pd.DataFrame):  # a frame has the values themselves
            check_text(repr(each))
            check_text(str(each))
    assert {each.__name__ for each in with_a_card() - seen} == SHOWN_BY_OTHER_TESTS
    check_widths(cards)


def check_widths(cards: list[str]) -> None:
    """Check in Chromium that each card, with all its parts open, fits into a page."""
    content = "".join(f"<div>{card.replace('<details', '<details open')}</div>" for card in cards)
    with chromium() as browser, contextlib.closing(browser.new_page(viewport=PAGE)) as page:
        page.set_content(f"<body style='margin:8px'>{content}</body>")
        wide = page.evaluate("[...document.body.children].map((each) => each.scrollWidth > each.clientWidth)")
        assert [card[:2_000] for card, is_wide in zip(cards, wide, strict=True) if is_wide] == []


def page_of(thing: Any) -> str:
    if hasattr(thing, "_repr_html_"):
        return str(thing._repr_html_())
    if isinstance(thing, Grid):
        return thing.static_html()
    bundle = thing._repr_mimebundle_()
    return str((bundle[0] if isinstance(bundle, tuple) else bundle)["text/html"])


def with_a_card() -> set[type]:
    """Return every class of ours that has HTML for Jupyter."""
    modules = [
        importlib.import_module(each.name)
        for each in pkgutil.walk_packages(rl.__path__, "restate_lab.")
        if not each.name.startswith("restate_lab.demo.services") and not each.name.endswith("__main__")
    ]
    classes = {each for module in modules for each in vars(module).values() if isinstance(each, type)}
    return {
        each
        for each in classes
        if each.__module__.partition(".")[0] == "restate_lab"
        and not {"_repr_html_", "_repr_mimebundle_"}.isdisjoint(vars(each))
    }


def test_served_pages_show_text(vandalised: Vandalised, tmp_path: Path) -> None:
    """No page runs or loads anything of the cluster, or is wider than a telephone; its data is the text as codes."""
    paths = [
        *(
            "/?source=x&since=24h",
            "/",
            "/invocations?status=all&group=no&source=x",
            "/waits?source=x",
            "/queues?source=x",
        ),
        *("/contrast?source=x&service=Victim&status=backing-off", "/question/retry_storm?source=x"),
        *(f"/invocation/{vandalised.retrying[name]}?source=x" for name in OPENED),
        *(f"/story/{vandalised.retrying[name]}?source=x" for name in OPENED),
        *(f"/invocations?{urlencode({'source': 'x', 'key': HOSTILE[name][:300]})}" for name in OPENED[:2]),
        *(f"/invocations?{urlencode({'source': 'x', 'staus': HOSTILE[name][:300]})}" for name in OPENED[:2]),
    ]
    with rl.open_evidence(vandalised.frozen) as frozen:
        sources = {"x": vandalised.lab, "y": frozen}
        with (
            running_pages(sources, tmp_path, payloads=True) as pages,
            pages.client() as client,
            chromium() as browser,
        ):
            faults = _page_faults(browser, pages, paths)
            for path in paths:
                start, _, query = path.partition("?")
                data = client.get(f"{'/index' if start == '/' else start}.json?{query}").text
                json.loads(data)
                check_text(data)
    assert faults == []


def _page_faults(browser: Browser, pages: RunningPages, paths: list[str]) -> list[str]:
    """Return the scripts that ran, the requests that left, and the pages that are too wide, with all parts open."""
    faults: list[str] = []
    with contextlib.closing(browser.new_context()) as context:
        page = context.new_page()
        page.on("dialog", lambda dialog: faults.append(f"a dialog: {dialog.message}"))
        page.on("request", lambda request: faults.append(request.url) if not _is_own(request.url, pages.url) else None)
        page.goto(pages.new_link())
        for path in paths:
            page.goto(f"{pages.url}{path}")
            page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
            scripts = page.evaluate("[...document.scripts].map(each => each.getAttribute('src'))")
            faults += [f"{path}: {each}" for each in scripts if each != "/page.js"]
            for width in (1280, 400):
                page.set_viewport_size({"width": width, "height": 900})
                too_wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
                faults += [f"{width}: {path} is too wide"] if page.evaluate(too_wide) else []
    return faults


def _is_own(address: str, url: str) -> bool:
    return address.startswith((f"{url}/", "data:"))


def _hostile_rules(folder: Path) -> Path:
    path = folder / "rules.toml"
    path.write_text(f"[[rule]]\ncheck = {json.dumps(HOSTILE['ansi'])}\n")
    return path


COMMAND_LINES: dict[str, Callable[[Vandalised, Path], list[list[str]]]] = {
    "sql": lambda _, __: [["sql", f"SELECT id, {SHOWN} FROM sys_invocation"], ["sql", ALL_STATE, "--json"]],
    "ask": lambda _, __: [["ask", name] for name in ("retry_storm", "backlog_by_key", "blocked_keys", "state_sizes")],
    "questions": lambda _, __: [["questions", words] for words in HOSTILE.values() if "\0" not in words],
    "note": lambda all_, _: [
        *(["note", words] for words in HOSTILE.values() if "\0" not in words),
        ["note", HOSTILE["ansi"], *_of_a_finding(all_)],
        *(["note", "x", "--finding", HOSTILE["ansi"], "--until", HOSTILE["ansi"], *form] for form in ([], ["--json"])),
    ],
    "doctor": lambda _, __: [["doctor"], ["doctor", "--json"], ["doctor", "--check", HOSTILE["ansi"]]],
    "contrast": lambda all_, _: (
        [
            ["contrast", *all_.refused, *form]
            for form in (["--payloads", "values"], ["--payloads", "values", "--json"], ["--payloads", "shape"])
        ]
        + [["contrast", "--service", HOSTILE["ansi"], "--redact", HOSTILE["ansi"]]]
    ),
    "why": lambda all_, _: [
        *(["why", all_.retrying[name]] for name in OTHER_HALF),
        *(["why", all_.retrying[name], "--json"] for name in OPENED),  # "sql" has every text in JSON
    ],
    "journal": lambda all_, _: [["journal", all_.retrying[name], "--depth", "2"] for name in HALF],
    "waits": lambda _, __: [["waits"], ["waits", "--json"]],
    "call": lambda _, __: [
        ["call", target, body, "--reason", HOSTILE["ansi"]]
        for target, body in (
            (f"Victim/{HOSTILE['ansi']}", "1"),
            (HOSTILE["ansi"], "1"),
            ("Victim/x/y", HOSTILE["ansi"]),
        )
    ],
    "find": lambda _, __: [
        *(["find", HOSTILE[name], *form] for name in OPENED for form in (["--payloads"], ["--payloads", "--json"])),
        ["find", HOSTILE["ansi"], "--service", HOSTILE["ansi"], "--since", HOSTILE["ansi"]],
    ],
    "story": lambda all_, _: [
        *(["story", all_.retrying[name]] for name in OTHER_HALF),
        *(["story", all_.failed[name], "--search", *form] for name in OPENED[:1] for form in ([], ["--json"])),
        ["story", HOSTILE["ansi"]],
        ["story", "--trace", HOSTILE["ansi"]],
        ["story", "--key", f"Victim/{HOSTILE['ansi']}", "--since", HOSTILE["ansi"]],
    ],
    "agents": lambda all_, _: [["agents"], *(["agents", id_] for id_ in list(all_.retrying.values())[:3])],
    "replay": lambda all_, _: [
        ["replay", address, "--yes-run-code-outside-steps", *form]
        for address in (all_.services, HOSTILE["ansi"])
        for form in ([], ["--json"])
    ],
    "debug": lambda all_, _: [
        *(["debug", VICTIM, ids[name]] for ids in (all_.retrying, all_.failed) for name in OPENED),
        ["debug", HOSTILE["ansi"], all_.failed["ansi"]],
        ["debug", VICTIM, HOSTILE["ansi"]],
    ],
    "to-test": lambda all_, folder: [
        *(
            ["to-test", all_.retrying[name], "--app", VICTIM, "--folder", str(folder), *form]
            for name in OPENED
            for form in ([], ["--force", "--json"])
        ),
        ["to-test", all_.failed["ansi"], "--app", HOSTILE["ansi"], "--folder", str(folder)],
        ["to-test", HOSTILE["ansi"], "--app", VICTIM, "--folder", HOSTILE["ansi"]],
        ["to-test", all_.failed["ansi"], "--app", VICTIM, "--folder", str(folder), "--mask", HOSTILE["ansi"]],
    ],
    "freeze": lambda _, folder: [["freeze", str(folder / "again"), "--redact", HOSTILE["ansi"]]],
    "archive": lambda _, folder: [
        ["archive", str(folder / "archive"), "--cluster-name", "x", "--redact", HOSTILE["ansi"]],
        ["archive", str(folder / "archive"), "--cluster-name", HOSTILE["ansi"]],
        ["archive", str(folder / "archive"), "--cluster-name", "x"],
    ],
    "history": lambda _, folder: [
        ["history", "coverage", str(folder / "archive")],
        ["history", "coverage", str(folder / "archive"), "--cluster-name", HOSTILE["ansi"]],
        ["history", "delete-before", str(folder / "archive"), HOSTILE["ansi"], "--confirm", HOSTILE["ansi"]],
    ],
    "mcp": lambda _, __: [["mcp", "--evidence", HOSTILE["ansi"]], ["mcp", "approve", HOSTILE["ansi"]]],
    "plan": lambda all_, _: [
        *(["plan", "kill", *all_.holders.values(), *form] for form in ([], ["--json"])),
        ["plan", "kill", *(all_.retrying[name] for name in OPENED)],
        ["plan", "restart-as-new", *all_.failed.values()],
        ["plan", "kill", "--service", "Victim", "--key", HOSTILE["ansi"]],
        ["plan", HOSTILE["ansi"], "-"],
        ["plan", "kill", HOSTILE["ansi"]],
        ["plan", "kill", "--question", HOSTILE["ansi"], "-p", "x=1"],
        ["plan", "resume", "--service", HOSTILE["turned"], "--deployment", HOSTILE["ansi"]],
    ],
    "execute": lambda all_, _: [
        ["execute", HOSTILE["ansi"], "--reason", HOSTILE["ansi"]],
        ["execute", _stored_plan(all_), "--reason", HOSTILE["ansi"]],
        ["execute", _stored_plan(all_), "--reason", HOSTILE["ansi"], "-e", HOSTILE["turned"]],
        ["execute", _damaged_plan(all_), "--reason", HOSTILE["ansi"]],
    ],
    "audit": lambda _, __: [
        ["audit"],
        ["audit", "--json"],
        ["audit", "--reads"],
        ["audit", "--change", HOSTILE["ansi"]],
    ],
    "watch": lambda _, folder: [
        ["watch", "--once", "--state", str(folder / "watch.sqlite")],
        ["watch", "--once", "--state", str(folder / "other.sqlite"), "--rules", str(_hostile_rules(folder))],
        ["watch", "--once", "--to", HOSTILE["ansi"], "--alertmanager", HOSTILE["ansi"]],
        ["watch", "--once", "--rules", str(folder / "none.toml"), "--metrics", HOSTILE["ansi"]],
        ["watch", "--once", "--metrics", HOSTILE["ansi"]],
    ],
    "compare": lambda all_, _: [["compare", str(all_.frozen)], ["compare", HOSTILE["ansi"]]],
    "report": lambda _, folder: [["report", HOSTILE["turned"], "-o", str(folder / "r.html")]],
    "serve": lambda _, folder: [
        ["serve", "--listen", HOSTILE["ansi"]],
        ["serve", "-e", HOSTILE["turned"]],
        ["serve", "--token-file", str(folder / HOSTILE["ansi"].replace("/", "-"))],
    ],
}


def _stored_plan(vandalised: Vandalised) -> str:
    """Return the name of a new stored plan that resumes what is retried, under its hostile keys."""
    made = rl.plan(vandalised.lab, "resume", [vandalised.retrying[name] for name in OPENED])
    plan = StoredPlan.of(made, read_identity(vandalised.lab))
    PlanStore().save(plan)
    return plan.name


def _damaged_plan(vandalised: Vandalised) -> str:
    """Return the name of a stored plan whose file now has other text."""
    name = _stored_plan(vandalised)
    path = platformdirs.user_state_path("restate_lab") / "plans" / f"{name}.json"
    path.write_text(json.dumps({"format": HOSTILE["ansi"], "action": HOSTILE["turned"]}), "utf-8")
    return name


def _of_a_finding(vandalised: Vandalised) -> list[str]:
    return ["--finding", rl.doctor(vandalised.lab).findings["fingerprint"].iloc[0], "--until", "2h"]


def test_every_command_prints_text(
    vandalised: Vandalised, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A terminal obeys no text from a cluster, an argument or a file, not in JSON either."""
    monkeypatch.setenv("RESTATE_ADMIN_URL", vandalised.lab.settings.admin_url)
    assert set(typer.main.get_group(app).commands) - set(COMMAND_LINES) == {"demo"}, "has no words but its own"
    for lines in COMMAND_LINES.values():
        for line in lines(vandalised, tmp_path):
            with contextlib.suppress(SystemExit):
                app(line, prog_name="restate-lab")
            out, err = capfd.readouterr()
            assert out or err, line
            for text in (out, err):
                check_text(text)
                # A journal has the whole error of an entry, and debug the one of the code: both can be tracebacks.
                assert line[0] in {"debug", "journal"} or "Traceback" not in text, text[-2000:]
            if line[0] == "sql" and "--json" in line:  # a text shown as its code is read back unchanged
                keys = {each["service_key"] for each in json.loads(out)}
                assert keys == {words[:300] for words in HOSTILE.values()}


def test_a_written_test_has_no_text_of_the_cluster(vandalised: Vandalised, tmp_path: Path) -> None:
    """The code differs only in the name of its files; it raises the recorded error, and does nothing else."""
    codes: set[str] = set()
    for ids, service in ((vandalised.failed, "fail"), (vandalised.retrying, "retry"), (vandalised.holders, "hold")):
        for id_ in ids.values():
            made = rl.to_test(vandalised.lab, id_, tmp_path, app=VICTIM)
            journal, test = made.paths
            assert re.fullmatch(rf"test_victim_{service}_[a-z0-9]{{8}}\.py", test.name)
            assert made.is_as_recorded, made.outcome
            check_text(made.outcome)
            record = journal.read_text("utf-8")
            assert all(line.isprintable() for line in record.splitlines())
            files = sorted(tmp_path.rglob("*"))
            if service == "hold":
                _call(test)
            else:
                with pytest.raises((ValueError, TerminalError)):
                    _call(test)
            assert sorted(tmp_path.rglob("*")) == files
            codes.add(test.read_text("utf-8").replace(test.stem.removeprefix("test_"), "NAME"))
    assert len(codes) == 2, codes  # of a handler that fails at once, and of one that waits
    for code in codes:
        assert code.isascii()
        assert [type(each).__name__ for each in ast.parse(code).body] == ["Expr", "ImportFrom", "Assign", "FunctionDef"]


def _call(test: Path) -> None:
    runpy.run_path(str(test))[test.stem]()


def tool_calls(vandalised: Vandalised) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give calls of an assistant's tools whose results, or whose errors, have the texts."""
    for tool in ("doctor", "waits", "sources"):
        yield tool, {}
    for name in OPENED:
        yield "journal", {"invocation_id": vandalised.retrying[name], "depth": 2}
        yield "conversation", {"invocation_id": vandalised.retrying[name], "payloads": True}
        yield "story", {"invocation_id": vandalised.retrying[name], "search": True}
    for name in HALF:
        yield "why", {"invocation_id": vandalised.retrying[name]}
    for name in OTHER_HALF:
        yield "journal", {"invocation_id": vandalised.failed[name], "payloads": True}
    for words in HOSTILE.values():
        yield "state", {"service": "Victim", "key": words[:300], "values": True}
        yield "why", {"invocation_id": words}
        yield "story", {"key": f"Victim/{words[:300]}"}
        yield "ask", {"question": words, "source": words[:100]}
        yield "contrast", {"service": words[:90], "handler": words[:90]}
        yield "ask", {"question": "overview", "parameters": {words[:90]: words[:90]}}
    yield "conversation", {"invocation_id": vandalised.agent, "payloads": True}
    yield "journal", {"invocation_id": vandalised.agent, "payloads": True}
    yield "contrast", {"ids": vandalised.refused}
    yield "plan", {"action": "kill", "ids": list(vandalised.holders.values())}


def strings_of(value: Any) -> Iterator[str]:
    """Give each text in a JSON value, also the names."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from strings_of(each)


def test_an_assistant_gets_quoted_data(vandalised: Vandalised, tmp_path: Path) -> None:
    """Every text is a value in JSON after a sentence that marks it as data, and errors are one text."""
    from restate_lab.mcp.server import NOTICE, build_server

    with contextlib.ExitStack() as stack:
        server = build_server(Sources(stack, [vandalised.lab]), allow_changes=False, audit=AuditLog(tmp_path))
        for tool, arguments in tool_calls(vandalised):
            result: Any = anyio.run(server.call_tool, tool, arguments)
            (content,) = result.content
            check_text(content.text)
            assert "internal error" not in content.text
            if result.is_error:
                assert "invocation_id" not in arguments or arguments["invocation_id"] in HOSTILE.values(), content.text
                continue
            notice, _, written = content.text.partition("\n")
            assert notice == NOTICE
            assert written.isprintable()
            assert json.loads(written) == result.structured_content
            for text in strings_of(result.structured_content):
                assert escape_invisible(text) == text, (tool, arguments)
            result.model_dump_json()
    frame = rl.audit_log(tmp_path, reads=True)
    assert len(frame) == len(list(tool_calls(vandalised)))


@pytest.mark.parametrize("command", [["agents"], ["journal", "--payloads"]], ids=lambda command: command[0])
def test_half_of_an_emoji_is_written(
    vandalised: Vandalised, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    """A text that was cut within an emoji is exact in JSON, and every output is one that a program can read."""
    monkeypatch.setenv("RESTATE_ADMIN_URL", vandalised.lab.settings.admin_url)
    parquet = tmp_path / "rows.parquet"

    def run(*form: str) -> str:
        with pytest.raises(SystemExit) as ended:
            app([command[0], vandalised.agent, *command[1:], *form], prog_name="restate-lab")
        out, err = (part.decode() for part in capfdbinary.readouterr())
        assert not ended.value.code, err
        return str(out)

    assert any(CUT in text for text in strings_of(json.loads(run("--json"))))
    in_json = CUT.encode("utf-8", "backslashreplace").decode()
    assert in_json in run("--csv", "-")
    run("--parquet", str(parquet))
    assert in_json.replace("\\", "\\\\") in str(pd.read_parquet(parquet).to_dict("records"))


def test_frames_with_half_of_an_emoji_are_saved(vandalised: Vandalised, tmp_path: Path) -> None:
    lab, agent = vandalised.lab, vandalised.agent
    frames = {
        "conversation": rl.conversation(lab, agent).frame,
        "journal": rl.journal(lab, agent, payloads=True),
        "runs": rl.agent_runs(lab, ids=[agent]),
        "tools": rl.ask(lab, "agent_tools", ids=[agent]),
        "state": rl.state(lab, "Victim", HOSTILE["at"]).frame,
    }
    for name, frame in frames.items():
        for ending in (".csv", ".csv.gz", ".jsonl", ".parquet", ".xlsx"):
            with contextlib.suppress(rl.errors.HalfCharacter):
                assert rl.save(frame, tmp_path / f"{name}{ending}").exists()


def test_a_hostile_argument_is_text_in_a_message(vandalised: Vandalised) -> None:
    calls: list[Callable[[str], object]] = [
        lambda words: rl.state(vandalised.lab, words, "x"),
        vandalised.lab.admin.get_service,
        lambda words: rl.ask(vandalised.lab, words),
        lambda words: rl.why(vandalised.lab, words),
        lambda words: vandalised.lab.sql('SELECT "' + words.replace('"', '""') + '" FROM state'),
        lambda words: rl.set_state(vandalised.lab, "Victim", "new", {"a": 1}, delete=[words], reason="x"),
        lambda words: rl.plan(vandalised.lab, words, []),
    ]
    for words in HOSTILE.values():
        for call in calls:
            with pytest.raises((rl.errors.RestateLabError, LookupError)) as caught:
                call(words)
            check_text(str(caught.value))
            assert len(str(caught.value)) < 9000


def test_frames_have_the_exact_text(vandalised: Vandalised) -> None:
    frame = vandalised.lab.sql(
        f"SELECT id, {SHOWN} FROM sys_invocation WHERE id IN :ids", ids=[*vandalised.failed.values()]
    )
    by_id = frame.set_index("id")
    for name, words in HOSTILE.items():
        assert by_id["target_service_key"][vandalised.failed[name]] == words[:300]
        assert by_id["completion_failure"][vandalised.failed[name]] == f"[500] {words}"
        assert dict(rl.state(vandalised.lab, "Victim", words[:300])) == {words[:200]: words, "cut": CUT}


def test_journals_and_plots(vandalised: Vandalised) -> None:
    """Steps with hostile names are rows; hostile keys are drawn as text and not as a formula."""
    for name, words in HOSTILE.items():
        frame = rl.journal(vandalised.lab, vandalised.holders[name])
        assert words[:200] in set(frame["name"])
    draw(rl.plot(rl.waits(vandalised.lab)))
    draw(rl.plot(rl.ask(vandalised.lab, "backlog_by_key")))
    draw(rl.plot(rl.ask(vandalised.lab, "state_sizes")))


def draw(axes: Any) -> None:
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    plt.close(figure)


def test_saved_files(vandalised: Vandalised, tmp_path: Path) -> None:
    """CSV, JSON lines, xlsx and Parquet have the text; a sheet takes none of it as a formula."""
    ids = list(vandalised.failed.values())
    frame = vandalised.lab.sql(f"SELECT id, {SHOWN} FROM sys_invocation WHERE id IN :ids ORDER BY id", ids=ids)
    for kind in ("csv", "jsonl", "parquet"):
        rl.save(frame, tmp_path / f"x.{kind}")
    keys = sorted(words[:300] for words in HOSTILE.values())
    lines = (tmp_path / "x.jsonl").read_text("utf-8").split("\n")
    assert sorted(json.loads(line)["target_service_key"] for line in lines if line) == keys
    assert sorted(pd.read_parquet(tmp_path / "x.parquet")["target_service_key"]) == keys
    csv.field_size_limit(1 << 24)
    with (tmp_path / "x.csv").open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            assert row["target_service_key"][:1] not in tuple("=+-@\t\r"), row["target_service_key"]


def test_a_sheet_has_text_in_place_of_formulas_and_links(vandalised: Vandalised, tmp_path: Path) -> None:
    ids = [id_ for name, id_ in vandalised.failed.items() if name != "long"]
    frame = vandalised.lab.sql(f"SELECT id, {SHOWN} FROM sys_invocation WHERE id IN :ids", ids=ids)
    rl.save(frame, tmp_path / "x.xlsx")
    with zipfile.ZipFile(tmp_path / "x.xlsx") as book:
        sheets = "".join(book.read(name).decode() for name in book.namelist() if name.endswith(".xml"))
    assert "<f>" not in sheets
    assert "<hyperlink" not in sheets
    assert not NO_XML.search(sheets)
