"""The header that a deployment is registered with when its address serves several releases of the code."""

__all__ = ["RELEASE_HEADER"]

RELEASE_HEADER = "x-release"
"""Restate sends a deployment's headers with every request, so this one chooses the code, as in a service mesh."""
