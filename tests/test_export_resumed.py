"""What a run finds that another one has left: old files, a manifest of nonsense, a cluster that is not there."""

import json
import os
import time

import pytest
from store_factory import make_codes, settings_of, tree_files, write_store

from flowstore.errors import ArgumentError, ExportError
from flowstore.export import MANIFEST, export


@pytest.fixture
def root(tmp_path):
    videos = {"wave/a": make_codes(3), "run/b": make_codes(2)}
    write_store(tmp_path / "s.zarr", videos, settings=settings_of("centred"))
    return tmp_path / "s.zarr"


def images(folder):
    return {name: data for name, data in tree_files(folder).items() if name.endswith(".jpg")}


def make_older(folder):
    hour_ago = time.time() - 3600
    for image in folder.rglob("*.jpg"):
        os.utime(image, (hour_ago, hour_ago))


class Interrupts:
    """Stops an export when its first video is done."""

    def start(self, n_videos, n_flows):
        pass

    def add_flows(self, n_flows):
        pass

    def finish_item(self, key, problem):
        raise KeyboardInterrupt

    def stop(self):
        pass


@pytest.mark.parametrize("layout", ["notebook", "flo"])
def test_a_stopped_overwrite_leaves_no_file_of_other_settings(root, tmp_path, layout):
    size = {"size": (12, 16)}
    export(root, tmp_path / "whole", layout, scheduler="sync", **size)
    export(root, tmp_path / "out", layout, scheduler="sync")
    for path in (tmp_path / "out").rglob("*.*"):
        os.utime(path, (time.time() - 3600,) * 2)
    with pytest.raises(KeyboardInterrupt):
        export(root, tmp_path / "out", layout, scheduler="sync", overwrite=True, progress=Interrupts(), **size)
    report = export(root, tmp_path / "out", layout, scheduler="sync", **size)
    assert report.n_present > 0
    whole, found = tree_files(tmp_path / "whole"), tree_files(tmp_path / "out")
    assert {name: data for name, data in found.items() if name != MANIFEST} == {
        name: data for name, data in whole.items() if name != MANIFEST
    }


def test_files_of_another_tool_are_not_trusted_after_a_stop(root, tmp_path):
    export(root, tmp_path / "whole", scheduler="sync")
    export(root, tmp_path / "out", quality=10, scheduler="sync")
    (tmp_path / "out" / MANIFEST).unlink()
    make_older(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        export(root, tmp_path / "out", scheduler="sync", overwrite=True, progress=Interrupts())
    export(root, tmp_path / "out", scheduler="sync")
    assert images(tmp_path / "out") == images(tmp_path / "whole")


def test_an_overwritten_part_does_not_vouch_for_the_rest(root, tmp_path):
    export(root, tmp_path / "whole", quality=10, scheduler="sync")
    export(root, tmp_path / "out", scheduler="sync")
    make_older(tmp_path / "out")
    export(root, tmp_path / "out", quality=10, select=["class=run"], overwrite=True, scheduler="sync")
    report = export(root, tmp_path / "out", quality=10, scheduler="sync")
    assert (report.n_written, report.n_present) == (6, 4)
    assert images(tmp_path / "out") == images(tmp_path / "whole")


@pytest.mark.parametrize("text", ["[]", "3", '"layout"', "null", "{"])
def test_a_manifest_of_nonsense_is_refused_or_overwritten(root, tmp_path, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MANIFEST).write_text(text)
    with pytest.raises(ExportError, match="remove it or use --overwrite"):
        export(root, tmp_path / "out")
    assert export(root, tmp_path / "out", overwrite=True, scheduler="sync").is_all_well
    assert json.loads((tmp_path / "out" / MANIFEST).read_bytes())["complete"] is True


def test_a_cluster_that_does_not_answer_is_refused_before_writing(root, tmp_path, monkeypatch):
    monkeypatch.setattr("flowstore.clusters._CONNECT_TIMEOUT", "300ms")
    with pytest.raises(ArgumentError, match="no Dask scheduler answers"):
        export(root, tmp_path / "out", scheduler="tcp://127.0.0.1:9")
    assert os.listdir(tmp_path) == ["s.zarr"]


@pytest.mark.parametrize("place", ["other.zarr/images", "other.zarr/wave/images/deep", "link/images"])
def test_a_target_in_another_store_is_refused(root, tmp_path, place):
    write_store(tmp_path / "other.zarr", {"wave/c": make_codes(2)}, settings=settings_of("centred"))
    (tmp_path / "link").symlink_to(tmp_path / "other.zarr" / "wave")
    before = tree_files(tmp_path)
    with pytest.raises(ArgumentError, match=r"inside the Zarr store .*other\.zarr.*; give a folder outside it"):
        export(root, tmp_path / place, scheduler="sync")
    assert tree_files(tmp_path) == before
