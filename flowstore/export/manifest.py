"""What stands where an export would write, and what becomes of it; writes the export's ``flowstore-export.json``.

No clock decides. The manifest names, for each video, the digest of the flow that its files are of:

====================================== ================================== =====================
the manifest says of a video           its files are there                with ``--overwrite``
====================================== ================================== =====================
the digest of its flow                 kept                               removed, written anew
another digest, of the same store      removed, written anew              removed, written anew
another digest, of another store       refused                            removed, written anew
nothing                                refused: files of something else   removed, written anew
that they are of before                removed, written anew              removed, written anew
====================================== ================================== =====================

A file that is not there is written. What is to be removed is noted first, and the digest of today stands in the
manifest only when that is done: whenever a run is killed, what the next one keeps is of the flow that is named.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from flowstore.errors import ArgumentError, ExportError
from flowstore.export.plan import ExportPlan
from flowstore.export.task import ExportTask, cannot_write, find_present
from flowstore.layouts.layout import MANIFEST
from flowstore.layouts.manifest import Manifest
from flowstore.names import printable_name
from flowstore.storage.atomic import is_stray, remove_if_there, write_whole

# What leads to other paths: the files of before would stay beside the new ones.
_OF_PATHS = {"x_template", "y_template"}
_ANOTHER_DIGEST = ""


@dataclass(frozen=True)
class Standing:
    """What stands in a target, where an export may go on with it.

    Parameters
    ----------
    manifest : Manifest
        Of the export, whose files are those of its videos once `renewed` is seen to.
    renewed : tuple of ExportTask
        Videos whose files have to be removed first.
    """

    manifest: Manifest
    renewed: tuple[ExportTask, ...]


def check_target(planned: ExportPlan, overwrite: bool = False) -> Standing:
    """Refuse a target that holds something with which an export does not go together; writes nothing."""
    try:
        before = _read(planned.dest)
    except ExportError:
        if not overwrite:
            raise
        before = Manifest(videos={})
    manifest = Manifest(planned.manifest())
    is_other = before is not None and _check_settings(planned, before, manifest, overwrite)
    videos = _stated_videos(planned, before)
    if is_other:
        videos = dict.fromkeys(videos)
    own = planned.store.root.created
    stores = (own,) if before is None or before.stores is None else before.stores
    is_empty = before is None and not _has_files(planned.dest)
    renewed = []
    for task in planned.tasks:
        if is_empty or (videos.get(task.key) == task.digest and not overwrite):
            continue
        path = _first_present(task)
        if path:
            if not overwrite:
                _check_may_renew(planned, path, task.key in videos, videos.get(task.key) is None or own in stores)
            renewed.append(task)
    digests = {task.key: task.digest for task in planned.tasks}
    return Standing(replace(manifest, videos=videos | digests, stores=tuple({own, *stores})), tuple(renewed))


def _check_settings(planned: ExportPlan, before: Manifest, manifest: Manifest, overwrite: bool) -> bool:
    """Refuse an export of other settings, and tell whether it is one that may be written over."""
    differ = before.differences(manifest)
    is_elsewhere = not _OF_PATHS.isdisjoint(differ) or ("step" in differ and "{step}" in planned.layout.x_template)
    if is_elsewhere if overwrite else differ:
        listed = "; ".join(f"{name}: {there} against {here}" for name, (there, here) in differ.items())
        advice = "remove this one: its files would stay among the new ones" if is_elsewhere else "--overwrite"
        raise ArgumentError(
            f"DEST {planned.dest} holds an export with other settings (there against here): {listed}. "
            f"Use another folder or {advice}"
        )
    return bool(differ)


def _stated_videos(planned: ExportPlan, before: Manifest | None) -> dict[str, str | None]:
    if before is None:
        return {}
    if before.videos is None:
        # A release that wrote down no digests: all of its files are an export's, of a flow that nobody knows.
        return dict.fromkeys((task.key for task in planned.tasks), _ANOTHER_DIGEST)
    return dict(before.videos)


def _check_may_renew(planned: ExportPlan, path: str, is_named: bool, is_own: bool) -> None:
    found = printable_name(os.path.relpath(path, planned.dest))
    if not is_named:
        raise ArgumentError(
            f"DEST {planned.dest} has files of something else where this export would write, such as {found}: use "
            "another folder, or --overwrite to replace them"
        )
    if not is_own:
        raise ArgumentError(
            f"DEST {planned.dest} holds the export of another store, which has videos of the same names, such as "
            f"{found}: use another folder, or --overwrite to replace them"
        )


def _first_present(task: ExportTask) -> str:
    with _writing_to(task.dest):
        return next(find_present(task), "")


def start_manifest(planned: ExportPlan, versions: dict[str, str], overwrite: bool) -> Manifest:
    """Write the manifest of an unfinished export, and remove what is written anew; see the module's table."""
    target, standing = planned.dest, check_target(planned, overwrite)
    manifest = standing.manifest.saying(versions=versions)
    unfinished = manifest.saying(complete=False)
    if standing.renewed:
        of_before: dict[str, None] = {task.key: None for task in standing.renewed}
        write_manifest(target, replace(unfinished, videos={**(manifest.videos or {}), **of_before}))
        with _writing_to(target):
            for path in itertools.chain.from_iterable(map(find_present, standing.renewed)):
                remove_if_there(path)
    write_manifest(target, unfinished)
    return manifest


@contextlib.contextmanager
def _writing_to(target: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(target, error) from error


def _read(target: str) -> Manifest | None:
    path = os.path.join(target, MANIFEST)
    try:
        with open(path, encoding="utf-8") as file:
            return Manifest.parse(file.read())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ExportError(f"{path}: cannot be read ({error}); remove it or use --overwrite") from error


def _has_files(target: str) -> bool:
    with _writing_to(target), contextlib.suppress(FileNotFoundError):
        return any(not is_stray(name) for name in os.listdir(target))
    return False


def write_manifest(target: str, manifest: Manifest) -> None:
    """Write the manifest; raises `ExportError` if it cannot be written."""
    write_own_file(target, MANIFEST, manifest.to_text())


def write_own_file(target: str, path: str, text: str) -> None:
    """Write a file of the export's own below its target, whole or not at all."""
    with _writing_to(target):
        place = os.path.join(target, path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        write_whole(place, os.fsencode(text))
