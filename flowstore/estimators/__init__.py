"""Gray frames in, flow out.

Owns the protocol of estimators, OpenCV's, and flowstore's own kernels. Knows nothing of files, stores or Dask. Begin
with `registry`: the protocol and the table.

To add an estimator, write a class with `algorithm`, `engine`, `params` and ``stream(height, width, step)``, and add a
line to
the table of `registry`. One that needs no more than two frames takes `flowstore.estimators.opencv.PairStream` for its
stream; `farneback` shows one that keeps what two pairs share.
"""

from flowstore.estimators.registry import ALGORITHMS, Estimator, FlowStream, compile_engine, make_estimator

__all__ = ["ALGORITHMS", "Estimator", "FlowStream", "compile_engine", "make_estimator"]
