"""Compare failing invocations with healthy ones: what do the failing ones share?"""
