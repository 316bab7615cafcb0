"""Reading a store: classes, videos, flow in pixels or codes, and the index.

Imports neither OpenCV nor Dask: what trains from a store needs numpy, zarr and numcodecs only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from zarr.abc.store import Store

from flowstore.arguments import check_whole, suggest_path
from flowstore.caches import RecentCache
from flowstore.errors import (
    ArgumentError,
    ChecksumError,
    NameNotFoundError,
    ReplacedError,
    StoreError,
    StoreFormatError,
    StoreNotFoundError,
)
from flowstore.format import zarr_metadata
from flowstore.format.root import RootAttributes, read_root
from flowstore.format.settings import ExtractSettings, describe_settings
from flowstore.names import (
    count_text,
    display_name,
    escape_name,
    is_shortened,
    missing_text,
    printable_name,
    sources_texts,
    suggest_name,
    unescape_name,
    video_path,
    videos_text,
)
from flowstore.notebook.views import MAX_THUMBNAILS, class_html, store_html
from flowstore.storage.keys import Storage
from flowstore.storage.places import open_storage
from flowstore.store.clips import plan_clips
from flowstore.store.flow_index import FlowIndex
from flowstore.store.index import read_index
from flowstore.store.reader import Crop
from flowstore.store.tree import OnDamaged, class_paths, read_record
from flowstore.store.video import Video
from flowstore.store.video_index import VideoIndex

Flow = npt.NDArray[np.float32]
Place = str | os.PathLike[str] | Store | Storage

# A short video is replaced within these.
_WAITS_S = (0.1, 0.2, 0.5, 1.0)
_CACHE_LIMIT_BYTES = 32 * 2**20
# What a video in memory takes, found by measuring: its record and layout, and its mean magnitudes, one number a flow.
_VIDEO_BYTES, _FLOW_BYTES = 8192, 32


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
    try:
        root = read_root(storage)
    except StoreNotFoundError as error:
        if storage.folder is None or os.path.lexists(storage.folder):
            raise
        raise StoreNotFoundError(f"{error}{suggest_path(storage.folder)}") from error
    return FlowStore(storage, root)


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
    Videos used lately are remembered with the indices of their shards, at most 32 MiB in a process. On a local disk a
    video that was replaced or removed meanwhile is noticed; elsewhere a store is taken not to change while it is open.

    ``store["wave"]`` is a class, ``store["wave/some_video"]`` and ``store["wave"]["some_video"]`` a video. Look-ups
    take original names and go straight to the place; nothing else is read. Iterating gives class names.

    Examples
    --------
    >>> store = open_store("hmdb51.zarr")
    >>> list(store), store.n_flows
    (['run', 'wave'], 58)
    >>> store["wave/some_video"][10:20].shape  # pixels: 10 flows, x and y, height, width
    (10, 2, 24, 32)
    >>> store.select(label="wave", min_flows=20).n_flows
    29
    """

    def __init__(self, storage: Storage, root: RootAttributes, index: VideoIndex | None = None) -> None:
        self.storage = storage
        self.root = root
        self._index = index
        self._is_selection = index is not None
        self._cache = RecentCache(_CACHE_LIMIT_BYTES)

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
        """The index: one row per video, failed ones among them."""
        if self._index is None:
            self._index = read_index(self.storage, self.settings.quantizer.encoding)
        return self._index

    @property
    def flows(self) -> FlowIndex:
        """The flows of all videos, one row per flow, from the index."""
        return FlowIndex(self.videos)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, sorted."""
        if self._is_selection:
            return sorted(self.videos.class_name(rows[0]) for rows in self.videos.rows_by_class.values())
        return sorted(_original_name(self.storage, path, "class_name") for path in class_paths(self.storage))

    @property
    def n_videos(self) -> int:
        """Videos with flow."""
        return int((self.videos.column("status") == "ok").sum())

    @property
    def n_flows(self) -> int:
        """Flows of all videos together."""
        return int(self.videos.column("n_flows").sum())

    @property
    def n_missing(self) -> int:
        """Videos that were planned and are not in the store, of all its classes; 0 where no plan stands in it."""
        if self.root.n_planned is None:
            return 0
        whole = read_index(self.storage) if self._is_selection else self.videos
        return max(0, self.root.n_planned - len(whole))

    @property
    def missing(self) -> str:
        """How many of the planned videos are missing, in words; empty where none is."""
        return missing_text(self.root.n_planned, self.n_missing)

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
        if class_name and name and (video := self._video(class_name, name)) is not None:
            return video
        found = self._class(class_name)
        return found[name] if slash else found

    def _class(self, class_name: str) -> FlowClass:
        if not class_name or self._is_missing(class_name):
            raise NameNotFoundError(
                f"no class {printable_name(class_name)!r} in {self.url}{suggest_name(class_name, self.classes)}"
            )
        return FlowClass(self, class_name)

    def _is_missing(self, class_name: str) -> bool:
        component = escape_name(class_name)
        if self._is_selection:
            return component not in self.videos.rows_by_class
        # A class of very many videos takes long to list.
        return self.storage.size_bytes(f"{component}/zarr.json") is None and not self.storage.list_children(component)

    def _video(self, class_name: str, name: str) -> Video | None:
        """Return a video of the store, of the selection if it is one, None if there is none."""
        cached = self._cache.get((class_name, name))
        if cached is not None and self.storage.stamp(cached[1]) == cached[2]:
            return cached[0]
        path = video_path(class_name, name)
        commit = f"{path}/zarr.json"
        # Asked for before the record is read: one that is replaced in between is read again the next time.
        stamp = self.storage.stamp(commit)
        record = read_record(self.storage, path) if stamp is not None else None
        if record is None or (self._is_selection and self.videos.row_of(class_name, name) is None):
            return None
        video = Video(self.storage, path, record, self.settings, self._cache)
        self._cache.put((class_name, name), (video, commit, stamp), _VIDEO_BYTES + _FLOW_BYTES * record.n_flows)
        return video

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
        ArgumentError
            If the number or the status is none.
        """
        if status not in ("ok", "failed", None):
            raise ArgumentError(f"status is {status!r}, expected 'ok', 'failed' or None")
        index = self.videos
        mask = np.ones(len(index), bool)
        if label is not None:
            if not (isinstance(label, Iterable) and all(isinstance(name, str) for name in label)):
                raise ArgumentError(f"label is {label!r}, expected names of classes")
            chosen = np.zeros(len(index), bool)
            for name in [label] if isinstance(label, str) else label:
                rows = index.rows_by_class.get(escape_name(self._class(name).name), range(0))
                chosen[rows.start : rows.stop] = True
            mask &= chosen
        if min_flows is not None:
            check_whole("min_flows", min_flows, 0)
            mask &= index.column("n_flows") >= min_flows
        if status is not None:
            mask &= index.column("status") == status
        return FlowStore(self.storage, self.root, index.where(mask))

    def iter_videos(self, on_damaged: OnDamaged | None = None) -> Iterator[Video]:
        """Yield every video that has flow, by class and name.

        Parameters
        ----------
        on_damaged : callable, optional
            Told the path and the error of each video whose record is damaged, which is left out.

        Yields
        ------
        Video
            As the tree has it, not the index; one that is gone or has failed since is left out.

        Raises
        ------
        ChecksumError, StoreFormatError
            If a record is damaged, and there is nobody to tell.
        """
        for number in np.flatnonzero(self.videos.column("status") == "ok"):
            path = str(self.videos.column("path")[number])
            try:
                record = read_record(self.storage, path)
            except (ChecksumError, StoreFormatError) as error:
                if on_damaged is None:
                    raise
                on_damaged(path, error)
                continue
            # An index can be older than the tree: a video may be gone, or be a failed one by now.
            if record is not None and record.is_ok:
                yield Video(self.storage, path, record, self.settings, self._cache)

    def to_xarray(self, label: str | Sequence[str] | None = None) -> Any:
        """Return videos as a tree of labelled, lazy arrays; what is computed is read.

        Parameters
        ----------
        label : str or sequence of str, optional
            Of one class: the tree's children are its videos. Of several, by default of all: they are the classes, and
            the videos theirs. Some 500 videos per second: every record is read, and every video labelled.

        Returns
        -------
        xarray.DataTree
            A dataset a video with the variable ``flow``, see `Video.to_xarray`: a tree, because videos differ in
            length and size. ``tree["some_video"].flow``, or ``tree["wave/some_video"].flow`` of several classes;
            names as the store's folders show them. Videos that failed have no flow and are left out.

        Raises
        ------
        NameNotFoundError
            If the store has no class of that name.
        MissingExtraError
            If xarray is not installed.

        Examples
        --------
        The mean magnitude of each video of a class::

            from flowstore.motion_fields import magnitude

            tree = store.to_xarray("wave")
            {name: float(magnitude(video.flow).mean()) for name, video in tree.children.items()}
        """
        from flowstore.notebook.labelled import label_videos

        chosen = self if label is None else self.select(label)
        flows = {}
        for video in chosen.iter_videos():
            path = video_path(video.class_name, video.name)
            flows[path.partition("/")[2] if isinstance(label, str) else path] = video.to_xarray()
        named = {"class": display_name(label)} if isinstance(label, str) else {}
        return label_videos(flows, {"store": self.url} | named)

    def read_clips(
        self,
        names: Sequence[str],
        starts: Sequence[int],
        length: int,
        crop: Crop | Sequence[Crop] | npt.NDArray[Any] | None = None,
        out: npt.NDArray[Any] | None = None,
    ) -> npt.NDArray[Any]:
        """Read many clips of one length and size into one array.

        Parameters
        ----------
        names : sequence of str
            ``class/video`` of each clip.
        starts : sequence of int
            First flow of each.
        length : int
            Flows in each.
        crop : tuple of int or sequence of tuples, optional
            ``(top, left, height, width)`` in pixels, the same part of each clip or a part for each, all of one height
            and width. With it the videos may be of different sizes.
        out : float32 or uint8 (float16) array (n_clips, length, 2, height, width), optional
            Where to write them: pixels into float32, what is stored into an array of the store's own type.

        Returns
        -------
        array (n_clips, length, 2, height, width)
            `out`; float32 in pixels by default.

        Raises
        ------
        NameNotFoundError
            If the store has no video of a name.
        FailedVideoError
            If a video is a failed one.
        ArgumentError
            If a clip leaves its video or a crop its flow, the videos are of different sizes and there is no crop, or
            `out` is of another shape or type. Nothing is read then.
        ChecksumError
            If stored bytes are damaged; the message names the video and the flow.

        Notes
        -----
        A video that is replaced just now is tried again for some two seconds.

        Into an array of the store's own type, C-contiguous and without a crop, every flow is decoded in place.
        """
        if isinstance(names, str) or not hasattr(names, "__len__") or not all(isinstance(name, str) for name in names):
            raise ArgumentError(f"names is {names!r}, expected a list of class/video")
        if not hasattr(starts, "__len__"):
            raise ArgumentError(f"starts is {starts!r}, expected a list of whole numbers")
        if len(names) != len(starts):
            raise ArgumentError(f"{len(names)} names but {len(starts)} starts")
        waits_s = iter(_WAITS_S)
        while True:
            videos = [self._video_of(name) for name in names]
            filled, requests = plan_clips(videos, starts, length, self.settings.quantizer.dtype, crop, out)
            try:
                for request in requests:
                    request.stored.read_into(request.start, request.out, request.crop)
                return filled
            except ReplacedError:
                wait_s = next(waits_s, None)
                if wait_s is None:
                    raise
                time.sleep(wait_s)

    def _video_of(self, key: str) -> Video:
        video = self[key]
        if not isinstance(video, Video):
            raise NameNotFoundError(f"{printable_name(key)!r} is a class, expected class/video")
        return video

    def __repr__(self) -> str:
        index = self.videos
        n_failed = int((index.column("status") == "failed").sum())
        n_missing = self.n_missing
        videos = videos_text(self.n_videos, n_failed) + (f", {n_missing} missing" if n_missing else "")
        return (
            f"<FlowStore {self.url}: {count_text(len(self.classes), 'class')}, {videos}, "
            f"{count_text(self.n_flows, 'flow')}; {describe_settings(self.settings)}>"
        )

    def _repr_html_(self) -> str:
        index, rows = self.videos, []
        is_ok, n_flows = index.column("status") == "ok", index.column("n_flows")
        first: list[int] = []
        for numbers in index.rows_by_class.values():
            part = slice(numbers.start, numbers.stop)
            good = int(is_ok[part].sum())
            rows.append((index.class_name(numbers[0]), good, len(numbers) - good, int(n_flows[part].sum())))
            if good and len(first) < MAX_THUMBNAILS:
                first.append(numbers[int(is_ok[part].argmax())])
        notes = [("missing", missing)] if (missing := self.missing) else []
        notes += [("source", text) for text in sources_texts(self.root.sources)]
        return store_html(self.url, self.settings, sorted(rows), notes, self.thumbnails_html(first))

    def thumbnails_html(self, rows: Sequence[int]) -> list[str]:
        """Return small pictures of some videos for a notebook.

        Parameters
        ----------
        rows : sequence of int
            Of the index.

        Returns
        -------
        list of str
            HTML, see `Video.thumbnail_html`; one fewer for each video that is gone by now.
        """
        # An index can be older than the tree: a video may be gone by now.
        videos = (self._video(self.videos.class_name(row), self.videos.name(row)) for row in rows)
        return [video.thumbnail_html() for video in videos if video is not None]


def _original_name(storage: Storage, path: str, attribute: str) -> str:
    component = path.rpartition("/")[2]
    if not is_shortened(component):
        return unescape_name(component)
    data = storage.read(f"{path}/zarr.json")
    if data is None:
        return unescape_name(component)
    where = f"{storage.url}/{path}/zarr.json"
    return str(zarr_metadata.group_attributes(zarr_metadata.parse_document(data, where), where)[attribute])


class FlowClass:
    """The videos of one class. Iterating gives their names, failed ones among them.

    Parameters
    ----------
    store : FlowStore
        The store.
    name : str
        Of the class.

    Examples
    --------
    >>> wave = open_store("hmdb51.zarr")["wave"]
    >>> list(wave)
    ['some_video']
    >>> wave["some_video"].n_flows
    29
    """

    def __init__(self, store: FlowStore, name: str) -> None:
        self.store = store
        self.name = name

    @property
    def names(self) -> list[str]:
        """Names of the videos, sorted."""
        index = self.store.videos
        return [index.name(number) for number in index.rows_by_class.get(escape_name(self.name), range(0))]

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
        video = self.store._video(self.name, name) if name else None
        path = video_path(self.name, name) if name else ""
        for wait_s in _WAITS_S if name else ():
            # Files and no commit: it is being replaced, or a killed run has left it.
            if video is not None or not self.store.storage.list_children(path):
                break
            time.sleep(wait_s)
            video = self.store._video(self.name, name)
        if video is None:
            names = self.names
            if path and self.store.storage.list_children(path):
                hint = ": a run is writing it, or was killed while it did; wait for it, or run it again"
            else:
                # An index can be older than the tree.
                hint = ", though the index names it" if name in names else suggest_name(name, names)
            raise NameNotFoundError(f"no video {printable_name(name)!r} in class {printable_name(self.name)!r}{hint}")
        return video

    def _repr_html_(self) -> str:
        index = self.store.videos
        rows = index.rows_by_class.get(escape_name(self.name), range(0))
        part = slice(rows.start, rows.stop)
        n_failed = int((index.column("status")[part] == "failed").sum())
        n_flows = int(index.column("n_flows")[part].sum())
        pictures = self.store.thumbnails_html(rows[:MAX_THUMBNAILS])
        return class_html(self.name, n_failed, self.names, n_flows, pictures)

    def __repr__(self) -> str:
        return f"<FlowClass {printable_name(self.name)}: {count_text(len(self), 'video')}>"


def open_place(place: str) -> FlowStore | FlowClass | Video:
    """Open what a path leads to."""
    return look_up(*open_inside(place))


def look_up(store: FlowStore, names: Sequence[str]) -> FlowStore | FlowClass | Video:
    """Return what the names of a class and a video lead to in a store."""
    found: FlowStore | FlowClass | Video = store
    for name in names:
        found = _look_up(found, name)
    return found


def open_inside(place: str) -> tuple[FlowStore, list[str]]:
    """Open the store that a path leads into."""
    trimmed = place.rstrip("/") or place
    if "://" not in trimmed:
        trimmed = os.path.abspath(trimmed)
    path, names = trimmed, list[str]()
    for _ in range(3):
        try:
            return open_store(path), names
        except StoreError as error:
            is_inside = isinstance(error, StoreNotFoundError) or open_storage(path).size_bytes("zarr.json") is not None
            path, slash, name = path.rpartition("/")
            if not is_inside or not slash or not path:
                break
            names.insert(0, name)
    return open_store(trimmed), []


def _look_up(container: Any, name: str) -> Any:
    try:
        return container[name]
    except NameNotFoundError:
        if unescape_name(name) == name:
            raise
        return container[unescape_name(name)]
