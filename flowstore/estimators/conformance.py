"""What the protocol promises of every estimator, as a check that the house's own and guests pass."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence

import numpy as np

from flowstore.errors import EstimatorError
from flowstore.estimators.checked import CheckedStream
from flowstore.estimators.parameters import Flow, Frame, Params
from flowstore.estimators.protocol import Estimator, FrameKind

_N_FRAMES = 6
_STEPS = (1, 2, 3)
# Odd, even, and higher than wide.
_SIZES = ((40, 56), (65, 49), (48, 64))
_STILL_LEVEL = 77


def check_estimator(
    make: Callable[[Params | None], Estimator],
    params: Params | None = None,
    *,
    sizes: Sequence[tuple[int, int]] = _SIZES,
    tolerance_px: float = 0.0,
    still_px: float | None = 1e-3,
) -> None:
    """Check that an estimator keeps the protocol; to be called in its package's tests.

    Shapes and types, several sizes and steps, frames of any stride that are neither kept nor written to, the same flow
    whatever was seen before and after a pickle, two streams at once, videos of any length, and no motion of a still
    scene. Not whether the flow is any good.

    Parameters
    ----------
    make : class or callable
        Makes the estimator of its parameters: the class itself.
    params : mapping, optional
        Parameters to make it with.
    sizes : sequence of tuple of int
        ``(height, width)`` of the frames to try, in pixels.
    tolerance_px : float
        How far two flows of one pair may differ: zero but where arithmetic depends on the size of a batch.
    still_px : float or None
        Largest motion of a still scene; None for one that has not been trained.

    Raises
    ------
    EstimatorError
        At the first promise that it breaks.
    """
    estimator = make(params)
    name = estimator.algorithm or type(estimator).__name__
    again = make(json.loads(json.dumps(dict(estimator.params))))
    _expect(dict(again.params) == dict(estimator.params), name, "its params, as JSON, make another estimator")
    for height, width in sizes:
        frames = _frames(estimator.frames, height, width)
        where = f"on frames of {width}×{height}"
        for step in _STEPS:
            flows = _run(estimator, frames, step)
            alone = [flow for pair in zip(frames, frames[step:], strict=False) for flow in _run(again, pair, 1)]
            for number, flow in enumerate(flows):
                others = [other for other, own in enumerate(alone) if _is_near(flow, own, tolerance_px)]
                fault = "flows come in another order than frames" if others else "a flow depends on other frames"
                _expect(number in others, name, f"{fault}, step {step} {where}")
        expected = _run(estimator, frames, 1)
        travelled = _pickled(estimator, name)
        _expect(
            _are_near(_run(travelled, frames, 1), expected, tolerance_px), name, f"another flow once pickled {where}"
        )
        strided = [_strided(frame) for frame in frames]
        _expect(
            _are_near(_run(estimator, strided, 1), expected, tolerance_px), name, f"another flow of strides {where}"
        )
        _expect(
            _are_near(_run(estimator, frames, 1, is_one_buffer=True), expected, tolerance_px),
            name,
            f"keeps the frame that it was lent {where}: keep a copy",
        )
        one, other = _run_two(estimator, frames)
        _expect(
            _are_near(one, expected, tolerance_px) and _are_near(other, _run(again, frames[::-1], 1), tolerance_px),
            name,
            f"two streams at once meet {where}",
        )
        for n_frames in (0, 1, 2):
            _run(estimator, frames[:n_frames], 1, (height, width))
        if still_px is not None:
            for flow in _run(estimator, [np.full_like(frames[0], _STILL_LEVEL)] * 3, 1):
                largest = float(np.abs(flow).max())
                _expect(largest <= still_px, name, f"a still scene moves by {largest:g} px {where}")


def _expect(is_kept: bool, name: str, what: str) -> None:
    if not is_kept:
        raise EstimatorError(f"{name}: {what}")


def _pickled(estimator: Estimator, name: str) -> Estimator:
    try:
        travelled: Estimator = pickle.loads(pickle.dumps(estimator))
    except (pickle.PickleError, AttributeError, TypeError) as error:
        raise EstimatorError(f"{name}: cannot be pickled: {error}") from error
    return travelled


def _frames(kind: FrameKind, height: int, width: int) -> list[Frame]:
    """Return frames of waves that move faster from frame to frame, so that no flow is like another."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    waves = random.uniform([0.1, 0.1, 0], [0.6, 0.6, 6], (12, 3))
    frames = []
    for number in range(_N_FRAMES):
        u, v = 0.3 * number**2, -0.2 * number**2
        total = sum(np.sin(kx * (x - u) + ky * (y - v) + phase) for kx, ky, phase in waves)
        levels = np.clip(128 + 12 * total, 0, 255).astype(np.uint8)
        frames.append(levels if kind == "gray" else np.dstack([levels, levels[::-1], 255 - levels]))
    return frames


def _strided(frame: Frame) -> Frame:
    wide = np.zeros((2 * frame.shape[0], frame.shape[1], *frame.shape[2:]), np.uint8)
    wide[::2] = frame
    return wide[::2]


def _run(
    estimator: Estimator,
    frames: Sequence[Frame],
    step: int,
    size: tuple[int, int] | None = None,
    is_one_buffer: bool = False,
) -> list[Flow]:
    """Return every flow of a sequence, copied; each frame must come back as it was."""
    height, width = size or frames[0].shape[:2]
    stream = CheckedStream(estimator, height, width, step, is_guest=True)
    buffer = np.empty_like(frames[0]) if is_one_buffer else None
    flows: list[Flow] = []
    for frame in frames:
        lent = frame
        if buffer is not None:
            buffer[...] = frame
            lent = buffer
        before = lent.copy()
        flows += [flow.copy() for flow in stream.push(lent)]
        if not np.array_equal(lent, before):
            raise EstimatorError(f"{estimator.algorithm or type(estimator).__name__}: writes to the frame it was lent")
    return flows + [flow.copy() for flow in stream.finish()]


def _run_two(estimator: Estimator, frames: Sequence[Frame]) -> tuple[list[Flow], list[Flow]]:
    """Return the flows of a sequence and of its reverse, whose frames come in turn."""
    height, width = frames[0].shape[:2]
    streams = [CheckedStream(estimator, height, width, 1, is_guest=True) for _ in range(2)]
    flows: tuple[list[Flow], list[Flow]] = [], []
    for pair in zip(frames, frames[::-1], strict=True):
        # Taken from both before either is copied: they may not share an array.
        given = [stream.push(frame) for stream, frame in zip(streams, pair, strict=True)]
        for found, some in zip(flows, given, strict=True):
            found.extend(flow.copy() for flow in some)
    given = [stream.finish() for stream in streams]
    for found, some in zip(flows, given, strict=True):
        found.extend(flow.copy() for flow in some)
    return flows


def _is_near(flow: Flow, expected: Flow, tolerance_px: float) -> bool:
    return bool(np.abs(flow - expected).max() <= tolerance_px)


def _are_near(flows: Sequence[Flow], expected: Sequence[Flow], tolerance_px: float) -> bool:
    return len(flows) == len(expected) and all(map(_is_near, flows, expected, [tolerance_px] * len(flows)))
