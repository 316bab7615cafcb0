"""Which frames of its source a clip of flow starts from: rules on numbers, which need no decoder. Pure."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from flowstore.errors import ArgumentError
from flowstore.format.record import VideoRecord
from flowstore.format.settings import ExtractSettings

FramesAt = Literal["first", "middle", "all"]
Numbers = npt.NDArray[np.int64]


def chosen_flows(flows: Numbers, at: FramesAt) -> Numbers:
    """Return those of a clip's flows whose first frames are wanted.

    `flows`: int64 array (clips, length), numbers of the flows. Gives int64 array (clips, n).

    Examples
    --------
    >>> chosen_flows(np.array([[4, 5, 6, 7]]), "middle")
    array([[6]])
    """
    if at == "all":
        return flows
    return flows[:, [0 if at == "first" else flows.shape[1] // 2]]


def source_numbers(flows: Numbers, record: VideoRecord, settings: ExtractSettings) -> Numbers:
    """Return the number in the source of the frame that each flow starts from, an array of the shape of `flows`."""
    if record.frame_numbers:
        return np.array(record.frame_numbers, np.int64)[flows]
    if settings.fps is not None and (record.fps is None or record.fps >= settings.fps):
        raise ArgumentError(
            f"the store does not say which frames were taken for {settings.fps:g} per second: extract it anew to have "
            "the frames of its flow"
        )
    return flows
