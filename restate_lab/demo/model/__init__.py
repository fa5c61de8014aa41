"""A language model for the demo and the tests: it replies by script, at a loopback address, and keeps a ledger."""
