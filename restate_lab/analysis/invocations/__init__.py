"""Invocations for a list: the filtered rows with equal failures grouped, counts by status, and histograms."""
