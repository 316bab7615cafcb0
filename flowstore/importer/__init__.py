"""Files of other tools to a store: `import_flow`.

Owns finding flow files by a layout read backwards (`folders`), reading them (`source`), where their meaning comes from
(`origin`), the work on one video (`task`) and the run. Begin with `task`.
"""

from flowstore.importer.run import import_flow

__all__ = ["import_flow"]
