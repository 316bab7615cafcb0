"""Which of the sources found a run takes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from flowstore.arguments import check_part, check_whole
from flowstore.errors import ArgumentError
from flowstore.sources.source import VideoSource


def select_sources(
    sources: Iterable[VideoSource],
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    limit: int | None = None,
    part: tuple[int, int] | None = None,
) -> tuple[VideoSource, ...]:
    """Return the sources that a run is to take."""
    include, exclude = ((given,) if isinstance(given, str) else given for given in (include, exclude))
    for name, patterns in (("include", include), ("exclude", exclude)):
        if not (isinstance(patterns, Iterable) and all(isinstance(pattern, str) for pattern in patterns)):
            raise ArgumentError(f"{name} is {patterns!r}, expected patterns such as '*wave*'")
    if limit is not None:
        check_whole("limit", limit, 1)
    if part is not None:
        check_part(part)
    chosen = [
        source
        for source in sources
        if (not include or _matches(source, include)) and not (exclude and _matches(source, exclude))
    ]
    if part is not None:
        chosen = chosen[part[0] - 1 :: part[1]]
    return tuple(chosen[:limit])


def _matches(source: VideoSource, patterns: Sequence[str]) -> bool:
    return any(_matches_one(source, pattern) for pattern in patterns)


def _matches_one(source: VideoSource, pattern: str) -> bool:
    regex = re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)
    if "/" in pattern:
        texts = [f"{source.class_name}/{source.name}", source.relative_path]
    else:
        texts = [source.class_name, source.name, os.path.basename(source.path)]
    return any(regex.fullmatch(text) for text in texts)
