"""Write the guide and the reference of all public names as HTML: ``python -m restate_lab.guide``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import restate_lab
from restate_lab.errors import MissingExtra


def write(folder: Path) -> None:
    """Write the pages into a folder.

    Raises:
        MissingExtra: pdoc is not installed.
    """
    try:
        import pdoc  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtra("the reference is made by pdoc: pip install 'restate-lab[docs]'.") from error
    for name in restate_lab.__all__:  # pdoc does not see what loads when it is touched
        setattr(restate_lab, name, getattr(restate_lab, name))
    pdoc.render.configure(docformat="google", include_undocumented=False, show_source=False)
    pdoc.pdoc("restate_lab", "restate_lab.guide", "!restate_lab.guide.__main__", output_directory=folder)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m restate_lab.guide", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/docs"), help="where to (build/docs)")
    folder = parser.parse_args().folder
    write(folder)
    sys.stdout.write(f"{folder / 'index.html'}\n")


if __name__ == "__main__":
    main()
