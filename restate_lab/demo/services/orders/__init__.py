"""The order system of the incident, and the services beside it."""
