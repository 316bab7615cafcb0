"""Lists of exported videos for training code: a line a video, and the classes that its labels number."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flowstore.errors import ArgumentError
from flowstore.export.task import ExportTask
from flowstore.layouts.layout import LISTS_FOLDER, Layout
from flowstore.splits import Split, kinetics_fields, read_split, split_fields, warn_of_unmatched
from flowstore.store.open import FlowStore


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


def plan_lists(store: FlowStore, requests: Sequence[str]) -> tuple[VideoList, ...]:
    """Read what the lists are to hold.

    Parameters
    ----------
    store : FlowStore
        The store.
    requests : sequence of str
        ``all``; or a split, as `flowstore.splits.read_split` takes it, where HMDB51's and UCF101's without a
        part mean both, each a list.

    Raises
    ------
    ArgumentError
        If a request is of no such form, or two would get one file.
    SourceError
        If a split file cannot be read.
    """
    lists = []
    for request in requests:
        if request == "all":
            lists.append(VideoList("all"))
            continue
        for text in _each_part(request):
            split = read_split(text).match(store.videos)
            warn_of_unmatched(split)
            lists.append(VideoList(_list_name(text), split))
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


def check_list_names(tasks: Iterable[ExportTask]) -> None:
    """Refuse names that no line of a list can hold.

    Raises
    ------
    ArgumentError
        If a name has white space, at which the readers of lists split lines.
    """
    for task in tasks:
        if frame_dir(task) != "".join(frame_dir(task).split()):
            raise ArgumentError(
                f"{task.video.key}: a list cannot hold a name with white space, at which its readers split lines; "
                "rename the video, or leave out the lists"
            )


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

    Parameters
    ----------
    lists : iterable of VideoList
        What to write.
    tasks : mapping of str to ExportTask
        The exported videos, by the path of their groups.
    classes : sequence of str
        Numbered from 0 by labels, where a split has none of its own.

    Notes
    -----
    Lines are ``frame_dir total_frames label``, where the frames are those of the flow: what is counted is the files of
    a component. Beside each list stand its classes, ``label name`` a line, unless the split has labels without names.
    """
    files: dict[str, tuple[str, int]] = {}
    for wanted in lists:
        split = wanted.split
        names = split.classes if split and split.classes else classes
        labels = {name: label for label, name in enumerate(names)}
        has_labels = (
            split is not None and not split.classes and any(line.label is not None for line in split.rows.values())
        )
        lines = []
        for path, task in sorted(tasks.items()):
            line = split.rows.get(path) if split else None
            if split and line is None:
                continue
            label = line.label if line is not None and line.label is not None else labels[task.video.class_name]
            lines.append(f"{frame_dir(task)} {task.n_flows} {label}\n")
        files[f"{LISTS_FOLDER}/{wanted.name}.txt"] = "".join(lines), len(lines)
        if not has_labels:
            text = "".join(f"{label} {name}\n" for label, name in enumerate(names))
            files[f"{LISTS_FOLDER}/{wanted.name}_classes.txt"] = text, len(names)
    return files
