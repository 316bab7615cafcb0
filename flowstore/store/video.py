"""One video of a store as it is used: a sequence of flows in pixels or codes, and what the store says of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.caches import RecentCache
from flowstore.colour import automatic_scale_px, flow_scale_px
from flowstore.errors import ArgumentError, FailedVideoError, StoreError
from flowstore.format.record import VideoRecord
from flowstore.format.settings import ExtractSettings, describe_settings, flow_unit
from flowstore.names import count_text, printable_name
from flowstore.notebook.plots import PlotStyle, plot_flow
from flowstore.notebook.views import thumbnail_html, video_html
from flowstore.quantize.quantizer import Quantizer
from flowstore.storage.keys import Storage
from flowstore.store.reader import Codes, StoredFlow

Flow = npt.NDArray[np.float32]

_SHARD_INDEX_LIMIT_BYTES = 8 * 2**20


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
    cache : RecentCache, optional
        Keeps the indices of shards; by default one of the video's own. A store shares one among its videos.

    Notes
    -----
    ``video[10:20]`` is float32 ``(10, 2, H, W)`` in pixels, component 0 = x (right), 1 = y (down): ``flow[i]`` is
    the motion from frame ``i`` to frame ``i + step``. ``video.codes[10:20]`` is the same as stored. Many clips at
    once are read best with `FlowStore.read_clips`.

    Examples
    --------
    >>> import flowstore
    >>> video = flowstore.open_store("hmdb51.zarr")["wave/some_video"]
    >>> len(video), video[10].shape, video[10].dtype
    (29, (2, 24, 32), dtype('float32'))
    >>> video.codes[-5:].dtype
    dtype('uint8')
    """

    def __init__(
        self,
        storage: Storage,
        path: str,
        record: VideoRecord,
        settings: ExtractSettings,
        cache: RecentCache | None = None,
    ) -> None:
        self._storage = storage
        self._path = path
        self._cache = RecentCache(_SHARD_INDEX_LIMIT_BYTES) if cache is None else cache
        self.record = record
        self.settings = settings
        key = f"{printable_name(record.class_name)}/{printable_name(record.name)}"
        self.stored = StoredFlow(storage, path, key, record, settings.quantizer, self._cache)

    @property
    def storage(self) -> Storage:
        """Where its store is."""
        return self._storage

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
        return self.stored.key

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
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels, float32; `codes` has that of what is stored."""
        return np.dtype(np.float32)

    @property
    def ndim(self) -> int:
        """Number of axes, 4."""
        return 4

    @property
    def size_text(self) -> str:
        """``WIDTH×HEIGHT``, for messages."""
        return f"{self.record.width}×{self.record.height}"

    @property
    def fps(self) -> float | None:
        """Frames per second, where the source had a clock."""
        return self.record.fps

    def __len__(self) -> int:
        return self.n_flows

    @property
    def codes(self) -> VideoCodes:
        """The flow as stored: ``video.codes[10:20]`` is uint8 (or float16) ``(10, 2, H, W)``."""
        return VideoCodes(self)

    def __getitem__(self, key: Any) -> Flow:
        """Return flow in pixels: float32, indexed as an array ``(n_flows, 2, H, W)``."""
        if isinstance(key, slice) and key.step in (None, 1):
            self.check_has_flow()
            start, stop, _ = key.indices(len(self))
            return self.read(start, max(start, stop))
        return self.quantizer.decode(self.codes[key])

    def __iter__(self) -> Iterator[Flow]:
        return (self[number] for number in range(len(self)))

    def to_xarray(self) -> Any:
        """Return the flow as a labelled, lazy array; chunks of about 4 MB are read when they are computed.

        Returns
        -------
        xarray.DataArray
            Float32 ``(frame, component, y, x)`` in pixels, backed by Dask. Coordinates: ``frame`` (number of the frame
            that a flow starts from), ``time`` (of that frame, in seconds; absent where the frame rate is unknown) and
            ``component`` (``x``, right, and ``y``, down). Attributes: units, bound, encoding, algorithm, parameters,
            source, versions. `flowstore.motion_fields` takes it.

        Raises
        ------
        FailedVideoError
            If the video is a failed one.
        MissingExtraError
            If xarray is not installed.

        Examples
        --------
        The mean speed to the right over time, in pixels a frame::

            video.to_xarray().sel(component="x").mean(("y", "x")).plot(x="time")
        """
        from flowstore.notebook.labelled import label_flow

        self.check_has_flow()
        return label_flow(self, self.record, self.settings, f"{self._storage.url}/{self._path}")

    def plot(
        self,
        frame: int | None = None,
        style: PlotStyle = "color",
        *,
        scale: float | None = None,
        image: npt.NDArray[np.uint8] | None = None,
        ax: Any = None,
    ) -> Any:
        """Plot one flow with Matplotlib.

        Parameters
        ----------
        frame : int, optional
            Which flow, counted from the end where negative; a lively one by default, see `flow_number`.
        style : {"color", "arrows", "planes"}
            The Middlebury wheel; arrows, over `image` or over the colors; x and y apart with a color bar.
        scale : float, optional
            Full scale in pixels; by default the 95th percentile of the flow's magnitudes.
        image : uint8 array (H, W, 3), optional
            Red, green, blue: the frame under the arrows.
        ax : matplotlib.axes.Axes, optional
            Where to plot; two of them for planes.

        Returns
        -------
        matplotlib.axes.Axes or array (2,) of Axes
            Two for planes; ``.figure`` is the figure.

        Raises
        ------
        ArgumentError
            If there is no such flow, or an argument cannot be used.
        FailedVideoError
            If the video is a failed one.
        MissingExtraError
            If Matplotlib is not installed.
        """
        number = self.flow_number(frame)
        flow = self[number]
        scale_px = flow_scale_px(flow) if scale is None else scale
        title, unit = f"{self.key}, flow {number}", flow_unit(self.settings)
        return plot_flow(flow, scale_px, style, title=title, unit=unit, image=image, ax=ax)

    def flow_number(self, frame: int | None = None) -> int:
        """Return the number of a flow: a lively one by default, counted from the end where negative.

        Parameters
        ----------
        frame : int, optional
            ``-n_flows`` to ``n_flows - 1``.

        Returns
        -------
        int
            0 to ``n_flows - 1``.

        Raises
        ------
        ArgumentError
            If the video has no such flow, or it is not a whole number.
        FailedVideoError
            If the video is a failed one.
        """
        self.check_has_flow()
        if frame is None:
            return self.record.statistics.lively_flow if self.record.statistics else self.n_flows // 2
        if not isinstance(frame, int | np.integer):
            raise ArgumentError(f"frame is {frame!r}, expected a whole number, such as 10")
        if not -self.n_flows <= frame < self.n_flows:
            raise ArgumentError(f"frame {frame}: {self.key} has flows 0 to {self.n_flows - 1}")
        return int(frame) % self.n_flows

    @property
    def automatic_scale_px(self) -> float:
        """Full scale of its films in pixels, see `flowstore.colour.automatic_scale_px`."""
        return automatic_scale_px(self.record.statistics.p99_magnitude if self.record.statistics else 0.0)

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
        return self._read(start, stop, np.dtype(np.float32), out)

    def read_codes(self, start: int, stop: int, out: Codes | None = None) -> Codes:
        """Read flows ``[start, stop)`` as stored.

        Parameters
        ----------
        start, stop : int
            First flow, and the one after the last, ``0 <= start <= stop <= n_flows``.
        out : uint8 or float16 array (stop - start, 2, H, W), optional
            Where to write them; nothing is copied on the way into one that is C-contiguous.

        Returns
        -------
        uint8 or float16 array (stop - start, 2, H, W)

        Raises
        ------
        FailedVideoError
            If the video is a failed one.
        ArgumentError
            If the range leaves the video, or `out` is of another shape or type.
        ChecksumError
            If stored bytes are damaged or missing; the message names the video and the flow.
        """
        return self._read(start, stop, self.quantizer.dtype, out)

    def _read(self, start: int, stop: int, dtype: np.dtype[Any], out: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
        self.check_has_flow()
        self.check_range(start, stop)
        shape = (stop - start, *self.shape[1:])
        if out is None:
            out = self._make_array(shape, dtype)
        elif not isinstance(out, np.ndarray):
            raise ArgumentError(f"out is a {type(out).__name__}, expected a NumPy array")
        elif out.shape != shape or out.dtype != dtype or not out.flags.writeable:
            kind = "" if out.flags.writeable else "read-only "
            raise ArgumentError(f"out is {kind}{out.dtype} {out.shape}, expected {dtype} {shape}")
        self.stored.read_into(start, out)
        return out

    def _make_array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        try:
            return np.empty(shape, dtype)
        except (MemoryError, ValueError) as error:
            size = math.prod(shape) * dtype.itemsize
            raise StoreError(
                f"{self.key}: {shape[0]} flows of {self.size_text} take {size} bytes of memory, more than there is: "
                "read fewer at a time"
            ) from error

    def check_range(self, start: int, stop: int) -> None:
        """Raise unless ``[start, stop)`` lies within the video.

        Parameters
        ----------
        start, stop : int
            First flow, and the one after the last.

        Raises
        ------
        ArgumentError
            If it does not, or they are no whole numbers.
        """
        if not (hasattr(start, "__index__") and hasattr(stop, "__index__")):
            raise ArgumentError(f"flows [{start!r}, {stop!r}) of {self.key}: expected whole numbers")
        if not 0 <= start <= stop <= self.n_flows:
            raise ArgumentError(f"flows [{start}, {stop}) leave {self.key}, which has {self.n_flows}")

    def check_has_flow(self) -> None:
        """Raise if the video is a failed one.

        Raises
        ------
        FailedVideoError
            With the reason for which it failed.
        """
        if not self.record.is_ok:
            raise FailedVideoError(f"{self.key} has no flow: it failed ({self.record.reason})")

    def thumbnail_html(self) -> str:
        """Return a small picture for a notebook.

        Returns
        -------
        str
            HTML; empty where the store is not on this machine's disk.
        """
        read = self.codes.__getitem__ if self._storage.folder else None
        return thumbnail_html(self.record, self.quantizer, read)

    def _repr_html_(self) -> str:
        return video_html(self.record, self.settings, self.thumbnail_html() if self.record.is_ok else "")

    def __repr__(self) -> str:
        if not self.record.is_ok:
            return f"<Video {self.key}: failed ({self.record.reason})>"
        rate = f", {self.fps:g} fps" if self.fps else ""
        flows = count_text(self.n_flows, "flow")
        return f"<Video {self.key}: {flows} of {self.size_text}{rate}; {describe_settings(self.settings)}>"


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
