"""Frames that answer questions about a cluster; they work with every kind of Source."""
