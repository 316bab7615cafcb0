"""One video of a store: flow in pixels or codes, read by the direct reader or, elsewhere, through zarr-python."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from flowstore import documents
from flowstore.documents import FLOW
from flowstore.errors import ArgumentError, ChecksumError, FailedVideoError, StoreFormatError
from flowstore.model import VideoRecord
from flowstore.names import printable_name
from flowstore.quantize import Quantizer
from flowstore.settings import ExtractSettings, describe_settings
from flowstore.shards import read_chunks, read_shard_index
from flowstore.storage import LocalStorage, Storage

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
        self._is_foreign = not isinstance(storage, LocalStorage)

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
        if self._is_foreign:
            out[:] = self._zarr_array()[start:stop]
            return out
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
                raise StoreFormatError(f"{self.key}: flow of shape {layout.shape}, its record says {self.shape}")
            self._layout = layout
        return self._layout

    def _read_shard(self, layout: documents.FlowLayout, shard: int, offset: int, first: int, out: Codes) -> None:
        assert isinstance(self._storage, LocalStorage)
        path = self._storage.path(f"{self._path}/{FLOW}/c.{shard}.0.0.0")
        try:
            file = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise ChecksumError(
                f"{self.key}: shard {shard} (flows from {shard * layout.shard_frames}) is missing"
            ) from None
        try:
            index = read_shard_index(file, layout.shard_frames)
            read_chunks(file, index, offset, layout.codec, out)
        except ChecksumError as error:
            raise ChecksumError(f"{self.key}: flows [{first}, {first + len(out)}), shard {shard}: {error}") from error
        finally:
            os.close(file)

    def _zarr_array(self) -> Any:
        return zarr.open_array(self._storage.zarr_store(), path=f"{self._path}/{FLOW}", mode="r")

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
        """Return stored numbers; the first index may be an int, a slice or a list of ints."""
        key, *rest = key if isinstance(key, tuple) else (key,)
        if key is Ellipsis:
            return self[(slice(None), Ellipsis, *rest)]
        codes = self._read(key)
        if not rest:
            return codes
        return codes[tuple(rest)] if isinstance(key, int | np.integer) else codes[(slice(None), *rest)]

    def _read(self, key: Any) -> Codes:
        self._video.check_has_flow()
        n_flows = len(self._video)
        if isinstance(key, int | np.integer):
            number = int(key) + n_flows if key < 0 else int(key)
            if not 0 <= number < n_flows:
                raise IndexError(f"flow {key} of {self._video.key}, which has {n_flows}")
            return self._video.read_codes(number, number + 1)[0]
        if isinstance(key, slice):
            numbers: Iterable[int] = range(*key.indices(n_flows))
            start, stop, step = key.indices(n_flows)
            if step == 1:
                return self._video.read_codes(start, max(start, stop))
        else:
            asked = np.asarray(key)
            if asked.dtype == bool and asked.shape != (n_flows,):
                raise IndexError(f"a mask of shape {asked.shape} for {self._video.key}, which has {n_flows} flows")
            numbers = (np.flatnonzero(asked) if asked.dtype == bool else asked.astype(np.int64)).tolist()
        picked = [self._read(number) for number in numbers]
        return np.stack(picked) if picked else self._video.read_codes(0, 0)

    def __repr__(self) -> str:
        return f"<VideoCodes {self._video.key}: {self.dtype} {self.shape}>"
