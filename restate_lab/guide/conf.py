"""The settings of Sphinx for the guide, and three hooks that let it read our docstrings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import restate_lab
from restate_lab import __version__ as release

if TYPE_CHECKING:
    from sphinx.application import Sphinx

CONSTRUCTED = ("Coverage", "Panel", "Report", "Thresholds")
"""The public classes that users construct; calls return objects of the others, so their arguments are not shown."""

project = "restate_lab"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
napoleon_numpy_docstring = False
autodoc_default_options = {"members": True, "member-order": "bysource"}
add_module_names = False
python_maximum_signature_line_length = 100  # longer ones have a line per parameter
python_use_unqualified_type_names = True
default_role = "code"
html_theme = "furo"
html_title = f"restate_lab {release}"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_use_index = False
html_domain_indices = False
pygments_style = "default"
pygments_dark_style = "github-dark"


def setup(app: Sphinx) -> None:
    """Connect the functions below; Sphinx calls this."""
    app.connect("builder-inited", _read_attribute_docstrings)
    app.connect("autodoc-process-signature", _sign_class)
    app.connect("autodoc-process-docstring", _prepare_docstring, priority=400)  # before napoleon, which has 500


def _read_attribute_docstrings(app: Sphinx) -> None:
    """Let autodoc find the docstrings of the attributes of public classes.

    It looks for them in the module that a class reports, which is ``restate_lab`` and not the one that defines it.
    """
    from sphinx.pycode import ModuleAnalyzer  # noqa: PLC0415 - an extra

    del app
    package = ModuleAnalyzer.for_module("restate_lab")
    package.analyze()
    for name in restate_lab.__all__:
        if isinstance(getattr(restate_lab, name), type):
            module = ModuleAnalyzer.for_module(restate_lab._MODULES[name])  # noqa: SLF001 - the package's own
            module.analyze()
            package.attr_docs |= {key: lines for key, lines in module.attr_docs.items() if key[0] == name}
            package.tagorder |= {key: at for key, at in module.tagorder.items() if key.startswith(f"{name}.")}


def _sign_class(
    app: Sphinx, what: str, name: str, item: Any, options: object, signature: str | None, returns: str | None
) -> tuple[str, str] | None:
    """Show the arguments of ``__init__`` of a class that users construct, and none of the other classes."""
    from sphinx.util import inspect  # noqa: PLC0415 - an extra

    del app, options, returns
    if what not in {"class", "exception"} or not signature:
        return None
    if name.rpartition(".")[2] not in CONSTRUCTED:
        return "", ""
    arguments = inspect.signature(item.__init__, bound_method=True)
    return inspect.stringify_signature(arguments, show_return_annotation=False, unqualified_typehints=True), ""


def _prepare_docstring(app: Sphinx, what: str, name: str, item: object, options: object, lines: list[str]) -> None:
    """Make reStructuredText of a docstring: code is an indented block there, and the text of a property has no type."""
    del app, name, item, options
    if what in {"property", "attribute", "data"} and lines:
        lines[0] = f": {lines[0]}"  # napoleon takes text before a colon for the type
    lines[:] = [line.replace('"service://', '"service\\://') for line in lines]  # otherwise docutils makes it a link
    for at in reversed(range(2, len(lines))):
        before, is_code = lines[at - 2], lines[at].startswith("    ") and not lines[at - 1].strip()
        if is_code and before[:1].strip() and not before.startswith("- ") and not before.endswith("::"):
            lines[at - 1 : at] = ["", "::", ""]
