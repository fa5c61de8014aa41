"""Alerts: visit clusters at intervals, and notify people of problems that begin and end (``restate-lab watch``)."""

THREAD_NAME = "restate-lab watch"
"""The name of the threads of visits and deliveries."""
