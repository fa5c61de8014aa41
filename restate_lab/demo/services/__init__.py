"""The sample services of the demo, written as a user would write them."""
