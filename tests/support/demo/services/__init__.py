"""The services of the tests' stories."""
