"""``flowstore info``."""

from __future__ import annotations

import click

from flowstore.cli.console import print_json, print_shown
from flowstore.cli.options import Place


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
        print_shown(description.to_text())
    return 0
