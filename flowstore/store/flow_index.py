"""The flows of a store, a row each, from the index alone: no flow and no video's record is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.names import count_text
from flowstore.notebook.tables import flow_frames, flow_videos, flows_table
from flowstore.store.video_index import VideoIndex


class FlowIndex:
    """Every flow of a store or a selection, video after video.

    Parameters
    ----------
    videos : VideoIndex
        The videos whose flows these are.

    Notes
    -----
    The mean magnitudes are of float flow before quantization, rounded to four significant digits.
    """

    def __init__(self, videos: VideoIndex) -> None:
        self._videos = videos

    def __len__(self) -> int:
        return int(self._videos.column("n_flows").sum())

    @property
    def mean_magnitude_px(self) -> npt.NDArray[np.float32]:
        """Mean magnitude of each flow over its pixels: float32 (n,)."""
        return self._videos.flow_means

    @property
    def video_numbers(self) -> npt.NDArray[np.int32]:
        """Row of each flow's video in the index: int32 (n,)."""
        return flow_videos(self._videos.column("n_flows"))

    @property
    def frames(self) -> npt.NDArray[np.int32]:
        """Number of each flow in its video, which is that of the frame it starts from: int32 (n,)."""
        return flow_frames(self._videos.column("n_flows"))

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame`, one row per flow.

        Returns
        -------
        pandas.DataFrame
            ``class`` and ``video`` (``class/name``, both categorical; ``store[video]`` takes it), ``frame`` (the one
            that the flow starts from), ``time_s`` (of that frame; NaN where the frame rate is unknown or not constant:
            ``video.record.flow_times_s`` has those), ``mean_magnitude_px``. A row takes 22 to 25 bytes.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.

        Examples
        --------
        The hundred most moving seconds of a store::

            flows = store.flows.to_pandas()
            seconds = flows.groupby(["video", flows.time_s // 1], observed=True).mean_magnitude_px.mean()
            seconds.nlargest(100)
        """
        return flows_table(self._videos.columns, self.mean_magnitude_px)

    def __repr__(self) -> str:
        return f"<FlowIndex: {count_text(len(self), 'flow')} of {count_text(len(self._videos), 'video')}>"
