"""What an estimator is: which frames it wants, what a pair takes, and a stream of flow for each video.

Owns the two classes that every estimator is made of, the house's own and those of other packages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from flowstore.estimators.parameters import Flow, Frame, Params, merge_params

FrameKind = Literal["gray", "rgb"]


class FlowStream:
    """Flow along the frames of one video, all of one size. Not thread-safe: one a video.

    Attributes
    ----------
    warnings : sequence of str
        What the user should know of this video's flow, looked at when the video has ended; kept in its record.
    """

    warnings: Sequence[str] = ()

    def push(self, frame: Frame) -> Flow | Sequence[Flow] | None:
        """Take the next frame.

        Parameters
        ----------
        frame : uint8 array (H, W) or (H, W, 3)
            Gray levels, or red, green, blue, as the estimator wants; any stride; the caller's again after the call:
            a stream that needs it later keeps a copy.

        Returns
        -------
        float32 array (2, H, W), sequence of such, or None
            Motion in pixels from a frame to the one `step` later, component 0 = x (right), 1 = y (down), C-contiguous;
            in the order of the frames, one for each pair, at most `batch` pairs late. An array belongs to the stream,
            which may overwrite it at the next call.
        """
        raise NotImplementedError

    def finish(self) -> Sequence[Flow]:
        """Return the flows that are still owed when the video ends, in order; none unless it works in batches."""
        return ()


class Estimator:
    """An algorithm with all its parameters, ready to be run over any number of videos. Picklable.

    Attributes
    ----------
    algorithm, engine : str
        Its name, and which implementation of it; of a guest both are set for it.
    frames : {"gray", "rgb"}
        What its streams take.
    defaults : mapping
        Every parameter with its default, whose type is the parameter's: whole, float, bool or str.
    params : mapping
        Every parameter with its value.
    batch : int
        Pairs that it likes to work on at once: its streams may owe so many flows.
    max_workers : int or None
        Videos at a time unless the user says how many; None for one on each core.
    libraries : tuple of str
        Distributions besides its own that its flow depends on: their versions are recorded.
    incidental : tuple of str
        Parameters that say where or how it runs and leave flow what it is but for rounding: recorded, and a store goes
        on with others.
    notes : tuple of str
        What the plan should tell of how it runs here.
    worker : int or None
        Set for it: which of the processes of a run it is in, from 0; None where the run has one process.

    Parameters
    ----------
    params : mapping, optional
        Parameters that differ from their defaults: values or their text.

    Raises
    ------
    ArgumentError
        If one is unknown or not of its default's type.
    """

    algorithm: str = ""
    engine: str = ""
    frames: FrameKind = "gray"
    defaults: ClassVar[Params] = {}
    params: Params
    batch: int = 1
    max_workers: int | None = None
    libraries: ClassVar[tuple[str, ...]] = ()
    incidental: ClassVar[tuple[str, ...]] = ()
    notes: tuple[str, ...] = ()
    worker: int | None = None

    def __init__(self, params: Params | None = None) -> None:
        self.params = merge_params(self.algorithm or type(self).__name__, self.defaults, params)

    def pair_bytes(self, height: int, width: int) -> int:
        """Return the bytes that a pair of frames takes, beyond what every video is foretold to: 330 a pixel."""
        return 0

    def stream(self, height: int, width: int, step: int = 1) -> FlowStream:
        """Return a stream for one video of ``height × width`` pixels."""
        raise NotImplementedError
