"""The motion of a store, counted: `stats`.

Owns the counts (`counts`, with compiled loops in `kernels`), the work on one task (`task`), the report and its plot.
Knows nothing of frames, or of files of other tools. Begin with `counts`.
"""

from flowstore.stats.report import GroupStats, StatsReport
from flowstore.stats.run import stats

__all__ = ["GroupStats", "StatsReport", "stats"]
