"""Which flows a clip holds, and from which videos.

Owns the rules on indices (`sampling`), the videos that they are applied to (`table`), the frames beside the flow
(`source_frames`), and memory that processes share (`shared_memory`). Knows nothing of torch, which is `loaders`'. Begin
with `sampling`.
"""
