"""``flowstore remove``."""

from __future__ import annotations

import click

from flowstore.cli.console import print_json, print_text, say, working
from flowstore.cli.options import Place, output_options


@click.command("remove")
@click.argument("places", type=Place(), nargs=-1, required=True, metavar="STORE/CLASS[/VIDEO]...")
@click.option("--dry-run", is_flag=True, help="Print what would be removed and do nothing.")
@output_options
def command(places: tuple[str, ...], dry_run: bool, is_json: bool, quiet: bool, verbose: bool) -> int:
    """Take videos, or all videos of a class, out of a store.

    The flow is deleted. A later extract of the same source computes it again.
    """
    from flowstore.errors import ArgumentError
    from flowstore.names import count_text, printable_name
    from flowstore.splits import select_inside
    from flowstore.store.open import FlowStore, open_inside
    from flowstore.store.removal import remove_videos

    found: dict[str, tuple[FlowStore, set[str]]] = {}
    for place in places:
        store, names = open_inside(place)
        if not names:
            raise ArgumentError(f"{place}: a whole store; name a class or a video in it, or delete the folder")
        _, paths = found.setdefault(store.url, (store, set()))
        paths |= set(select_inside(store, names).videos.column("path").tolist())
    n_removed = 0
    for store, paths in found.values():
        rows = [row for row, path in enumerate(store.videos.column("path").tolist()) if path in paths]
        if dry_run or verbose:
            for row in rows:
                say(f"{printable_name(store.videos[row]['class'])}/{printable_name(store.videos[row]['video'])}")
        if not dry_run:
            with working():
                remove_videos(store, rows)
        n_removed += len(rows)
    if is_json:
        print_json({"removed": 0 if dry_run else n_removed, "found": n_removed})
    elif not quiet:
        counted = count_text(n_removed, "video")
        print_text(f"{counted} would be removed" if dry_run else f"removed {counted}")
    return 0
