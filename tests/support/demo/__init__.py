"""The stories of the tests, on the services of the demo and on their own, and a cluster of three nodes."""
