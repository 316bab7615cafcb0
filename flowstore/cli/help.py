"""Help pages: where a screen is too narrow for two columns, what an option does stands below its name."""

from __future__ import annotations

from collections.abc import Iterable

import click

_NARROWEST_OF_TWO_COLUMNS = 70
# Beside names as short as those of commands there is room on every screen.
_LONGEST_SHORT_NAME = 16


class _Formatter(click.HelpFormatter):
    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        listed = list(rows)
        if self.width >= _NARROWEST_OF_TWO_COLUMNS or max(len(name) for name, _ in listed) <= _LONGEST_SHORT_NAME:
            super().write_dl(listed, col_max, col_spacing)
            return
        from flowstore.terminal import fit_lines

        for name, text in listed:
            for line, indent in ((name, self.current_indent), (text, self.current_indent + 4)):
                for part in fit_lines(line, self.width - indent).split("\n"):
                    self.write(f"{'':{indent}}{part.strip()}\n")


class FittedContext(click.Context):
    """Makes help pages that are no wider than the screen."""

    formatter_class = _Formatter
