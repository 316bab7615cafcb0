"""The plan of an extraction: data that can be printed and refused before anything runs.

Looks at sources and at what the store holds already; writes nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from flowstore.arguments import ParameterValue, check_flag, check_part
from flowstore.errors import (
    ArgumentError,
    ChecksumError,
    FlowStoreError,
    SettingsMismatchError,
    StoreFormatError,
    StoreNotFoundError,
)
from flowstore.estimators.guests import guest_versions
from flowstore.estimators.protocol import Estimator
from flowstore.estimators.registry import default_params, is_guest, make_estimator, name_notes
from flowstore.format.root import RootAttributes, check_outside_stores, read_root
from flowstore.format.settings import IMPORTED, ExtractSettings, describe_settings
from flowstore.layouts.flow_names import flow_finder
from flowstore.layouts.templates import source_pattern
from flowstore.names import (
    count_text,
    escape_name,
    fold_name,
    format_bytes,
    format_duration,
    printable_name,
    video_path,
)
from flowstore.opencv import check_opencv
from flowstore.pipeline.clock import check_clock, store_rate, stored_rates, with_clock
from flowstore.pipeline.forecast import Estimate, estimate_work
from flowstore.sources.discovery import Discovery, discover
from flowstore.sources.selection import select_sources
from flowstore.sources.source import VideoSource
from flowstore.storage.keys import Storage
from flowstore.storage.local import is_case_blind
from flowstore.storage.places import check_place, open_storage, room_notes
from flowstore.store.open import Place
from flowstore.store.tree import read_record, video_paths
from flowstore.store.writer import is_intact

Verb = Literal["extract", "import"]
_State = Literal["absent", "changed", "damaged", "done", "failed", "kept"]


@dataclass(frozen=True)
class ExtractPlan:
    """What an extraction will do. Printable.

    Parameters
    ----------
    storage : Storage
        Of the store.
    settings : ExtractSettings
        What is computed.
    todo : tuple of VideoSource
        Videos to extract, longest first.
    done : tuple of VideoSource
        Videos that the store has already, unchanged.
    failed : tuple of VideoSource
        Videos that failed before and are left as they are.
    changed : tuple of VideoSource
        Those of `todo` whose source is not the one that the store was made from or whose files are damaged, and those
        that failed before and whose source, decoder or estimator is another now.
    notes : tuple of str
        What the user should know, a line each.
    is_new : bool
        Whether the store has to be made.
    is_overwritten : bool
        Whether the store is emptied first.
    estimate : Estimate
        Of `todo`.
    is_part : bool
        Whether other runs write other parts to the store, perhaps at the same time. Such a run leaves the index to one
        that is none: it is the only thing in a store that has more than one writer.
    verb : {"extract", "import"}
        What is done to a video.
    keep_damaged : bool
        Whether the flow of damaged videos is stored up to the damage.
    sources : tuple of str
        What the store is made of, once this run is done; none where that stays as the store states it.
    n_planned : int or None
        Videos that the store is to hold then, failed ones among them; None where that stays as the store states it.
    source_fps : float or None
        Frames per second of folders of frames, as it was said; None where that stays as the store states it.
    """

    storage: Storage
    settings: ExtractSettings
    todo: tuple[VideoSource, ...]
    done: tuple[VideoSource, ...]
    failed: tuple[VideoSource, ...]
    changed: tuple[VideoSource, ...]
    notes: tuple[str, ...]
    is_new: bool
    is_overwritten: bool
    estimate: Estimate
    is_part: bool = False
    verb: Verb = "extract"
    keep_damaged: bool = False
    sources: tuple[str, ...] = ()
    n_planned: int | None = None
    source_fps: float | None = None

    @classmethod
    def again(
        cls, storage: Storage, settings: ExtractSettings, sources: Iterable[VideoSource], keep_damaged: bool
    ) -> ExtractPlan:
        """Return the plan to make these videos of a store anew, whatever is there of them."""
        ordered = _longest_first(sources)
        return cls(
            storage=storage,
            settings=settings,
            todo=ordered,
            done=(),
            failed=(),
            changed=ordered,
            notes=(),
            is_new=False,
            is_overwritten=False,
            estimate=estimate_work(ordered, settings),
            keep_damaged=keep_damaged,
        )

    @property
    def stored(self) -> tuple[VideoSource, ...]:
        """Videos that the store has and that stay as they are."""
        return (*self.done, *self.failed)

    @property
    def n_videos(self) -> int:
        """Videos of the source that the run takes."""
        return len(self.todo) + len(self.done) + len(self.failed)

    def describe_time(self, scheduler: str, n_workers: int) -> str:
        """Return how long so many workers take, as text behind something; empty where that is not known."""
        if self.estimate.seconds is None or "://" in scheduler:
            return ""
        # Others wait for the longest video.
        longest = self.todo[0].cost / (sum(source.cost for source in self.todo) or 1.0)
        return f", about {format_duration(self.estimate.seconds * max(1 / n_workers, longest))}"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Return the plan as lines of text."""
        classes = {source.class_name for source in (*self.todo, *self.done, *self.failed)}
        settings = self.settings
        stored = f"{len(self.todo)} to {self.verb}, {len(self.done)} done"
        state = "new" if self.is_new else "emptied first" if self.is_overwritten else "resumed"
        whose = " (the store's)" if state == "resumed" else ""
        lines = [
            f"store:    {self.storage.url} ({state})",
            f"settings: {describe_settings(settings)}, step {settings.step}, compression {settings.compression}{whose}",
            f"videos:   {self.n_videos} in {count_text(len(classes), 'class')}: {stored}"
            + (f", {len(self.failed)} failed before (--retry-failed tries them again)" if self.failed else "")
            + (f"; {len(self.changed)} changed since and {self.verb}ed again" if self.changed else ""),
        ]
        if changed := _changed_params(settings):
            lines.insert(2, f"params:   {', '.join(f'{name} {value}' for name, value in changed.items())}")
        if self.todo:
            height, width = self.estimate.largest_frame
            is_sample = self.estimate.n_probed < len(self.todo)
            about = f", from a look at {count_text(self.estimate.n_probed, 'video')}" if is_sample else ""
            problem = f" (nothing could be measured: {self.estimate.problem})" if self.estimate.problem else ""
            how = f", a rough estimate{problem}"
            if self.estimate.seconds is not None:
                measured = count_text(self.estimate.n_measured, "flow")
                how = f" and {format_duration(self.estimate.seconds)} of one worker, as measured on {measured}"
            seen = " in those" if is_sample else ""
            lines += [
                f"estimate: {count_text(self.estimate.n_frames, 'frame')}, "
                f"about {format_bytes(self.estimate.size_bytes)} of flow{how}{about}",
                f"memory:   at most {format_bytes(self.estimate.memory_per_worker)} per worker process "
                f"(frames up to {width}×{height}{seen}; {format_bytes(self.estimate.memory_per_video)} per video)",
            ]
        return lines + [f"note:     {note}" for note in self._notes()]

    def _notes(self) -> list[str]:
        return [*self.notes, *room_notes(self.storage, self.estimate.size_bytes)]

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain JSON values."""
        return {
            "store": self.storage.url,
            "settings": self.settings.to_json(),
            "todo": [{"class": source.class_name, "video": source.name} for source in self.todo],
            "n_todo": len(self.todo),
            "n_done": len(self.done),
            "n_failed_before": len(self.failed),
            "n_changed": len(self.changed),
            "n_frames": self.estimate.n_frames,
            "size_bytes": self.estimate.size_bytes,
            "n_measured": self.estimate.n_measured,
            "worker_seconds": self.estimate.seconds,
            "memory_per_worker": self.estimate.memory_per_worker,
            "notes": self._notes(),
        }


def make_plan(
    discovery: Discovery,
    sources: Sequence[VideoSource],
    storage: Storage,
    settings: ExtractSettings,
    is_retrying: bool = False,
    is_overwriting: bool = False,
    verb: Verb = "extract",
    keep_damaged: bool = False,
) -> ExtractPlan:
    """Make the plan of an extraction."""
    check_flag("retry_failed", is_retrying)
    check_flag("overwrite", is_overwriting)
    check_flag("keep_damaged", keep_damaged)
    if not sources:
        raise ArgumentError(f"no video is left to {verb}: --select, --include, --exclude, --limit or --part leave none")
    if is_overwriting:
        _check_outside(sources, storage)
    notes = [*discovery.notes, *check_names(sources, storage), *name_notes(settings.algorithm)]
    notes += estimator_of(settings).notes
    is_new = not _has_store(storage, settings, is_overwriting)
    by_state: defaultdict[_State, list[VideoSource]] = defaultdict(list)
    guest = _guest_versions(settings)
    absent: Iterable[_State] = itertools.repeat("absent", len(sources))
    states = storage.map(lambda source: _stored_state(source, storage, guest), sources)
    for source, state in zip(sources, absent if is_new or is_overwriting else states, strict=True):
        by_state[state].append(source)
    changed = by_state["changed"] + by_state["damaged"]
    todo = by_state["absent"] + changed + (by_state["failed"] if is_retrying else [])
    ordered = _longest_first(todo)
    if settings.fps is not None and any(source.kind == "frames" and source.fps is None for source in ordered):
        raise ArgumentError(
            f"--fps {settings.fps:g} takes frames by a clock, which folders of frames do not have: give their frame "
            "rate by --source-fps"
        )
    if kept := by_state["kept"]:
        notes.append(f"{len(kept)} sources cannot be read any more; their stored flow is kept: {_listed(kept)}")
    if damaged := by_state["damaged"]:
        notes.append(f"{count_text(len(damaged), 'damaged video')} in the store, {verb}ed again: {_listed(damaged)}")
    if is_overwriting and not is_new:
        notes.append(_overwrite_note(storage, sources, len(sources) < len(discovery.sources)))
    if not is_new and not is_overwriting:
        notes += _version_notes(storage, settings)
    estimate = estimate_work(ordered, settings)
    return ExtractPlan(
        storage=storage,
        settings=settings,
        todo=ordered,
        done=(*by_state["done"], *kept),
        failed=() if is_retrying else tuple(by_state["failed"]),
        changed=tuple(changed),
        notes=tuple(notes),
        is_new=is_new,
        is_overwritten=is_overwriting and not is_new,
        estimate=estimate,
        verb=verb,
        keep_damaged=keep_damaged,
    )


def stating_target(
    planned: ExtractPlan,
    source: str | os.PathLike[str],
    targets: Sequence[VideoSource],
    everything: Sequence[VideoSource] | None,
    find: Callable[[str], Sequence[VideoSource]],
) -> ExtractPlan:
    """Add to a plan what the store will say of itself: its sources, and how many videos it is to hold.

    `targets` are the videos of all parts, `everything` those of the whole source, None where a list names some of them;
    `find` looks for those of another source. The last run over the only source says how many it has. One over some of
    them, or over another source, leaves what an earlier run has not finished, as far as sources still have it; and a
    source that is gone is forgotten once others have every video of the store, as after a move.
    """
    storage, place = planned.storage, os.path.abspath(source)
    paths = _paths(targets)
    if planned.is_new or planned.is_overwritten:
        return replace(planned, sources=(place,), n_planned=len(paths))
    root = read_root(storage)
    others = [path for path in video_paths(storage) if path not in paths]
    sizes = storage.map(lambda path: storage.size_bytes(f"{path}/zarr.json"), others)
    stored = {path for path, size in zip(others, sizes, strict=True) if size is not None}
    n_planned = len(paths) + len(stored)
    sources = (*(other for other in root.sources if other != place), place)
    is_all = everything is not None and len(everything) == len(targets)
    if sources == (place,) and is_all:
        return replace(planned, sources=sources, n_planned=n_planned)
    n_stated = max(n_planned, root.n_planned or 0)
    there = [other for other in sources if os.path.exists(other)]
    if everything is not None and (n_stated > n_planned or len(there) < len(sources)):
        with contextlib.suppress(FlowStoreError):
            found = _paths(everything).union(*(_paths(find(other)) for other in there if other != place))
            if stored <= found:
                n_stated, sources = max(n_planned, min(n_stated, len(found | paths))), tuple(there)
    return replace(planned, sources=sources, n_planned=n_stated)


def _paths(sources: Iterable[VideoSource]) -> set[str]:
    return {video_path(source.class_name, source.name) for source in sources}


def _changed_params(settings: ExtractSettings) -> dict[str, ParameterValue]:
    """Return the parameters that are not the algorithm's defaults."""
    if settings.algorithm == IMPORTED:
        return {}
    defaults = default_params(settings.algorithm, settings.engine)
    return {name: value for name, value in settings.params.items() if value != defaults.get(name)}


def _longest_first(sources: Iterable[VideoSource]) -> tuple[VideoSource, ...]:
    return tuple(sorted(sources, key=lambda source: (-source.cost, source.class_name, source.name)))


def _version_notes(storage: Storage, settings: ExtractSettings) -> list[str]:
    begun_with = read_root(storage).versions
    return [
        f"{name} is {found} here, and the store was begun with {begun_with[name]}: its flow may differ from now on"
        for name, found in _guest_versions(settings).items()
        if begun_with.get(name, found) != found
    ]


def _guest_versions(settings: ExtractSettings) -> dict[str, str]:
    is_own = settings.algorithm == IMPORTED or not is_guest(settings.algorithm)
    return {} if is_own else guest_versions(settings.algorithm)


def _stored_state(source: VideoSource, storage: Storage, guest: dict[str, str]) -> _State:
    try:
        record = read_record(storage, video_path(source.class_name, source.name))
    except (ChecksumError, StoreFormatError):
        return "damaged"
    if record is None:
        return "absent"
    if not is_intact(storage, record):
        return "damaged"
    if not record.is_ok:
        # What could not be read then has no fingerprint to compare; it is worth another try once it can be read.
        is_as_it_was = bool(source.problem) or source.is_untouched(record.fingerprint)
        has_same_versions = (source.decoder_versions() | guest).items() <= record.versions.items()
        return "failed" if is_as_it_was and has_same_versions else "changed"
    if source.is_unchanged(record.fingerprint):
        return "done"
    # Frames that were removed after their flow was stored, or a disk that is not mounted, must not cost the flow.
    return "changed" if source.is_readable() else "kept"


def _listed(sources: Sequence[VideoSource]) -> str:
    return ", ".join(source.key for source in sources[:5]) + (", ..." if len(sources) > 5 else "")


def _check_outside(sources: Iterable[VideoSource], storage: Storage) -> None:
    """Refuse to empty a store that holds what it is to be made of."""
    if storage.folder is None:
        return
    root = os.path.realpath(storage.folder)
    for path in sorted({source.path for source in sources}):
        if os.path.realpath(path).startswith(root.rstrip(os.sep) + os.sep):
            raise ArgumentError(
                f"STORE {storage.folder}: --overwrite would empty it, and with it {path}: move that out"
            )


def _overwrite_note(storage: Storage, sources: Sequence[VideoSource], is_selection: bool) -> str:
    stored = set(video_paths(storage))
    others = stored - {video_path(source.class_name, source.name) for source in sources}
    if others and is_selection:
        raise ArgumentError(
            f"--overwrite empties the store, and {len(others)} of its videos are not among those chosen: "
            "leave the choice out, or use another STORE"
        )
    return f"{count_text(len(stored), 'video')} in the store: deleted"


def _has_store(storage: Storage, settings: ExtractSettings, is_overwriting: bool) -> bool:
    check_place("STORE", storage)
    check_outside_stores("STORE", storage)
    try:
        root = read_root(storage)
    except StoreNotFoundError:
        return False
    if not is_overwriting:
        check_settings(storage, root, settings)
    return True


def estimator_of(settings: ExtractSettings) -> Estimator:
    """Return the estimator of some settings; of imported flow one that wants nothing."""
    if settings.algorithm == IMPORTED:
        return Estimator()
    return make_estimator(settings.algorithm, settings.engine, settings.params)


def check_settings(storage: Storage, root: RootAttributes, settings: ExtractSettings) -> None:
    """Refuse to add to a store that was made with other settings."""
    differences = root.settings.differences(settings, besides=estimator_of(settings).incidental)
    if differences:
        raise SettingsMismatchError(
            f"STORE {storage.url} was made with other settings (the store's against yours): {'; '.join(differences)}. "
            "Use the store's, another STORE, or --overwrite to make everything anew"
        )


def check_names(sources: Iterable[VideoSource], storage: Storage) -> list[str]:
    """Refuse videos that would share a place in the store."""
    by_name: defaultdict[tuple[str, str], list[VideoSource]] = defaultdict(list)
    # A class is a folder too: Wave/a and wave/b would land in one.
    folded: defaultdict[tuple[str, ...], dict[tuple[str, ...], str]] = defaultdict(dict)
    for source in sources:
        place = escape_name(source.class_name), escape_name(source.name)
        by_name[place].append(source)
        folded[fold_name(place[0]),].setdefault(place[:1], printable_name(source.class_name))
        folded[place[0], fold_name(place[1])].setdefault(place, source.key)
    shared = [same for same in by_name.values() if len(same) > 1]
    if shared:
        pairs = "; ".join(" and ".join(source.relative_path for source in same) for same in shared[:5])
        more = f"; and {len(shared) - 5} more" if len(shared) > 5 else ""
        raise ArgumentError(f"videos that would get one name: {pairs}{more}. Rename one of each, or use --exclude")
    close = sorted(key for places in folded.values() if len(places) > 1 for key in places.values())
    if not close:
        return []
    listed = ", ".join(close[:6]) + (", ..." if len(close) > 6 else "")
    if storage.folder is not None and is_case_blind(storage.folder):
        raise ArgumentError(
            f"names that differ only in case or Unicode form, which this file system does not keep apart: {listed}"
        )
    return [f"{len(close)} names differ only in case or Unicode form; a Mac or Windows disk cannot hold both: {listed}"]


def _clock_notes(planned: ExtractPlan, rates: set[float | None], rate: float | None, is_said: bool) -> list[str]:
    """Say where the clock of folders of frames is the store's, and where it is not the one that was asked for."""
    if is_said:
        texts = ["none" if other is None else f"{other:g}" for other in rates if other != rate]
        if not texts or not any(source.kind == "frames" for source in planned.done):
            return []
        others = " or ".join(sorted(texts))
        return [f"folders of frames that are done keep the frame rate that they were stored with: {others}"]
    if not any(source.kind == "frames" for source in planned.todo):
        return []
    if rate is not None:
        return [f"folders of frames get the store's frame rate, {rate:g}"]
    several = "folders of frames are stored with several frame rates, and get none here: --source-fps says it"
    return [several] if rates - {None} else []


def plan_extract(
    source: str | os.PathLike[str],
    store: Place,
    settings: ExtractSettings,
    *,
    source_template: str | None = None,
    allow_gaps: bool = False,
    source_fps: float | None = None,
    list_file: str | os.PathLike[str] | None = None,
    select: Sequence[str] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    limit: int | None = None,
    part: tuple[int, int] | None = None,
    retry_failed: bool = False,
    keep_damaged: bool = False,
    overwrite: bool = False,
) -> ExtractPlan:
    """Look at a source and a store and say what an extraction would do; writes nothing.

    Parameters
    ----------
    source : path
        See `flowstore.sources.discovery.discover`.
    store : path, URL or zarr store
        Existing or not.
    settings : ExtractSettings
        What to compute.
    source_template : str, optional
        What a video's path below the source is, such as ``{class}/*/{video}``; by default it is found by looking.
    allow_gaps : bool
        Whether frames whose numbers are no series of a constant stride are taken in natural order.
    source_fps : float, optional
        Frames per second of folders of frames, which have no clock of their own: times of flows are counted by it, and
        frames are thinned by it. By default that of the folders which the store has already.
    list_file, select, include, exclude, limit, part
        Which videos to take; see `flowstore.sources.selection.select_sources`.
    retry_failed : bool
        Whether failed videos are tried again.
    keep_damaged : bool
        Whether the flow of damaged videos is stored up to the damage; of those that failed before with `retry_failed`.
    overwrite : bool
        Whether the store is emptied first.

    Returns
    -------
    ExtractPlan

    Raises
    ------
    FlowStoreError
        If the source, the store or a choice cannot be used.
    """
    check_opencv()
    if part is not None:
        check_part(part)
    is_part = part is not None and part[1] > 1
    if is_part and overwrite:
        raise ArgumentError(
            "--overwrite with --part would empty what the other parts have made: remove the store first"
        )
    check_flag("allow_gaps", allow_gaps)
    pattern = None if source_template is None else source_pattern(source_template)
    discovery = discover(source, list_file, find_flow=flow_finder(), pattern=pattern, allow_gaps=allow_gaps)
    if source_fps is not None:
        check_clock(source_fps, discovery.sources)
    chosen = select_sources(discovery.sources, include, exclude, limit, part, select)
    if is_part:
        note = "a part leaves the index to a last run without --part, which also says whether anything is missing"
        discovery = replace(discovery, notes=(*discovery.notes, note))
    storage = open_storage(store, is_written=True)
    # Of all parts: one that was extracted elsewhere has said it for this one.
    rates = set() if overwrite else stored_rates(storage, discovery.sources if source_fps is None else chosen)
    said = None if source_fps is None else float(source_fps)
    rate = said if said is not None or overwrite else store_rate(storage, rates)
    chosen = with_clock(chosen, rate)
    planned = make_plan(discovery, chosen, storage, settings, retry_failed, overwrite, keep_damaged=keep_damaged)
    planned = replace(planned, notes=(*planned.notes, *_clock_notes(planned, rates, rate, said is not None)))
    targets = select_sources(discovery.sources, include, exclude, limit, None, select) if is_part else chosen

    def find(other: str) -> Sequence[VideoSource]:
        return discover(other, find_flow=flow_finder(), pattern=pattern, allow_gaps=allow_gaps).sources

    everything = None if list_file is not None else discovery.sources
    return stating_target(replace(planned, is_part=is_part, source_fps=said), source, targets, everything, find)
