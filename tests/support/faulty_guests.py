"""Estimators of another package: a sound one, and one for each promise that can be broken."""

import sys
import threading
from types import MappingProxyType

import numpy as np

from flowstore.estimators import Estimator, FlowStream


class Stream(FlowStream):
    """Flow of the mean level of each pair's difference, in batches."""

    def __init__(self, estimator, height, width, step):
        self.estimator, self.shape, self.step = estimator, (2, height, width), step
        self.frames, self.owed = [], []

    def push(self, frame):
        self.frames.append(frame.astype(np.float32))
        if len(self.frames) > self.step:
            change = self.frames[-1].mean() - self.frames.pop(0).mean()
            self.owed.append(np.full(self.shape, change * self.estimator.params["gain"], np.float32))
        return self.finish() if len(self.owed) == self.estimator.batch else None

    def finish(self):
        given, self.owed = self.owed, []
        return given


class Mean(Estimator):
    defaults = MappingProxyType({"gain": 1.0})
    stream_class = Stream

    def stream(self, height, width, step=1):
        return self.stream_class(self, height, width, step)


class Batched(Mean):
    batch = 3

    def pair_bytes(self, height, width):
        return 1000 * height * width


class Color(Mean):
    frames = "rgb"

    class stream_class(Stream):  # noqa: N801
        """Red minus blue of the later frame, as the horizontal motion."""

        def push(self, frame):
            given = super().push(frame)
            red, _, blue = frame.reshape(-1, 3).mean(0)
            for flow in given or ():
                flow[:] = red - blue
            return given


class Hangs(Mean):
    """Never gives the flow of a fourth frame."""

    class stream_class(Stream):  # noqa: N801
        n_frames = 0

        def push(self, frame):
            self.n_frames += 1
            if self.n_frames == 4:
                threading.Event().wait()
            return super().push(frame)


class Vanishing(Mean):
    """Cannot be made."""

    def __init__(self, params=None):
        raise RuntimeError("no weights")


def broken(change):
    """Return an estimator whose flows are changed from the third frame on."""

    class BrokenStream(Stream):
        n_frames = 0

        def push(self, frame):
            given = super().push(frame)
            self.n_frames += 1
            return change(self, frame, given) if self.n_frames >= 3 else given

    class Broken(Mean):
        stream_class = BrokenStream

    return Broken


class Shuffled(Batched):
    """Gives the flows of a batch in another order than its frames."""

    class stream_class(Stream):  # noqa: N801
        def finish(self):
            return super().finish()[::-1]


def _exit(stream, frame, given):
    sys.exit("no license")


def _raise(stream, frame, given):
    raise ZeroDivisionError("of its own")


def _keep(stream, frame, given):
    stream.kept = frame[1:]
    return given


def _nan(stream, frame, given):
    given[0][0, 0, 0] = np.nan
    return given


FAULTS = {
    "Raises": (broken(_raise), "ZeroDivisionError: of its own"),
    "Exits": (broken(_exit), "SystemExit: no license"),
    "TooFew": (broken(lambda stream, frame, given: None), "owes 2 flows after 4 frames, more than its batch of 1"),
    "TooMany": (broken(lambda stream, frame, given: given * 2), "gave 3 flows after 3 frames, expected at most 2"),
    "Nan": (broken(_nan), "gave 1 of 1536 numbers that are not finite, after frame 3"),
    "Shape": (
        broken(lambda stream, frame, given: given[0][:, 1:]),
        "a flow of shape (2, 23, 32), expected (2, 24",
    ),
    "Float64": (broken(lambda stream, frame, given: given[0].astype(float)), "a flow of float64, expected float32"),
    "Words": (broken(lambda stream, frame, given: "flow"), "gave str, expected a flow, a list of flows, or None"),
    "Nested": (broken(lambda stream, frame, given: ["flow"]), "gave str as a flow, expected a NumPy array"),
    "Keeps": (broken(_keep), "keeps the frame that it was lent"),
}
for _name, (_class, _) in FAULTS.items():
    globals()[_name] = _class
