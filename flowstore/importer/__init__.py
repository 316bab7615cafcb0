"""Files of other tools to a store: `import_flow`.

Owns finding flow files by a layout read backwards (`folders`), reading them (`source`), where their meaning comes from
(`origin`), and the work on one video (`task`). Knows nothing of decoders or of how flow is computed; a plan is carried
out by `flowstore.pipeline.run.run_plan`, as that of an extraction is. Begin with `task`.
"""

from flowstore.importer.run import import_flow

__all__ = ["import_flow"]
