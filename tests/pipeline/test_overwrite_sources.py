"""Making a store anew never deletes what it is made of, not even where that stands in the store's own folder."""

import shutil

import pytest
from datasets import tree, write_dataset
from store_factory import make_codes, settings_of, write_store

from flowstore.errors import ArgumentError
from flowstore.export import export
from flowstore.importer import import_flow
from flowstore.pipeline import extract


@pytest.fixture
def root(tmp_path):
    write_store(tmp_path / "s.zarr", {"wave/a": make_codes(3)}, settings=settings_of("denseflow"))
    return tmp_path / "s.zarr"


@pytest.mark.parametrize("place", ["files", "deep/files"])
def test_import_from_within_the_store(root, tmp_path, place):
    export(root, tmp_path / "files", "tsn", scheduler="sync")
    shutil.copytree(tmp_path / "files", root / place)
    (tmp_path / "link").symlink_to(root / place)
    before = tree(tmp_path)
    for folder in (root / place, tmp_path / "link"):
        with pytest.raises(ArgumentError, match="--overwrite would empty it, and with it /"):
            import_flow(folder, root, overwrite=True, scheduler="sync")
    assert tree(tmp_path) == before
    import_flow(tmp_path / "files", root, overwrite=True, scheduler="sync")


def test_extract_from_within_the_store(root, tmp_path):
    write_dataset(root / "videos", n_videos=1)
    before = tree(tmp_path)
    with pytest.raises(ArgumentError, match="--overwrite would empty it"):
        extract(root / "videos", root, overwrite=True, scheduler="sync")
    assert tree(tmp_path) == before
