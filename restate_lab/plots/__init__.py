"""Draw frames with matplotlib: each function takes a frame and returns Axes; no function reads from a source.

With ``ax=``, a plot draws on these Axes and does not use pyplot. Without it, pyplot creates a figure, which a notebook
shows automatically. Figures always have an opaque background from the current style sheet, so they are readable on
light and dark pages, in reports and in chats. ``plt.style.use("dark_background")`` makes them dark. Each status has its
color from ``restate_lab.status`` and a hatch that distinguishes it in grayscale.
"""

from __future__ import annotations

from restate_lab.plots.agents import plot_agent_run, plot_spend
from restate_lab.plots.counts import plot_backlog, plot_retries, plot_state_sizes, plot_status
from restate_lab.plots.history import plot_before_after, plot_failure_calendar, plot_percentiles
from restate_lab.plots.journal import plot_journal
from restate_lab.plots.latency import plot_latency, plot_latency_distribution
from restate_lab.plots.rates import plot_throughput
from restate_lab.plots.waits import plot_waits

__all__ = [
    "plot_agent_run",
    "plot_backlog",
    "plot_before_after",
    "plot_failure_calendar",
    "plot_journal",
    "plot_latency",
    "plot_latency_distribution",
    "plot_percentiles",
    "plot_retries",
    "plot_spend",
    "plot_state_sizes",
    "plot_status",
    "plot_throughput",
    "plot_waits",
]
