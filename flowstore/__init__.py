"""Dense optical flow of video datasets in one chunked, indexed Zarr store.

This is the reading side: it loads numpy, zarr and numcodecs, and neither OpenCV nor Dask nor torch. The writing side is
`flowstore.pipeline`, layouts are written by `flowstore.export`.
"""

from flowstore.errors import FlowStoreError, FlowStoreWarning
from flowstore.quantize.quantizer import Quantizer
from flowstore.store.open import FlowClass, FlowStore, open_store
from flowstore.store.video import Video

__version__ = "0.1.0"

__all__ = [
    "FlowClass",
    "FlowStore",
    "FlowStoreError",
    "FlowStoreWarning",
    "Quantizer",
    "Video",
    "__version__",
    "open_store",
]
