"""The ``flowstore-export.json`` of an export: what it says, and what a later run learns from that of before."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from flowstore.errors import ArgumentError, ExportError
from flowstore.export.plan import ExportPlan
from flowstore.export.present import refuse_files_of_another_store, refuse_files_of_others
from flowstore.export.task import cannot_write
from flowstore.layouts.layout import MANIFEST
from flowstore.storage.atomic import is_stray, write_whole

# What has to be the same for files that are there to be left as they are.
_COMPARED = (
    "layout", "x_template", "y_template", "format", "packing", "first", "padded", "encoding", "bound_px", "quality",
    "short_side", "size", "step", "source_settings",
)  # fmt: skip
# Of these, what leads to other paths: the files of before would stay beside the new ones.
_OF_PATHS = ("x_template", "y_template")
# In the manifest of a folder that had files before: what is older is not of the export.
_SINCE = "files_since_ns"
# And whether that was to be replaced; when the stores were made whose videos are there.
_REPLACES, _STORES = "replaces_older", "stores_created"


@dataclass(frozen=True)
class Former:
    """What stands in a target, where an export may go on with it.

    Parameters
    ----------
    since_ns : int or None
        From when on files are of the export's settings, in nanoseconds; None if none is.
    noted : dict
        What the manifest is to say of that.
    """

    since_ns: int | None
    noted: dict[str, Any]


def check_former(planned: ExportPlan, overwrite: bool = False) -> Former:
    """Refuse a target that holds something with which an export does not go together.

    Parameters
    ----------
    planned : ExportPlan
        What is to be exported.
    overwrite : bool
        Whether files that are there are written anew.

    Returns
    -------
    Former

    Raises
    ------
    ArgumentError
        If it is an export of other settings, or of another store that has videos of the same names, or files of
        something else are in the way. Where files are written anew, if those of before stand at other paths.
    ExportError
        If what is there cannot be read.
    """
    try:
        before = _read_manifest(planned.dest)
    except ExportError:
        if not overwrite:
            raise
        before = {}
    manifest = planned.manifest()
    differ = {name for name in _COMPARED if name in before and before[name] != manifest[name]}
    is_elsewhere = not differ.isdisjoint(_OF_PATHS) or ("step" in differ and "{step}" in planned.layout.x_template)
    if is_elsewhere if overwrite else differ:
        listed = "; ".join(f"{name}: {before[name]} against {manifest[name]}" for name in _COMPARED if name in differ)
        advice = "remove this one: its files would stay among the new ones" if is_elsewhere else "--overwrite"
        raise ArgumentError(
            f"DEST {planned.dest} holds an export with other settings (there against here): {listed}. "
            f"Use another folder or {advice}"
        )
    return _find_former(planned, {} if overwrite else before, overwrite)


def start_manifest(planned: ExportPlan, manifest: dict[str, Any], is_overwriting: bool) -> tuple[int, bool]:
    """Write the manifest of an unfinished export.

    Parameters
    ----------
    planned : ExportPlan
        The export.
    manifest : dict
        What it says of the export; what it has to say of files of before is added.
    is_overwriting : bool
        Whether files that are there are written anew.

    Returns
    -------
    tuple
        From when on files are of these settings, in nanoseconds; and whether all that are there are older.

    Raises
    ------
    ArgumentError, ExportError
        As `check_former`; or if the target cannot be written.
    """
    target, former = planned.dest, check_former(planned, is_overwriting)
    try:
        os.makedirs(target, exist_ok=True)
    except OSError as error:
        raise cannot_write(target, error) from error
    manifest |= former.noted
    if former.since_ns is not None:
        write_manifest(target, manifest, former.since_ns, {"complete": False})
        return former.since_ns, False
    # Files of before can be anything. A run that is killed from here on leaves some of them: the next one tells them
    # by their age, measured with the clock of the file system.
    write_manifest(target, manifest, None, {"complete": False})
    try:
        since_ns = os.stat(os.path.join(target, MANIFEST)).st_mtime_ns
    except OSError as error:
        raise cannot_write(target, error) from error
    write_manifest(target, manifest, since_ns, {"complete": False})
    return since_ns, True


def _find_former(planned: ExportPlan, before: dict[str, Any], is_overwriting: bool) -> Former:
    since_ns = before.get(_SINCE, 0) if "layout" in before else None if _has_files(planned.dest) else 0
    since_ns = since_ns if type(since_ns) is int else None
    replaces_older = is_overwriting or before.get(_REPLACES) is True
    if since_ns != 0 and not replaces_older:
        refuse_files_of_others(planned, since_ns)
    own, stores = planned.store.root.created, before.get(_STORES)
    # An export that does not say of which stores it is was made before any did.
    stores = [str(created) for created in stores] if isinstance(stores, list) else [own]
    if own not in stores:
        refuse_files_of_another_store(planned)
    replaced = {} if since_ns == 0 else {_REPLACES: replaces_older}
    return Former(since_ns, {_STORES: sorted({own, *stores})} | replaced)


def _read_manifest(target: str) -> dict[str, Any]:
    path = os.path.join(target, MANIFEST)
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ExportError(f"{path}: cannot be read ({error}); remove it or use --overwrite") from error
    if not isinstance(found, dict):
        raise ExportError(f"{path}: not of an export; remove it or use --overwrite")
    return found


def _has_files(target: str) -> bool:
    try:
        return any(not is_stray(name) for name in os.listdir(target))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise cannot_write(target, error) from error


def write_manifest(target: str, manifest: dict[str, Any], since_ns: int | None, counts: dict[str, Any]) -> None:
    """Write the manifest: of the export, from when on files are of it (see `start_manifest`), and counts.

    Raises
    ------
    ExportError
        If it cannot be written.
    """
    since = {} if since_ns == 0 else {_SINCE: since_ns}
    write_own_file(target, MANIFEST, json.dumps(manifest | since | counts, indent=1))


def write_own_file(target: str, path: str, text: str) -> None:
    """Write a file of the export's own below its target, whole or not at all.

    Raises
    ------
    ExportError
        If it cannot be written.
    """
    try:
        place = os.path.join(target, path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        write_whole(place, os.fsencode(text))
    except OSError as error:
        raise cannot_write(target, error) from error
