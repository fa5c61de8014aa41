"""Pictures of frames: a frame in, matplotlib Axes out; nothing here asks a source for anything.

Every plot takes ``ax=`` and draws there without touching pyplot; without it pyplot makes a figure, which a notebook
shows by itself. Pictures stand on a ground of their own, the one of the style sheet in force, so that they are as
legible on a dark page as on a light one and in a report as in a chat; ``plt.style.use("dark_background")`` makes them
dark. Statuses have the colours of ``restate_lab.status`` and a hatch each, so that they tell apart in grey.
"""

from __future__ import annotations

from restate_lab.plots.counts import plot_backlog, plot_retries, plot_state_sizes, plot_status
from restate_lab.plots.journal import plot_journal
from restate_lab.plots.latency import plot_latency, plot_latency_distribution
from restate_lab.plots.rates import plot_throughput, plot_watch
from restate_lab.plots.waits import plot_waits

__all__ = [
    "plot_backlog",
    "plot_journal",
    "plot_latency",
    "plot_latency_distribution",
    "plot_retries",
    "plot_state_sizes",
    "plot_status",
    "plot_throughput",
    "plot_waits",
    "plot_watch",
]
