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
    from flowstore.errors import ArgumentError, NameNotFoundError
    from flowstore.names import count_text, printable_name
    from flowstore.splits import select_inside
    from flowstore.store.open import FlowStore, open_inside
    from flowstore.store.removal import Names, names_of, remove_videos, removed_inside

    found: dict[str, tuple[FlowStore, set[Names]]] = {}
    for place in places:
        store, names = open_inside(place)
        if not names:
            raise ArgumentError(f"{place}: a whole store; name a class or a video in it, or delete the folder")
        _, chosen = found.setdefault(store.url, (store, set()))
        removed = removed_inside(store, names)
        chosen |= removed
        try:
            if len(names) == 1 or not removed:
                chosen |= {*names_of(select_inside(store, names).videos)}
        except NameNotFoundError:
            if not removed:
                raise
    n_removed = 0
    for store, chosen in found.values():
        if dry_run or verbose:
            for class_name, name in sorted(chosen):
                say(f"{printable_name(class_name)}/{printable_name(name)}")
        if not dry_run:
            with working():
                remove_videos(store, chosen)
        n_removed += len(chosen)
    if is_json:
        print_json({"removed": 0 if dry_run else n_removed, "found": n_removed})
    elif not quiet:
        counted = count_text(n_removed, "video")
        print_text(f"{counted} would be removed" if dry_run else f"removed {counted}")
    return 0
