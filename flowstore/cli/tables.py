"""Tables and lines of a terminal of any width: no name is cut, no number is broken, no row is wider than the screen."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from flowstore.names import printable_name
from flowstore.terminal import fit_lines

_GAPS = (2, 1)
# With fewer columns for names, all of them stand above their numbers.
_NARROWEST_NAME = 8


class Table:
    """Rows of a name and its numbers.

    A name that is longer than its column has a line of its own, above its numbers. Where the numbers alone fill the
    screen, every row is a name and below it its numbers, in as many lines as it takes.

    Parameters
    ----------
    *header : str
        What stands above the columns; nothing for a table without a header.
    is_text : bool
        Whether cells are texts, which begin below each other, and no numbers.
    """

    def __init__(self, *header: str, is_text: bool = False) -> None:
        self._rows = [(header, "bold")] if header else []
        self._is_text = is_text

    def add(self, name: str, *cells: str, style: str = "") -> None:
        """Add a row."""
        self._rows.append(((printable_name(name), *cells), style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line, style in self.lines(options.max_width):
            yield Text(line, style)

    def lines(self, columns: int) -> Iterator[tuple[str, str]]:
        """Yield the lines, of at most so many columns, with their styles."""
        if not self._rows:
            return
        longest, *widths = (max(map(cell_len, column)) for column in zip(*(row for row, _ in self._rows), strict=True))
        indent, groups = 0, [range(len(widths))]
        for gap in _GAPS:
            indent = min(longest, columns - sum(widths) - gap * len(widths))
            if indent >= min(longest, _NARROWEST_NAME):
                break
        else:
            indent, groups = 0, _groups(widths, columns, gap)
        for (name, *cells), style in self._rows:
            head = name + " " * (indent - cell_len(name))
            if cell_len(name) > indent:
                yield from ((line, style) for line in fit_lines(name, columns).split("\n"))
                head = " " * indent
            for group in groups:
                line = head + "".join(" " * gap + self._fill(cells[number], widths[number]) for number in group)
                yield from ((part, style) for part in fit_lines(line.rstrip(), columns).split("\n"))
                head = " " * indent

    def _fill(self, cell: str, width: int) -> str:
        space = " " * (width - cell_len(cell))
        return cell + space if self._is_text else space + cell


def _groups(widths: list[int], columns: int, gap: int) -> list[range]:
    """Return the columns that share a line."""
    groups, start, taken = [], 0, 0
    for number, width in enumerate(widths):
        if number > start and taken + gap + width > columns:
            groups.append(range(start, number))
            start, taken = number, 0
        taken += gap + width
    return [*groups, range(start, len(widths))]
