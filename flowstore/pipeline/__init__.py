"""Videos to a store: `extract`.

Owns the plan of an extraction (`plan`, with what it will take in `forecast`), the work on one video (`task`), and the
run, which `flowstore.importer` uses too. Knows nothing of export or training; of layouts only what flow is called, so
that it is not taken for frames. Begin with `task`: frames, flow, codes, commit.
"""

from flowstore.pipeline.plan import ExtractPlan, plan_extract
from flowstore.pipeline.report import ExtractReport
from flowstore.pipeline.run import extract

__all__ = ["ExtractPlan", "ExtractReport", "extract", "plan_extract"]
