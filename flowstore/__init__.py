"""Dense optical flow of video datasets in one chunked, indexed Zarr store.

Every name is loaded when it is asked for. Reading loads numpy, zarr and numcodecs, and neither OpenCV nor Dask nor
torch; `extract`, `export_flow` and the other operations load what they need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowstore.copying.run import copy as copy_store
    from flowstore.errors import FlowStoreError, FlowStoreWarning
    from flowstore.export.run import export as export_flow
    from flowstore.importer.run import import_flow
    from flowstore.pipeline.run import extract
    from flowstore.quantize.quantizer import Quantizer
    from flowstore.render.run import render as render_flow
    from flowstore.stats.run import stats as motion_stats
    from flowstore.store.open import FlowClass, FlowStore, open_store
    from flowstore.store.video import Video
    from flowstore.verify.run import verify as verify_store

__version__ = "0.1.0"

__all__ = [
    "FlowClass",
    "FlowStore",
    "FlowStoreError",
    "FlowStoreWarning",
    "Quantizer",
    "Video",
    "__version__",
    "copy_store",
    "export_flow",
    "extract",
    "import_flow",
    "motion_stats",
    "open_store",
    "render_flow",
    "verify_store",
]

# Where each name stands, and what it is called there.
_HOMES = {
    "FlowClass": "store.open.FlowClass",
    "FlowStore": "store.open.FlowStore",
    "FlowStoreError": "errors.FlowStoreError",
    "FlowStoreWarning": "errors.FlowStoreWarning",
    "Quantizer": "quantize.quantizer.Quantizer",
    "Video": "store.video.Video",
    "copy_store": "copying.run.copy",
    "export_flow": "export.run.export",
    "extract": "pipeline.run.extract",
    "import_flow": "importer.run.import_flow",
    "motion_stats": "stats.run.stats",
    "open_store": "store.open.open_store",
    "render_flow": "render.run.render",
    "verify_store": "verify.run.verify",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        module, _, own_name = _HOMES[name].rpartition(".")
        thing = getattr(import_module(f"flowstore.{module}"), own_name)
        globals()[name] = thing
        return thing
    if not name.startswith("_"):
        # A room, such as flowstore.transforms.
        try:
            return import_module(f"flowstore.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"flowstore.{name}":
                raise
    raise AttributeError(f"module 'flowstore' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
