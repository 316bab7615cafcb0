"""Flow at which codes change: ties, ends, and what lies around zero."""

import numpy as np

BOUNDS = [20, 15.0, 1, 127, 127.5, 128, 0.1, 7.3, 32.0, 1e-3, 1000, 0.75]
FLOAT32 = np.finfo(np.float32)


def beside(values):
    """Return float32 values with their neighbors, and theirs, on both sides."""
    values = np.asarray(values, np.float64).astype(np.float32)
    below, above = np.nextafter(values, np.float32(-np.inf)), np.nextafter(values, np.float32(np.inf))
    further = np.nextafter(below, np.float32(-np.inf)), np.nextafter(above, np.float32(np.inf))
    return np.unique(np.concatenate([values, below, above, *further]))


def grid(bound):
    """Return float32 values that hold each tie and code of every encoding, both ends, and what lies around zero."""
    half_steps = np.arange(-260, 261) / 2
    ties = [half_steps * bound / 127, half_steps * 2 * bound / 255, np.arange(-2, 258) * 2 * bound / 255 - bound]
    tiny = [0.0, FLOAT32.smallest_subnormal, 3 * FLOAT32.smallest_subnormal, FLOAT32.tiny, 1e-20, 1e-8, 1e-3 * bound]
    ends = [bound, 1.01 * bound, 2 * bound, 1e18]
    return beside(np.concatenate([*ties, tiny, np.negative(tiny), ends, np.negative(ends)]))
