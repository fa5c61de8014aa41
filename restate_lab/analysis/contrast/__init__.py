"""Compare failing invocations with healthy ones: find the conditions that the failing ones share."""
