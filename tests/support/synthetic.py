"""Scenes of known motion, and the files they are written to. Imports nothing of flowstore: its answers stand outside.

A scene's texture is a sum of plane waves, known at every real point, so that a frame is sampled, not interpolated, and
the flow is the motion itself, exact to the rounding of float32.
"""

from pathlib import Path

import cv2
import numpy as np

# One frame's motion about the center of the frame, as [matrix | shift]: x right, y down, pixels.
TURN = np.deg2rad(1.5)
MOTIONS = {
    "none": [[1, 0, 0], [0, 1, 0]],
    "translation": [[1, 0, 2.25], [0, 1, -1.5]],
    "rotation": [[np.cos(TURN), -np.sin(TURN), 0], [np.sin(TURN), np.cos(TURN), 0]],
    "zoom": [[1.03, 0, 0], [0, 1.03, 0]],
}
_N_WAVES = 60


def texture(x, y, seed=0):
    """Return the smooth random texture at some points: float64 gray levels, near 128 with a deviation of 40.

    The wavelengths are 8 to 60 pixels, long against the motions of a frame.
    """
    rng = np.random.default_rng(seed)
    frequency = 2 * np.pi / np.exp(rng.uniform(np.log(8), np.log(60), _N_WAVES))
    direction, phase = rng.uniform(0, 2 * np.pi, (2, _N_WAVES))
    total = np.zeros(np.shape(x))
    for k, angle, shift in zip(frequency, direction, phase, strict=True):
        total += np.sin(k * (np.cos(angle) * x + np.sin(angle) * y) + shift)
    return 128 + 40 * total / np.sqrt(_N_WAVES / 2)


def scene(motion, n_frames=2, height=96, width=128, step=1, seed=0):
    """Return the frames of a scene and the flow from each to the one `step` later.

    Parameters
    ----------
    motion : str or array (2, 3)
        A name of `MOTIONS`, or the affine motion of one frame about the center.

    Returns
    -------
    frames : uint8 array (n_frames, H, W)
    flow : float32 array (2, H, W)
        In pixels, x (right) before y (down).
    """
    once = np.vstack([MOTIONS[motion] if isinstance(motion, str) else motion, [0, 0, 1]])
    y, x = np.mgrid[:height, :width].astype(np.float64)
    points = np.stack([x - (width - 1) / 2, y - (height - 1) / 2, np.ones_like(x)])
    frames = []
    for number in range(n_frames):
        # What stands at a point of frame n was n motions earlier where the texture is at home.
        origin = np.einsum("ij,jyx->iyx", np.linalg.matrix_power(np.linalg.inv(once), number), points)
        frames.append(np.clip(np.rint(texture(origin[0], origin[1], seed)), 0, 255).astype(np.uint8))
    moved = np.einsum("ij,jyx->iyx", np.linalg.matrix_power(once, step), points)
    return np.stack(frames), (moved - points)[:2].astype(np.float32)


def to_color(frames):
    """Return gray frames (N, H, W) as BGR (N, H, W, 3) whose channels differ, so that no channel passes for gray."""
    frames = np.asarray(frames)
    return np.stack([255 - frames, frames, frames // 2 + 40], axis=-1)


def write_video(path, frames, fps=25.0, fourcc="MJPG"):
    """Write frames, gray (N, H, W) or BGR (N, H, W, 3), with OpenCV: MJPG for ``.avi``, mp4v for ``.mp4``."""
    frames = np.asarray(frames)
    height, width = frames.shape[1:3]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), fps, (width, height))
    assert writer.isOpened(), f"OpenCV cannot write {fourcc} to {path}"
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR) if frame.ndim == 2 else frame)
    writer.release()
    return Path(path)


def write_frames(folder, frames, pattern="img_{:05d}.jpg", first=1):
    """Write frames to a folder of images; the pattern's suffix names the format."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    suffix = Path(pattern).suffix
    for number, frame in enumerate(frames, first):
        is_encoded, data = cv2.imencode(suffix, np.ascontiguousarray(frame))
        assert is_encoded, f"OpenCV cannot write {suffix}"
        # Not cv2.imwrite, which takes names as UTF-8 only.
        Path(folder, pattern.format(number)).write_bytes(data.tobytes())
    return Path(folder)
