"""Flow as pictures and films: `render`.

Owns pictures of one flow (`pictures`, `drawing`, `text`), films, contact sheets, and the frames beside them
(`source_frames`). Knows nothing of how flow was made, and works in this process alone. Begin with `pictures`.
"""

from flowstore.render.run import RenderReport, render, render_class, render_video

__all__ = ["RenderReport", "render", "render_class", "render_video"]
