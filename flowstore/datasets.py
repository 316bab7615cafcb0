"""Public datasets in torchvision's manner: a store, the official split and the label of each video."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from flowstore.arguments import check_flag, check_whole
from flowstore.errors import ArgumentError
from flowstore.loaders import FlowClips
from flowstore.splits import SplitList, read_hmdb51, read_kinetics, read_ucf101
from flowstore.store.open import FlowStore, Place

PathLike = str | os.PathLike[str]


class _Split(FlowClips):
    """Clips of the videos of an official split; training draws, testing does not."""

    def __init__(self, root: FlowStore | Place, split: SplitList, train: bool, options: dict[str, Any]) -> None:
        for name in ("split", "store"):
            if name in options:
                raise ArgumentError(f"{type(self).__name__} takes its own {name}; use FlowClips for another one")
        super().__init__(root, split=split, **{"training": train} | options)


def _beside(root: FlowStore | Place, name: str) -> str:
    """Return the path of a file or folder that stands where the store does."""
    url = root.url if isinstance(root, FlowStore) else os.fspath(root) if isinstance(root, str | os.PathLike) else ""
    if not url or "://" in url:
        raise ArgumentError(f"annotation_path is missing: the lists of a store that is no local path, {url or root!r}")
    return os.path.join(os.path.dirname(os.path.abspath(url)), name)


class _Folds(_Split):
    """Clips of a dataset with three official splits."""

    # Where its archive unpacks the lists, and what reads them.
    _folder: str
    _read_lists: Callable[..., SplitList]

    def __init__(
        self,
        root: FlowStore | Place,
        annotation_path: PathLike | None = None,
        fold: int = 1,
        train: bool = True,
        **options: Any,
    ) -> None:
        check_flag("train", train)
        check_whole("fold", fold, 1, 3)
        folder = annotation_path or _beside(root, self._folder)
        super().__init__(root, self._read_lists(folder, fold, "train" if train else "test"), train, options)


class HMDB51(_Folds):
    """Clips of HMDB51.

    Parameters
    ----------
    root : FlowStore, path or URL
        The store of its flow.
    annotation_path : path, optional
        The folder of ``{class}_test_split{1,2,3}.txt``; by default ``testTrainMulti_7030_splits`` beside the store, as
        the dataset's own archive names it.
    fold : {1, 2, 3}
        Which of the three splits.
    train : bool
        Its training videos, drawn anew in each epoch; or its testing videos, always the same.
    **options
        Of `flowstore.loaders.FlowClips`: `length`, `clips`, `sampling`, `transform`, `frames` and the others.

    Raises
    ------
    ArgumentError
        If there is no such fold, or an option is none.
    SourceError
        If a file of the split is missing.

    Examples
    --------
    >>> HMDB51("hmdb51.zarr", fold=1, train=True, frames="videos")  # doctest: +SKIP
    """

    _folder, _read_lists = "testTrainMulti_7030_splits", staticmethod(read_hmdb51)


class UCF101(_Folds):
    """Clips of UCF101.

    Parameters
    ----------
    root : FlowStore, path or URL
        The store of its flow.
    annotation_path : path, optional
        The folder of ``classInd.txt``, ``trainlist0{1,2,3}.txt`` and ``testlist0{1,2,3}.txt``; by default
        ``ucfTrainTestlist`` beside the store, as the dataset's own archive names it.
    fold : {1, 2, 3}
        Which of the three splits.
    train : bool
        Its training videos, drawn anew in each epoch; or its testing videos, always the same.
    **options
        Of `flowstore.loaders.FlowClips`.

    Raises
    ------
    ArgumentError
        If there is no such fold, or an option is none.
    SourceError
        If a file of the split is missing.

    Examples
    --------
    >>> UCF101("ucf101.zarr", "lists", fold=1, train=False, clips=25, sampling="tsn")  # doctest: +SKIP
    """

    _folder, _read_lists = "ucfTrainTestlist", staticmethod(read_ucf101)


class Kinetics(_Split):
    """Clips of Kinetics-400, 600 or 700.

    Parameters
    ----------
    root : FlowStore, path or URL
        The store of its flow.
    annotation_path : path
        The csv file of a split.
    split : str, optional
        ``train``, ``val`` or ``test`` as its column ``split`` says; by default every line.
    train : bool, optional
        Whether clips are drawn anew in each epoch; by default unless `split` is ``val`` or ``test``.
    **options
        Of `flowstore.loaders.FlowClips`.

    Raises
    ------
    ArgumentError
        If the file has no such split, or an option is none.
    SourceError
        If the file is missing.

    Examples
    --------
    >>> Kinetics("k400.zarr", "k400/val.csv", split="val", frames="k400/val")  # doctest: +SKIP
    """

    def __init__(
        self,
        root: FlowStore | Place,
        annotation_path: PathLike,
        split: str | None = None,
        train: bool | None = None,
        **options: Any,
    ) -> None:
        is_drawn = split not in ("val", "validate", "test") if train is None else train
        check_flag("train", is_drawn)
        super().__init__(root, read_kinetics(annotation_path, split), is_drawn, options)
