"""``flowstore info``."""

from __future__ import annotations

import click
from rich.console import Console

from flowstore.cli.console import print_json
from flowstore.cli.options import Place

_TABLE_WIDTH = 72
_PIPED_WIDTH = 10_000


@click.command("info")
@click.argument("store", type=Place())
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
def command(store: str, is_json: bool) -> int:
    """Show what is in STORE, STORE/CLASS or STORE/CLASS/VIDEO."""
    from flowstore.cli.description import describe_place

    description = describe_place(store)
    if is_json:
        print_json(description.to_json())
    else:
        console = Console(highlight=False)
        # A table that does not fit loses its first columns, and a name folded in two is not found by grep.
        console.width = max(console.width, _TABLE_WIDTH) if console.is_terminal else _PIPED_WIDTH
        console.print(description.to_text())
    return 0
