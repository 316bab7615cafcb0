"""A store as a dataset for PyTorch: clips of flow and their labels, drawn at random or by a rule.

The only owner of torch. What a clip holds is decided in `flowstore.clips.sampling`, what is done to it in
`flowstore.transforms`; here clips are drawn, read into one array for a whole batch, and handed over.
"""

from __future__ import annotations

import itertools
import math
import operator
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flowstore.arguments import check_choice, check_whole
from flowstore.clips.sampling import Sampling, Short
from flowstore.clips.shared_memory import Slot, process_pool, receive
from flowstore.clips.table import ClipDraw, ClipRule, ClipTable, Labels
from flowstore.errors import ArgumentError, FlowStoreWarning, MissingExtraError, NameNotFoundError, ReplacedError
from flowstore.names import is_shortened, unescape_name
from flowstore.splits import Split, SplitList
from flowstore.store.open import FlowStore, Place, open_store
from flowstore.store.tree import read_record
from flowstore.transforms import Array, Compose, Crop, FlowTransform, Window

try:
    import torch
    from torch.utils.data import Dataset, default_collate, get_worker_info
except ImportError as error:
    raise MissingExtraError("flowstore.loaders needs PyTorch: pip install 'flowstore[torch]'") from error

Dtype = Literal["float32", "uint8"]
Layout = Literal["stack", "time"]
Item = tuple[torch.Tensor, int]
_N_SHOWN = 5
_FORGOTTEN = -1
_LARGEST_EPOCH = 10**9


class ClipBatch(list[Item]):
    """The items of a batch, which lie in one tensor.

    Parameters
    ----------
    flow : tensor (n, …)
        The flow of all of them.
    labels : list of int
        Their labels.
    slot : Slot or None
        The shared memory that the flow lies in, in a worker.
    """

    def __init__(self, flow: torch.Tensor, labels: list[int], slot: Slot | None) -> None:
        super().__init__(zip(flow, labels, strict=True))
        self.flow = flow
        self.labels = labels
        self.slot = slot


class _SharedBatch(tuple[torch.Tensor, torch.Tensor]):
    """Flow and labels that are sent to another process as the slot they lie in, and arrive as a plain tuple."""

    slot: Slot

    def __reduce__(self) -> tuple[Any, ...]:
        flow, labels = self
        return _receive_batch, (*self.slot.send(), tuple(flow.shape), flow.numpy().dtype, labels.numpy())


def _receive_batch(
    handle: Any, size_bytes: int, shape: tuple[int, ...], dtype: np.dtype[Any], labels: npt.NDArray[np.int64]
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(receive(handle, size_bytes, shape, dtype)), torch.from_numpy(labels)


class FlowClips(Dataset[Item]):
    """Clips of a store, for `torch.utils.data.DataLoader`.

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

    Notes
    -----
    An item is ``(flow, label)``, flow as `layout` says, with an axis of clips before it if `clips` is above 1.

    *Draws* depend on the seed, the epoch and the item's number, and on nothing else: not on the workers, nor on the
    order. Call `set_epoch` before each epoch, as with torch's DistributedSampler; persistent workers hear of it too.
    Where it is never called, an item's epoch is how many times it has been fetched before, counted in memory that
    workers share, so that each epoch still draws anew; with ``all``, or for testing, it is 0. A sampler with
    replacement and one spread over machines need `set_epoch`.

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
    ) -> None:
        check_choice("dtype", dtype, Dtype)
        check_choice("layout", layout, Layout)
        self.dtype, self.layout, self.transform = dtype, layout, transform
        opened = store if isinstance(store, FlowStore) else open_store(store)
        self.quantizer = opened.settings.quantizer
        if dtype == "uint8" and self.quantizer.dtype != np.uint8:
            raise ArgumentError(f"dtype is 'uint8', but the store holds {self.quantizer.dtype}; ask for 'float32'")
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
        self._check_transform()
        # Without an index: look-ups go straight to the place, and what is sent to a worker stays small.
        self._store = FlowStore(opened.storage, opened.root)
        n_counted = len(self) if training and sampling != "all" else 0
        self._fetched = torch.zeros(n_counted, dtype=torch.int32).share_memory_()
        self._epoch = torch.full((1,), _FORGOTTEN, dtype=torch.int64).share_memory_()

    def _check_transform(self) -> None:
        if self._crop is not None:
            is_small = (self.table.sizes < self._crop.size).any(axis=1)
            if is_small.any():
                row = int(is_small.argmax())
                height, width = self.table.sizes[row]
                raise ArgumentError(
                    f"{self._crop!r} does not fit into {int(is_small.sum())} videos, the first is "
                    f"{self.table.path(row)} of {width}×{height}; put a Resize before it"
                )
        for transform in self._rest or ():
            for name in getattr(transform, "swap", {}):
                if name not in self.class_to_idx:
                    raise ArgumentError(f"{transform!r}: no class {name!r}; there are {', '.join(self.classes)}")

    @property
    def targets(self) -> npt.NDArray[np.int64]:
        """The label of each item, int64 array (n_items,): what a weighted sampler needs."""
        return self.table.item_targets

    def __len__(self) -> int:
        return len(self.table)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next: the same epoch draws the same clips.

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
        self._epoch[0] = epoch

    def _next_epoch(self, number: int) -> int:
        epoch = int(self._epoch[0])
        if epoch != _FORGOTTEN:
            return epoch
        if len(self._fetched) == 0:
            return 0
        counts = self._fetched.numpy()
        counts[number] += 1
        return int(counts[number]) - 1

    def flows_of(self, number: int, epoch: int = 0) -> tuple[str, npt.NDArray[np.int64]]:
        """Say what an item holds in an epoch, without reading it.

        Parameters
        ----------
        number : int
            Of the item, from the end where negative.
        epoch : int
            0 or more.

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
        check_whole("epoch", epoch, 0)
        draw = self.table.draw(self._check_number(number), epoch)
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
        """
        if len(numbers) == 0:
            raise ArgumentError("a batch of no items")
        checked = [self._check_number(number) for number in numbers]
        draws = [self.table.draw(number, self._next_epoch(number)) for number in checked]
        keys = [self._key(draw) for draw in draws]
        windows = [self._crop.window(*draw.size, draw.rng) if self._crop else None for draw in draws]
        sizes = [draw.size if window is None else window[2:] for draw, window in zip(draws, windows, strict=True)]
        if self._rest is None:
            _check_sizes(keys, sizes)
        targets = [draw.target for draw in draws]
        rule = self.table.rule
        slot, n_flows = None, rule.clips * rule.length
        if len(set(sizes)) == 1:
            flow, slot = _empty((len(draws), n_flows, 2, *sizes[0]), np.dtype(self.dtype))
            self._read(keys, draws, windows, flow)
            clips = list(flow)
        else:
            clips = [np.empty((n_flows, 2, *size), self.dtype) for size in sizes]
            for key, draw, window, clip in zip(keys, draws, windows, clips, strict=True):
                self._read([key], [draw], [window], clip)
        if self._rest is not None:
            results, targets = self._transformed(keys, draws, clips)
            _check_sizes(keys, [result.shape[-2:] for result in results])
            _check_types(keys, [result.dtype for result in results])
            # Back to where the clips lie, if they fit there.
            if len(set(sizes)) > 1 or flow.shape[1:] != results[0].shape or flow.dtype != results[0].dtype:
                flow, slot = _empty((len(draws), *results[0].shape), results[0].dtype)
                clips = list(flow)
            for clip, result in zip(clips, results, strict=True):
                if result is not clip:
                    clip[...] = result
        return ClipBatch(self._laid_out(torch.from_numpy(flow)), targets, slot)

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
                raise type(error)(
                    f"{error}; {self._store.url} is not as it was when the dataset was made: make the dataset anew"
                ) from error

    def _transformed(
        self, keys: Sequence[str], draws: Sequence[ClipDraw], clips: Sequence[Array]
    ) -> tuple[list[Array], list[int]]:
        """Return each item's flow (clips·length, 2, H, W) as the transform leaves it, and its label."""
        assert self._rest is not None
        quantizer = self.quantizer if self.dtype == "uint8" else None
        results, targets = [], []
        for key, draw, clip in zip(keys, draws, clips, strict=True):
            try:
                transformed, name = self._rest.apply(clip, self.classes[draw.target], draw.rng, quantizer)
            except ArgumentError as error:
                raise ArgumentError(f"{key}: {error}") from error
            result = np.asarray(transformed)
            if result.ndim != 4 or result.shape[:2] != clip.shape[:2]:
                raise ArgumentError(
                    f"{key}: {self._rest!r} gave shape {result.shape}, expected {clip.shape[:2]} + (H, W)"
                )
            results.append(result)
            targets.append(draw.target if name is None else self.class_to_idx[name])
        return results, targets

    def _laid_out(self, flow: torch.Tensor) -> torch.Tensor:
        """Return a batch (n, clips·length, 2, H, W) in the layout asked for: a view."""
        rule = self.table.rule
        shape = [len(flow), *([rule.clips] if rule.clips > 1 else [])]
        shape += [2 * rule.length] if self.layout == "stack" else [rule.length, 2]
        return flow.view(*shape, *flow.shape[-2:])

    @staticmethod
    def collate(items: Sequence[Item]) -> tuple[torch.Tensor, torch.Tensor]:
        """Make a batch of items: for ``DataLoader(collate_fn=…)``. Copies no flow that was fetched as one batch.

        Parameters
        ----------
        items : sequence of items
            What `__getitems__` returned, or items gathered otherwise.

        Returns
        -------
        tuple of tensor
            Flow ``(n, …)`` and int64 labels ``(n,)``.
        """
        if isinstance(items, ClipBatch):
            labels = torch.tensor(items.labels, dtype=torch.int64)
            if items.slot is None:
                return items.flow, labels
            batch = _SharedBatch((items.flow, labels))
            batch.slot = items.slot
            return batch
        flow, labels = default_collate(list(items))
        return flow, labels

    def __repr__(self) -> str:
        rule = self.table.rule
        clips = f"{rule.clips} clips of " if rule.clips > 1 else ""
        return (
            f"<FlowClips {self._store.url}: {len(self)} items, {self.table.n_videos} videos in {len(self.classes)} "
            f"classes; {clips}{rule.length} flows, stride {rule.stride}, {rule.sampling}; {self.dtype}, {self.layout}>"
        )


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


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[Array, Slot | None]:
    """Return a new array, in a worker in a slot of memory that the main process can map."""
    if get_worker_info() is None:
        return np.empty(shape, dtype), None
    slot = process_pool().take(math.prod(shape) * dtype.itemsize)
    return slot.lend(shape, dtype), slot
