"""The order of frames: what the numbers in their names say, and what speaks against them. Pure: names only."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from fractions import Fraction

from flowstore.sources.listing import natural_key, split_suffix

_DIGITS = re.compile(r"(\d+)", re.ASCII)


def order_frames(names: Sequence[str]) -> tuple[list[str], str]:
    """Return the names of frames in the order of their numbers, and what makes that order doubtful (else nothing).

    Examples
    --------
    >>> order_frames(["img_10.jpg", "img_9.jpg", "img_8.jpg"])
    (['img_8.jpg', 'img_9.jpg', 'img_10.jpg'], '')
    >>> order_frames(["0.2.png", "0.04.png", "0.12.png"])
    (['0.04.png', '0.12.png', '0.2.png'], '')
    >>> order_frames(["1.jpg", "2.jpg", "4.jpg"])[1]
    'after 2.jpg comes 4.jpg, 2 on where others are 1 on'
    """
    ordered = sorted(names, key=natural_key)
    if len(ordered) < 2:
        return ordered, ""
    parts = {name: _DIGITS.split(split_suffix(name)[0]) for name in ordered}
    texts = Counter(tuple(parts[name][::2]) for name in ordered)
    if all(len(found) == 1 for found in parts.values()):
        return ordered, f"no number says which comes first, {ordered[0]} or {ordered[1]}"
    if len(texts) > 1:
        return ordered, _two_series(ordered, parts, texts)
    decimals, integers = _readings(ordered, parts)
    even = [reading for reading in (*integers, *decimals) if _is_even(reading)]
    if not even:
        return (
            (list(decimals[0]), _uneven(list(decimals[0]), parts)) if decimals else (ordered, _uneven(ordered, parts))
        )
    orders = sorted({tuple(reading) for reading in even})
    if len(orders) > 1:
        return ordered, f"the numbers can be read in two ways: {', '.join(orders[0][:3])} or {', '.join(orders[1][:3])}"
    return list(orders[0]), ""


_Reading = dict[str, Fraction]


def _readings(ordered: Sequence[str], parts: dict[str, list[str]]) -> tuple[list[_Reading], list[_Reading]]:
    """Return what may be the number of each frame, in the order of it: numbers with a decimal point, whole numbers."""
    decimals, integers = [], []
    n_parts = len(parts[ordered[0]])
    for at in range(1, n_parts, 2):
        integers.append(_by_number(parts, {name: Fraction(int(parts[name][at])) for name in ordered}, at))
        if at + 2 < n_parts and parts[ordered[0]][at + 1] == ".":
            values = {name: Fraction(f"{parts[name][at]}.{parts[name][at + 2]}") for name in ordered}
            decimals.append(_by_number(parts, values, at))
    return [reading for reading in decimals if reading], [reading for reading in integers if reading]


def _by_number(parts: dict[str, list[str]], values: _Reading, at: int) -> _Reading:
    """Return names by a number of their own; none where two share one, or where a number before it goes back."""
    names = sorted(values, key=values.__getitem__)
    before = [tuple(map(int, parts[name][1:at:2])) for name in names]
    is_forward = all(
        left <= right for one, other in itertools.pairwise(before) for left, right in zip(one, other, strict=True)
    )
    return {name: values[name] for name in names} if is_forward and len(set(values.values())) == len(names) else {}


def _is_even(reading: _Reading) -> bool:
    return len({after - before for before, after in itertools.pairwise(reading.values())}) == 1


def _two_series(ordered: Sequence[str], parts: dict[str, list[str]], texts: Counter[tuple[str, ...]]) -> str:
    members: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in ordered:
        members[tuple(parts[name][::2])].append(name)
    (first, n_first), (second, n_second) = texts.most_common(2)
    more = f", and {len(texts) - 2} more" if len(texts) > 2 else ""
    return (
        f"names of {len(texts)} series in one folder: {members[first][0]} ({n_first}), "
        f"{members[second][0]} ({n_second}){more}"
    )


def _uneven(ordered: Sequence[str], parts: dict[str, list[str]]) -> str:
    """Name the first place where the numbers leave their most common stride."""
    numbers = [tuple(map(int, parts[name][1::2])) for name in ordered]
    steps = [tuple(b - a for a, b in zip(*pair, strict=True)) for pair in itertools.pairwise(numbers)]
    for at, step in enumerate(steps):
        if not any(step):
            return f"one number twice: {ordered[at]} and {ordered[at + 1]}"
    (usual, _), *_ = Counter(steps).most_common(1)
    at = next(at for at, step in enumerate(steps) if step != usual)
    on, usually = (max(step, key=abs) for step in (steps[at], usual))
    is_plain = sum(map(bool, steps[at])) == 1 and on > 0 and "." not in parts[ordered[at]]
    stride = f", {on} on where others are {usually} on" if is_plain else ""
    return f"after {ordered[at]} comes {ordered[at + 1]}{stride}"
