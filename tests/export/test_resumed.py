"""What a run finds that another one has left: old files, a manifest of nonsense, a cluster that is not there."""

import json
import os
import sys
import time

import pytest
from datasets import call
from store_factory import make_codes, settings_of, tree_files, write_store

from flowstore.errors import ArgumentError, ExportError, MissingExtraError
from flowstore.export import export
from flowstore.export.run import MANIFEST
from flowstore.layouts import custom_layout


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

    def finish_video(self, key, problem):
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
    monkeypatch.setattr("flowstore.jobs.clusters._CONNECT_TIMEOUT", "300ms")
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


@pytest.mark.parametrize("first", [0, 1, 2])
def test_an_overwrite_from_another_first_number_leaves_no_image_of_before(root, tmp_path, first):
    layouts = [custom_layout("{video}/x_{number:03d}.jpg", "{video}/y_{number:03d}.jpg", n) for n in (1, first)]
    export(root, tmp_path / "whole", layouts[1], scheduler="sync")
    export(root, tmp_path / "out", layouts[0], scheduler="sync")
    export(root, tmp_path / "out", layouts[1], scheduler="sync", overwrite=True)
    assert images(tmp_path / "out") == images(tmp_path / "whole")


@pytest.mark.parametrize("options", [{"image_format": "png"}, {"class_folder": False}])
def test_an_overwrite_at_other_paths_is_refused(root, tmp_path, options):
    export(root, tmp_path / "out", "denseflow", scheduler="sync")
    before = tree_files(tmp_path / "out")
    with pytest.raises(ArgumentError, match="Use another folder or remove this one"):
        export(root, tmp_path / "out", "denseflow", overwrite=True, **options)
    assert tree_files(tmp_path / "out") == before


def test_denseflow_tells_steps_by_names_so_that_an_overwrite_of_another_step_is_refused(root, tmp_path):
    write_store(tmp_path / "two.zarr", {"wave/a": make_codes(3)}, settings=settings_of("centred", step=2))
    for layout, said in (("denseflow", "remove this one"), ("mmaction2", None)):
        out = tmp_path / layout
        export(root, out, layout, scheduler="sync")
        if said is None:
            assert export(tmp_path / "two.zarr", out, layout, scheduler="sync", overwrite=True).is_all_well
            continue
        with pytest.raises(ArgumentError, match=said):
            export(tmp_path / "two.zarr", out, layout, overwrite=True)


def test_a_dry_run_refuses_what_the_run_would_refuse(root, tmp_path):
    assert call("export", root, tmp_path / "out").code == 0
    outcomes = [call("export", root, tmp_path / "out", "--quality", "9", *more) for more in ([], ["--dry-run"])]
    assert outcomes[0].code == 2
    assert "quality: 95 against 9" in outcomes[0].error_line
    assert (outcomes[1].code, outcomes[1].error_line, outcomes[1].out) == (2, outcomes[0].error_line, "")
    assert call("export", root, tmp_path / "out", "--quality", "9", "--dry-run", "--overwrite").code == 0


def test_the_manifest_says_which_videos_its_counts_are_of(root, tmp_path):
    for select in ((), ("class=run",)):
        export(root, tmp_path / "out", select=select, scheduler="sync")
        manifest = json.loads((tmp_path / "out" / MANIFEST).read_bytes())
        assert (manifest["select"], manifest["n_videos"]) == (list(select), 1 if select else 2)


def test_a_target_below_a_file_is_refused(root, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ArgumentError, match=rf"DEST {tmp_path}/file/sub/out: {tmp_path}/file is a file"):
        export(root, tmp_path / "file" / "sub" / "out", overwrite=True)


def test_a_target_that_cannot_be_made_is_one_line(root):
    result = call("export", root, "/proc/images", "--scheduler", "sync")
    assert result.code == 1
    assert result.error_line == "flowstore: cannot write to /proc/images: No such file or directory"


def test_what_stands_in_the_way_is_named(root, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a").write_text("mine")
    with pytest.raises(ExportError, match=rf"cannot write to {out} \(a\): Not a directory"):
        export(root, out, "tsn", scheduler="sync")
    (out / "a").unlink()
    (out / "a" / "flow_y_00002.jpg").mkdir(parents=True)
    with pytest.raises(ExportError, match=rf"cannot write to {out} \(a/flow_y_00002\.jpg\): Is a directory"):
        export(root, out, "tsn", scheduler="sync", overwrite=True)


def test_hdf5_without_h5py_is_refused_before_anything_is_written(root, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"flowstore\[hdf5\]"):
        export(root, tmp_path / "out", "hdf5")
    assert os.listdir(tmp_path) == ["s.zarr"]


@pytest.mark.parametrize("address", ["tcp://nowhere", "no://127.0.0.1:8786", "tcp://"])
def test_an_address_that_is_none_is_refused_at_once_and_without_noise(root, tmp_path, address):
    result = call("export", root, tmp_path / "out", "--scheduler", address)
    assert result.code == 2
    assert result.error_line.startswith(f"flowstore: no Dask scheduler answers at {address} (ValueError: ")
    assert os.listdir(tmp_path) == ["s.zarr"]
