"""The sample services of the demo, written like the services of a user."""
