"""The checks of the doctor, by subject; ``table.py`` has them in the order in which they run."""
