"""Other tools' files: where they stand, and how their numbers encode flow.

Owns layouts, their path templates, and the kinds of file. Knows nothing of stores. Begin with `layout`.

To add a layout, add a row to `presets`. To add a kind of file, write its class as `file_kind` asks (a `FlowFile`, such
as those of `images`, or a `VideoFile`, such as those of `npy` and `hdf5`), and name it in `kinds`.
"""

from flowstore.layouts.layout import Layout, custom_layout
from flowstore.layouts.presets import LAYOUTS, find_layout

__all__ = ["LAYOUTS", "Layout", "custom_layout", "find_layout"]
