"""Lines that fit a terminal: where a long one breaks, and how wide a stream's terminal is. Owns no output.

A pipe has no width: what a program reads is whole.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, TextIO

from rich.cells import cell_len, set_cell_size

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

_ENDS = ("/\\", "_-.,:;=|")
# A label and its column, as in "store:    flow.zarr" and "  film  flow.mp4": further lines stand below the second.
_LABEL = re.compile(r" *\S+(?: \S+)? {2,}|[\w ]{1,8}: ")
_SPACE = re.compile(" ")
_FEWEST_COLUMNS = 10


def terminal_columns(stream: TextIO) -> int | None:
    """Return the columns of the terminal that a stream writes to, as COLUMNS or the terminal says; None of no terminal.

    References
    ----------
    POSIX.1-2017, Base Definitions 8.3: COLUMNS.
    """
    if not stream.isatty():
        return None
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return max(_FEWEST_COLUMNS, int(columns))
    try:
        found = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        found = 0
    return max(_FEWEST_COLUMNS, found) if found else 80


def fit_lines(text: str, columns: int | None) -> str:
    r"""Return a text whose lines have at most so many columns; as it is where there is no width.

    Examples
    --------
    >>> print(fit_lines("store:   /data/sets/hmdb51/flow of the year.zarr (new)", 30))
    store:   /data/sets/hmdb51/
             flow of the year.zarr
             (new)
    """
    if columns is None:
        return text
    return "\n".join(
        " " * indent + line[start:stop]
        for line in text.split("\n")
        for indent, start, stop in line_parts(line, columns)
    )


def line_parts(line: str, columns: int) -> list[tuple[int, int, int]]:
    """Return the parts of a line that fit: how far each is indented, its start and its stop.

    A line breaks at a space. A word that is longer than a line breaks after a slash, or else after what joins words.
    """
    if cell_len(line) <= columns:
        return [(0, 0, len(line))]
    label = _LABEL.match(line)
    hang = len(label[0]) if label else columns
    if hang > columns // 2:
        hang = min(len(line) - len(line.lstrip(" ")) + 2, columns // 2)
    parts, indent, start, least = [], 0, 0, hang
    while cell_len(line[start:]) > columns - indent:
        stop = _break(line, start, columns - indent, columns - hang, least)
        parts.append((indent, start, start + len(line[start:stop].rstrip(" "))))
        start = stop + len(line[stop:]) - len(line[stop:].lstrip(" "))
        indent, least = hang, 0
    return [*parts, (indent, start, len(line))]


def _break(line: str, start: int, room: int, whole: int, least: int) -> int:
    """Return where the part that begins at `start` ends; `least` characters of it are a label."""
    stop = start + max(1, len(set_cell_size(line[start:], room).rstrip(" ")))
    # What stands on the character before it goes with it.
    while stop > start + 1 and stop < len(line) and not cell_len(line[stop]):
        stop -= 1
    first = start + least
    spaces = [found.end() for found in _SPACE.finditer(line, first + 1, stop + 1)]
    space = max(spaces, default=0)
    # A number stays with its unit.
    space = max((end for end in spaces if not line[end - 2].isdigit() and 2 * end > first + stop), default=space)
    if space and cell_len(line[space:].partition(" ")[0]) <= whole:
        return space
    for ends in _ENDS:
        end = max(line.rfind(character, first, stop) for character in ends) + 1
        if end - first > (stop - first) // 3:
            return end
    return space or stop


class FittedText:
    """Text whose long lines break where words and paths can be broken.

    Parameters
    ----------
    text : rich.text.Text
        Lines with their styles.
    """

    def __init__(self, text: Text) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self._text.split("\n", allow_blank=True):
            for indent, start, stop in line_parts(line.plain, options.max_width):
                part = line[start:stop]
                part.pad_left(indent)
                yield part
