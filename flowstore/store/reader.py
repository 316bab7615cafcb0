"""The flow array of one video, read where it lies: its document, the indices of its shards, and their chunks."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.caches import RecentCache
from flowstore.errors import ChecksumError, ReplacedError, StoreFormatError
from flowstore.format import zarr_metadata
from flowstore.format.record import VideoRecord
from flowstore.format.shards import chunk_span, index_size, iter_chunks, parse_shard_index
from flowstore.format.zarr_metadata import FLOW
from flowstore.quantize.quantizer import Quantizer
from flowstore.storage.keys import Storage
from flowstore.store.tree import read_record

Codes = npt.NDArray[Any]
Crop = tuple[int, int, int, int]

# The key, the array object and its place in the cache.
_ENTRY_OVERHEAD_BYTES = 600


class StoredFlow:
    """The flow of one video as its store keeps it. Picklable; holds no open file."""

    def __init__(
        self, storage: Storage, path: str, key: str, record: VideoRecord, quantizer: Quantizer, cache: RecentCache
    ) -> None:
        self.key = key
        self._storage = storage
        self._path = path
        self._record = record
        self._quantizer = quantizer
        self._cache = cache
        self._shape = record.n_flows, 2, record.height, record.width
        self._commit = f"{path}/zarr.json"
        self._stamp = storage.stamp(self._commit)
        self._layout: zarr_metadata.FlowLayout | None = None

    def read_into(self, start: int, out: npt.NDArray[Any], crop: Crop | None = None) -> None:
        """Fill an array with the flows from `start` on, in pixels or as stored. Checks no argument.

        `out`: array (n, 2, height, width), of float32: filled with pixels. Of the store's own type: filled with what
        is stored.

        Notes
        -----
        Who replaces a video takes its commit away first and writes it last: where it is the same after reading, all
        that was read was of that video.
        """
        first, stop = start, start + len(out)
        try:
            layout = self.read_layout()
            while first < stop:
                shard, offset = divmod(first, layout.shard_frames)
                last = min(stop, (shard + 1) * layout.shard_frames)
                self._read_shard(layout, shard, offset, first, out[first - start : last - start], crop)
                first = last
        except (ChecksumError, StoreFormatError):
            self._check_same()
            raise
        self._check_same()

    def _check_same(self) -> None:
        stamp = self._storage.stamp(self._commit)
        if stamp == self._stamp:
            return
        # What was copied over itself, or touched, is the same.
        if stamp is None or read_record(self._storage, self._path) != self._record:
            raise ReplacedError(
                f"{self.key} of {self._storage.url} is another one than when it was opened, or is being replaced: "
                "open it again"
            )
        self._stamp = stamp

    def read_layout(self) -> zarr_metadata.FlowLayout:
        """Return how the flow is laid out; read once and kept."""
        if self._layout is None:
            where = f"{self._path}/{FLOW}/zarr.json"
            data = self._storage.read(where)
            if data is None:
                raise ChecksumError(f"{self.key}: {where} is missing")
            document = zarr_metadata.parse_document(data, where)
            if self._record.flow_digest and zarr_metadata.flow_digest(document) != self._record.flow_digest:
                raise ChecksumError(f"{self.key}: {where} is damaged: it is not the one that was written")
            layout = zarr_metadata.parse_flow_document(document, where)
            if layout.shape != self._shape or layout.codec.dtype != self._quantizer.dtype.name:
                raise StoreFormatError(
                    f"{self.key}: flow of shape {layout.shape} and type {layout.codec.dtype}, "
                    f"its record says {self._shape} and {self._quantizer.dtype}"
                )
            if layout.n_shards != len(self._record.shard_sizes):
                raise StoreFormatError(
                    f"{self.key}: flow in {layout.n_shards} shards, its record says {len(self._record.shard_sizes)}"
                )
            stated, expected = (layout.scale, layout.offset), zarr_metadata.decoding_of(self._quantizer)
            if stated != expected:
                raise StoreFormatError(
                    f"{self.key}: its array says scale and offset {stated}, the settings of the store {expected}: the "
                    "store was made anew since it was opened, so open it again; or its array is of another store"
                )
            self._layout = layout
        return self._layout

    def _read_shard(
        self,
        layout: zarr_metadata.FlowLayout,
        shard: int,
        offset: int,
        first: int,
        out: npt.NDArray[Any],
        crop: Crop | None,
    ) -> None:
        key = f"{self._path}/{FLOW}/c.{shard}.0.0.0"
        size = self._record.shard_sizes[shard]
        place = key, size
        index = self._cache.get(place)
        if index is not None:
            try:
                return self._decode(layout, key, size, index, offset, out, crop)
            except ChecksumError:
                # Either the bytes are damaged, or the video was replaced since: its index of today will tell.
                self._cache.drop(place)
        try:
            index_bytes = index_size(layout.shard_frames)
            if index_bytes > size:
                raise ChecksumError(f"an index of {index_bytes} bytes does not fit into a shard of {size}")
            index = parse_shard_index(self._read_range(key, size - index_bytes, index_bytes), layout.shard_frames)
            self._decode(layout, key, size, index, offset, out, crop)
        except ChecksumError as error:
            flows = f"flows [{first}, {first + len(out)})"
            raise ChecksumError(f"{self.key}: {flows}, shard {shard} from flow {first - offset} on: {error}") from error
        self._cache.put(place, index, index_bytes + _ENTRY_OVERHEAD_BYTES)
        return None

    def _decode(
        self,
        layout: zarr_metadata.FlowLayout,
        key: str,
        size: int,
        index: npt.NDArray[np.uint64],
        offset: int,
        out: npt.NDArray[Any],
        crop: Crop | None,
    ) -> None:
        stop = offset + len(out)
        begin, end = chunk_span(index, offset, stop, size, layout.flow_bytes)
        data = self._read_range(key, begin, end - begin)
        if crop is None and out.dtype == self._quantizer.dtype and out.flags.c_contiguous:
            for _ in iter_chunks(data, begin, index, offset, stop, layout.codec, out):
                pass
            return
        # One flow at a time, so that what is decoded is still in the processor's cache when it is cropped and scaled.
        scratch = np.empty(self._shape[1:], self._quantizer.dtype)
        part = _crop(scratch, crop)
        for number in iter_chunks(data, begin, index, offset, stop, layout.codec, itertools.repeat(scratch)):
            self._convert(part, out[number])

    def _convert(self, codes: Codes, out: npt.NDArray[Any]) -> None:
        if out.dtype == codes.dtype:
            np.copyto(out, codes)
        else:
            self._quantizer.decode(codes, out=out)

    def _read_range(self, key: str, start: int, size: int) -> bytes:
        data = self._storage.read_range(key, start, size)
        if data is None:
            raise ChecksumError("the file is missing")
        if len(data) != size:
            raise ChecksumError(f"the file is cut off: {len(data)} bytes from {start} on where {size} are expected")
        return data


def _crop(codes: Codes, crop: Crop | None) -> Codes:
    if crop is None:
        return codes
    top, left, height, width = crop
    return codes[..., top : top + height, left : left + width]
