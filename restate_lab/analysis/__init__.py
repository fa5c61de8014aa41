"""Frames that answer questions: they know a Source, and not which kind."""
