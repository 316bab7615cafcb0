"""Convert a dataset: videos to a store, checked, counted, and written out as lists and flow images for older code.

    python examples/convert_dataset.py hmdb51/ converted/ --split hmdb51:splits/:1
    python examples/convert_dataset.py my_videos/ converted/ --hold-out 4 --layout mmaction2 --bound 32

It makes ``converted/flow.zarr`` and ``converted/flow_images/`` with ``annotations/`` in it. Run again after a crash, it
goes on where it was stopped. Each step is one call of flowstore: leave out what you do not need, and put your own in
between. Exit codes are those of the command line: 0 all well, 1 some videos failed or a check found a fault, 2 refused.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from rich.console import Console

from flowstore import FlowStore, FlowStoreError, open_store
from flowstore.export import export
from flowstore.pipeline import extract
from flowstore.progress import ConsoleProgress
from flowstore.stats import stats
from flowstore.verify import verify

# A bound that clips more of the values than this takes fast motion away: extract again with a larger one.
CLIPPED_ALLOWED = 0.001


def hold_out(store: FlowStore, every: int, folder: str) -> list[str]:
    """Write lists in which one video in `every` of each class is for testing; return how flowstore names them.

    Videos that were cut from one recording belong on one side: here they are told apart by name alone, so hold out by
    group where your names have groups, as UCF101's ``_g08_`` and HMDB51's own splits do.
    """
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for label, class_name in enumerate(store):
        names = [video.name for video in store.select(label=class_name).iter_videos() if video.n_flows]
        for number, name in enumerate(names):
            part = "test" if number % every == every - 1 else "train"
            lines[part].append(f"{class_name}/{name} {label}\n")
    os.makedirs(folder, exist_ok=True)
    paths = {part: os.path.join(folder, f"{part}.txt") for part in lines}
    for part, path in paths.items():
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(lines[part])
    return [f"mmaction2:{path}" for path in paths.values()]


def convert(source: str, target: str, options: argparse.Namespace) -> bool:
    """Run all steps; return whether all is well."""
    place = os.path.join(target, "flow.zarr")
    console = Console(stderr=True)

    # 1. Videos to a store. A video that cannot be decoded is kept as a failed row, and the others go on.
    extracted = extract(
        source,
        place,
        bound=options.bound,
        short_side=options.short_side,
        workers=options.workers,
        progress=ConsoleProgress(console, "extracting"),
    )
    print(f"extracted: {extracted}")
    for record in extracted.failures:
        print(f"  failed: {record.class_name}/{record.name}: {record.reason}")

    # 2. Is everything there, as it was written? Three videos are extracted anew and compared.
    checked = verify(place, source=source, deep=True, sample=3, workers=options.workers)
    print(f"checked: {checked}")
    for fault in checked.faults:
        print(f"  fault: {fault}")
    is_well = extracted.is_all_well and checked.is_all_well

    # 3. Was the bound large enough? And what to normalize with.
    store = open_store(place)
    counted = stats(store, sample=options.sample, workers=options.workers)
    clipped = counted.overall.clipped_share
    print(f"motion: {counted.overall.mean_magnitude_px:.2f} px on average, ±{options.bound:g} px clips {clipped:.3%}")
    print(f"normalize: mean {counted.overall.channels.mean_px}, deviation {counted.overall.channels.std_px} (pixels)")
    if clipped > CLIPPED_ALLOWED:
        print(f"  that is more than {CLIPPED_ALLOWED:.1%}: think of a larger --bound", file=sys.stderr)

    # 4. Lists, and flow images for code that reads folders. A store needs neither: see train_two_stream.py.
    lists = list(options.split)
    if options.hold_out:
        lists += hold_out(store, options.hold_out, os.path.join(target, "splits"))
    exported = export(
        store, os.path.join(target, "flow_images"), options.layout, lists=tuple(lists), workers=options.workers
    )
    print(f"exported: {exported}")
    return is_well and exported.is_all_well


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="folder of class/video.avi or class/video/*.jpg")
    parser.add_argument("target", help="folder to make")
    parser.add_argument("--bound", type=float, default=20.0, help="pixels; see choose_bound_and_compression.ipynb")
    parser.add_argument("--short-side", type=int, help="resize frames so that the shorter side has so many pixels")
    parser.add_argument("--layout", default="mmaction2", help="of the export: flowstore export --list-layouts")
    parser.add_argument("--split", action="append", default=[], help="hmdb51:FOLDER:1, ucf101:FOLDER:1, mmaction2:FILE")
    parser.add_argument("--hold-out", type=int, metavar="N", help="without a split: one video in N is for testing")
    parser.add_argument("--sample", type=int, default=20, help="flows of each video that are counted")
    parser.add_argument("--workers", type=int, help="all cores by default")
    options = parser.parse_args(arguments)
    if options.split and options.hold_out:
        parser.error("--split and --hold-out exclude each other")
    if options.hold_out is not None and options.hold_out < 2:
        parser.error("--hold-out takes 2 or more")
    try:
        return 0 if convert(options.source, options.target, options) else 1
    except FlowStoreError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    # Worker processes import this file: what starts them stands behind this line.
    sys.exit(main())
