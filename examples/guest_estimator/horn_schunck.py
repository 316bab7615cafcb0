"""Horn and Schunck, "Determining Optical Flow", Artificial Intelligence 17 (1981), as a guest of flowstore."""

import cv2
import numpy as np

from flowstore.errors import ArgumentError
from flowstore.estimators import Estimator
from flowstore.estimators.opencv import PairStream

# The mean of a pixel's neighbors, section 8 of the paper.
NEIGHBORS = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]], np.float32) / 12


class HornSchunck(Estimator):
    """Smooth flow that keeps levels constant; `alpha` weighs smoothness, in levels a pixel."""

    defaults = {"alpha": 10.0, "iterations": 100}

    def __init__(self, params=None):
        super().__init__(params)
        if self.params["alpha"] <= 0 or self.params["iterations"] < 1:
            raise ArgumentError(f"horn_schunck: {self.params}, expected alpha above 0 and iterations from 1")

    def stream(self, height, width, step=1):
        return PairStream(self.pair_flow, height, width, step)

    def pair_flow(self, frame0, frame1):
        """Return the motion, float32 (H, W, 2), from one uint8 frame (H, W) to the next."""
        first, second = frame0.astype(np.float32), frame1.astype(np.float32)
        mean = (first + second) / 2
        dx, dy = (cv2.Sobel(mean, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
        change = second - first
        weight = self.params["alpha"] ** 2 + dx**2 + dy**2
        flow = np.zeros((*frame0.shape, 2), np.float32)
        for _ in range(self.params["iterations"]):
            smooth = cv2.filter2D(flow, -1, NEIGHBORS, borderType=cv2.BORDER_REPLICATE)
            excess = (dx * smooth[..., 0] + dy * smooth[..., 1] + change) / weight
            flow = smooth - np.dstack([dx * excess, dy * excess])
        return flow
