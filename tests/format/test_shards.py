"""Shards against zarr-python, both ways, and against every kind of damage."""

import io
import itertools
import json
import struct

import google_crc32c
import numpy as np
import pytest
import zarr
from store_factory import drop_digests, write_store
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec

import flowstore
from flowstore.errors import ChecksumError, StoreFormatError
from flowstore.format.codec import ChunkCodec, checksum, codec_for
from flowstore.format.settings import ExtractSettings
from flowstore.format.shards import (
    MAX_SHARD_BYTES,
    ShardWriter,
    chunk_span,
    frames_per_shard,
    index_size,
    iter_chunks,
    parse_shard_index,
)
from flowstore.format.zarr_metadata import flow_document, parse_flow_document, to_bytes
from flowstore.quantize import Quantizer

PRESETS = ("fast", "balanced", "small", "none")
DTYPES = ("uint8", "float16")
every_codec = pytest.mark.parametrize(("preset", "dtype"), list(itertools.product(PRESETS, DTYPES)))
HEIGHT, WIDTH = 6, 9


def quantizer_of(dtype):
    return Quantizer("centred", 20) if dtype == "uint8" else Quantizer("float16", None)


def make_codes(n_flows, dtype="uint8", height=HEIGHT, width=WIDTH):
    """Return codes of which flow 1 is all zero motion: the fill value, which zarr-python would like to leave out."""
    rng = np.random.default_rng(3)
    flow = np.cumsum(rng.normal(0, 2, (n_flows, 2, height, width)), axis=3).astype(np.float32)
    flow[1:2] = 0
    return quantizer_of(dtype).encode(flow)


def shard_path(folder, number):
    return folder / f"c.{number}.0.0.0"


def write_shard(path, codes, n_entries, codec):
    with open(path, "wb") as file:
        writer = ShardWriter(file, codec)
        for flow in codes:
            writer.append(flow)
        assert writer.n_chunks == len(codes)
        writer.finish(n_entries)
    assert path.stat().st_size == writer.size_bytes


def write_array(folder, codes, shard_frames, preset):
    """Write codes as flowstore does; return the codec."""
    codec = codec_for(preset, codes.dtype.name)
    folder.mkdir(parents=True)
    document = flow_document(len(codes), *codes.shape[2:], shard_frames, quantizer_of(codes.dtype.name), codec)
    (folder / "zarr.json").write_bytes(to_bytes(document))
    for number, start in enumerate(range(0, len(codes), shard_frames)):
        write_shard(shard_path(folder, number), codes[start : start + shard_frames], shard_frames, codec)
    return codec


def read_index(path, n_entries):
    data = path.read_bytes()
    return parse_shard_index(data[max(0, len(data) - index_size(n_entries)) :], n_entries)


def read_shard(path, n_entries, start, codec, out):
    """Fill `out` with the chunks of one shard from `start` on."""
    data = path.read_bytes()
    index = read_index(path, n_entries)
    first, last = chunk_span(index, start, start + len(out), len(data))
    for _ in iter_chunks(data[first:last], first, index, start, start + len(out), codec, out):
        pass
    return out


def read_array(folder, shape, dtype, shard_frames, codec):
    out = np.empty(shape, dtype)
    for number, start in enumerate(range(0, shape[0], shard_frames)):
        read_shard(shard_path(folder, number), shard_frames, 0, codec, out[start : start + shard_frames])
    return out


@every_codec
@pytest.mark.parametrize(("n_flows", "shard_frames"), [(1, 1), (5, 5), (7, 3), (6, 3), (3, 1)])
def test_zarr_python_reads_what_the_writer_wrote(tmp_path, preset, dtype, n_flows, shard_frames):
    codes = make_codes(n_flows, dtype)
    write_array(tmp_path / "flow", codes, shard_frames, preset)
    array = zarr.open_array(tmp_path / "flow", mode="r")
    assert array.dtype == codes.dtype
    np.testing.assert_array_equal(array[:], codes)
    np.testing.assert_array_equal(array[n_flows - 1, 1, 2:4], codes[n_flows - 1, 1, 2:4])


@every_codec
@pytest.mark.parametrize(("n_flows", "shard_frames"), [(5, 5), (7, 3)])
def test_the_reader_reads_what_zarr_python_wrote(tmp_path, preset, dtype, n_flows, shard_frames):
    codes = make_codes(n_flows, dtype)
    inner = {
        "fast": [BloscCodec(cname="lz4hc", clevel=4, shuffle="noshuffle" if dtype == "uint8" else "shuffle")],
        "balanced": [BloscCodec(cname="zstd", clevel=5, shuffle="noshuffle" if dtype == "uint8" else "shuffle")],
        "small": [BloscCodec(cname="zstd", clevel=8, shuffle="noshuffle" if dtype == "uint8" else "shuffle")],
        "none": [],
    }[preset]
    sharding = ShardingCodec(
        chunk_shape=(1, 2, HEIGHT, WIDTH),
        codecs=[BytesCodec(), *inner, Crc32cCodec()],
        index_codecs=[BytesCodec(), Crc32cCodec()],
    )
    with zarr.config.set({"array.write_empty_chunks": True}):
        array = zarr.create(
            store=tmp_path / "flow",
            shape=codes.shape,
            chunks=(shard_frames, 2, HEIGHT, WIDTH),
            dtype=dtype,
            codecs=[sharding],
            fill_value=quantizer_of(dtype).zero_code,
            chunk_key_encoding={"name": "default", "separator": "."},
            zarr_format=3,
        )
        array[:] = codes
    layout = parse_flow_document(json.loads((tmp_path / "flow" / "zarr.json").read_bytes()), "flow")
    assert (layout.shape, layout.shard_frames) == (codes.shape, shard_frames)
    assert layout.n_shards == len(list((tmp_path / "flow").glob("c.*")))
    assert layout.codec == codec_for(preset, dtype)
    np.testing.assert_array_equal(read_array(tmp_path / "flow", codes.shape, dtype, shard_frames, layout.codec), codes)


@every_codec
def test_any_span_of_chunks_is_read(tmp_path, preset, dtype):
    codes = make_codes(6, dtype)
    codec = write_array(tmp_path / "flow", codes, 6, preset)
    for start, stop in itertools.combinations(range(7), 2):
        out = np.empty((stop - start, *codes.shape[1:]), dtype)
        read_shard(shard_path(tmp_path / "flow", 0), 6, start, codec, out)
        np.testing.assert_array_equal(out, codes[start:stop])


def test_a_shard_is_what_the_specification_says(tmp_path):
    codes = make_codes(2)
    path = tmp_path / "shard"
    write_shard(path, codes, 3, codec_for("none", "uint8"))
    chunks = [flow.tobytes() + struct.pack("<I", google_crc32c.value(flow.tobytes())) for flow in codes]
    size = len(chunks[0])
    index = struct.pack("<6Q", 0, size, size, size, 2**64 - 1, 2**64 - 1)
    assert path.read_bytes() == b"".join(chunks) + index + struct.pack("<I", google_crc32c.value(index))


def test_crc32c_of_rfc_3720():
    # Appendix B.4: 32 bytes of zeros, of ones, ascending.
    assert checksum(bytes(32)).hex() == "aa36918a"
    assert checksum(b"\xff" * 32).hex() == "43aba862"
    assert checksum(memoryview(bytes(range(32)))).hex() == "4e79dd46"


@pytest.mark.parametrize(("preset", "dtype"), [("none", "uint8"), ("fast", "uint8"), ("balanced", "float16")])
def test_every_flipped_bit_is_found_or_harmless(tmp_path, preset, dtype):
    codes = make_codes(3, dtype, 2, 3)
    path = tmp_path / "shard"
    codec = codec_for(preset, dtype)
    write_shard(path, codes, 4, codec)
    good = path.read_bytes()
    found = 0
    for bit in range(8 * len(good)):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            out = read_shard(path, 4, 0, codec, np.empty_like(codes))
        except ChecksumError:
            found += 1
        else:
            np.testing.assert_array_equal(out, codes)
    # Each byte is under a checksum, so none is even harmless.
    assert found == 8 * len(good)


def test_damage_is_named_and_spares_the_other_chunks(tmp_path):
    codes = make_codes(4)
    codec = write_array(tmp_path / "flow", codes, 4, "fast")
    path = shard_path(tmp_path / "flow", 0)
    offset, size = read_index(path, 4)[2].tolist()
    data = bytearray(path.read_bytes())
    data[offset + size // 2] ^= 0x10
    path.write_bytes(data)
    for start, stop in [(0, 2), (3, 4)]:
        out = np.empty_like(codes[start:stop])
        np.testing.assert_array_equal(read_shard(path, 4, start, codec, out), codes[start:stop])
    with pytest.raises(ChecksumError, match=r"chunk 2.*the bytes on disk are not the ones that were written"):
        read_shard(path, 4, 1, codec, np.empty_like(codes[1:4]))


@pytest.mark.parametrize("preset", ["fast", "none"])
def test_a_truncated_shard_is_found_at_every_length(tmp_path, preset):
    codes = make_codes(3, height=2, width=3)
    codec = codec_for(preset, "uint8")
    path = tmp_path / "shard"
    write_shard(path, codes, 4, codec)
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(ChecksumError):
            read_shard(path, 4, 0, codec, np.empty_like(codes))


def test_a_shard_with_bytes_lost_inside_is_found(tmp_path):
    codes = make_codes(3)
    codec = write_array(tmp_path / "flow", codes, 3, "fast")
    path = shard_path(tmp_path / "flow", 0)
    data = path.read_bytes()
    path.write_bytes(data[10:])
    with pytest.raises(ChecksumError):
        read_shard(path, 3, 2, codec, np.empty_like(codes[2:]))


@pytest.mark.parametrize(("start", "stop", "number"), [(0, 4, 3), (3, 4, 3), (2, 5, 3), (4, 5, 4)])
def test_a_missing_chunk_is_an_error_and_never_zero(tmp_path, start, stop, number):
    codes = make_codes(3)
    codec = codec_for("fast", "uint8")
    path = tmp_path / "shard"
    write_shard(path, codes, 5, codec)
    with pytest.raises(ChecksumError, match=f"chunk {number} is missing"):
        read_shard(path, 5, start, codec, np.empty((stop - start, *codes.shape[1:]), np.uint8))


@pytest.mark.parametrize("wrong", [2, 4, 100])
def test_an_index_of_another_length_is_found(tmp_path, wrong):
    codes = make_codes(3)
    path = tmp_path / "shard"
    write_shard(path, codes, 3, codec_for("none", "uint8"))
    with pytest.raises(ChecksumError):
        read_shard(path, wrong, 0, codec_for("none", "uint8"), np.empty_like(codes))


ABSURD_ENTRIES = [(2**40, 30), (0, 2**40), (2**63, 2**63), (2**64 - 2, 2**64 - 2), (2**64 - 31, 31), (5, 200)]


@pytest.mark.parametrize("entry", [*ABSURD_ENTRIES, (0, 0), (0, 3), (2**64 - 1, 30), (30, 2**64 - 1)])
@pytest.mark.parametrize("preset", ["fast", "none"])
def test_an_index_that_lies_under_a_good_checksum_is_found(tmp_path, entry, preset):
    codes = make_codes(1)
    codec = codec_for(preset, "uint8")
    index = struct.pack("<2Q", *entry)
    path = tmp_path / "shard"
    path.write_bytes(codec.encode(codes[0]) + index + checksum(index))
    with pytest.raises(ChecksumError):
        read_shard(path, 1, 0, codec, np.empty_like(codes))


@pytest.mark.parametrize("entry", ABSURD_ENTRIES)
def test_bytes_outside_the_shard_are_not_asked_for(entry):
    index = np.array([(0, 50), entry, (50, 50)], np.uint64)
    assert chunk_span(index, 0, 1, 152) == (0, 50)
    for start, stop in [(1, 2), (0, 2), (0, 3)]:
        with pytest.raises(ChecksumError, match=r"chunk 1: its index is damaged: bytes \[.* of a shard of 152"):
            chunk_span(index, start, stop, 152)


@pytest.mark.parametrize("entry", [*ABSURD_ENTRIES[:-1], (5, 2000)])
@pytest.mark.parametrize("place", ["folder", "memory"])
def test_a_store_whose_index_lies_is_an_error(tmp_path, entry, place):
    root = tmp_path / "s.zarr" if place == "folder" else zarr.storage.MemoryStore()
    storage = write_store(root, {"wave/a": make_codes(3)})
    shard = "wave/a/flow/c.0.0.0.0"
    data = storage.read(shard)
    n_entries = json.loads(storage.read("wave/a/flow/zarr.json"))["chunk_grid"]["configuration"]["chunk_shape"][0]
    index = bytearray(data[-index_size(n_entries) : -4])
    struct.pack_into("<2Q", index, 16, *entry)
    storage.write(shard, data[: -len(index) - 4] + index + checksum(bytes(index)))
    video = flowstore.open_store(root)["wave/a"]
    np.testing.assert_array_equal(video.codes[0], make_codes(3)[0])
    with pytest.raises(
        ChecksumError, match=r"wave/a: flows \[1, 2\), shard 0 from flow 0 on: chunk 1: its index is damaged"
    ):
        video[1]


@pytest.mark.parametrize("shard_frames", [4, 100, 2**31, 2**59])
@pytest.mark.parametrize("place", ["folder", "memory"])
def test_a_store_whose_shards_lie_about_their_room_is_an_error(tmp_path, shard_frames, place):
    root = tmp_path / "s.zarr" if place == "folder" else zarr.storage.MemoryStore()
    storage = write_store(root, {"wave/a": make_codes(3)}, settings=ExtractSettings(compression="none"))
    document = json.loads(storage.read("wave/a/flow/zarr.json"))
    document["chunk_grid"]["configuration"]["chunk_shape"][0] = shard_frames
    storage.write("wave/a/flow/zarr.json", to_bytes(document))
    with pytest.raises(ChecksumError, match=r"wave/a: wave/a/flow/zarr.json is damaged"):
        flowstore.open_store(root)["wave/a"][:]
    drop_digests(storage, "wave/a")
    with pytest.raises(ChecksumError, match=r"wave/a/flow/zarr.json: damaged: shards of \d+ flows"):
        flowstore.open_store(root)["wave/a"][:]


@every_codec
def test_a_chunk_of_another_size_is_found(tmp_path, preset, dtype):
    codec = codec_for(preset, dtype)
    data = memoryview(codec.encode(make_codes(1, dtype)[0]))
    for height in (HEIGHT - 1, HEIGHT + 1):
        with pytest.raises(ChecksumError, match=r"bytes where .* are expected"):
            codec.decode_into(data, np.empty((2, height, WIDTH), dtype))


@every_codec
def test_frames_of_any_stride_are_packed(preset, dtype):
    codes = make_codes(2, dtype)[1:, :, ::-1, ::2]
    codec = codec_for(preset, dtype)
    out = np.empty(codes[0].shape, dtype)
    codec.decode_into(memoryview(codec.encode(codes[0])), out)
    np.testing.assert_array_equal(out, codes[0])


@every_codec
def test_a_codec_survives_its_metadata(preset, dtype):
    codec = codec_for(preset, dtype)
    assert ChunkCodec.from_json(dtype, json.loads(json.dumps(codec.to_json()))) == codec


@pytest.mark.parametrize(
    ("dtype", "codecs"),
    [
        ("float32", [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]),
        ("float16", [{"name": "bytes", "configuration": {"endian": "big"}}, {"name": "crc32c"}]),
        ("uint8", [{"name": "bytes"}]),
        ("uint8", [{"name": "bytes"}, {"name": "gzip", "configuration": {"level": 5}}, {"name": "crc32c"}]),
        ("uint8", [{"name": "transpose"}, {"name": "bytes"}, {"name": "crc32c"}]),
        ("uint8", []),
    ],
)
def test_codecs_that_the_reader_does_not_know_are_refused(dtype, codecs):
    with pytest.raises(StoreFormatError):
        ChunkCodec.from_json(dtype, codecs)


@pytest.mark.parametrize(
    ("height", "width", "dtype", "expected"),
    [(240, 320, "uint8", 436), (240, 320, "float16", 218), (1, 1, "uint8", 2**25), (20_000, 20_000, "uint8", 1)],
)
def test_a_shard_is_at_most_64_mib(height, width, dtype, expected):
    assert frames_per_shard(height, width, dtype) == expected
    size = expected * 2 * height * width * np.dtype(dtype).itemsize
    assert size <= MAX_SHARD_BYTES == 64 * 2**20 or expected == 1


def test_the_same_flow_gives_the_same_bytes():
    codes = make_codes(3)
    shards = []
    for _ in range(2):
        file = io.BytesIO()
        writer = ShardWriter(file, codec_for("fast", "uint8"))
        for flow in codes:
            writer.append(flow)
        writer.finish(3)
        shards.append(file.getvalue())
    assert shards[0] == shards[1]


def test_every_preset_of_the_settings_has_a_codec():
    for preset in PRESETS:
        assert codec_for(ExtractSettings(compression=preset).compression, "uint8").dtype == "uint8"
