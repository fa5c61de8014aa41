"""The order system of the incident story, and related services."""
