"""Scenes of known motion, independent of `flowstore.scenes`: a smooth random texture moved by ``cv2.warpAffine``."""

import cv2
import numpy as np

MARGIN = 64
MOTIONS = ("translation", "rotation", "zoom", "none")


def smooth_texture(height, width, seed=0, sigma=3.0):
    """Gray levels without edges: float32 (H, W), mean 128, standard deviation 40."""
    noise = np.random.default_rng(seed).standard_normal((height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), sigma)
    return 128 + 40 * (smooth - smooth.mean()) / smooth.std()


def motion_matrix(motion, height, width, shift=(3.0, -2.0), degrees=1.5, factor=1.02):
    """Where a point of one frame is in the next: float64 (2, 3), acting on (x, y, 1) in pixels."""
    center = ((width - 1) / 2, (height - 1) / 2)
    if motion == "translation":
        return np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64)
    if motion == "rotation":
        # OpenCV turns counterclockwise for a positive angle; so a negative one is clockwise on the screen.
        return cv2.getRotationMatrix2D(center, -degrees, 1.0)
    if motion == "zoom":
        return cv2.getRotationMatrix2D(center, 0.0, factor)
    assert motion == "none"
    return np.eye(2, 3)


def true_flow(matrix, height, width):
    """Motion of each pixel under a matrix: float32 (2, H, W), x right and y down, in pixels."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    moved = np.tensordot(matrix, np.stack([x, y, np.ones_like(x)]), axes=1)
    return (moved - np.stack([x, y])).astype(np.float32)


def moving_scene(motion, n_frames=2, height=96, width=128, seed=0, **how):
    """Frames of a motion and the flow from each to the next: uint8 (n, H, W) and float32 (2, H, W).

    The texture reaches `MARGIN` pixels beyond the frame on each side, so nothing enters that was never there.
    """
    texture = smooth_texture(height + 2 * MARGIN, width + 2 * MARGIN, seed)
    step = np.vstack([motion_matrix(motion, height, width, **how), [0, 0, 1]])
    inset = np.array([[1, 0, -MARGIN], [0, 1, -MARGIN], [0, 0, 1]], np.float64)
    frames = []
    for number in range(n_frames):
        matrix = (np.linalg.matrix_power(step, number) @ inset)[:2]
        frame = cv2.warpAffine(texture, matrix, (width, height), flags=cv2.INTER_CUBIC)
        frames.append(np.clip(np.rint(frame), 0, 255).astype(np.uint8))
    return np.stack(frames), true_flow(step[:2], height, width)
