"""The stories that only tests play, on the services of the demo and on their own, and a cluster of three nodes."""
