"""Panels: browse, open and act in a notebook, on one grid of rows that stay in the kernel."""
