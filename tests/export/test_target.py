"""What an export refuses to write, and where: before anything is written."""

import os

import pytest
from datasets import call, run
from store_factory import make_codes, settings_of, write_store

import flowstore
from flowstore.errors import ArgumentError
from flowstore.export import export
from flowstore.importer import import_flow
from flowstore.importer.run import plan_import


@pytest.fixture
def root(tmp_path):
    write_store(tmp_path / "s.zarr", {"wave/a": make_codes(3), "run/b": make_codes(2)}, settings=settings_of("centred"))
    return tmp_path / "s.zarr"


@pytest.mark.parametrize("url", ["s3://bucket/images", "gs://b", "https://host/x"])
def test_a_url_is_not_made_a_folder_of_that_name(root, tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    done = call("export", root, url)
    assert (done.code, done.error_line) == (
        2, f"flowstore: DEST {url}: a URL, expected the path of a folder: flow files are local"
    )  # fmt: skip
    assert os.listdir(tmp_path) == ["s.zarr"]
    with pytest.raises(ArgumentError, match=f"FOLDER {url}: a URL"):
        plan_import(url, tmp_path / "new.zarr", "notebook")


def test_the_url_of_a_folder_is_its_path(root, tmp_path):
    export(root, f"file://{tmp_path}/images", scheduler="sync")
    assert (tmp_path / "images" / "wave" / "a" / "flow_x_0001.jpg").exists()


def test_a_null_character_is_one_line(root):
    with pytest.raises(ArgumentError, match="expected a path without null characters"):
        export(root, "images\0")


@pytest.mark.parametrize("is_blind", [False, True])
def test_no_video_goes_where_the_manifest_is(tmp_path, monkeypatch, is_blind):
    monkeypatch.setattr("flowstore.export.paths.is_case_blind", lambda path: is_blind)
    name = "Flowstore-Export.JSON" if is_blind else "flowstore-export.json"
    write_store(tmp_path / "s.zarr", {f"c/{name}": make_codes(2)}, settings=settings_of("centred"))
    with pytest.raises(ArgumentError, match="where the export keeps its own files"):
        export(tmp_path / "s.zarr", tmp_path / "images", "tsn")
    assert os.listdir(tmp_path) == ["s.zarr"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": (2, 65501)}, "would be 65501×2 px, jpg files have sides of at most 65500"),
        ({"size": (60000, 60000)}, "would be 60000×60000 px, expected at most 67108864 pixels"),
        ({"size": (60000, 60000), "layout": "npy"}, "expected at most 67108864 pixels"),
    ],
)
def test_pictures_that_no_file_can_hold_are_refused(root, tmp_path, options, said):
    with pytest.raises(ArgumentError, match=said):
        export(root, tmp_path / "images", **options)
    assert os.listdir(tmp_path) == ["s.zarr"]


@pytest.mark.parametrize("options", [{"size": (2, 65500)}, {"size": (2, 65501), "image_format": "png"}])
def test_the_largest_pictures_are_written(root, tmp_path, options):
    assert export(root, tmp_path / "images", select="class=run", scheduler="sync", **options).is_all_well


def test_codes_differ_by_no_more_than_there_are(root, tmp_path):
    report = export(root, tmp_path / "images", bound=1e-9, scheduler="sync")
    assert "within 255 of the code of the float flow" in report.encoding_note


@pytest.mark.parametrize("layout", ["tsn", "twostream", "mmaction2", "npy"])
def test_a_video_of_the_name_of_a_stores_document_is_no_store(tmp_path, layout):
    videos = {"c/zarr.json": make_codes(2), "c/v": make_codes(3)}
    write_store(tmp_path / "s.zarr", videos, settings=settings_of("denseflow"))
    for _ in range(2):
        assert export(tmp_path / "s.zarr", tmp_path / "images", layout, scheduler="sync").is_all_well
    assert import_flow(tmp_path / "images", tmp_path / "back.zarr", scheduler="sync").is_all_well
    found = [video.name for video in flowstore.open_store(tmp_path / "back.zarr").iter_videos()]
    assert found == ["v", "zarr.json"]


def test_a_line_of_a_split_without_a_video_is_said_without_a_place_in_the_code(root, tmp_path):
    (tmp_path / "list.txt").write_text("wave/a 3 0\nwave/none 3 0\n")
    done = run("export", root, tmp_path / "images", "--lists", f"mmaction2:{tmp_path}/list.txt", "--quiet")
    assert done.code == 0
    assert done.err.splitlines() == [
        "warning: 1 line of the split without a video in the store",
        f"{tmp_path}/list.txt:2: 'wave/none 3 0': no such video in class 'wave'",
    ]
