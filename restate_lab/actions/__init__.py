"""Change a cluster: plan, review, execute, and read the outcome."""
