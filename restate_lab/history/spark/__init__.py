"""Answer statements about many runs of a history with the user's Spark. Import its modules late: they need sqlglot."""
