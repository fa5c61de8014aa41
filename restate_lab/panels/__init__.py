"""Panels: browse, inspect and change a cluster in a notebook; the grid keeps its rows in the kernel."""
