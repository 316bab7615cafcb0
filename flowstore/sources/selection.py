"""Which of the sources found a run takes."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from flowstore.arguments import check_part, check_texts, check_whole
from flowstore.errors import ArgumentError
from flowstore.names import printable_name, suggest_name
from flowstore.sources.source import VideoSource


def select_sources(
    sources: Iterable[VideoSource],
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    limit: int | None = None,
    part: tuple[int, int] | None = None,
    select: Sequence[str] = (),
) -> tuple[VideoSource, ...]:
    """Return the sources that a run is to take.

    `select`: ``class=NAME`` or ``name=PATTERN``, as `flowstore.splits.select_videos` has them for a store's videos; of
    one kind any may hold, of both kinds each must.
    """
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
        for source in _selected(list(sources), check_texts("select", select))
        if (not include or _matches(source, include)) and not (exclude and _matches(source, exclude))
    ]
    if part is not None:
        chosen = chosen[part[0] - 1 :: part[1]]
    return tuple(chosen[:limit])


def _selected(sources: list[VideoSource], choices: Sequence[str]) -> list[VideoSource]:
    tests: defaultdict[str, list[Callable[[VideoSource], bool]]] = defaultdict(list)
    for choice in choices:
        kind, _, value = choice.partition("=")
        if kind not in ("class", "name") or not value:
            raise ArgumentError(
                f"selection {printable_name(choice)!r}: expected class=NAME or name=PATTERN; split=... is for stores"
            )
        fits = _has_class(value) if kind == "class" else _has_name(value)
        if not any(map(fits, sources)):
            names = {source.class_name if kind == "class" else source.name for source in sources}
            raise ArgumentError(f"selection {printable_name(choice)!r}: no video is of it{suggest_name(value, names)}")
        tests[kind].append(fits)
    return [source for source in sources if all(any(fits(source) for fits in some) for some in tests.values())]


def _has_class(name: str) -> Callable[[VideoSource], bool]:
    return lambda source: source.class_name == name


def _has_name(pattern: str) -> Callable[[VideoSource], bool]:
    regex = _regex(pattern)
    is_whole = "/" in pattern
    return lambda source: bool(regex.fullmatch(f"{source.class_name}/{source.name}" if is_whole else source.name))


def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def _matches(source: VideoSource, patterns: Sequence[str]) -> bool:
    return any(_matches_one(source, pattern) for pattern in patterns)


def _matches_one(source: VideoSource, pattern: str) -> bool:
    regex = _regex(pattern)
    if "/" in pattern:
        texts = [f"{source.class_name}/{source.name}", source.relative_path]
    else:
        texts = [source.class_name, source.name, os.path.basename(source.path)]
    return any(regex.fullmatch(text) for text in texts)
