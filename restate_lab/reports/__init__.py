"""What is handed over: executed notebooks, and reports that open anywhere."""
