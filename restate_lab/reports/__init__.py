"""Reports as single files that open anywhere, and executed notebooks."""
