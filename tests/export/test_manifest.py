"""Exports into folders where something stands already: nothing is replaced, and nothing kept, that is of another."""

import json
import os
import shutil
import time

import pytest
from datasets import call
from layout_files import smooth_flow, truncate_codes, write_image, write_video
from store_factory import make_codes, settings_of, tree_files, write_store
from store_factory import write_video as write_video_of

from flowstore.errors import ArgumentError
from flowstore.export import export
from flowstore.export.run import MANIFEST
from flowstore.sources.source import UNLABELED
from flowstore.storage.local import LocalStorage


@pytest.fixture
def root(tmp_path):
    write_store(tmp_path / "s.zarr", {"run/a": make_codes(2), "wave/b": make_codes(3)}, settings=settings_of("centred"))
    return tmp_path / "s.zarr"


def write_other_store(path, videos, monkeypatch):
    monkeypatch.setattr("store_factory.CREATED", "2024-01-02T09:00:00Z")
    write_store(path, videos, settings=settings_of("centred"))
    return path


@pytest.mark.parametrize("layout", ["notebook", "tsn", "charades", "coclr", "npy", "flo"])
def test_files_of_another_tool_are_neither_replaced_nor_removed(root, tmp_path, layout):
    flow = truncate_codes(smooth_flow(5)) if layout not in ("npy", "flo") else smooth_flow(5)
    class_name = UNLABELED if layout in ("tsn", "charades") else "wave"
    write_video(tmp_path / "out", layout, class_name, "b", flow)
    before = tree_files(tmp_path / "out")
    with pytest.raises(ArgumentError, match=r"files of something else where .*, such as .*b"):
        export(root, tmp_path / "out", layout, scheduler="sync")
    assert tree_files(tmp_path / "out") == before
    assert export(root, tmp_path / "out", layout, scheduler="sync", overwrite=True).n_present == 0
    assert export(root, tmp_path / "out", layout, scheduler="sync").n_written == 0


def test_a_longer_flow_of_another_tool_is_not_cut_short(root, tmp_path):
    (tmp_path / "out/wave/b").mkdir(parents=True)
    write_image(tmp_path / "out/wave/b/flow_x_0009.jpg", truncate_codes(smooth_flow(1))[0][0])
    before = tree_files(tmp_path / "out")
    with pytest.raises(ArgumentError, match=r"such as wave/b/flow_x_0009\.jpg"):
        export(root, tmp_path / "out", "notebook", scheduler="sync")
    assert tree_files(tmp_path / "out") == before


def test_frames_beside_flow_stay_and_a_second_run_finds_the_first(root, tmp_path):
    (tmp_path / "out/wave/b").mkdir(parents=True)
    write_image(tmp_path / "out/wave/b/img_00001.jpg", truncate_codes(smooth_flow(1))[0][0])
    before = tree_files(tmp_path / "out")
    assert export(root, tmp_path / "out", "mmaction2", scheduler="sync").n_written == 10
    assert export(root, tmp_path / "out", "mmaction2", scheduler="sync").n_present == 10
    assert tree_files(tmp_path / "out")["wave/b/img_00001.jpg"] == before["wave/b/img_00001.jpg"]


def test_files_of_another_tool_are_found_by_the_run_that_would_replace_them(root, tmp_path):
    write_video(tmp_path / "out", "notebook", "wave", "b", truncate_codes(smooth_flow(5)))
    hour_ago = time.time() - 3600
    for path in (tmp_path / "out").rglob("*.jpg"):
        os.utime(path, (hour_ago, hour_ago))
    before = tree_files(tmp_path / "out")
    assert export(root, tmp_path / "out", scheduler="sync", select="class=run").is_all_well
    with pytest.raises(ArgumentError, match="files of something else"):
        export(root, tmp_path / "out", scheduler="sync")
    assert {path: data for path, data in tree_files(tmp_path / "out").items() if path in before} == before


def test_flow_of_another_store_is_not_taken_for_this_ones(root, tmp_path, monkeypatch):
    """Two passes over the same videos, rendered clean and final, have the same names and the same settings."""
    final = write_other_store(tmp_path / "final.zarr", {"wave/b": make_codes(3, seed=7)}, monkeypatch)
    export(root, tmp_path / "out", "mmaction2", scheduler="sync")
    before = tree_files(tmp_path / "out")
    with pytest.raises(ArgumentError, match=r"the export of another store, .* such as wave/b/._0000.\.jpg"):
        export(final, tmp_path / "out", "mmaction2", scheduler="sync")
    assert tree_files(tmp_path / "out") == before
    export(final, tmp_path / "out", "mmaction2", scheduler="sync", overwrite=True)
    export(final, tmp_path / "fresh", "mmaction2", scheduler="sync")
    for path, data in tree_files(tmp_path / "fresh").items():
        assert path == MANIFEST or (tmp_path / "out" / path).read_bytes() == data


def test_stores_of_other_videos_share_a_folder_and_each_is_finished(root, tmp_path, monkeypatch):
    other = write_other_store(tmp_path / "other.zarr", {"wave/c": make_codes(3, seed=7)}, monkeypatch)
    for place, n_files in ((root, 10), (other, 6)):
        assert export(place, tmp_path / "out", "mmaction2", scheduler="sync").n_written == n_files
    for place, n_files in ((root, 10), (other, 6)):
        report = export(place, tmp_path / "out", "mmaction2", scheduler="sync")
        assert (report.n_written, report.n_present) == (0, n_files)


def test_a_dry_run_refuses_what_the_run_would_refuse(root, tmp_path):
    write_video(tmp_path / "out", "notebook", "wave", "b", truncate_codes(smooth_flow(5)))
    outcomes = [call("export", root, tmp_path / "out", *more) for more in ([], ["--dry-run"])]
    assert [outcome.code for outcome in outcomes] == [2, 2]
    assert "files of something else" in outcomes[0].error_line
    assert outcomes[0].error_line == outcomes[1].error_line
    assert call("export", root, tmp_path / "out", "--dry-run", "--overwrite").code == 0


@pytest.mark.parametrize("nonsense", ["yes", [1], 2.5, True])
def test_a_manifest_of_nonsense_vouches_for_nothing(root, tmp_path, nonsense):
    export(root, tmp_path / "out", scheduler="sync")
    path = tmp_path / "out" / MANIFEST
    names = ("videos", "stores_created")
    path.write_text(json.dumps(json.loads(path.read_text()) | dict.fromkeys(names, nonsense)))
    with pytest.raises(ArgumentError, match=r"DEST .* --overwrite"):
        export(root, tmp_path / "out", scheduler="sync")


def changed_copy(root, tmp_path, key, seed):
    """Copy a store and extract one video again: the same names and sizes, and the copy's files are as old."""
    copied = shutil.copytree(root, tmp_path / "copy.zarr")
    write_video_of(LocalStorage(str(copied)), *key.split("/"), make_codes(3, seed=seed))
    return copied


@pytest.mark.parametrize("layout", ["mmaction2", "kitti", "npy", "hdf5"])
@pytest.mark.parametrize("clock", ["the same", "an hour ahead", "put back"])
def test_files_of_flow_that_was_replaced_are_written_anew_whatever_the_clock_says(root, tmp_path, layout, clock):
    export(root, tmp_path / "out", layout, scheduler="sync")
    copied = changed_copy(root, tmp_path, "wave/b", seed=7)
    shift = {"the same": 0, "an hour ahead": 3600, "put back": -3600}[clock]
    for path in (tmp_path / "out").rglob("*"):
        os.utime(path, (time.time() + shift,) * 2)
    report = export(copied, tmp_path / "out", layout, scheduler="sync")
    export(copied, tmp_path / "fresh", layout, scheduler="sync")
    assert tree_files(tmp_path / "out") == tree_files(tmp_path / "fresh")
    assert report.n_present * 5 == 2 * (report.n_present + report.n_written) or layout in ("npy", "hdf5")
    assert report.n_present > 0


def test_the_same_flow_extracted_again_is_kept(root, tmp_path, monkeypatch):
    export(root, tmp_path / "out", scheduler="sync")
    monkeypatch.setattr("store_factory.CREATED", "2031-01-02T09:00:00Z")
    write_video_of(LocalStorage(str(root)), "wave", "b", make_codes(3))
    assert export(root, tmp_path / "out", scheduler="sync").n_written == 0


def test_files_of_an_export_without_digests_are_written_anew(root, tmp_path):
    """As the releases before digests left it: nobody can tell of which flow its files are."""
    export(root, tmp_path / "out", scheduler="sync")
    whole = tree_files(tmp_path / "out")
    path = tmp_path / "out" / MANIFEST
    said = json.loads(path.read_text())
    del said["videos"]
    path.write_text(json.dumps(said))
    (tmp_path / "out/wave/b/flow_x_0001.jpg").write_bytes(b"stale")
    assert export(root, tmp_path / "out", scheduler="sync").n_present == 0
    assert tree_files(tmp_path / "out") == whole
    path.write_text(json.dumps(said | {"files_since_ns": 5}))
    with pytest.raises(ArgumentError, match="files of something else"):
        export(root, tmp_path / "out", scheduler="sync")


@pytest.mark.parametrize("n_removed", [0, 1, 3])
def test_a_run_killed_while_it_removes_leaves_nothing_that_is_kept(root, tmp_path, monkeypatch, n_removed):
    export(root, tmp_path / "out", scheduler="sync")
    copied = changed_copy(root, tmp_path, "wave/b", seed=7)
    removed = []

    def remove(path):
        if len(removed) == n_removed:
            raise KeyboardInterrupt
        removed.append(path)
        os.unlink(path)

    with monkeypatch.context() as patched:
        patched.setattr("flowstore.export.manifest.remove_if_there", remove)
        with pytest.raises(KeyboardInterrupt):
            export(copied, tmp_path / "out", scheduler="sync")
    assert json.loads((tmp_path / "out" / MANIFEST).read_text())["videos"]["wave/b/flow_x_*.jpg"] is None
    export(copied, tmp_path / "out", scheduler="sync")
    export(copied, tmp_path / "fresh", scheduler="sync")
    assert tree_files(tmp_path / "out") == tree_files(tmp_path / "fresh")
