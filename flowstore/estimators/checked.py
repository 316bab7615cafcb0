"""What a stream gives, checked against what it promised: one flow for each pair, in time.

Of a guest each flow is looked at, and whether a lent frame was kept.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from flowstore.errors import EstimatorError
from flowstore.estimators.parameters import Flow, Frame
from flowstore.estimators.protocol import Estimator


class CheckedStream:
    """A stream of an estimator whose every flow is counted.

    Parameters
    ----------
    estimator : Estimator
        Whose stream it is.
    height, width, step : int
        Of the video.
    is_guest : bool
        Whether shape, type and finiteness of each flow are looked at, and whether a lent frame was kept.

    Raises
    ------
    EstimatorError
        By each method, if the stream broke its promise.
    """

    def __init__(self, estimator: Estimator, height: int, width: int, step: int, is_guest: bool) -> None:
        self._estimator = estimator
        self._shape = (2, height, width)
        self._step = step
        self._is_guest = is_guest
        self._stream = estimator.stream(height, width, step)
        if is_guest and not hasattr(self._stream, "push"):
            raise self._broken(f"stream() gave {type(self._stream).__name__}, expected an object with push(frame)")
        self._n_frames = self._n_flows = 0

    def push(self, frame: Frame) -> Sequence[Flow]:
        """Take the next frame; return the flows that came of it, in order, which the next call may overwrite."""
        self._n_frames += 1
        if not self._is_guest:
            return self._counted(self._stream.push(frame))
        before = _n_references(frame)
        given = self._stream.push(frame)
        if _n_references(frame) > before:
            raise self._broken("keeps the frame that it was lent, which may change after the call: keep a copy")
        return self._counted(given)

    def finish(self) -> Sequence[Flow]:
        """Return the flows still owed at the end of the video."""
        finish = getattr(self._stream, "finish", None)
        flows = self._counted(finish() if finish else ())
        if self._n_flows != self._n_due:
            pairs = f"{self._n_due} pairs of {self._n_frames} frames"
            raise self._broken(f"gave {self._n_flows} flows for the {pairs}, expected one a pair")
        return flows

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the stream has to say of the video, at its end."""
        given = getattr(self._stream, "warnings", ())
        # A lone text would be taken for its letters.
        lines = [given] if isinstance(given, str) else given or ()
        return tuple(text for line in lines if (text := " ".join(str(line).split())))

    @property
    def _n_due(self) -> int:
        return max(0, self._n_frames - self._step)

    def _counted(self, given: Flow | Sequence[Flow] | None) -> Sequence[Flow]:
        flows: Sequence[Flow]
        if given is None:
            flows = ()
        elif isinstance(given, np.ndarray):
            flows = (given,)
        else:
            flows = given
        if self._is_guest:
            if not isinstance(flows, list | tuple):
                raise self._broken(f"gave {type(flows).__name__}, expected a flow, a list of flows, or None")
            for flow in flows:
                self._check(flow)
        self._n_flows += len(flows)
        if self._n_flows > self._n_due:
            step = f" at step {self._step}" if self._step > 1 else ""
            raise self._broken(
                f"gave {self._n_flows} flows after {self._n_frames} frames{step}, expected at most {self._n_due}"
            )
        if self._n_due - self._n_flows > self._estimator.batch:
            raise self._broken(
                f"owes {self._n_due - self._n_flows} flows after {self._n_frames} frames, "
                f"more than its batch of {self._estimator.batch}"
            )
        return flows

    def _check(self, flow: Flow) -> None:
        if not isinstance(flow, np.ndarray):
            raise self._broken(f"gave {type(flow).__name__} as a flow, expected a NumPy array")
        if flow.shape != self._shape:
            raise self._broken(f"gave a flow of shape {flow.shape}, expected {self._shape}: (2, height, width)")
        if flow.dtype != np.float32:
            raise self._broken(f"gave a flow of {flow.dtype}, expected float32")
        n_bad = flow.size - int(np.isfinite(flow).sum())
        if n_bad:
            raise self._broken(f"gave {n_bad} of {flow.size} numbers that are not finite, after frame {self._n_frames}")

    def _broken(self, what: str) -> EstimatorError:
        return EstimatorError(f"{self._estimator.algorithm or type(self._estimator).__name__}: {what}")


def _n_references(frame: Frame) -> int:
    # A view of a view refers to the array that owns the memory.
    return sys.getrefcount(frame) + (0 if frame.base is None else sys.getrefcount(frame.base))
