"""One check of every kind of file, and a new kind: a class and a row are all that an export and an import need."""

import contextlib
import io

import numpy as np
import pytest
from layout_files import smooth_flow
from store_factory import make_codes, settings_of, write_store

import flowstore
from flowstore.errors import ArgumentError, DecodeError
from flowstore.export import export
from flowstore.importer import import_flow
from flowstore.layouts import Layout, custom_layout
from flowstore.layouts.file_kind import FlowFile, FlowValues, VideoFile, VideoFlow, check_bytes
from flowstore.layouts.kinds import KINDS
from flowstore.quantize.code_encodings import CODE_ENCODINGS
from flowstore.quantize.file_quantizer import FileQuantizer


def values_of(kind, n=3):
    """Return numbers that the files of a kind can hold, (n, 2, 24, 32)."""
    flow = smooth_flow(n)
    return FileQuantizer("denseflow", 20).encode(flow) if kind.encodings[0] in CODE_ENCODINGS else flow


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_gives_back_what_it_was_given(name, tmp_path):
    kind = KINDS[name]
    allowed = max(kind.step_px / 2, 0 if kind.is_lossless else 12)
    for packing in kind.packings:
        if isinstance(kind, FlowFile):
            for values in values_of(kind):
                parts = [kind.decode(data, packing) for data in kind.encode(values, packing, 95)]
                found = np.concatenate([part.values for part in parts])
                assert np.abs(found.astype(float) - values).max() <= allowed
                assert found.dtype == values.dtype
                assert sum(part.n_unknown for part in parts) == 0
            continue
        path = tmp_path / f"a{kind.suffixes[0]}"
        values = values_of(kind)
        with open(path, "w+b") as file:
            kind.write(file, (3, 24, 32), values, "pixels")
        assert 0 < path.stat().st_size - values.nbytes < 2 * kind.overhead_bytes
        with open(path, "rb") as file, kind.open(str(path), file) as video:
            assert (video.n_flows, video.height, video.width) == (3, 24, 32)
            for number in (2, 0, 1):
                np.testing.assert_array_equal(video.read_flow(number), values[number])


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_refuses_what_is_none_of_its_files(name, tmp_path):
    kind = KINDS[name]
    if isinstance(kind, FlowFile):
        with pytest.raises(DecodeError):
            kind.decode(b"none", kind.packings[0])
        return
    path = tmp_path / "none"
    path.write_bytes(b"none")
    with open(path, "rb") as file, pytest.raises(DecodeError), kind.open(str(path), file):
        pass


class RawFlow(FlowFile):
    """Height and width as two bytes each, then the numbers."""

    name, suffixes, packings, encodings = "raw", (".raw",), ("pair",), ("pixels",)

    def encode(self, values, packing, quality):
        yield np.array(values.shape[1:], "<u2").tobytes() + values.astype("<f4").tobytes()

    def decode(self, data, packing):
        height, width = np.frombuffer(data[:4], "<u2").tolist()
        check_bytes(len(data) - 4, 8 * height * width, "a flow")
        return FlowValues(np.frombuffer(data, "<f4", offset=4).reshape(2, height, width).copy())


class RawVideo(VideoFile):
    """NumPy's archive of one array."""

    name, suffixes, overhead_bytes = "npz", (".npz",), 1000

    def write(self, file, shape, flows, encoding):
        held = io.BytesIO()
        np.savez(held, flow=np.stack([flow.copy() for flow in flows]))
        file.write(held.getvalue())

    @contextlib.contextmanager
    def open(self, path, file):
        flow = np.load(file)["flow"]
        yield VideoFlow(len(flow), *flow.shape[2:], flow.__getitem__)


@pytest.mark.parametrize("kind", [RawFlow(), RawVideo()], ids=lambda kind: kind.name)
def test_a_new_kind_is_a_class_and_a_row(kind, tmp_path, monkeypatch):
    template = "{class}/{video}" + ("/{number:04d}" if isinstance(kind, FlowFile) else "") + kind.suffixes[0]
    with pytest.raises(ArgumentError, match=f"format is '{kind.name}', expected one of jpg, png, npy"):
        custom_layout(template, file_format=kind.name)
    monkeypatch.setitem(KINDS, kind.name, kind)
    layout = Layout("new", template, file_format=kind.name, packing=kind.packings[0], encoding="pixels")
    write_store(tmp_path / "s.zarr", {"run/a": make_codes(4), "wave/b": make_codes(3)}, settings=settings_of("centred"))
    for n_written in (7 if isinstance(kind, FlowFile) else 2, 0):
        assert export(tmp_path / "s.zarr", tmp_path / "files", layout, scheduler="sync").n_written == n_written
    report = import_flow(tmp_path / "files", tmp_path / "back.zarr", bound=20, scheduler="sync")
    assert report.is_all_well
    stores = [flowstore.open_store(tmp_path / name) for name in ("s.zarr", "back.zarr")]
    for key in ("run/a", "wave/b"):
        codes, found = (store[key].codes[:] for store in stores)
        np.testing.assert_array_equal(found, codes)
