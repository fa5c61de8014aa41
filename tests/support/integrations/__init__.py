"""Agents of further integrations, in environments of their own."""
