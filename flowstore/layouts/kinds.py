"""The kinds of flow file that there are. To add one, write its class and name it here."""

from __future__ import annotations

from flowstore.layouts.file_kind import FileKind
from flowstore.layouts.hdf5 import Hdf5File
from flowstore.layouts.images import FloFile, ImageFile, KittiFile
from flowstore.layouts.npy import NpyFile

_KINDS: tuple[FileKind, ...] = (
    # libjpeg's sides end at 65500 px.
    ImageFile("jpg", (".jpg", ".jpeg"), is_lossless=False, longest_side=65500),
    ImageFile("png", (".png",)),
    NpyFile(),
    FloFile(),
    KittiFile(),
    Hdf5File(),
)
KINDS = {kind.name: kind for kind in _KINDS}
