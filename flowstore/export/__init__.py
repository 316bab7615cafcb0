"""A store to files of other tools: `export`.

Owns what is planned (`plan`, `paths`, `lists`), what of an earlier export still stands (`manifest`), the
work on one video (`task`), and the run. Knows nothing of how flow was made; what the files are is
`flowstore.layouts`'. Begin with `task`.
"""

from flowstore.export.run import ExportReport, export

__all__ = ["ExportReport", "export"]
