"""Print a page to PDF with the installed Chromium, in a temporary profile folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from restate_lab._text import format_duration
from restate_lab.environment import clean_environment
from restate_lab.errors import MissingProgram, RestateLabError, TimedOut

VARIABLE = "CHROMIUM"
_NAMES = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge"),
    *(
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    ),
)
_FLAGS = (
    *("--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--disable-extensions"),
    *("--no-pdf-header-footer", "--host-resolver-rules=MAP * ~NOTFOUND", "--force-color-profile=srgb"),
)
_SECONDS = 180.0


def find_chromium() -> str:
    """Return the path of Chromium: the value of the variable CHROMIUM, or else the first installed browser.

    Raises:
        MissingProgram: there is no Chromium on this machine.
    """
    named = os.environ.get(VARIABLE)
    program = shutil.which(named) if named else next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        reason = f"{VARIABLE}={named!r} is not a program" if named else "none was found on PATH"
        raise MissingProgram(
            f"a PDF needs Chromium or Chrome, but {reason}. Install it (Debian: apt-get install chromium; macOS: brew "
            f"install --cask chromium), or set the variable {VARIABLE} to its path. Or write an .html and print it."
        )
    return program


def write_pdf(html: str, path: Path) -> None:
    """Print a page to a PDF file.

    Raises:
        MissingProgram: there is no Chromium on this machine.
        TimedOut: printing took longer than three minutes.
        RestateLabError: Chromium wrote no PDF; the message has its output.
    """
    program = find_chromium()
    with tempfile.TemporaryDirectory(prefix="restate-lab-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        page, pdf = folder / "page.html", folder / "page.pdf"
        page.write_text(html, encoding="utf-8", errors="backslashreplace")
        # As root, Chromium runs only without its sandbox. The page has no scripts and loads nothing.
        sandbox = ["--no-sandbox"] if sys.platform == "linux" and os.geteuid() == 0 else []
        options = [f"--user-data-dir={folder / 'profile'}", f"--print-to-pdf={pdf}"]
        output = _run([program, *_FLAGS, *sandbox, *options, page.as_uri()], folder / "output.txt")
        content = pdf.read_bytes() if pdf.is_file() else b""
        if not content.startswith(b"%PDF-") or b"%%EOF" not in content[-64:]:
            raise RestateLabError(f"{program} wrote no PDF; its output: {output.strip()[-600:] or 'none'}")
        shutil.copyfile(pdf, path)


def _run(command: list[str], log: Path) -> str:
    """Run the command and return its output; its whole process group is killed on return or interrupt."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise TimedOut(f"{command[0]} did not print the page within {format_duration(_SECONDS)}.") from error
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return log.read_text("utf-8", "replace")
