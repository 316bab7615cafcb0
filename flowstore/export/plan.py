"""Planning an export: what is asked for becomes tasks, or a refusal. Reads the store and writes nothing."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from flowstore.arguments import check_flag, check_folder, check_texts, our_spelling
from flowstore.errors import ArgumentError, StoreError
from flowstore.export.conversion import Conversion
from flowstore.export.lists import VideoList, find_unlisted, plan_lists
from flowstore.export.paths import check_dest, check_outside_store, check_paths, check_sizes
from flowstore.export.task import ExportTask, VideoExport, read_values
from flowstore.format.settings import describe_settings
from flowstore.layouts.file_kind import FlowFile, VideoFile
from flowstore.layouts.layout import LISTS_FOLDER, MANIFEST, Layout
from flowstore.names import count_text, printable_name
from flowstore.opencv import check_opencv
from flowstore.quantize.code_encodings import CODE_ENCODINGS
from flowstore.quantize.file_quantizer import FLOAT_ENCODINGS, FileEncoding, FileQuantizer, has_bound
from flowstore.quantize.quantizer import Quantizer, check_bound
from flowstore.splits import select_videos
from flowstore.storage.local import LocalStorage
from flowstore.storage.places import room_notes
from flowstore.store.open import FlowStore

_I3D_BOUND_PX = 20.0
_N_SAMPLES = 24


@dataclass(frozen=True)
class ExportOptions:
    """What can be chosen about an export beside its layout.

    Parameters
    ----------
    encoding : str
        ``layout`` for the layout's own, ``keep`` for the stored codes, or one of
        `flowstore.quantize.file_quantizer.FileEncoding` that the layout's files can hold.
    bound : float, optional
        In pixels; the store's own by default, 20 for a float16 store and for the encodings of I3D.
    quality : int, optional
        JPEG quality, 0 to 100; the layout's own by default.
    image_format : {"jpg", "png"}, optional
        Of images, where they are to be others than the layout's.
    short_side : int, optional
        Resize pictures and vectors so that the shorter side has so many pixels.
    size : tuple of int, optional
        Resize them to ``(height, width)``.
    pad_last : bool
        Write the last flow again, so that there are as many flows as frames.
    class_folder : bool
        False leaves the folders of classes out, where the layout allows it.
    select : tuple of str
        Which videos; see `flowstore.splits.select_videos`.
    lists : tuple of str
        Lists to write; see `flowstore.export.lists.plan_lists`.
    skip_unlisted : bool
        Leave out of the lists, and of them alone, videos with names that no list can hold, such as with white space;
        such names are refused by default.
    overwrite : bool
        Write files anew that are there already, whatever they were made with.

    Raises
    ------
    ArgumentError
        If a value is of the wrong kind; what depends on the layout is refused by `plan_export`.
    """

    encoding: Literal["layout", "keep"] | FileEncoding = "layout"
    bound: float | None = None
    quality: int | None = None
    image_format: Literal["jpg", "png"] | None = None
    short_side: int | None = None
    size: tuple[int, int] | None = None
    pad_last: bool = False
    class_folder: bool = True
    select: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    skip_unlisted: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoding", our_spelling(self.encoding))
        for name in ("pad_last", "class_folder", "skip_unlisted", "overwrite"):
            check_flag(name, getattr(self, name))
        for name in ("select", "lists"):
            object.__setattr__(self, name, check_texts(name, getattr(self, name)))
        if self.bound is not None:
            check_bound(self.bound)
            object.__setattr__(self, "bound", float(self.bound))


@dataclass(frozen=True)
class ExportPlan:
    """What an export will do. Its text is what a dry run prints.

    Parameters
    ----------
    store : FlowStore
        Of the videos that go out.
    dest : str
        Absolute path of the root.
    layout : Layout
        As it will be written: quality, format and padding included.
    conversion : Conversion
        From stored codes to files.
    tasks : tuple of ExportTask
        One a video, the longest first.
    damaged : tuple of VideoExport
        Videos whose records cannot be read.
    lists : tuple of VideoList
        Lists to write.
    classes : tuple of str
        Of the store before any selection, sorted: what labels number.
    n_left_out : int
        Videos that have no flow, because they failed.
    select : tuple of str
        Which videos were asked for; all by default.
    unlisted : dict of str to str
        Keys, by path, of the videos that go out and are in no list: none can hold their names.
    """

    store: FlowStore
    dest: str
    layout: Layout
    conversion: Conversion
    tasks: tuple[ExportTask, ...]
    damaged: tuple[VideoExport, ...] = ()
    lists: tuple[VideoList, ...] = ()
    classes: tuple[str, ...] = ()
    n_left_out: int = 0
    select: tuple[str, ...] = ()
    unlisted: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def n_flows(self) -> int:
        """Flows that are written."""
        return sum(task.n_flows for task in self.tasks)

    @property
    def n_files(self) -> int:
        """Files that are written, without lists and manifest."""
        return sum(task.n_files for task in self.tasks)

    @property
    def encoding_note(self) -> str:
        """Whether codes go out unchanged, and if not by how much they can differ."""
        return describe_encoding(self.conversion, self.layout, {task.video.shape[2:] for task in self.tasks})

    @functools.cached_property
    def missing(self) -> str:
        """How many of the store's planned videos are missing, in words; empty where none is."""
        return self.store.missing

    def manifest(self) -> dict[str, Any]:
        """Return what ``flowstore-export.json`` says of the export's settings, as plain JSON values."""
        layout, conversion = self.layout, self.conversion
        return {
            "layout": layout.name,
            "x_template": layout.x_template,
            "y_template": layout.y_template or None,
            "format": layout.file_format,
            "packing": layout.packing,
            "first": layout.first,
            "padded": layout.is_padded,
            **conversion.exported.to_json(),
            "quality": None if layout.kind.is_lossless else layout.quality,
            "short_side": conversion.short_side,
            "size": list(conversion.size) if conversion.size else None,
            "step": self.store.settings.step,
            "source_settings": self.store.settings.to_json(),
            "select": list(self.select),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain JSON values."""
        return self.manifest() | {
            "dest": self.dest,
            "encoding_note": self.encoding_note,
            "videos": len(self.tasks),
            "flows": self.n_flows,
            "files": self.n_files,
            "lists": [f"{LISTS_FOLDER}/{found.name}.txt" for found in self.lists],
            "unlisted": list(self.unlisted.values()),
            "left_out": self.n_left_out,
            "missing": self.missing,
            "damaged": [failure.key for failure in self.damaged],
        }

    def estimate_bytes(self) -> int:
        """Return about how many bytes the files take: arrays exactly, images by encoding some flows of some videos."""
        n_values = sum(2 * int(np.prod(task.picture_size)) * task.n_flows for task in self.tasks)
        kind = self.layout.kind
        if isinstance(kind, VideoFile):
            return 4 * n_values + kind.overhead_bytes * self.n_files
        assert isinstance(kind, FlowFile)
        if not self.tasks:
            return 0
        stops = np.cumsum([task.video.n_flows for task in self.tasks])
        sample_bytes = sample_values = 0
        # Spread over all flows, not over videos, which are of different lengths.
        for at in ((np.arange(_N_SAMPLES) + 0.5) * (stops[-1] / _N_SAMPLES)).astype(int):
            number = int(np.searchsorted(stops, at, side="right"))
            task, index = self.tasks[number], int(at - stops[number]) + self.tasks[number].video.n_flows
            for values in read_values(task, index, index + 1):
                sample_bytes += sum(map(len, kind.encode(values, self.layout.packing, self.layout.quality)))
                sample_values += values.size
        return round(n_values * sample_bytes / sample_values)

    def room_notes(self) -> list[str]:
        """Return a note where the disk has less room than the files take; none of an export that goes on."""
        place = LocalStorage(self.dest)
        n_values = sum(2 * int(np.prod(task.picture_size)) * task.n_flows for task in self.tasks)
        free = place.room()
        # No kind of file takes more than 32 bits a number and some bytes each: only where room is short, flow is read.
        is_ample = free is None or free > 4 * n_values + 2**12 * self.n_files
        if is_ample or os.path.exists(os.path.join(self.dest, MANIFEST)):
            return []
        try:
            return room_notes(place, self.estimate_bytes())
        except StoreError:
            # Of a damaged store; the export names the videos.
            return []

    def __str__(self) -> str:
        store, layout = self.store, self.layout
        left_out = f"; {count_text(self.n_left_out, 'failed video')} left out" if self.n_left_out else ""
        size = {task.picture_size for task in self.tasks}
        sizes = ", ".join(f"{width}×{height}" for height, width in sorted(size)[:3]) + ("…" if len(size) > 3 else "")
        rows = [
            ("store", f"{store.url} ({describe_settings(store.settings)})"),
            ("dest", self.dest),
            ("layout", f"{layout.name}: {self._example()}"),
            ("encoding", self.encoding_note),
            (
                "videos",
                f"{len(self.tasks)}, {count_text(self.n_flows, 'flow')}{f' of {sizes}' if sizes else ''}{left_out}",
            ),
        ]
        if self.lists:
            rows.append(("lists", ", ".join(f"{LISTS_FOLDER}/{found.name}.txt" for found in self.lists)))
        if self.unlisted:
            rows.append(("unlisted", unlisted_text(self.unlisted)))
        if self.damaged:
            rows.append(("damaged", f"{count_text(len(self.damaged), 'video')} whose records cannot be read"))
        if self.missing:
            rows.append(("missing", self.missing))
        rows.append(("files", f"{self.n_files}"))
        return "\n".join(f"{name + ':':10}{text}" for name, text in rows)

    def _example(self) -> str:
        if not self.tasks:
            return self.layout.example
        video = self.tasks[0].video
        paths = self.layout.paths(video.class_name, video.name, 0, video.settings.step)
        return ", ".join(map(printable_name, paths))


def plan_export(
    store: FlowStore, dest: str | os.PathLike[str], layout: Layout, options: ExportOptions | None = None
) -> ExportPlan:
    """Plan an export."""
    options = options or ExportOptions()
    chosen = choose_layout(layout, options)
    chosen.kind.check_usable()
    exported = choose_quantizer(store.settings.quantizer, chosen, options)
    settings = store.settings
    conversion = Conversion(settings.quantizer, exported, options.short_side, options.size, settings.max_error_px)
    if options.encoding == "keep" and conversion.is_resizing:
        raise ArgumentError("resized flow has no stored codes to keep: leave out the size, or the encoding")
    if conversion.is_resizing:
        check_opencv()
    target = check_folder("DEST", dest)
    check_dest(target, store)
    selected = select_videos(store, options.select)
    lists = plan_lists(store, options.lists, selected)
    damaged: list[VideoExport] = []

    def take_damaged(path: str, error: StoreError) -> None:
        damaged.append(VideoExport(printable_name(path), problem=str(error)))

    tasks = [ExportTask(video, target, chosen, conversion) for video in selected.iter_videos(take_damaged)]
    tasks.sort(key=lambda task: -task.n_flows)
    check_paths(tasks, target, has_lists=bool(lists))
    check_outside_store(tasks, target, store)
    check_sizes(tasks)
    unlisted = find_unlisted(tasks, options.skip_unlisted) if lists else {}
    n_left_out = int((selected.videos.column("status") == "failed").sum())
    return ExportPlan(
        selected,
        target,
        chosen,
        conversion,
        tuple(tasks),
        tuple(damaged),
        lists,
        tuple(store.classes),
        n_left_out,
        options.select,
        unlisted,
    )


def unlisted_text(unlisted: Mapping[str, str]) -> str:
    """Say which videos no list can hold."""
    first = next(iter(unlisted.values()))
    return f"{count_text(len(unlisted), 'video')} with names that no list can hold, the first is {first}"


def choose_layout(layout: Layout, options: ExportOptions) -> Layout:
    """Return a layout with the options that change it."""
    if not options.class_folder:
        layout = layout.without_class_folder()
    if options.encoding in FLOAT_ENCODINGS and not layout.has_codes:
        layout = dataclasses.replace(layout, encoding=cast(FileEncoding, options.encoding))
    if options.image_format:
        layout = layout.with_image_format(options.image_format)
    if options.quality is not None:
        if layout.kind.is_lossless:
            raise ArgumentError(f"quality is of JPEG files, layout {layout.name} has {layout.file_format} files")
        layout = dataclasses.replace(layout, quality=options.quality)
    return dataclasses.replace(layout, is_padded=layout.is_padded or options.pad_last)


def choose_quantizer(stored: Quantizer, layout: Layout, options: ExportOptions) -> FileQuantizer:
    """Return the quantizer of the exported files."""
    encoding: FileEncoding = layout.encoding
    if options.encoding != "layout" and options.encoding != layout.encoding:
        if not layout.has_codes:
            raise ArgumentError(f"layout {layout.name} holds no codes: its encoding is i3d-float or pixels")
        if options.encoding == "keep":
            return _kept(stored, options.bound)
        if options.encoding not in CODE_ENCODINGS:
            expected = ", ".join(("layout", "keep", *CODE_ENCODINGS))
            raise ArgumentError(f"encoding is {options.encoding!r}, expected one of {expected}")
        encoding = options.encoding
    if not has_bound(encoding):
        return FileQuantizer(encoding, options.bound)
    default = _I3D_BOUND_PX if encoding.startswith("i3d") else stored.bound_px or 20.0
    return FileQuantizer(encoding, default if options.bound is None else options.bound)


def _kept(stored: Quantizer, bound: float | None) -> FileQuantizer:
    if stored.encoding == "float16":
        raise ArgumentError("a float16 store has no codes to keep: use the layout's encoding")
    if bound is not None and bound != stored.bound_px:
        raise ArgumentError(f"stored codes have the bound {stored.bound_px:g} px: leave out the bound to keep them")
    return FileQuantizer(stored.encoding, stored.bound_px)


def describe_encoding(conversion: Conversion, layout: Layout, sizes: Iterable[tuple[int, ...]]) -> str:
    """Say whether codes go out unchanged, and if not by how much they can differ."""
    stored, exported = conversion.stored, conversion.exported
    if conversion.is_identity:
        return f"{exported.encoding} codes as stored"
    resized = ", resized" if conversion.is_resizing else ""
    bound = f" ±{exported.bound_px:g} px" if exported.bound_px else ""
    if exported.dtype == np.uint8:
        differ = max((conversion.largest_code_difference(*size) for size in sizes), default=1)
        return (
            f"decoded from {stored.encoding}{resized} and encoded as {exported.encoding}{bound}, "
            f"within {differ} of the code of the float flow"
        )
    error_px = conversion.stored_error_px
    file_step = layout.kind.step_px
    rounding = f" and 1/{2 / file_step:g} px of rounding to 1/{1 / file_step:g} px" if file_step else ""
    origin = f"decoded from {stored.encoding}{resized}, "
    within = f"within {error_px:.3g} px of the float flow" if error_px else "the float16 flow"
    if conversion.is_resizing:
        within += " before resizing"
    name = "pixels" if exported.encoding == "pixels" else f"{exported.encoding}{bound}"
    return f"{name}, {origin}{within}{rounding}"
