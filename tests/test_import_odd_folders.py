"""Imports of folders in which something odd stands beside good flow: a failed row or nothing; the rest goes on."""

import struct

import pytest
from datasets import call
from layout_files import smooth_flow, truncate_codes, write_image, write_video

import flowstore
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
    assert f"2 files or folders are none of the layout's and left out, such as c/v/flow_x_{prefix}00000.jpg" in done.err
    assert flowstore.open_store(tmp_path / "s")["c/v"].n_flows == 3
    assert flowstore.open_store(tmp_path / "s").settings.step == 1
