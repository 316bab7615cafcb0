"""What stands already where an export would write: files of something else, which it must neither replace nor keep."""

from __future__ import annotations

import os
from collections.abc import Callable

from flowstore.errors import ArgumentError
from flowstore.export.plan import ExportPlan
from flowstore.export.task import ExportTask, can_be_of_flow, cannot_write, find_present
from flowstore.names import printable_name


def refuse_files_of_others(planned: ExportPlan, since_ns: int | None) -> None:
    """Refuse to replace files that no export wrote.

    Parameters
    ----------
    planned : ExportPlan
        The export.
    since_ns : int or None
        Files that are no older, in nanoseconds, are of the export; None if none is.

    Raises
    ------
    ArgumentError
        If one is there.
    ExportError
        If a folder cannot be listed.
    """
    found = _find(planned, lambda task, status: since_ns is None or status.st_mtime_ns < since_ns)
    if found:
        raise ArgumentError(
            f"DEST {planned.dest} has files of something else where this export would write, such as {found}: use "
            "another folder, or --overwrite to replace them"
        )


def refuse_files_of_another_store(planned: ExportPlan) -> None:
    """Refuse to take the files of another store's videos for those of videos of the same names.

    Raises
    ------
    ArgumentError
        If one is there that would be kept.
    ExportError
        If a folder cannot be listed.
    """
    found = _find(planned, can_be_of_flow)
    if found:
        raise ArgumentError(
            f"DEST {planned.dest} holds the export of another store, which has videos of the same names, such as "
            f"{found}: use another folder, or --overwrite to replace them"
        )


def _find(planned: ExportPlan, is_meant: Callable[[ExportTask, os.stat_result], bool]) -> str:
    try:
        paths = (path for task in planned.tasks for path, status in find_present(task) if is_meant(task, status))
        return printable_name(os.path.relpath(next(paths, planned.dest), planned.dest)).removeprefix(".")
    except OSError as error:
        raise cannot_write(planned.dest, error) from error
