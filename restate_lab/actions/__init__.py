"""Change a cluster: plan, review, execute, and read back what came of it."""
