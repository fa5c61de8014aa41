"""Alerts: visit clusters at intervals, and notify people of problems that begin and end (``restate-lab watch``)."""
