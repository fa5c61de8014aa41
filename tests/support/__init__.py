"""Shared parts of the tests: clusters, a browser, isolation from the developer's own machine."""
