"""A store as a dataset for PyTorch: clips of flow, the frames beside them and their labels, drawn by a rule.

The only owner of torch. What a clip holds is decided in `flowstore.clips`, what is done to it in
`flowstore.transforms`; here clips are drawn, read into one array for a whole batch, and handed over.
"""

from __future__ import annotations

import itertools
import math
import operator
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flowstore.arguments import check_choice, check_flag, check_whole
from flowstore.clips.frame_numbers import FramesAt, chosen_flows, source_numbers
from flowstore.clips.sampling import Sampling, Short
from flowstore.clips.shared_memory import SharedNumbers, Slot, process_pool, receive
from flowstore.clips.table import ClipDraw, ClipRule, ClipTable, Labels
from flowstore.errors import (
    ArgumentError,
    FlowStoreWarning,
    MissingExtraError,
    NameNotFoundError,
    ReplacedError,
    SourceError,
    StoreNotFoundError,
)
from flowstore.names import count_text, is_shortened, unescape_name
from flowstore.splits import Split, SplitList
from flowstore.store.open import FlowStore, Place, open_store
from flowstore.store.tree import read_record
from flowstore.transforms import Array, Compose, Crop, FlowTransform, View, Window, check_size, name_of

try:
    import torch
    import torch.distributed
    from torch.utils.data import Dataset, default_collate, get_worker_info
except ImportError as error:
    raise MissingExtraError("flowstore.loaders needs PyTorch: pip install 'flowstore[torch]'") from error

Dtype = Literal["float32", "uint8"]
Layout = Literal["stack", "time"]
Item = tuple[Any, ...]
Info = dict[str, Any]
_N_SHOWN = 5
_LARGEST_EPOCH = 10**9
# Items whose fetches are counted, in 64 MB at most.
_MOST_COUNTED = 2**24


class ClipBatch(list[Item]):
    """The items of a batch, which lie in one tensor, or two.

    Parameters
    ----------
    flow : tensor (n, …)
        The flow of all of them.
    frames : tensor (n, …) or None
        Their frames.
    labels : list of int
        Their labels.
    infos : list of dict or None
        What was drawn for them.
    slots : list of Slot
        The shared memory that frames and flow lie in, in a worker.
    """

    def __init__(
        self,
        flow: torch.Tensor,
        frames: torch.Tensor | None,
        labels: list[int],
        infos: list[Info] | None,
        slots: Sequence[Slot | None],
    ) -> None:
        pictures: Iterable[Any] = flow if frames is None else zip(frames, flow, strict=True)
        columns = [pictures, labels, *([infos] if infos is not None else [])]
        super().__init__(zip(*columns, strict=True))
        self.tensors = [flow] if frames is None else [frames, flow]
        self.labels = labels
        self.infos = infos
        self.slots = [slot for slot in slots if slot is not None]


def _batch_of(tensors: Sequence[torch.Tensor], labels: Array, infos: Mapping[str, Any] | None) -> Item:
    pictures = tensors[0] if len(tensors) == 1 else tuple(tensors)
    batch = pictures, torch.from_numpy(labels)
    if infos is None:
        return batch
    told = {name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for name, value in infos.items()}
    return *batch, told


class _SharedBatch(tuple[Any, ...]):
    """A batch that is sent to another process as the slots it lies in, and arrives as a plain tuple."""

    sent: tuple[ClipBatch, Array, Mapping[str, Any] | None]

    def __reduce__(self) -> tuple[Any, ...]:
        items, labels, infos = self.sent
        places = [
            (*slot.send(), tuple(tensor.shape), tensor.numpy().dtype)
            for slot, tensor in zip(items.slots, items.tensors, strict=True)
        ]
        return _receive_batch, (places, labels, infos)


def _receive_batch(places: Sequence[tuple[Any, ...]], labels: Array, infos: Mapping[str, Any] | None) -> Item:
    return _batch_of([torch.from_numpy(receive(*place)) for place in places], labels, infos)


class FlowClips(Dataset[Item]):
    """Clips of a store and the frames beside them, for `torch.utils.data.DataLoader`.

    Parameters
    ----------
    store : FlowStore, path or URL
        What to draw from. A selection (`FlowStore.select`) serves as well, whose classes are those it holds: to train
        and test on the same labels, choose videos by `split`. Failed videos are left out.
    length : int
        Flows in a clip.
    clips : int
        Clips in an item.
    stride : int
        Distance of a clip's flows in the video.
    sampling : {"random", "uniform", "tsn", "dense", "all"}
        Where clips start, see `flowstore.clips.sampling`. With ``all`` every start of every video is an item of its
        own; with the others an item is a video.
    split : Split, SplitList or iterable of str, optional
        Only these videos: of `flowstore.splits`, or names ``class/video``, each once. Lines of a split that name no
        video of the store are warned of, and kept in `unmatched`.
    transform : FlowTransform or callable, optional
        Of `flowstore.transforms`; another callable is given an array ``(clips·length, 2, H, W)`` and returns one. The
        clips of one item are transformed alike. A `Crop` that comes first is done while reading.
    dtype : {"float32", "uint8"}
        Pixels; or codes as stored, a quarter of the bytes, of which `quantizer` says the meaning.
    layout : {"stack", "time"}
        ``(2·length, H, W)`` with channels x0, y0, x1, y1, …; or ``(length, 2, H, W)``.
    short : {"repeat", "loop", "drop", "error"}
        What to do with videos shorter than a clip: repeat the last flow, begin again, leave them out, refuse them.
    seed : int
        Of all draws.
    training : bool
        Whether draws change from epoch to epoch, and ``tsn`` and ``dense`` draw at all. Without it every epoch is 0,
        whatever `set_epoch` is told.
    labels : {"class", "split"}
        The number of a video's class among the sorted names of the store's classes, or the label in the split's file.
    frames : path, optional
        Gives frames beside the flow: what the store was extracted from, or another dataset of the same classes, videos
        and frames, such as larger ones. Refused are a video with another number of frames than its flow was made of,
        as far as folders and packets tell it without decoding, and, in the dataset that the store was extracted from,
        a video whose files have another size than then.
    frames_at : {"first", "middle", "all"}
        The frames that these flows of each clip start from; the middle one is flow ``length // 2``.
    frame_size : int or tuple of int, optional
        Side or ``(height, width)`` of the frames given, in pixels; by default the flow's size in the frame's own
        pixels: twice the flow's where the frames on disk are twice as large as the flow in the store.
    frame_dtype : {"uint8", "float32"}
        Of the frames given: 0 to 255, or 0 to 1.
    return_info : bool
        Whether an item ends with a dict of what was drawn for it.

    Attributes
    ----------
    classes : list of str
        Names of the labels; the store's classes, sorted, whatever the split.
    class_to_idx : dict of str to int
        The label of each name.
    targets : int64 array (n_items,)
        The label of each item, before a transform that changes it.
    quantizer : Quantizer
        How the store's codes were made.
    unmatched : tuple of Unmatched
        Lines of the split that name no video of the store.

    Raises
    ------
    ArgumentError
        If a choice cannot be used, no video is left, or a video is too short and `short` is ``error``.
    NameNotFoundError
        If the split names a video that the store does not have.
    SourceError
        If there are no frames of a video, or they are known not to be those that its flow was made of.

    Notes
    -----
    An item is ``(flow, label)``, flow as `layout` says, with an axis of clips before it if `clips` is above 1.

    *Frames*: with `frames` an item is ``((rgb, flow), label)``, rgb of red, green and blue: ``(3, H, W)`` for one frame
    of one clip, else ``(clips·n, 3, H, W)``, clip after clip. They are of the moment at which a flow starts, and are
    cropped, resized and mirrored as the flow is. A crop falls on whole pixels of the frame.

    *Info*: with `return_info` an item ends with a dict, which torch's own collate takes too: ``name`` (class/video),
    ``number`` of the item, ``flows`` int64 (clips, length), ``frames`` int64 (clips, n): numbers in the source of the
    frames given, without `frames` of those that the flows start from; ``crop`` float32 (4,): top, left, height and
    width of the part of the stored flow that is seen, in its pixels; ``flip``, ``epoch``, ``fetch`` and ``rank``.

    *Draws* depend on the seed, the epoch, the item's number, on how often it was fetched in that epoch before, and on
    the rank of the training process; not on the workers, nor on the order. So each fetch draws anew: of a sampler with
    replacement, in every epoch of a trainer that never calls `set_epoch`, on each of several ranks. With `set_epoch`
    before each epoch an epoch can be had again. Without `training` an item is always the same.

    *State*: `state_dict` and `load_state_dict` go on with the draws where they were left.

    *Processes*: a dataset carries the path of its store and columns of numbers, no open file. It may be forked,
    spawned or pickled.

    *Speed*: a DataLoader asks for a batch at once, and one array is filled for all of it. Give it
    ``collate_fn=dataset.collate``, which hands that very array over; the default collate copies it once more.

    Examples
    --------
    >>> from torch.utils.data import DataLoader
    >>> dataset = FlowClips("hmdb51.zarr", length=10, transform=Crop(224))  # doctest: +SKIP
    >>> loader = DataLoader(dataset, 32, shuffle=True, num_workers=2, collate_fn=dataset.collate)  # doctest: +SKIP
    """

    def __init__(
        self,
        store: FlowStore | Place,
        length: int = 10,
        clips: int = 1,
        stride: int = 1,
        sampling: Sampling = "random",
        split: Split | SplitList | Iterable[str] | None = None,
        transform: FlowTransform | Callable[[Array], Array] | None = None,
        dtype: Dtype = "float32",
        layout: Layout = "stack",
        short: Short = "repeat",
        seed: int = 0,
        training: bool = True,
        labels: Labels = "class",
        frames: str | os.PathLike[str] | None = None,
        frames_at: FramesAt = "first",
        frame_size: int | tuple[int, int] | None = None,
        frame_dtype: Dtype = "uint8",
        return_info: bool = False,
    ) -> None:
        check_choice("dtype", dtype, Dtype)
        check_choice("layout", layout, Layout)
        check_choice("frames_at", frames_at, FramesAt)
        check_choice("frame_dtype", frame_dtype, Dtype)
        check_flag("return_info", return_info)
        self.frames_at, self.frame_dtype, self.return_info = frames_at, frame_dtype, return_info
        self.frame_size = None if frame_size is None else check_size(frame_size)
        if frames is None:
            for name, value, default in (
                ("frames_at", frames_at, "first"),
                ("frame_size", frame_size, None),
                ("frame_dtype", frame_dtype, "uint8"),
            ):
                if value != default:
                    raise ArgumentError(f"{name} is {value!r}, but an item has no frames: say where they are by frames")
        self.dtype, self.layout, self.transform = dtype, layout, transform
        opened = store if isinstance(store, FlowStore) else open_store(store)
        self.quantizer = opened.settings.quantizer
        if dtype == "uint8" and self.quantizer.dtype != np.uint8:
            raise ArgumentError(f"dtype is 'uint8', but the store holds {self.quantizer.dtype}; ask for 'float32'")
        if missing := opened.missing:
            warnings.warn(f"{opened.url}: {missing}", FlowStoreWarning, stacklevel=2)
        if isinstance(split, SplitList):
            split = split.match(opened.videos)
        self.unmatched = split.unmatched if isinstance(split, Split) else ()
        if isinstance(split, Split) and split.unmatched:
            warnings.warn(split.report(_N_SHOWN), FlowStoreWarning, stacklevel=2)
        rule = ClipRule(length, clips, stride, sampling, short, seed, training)
        self.table = ClipTable(opened.videos, rule, split, labels)
        self.classes = self.table.classes
        self.class_to_idx = {name: number for number, name in enumerate(self.classes)}
        self._crop, self._rest = _split_transform(transform)
        self._check_transform(has_frames=frames is not None)
        self._frames: SourceFrames | None = None
        if frames is not None:
            # Decoders are loaded by those who ask for frames: a server that only trains may lack their libraries.
            from flowstore.clips.source_frames import SourceFrames

            self._frames = SourceFrames(
                frames,
                opened.videos,
                self.table,
                opened.settings.fps is not None,
                lambda row: read_record(opened.storage, self.table.path(row)),
            )
        # Without an index: look-ups go straight to the place, and what is sent to a worker stays small.
        self._store = FlowStore(opened.storage, opened.root)
        # The epoch, then how often each item was fetched in it.
        n_counted = len(self.table) if training and len(self.table) <= _MOST_COUNTED else 0
        self._numbers = SharedNumbers(1 + n_counted)
        self._process, self._rank = os.getpid(), None

    def _check_transform(self, has_frames: bool) -> None:
        if self._crop is not None:
            is_small = (self.table.sizes < self._crop.size).any(axis=1)
            if is_small.any():
                row = int(is_small.argmax())
                height, width = self.table.sizes[row]
                raise ArgumentError(
                    f"{self._crop!r} does not fit into {count_text(int(is_small.sum()), 'video')}, the first is "
                    f"{self.table.path(row)} of {width}×{height}; put a Resize before it"
                )
        for transform in self._rest or ():
            if has_frames and not (isinstance(transform, FlowTransform) and transform.is_drawn):
                raise ArgumentError(
                    f"{name_of(transform)} moves flow alone, and may leave its frames behind: make it a FlowTransform "
                    "with a draw, which both follow, or call it on the batch"
                )
            for name in getattr(transform, "swap", {}):
                if name not in self.class_to_idx:
                    raise ArgumentError(f"{transform!r}: no class {name!r}; there are {', '.join(self.classes)}")

    @property
    def targets(self) -> npt.NDArray[np.int64]:
        """The label of each item, int64 array (n_items,): what a weighted sampler needs."""
        return self.table.item_targets

    def __len__(self) -> int:
        self._keep_apart()
        return len(self.table)

    @property
    def epoch(self) -> int:
        """The epoch that draws are of: the last one that `set_epoch` was told, 0 before."""
        return int(self._numbers.values[0])

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: the same epoch draws the same clips, and no fetch counts yet.

        Parameters
        ----------
        epoch : int
            0 or more.

        Raises
        ------
        ArgumentError
            If it is not a whole number, or below 0.
        """
        check_whole("epoch", epoch, 0, _LARGEST_EPOCH)
        self._keep_apart()
        self._numbers.values[1:] = 0
        self._numbers.values[0] = epoch

    def state_dict(self) -> dict[str, Any]:
        """Return where the draws are: what `load_state_dict` of a dataset made alike goes on from.

        Returns
        -------
        dict
            ``seed``, ``n_items``, ``epoch``, and ``fetched``: int32 tensor (n_items,), how often each was fetched in
            the epoch. Items that workers fetched ahead are counted: save it between epochs.
        """
        self._keep_apart()
        fetched = torch.tensor(self._numbers.values[1:], dtype=torch.int32)
        return {"seed": self.table.rule.seed, "n_items": len(self.table), "epoch": self.epoch, "fetched": fetched}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the draws from where `state_dict` was called; each rank from its own.

        Parameters
        ----------
        state : mapping
            What `state_dict` returned.

        Raises
        ------
        ArgumentError
            If it is no such state, or of a dataset with another seed or another number of items.
        """
        own = self.state_dict()
        if not isinstance(state, Mapping) or state.keys() != own.keys():
            found = ", ".join(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
            raise ArgumentError(f"not a state of FlowClips: it holds {found or 'nothing'}, expected {', '.join(own)}")
        for name in ("seed", "n_items"):
            if state.get(name) != own[name]:
                raise ArgumentError(
                    f"the state is of a dataset whose {name} is {state.get(name)}, here it is {own[name]}"
                )
        fetched = state["fetched"]
        is_counts = isinstance(fetched, torch.Tensor) and fetched.dtype in (torch.int32, torch.int64)
        if not is_counts or fetched.ndim != 1 or bool((fetched < 0).any()):
            raise ArgumentError("not a state of FlowClips: fetched is no int32 tensor (n_items,) of counts")
        if len(fetched) != len(own["fetched"]):
            raise ArgumentError("the state is of a dataset for training, or not for training, this one is the other")
        self.set_epoch(state["epoch"])
        self._numbers.values[1:] = fetched.cpu().numpy()

    def _keep_apart(self) -> None:
        """Give a training process that was started with this dataset counts of its own; workers share theirs."""
        if self._process != os.getpid() and get_worker_info() is None:
            self._numbers, self._process = self._numbers.copy(), os.getpid()

    def _current_rank(self) -> int:
        """Return the rank of the training process, in its workers too."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return int(torch.distributed.get_rank())
        return int(os.environ.get("RANK", "0")) if self._rank is None else self._rank

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker knows nothing of its parent's process group.
        return self.__dict__ | {"_rank": self._current_rank()}

    def _next_draw(self, number: int) -> tuple[ClipDraw, dict[str, int]]:
        """Return what the next fetch of an item holds, and the numbers that it was drawn of."""
        told = {"epoch": 0, "fetch": 0, "rank": 0}
        if self.table.rule.is_training:
            told = {"epoch": self.epoch, "fetch": 0, "rank": self._current_rank()}
            counts = self._numbers.values[1:]
            if len(counts):
                told["fetch"] = int(counts[number])
                counts[number] += 1
        return self.table.draw(number, **told), told

    def flows_of(self, number: int, epoch: int = 0, fetch: int = 0, rank: int = 0) -> tuple[str, npt.NDArray[np.int64]]:
        """Say what an item holds in an epoch, without reading it.

        Parameters
        ----------
        number : int
            Of the item, from the end where negative.
        epoch : int
            0 or more.
        fetch : int
            How often it was fetched in that epoch before: 0 but for a sampler with replacement.
        rank : int
            Of several training processes.

        Returns
        -------
        tuple
            ``class/video``, and int64 array (clips, length): the flows of its clips.

        Raises
        ------
        IndexError
            If there is no such item.
        ArgumentError
            If there is no such epoch.
        """
        for name, value in (("epoch", epoch), ("fetch", fetch), ("rank", rank)):
            check_whole(name, value, 0)
        draw = self.table.draw(self._check_number(number), epoch, fetch, rank)
        return self._key(draw), draw.flows

    def _check_number(self, number: int) -> int:
        number = operator.index(number)
        if not -len(self) <= number < len(self):
            raise IndexError(f"item {number} of {len(self)}")
        return number % len(self)

    def _key(self, draw: ClipDraw) -> str:
        components = draw.path.split("/")
        if any(map(is_shortened, components)):
            # The whole name stands in the video's record only.
            record = read_record(self._store.storage, draw.path)
            if record is not None:
                return f"{record.class_name}/{record.name}"
        return "/".join(map(unescape_name, components))

    def __getitem__(self, number: int) -> Item:
        """Return an item; a batch of them is read faster by `__getitems__`.

        Raises
        ------
        IndexError
            If there is no such item.
        """
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> ClipBatch:
        """Return the items of a batch: what a DataLoader asks for.

        Raises
        ------
        IndexError
            If there is no such item.
        ArgumentError
            If there are none, or their flow is of different sizes or types.
        DecodeError
            If a frame cannot be read.
        SourceError
            If a video's frames are not those that its flow was made of.
        """
        if len(numbers) == 0:
            raise ArgumentError("a batch of no items")
        self._keep_apart()
        checked = [self._check_number(number) for number in numbers]
        draws, told = zip(*[self._next_draw(number) for number in checked], strict=True)
        keys = [self._key(draw) for draw in draws]
        moves = [self._crop.draw(draw.size[0], draw.size[1], draw.rng) if self._crop else None for draw in draws]
        views = [
            View.of(*draw.size) if move is None else View.of(*draw.size).then(move)
            for draw, move in zip(draws, moves, strict=True)
        ]
        if self._rest is None:
            _check_sizes(keys, [view.size for view in views])
        targets = [draw.target for draw in draws]
        rule = self.table.rule
        slot, n_flows = None, rule.clips * rule.length
        windows = [None if move is None else move.window for move in moves]
        if len({view.size for view in views}) == 1:
            flow, slot = _empty("flow", (len(draws), n_flows, 2, *views[0].size), np.dtype(self.dtype))
            self._read(keys, draws, windows, flow)
            clips = list(flow)
        else:
            clips = [np.empty((n_flows, 2, *view.size), self.dtype) for view in views]
            for key, draw, window, clip in zip(keys, draws, windows, clips, strict=True):
                self._read([key], [draw], [window], clip)
        if self._rest is not None:
            results, targets, views = self._transformed(keys, draws, clips, views)
            _check_sizes(keys, [result.shape[-2:] for result in results])
            _check_types(keys, [result.dtype for result in results])
            # Back to where the clips lie, if they fit there.
            if slot is None or flow.shape[1:] != results[0].shape or flow.dtype != results[0].dtype:
                flow, slot = _empty("flow", (len(draws), *results[0].shape), results[0].dtype)
                clips = list(flow)
            for clip, result in zip(clips, results, strict=True):
                if result is not clip:
                    clip[...] = result
        frames, frame_numbers, frame_slot = self._read_frames(keys, draws, views)
        infos = None
        if self.return_info:
            infos = [
                {
                    "name": key,
                    "number": number,
                    "flows": torch.from_numpy(draw.flows),
                    "frames": torch.from_numpy(shown),
                    "crop": torch.tensor(view.window, dtype=torch.float32),
                    "flip": view.is_mirrored,
                    **numbers_drawn,
                }
                for key, number, draw, shown, view, numbers_drawn in zip(
                    keys, checked, draws, frame_numbers, views, told, strict=True
                )
            ]
        return ClipBatch(self._laid_out(torch.from_numpy(flow)), frames, targets, infos, [frame_slot, slot])

    def _read_frames(
        self, keys: Sequence[str], draws: Sequence[ClipDraw], views: Sequence[View]
    ) -> tuple[torch.Tensor | None, list[Array], Slot | None]:
        """Return the frames of a batch, (n, 3, H, W) or (n, clips·n, 3, H, W), their numbers and where they lie."""
        at: FramesAt = "all" if self._frames is None else self.frames_at
        if self._frames is None and not self.return_info:
            return None, [], None
        numbers = [
            self._source_numbers(key, chosen_flows(draw.flows, at)) for key, draw in zip(keys, draws, strict=True)
        ]
        if self._frames is None:
            return None, numbers, None
        from flowstore.clips.source_frames import frame_view_size, view_frame

        out: Array = np.empty(0)
        slot, first = None, ""
        for row, (key, draw, view, wanted) in enumerate(zip(keys, draws, views, numbers, strict=True)):
            try:
                if draw.row not in self._frames.checked:
                    self._frames.check_same(draw.row, self._store[key].record)
                pictures = self._frames.read(draw.row, wanted.ravel().tolist())
            except SourceError as error:
                raise type(error)(f"{key}: {error}") from error
            size = self.frame_size or frame_view_size(view, pictures[0])
            if not row:
                out, slot = _empty("frames", (len(draws), len(pictures), 3, *size), np.dtype(self.frame_dtype))
                first = key
            elif size != out.shape[-2:]:
                one, other = (f"{width}×{height}" for height, width in (out.shape[-2:], size))
                raise ArgumentError(
                    f"frames of different sizes in one batch: {first} gives {one}, {key} {other}; give frame_size"
                )
            for place, picture in zip(out[row], pictures, strict=True):
                place[...] = view_frame(picture, view, size).transpose(2, 0, 1)
        if self.frame_dtype == "float32":
            out *= np.float32(1 / 255)
        is_single = self.frames_at != "all" and self.table.rule.clips == 1
        return torch.from_numpy(out[:, 0] if is_single else out), numbers, slot

    def _source_numbers(self, key: str, flows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        if self._store.settings.fps is None:
            return flows
        with _naming(key):
            return source_numbers(flows, self._store[key].record, self._store.settings)

    def _read(
        self, keys: Sequence[str], draws: Sequence[ClipDraw], windows: Sequence[Window | None], out: Array
    ) -> None:
        """Fill an array (…, 2, H, W) of all their flows, with one request for neighbors that are read alike."""
        length = self.table.rule.length
        clips = [
            (key, flows, window) for key, draw, window in zip(keys, draws, windows, strict=True) for flows in draw.flows
        ]
        out = out.reshape(len(clips), length, *out.shape[-3:])
        done = 0
        for is_run, group in itertools.groupby(clips, key=lambda clip: bool((np.diff(clip[1]) == 1).all())):
            members = list(group)
            part = out[done : done + len(members)]
            done += len(members)
            if not is_run:
                # Flow by flow: with a stride, or past the end of a short video.
                members = [(key, flows[n : n + 1], window) for key, flows, window in members for n in range(length)]
                part = part.reshape(len(members), 1, *part.shape[-3:])
            try:
                self._store.read_clips(
                    [key for key, _, _ in members],
                    [int(flows[0]) for _, flows, _ in members],
                    part.shape[1],
                    crop=[window for _, _, window in members if window is not None] or None,
                    out=part,
                )
            except (ArgumentError, NameNotFoundError, ReplacedError) as error:
                if self._store.storage.size_bytes("zarr.json") is None:
                    raise StoreNotFoundError(
                        f"{self._store.url} is gone since the dataset was made: if it was moved, make the dataset anew "
                        "of where it is now"
                    ) from error
                raise type(error)(
                    f"{error}; {self._store.url} is not as it was when the dataset was made: make the dataset anew"
                ) from error

    def _transformed(
        self, keys: Sequence[str], draws: Sequence[ClipDraw], clips: Sequence[Array], views: Sequence[View]
    ) -> tuple[list[Array], list[int], list[View]]:
        """Return each item's flow (clips·length, 2, H, W) as the transform leaves it, its label and its view."""
        assert self._rest is not None
        quantizer = self.quantizer if self.dtype == "uint8" else None
        results, targets, seen = [], [], []
        for key, draw, clip, view in zip(keys, draws, clips, views, strict=True):
            with _naming(key):
                transformed, name, view_after = self._rest.apply_seen(
                    clip, self.classes[draw.target], draw.rng, quantizer, view
                )
            result = np.asarray(transformed)
            if result.ndim != 4 or result.shape[:2] != clip.shape[:2]:
                raise ArgumentError(
                    f"{key}: {self._rest!r} gave shape {result.shape}, expected {clip.shape[:2]} + (H, W)"
                )
            results.append(result)
            targets.append(draw.target if name is None else self.class_to_idx[name])
            seen.append(view_after)
        return results, targets, seen

    def _laid_out(self, flow: torch.Tensor) -> torch.Tensor:
        """Return a batch (n, clips·length, 2, H, W) in the layout asked for: a view."""
        rule = self.table.rule
        shape = [len(flow), *([rule.clips] if rule.clips > 1 else [])]
        shape += [2 * rule.length] if self.layout == "stack" else [rule.length, 2]
        return flow.view(*shape, *flow.shape[-2:])

    @staticmethod
    def collate(items: Sequence[Item]) -> Item:
        """Make a batch of items: for ``DataLoader(collate_fn=…)``. Copies nothing that was fetched as one batch.

        Parameters
        ----------
        items : sequence of items
            What `__getitems__` returned, or items gathered otherwise.

        Returns
        -------
        tuple
            Flow ``(n, …)``, or rgb and flow, and int64 labels ``(n,)``; with `return_info` a dict of lists and tensors.
        """
        if not isinstance(items, ClipBatch):
            pictures, *rest = default_collate(list(items))
            return tuple(pictures) if isinstance(pictures, list) else pictures, *rest
        labels = np.array(items.labels, np.int64)
        infos = None if items.infos is None else default_collate(items.infos)
        if infos is not None:
            infos = {name: told.numpy() if isinstance(told, torch.Tensor) else told for name, told in infos.items()}
        batch = _batch_of(items.tensors, labels, infos)
        if not items.slots:
            return batch
        shared = _SharedBatch(batch)
        shared.sent = items, labels, infos
        return shared

    def _described(self) -> dict[str, str]:
        rule = self.table.rule
        clips = f"{rule.clips} clips of " if rule.clips > 1 else ""
        described = {
            "items": f"{count_text(len(self), 'item')}, {count_text(self.table.n_videos, 'video')} in "
            f"{count_text(len(self.classes), 'class')}",
            "clips": f"{clips}{count_text(rule.length, 'flow')}, stride {rule.stride}, {rule.sampling}",
            "flow": f"{self.dtype}, {self.layout}",
        }
        if self._frames is not None:
            described["frames"] = f"frames of {self._frames.source}, {self.frames_at}"
        return described

    def __repr__(self) -> str:
        return f"<FlowClips {self._store.url}: {'; '.join(self._described().values())}>"

    def _repr_html_(self) -> str:
        from flowstore.notebook.views import clips_html

        epoch, rank = (self.epoch, self._current_rank()) if self.table.rule.is_training else (0, 0)
        items = []
        for number in range(min(len(self), _N_SHOWN)):
            draw = self.table.draw(number, epoch, rank=rank)
            starts = ", ".join(map(str, draw.flows[:, 0].tolist()))
            items.append((str(number), self._key(draw), self.classes[draw.target], starts))
        rows = [*self._described().items()]
        rows += [("transform", name_of(self.transform))] if self.transform is not None else []
        rows += [("epoch", f"{epoch}; what the first fetch of an item holds")] if self.table.rule.is_training else []
        return clips_html(self._store.url, rows, items, len(self))


def _split_transform(
    transform: FlowTransform | Callable[[Array], Array] | None,
) -> tuple[Crop | None, Compose | None]:
    """Return the crop that can be done while reading, and what is left to do."""
    if transform is None:
        return None, None
    steps = list(Compose(transform))
    crop = steps[0] if steps and isinstance(steps[0], Crop) else None
    rest = steps[1:] if crop else steps
    return crop, Compose(*rest) if rest else None


def _check_sizes(keys: Sequence[str], sizes: Sequence[tuple[int, ...]]) -> None:
    for key, size in zip(keys, sizes, strict=True):
        if size != sizes[0]:
            one, other = (f"{width}×{height}" for height, width in (sizes[0], size))
            raise ArgumentError(
                f"videos of different sizes in one batch: {keys[0]} is {one}, {key} is {other}; "
                "give the dataset transform=Crop(…) or Resize((height, width)) of flowstore.transforms"
            )


def _check_types(keys: Sequence[str], types: Sequence[np.dtype[Any]]) -> None:
    for key, dtype in zip(keys, types, strict=True):
        if dtype != types[0]:
            raise ArgumentError(
                f"flow of different types in one batch: the transform made {types[0]} of {keys[0]} and {dtype} of {key}"
            )


def _empty(part: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[Array, Slot | None]:
    """Return a new array, in a worker in a slot of memory that the main process can map."""
    if get_worker_info() is None:
        return np.empty(shape, dtype), None
    slot = process_pool(part).take(math.prod(shape) * dtype.itemsize)
    return slot.lend(shape, dtype), slot


@contextmanager
def _naming(key: str) -> Iterator[None]:
    """Name the video in what goes wrong with it, in a transform of a user's too."""
    try:
        yield
    except ArgumentError as error:
        raise ArgumentError(f"{key}: {error}") from error
    except Exception as error:
        error.add_note(f"in a transform of {key}")
        raise
