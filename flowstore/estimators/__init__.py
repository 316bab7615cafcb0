"""Frames in, flow out.

Owns the protocol of estimators, OpenCV's, flowstore's own kernels, torchvision's RAFT, and the door for those of other
packages. Knows nothing of files, stores or Dask. Begin with `protocol` and the table of `registry`.

To add an estimator, write a class made of `Estimator`, and declare it as an entry point of your package (`guests`);
one of the house has a row in the table of `registry` instead, as engine ``numba`` or ``opencv``. One that needs no more
than two frames takes `flowstore.estimators.opencv.PairStream` for its stream; `farneback` shows one that keeps what two
pairs share.
"""

from flowstore.estimators.conformance import check_estimator
from flowstore.estimators.protocol import Estimator, FlowStream
from flowstore.estimators.registry import ALGORITHMS, compile_engine, make_estimator

__all__ = ["ALGORITHMS", "Estimator", "FlowStream", "check_estimator", "compile_engine", "make_estimator"]
