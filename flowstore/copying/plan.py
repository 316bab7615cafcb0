"""The plan of a copy: data that can be printed and refused before anything runs.

Looks at a store and at where it is to go; writes nothing. A copy has its source's root but for the compression, and by
that a second run knows its own copy.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from flowstore.arguments import check_path, check_positive
from flowstore.copying.task import VideoCopy, is_same_video, packed_size
from flowstore.errors import ArgumentError, ChecksumError, StoreError, StoreFormatError, StoreNotFoundError
from flowstore.format.codec import Compression
from flowstore.format.record import VideoRecord
from flowstore.format.root import RootAttributes, check_outside_stores, read_root
from flowstore.format.settings import ExtractSettings
from flowstore.names import count_text, escape_name, format_bytes, missing_text, printable_name, video_path
from flowstore.quantize.encoder import are_loops_compiled, compile_loops, has_numba
from flowstore.quantize.error_bounded import check_below_bound
from flowstore.storage.keys import Storage
from flowstore.storage.local import LocalStorage
from flowstore.storage.places import check_place, open_storage, room_notes
from flowstore.store.open import FlowStore, Place, open_store
from flowstore.store.tree import read_record, video_paths
from flowstore.store.video import Video
from flowstore.store.writer import is_intact

# Flows that are packed to see what a copy will take, one of so many at most, and for how long.
_N_SAMPLES, _FLOWS_A_SAMPLE, _SAMPLING_S = 24, 8, 1.0
_GOLDEN_SECTION = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class CopyPlan:
    """What a copy will do. Printable.

    Parameters
    ----------
    source : FlowStore
        What is copied.
    dest : Storage or str
        Where to; the path of a zip that is to be made.
    root : RootAttributes
        Of the copy.
    todo : tuple of VideoRecord
        Videos to copy, failed ones among them, largest first.
    done : tuple of str
        Paths of the videos that the target has already.
    n_others : int
        Videos of the target that are not among those to copy; they stay as they are.
    damaged : tuple of VideoCopy
        Videos of the source whose records cannot be read.
    is_new, is_overwritten : bool
        Whether the target has to be made, or is emptied first.
    missing : str
        How many of the store's planned videos are missing, in words; empty where none is.
    added_error_px : float or None
        How far from the stored flow codes may be that are chosen anew, in pixels; None where they stay.
    """

    source: FlowStore
    dest: Storage | str
    root: RootAttributes
    todo: tuple[VideoRecord, ...]
    done: tuple[str, ...]
    n_others: int
    damaged: tuple[VideoCopy, ...]
    is_new: bool
    is_overwritten: bool
    missing: str = ""
    added_error_px: float | None = None

    @property
    def dest_url(self) -> str:
        """Where the copy will be."""
        return self.dest if isinstance(self.dest, str) else self.dest.url

    @property
    def compression(self) -> Compression | None:
        """What chunks are packed anew with; None where they are copied as they are."""
        wanted = self.root.settings.compression
        return None if wanted == self.source.settings.compression else wanted

    @property
    def keys(self) -> list[str]:
        """``class/video`` of each video to copy, in one line, for people."""
        return [f"{printable_name(record.class_name)}/{printable_name(record.name)}" for record in self.todo]

    @property
    def n_done(self) -> int:
        """Videos that the target has already."""
        return len(self.done)

    @property
    def n_flows(self) -> int:
        """Flows to copy."""
        return sum(record.n_flows for record in self.todo)

    @property
    def is_packed_anew(self) -> bool:
        """Whether flow is packed, and not copied as it is."""
        return self.compression is not None or self.added_error_px is not None

    @functools.cached_property
    def is_sampled(self) -> bool:
        """Whether `size_bytes` is an estimate, by packing some flows; kernels are not compiled for it."""
        is_slow = self.added_error_px is not None and has_numba() and not are_loops_compiled(True)
        return self.is_packed_anew and not is_slow

    @functools.cached_property
    def size_bytes(self) -> int:
        """Bytes of flow that the copy takes, where it is not sampled as the source has packed them."""
        stored_bytes = sum(record.size_bytes for record in self.todo)
        if not self.is_sampled:
            return stored_bytes
        if self.added_error_px is not None and has_numba():
            compile_loops(True)
        settings, storage = self.root.settings, self.source.storage
        records = [record for record in self.todo if record.n_flows]
        stops = np.cumsum([record.n_flows * record.height * record.width for record in records])
        until = perf_counter() + _SAMPLING_S
        shares = []
        for number in range(min(_N_SAMPLES, math.ceil(self.n_flows / _FLOWS_A_SAMPLE))):
            at = (0.5 + number * _GOLDEN_SECTION) % 1.0 * float(stops[-1])
            index = int(np.searchsorted(stops, at, side="right"))
            record = records[index]
            n_pixels = record.height * record.width
            flow = record.n_flows - 1 - int((float(stops[index]) - at) / n_pixels)
            video = Video(storage, _path(record), record, self.source.settings)
            # What is damaged is not copied.
            with contextlib.suppress(StoreError):
                size_bytes = packed_size(video, max(0, flow), settings.compression, self.added_error_px)
                shares.append(size_bytes / n_pixels)
            if perf_counter() > until:
                break
        return round(float(stops[-1]) * float(np.mean(shares))) if shares else stored_bytes

    def lines(self) -> list[str]:
        """Return the plan as lines of text."""
        state = "new" if self.is_new else "emptied first" if self.is_overwritten else "resumed"
        is_anew = self.is_packed_anew
        how = f"packed anew, {self.root.settings.compression}" if is_anew else "chunks as they are"
        word = "about " if self.is_sampled else "at most " if is_anew else ""
        lines = [
            f"from:   {self.source.url}",
            f"to:     {self.dest_url} ({state})",
            f"videos: {len(self.todo)} to copy, {self.n_done} done; {count_text(self.n_flows, 'flow')}, "
            f"{word}{format_bytes(self.size_bytes)} ({how})",
        ]
        if self.added_error_px is not None:
            lines.append(
                f"note:   codes are chosen anew, up to {self.added_error_px:g} px from the stored flow; on top of its "
                f"own {self.source.settings.largest_error_px:.4g} px that is {self.root.settings.max_error_px:.4g} px"
            )
        if self.n_others:
            lines.append(f"note:   {count_text(self.n_others, 'other video')} in the target: left as they are")
        if self.damaged:
            lines.append(f"note:   {count_text(len(self.damaged), 'video')} with a damaged record cannot be copied")
        # A zip takes the room of its folder, where it is made beside its place.
        place = LocalStorage(os.path.dirname(self.dest)) if isinstance(self.dest, str) else self.dest
        lines += [f"note:   {note}" for note in room_notes(place, self.size_bytes)]
        return lines

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain JSON values."""
        return {
            "store": self.source.url,
            "dest": self.dest_url,
            "compression": self.root.settings.compression,
            "max_error_px": self.root.settings.max_error_px,
            "todo": [{"class": record.class_name, "video": record.name} for record in self.todo],
            "n_todo": len(self.todo),
            "n_done": self.n_done,
            "n_others": self.n_others,
            "missing": self.missing,
            "n_flows": self.n_flows,
            "size_bytes": self.size_bytes,
        }


def plan_copy(
    store: Place | FlowStore,
    dest: Place,
    compression: Compression | None = None,
    select: Sequence[str] = (),
    overwrite: bool = False,
    max_error: float | None = None,
) -> CopyPlan:
    """Look at a store and at where it is to go, and say what a copy would do; writes nothing."""
    source = store if isinstance(store, FlowStore) else open_store(store)
    settings = source.settings if compression is None else replace(source.settings, compression=compression)
    if max_error is not None:
        settings = replace(settings, max_error_px=_total_error(source.settings, max_error))
        check_below_bound(settings.quantizer, settings.max_error_px)
    root = replace(source.root, settings=settings)
    target, zip_path = _open_target(dest)
    _check_apart(source.storage, target)
    state, n_planned_before = _look_at_target(target, root, overwrite)
    damaged: list[VideoCopy] = []
    records = _chosen_records(store, source, select, damaged)
    todo, n_others = records, 0
    if state == "resumed":
        todo = _missing(target, records)
        n_others = len({*video_paths(target)} - {_path(record) for record in records})
    if zip_path and state == "resumed" and (todo or n_others):
        raise ArgumentError(
            f"DEST {target.url}: a zip with other videos ({len(todo)} are not in it, {n_others} of it not among those "
            "to copy), and a zip is never changed in place: give another name, or --overwrite to make it anew"
        )
    # The whole copy of a store that states no plan is that store, byte for byte.
    n_planned = root.n_planned
    n_there = len(records) + len(damaged)
    missing = missing_text(n_planned, max(0, (n_planned or 0) - n_there))
    if select or isinstance(store, FlowStore):
        missing = source.missing
        n_planned = max(n_there + n_others, n_planned_before)
    elif n_planned is not None:
        n_planned = max(n_there, n_planned) + n_others
    return CopyPlan(
        source=source,
        dest=zip_path or target,
        root=replace(root, n_planned=n_planned),
        todo=tuple(sorted(todo, key=lambda record: (-record.size_bytes, record.class_name, record.name))),
        done=tuple(sorted({_path(record) for record in records} - {_path(record) for record in todo})),
        n_others=n_others,
        damaged=tuple(damaged),
        is_new=state == "new",
        is_overwritten=state == "overwritten",
        missing=missing,
        added_error_px=None if max_error is None else float(max_error),
    )


def _total_error(stored: ExtractSettings, max_error: float) -> float:
    """Return the largest error of a store's codes once they are chosen anew."""
    check_positive("max error in pixels", max_error)
    step_px, own_px = stored.quantizer.scale, stored.largest_error_px
    if own_px is None:
        raise ArgumentError("float16 stores pixels as they are and takes no max error: it is for uint8")
    if max_error < step_px:
        raise ArgumentError(
            f"max error is {max_error:.6g} px, expected at least a step between stored codes: {step_px:.6g} px"
        )
    return own_px + float(max_error)


def _open_target(dest: Place) -> tuple[Storage, str]:
    """Return the storage to look at, and the path where it is a zip that is to be made."""
    path = check_path("DEST", dest) if isinstance(dest, str | os.PathLike) else ""
    if not path.endswith(".zip") or os.path.isdir(path):
        return open_storage(dest, is_written=True), ""
    if "://" in path:
        raise ArgumentError(f"DEST {path}: a zip is made on a disk; copy to a local .zip, then upload that file")
    return open_storage(path), os.path.abspath(path)


def _path(record: VideoRecord) -> str:
    return video_path(record.class_name, record.name)


def _check_apart(source: Storage, target: Storage) -> None:
    ours, theirs = _place(source), _place(target)
    if ours is None or theirs is None:
        return
    is_same = ours == theirs or (os.path.exists(ours) and os.path.exists(theirs) and os.path.samefile(ours, theirs))
    if is_same:
        raise ArgumentError(f"DEST {target.url} is STORE itself; give another place")
    for outer, inner in ((ours, theirs), (theirs, ours)):
        if inner.startswith(outer.rstrip("/") + "/"):
            raise ArgumentError(f"DEST {target.url} and STORE {source.url}: one lies in the other; give another place")


def _place(storage: Storage) -> str | None:
    """Return where a storage is, the same for the same place; None for one that has no name."""
    if storage.is_near:
        return os.path.realpath(storage.url)
    return storage.url if "://" in storage.url else None


def _look_at_target(target: Storage, root: RootAttributes, is_overwriting: bool) -> tuple[str, int]:
    """Return whether the target is ``new``, ``overwritten`` or ``resumed``, and its planned videos; refuse others."""
    check_place("DEST", target)
    check_outside_stores("DEST", target)
    try:
        found = read_root(target)
    except StoreNotFoundError:
        return "new", 0
    if is_overwriting:
        return "overwritten", 0
    check_same(target, found, root)
    return "resumed", found.n_planned or 0


def check_same(target: Storage, found: RootAttributes, root: RootAttributes) -> None:
    """Refuse to add to a store that is not a copy of the same."""
    hint = "give another place, or --overwrite to replace what is there"
    differences = found.settings.differences(root.settings)
    if differences:
        raise ArgumentError(
            f"DEST {target.url} holds a store of other settings (there against the copy): {'; '.join(differences)}; "
            + hint
        )
    if found != root:
        raise ArgumentError(
            f"DEST {target.url} holds another store (made {found.created}; STORE was made {root.created}): {hint}"
        )


def _chosen_records(
    store: Place | FlowStore, source: FlowStore, select: Sequence[str], damaged: list[VideoCopy]
) -> list[VideoRecord]:
    # The tree is the truth, but a selection is made of the index.
    is_selection = isinstance(store, FlowStore)
    paths = source.videos.column("path").tolist() if is_selection else video_paths(source.storage)
    if select:
        prefixes = tuple(f"{escape_name(source[name].name)}/" for name in select)
        paths = [path for path in paths if path.startswith(prefixes)]

    def read(path: str) -> VideoRecord | VideoCopy | None:
        try:
            return read_record(source.storage, path)
        except (ChecksumError, StoreFormatError) as error:
            return VideoCopy(printable_name(path), problem=str(error))

    found = list(source.storage.map(read, paths))
    damaged += [item for item in found if isinstance(item, VideoCopy)]
    return [item for item in found if isinstance(item, VideoRecord)]


def _missing(target: Storage, records: Sequence[VideoRecord]) -> list[VideoRecord]:
    def is_copied(record: VideoRecord) -> bool:
        try:
            found = read_record(target, _path(record))
        except (ChecksumError, StoreFormatError):
            return False
        return found is not None and is_same_video(found, record) and is_intact(target, found)

    return [record for record, is_there in zip(records, target.map(is_copied, records), strict=True) if not is_there]
