"""Build the guide as a site: ``python -m restate_lab.guide``. It needs the extra ``docs`` and no network."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from restate_lab.errors import MissingExtra
from restate_lab.guide import actions, columns, faults, questions

GUIDE = Path(__file__).parent
_FIGURE = re.compile(r"^```\{figure\} pictures/([\w-]+)\.png\n(.*?)\n```\n", re.DOTALL | re.MULTILINE)
_HOW = """```{note}
The pictures of this page are missing. The first command makes all pictures in a checkout, the second one builds the
guide with them:

    RESTATE_LAB_SCREENSHOTS=build/screenshots .venv/bin/pytest -m "" tests/browser tests/integration/test_plots.py
    .venv/bin/python -m restate_lab.guide --pictures build/screenshots
```
"""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m restate_lab.guide", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/docs"), help="the folder of the site")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="the folder with the tests' screenshots")
    arguments = parser.parse_args()
    try:
        status = build(arguments.folder, arguments.pictures)
    except MissingExtra as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    if status != 0:
        parser.exit(status)
    if arguments.pictures:
        missing = [name for name in names_of_pictures() if not _file_of(name, arguments.pictures)]
        sys.stdout.write(f"missing pictures: {', '.join(missing) or 'none'}\n")
    sys.stdout.write(f"{arguments.folder / 'index.html'}\n")


def build(folder: Path, pictures: Path | None = None) -> int:
    """Build the site in a folder and return the exit code of Sphinx, which is 1 if it printed warnings.

    ``pictures`` is the folder with the screenshots; None builds the site without pictures.

    Raises:
        MissingExtra: Sphinx is not installed.
    """
    try:
        from sphinx.cmd.build import build_main  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtra("the guide is built with Sphinx: pip install 'restate-lab[docs]'.") from error
    with TemporaryDirectory() as work:
        source, doctrees = Path(work, "source"), Path(work, "doctrees")
        _write_sources(source, pictures)
        options = ["-b", "html", "-q", "-W", "-c", GUIDE, "-d", doctrees]
        return build_main([str(each) for each in (*options, source, folder)])


def _write_sources(folder: Path, pictures: Path | None) -> None:
    """Write the Markdown of all pages into a folder, with the pictures that they show."""
    texts = {page.name: page.read_text(encoding="utf-8") for page in GUIDE.glob("*.md")}
    for page in (actions, columns, faults, questions):
        texts[f"{page.__name__.rpartition('.')[2]}.md"] = str(page.__doc__)
    (folder / "pictures").mkdir(parents=True)
    shutil.copy(GUIDE / "Containerfile", folder)
    for name, text in texts.items():
        (folder / name).write_text(with_pictures(text, pictures), encoding="utf-8")
    for name in names_of_pictures():
        for picture in filter(None, (_file_of(name, pictures), _file_of(_dark_name(name), pictures))):
            shutil.copyfile(picture, folder / "pictures" / picture.name)


def names_of_pictures() -> list[str]:
    """Return the names of the pictures on all pages."""
    return [name for page in sorted(GUIDE.glob("*.md")) for name, _ in _FIGURE.findall(page.read_text("utf-8"))]


def with_pictures(text: str, pictures: Path | None) -> str:
    """Return a page with the figures whose picture exists; the others are removed, and a note says how to make them.

    A picture whose name has "-light" is shown in the light theme only if there is a "-dark" one for the other theme.
    """
    missing = [name for name, _ in _FIGURE.findall(text) if not _file_of(name, pictures)]

    def figure(match: re.Match[str]) -> str:
        name, caption = match.groups()
        if name in missing:
            return _HOW if name == missing[0] else ""
        dark = _dark_name(name)
        themes = {name: "only-light", dark: "only-dark"} if _file_of(dark, pictures) else {name: ""}
        return "\n".join(_figure(each, caption, theme) for each, theme in themes.items())

    return _FIGURE.sub(figure, text)


def _figure(name: str, caption: str, theme: str) -> str:
    options = f":alt: {' '.join(caption.replace('`', '').split())}\n:width: 100%\n"
    options += f":figclass: {theme}\n" if theme else ""
    return f"```{{figure}} pictures/{name}.png\n{options}\n{caption}\n```\n"


def _dark_name(name: str) -> str:
    """Return the name of the picture that shows the same in the dark theme; "" if there is one for both themes."""
    return name.replace("-light", "-dark") if "-light" in name else ""


def _file_of(name: str, pictures: Path | None) -> Path | None:
    file = pictures / f"{name}.png" if name and pictures else None
    return file if file and file.is_file() else None


if __name__ == "__main__":
    main()
