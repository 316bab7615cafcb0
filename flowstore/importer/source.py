"""Reading the flow files of one video, flow by flow, whatever their layout. Memory is that of one flow."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np

from flowstore.errors import DecodeError, FlowStoreError
from flowstore.layouts.file_kind import MAX_PIXELS, FlowFile, FlowValues, VideoFile, VideoFlow
from flowstore.layouts.layout import Layout
from flowstore.layouts.templates import PathPattern
from flowstore.names import printable_name
from flowstore.quantize.file_quantizer import FileQuantizer
from flowstore.sources.fingerprint import SourceFiles, one_file, several_files
from flowstore.sources.images import check_frame_shape
from flowstore.sources.source import VideoSource


@dataclass(frozen=True, kw_only=True)
class FlowSource(VideoSource):
    """The flow files of one video.

    Parameters
    ----------
    layout : Layout
        Where they stand and how they encode flow.
    quantizer : FileQuantizer
        What their numbers mean.
    patterns : tuple of PathPattern
        Their paths below `path`, which is the root of the layout: of x and of y, or of the one file of both.
    n_files : int
        How many of each.
    step : int
        Distance of a flow's frames: where the layout is padded, so often the last flow stands again.
    """

    layout: Layout
    quantizer: FileQuantizer
    patterns: tuple[PathPattern, ...]
    n_files: int
    step: int = 1

    def paths(self, index: int) -> tuple[str, ...]:
        """Return the paths of a flow's files, relative to `path`."""
        return tuple(pattern.path(self.layout.first + index) for pattern in self.patterns)

    def iter_paths(self) -> Iterator[str]:
        """Yield the path of every file, relative to `path`."""
        for index in range(self.n_files):
            yield from self.paths(index)

    def files(self) -> SourceFiles:
        """Return the files that hold the flow."""
        if not self.layout.is_numbered:
            return one_file(os.path.join(self.path, self.paths(0)[0]))
        return several_files(self.path, self.iter_paths())

    def decoder_versions(self) -> dict[str, str]:
        """Return nothing: no decoder of others is asked."""
        return {}

    def probe(self, fps: float | None = None) -> tuple[int, int, int] | None:
        """Return ``(height, width, frames)`` as the first file says, None if it cannot be read."""
        try:
            return None if self.problem else probe_flow(self)
        except FlowStoreError:
            return None


# No file of one flow is larger: eight bytes a pixel in .flo, and room for headers.
_MAX_FILE_BYTES = 8 * MAX_PIXELS + 2**20


def read_flows(source: FlowSource) -> Iterator[FlowValues]:
    """Yield the flows of a video in order; a last one that stands again, for as many flows as frames, once."""
    if source.problem:
        raise DecodeError(source.problem)
    flows = _checked(_read_numbered(source) if source.layout.is_numbered else _read_video(source))
    if not source.layout.is_padded:
        yield from flows
        return
    # As many flows as frames: of step 2, the last one stands three times.
    n_added = source.step
    latest: deque[FlowValues] = deque()
    for flow in flows:
        latest.append(flow)
        if len(latest) > n_added + 1:
            yield latest.popleft()
    last = latest.popleft()
    yield last
    if len(latest) < n_added or not all(np.array_equal(last.values, added.values) for added in latest):
        times = "twice" if n_added == 1 else f"{n_added + 1} times, as it has to for step {n_added}"
        raise DecodeError(f"the last flow does not stand {times}: leave out --pad-last")


def read_part(source: FlowSource, start: float, n_flows: int) -> Iterator[FlowValues]:
    """Yield some flows of a video, from a share of its length on."""
    if source.problem:
        raise DecodeError(source.problem)
    if source.layout.is_numbered:
        first = int(start * source.n_files)
        for index in range(first, min(first + n_flows, source.n_files)):
            yield _read_one(source, source.paths(index))
        return
    with _open_video(source) as video:
        first = int(start * video.n_flows)
        for index in range(first, min(first + n_flows, video.n_flows)):
            yield FlowValues(video.read_flow(index))


def _checked(flows: Iterator[tuple[str, FlowValues]]) -> Iterator[FlowValues]:
    shape: tuple[int, ...] | None = None
    for name, flow in flows:
        shape = shape or flow.values.shape[1:]
        check_frame_shape(flow.values.shape[1:], shape, name)
        yield flow


def _read_numbered(source: FlowSource) -> Iterator[tuple[str, FlowValues]]:
    for index in range(source.n_files):
        paths = source.paths(index)
        yield printable_name(os.path.basename(paths[0])), _read_one(source, paths)


def _read_one(source: FlowSource, paths: tuple[str, ...]) -> FlowValues:
    parts = [_decode_file(source, path) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        if part.values.shape != parts[0].values.shape:
            (_, height, width), (_, x_height, x_width) = part.values.shape, parts[0].values.shape
            raise DecodeError(
                f"{printable_name(os.path.basename(path))} is {width}×{height}, its x is {x_width}×{x_height}"
            )
    return parts[0] if len(parts) == 1 else FlowValues(np.concatenate([part.values for part in parts]))


def _decode_file(source: FlowSource, path: str) -> FlowValues:
    kind = source.layout.kind
    assert isinstance(kind, FlowFile)
    with _opened(source.path, path) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if size_bytes > _MAX_FILE_BYTES:
            raise DecodeError(f"{size_bytes} bytes, expected at most {_MAX_FILE_BYTES} for one flow")
        return kind.decode(file.read(), source.layout.packing)


@contextlib.contextmanager
def _opened(root: str, path: str) -> Iterator[IO[bytes]]:
    """Open a file for reading; an error says which it is."""
    name, whole = printable_name(os.path.basename(path)), os.path.join(root, path)
    try:
        # Opening a pipe would wait for its other end.
        if not stat.S_ISREG(os.stat(whole).st_mode):
            raise DecodeError("not a regular file")
        with open(whole, "rb") as file:
            yield file
    except DecodeError as error:
        raise DecodeError(f"{name}: {error}") from error
    except OSError as error:
        raise DecodeError(f"{name} cannot be read: {error.strerror or error}") from error


@contextlib.contextmanager
def _open_video(source: FlowSource) -> Iterator[VideoFlow]:
    kind, (path,) = source.layout.kind, source.paths(0)
    assert isinstance(kind, VideoFile)
    with _opened(source.path, path) as file, kind.open(file.name, file) as video:
        yield video


def _read_video(source: FlowSource) -> Iterator[tuple[str, FlowValues]]:
    name = printable_name(os.path.basename(source.paths(0)[0]))
    with _open_video(source) as video:
        for index in range(video.n_flows):
            yield name, FlowValues(video.read_flow(index))


def probe_flow(source: FlowSource) -> tuple[int, int, int]:
    """Return ``(height, width, flows)`` of a video, from its first flow and its headers."""
    if source.problem:
        raise DecodeError(source.problem)
    if source.layout.is_numbered:
        height, width = _read_one(source, source.paths(0)).values.shape[1:]
        return height, width, source.n_files
    with _open_video(source) as video:
        return video.height, video.width, video.n_flows
