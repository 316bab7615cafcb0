"""The index as pandas tables: one row per video or per flow. Pure; owns pandas, loaded when a table is asked for.

What repeats is categorical: a store of 300 000 videos has few classes, and millions of flows have few videos.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.errors import MissingExtraError

Columns = Mapping[str, npt.NDArray[Any]]


def videos_table(columns: Columns, encoding: str) -> Any:
    """Return a table of videos.

    `columns`: mapping of str to array (n_videos,), those of an index.
    """
    pd = _import_pandas()
    fps, n_frames = columns["fps"], columns["n_frames"]
    with np.errstate(divide="ignore", invalid="ignore"):
        duration_s = np.where(fps > 0, n_frames / fps, np.nan)
    n_videos = len(fps)
    return pd.DataFrame(
        {
            "class": _classes(columns),
            "name": columns["video"].tolist(),
            "n_frames": n_frames,
            "n_flows": columns["n_flows"],
            "height": columns["height"],
            "width": columns["width"],
            "fps": fps,
            "duration_s": duration_s,
            "mean_magnitude_px": columns["mean_magnitude"],
            "p99_magnitude_px": columns["p99_magnitude"],
            "max_magnitude_px": columns["max_magnitude"],
            "clipped_share": columns["clipped_share"],
            "encoding": pd.Categorical.from_codes(np.zeros(n_videos, np.int8), [encoding]),
            "size_bytes": columns["size_bytes"],
            "status": pd.Categorical.from_codes((columns["status"] != "ok").astype(np.int8), ["ok", "failed"]),
            "reason": columns["reason"].tolist(),
        },
        index=pd.Index(video_keys(columns), name="video"),
    )


def flows_table(columns: Columns, flow_means: npt.NDArray[np.float32]) -> Any:
    """Return a table of flows.

    `columns`: mapping of str to array (n_videos,), those of an index. `flow_means`: float32 array (sum of
    n_flows,), mean magnitude of each flow in pixels, video after video.
    """
    pd = _import_pandas()
    video = flow_videos(columns["n_flows"])
    frame = flow_frames(columns["n_flows"])
    classes = _classes(columns)
    time_s = columns["fps"][video]
    np.divide(frame, time_s, out=time_s)
    return pd.DataFrame(
        {
            "class": pd.Categorical.from_codes(classes.codes[video], dtype=classes.dtype),
            "video": pd.Categorical.from_codes(video, video_keys(columns)),
            "frame": frame,
            "time_s": time_s,
            "mean_magnitude_px": flow_means,
        },
        copy=False,
    )


def flow_videos(n_flows: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Return the row of each flow's video.

    `n_flows`: int64 array (n_videos,), flows of each video. Gives int32 array (sum of n_flows,).

    Examples
    --------
    >>> flow_videos(np.array([3, 0, 2]))
    array([0, 0, 0, 2, 2], dtype=int32)
    """
    return np.repeat(np.arange(len(n_flows), dtype=np.int32), n_flows)


def flow_frames(n_flows: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Return the number of each flow in its video.

    `n_flows`: int64 array (n_videos,), flows of each video. Gives int32 array (sum of n_flows,).

    Examples
    --------
    >>> flow_frames(np.array([3, 0, 2]))
    array([0, 1, 2, 0, 1], dtype=int32)
    """
    frames = np.ones(int(n_flows.sum()), np.int32)
    # Each video's first flow takes back what was counted in the one before it: several times faster than to repeat.
    lengths = n_flows[n_flows > 0]
    starts = np.cumsum(lengths) - lengths
    frames[starts[:1]] = 0
    frames[starts[1:]] = 1 - lengths[:-1]
    return np.cumsum(frames, out=frames)


def video_keys(columns: Columns) -> list[str]:
    """Return ``class/name`` of each video, which a store takes; the path of those that would be shown alike."""
    pairs = zip(columns["class"].tolist(), columns["video"].tolist(), strict=True)
    keys = [f"{class_name}/{name}" for class_name, name in pairs]
    if len(set(keys)) == len(keys):
        return keys
    seen = Counter(keys)
    return [path if seen[key] > 1 else key for key, path in zip(keys, columns["path"].tolist(), strict=True)]


def _classes(columns: Columns) -> Any:
    """Return the class of each video as a categorical, by comparing neighbors: an index is sorted by class."""
    pd = _import_pandas()
    names = columns["class"]
    if not len(names):
        return pd.Categorical([])
    is_first = np.concatenate([[True], names[1:] != names[:-1]])
    categories, codes = np.unique(names[is_first].astype(object), return_inverse=True)
    return pd.Categorical.from_codes(codes[np.cumsum(is_first) - 1], categories)


def _import_pandas() -> Any:
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtraError("to_pandas needs pandas: pip install 'flowstore[notebook]'") from error
    return pd
