"""The retry policies of the hospital: the frequency of attempts and the action after the last one."""

from datetime import timedelta

from restate import InvocationRetryPolicy

# An invocation that only waits is suspended soon, and costs nothing while it waits.
BRIEF = timedelta(milliseconds=800)

# Enough attempts for days: the planted faults are still there when someone looks.
DAYS = 500_000

# Sixty invocations that retry together must not keep the machine busy.
OVERNIGHT = InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=400),
    exponentiation_factor=2.5,
    max_interval=timedelta(seconds=20),
    max_attempts=DAYS,
    on_max_attempts="pause",
)
ON_CALL = InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=300),
    exponentiation_factor=1.5,
    max_interval=timedelta(milliseconds=1400),
    max_attempts=DAYS,
    on_max_attempts="pause",
)
FOUR_TIMES = InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=150),
    exponentiation_factor=1.0,
    max_interval=timedelta(milliseconds=150),
    max_attempts=4,
    on_max_attempts="pause",
)
