"""Statements: parameters put into the text, tokens, limits on the shape, and suggestions for unknown names."""
