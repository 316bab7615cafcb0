"""Imports of folders in which something odd stands beside good flow: a failed row or nothing; the rest goes on."""

import errno
import json
import os
import shutil
import struct
import time

import pytest
from datasets import call
from layout_files import smooth_flow, truncate_codes, write_image, write_video
from store_factory import make_codes, settings_of, write_store

import flowstore
from flowstore.export import export
from flowstore.importer import import_flow

CODES = truncate_codes(smooth_flow(3))


def npy_file(header):
    data = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(data)) + data + bytes(96)


@pytest.mark.parametrize("header", ["{[]: 1}", "{[]}", "{'descr': {{}: 1}, 'fortran_order': False, 'shape': (1,)}"])
def test_an_npy_header_that_python_cannot_make_is_a_failed_row(tmp_path, header):
    write_video(tmp_path / "files", "npy", "c", "good", smooth_flow(2))
    (tmp_path / "files/c/bad.npy").write_bytes(npy_file(header))
    report = import_flow(tmp_path / "files", tmp_path / "s", "npy", bound=20, scheduler="sync")
    assert [(record.name, record.reason[:28]) for record in report.failures] == [
        ("bad", "bad.npy: damaged .npy header")
    ]
    assert flowstore.open_store(tmp_path / "s")["c/good"].n_flows == 2


@pytest.mark.parametrize("place", ["self", "c/self", "c/v/self"])
def test_a_link_to_itself_leaves_all_else_as_it_is(tmp_path, place):
    write_video(tmp_path / "files", "notebook", "c", "v", CODES)
    link = tmp_path / "files" / place
    link.symlink_to(link)
    report = import_flow(tmp_path / "files", tmp_path / "s", "notebook", bound=20, scheduler="sync")
    assert report.is_all_well
    assert flowstore.open_store(tmp_path / "s")["c/v"].n_flows == 3


def test_a_flow_file_that_is_a_link_to_itself_is_a_failed_row(tmp_path):
    write_video(tmp_path / "files", "notebook", "c", "v", CODES)
    write_video(tmp_path / "files", "notebook", "c", "w", CODES)
    link = tmp_path / "files/c/v/flow_x_0002.jpg"
    link.unlink()
    link.symlink_to(link)
    report = import_flow(tmp_path / "files", tmp_path / "s", "notebook", bound=20, scheduler="sync")
    assert [(record.name, record.reason) for record in report.failures] == [
        ("v", "flow_x_0002.jpg is not a regular file")
    ]


@pytest.mark.parametrize("prefix", ["p0_", "p1_", "p02_", "p9999999_", f"p{9 * 10**40}_"])
def test_a_step_that_no_tool_writes_is_no_file_of_the_layout(tmp_path, prefix):
    write_video(tmp_path / "files", "denseflow", "c", "v", CODES)
    for axis in "xy":
        write_image(tmp_path / f"files/c/v/flow_{axis}_{prefix}00000.jpg", CODES[0][0])
    done = call("import", tmp_path / "files", tmp_path / "s", "--layout", "denseflow", "--bound", "20")
    assert done.code == 0, done.err
    assert f"2 items left out, not being the layout's: c/v/flow_x_{prefix}00000.jpg, …" in done.err
    assert flowstore.open_store(tmp_path / "s")["c/v"].n_flows == 3
    assert flowstore.open_store(tmp_path / "s").settings.step == 1


@pytest.mark.parametrize("layout", ["mmaction2", "npy"])
def test_files_that_an_export_of_other_settings_left_are_not_read_with_its_own(tmp_path, layout):
    write_store(tmp_path / "s.zarr", {"run/a": make_codes(3), "wave/b": make_codes(2)}, settings=settings_of("centred"))
    options = {"mmaction2": {"image_format": "png", "bound": 10}, "npy": {"size": (12, 16)}}[layout]
    formats = {name: value for name, value in options.items() if name == "image_format"}
    export(tmp_path / "s.zarr", tmp_path / "files", layout, scheduler="sync", **formats)
    for path in (tmp_path / "files").rglob("*.*"):
        os.utime(path, (time.time() - 3600,) * 2)
    export(tmp_path / "s.zarr", tmp_path / "files", layout, overwrite=True, select="class=wave", **options)
    report = import_flow(tmp_path / "files", tmp_path / "back.zarr", scheduler="sync")
    assert [(record.class_name, record.name) for record in report.failures] == [("run", "a")]
    assert "is not of the export of which flowstore-export.json tells" in report.failures[0].reason
    assert flowstore.open_store(tmp_path / "back.zarr")["wave/b"].n_flows == 2


@pytest.mark.parametrize("seconds", [1, 2])
def test_an_export_that_went_through_an_archive_is_not_taken_for_older(tmp_path, seconds):
    write_store(tmp_path / "s.zarr", {"run/a": make_codes(3)}, settings=settings_of("centred"))
    for overwrite in (False, True):
        export(tmp_path / "s.zarr", tmp_path / "files", scheduler="sync", overwrite=overwrite)
    for path in (tmp_path / "files").rglob("*.jpg"):
        # As tar and zip keep it.
        kept = int(path.stat().st_mtime) // seconds * seconds
        os.utime(path, (kept, kept))
    assert import_flow(tmp_path / "files", tmp_path / "back.zarr", scheduler="sync").is_all_well


def test_no_file_of_before_is_taken_for_one_of_the_export(tmp_path):
    write_store(tmp_path / "s.zarr", {"run/a": make_codes(3)}, settings=settings_of("centred"))
    export(tmp_path / "s.zarr", tmp_path / "files", "flo", scheduler="sync")
    manifest = tmp_path / "files" / "flowstore-export.json"
    shutil.copytree(tmp_path / "files/run/a", tmp_path / "files/run/b")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"videos": {"run/a/*.flo": None}}))
    report = import_flow(tmp_path / "files", tmp_path / "back.zarr", scheduler="sync")
    assert [record.name for record in report.failures] == ["a", "b"]
    for record in report.failures:
        assert "is not of the export" in record.reason


def test_a_class_that_cannot_be_listed_is_not_left_out_in_silence(tmp_path, monkeypatch):
    # The one who runs the tests may be the one for whom no folder is closed.
    scan = os.scandir

    def refuse(path):
        if os.fspath(path) == str(tmp_path / "files/c"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scan(path)

    write_video(tmp_path / "files", "notebook", "c", "v", CODES)
    write_video(tmp_path / "files", "notebook", "d", "w", CODES)
    monkeypatch.setattr(os, "scandir", refuse)
    done = call("import", tmp_path / "files", tmp_path / "s", "--layout", "notebook", "--bound", "20")
    assert done.code == 2
    assert done.error_line == f"flowstore: FOLDER {tmp_path}/files/c: cannot be listed: Permission denied"
    assert not (tmp_path / "s").exists()
