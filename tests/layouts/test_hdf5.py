"""Videos in HDF5 files: what h5py reads and writes, and files that are not what a layout expects."""

import builtins

import h5py
import numpy as np
import pytest

from flowstore.errors import DecodeError, ExportError, MissingExtraError
from flowstore.layouts.hdf5 import Hdf5File, open_hdf5

FLOW = np.random.default_rng(1).normal(0, 5, (3, 2, 4, 5)).astype(np.float32)


def read_all(path):
    with open_hdf5(path) as video:
        return np.stack([video.read_flow(number) for number in range(video.n_flows)])


def write(path, flow=FLOW):
    Hdf5File().write(path, (len(flow), *flow.shape[2:]), flow, "pixels")


def test_h5py_reads_what_is_written(tmp_path):
    write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert list(file) == ["flow"]
        assert file["flow"].chunks == (1, 2, 4, 5)
        assert file["flow"].dtype == "<f4"
        np.testing.assert_array_equal(file["flow"][:], FLOW)


def test_the_same_flow_gives_the_same_bytes(tmp_path):
    write(tmp_path / "a.h5")
    write(tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize("options", [{}, {"chunks": (2, 1, 4, 5), "compression": "gzip"}])
def test_what_h5py_writes_is_read(tmp_path, options):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("flow", data=FLOW.astype(np.float64), **options)
    with open_hdf5(tmp_path / "a.h5") as video:
        assert (video.n_flows, video.height, video.width) == (3, 4, 5)
    found = read_all(tmp_path / "a.h5")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, FLOW)


def test_a_file_that_got_too_few_flows_is_refused(tmp_path):
    with pytest.raises(ExportError, match="1 flows were written to an HDF5 file for 2"):
        Hdf5File().write(tmp_path / "a.h5", (2, 4, 5), FLOW[:1], "pixels")


def make_text(file):
    file["flow"] = "text"


def make_group(file):
    file.create_group("flow")


def make_planes(file):
    file["flow"] = FLOW[:, 0]


def make_integers(file):
    file["flow"] = FLOW.astype(np.uint8)


def make_huge(file):
    file.create_dataset("flow", (1, 2, 10**6, 10**6), "<f4", chunks=(1, 1, 100, 100))


def make_huge_chunks(file):
    file.create_dataset("flow", (1000, 2, 800, 800), "<f4", chunks=(420, 2, 800, 800))


def make_half(file):
    file.create_dataset("flow", (3, 2, 4, 5), "<f4", chunks=(1, 2, 4, 5))[0] = FLOW[0]


def make_never_written(file):
    file.create_dataset("flow", (3, 2, 4, 5), "<f4")


def make_link(file):
    file["flow"] = h5py.ExternalLink("other.h5", "flow")


def make_external(file):
    file.create_dataset("flow", (1, 2, 4, 5), "<f4", external=[("/etc/hostname", 0, 160)])


def make_virtual(file):
    layout = h5py.VirtualLayout((3, 2, 4, 5), "<f4")
    layout[:] = h5py.VirtualSource("other.h5", "flow", (3, 2, 4, 5))
    file.create_virtual_dataset("flow", layout)


@pytest.mark.parametrize("step", ["", "_p2"])
def test_what_denseflow_writes_is_read(tmp_path, step):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number, (x, y) in enumerate(FLOW):
            file[f"flow_x{step}_{number:05d}"] = x
            file[f"flow_y{step}_{number:05d}"] = y
    np.testing.assert_array_equal(read_all(tmp_path / "a.h5"), FLOW)


def make_planes_without_partner(file):
    for name in ("flow_x_00000", "flow_y_00000", "flow_x_00001"):
        file[name] = FLOW[0, 0]


def make_planes_from_one(file):
    for name in ("flow_x_00001", "flow_y_00001"):
        file[name] = FLOW[0, 0]


def make_planes_of_two_steps(file):
    for name in ("flow_x_00000", "flow_y_00000", "flow_x_p2_00000", "flow_y_p2_00000"):
        file[name] = FLOW[0, 0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda file: None, "no dataset 'flow'; the file has nothing"),
        (make_text, "expected floats of shape"),
        (make_group, "no dataset 'flow'"),
        (make_planes, "expected floats of shape"),
        (make_integers, "expected floats of shape"),
        (make_huge, "1000000×1000000 px"),
        (make_huge_chunks, "too large to be read"),
        (make_half, "has 1 of its 3 chunks: not written whole"),
        (make_never_written, "never written"),
        (make_link, "no dataset 'flow'"),
        (make_external, "in other files, which are not read"),
        (make_virtual, "in other files, which are not read"),
        (make_planes_without_partner, "2 datasets of x and 1 of y"),
        (make_planes_from_one, "numbered from 0"),
        (make_planes_of_two_steps, "datasets of several steps"),
    ],
)
def test_what_is_no_flow_is_refused(tmp_path, make, said):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file)
    with pytest.raises(DecodeError, match=said), open_hdf5(tmp_path / "a.h5"):
        pass


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    write(path)
    data = path.read_bytes()
    for length in (0, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(DecodeError):
            read_all(path)


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    import_module = builtins.__import__

    def refuse(name, *rest, **named):
        if name == "h5py":
            raise ImportError(name)
        return import_module(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"pip install 'flowstore\[hdf5\]'"), open_hdf5(tmp_path / "a.h5"):
        pass
