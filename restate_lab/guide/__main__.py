"""Write the guide and the reference of all public names as HTML: ``python -m restate_lab.guide``."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import restate_lab
from restate_lab._public import public
from restate_lab.errors import MissingExtra
from restate_lab.guide import tour

TEMPLATES = Path(__file__).with_name("templates")
FRONT = '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={0}"><a href="{0}">{1}</a>\n'


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m restate_lab.guide", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/docs"), help="where to (build/docs)")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="where the tests have put their screenshots")
    arguments = parser.parse_args()
    try:
        write(arguments.folder, arguments.pictures)
    except MissingExtra as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    if arguments.pictures and (missing := tour.missing_pictures(arguments.pictures)):
        sys.stdout.write(f"pictures that are not there: {', '.join(missing)}\n")
    sys.stdout.write(f"{arguments.folder / 'index.html'}\n")


def write(folder: Path, pictures: Path | None = None) -> None:
    """Write the pages into a folder; ``pictures`` is where the tests have put theirs, None leaves them out.

    Raises:
        MissingExtra: pdoc is not installed.
    """
    try:
        import pdoc  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtra("the reference is made by pdoc: pip install 'restate-lab[docs]'.") from error
    for name in restate_lab.__all__:  # pdoc does not see what loads when it is touched
        setattr(restate_lab, name, getattr(restate_lab, name))
    tour.__doc__ = _tour_page(folder, pictures)
    pdoc.render.configure(
        docformat="google", include_undocumented=False, show_source=False, template_directory=TEMPLATES
    )
    with _defining_modules() as modules:
        pdoc.pdoc("restate_lab", "restate_lab.guide", "!restate_lab.guide.__main__", output_directory=folder)
    (folder / "index.html").write_text(FRONT.format("restate_lab/guide.html", "The guide"), encoding="utf-8")
    for page in folder.rglob("*.html"):
        html = _replace_type_names(page.read_text(encoding="utf-8"), modules)
        page.write_text(_remove_broken_links(html), encoding="utf-8")


def _tour_page(folder: Path, pictures: Path | None) -> str:
    """Copy the tour's pictures to where its page will look for them, and return the page."""
    if pictures is None:
        return tour.render_page()
    beside = folder / "restate_lab" / "guide" / "tour"
    beside.mkdir(parents=True, exist_ok=True)
    for picture in tour.existing_pictures(pictures):
        shutil.copyfile(picture, beside / picture.name)
    return tour.render_page(beside, "tour")


@contextmanager
def _defining_modules() -> Iterator[dict[str, str]]:
    """Yield the modules that define the types that report ``restate_lab``; these report it in the block.

    pdoc finds sources, and with them the docstrings of attributes, by the module that a class reports.
    """
    names = {name: getattr(restate_lab, name) for name in restate_lab.__all__}
    types = {name: each for name, each in names.items() if getattr(each, "__module__", "") == "restate_lab"}
    modules = {name: restate_lab._HOME[name] for name in types}  # noqa: SLF001 - the package's own
    try:
        for name, each in types.items():
            each.__module__ = modules[name]
            if sys.version_info >= (3, 13):  # where a class forgets its line with its module
                each.__firstlineno__ = _first_line(name, modules[name])
        yield modules
    finally:
        for each in types.values():
            public(each)


def _first_line(name: str, module: str) -> int:
    """Return the line on which the definition of a class begins, with its decorators."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    (definition,) = (each for each in tree.body if isinstance(each, ast.ClassDef) and each.name == name)
    return min([definition.lineno, *(each.lineno for each in definition.decorator_list)])


def _replace_type_names(html: str, modules: Mapping[str, str]) -> str:
    """Return a page that names public types as users import them."""
    names = {f"{module}.{name}": f"restate_lab.{name}" for name, module in modules.items()}
    return re.sub(r"\brestate_lab\.[\w.]+", lambda match: names.get(match[0], match[0]), html)


def _remove_broken_links(html: str) -> str:
    """Return a page without links to places that it lacks: pdoc links what a class inherits and does not show it."""
    places = set(re.findall(r'id="([^"]+)"', html))
    return re.sub(
        r'<a href="#([^"]+)"[^>]*>(.*?)</a>', lambda match: match[0] if match[1] in places else match[2], html
    )


if __name__ == "__main__":
    main()
