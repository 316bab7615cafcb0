"""One video of a store: flow in pixels or codes, read by the direct reader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore import documents
from flowstore.documents import FLOW
from flowstore.errors import ArgumentError, ChecksumError, FailedVideoError, StoreFormatError
from flowstore.model import VideoRecord
from flowstore.names import printable_name
from flowstore.quantize import Quantizer
from flowstore.settings import ExtractSettings, describe_settings
from flowstore.shards import chunk_span, decode_chunks, index_size, parse_shard_index
from flowstore.storage import Storage

Flow = npt.NDArray[np.float32]
Codes = npt.NDArray[Any]


class Video:
    """One video's flow: a sequence of ``(2, H, W)`` arrays in pixels. Picklable; holds no open file.

    Parameters
    ----------
    storage : Storage
        Of the store.
    path : str
        Of the video's group, escaped.
    record : VideoRecord
        What the store says of it.
    settings : ExtractSettings
        Of the store.

    Notes
    -----
    ``video[10:20]`` is float32 ``(10, 2, H, W)`` in pixels, component 0 = x (right), 1 = y (down): ``flow[i]`` is
    the motion from frame ``i`` to frame ``i + step``. ``video.codes[10:20]`` is the same as stored. Many clips at
    once are read best with `FlowStore.read_clips`.
    """

    def __init__(self, storage: Storage, path: str, record: VideoRecord, settings: ExtractSettings) -> None:
        self._storage = storage
        self._path = path
        self.record = record
        self.settings = settings
        self._layout: documents.FlowLayout | None = None

    @property
    def name(self) -> str:
        """Original name."""
        return self.record.name

    @property
    def class_name(self) -> str:
        """Original name of the class."""
        return self.record.class_name

    @property
    def key(self) -> str:
        """The video's ``class/name`` in one line, for people."""
        return f"{printable_name(self.class_name)}/{printable_name(self.name)}"

    @property
    def quantizer(self) -> Quantizer:
        """How its codes were made."""
        return self.settings.quantizer

    @property
    def n_flows(self) -> int:
        """Number of flows; 0 for a failed video."""
        return self.record.n_flows

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(n_flows, 2, height, width)``."""
        return self.record.n_flows, 2, self.record.height, self.record.width

    @property
    def size_text(self) -> str:
        """``WIDTH×HEIGHT``, for messages."""
        return f"{self.record.width}×{self.record.height}"

    @property
    def fps(self) -> float | None:
        """Frames a second, where the source had a clock."""
        return self.record.fps

    def __len__(self) -> int:
        return self.n_flows

    @property
    def codes(self) -> VideoCodes:
        """The flow as stored: ``video.codes[10:20]`` is uint8 (or float16) ``(10, 2, H, W)``."""
        return VideoCodes(self)

    def __getitem__(self, key: Any) -> Flow:
        """Return flow in pixels: float32, indexed as an array ``(n_flows, 2, H, W)``."""
        return self.quantizer.decode(self.codes[key])

    def __iter__(self) -> Iterator[Flow]:
        return (self[number] for number in range(len(self)))

    def read(self, start: int, stop: int, out: Flow | None = None) -> Flow:
        """Read flows ``[start, stop)`` in pixels.

        Parameters
        ----------
        start, stop : int
            First flow, and the one after the last.
        out : float32 array (stop - start, 2, H, W), optional
            Where to write them.

        Returns
        -------
        float32 array (stop - start, 2, H, W)
        """
        return self.quantizer.decode(self.read_codes(start, stop), out=out)

    def read_codes(self, start: int, stop: int, out: Codes | None = None) -> Codes:
        """Read flows ``[start, stop)`` as stored.

        Parameters
        ----------
        start, stop : int
            First flow, and the one after the last, ``0 <= start <= stop <= n_flows``.
        out : uint8 or float16 array (stop - start, 2, H, W), C-contiguous, optional
            Where to write them.

        Returns
        -------
        uint8 or float16 array (stop - start, 2, H, W)

        Raises
        ------
        FailedVideoError
            If the video is a failed one.
        ArgumentError
            If the range leaves the video.
        ChecksumError
            If stored bytes are damaged or missing; the message names the video and the flow.
        """
        self.check_has_flow()
        if not 0 <= start <= stop <= self.n_flows:
            raise ArgumentError(f"flows [{start}, {stop}) leave {self.key}, which has {self.n_flows}")
        if out is None:
            out = np.empty((stop - start, *self.shape[1:]), self.quantizer.dtype)
        layout = self._read_layout()
        first = start
        while first < stop:
            shard, offset = divmod(first, layout.shard_frames)
            last = min(stop, (shard + 1) * layout.shard_frames)
            self._read_shard(layout, shard, offset, first, out[first - start : last - start])
            first = last
        return out

    def check_has_flow(self) -> None:
        """Raise if the video is a failed one.

        Raises
        ------
        FailedVideoError
            With the reason for which it failed.
        """
        if not self.record.is_ok:
            raise FailedVideoError(f"{self.key} has no flow: it failed ({self.record.reason})")

    def _read_layout(self) -> documents.FlowLayout:
        if self._layout is None:
            where = f"{self._path}/{FLOW}/zarr.json"
            data = self._storage.read(where)
            if data is None:
                raise ChecksumError(f"{self.key}: {where} is missing")
            layout = documents.parse_flow_document(documents.parse_document(data, where), where)
            if layout.shape != self.shape or layout.codec.dtype != self.quantizer.dtype.name:
                raise StoreFormatError(
                    f"{self.key}: flow of shape {layout.shape} and type {layout.codec.dtype}, "
                    f"its record says {self.shape} and {self.quantizer.dtype}"
                )
            if layout.n_shards != len(self.record.shard_sizes):
                raise StoreFormatError(
                    f"{self.key}: flow in {layout.n_shards} shards, its record says {len(self.record.shard_sizes)}"
                )
            self._layout = layout
        return self._layout

    def _read_shard(self, layout: documents.FlowLayout, shard: int, offset: int, first: int, out: Codes) -> None:
        key = f"{self._path}/{FLOW}/c.{shard}.0.0.0"
        where = f"{self.key}: flows [{first}, {first + len(out)}), shard {shard}"
        try:
            size, shard_size = index_size(layout.shard_frames), self.record.shard_sizes[shard]
            if size > shard_size:
                raise ChecksumError(f"an index of {size} bytes does not fit into a shard of {shard_size}")
            index = parse_shard_index(self._read_range(key, shard_size - size, size), layout.shard_frames)
            begin, end = chunk_span(index, offset, offset + len(out), shard_size)
            decode_chunks(self._read_range(key, begin, end - begin), begin, index, offset, layout.codec, out)
        except ChecksumError as error:
            raise ChecksumError(f"{where}: {error}") from error

    def _read_range(self, key: str, start: int, size: int) -> bytes:
        data = self._storage.read_range(key, start, size)
        if data is None:
            raise ChecksumError("the file is missing")
        if len(data) != size:
            raise ChecksumError(f"the file is cut off: {len(data)} bytes from {start} on where {size} are expected")
        return data

    def __repr__(self) -> str:
        if not self.record.is_ok:
            return f"<Video {self.key}: failed ({self.record.reason})>"
        rate = f", {self.fps:g} fps" if self.fps else ""
        return f"<Video {self.key}: {self.n_flows} flows of {self.size_text}{rate}; {describe_settings(self.settings)}>"


class VideoCodes:
    """The flow of a video as stored, indexed as an array ``(n_flows, 2, H, W)``.

    Parameters
    ----------
    video : Video
        The video.
    """

    def __init__(self, video: Video) -> None:
        self._video = video

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(n_flows, 2, height, width)``."""
        return self._video.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored numbers."""
        return self._video.quantizer.dtype

    def __len__(self) -> int:
        return len(self._video)

    def __getitem__(self, key: Any) -> Codes:
        """Return stored numbers, indexed as NumPy indexes; only the flows that the first index asks for are read.

        Raises
        ------
        IndexError
            If the index leaves the video or is none.
        FailedVideoError
            If the video is a failed one.
        """
        self._video.check_has_flow()
        first, rest = _split_key(key)
        if first is None or isinstance(first, bool | np.bool_):
            raise IndexError(f"{first!r} does not index the flows of {self._video.key}")
        if isinstance(first, int | np.integer):
            number = int(first) + len(self) if first < 0 else int(first)
            if not 0 <= number < len(self):
                raise IndexError(f"flow {first} of {self._video.key}, which has {len(self)}")
            return self._video.read_codes(number, number + 1)[(0, *rest)]
        numbers = np.arange(len(self))[first]
        if isinstance(first, slice):
            is_reversed = len(numbers) > 1 and numbers[0] > numbers[-1]
            codes = self._pick(numbers[::-1])[::-1] if is_reversed else self._pick(numbers)
            return codes[(slice(None), *rest)]
        unique, inverse = np.unique(numbers, return_inverse=True)
        return self._pick(unique)[(inverse.reshape(numbers.shape), *rest)]

    def _pick(self, numbers: npt.NDArray[np.intp]) -> Codes:
        """Read flows of ascending numbers, neighbors with one request."""
        if len(numbers) == 0:
            return self._video.read_codes(0, 0)
        runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
        if len(runs) == 1:
            return self._video.read_codes(int(numbers[0]), int(numbers[-1]) + 1)
        out = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        done = 0
        for run in runs:
            self._video.read_codes(int(run[0]), int(run[-1]) + 1, out=out[done : done + len(run)])
            done += len(run)
        return out

    def __repr__(self) -> str:
        return f"<VideoCodes {self._video.key}: {self.dtype} {self.shape}>"


def _split_key(key: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the index of the first axis and the indices of the others."""
    parts = key if isinstance(key, tuple) else (key,)
    if not parts:
        return slice(None), ()
    if parts[0] is not Ellipsis:
        return parts[0], parts[1:]
    n_axes = sum(max(1, np.ndim(part)) if np.asarray(part).dtype == bool else part is not None for part in parts[1:])
    # An ellipsis that stands for no axis leaves the first axis to the index after it.
    return (parts[1], (*parts[2:], Ellipsis)) if n_axes >= 4 else (slice(None), parts)
