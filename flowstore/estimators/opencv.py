"""Estimators that OpenCV has. Owns OpenCV's flow functions: two gray frames in, flow out."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from flowstore.arguments import ParameterValue
from flowstore.errors import ArgumentError, EstimatorError
from flowstore.estimators.parameters import (
    Flow,
    Frame,
    Params,
    check_params,
    farneback_params,
    merge_params,
    tvl1_params,
)
from flowstore.estimators.protocol import Estimator, FlowStream
from flowstore.opencv import cv2, replace_command


class PairStream(FlowStream):
    """A stream for estimators that compare two frames and keep nothing between pairs.

    `pair_flow`: callable, ``(frame0, frame1) -> flow``: two uint8 arrays (H, W) to one float32 array (H, W, 2),
    as OpenCV has it.
    """

    def __init__(self, pair_flow: Callable[[Frame, Frame], Flow], height: int, width: int, step: int) -> None:
        self._pair_flow = pair_flow
        self._earlier: deque[Frame] = deque(maxlen=step)
        self._flow = np.empty((2, height, width), np.float32)

    def push(self, frame: Frame) -> Flow | None:
        """Take the next frame; see `flowstore.estimators.protocol.FlowStream.push`."""
        flow = None
        # A copy: a caller that decodes into one buffer would have each frame compared with itself.
        frame = np.array(frame, order="C")
        if len(self._earlier) == self._earlier.maxlen:
            try:
                pair_flow = self._pair_flow(self._earlier[0], frame)
            except cv2.error as error:
                raise EstimatorError(
                    f"OpenCV refuses frames of {frame.shape[1]}×{frame.shape[0]}: {error.err}"
                ) from error
            flow = self._flow
            np.copyto(flow, np.moveaxis(pair_flow, 2, 0))
        self._earlier.append(frame)
        return flow


class OpenCVFarneback(Estimator):
    """Farnebäck's polynomial expansion, OpenCV's ``calcOpticalFlowFarneback``.

    References
    ----------
    Farnebäck, "Two-Frame Motion Estimation Based on Polynomial Expansion", SCIA 2003. Defaults are those of the
    notebook loop that HMDB51 flow is commonly made with.
    """

    algorithm = "farneback"
    engine = "opencv"

    def __init__(self, params: Params | None = None) -> None:
        self.params = farneback_params(params)

    def stream(self, height: int, width: int, step: int = 1) -> PairStream:
        """Return a stream for one video of ``height × width`` pixels."""
        arguments = tuple(self.params.values())
        buffer = np.empty((height, width, 2), np.float32)
        return PairStream(
            lambda frame0, frame1: cv2.calcOpticalFlowFarneback(frame0, frame1, buffer, *arguments),
            height,
            width,
            step,
        )


class OpenCVDis(Estimator):
    """Dense inverse search, OpenCV's ``DISOpticalFlow``.

    References
    ----------
    Kroeger, Timofte, Dai, Van Gool, "Fast Optical Flow using Dense Inverse Search", ECCV 2016.
    """

    algorithm = "dis"
    engine = "opencv"
    _PRESETS = ("ultrafast", "fast", "medium")
    _OWN = (
        "finest_scale",
        "patch_size",
        "patch_stride",
        "gradient_descent_iterations",
        "variational_refinement_iterations",
        "variational_refinement_alpha",
        "variational_refinement_delta",
        "variational_refinement_gamma",
        "use_mean_normalization",
        "use_spatial_propagation",
    )

    def __init__(self, params: Params | None = None) -> None:
        asked = dict(check_params(params))
        preset = asked.pop("preset", "medium")
        if preset not in self._PRESETS:
            raise ArgumentError(f"dis: preset is {preset!r}, expected one of {', '.join(self._PRESETS)}")
        of_preset = self._read_own(cv2.DISOpticalFlow_create(self._PRESETS.index(str(preset))))
        own = merge_params("dis", of_preset, asked, also=("preset",))
        self.params: Params = {"preset": preset, **own}
        for name, least in (
            ("patch_size", 1),
            ("patch_stride", 1),
            ("gradient_descent_iterations", 1),
            ("finest_scale", 0),
        ):
            if int(own[name]) < least:
                raise ArgumentError(f"dis: {name} is {own[name]}, expected {least} or more")
        if int(own["patch_stride"]) > int(own["patch_size"]):
            # OpenCV reads and writes beyond its arrays then.
            raise ArgumentError(
                f"dis: patch_stride is {own['patch_stride']}, expected at most patch_size, {own['patch_size']}"
            )
        if int(own["variational_refinement_iterations"]) < 0:
            raise ArgumentError("dis: variational_refinement_iterations is negative, expected 0 or more")
        for name in ("alpha", "delta", "gamma"):
            if float(own[f"variational_refinement_{name}"]) < 0:
                raise ArgumentError(f"dis: variational_refinement_{name} is negative, expected 0 or more")

    def _read_own(self, dis: Any) -> dict[str, ParameterValue]:
        values = {name: getattr(dis, _accessor("get", name))() for name in self._OWN}
        return {name: float(f"{value:.7g}") if isinstance(value, float) else value for name, value in values.items()}

    def stream(self, height: int, width: int, step: int = 1) -> PairStream:
        """Return a stream for one video of ``height × width`` pixels."""
        self._check_size(height, width)
        dis = cv2.DISOpticalFlow_create(self._PRESETS.index(str(self.params["preset"])))
        for name in self._OWN:
            getattr(dis, _accessor("set", name))(self.params[name])
        return PairStream(lambda frame0, frame1: dis.calc(frame0, frame1, None), height, width, step)

    def _check_size(self, height: int, width: int) -> None:
        # Where a frame has no pyramid level as coarse as finest_scale, OpenCV chooses patch and levels anew, by width
        # alone (DISOpticalFlowImpl::autoSelectPatchSizeAndScales); it reads beyond levels that are lower than a patch.
        finest, patch = int(self.params["finest_scale"]), int(self.params["patch_size"])
        shorter, longer = sorted((height, width))
        if shorter < patch:
            return  # refused by OpenCV itself
        by_longer = math.log(longer / (4 * patch)) / math.log(2) + 0.5
        by_shorter = math.log(shorter // patch) / math.log(2)
        if min(int(by_longer), int(by_shorter)) >= finest:
            return
        patch = 12 if finest in (3, 4) else 8
        coarsest = max(0, math.floor(math.log2(2 * width / (5 * patch))))
        if height >> coarsest < patch or int(self.params["patch_stride"]) > patch:
            raise EstimatorError(
                f"dis: frames of {width}×{height} are too small for finest_scale {finest}, OpenCV would crash: "
                "take a lower finest_scale, such as 0, or larger frames"
            )


class OpenCVTvl1(Estimator):
    """Duality-based TV-L1, ``DualTVL1OpticalFlow`` of OpenCV's contrib modules.

    References
    ----------
    Zach, Pock, Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow", DAGM 2007.
    """

    algorithm = "tvl1"
    engine = "opencv"

    def __init__(self, params: Params | None = None) -> None:
        if not hasattr(getattr(cv2, "optflow", None), "DualTVL1OpticalFlow_create"):
            raise EstimatorError(
                "tvl1: the engine opencv needs OpenCV's contrib modules, which are not installed: "
                f"take the engine numba, or {replace_command(is_contrib=True)}"
            )
        self.params = tvl1_params(params)

    def stream(self, height: int, width: int, step: int = 1) -> PairStream:
        """Return a stream for one video of ``height × width`` pixels."""
        tvl1 = cv2.optflow.DualTVL1OpticalFlow_create(*self.params.values())
        return PairStream(lambda frame0, frame1: tvl1.calc(frame0, frame1, None), height, width, step)


def _accessor(verb: str, name: str) -> str:
    return verb + "".join(word.capitalize() for word in name.split("_"))
