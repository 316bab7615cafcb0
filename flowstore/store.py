"""Reading a store: classes, videos, flow in pixels or codes, and the index.

Imports neither OpenCV nor Dask: what trains from a store needs numpy, zarr and numcodecs only.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.abc.store import Store

from flowstore import documents
from flowstore.documents import FLOW, FORMAT
from flowstore.errors import (
    ArgumentError,
    ChecksumError,
    FailedVideoError,
    NameNotFoundError,
    StoreFormatError,
    StoreNotFoundError,
)
from flowstore.index import VideoIndex, class_paths, read_index, read_record
from flowstore.model import VideoRecord
from flowstore.names import escape_name, is_shortened, printable_name, suggest_name, unescape_name
from flowstore.quantize import Quantizer
from flowstore.settings import ExtractSettings
from flowstore.shards import read_chunks, read_shard_index
from flowstore.storage import LocalStorage, Storage, open_storage

Flow = npt.NDArray[np.float32]
Codes = npt.NDArray[Any]
Place = str | os.PathLike[str] | Store | Storage


@dataclasses.dataclass(frozen=True)
class RootAttributes:
    """What a store's root says: its format, settings and origin."""

    format: int
    settings: ExtractSettings
    versions: dict[str, str]
    created: str


def open_store(place: Place) -> FlowStore:
    """Open a store for reading.

    Parameters
    ----------
    place : path, URL or zarr store
        Of the store's root.

    Returns
    -------
    FlowStore

    Raises
    ------
    StoreNotFoundError
        If there is nothing at the place.
    StoreFormatError
        If what is there is no store, or one of a newer format.

    Examples
    --------
    >>> open_store("nowhere.zarr")
    Traceback (most recent call last):
    ...
    flowstore.errors.StoreNotFoundError: ...nowhere.zarr: no store here...
    """
    storage = open_storage(place)
    return FlowStore(storage, read_root(storage))


def read_root(storage: Storage) -> RootAttributes:
    """Read and check the root of a store.

    Raises
    ------
    StoreNotFoundError
        If there is nothing.
    StoreFormatError
        If it is no store of flowstore, or one of a newer format.
    """
    data = storage.read("zarr.json")
    if data is None:
        if storage.list_children(""):
            raise StoreFormatError(
                f"{storage.url}: a folder that is not a flowstore store (it has no zarr.json)"
            )
        raise StoreNotFoundError(
            f"{storage.url}: no store here; check the path, or make one with: flowstore extract"
        )
    where = f"{storage.url}/zarr.json"
    attributes = documents.group_attributes(documents.parse_document(data, where), where)
    found = attributes.get("format")
    if not isinstance(found, int) or found < 1:
        raise StoreFormatError(f"{where}: the root of a store must state its format, found {found!r}")
    if found > FORMAT:
        raise StoreFormatError(
            f"{storage.url}: a store of format {found}, this flowstore reads up to {FORMAT}: pip install -U flowstore"
        )
    try:
        settings = ExtractSettings.from_json(attributes["settings"])
        return RootAttributes(found, settings, dict(attributes["versions"]), str(attributes["created"]))
    except (KeyError, TypeError, ArgumentError) as error:
        raise StoreFormatError(f"{where}: damaged settings ({error})") from error


class FlowStore:
    """A store, open for reading. Picklable; holds no open file.

    Parameters
    ----------
    storage : Storage
        Where it is.
    root : RootAttributes
        What its root says.
    index : VideoIndex, optional
        The videos that belong to it; by default those of the store's index.

    Notes
    -----
    ``store["wave"]`` is a class, ``store["wave/some_video"]`` and ``store["wave"]["some_video"]`` a video. Look-ups take original
    names and go straight to the place; nothing else is read. Iterating gives class names.
    """

    def __init__(self, storage: Storage, root: RootAttributes, index: VideoIndex | None = None) -> None:
        self.storage = storage
        self.root = root
        self._index = index
        self._is_selection = index is not None

    @property
    def url(self) -> str:
        """Where the store is."""
        return self.storage.url

    @property
    def settings(self) -> ExtractSettings:
        """What the flow was made with."""
        return self.root.settings

    @property
    def videos(self) -> VideoIndex:
        """The index: one row a video, failed ones among them."""
        if self._index is None:
            self._index = read_index(self.storage)
        return self._index

    @property
    def classes(self) -> list[str]:
        """Names of the classes, sorted."""
        if self._is_selection:
            return sorted(set(self.videos.column("class").tolist()))
        return sorted(_original_name(self.storage, path, "class_name") for path in class_paths(self.storage))

    @property
    def n_videos(self) -> int:
        """Videos with flow."""
        return int((self.videos.column("status") == "ok").sum())

    @property
    def n_flows(self) -> int:
        """Flows of all videos together."""
        return int(self.videos.column("n_flows").sum())

    def __iter__(self) -> Iterator[str]:
        return iter(self.classes)

    def __len__(self) -> int:
        return len(self.classes)

    def __contains__(self, key: object) -> bool:
        try:
            return isinstance(key, str) and self[key] is not None
        except NameNotFoundError:
            return False

    def __getitem__(self, key: str) -> Any:
        """Return a class (``"wave"``) or a video (``"wave/some_video"``).

        Raises
        ------
        NameNotFoundError
            If there is none of that name; the message suggests the nearest.
        """
        class_name, slash, name = key.partition("/")
        found = self._class(class_name)
        return found[name] if slash else found

    def _class(self, class_name: str) -> FlowClass:
        if not class_name or self._is_missing(class_name):
            raise NameNotFoundError(
                f"no class {printable_name(class_name)!r} in {self.url}{suggest_name(class_name, self.classes)}"
            )
        return FlowClass(self, class_name)

    def _is_missing(self, class_name: str) -> bool:
        if self._is_selection:
            return class_name not in self.classes
        return not self.storage.list_children(escape_name(class_name))

    def select(
        self,
        label: str | Sequence[str] | None = None,
        min_flows: int | None = None,
        status: str | None = "ok",
    ) -> FlowStore:
        """Return a store over fewer videos, with the same interface.

        Parameters
        ----------
        label : str or sequence of str, optional
            Only these classes.
        min_flows : int, optional
            Only videos of at least so many flows.
        status : {"ok", "failed", None}
            Only videos with flow, only failed ones, or both.

        Returns
        -------
        FlowStore

        Raises
        ------
        NameNotFoundError
            If the store has no class of that name.
        """
        index = self.videos
        mask = np.ones(len(index), bool)
        if label is not None:
            labels = [label] if isinstance(label, str) else list(label)
            for name in labels:
                self._class(name)
            mask &= np.isin(index.column("class").astype(str), labels)
        if min_flows is not None:
            mask &= index.column("n_flows") >= min_flows
        if status is not None:
            mask &= index.column("status") == status
        return FlowStore(self.storage, self.root, index.where(mask))

    def iter_videos(self) -> Iterator[Video]:
        """Yield every video that has flow, by class and name."""
        for class_name in self.classes:
            flow_class = self._class(class_name)
            yield from (video for name in flow_class if (video := flow_class[name]).record.is_ok)

    def read_clips(
        self, names: Sequence[str], starts: Sequence[int], length: int, out: Flow | None = None
    ) -> Flow:
        """Read many clips of one length and size.

        Parameters
        ----------
        names : sequence of str
            ``class/video`` of each clip.
        starts : sequence of int
            First flow of each.
        length : int
            Flows in each.
        out : float32 array (n_clips, length, 2, H, W), optional
            Where to write them.

        Returns
        -------
        float32 array (n_clips, length, 2, H, W)
            Pixels.

        Raises
        ------
        ArgumentError
            If a clip leaves its video, or the videos are of different sizes.
        """
        if len(names) != len(starts):
            raise ArgumentError(f"{len(names)} names but {len(starts)} starts")
        for number, (name, start) in enumerate(zip(names, starts, strict=True)):
            video = self[name]
            if not 0 <= start <= start + length <= len(video):
                raise ArgumentError(
                    f"flows [{start}, {start + length}) leave {video.key}, which has {len(video)}"
                )
            if out is None:
                out = np.empty((len(names), length, *video.shape[1:]), np.float32)
            if out.shape[1:] != (length, *video.shape[1:]):
                raise ArgumentError(
                    f"{video.key} is {video.size_text}, the clips before it are {out.shape[4]}×{out.shape[3]}"
                )
            video.read(start, start + length, out=out[number])
        return np.empty((0, length, 2, 0, 0), np.float32) if out is None else out

    def __repr__(self) -> str:
        index = self.videos
        n_failed = int((index.column("status") == "failed").sum())
        failed = f", {n_failed} failed" if n_failed else ""
        return (
            f"<FlowStore {self.url}: {len(self.classes)} classes, {self.n_videos} videos{failed}, {self.n_flows} flows; "
            f"{describe_settings(self.settings)}>"
        )


def describe_settings(settings: ExtractSettings) -> str:
    """Return the settings that matter most, in a few words."""
    quantizer = settings.quantizer
    bound = "" if quantizer.bound_px is None else f" ±{quantizer.bound_px:g} px"
    return f"{settings.algorithm} ({settings.engine}), {quantizer.dtype.name} {quantizer.encoding}{bound}"


def _original_name(storage: Storage, path: str, attribute: str) -> str:
    component = path.rpartition("/")[2]
    if not is_shortened(component):
        return unescape_name(component)
    data = storage.read(f"{path}/zarr.json")
    if data is None:
        return unescape_name(component)
    where = f"{storage.url}/{path}/zarr.json"
    return str(documents.group_attributes(documents.parse_document(data, where), where)[attribute])


class FlowClass:
    """The videos of one class. Iterating gives their names, failed ones among them.

    Parameters
    ----------
    store : FlowStore
        The store.
    name : str
        Of the class.
    """

    def __init__(self, store: FlowStore, name: str) -> None:
        self.store = store
        self.name = name

    @property
    def names(self) -> list[str]:
        """Names of the videos, sorted."""
        index = self.store.videos
        return index.column("video")[index.column("class") == self.name].tolist()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and self[name] is not None
        except NameNotFoundError:
            return False

    def __getitem__(self, name: str) -> Video:
        """Return a video.

        Raises
        ------
        NameNotFoundError
            If there is none of that name; the message suggests the nearest.
        """
        path = f"{escape_name(self.name)}/{escape_name(name)}" if name else ""
        record = read_record(self.store.storage, path) if name else None
        if record is None or (self.store._is_selection and name not in self.names):
            names = self.names
            raise NameNotFoundError(
                f"no video {printable_name(name)!r} in class {printable_name(self.name)!r}{suggest_name(name, names)}"
            )
        return Video(self.store.storage, path, record, self.store.settings)

    def __repr__(self) -> str:
        return f"<FlowClass {printable_name(self.name)}: {len(self)} videos>"


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
    ``video[10:20]`` is float32 ``(10, 2, H, W)`` in pixels, component 0 = x (right), 1 = y (down): ``flow[i]`` is the motion from
    frame ``i`` to frame ``i + step``. ``video.codes[10:20]`` is the same as stored. Many clips at once are read best with
    `FlowStore.read_clips`.
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
        if not self.record.is_ok:
            raise FailedVideoError(f"{self.key} has no flow: it failed ({self.record.reason})")
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

    def _read_layout(self) -> documents.FlowLayout:
        if self._layout is None:
            where = f"{self._path}/{FLOW}/zarr.json"
            data = self._storage.read(where)
            if data is None:
                raise ChecksumError(f"{self.key}: {where} is missing")
            layout = documents.parse_flow_document(documents.parse_document(data, where), where)
            if layout.shape != self.shape or layout.codec.dtype != self.quantizer.dtype.name:
                raise StoreFormatError(
                    f"{self.key}: flow of shape {layout.shape}, its record says {self.shape}"
                )
            self._layout = layout
        return self._layout

    def _read_shard(
        self, layout: documents.FlowLayout, shard: int, offset: int, first: int, out: Codes
    ) -> None:
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
            raise ChecksumError(
                f"{self.key}: flows [{first}, {first + len(out)}), shard {shard}: {error}"
            ) from error
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
                raise IndexError(
                    f"a mask of shape {asked.shape} for {self._video.key}, which has {n_flows} flows"
                )
            numbers = (np.flatnonzero(asked) if asked.dtype == bool else asked.astype(np.int64)).tolist()
        picked = [self._read(number) for number in numbers]
        return np.stack(picked) if picked else self._video.read_codes(0, 0)

    def __repr__(self) -> str:
        return f"<VideoCodes {self._video.key}: {self.dtype} {self.shape}>"
