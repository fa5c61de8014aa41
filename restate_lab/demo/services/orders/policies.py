"""The retry policies of the order system."""

from datetime import timedelta

from restate import InvocationRetryPolicy

# An invocation that waits is suspended after this time and then uses no resources.
SOON = timedelta(seconds=1)

# Enough attempts for days, so the planted faults remain visible.
MANY = 1_000_000

PATIENT = InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=500),
    exponentiation_factor=2.0,
    max_interval=timedelta(seconds=5),
    max_attempts=MANY,
    on_max_attempts="pause",
)
EAGER = InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=400),
    exponentiation_factor=1.2,
    max_interval=timedelta(milliseconds=1500),
    max_attempts=MANY,
    on_max_attempts="pause",
)
GIVES_UP = InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=200),
    exponentiation_factor=1.0,
    max_interval=timedelta(milliseconds=200),
    max_attempts=3,
    on_max_attempts="pause",
)
