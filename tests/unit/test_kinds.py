"""The kinds of server in the suite: the newest one, others for a reason, and all of them at night."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.clusters import IMITATION, KINDS, NEWEST, PLAIN
from support.kinds import kinds_of, mark_kinds

ROOT = Path(__file__).parents[2]
CASES = """
import pytest
from support.clusters import IMITATION, KINDS, PLAIN

@pytest.fixture(params=KINDS)
def cluster(request):
    return request.param

def test_plain(cluster): ...

@pytest.mark.also_on(PLAIN, reason="other tables")
def test_tables(cluster): ...

@pytest.mark.also_on(IMITATION, PLAIN, reason="other SQL")
class TestSql:
    def test_sql(self, cluster): ...

@pytest.mark.parametrize("kind", KINDS[2:])
def test_parameter(kind): ...
"""


class Collected:
    """A plugin that marks cases as the suite's conftest does, and keeps the names of the remaining ones."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.error = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        try:
            mark_kinds(items)
        except pytest.UsageError as error:
            self.error = str(error)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.names = {item.name for item in session.items}


def collect(folder: Path, source: str, marker: str) -> Collected:
    """Collect a module's cases with these markers, in a separate pytest."""
    module = folder / f"{folder.name}_test.py"  # a unique name: imported modules are kept
    module.write_text(source, "utf-8")
    collected = Collected()
    options = ["-s", "--collect-only", "--import-mode=importlib", "-p", "no:cacheprovider", "-p", "no:terminal"]
    # at its end, this plugin would collect the garbage of the whole suite five times
    options += ["-p", "no:unraisableexception", "-c", os.devnull, "--rootdir", str(folder), "-m", marker, str(module)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # to load all plugins again takes a second
        pytest.main(options, plugins=[collected])
    return collected


def test_another_kind_is_for_the_night_unless_the_test_names_it(tmp_path: Path) -> None:
    always = {f"test_plain[{NEWEST}]"} | {f"test_tables[{kind}]" for kind in (NEWEST, PLAIN)}
    always |= {f"test_sql[{kind}]" for kind in KINDS}
    names = {f"test_{name}[{kind}]" for name in ("plain", "tables", "sql") for kind in KINDS}
    long = names - always | {f"test_parameter[{IMITATION}]"}
    assert collect(tmp_path, CASES, "not long").names == always
    assert collect(tmp_path, CASES, "long").names == long


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("also_on(PLAIN)", "also_on has no reason; say what differs"),
        ('also_on(reason="other SQL")', f"also_on names []; choose from {PLAIN}, {IMITATION}"),
        ('also_on("1.0", reason="other SQL")', "also_on names ['1.0']; choose from"),
    ],
)
def test_a_marker_has_kinds_and_a_reason(tmp_path: Path, marker: str, message: str) -> None:
    source = f"{CASES}\n@pytest.mark.{marker}\ndef test_more(cluster): ..."
    assert message in collect(tmp_path, source, "not long").error


def test_no_case_of_this_run_is_on_another_kind_without_a_reason(request: pytest.FixtureRequest) -> None:
    for item in request.session.items:
        reasons = [marker.kwargs["reason"] for marker in item.iter_markers("also_on")]
        assert kinds_of(item) <= {NEWEST} or reasons or item.get_closest_marker("long"), item.nodeid


def test_every_night_the_long_cases_run() -> None:
    steps = (ROOT / ".github" / "workflows" / "nightly.yml").read_text("utf-8")
    assert "python -m pytest -m long" in steps
