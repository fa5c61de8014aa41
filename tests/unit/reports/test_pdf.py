"""PDF, and the behavior if Chromium is missing or fails."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from restate_lab.errors import MissingProgram, RestateLabError, TimedOut
from restate_lab.reports import pdf
from restate_lab.reports.report import Report
from support.bench import wait_for


def program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def has_ended(pid: str) -> bool:
    try:
        return Path("/proc", pid, "stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_without_chromium_nothing_is_written_and_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr(pdf, "_NAMES", ("no-such-chromium",))
    with pytest.raises(MissingProgram, match=r"apt-get install chromium.*CHROMIUM.*\.html"):
        Report("r").write(tmp_path / "r.pdf")
    monkeypatch.setenv("CHROMIUM", "/no/such/chromium")
    with pytest.raises(MissingProgram, match="CHROMIUM='/no/such/chromium' is not a program"):
        Report("r").write(tmp_path / "r.pdf")
    assert not list(tmp_path.iterdir())
    assert Report("r").write(tmp_path / "r.html").exists()


HALF = """for each in "$@"; do case "$each" in --print-to-pdf=*) printf '%%PDF-1.4 half' > "${each#*=}";; esac; done"""


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo cannot open display >&2; exit 1", "wrote no PDF; its output: cannot open display"),
        ("exit 0", "none"),
        (HALF, "wrote no PDF"),
    ],
)
def test_half_a_pdf_is_an_error_with_the_output_of_chromium_and_an_existing_file_stays(
    script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "r.pdf").write_text("before")
    monkeypatch.setenv("CHROMIUM", program(tmp_path / "chromium", script))
    with pytest.raises(RestateLabError, match=said):
        Report("r").write(folder / "r.pdf", overwrite=True)
    assert [each.name for each in folder.iterdir()] == ["r.pdf"]
    assert (folder / "r.pdf").read_text() == "before"


def test_a_chromium_that_hangs_is_ended_with_its_child_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHROMIUM", program(tmp_path / "chromium", f"sleep 61.25 & echo $! > {tmp_path}/child; wait"))
    monkeypatch.setattr(pdf, "_SECONDS", 2.0)
    with pytest.raises(TimedOut, match="did not print the page within 2s"):
        Report("r").write(tmp_path / "r.pdf")
    child = (tmp_path / "child").read_text().strip()
    wait_for(lambda: has_ended(child))
