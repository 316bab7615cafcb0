"""Writing the flow images of one video: the task of an export that runs on a worker."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import cv2
import numpy as np
import numpy.typing as npt

from flowstore.decoding import configure_opencv
from flowstore.errors import ChecksumError, ExportError, FlowStoreError, StoreFormatError
from flowstore.layouts import Layout
from flowstore.quantize import Quantizer
from flowstore.scheduling import Tick
from flowstore.video import Video

_FLOWS_READ_AT_ONCE = 16


@dataclass(frozen=True)
class ExportTask:
    """One video to export. Picklable."""

    video: Video
    dest: str
    layout: Layout
    quantizer: Quantizer
    quality: int
    is_overwriting: bool


@dataclass(frozen=True)
class VideoExport:
    """What came of one video: images written, images that were there, and why it failed (else empty)."""

    key: str
    n_written: int = 0
    n_present: int = 0
    problem: str = ""


def write_whole(path: str, data: bytes) -> None:
    """Write a file so that it appears whole or not at all."""
    partial = f"{path}.{os.getpid()}.partial"
    try:
        with open(partial, "wb") as file:
            file.write(data)
        os.replace(partial, path)
    except BaseException:
        if os.path.exists(partial):
            os.unlink(partial)
        raise


def export_video(task: ExportTask, tick: Tick) -> VideoExport:
    """Export one video.

    Parameters
    ----------
    task : ExportTask
        What to do.
    tick : callable
        Called with the number of flows written.

    Returns
    -------
    VideoExport
        With a problem if stored bytes are damaged.

    Raises
    ------
    ExportError
        If the target cannot be written: a fault that other videos will meet too.
    """
    configure_opencv()
    key, n_written, n_present = task.video.key, 0, 0
    try:
        for path in task.layout.paths(task.video.class_name, task.video.name):
            os.makedirs(os.path.join(task.dest, os.path.dirname(path)), exist_ok=True)
        for paths, codes in _missing_images(task):
            for path, plane in zip(paths, codes, strict=True):
                if path:
                    write_whole(path, encode_jpeg(plane, task.quality))
                    n_written += 1
                else:
                    n_present += 1
            tick(1)
        _remove_beyond(task)
    except (ChecksumError, StoreFormatError) as error:
        return VideoExport(key, n_written, n_present, str(error))
    except OSError as error:
        if isinstance(error, FlowStoreError):
            raise
        hint = ": free some room and run again" if error.errno == errno.ENOSPC else ""
        raise ExportError(f"cannot write to {task.dest}: {error.strerror or error}{hint}") from error
    return VideoExport(key, n_written, n_present)


def _missing_images(task: ExportTask) -> Iterator[tuple[tuple[str, str], npt.NDArray[np.uint8]]]:
    """Yield, for each flow, the paths of its two images (empty where one is there already) and its codes."""
    video, step = task.video, task.video.settings.step
    for start in range(0, video.n_flows, _FLOWS_READ_AT_ONCE):
        stop = min(start + _FLOWS_READ_AT_ONCE, video.n_flows)
        numbers = range(start, stop)
        wanted = [
            _wanted_paths(task, task.layout.paths(video.class_name, video.name, number, step)) for number in numbers
        ]
        if not any(path for pair in wanted for path in pair):
            yield from ((("", ""), np.empty((2, 0, 0), np.uint8)) for _ in numbers)
            continue
        codes = video.read_codes(start, stop)
        if video.quantizer != task.quantizer:
            codes = task.quantizer.encode(video.quantizer.decode(codes))
        yield from zip(wanted, codes, strict=True)


def _wanted_paths(task: ExportTask, paths: tuple[str, ...]) -> tuple[str, str]:
    x_path, y_path = (os.path.join(task.dest, path) for path in paths)
    if task.is_overwriting:
        return x_path, y_path
    return "" if _is_current(task.video, x_path) else x_path, "" if _is_current(task.video, y_path) else y_path


def _is_current(video: Video, path: str) -> bool:
    # An image that is older than the video's commit shows a flow that was replaced.
    try:
        return os.stat(path).st_mtime >= datetime.fromisoformat(video.record.created).timestamp()
    except (FileNotFoundError, ValueError):
        return False


def _remove_beyond(task: ExportTask) -> None:
    # Readers count files: images of a longer flow that was here before would be taken for this video's.
    video, number = task.video, task.video.n_flows
    while True:
        paths = task.layout.paths(video.class_name, video.name, number, video.settings.step)
        found = [path for path in (os.path.join(task.dest, path) for path in paths) if os.path.exists(path)]
        if not found:
            return
        for path in found:
            os.unlink(path)
        number += 1


def encode_jpeg(plane: npt.NDArray[np.uint8], quality: int) -> bytes:
    """Return a gray image as a JPEG file.

    Parameters
    ----------
    plane : uint8 array (H, W)
        Gray levels.
    quality : int
        0 to 100.
    """
    is_encoded, data = cv2.imencode(".jpg", plane, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not is_encoded:
        raise ExportError(f"OpenCV cannot encode an image of {plane.shape[1]}×{plane.shape[0]} as JPEG")
    return data.tobytes()
