"""Lists of exported videos for training code: one line per video, and the classes that its labels number."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flowstore.errors import ArgumentError, FlowStoreWarning
from flowstore.export.task import ExportTask
from flowstore.layouts.layout import LISTS_FOLDER, Layout
from flowstore.names import count_text, printable_name
from flowstore.splits import Split, kinetics_fields, read_split, split_fields, warn_of_unmatched
from flowstore.store.open import FlowStore

# What the readers of a layout's lists do otherwise than mmaction2; see `list_files`.
_WITHOUT_ROOT = frozenset(("tsn",))
_COUNTED_TWICE = _OF_NUMBERED_FOLDERS = frozenset(("tsm-sthv1",))


@dataclass(frozen=True)
class VideoList:
    """One list to write.

    Parameters
    ----------
    name : str
        Of its file, without the extension.
    split : Split, optional
        The videos that belong to it; all by default.
    """

    name: str
    split: Split | None = None


def plan_lists(store: FlowStore, requests: Sequence[str], selected: FlowStore | None = None) -> tuple[VideoList, ...]:
    """Read what the lists are to hold."""
    exported = set(map(str, (store if selected is None else selected).videos.column("path")))
    lists, empty = [], []
    for request in requests:
        if request == "all":
            lists.append(VideoList("all"))
            continue
        for text in _each_part(request):
            split = read_split(text).match(store.videos)
            if exported.isdisjoint(split.rows):
                found = "is exported" if split.rows else f"is in {store.url}"
                empty.append(f"list {_list_name(text)}: none of the videos that {text} names {found}")
                continue
            warn_of_unmatched(split)
            lists.append(VideoList(_list_name(text), split))
    if empty and not lists:
        raise ArgumentError("; ".join(empty))
    for reason in empty:
        warnings.warn(f"{reason}; it is left out", FlowStoreWarning, stacklevel=2)
    names = [found.name for found in lists]
    for name in names:
        if names.count(name) > 1:
            raise ArgumentError(f"two lists would be {LISTS_FOLDER}/{name}.txt: ask for each list once")
    return tuple(lists)


def _each_part(request: str) -> list[str]:
    if request.partition(":")[0] in ("hmdb51", "ucf101") and split_fields(request)[2] is None:
        return [f"{request}:train", f"{request}:test"]
    return [request]


def _list_name(text: str) -> str:
    kind, _, rest = text.partition(":")
    if kind in ("hmdb51", "ucf101"):
        _, number, part = split_fields(text)
        return f"{kind}_{part}_split_{number}"
    path, kinetics_part = kinetics_fields(rest) if kind == "kinetics" else (rest, None)
    stem = re.sub(r"[^\w-]", "_", os.path.splitext(os.path.basename(path))[0])
    return "_".join([kind, stem, *([kinetics_part] if kinetics_part else [])])


def find_unlisted(tasks: Iterable[ExportTask], is_skipping: bool) -> dict[str, str]:
    """Return the keys, by path, of videos whose names no line of a list can hold; refuse them unless they are skipped.

    References
    ----------
    No reader knows quotes or escapes. mmaction2: ``RawframeDataset.load_data_list`` of 1.x splits at any white space
    and has no ``delimiter``, which is ``VideoDataset``'s alone. TSN's and TSM's ``dataset.py`` split at spaces.
    """
    unlisted: dict[str, str] = {}
    reasons, is_all = [], True
    for task in tasks:
        reason = _why_unlisted(task)
        if reason:
            unlisted[task.path] = task.video.key
            reasons.append(f"{task.video.key}: {reason}")
        else:
            is_all = False
    if reasons and (is_all or not is_skipping):
        more = f" (and {count_text(len(reasons) - 1, 'more video')})" if len(reasons) > 1 else ""
        skip = "" if is_all else ", leave such videos out of the lists (skip_unlisted, --skip-unlisted)"
        raise ArgumentError(f"{reasons[0]}{more}; rename{skip}, or leave out the lists")
    return unlisted


def _why_unlisted(task: ExportTask) -> str:
    where = list_place(task)
    if where != "".join(where.split()):
        name = "the folder of the export" if frame_dir(task) == "".join(frame_dir(task).split()) else "a name"
        return (
            f"a list cannot hold {name} with white space, at which its readers split lines: {printable_name(where)!r}"
        )
    if task.layout.name in _OF_NUMBERED_FOLDERS and not re.fullmatch(r"0\d{5}|[1-9]\d{5,}", where, re.ASCII):
        return (
            f"the reader of {task.layout.name} lists opens folders of numbers with six digits, such as 000042, and "
            f"would not find {printable_name(where)!r}"
        )
    return ""


def list_place(task: ExportTask) -> str:
    """Return what a line says of where a video's files are: `frame_dir`, absolute where the reader knows no root."""
    return os.path.join(task.dest, frame_dir(task)) if task.layout.name in _WITHOUT_ROOT else frame_dir(task)


def list_count(task: ExportTask) -> int:
    """Return the number of files that a line says: of a component, or of both where the reader halves it."""
    return task.n_flows * (2 if task.layout.name in _COUNTED_TWICE else 1)


def frame_dir(task: ExportTask) -> str:
    """Return what a line says of where a video's files are: its file or folder, relative to the root.

    Where x and y have folders of their own it is what their paths share: class and video.
    """
    return frame_dir_of(task.layout, task.video.class_name, task.video.name, task.video.settings.step)


def frame_dir_of(layout: Layout, class_name: str, video: str, step: int = 1) -> str:
    """Return `frame_dir` of a layout and names.

    Examples
    --------
    >>> from flowstore.layouts import LAYOUTS
    >>> [frame_dir_of(LAYOUTS[name], "wave", "v1") for name in ("mmaction2", "tsn", "twostream", "npy")]
    ['wave/v1', 'v1', 'v1', 'wave/v1.npy']
    """
    paths = layout.paths(class_name, video, 0, step)
    if not layout.is_numbered:
        return paths[0]
    folders = {os.path.dirname(path) for path in paths}
    if layout.has_own_folders and len(folders) == 1:
        return folders.pop()
    return f"{class_name}/{video}" if layout.has_class_folder else video


def list_files(
    lists: Iterable[VideoList], tasks: Mapping[str, ExportTask], classes: Sequence[str]
) -> dict[str, tuple[str, int]]:
    """Return the files of lists: their text and number of lines, by path relative to the root.

    Notes
    -----
    Lines are ``frame_dir total_frames label``, where the frames are those of the flow: what is counted is the files of
    a component, of both for TSM on Something-Something v1. TSN's paths are absolute. Beside each list stand its
    classes, ``label name`` a line, unless the split has labels without names.

    References
    ----------
    mmaction2: ``RawframeDataset.load_annotations`` joins paths to ``data_prefix``. TSN: ``dataset.py`` of
    yjxiong/tsn-pytorch opens paths as they stand. TSM: ``ops/dataset.py`` of mit-han-lab/temporal-shift-module joins
    them to its root, and for ``{:06d}-{}_{:05d}.jpg`` halves the count and opens ``{:06d}`` of the path.
    """
    files: dict[str, tuple[str, int]] = {}
    for wanted in lists:
        split = wanted.split
        names = classes if split is None or not split.classes else split.classes
        labels = {name: label for label, name in enumerate(names)}
        has_labels = (
            split is not None and not split.classes and any(line.label is not None for line in split.rows.values())
        )
        lines = []
        for path, task in sorted(tasks.items()):
            line = None if split is None else split.rows.get(path)
            if split is not None and line is None:
                continue
            label = line.label if line is not None and line.label is not None else labels[task.video.class_name]
            lines.append(f"{list_place(task)} {list_count(task)} {label}\n")
        files[f"{LISTS_FOLDER}/{wanted.name}.txt"] = "".join(lines), len(lines)
        if not has_labels:
            text = "".join(f"{label} {name}\n" for label, name in enumerate(names))
            files[f"{LISTS_FOLDER}/{wanted.name}_classes.txt"] = text, len(names)
    return files
