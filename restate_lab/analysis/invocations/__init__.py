"""Invocations for a list: the ones that filters leave, with equal failures grouped, counts of all, and histograms."""
