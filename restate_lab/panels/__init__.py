"""Panels: browse, inspect and change a cluster in a notebook; the grid keeps its rows in the kernel."""

from restate_lab._public import require_packages

require_packages("a panel", "ipywidgets", "anywidget", "IPython")
