"""A store to another place or form: `copy`.

Owns the plan, the work on one video (`task`: chunks as they are, or packed anew) and the run. Knows nothing of videos'
frames, or of files of other tools. Begin with `task`.
"""

from flowstore.copying.run import CopyReport, copy

__all__ = ["CopyReport", "copy"]
