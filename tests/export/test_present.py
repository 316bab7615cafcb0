"""Exports into folders where something stands already: nothing is replaced, and nothing kept, that is of another."""

import json
import os
import time

import pytest
from datasets import call
from layout_files import smooth_flow, truncate_codes, write_image, write_video
from store_factory import make_codes, settings_of, tree_files, write_store

from flowstore.errors import ArgumentError
from flowstore.export import export
from flowstore.export.run import MANIFEST
from flowstore.sources.source import UNLABELED


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
    names = ("files_since_ns", "stores_created")
    path.write_text(json.dumps(json.loads(path.read_text()) | dict.fromkeys(names, nonsense)))
    with pytest.raises(ArgumentError, match=r"DEST .* --overwrite"):
        export(root, tmp_path / "out", scheduler="sync")
