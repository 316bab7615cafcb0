"""The metadata of a store as zarr-python and xarray read it."""

import contextlib
import copy
import hashlib
import json

import numpy as np
import pytest
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstore.errors import ChecksumError, StoreFormatError
from flowstore.format.codec import codec_for
from flowstore.format.shards import ShardWriter
from flowstore.format.zarr_metadata import (
    FlowLayout,
    decoding_of,
    flow_document,
    group_attributes,
    group_document,
    parse_document,
    parse_flow_document,
    to_bytes,
)
from flowstore.quantize import UINT8_ENCODINGS, Quantizer

SHAPE = (5, 2, 6, 9)
QUANTIZERS = [Quantizer(encoding, bound) for encoding in UINT8_ENCODINGS for bound in (20, 7.3)]
QUANTIZERS.append(Quantizer("float16", None))
every_quantizer = pytest.mark.parametrize("quantizer", QUANTIZERS, ids=lambda q: f"{q.encoding} {q.bound_px}")


def write_video(group, quantizer, shard_frames=3):
    """Write a video's group by this package's documents and shards alone; return its codes."""
    flow = np.random.default_rng(0).normal(0, 6, SHAPE).astype(np.float32)
    flow[2] = 0
    codes = quantizer.encode(flow)
    codec = codec_for("fast", quantizer.dtype.name)
    (group / "flow").mkdir(parents=True)
    (group / "zarr.json").write_bytes(to_bytes(group_document({"name": "é [HD] \udcff"})))
    document = flow_document(SHAPE[0], SHAPE[2], SHAPE[3], shard_frames, quantizer, codec)
    (group / "flow" / "zarr.json").write_bytes(to_bytes(document))
    for number, start in enumerate(range(0, SHAPE[0], shard_frames)):
        with open(group / "flow" / f"c.{number}.0.0.0", "wb") as file:
            writer = ShardWriter(file, codec)
            for chunk in codes[start : start + shard_frames]:
                writer.append(chunk)
            writer.finish(shard_frames)
    return codes


@every_quantizer
def test_xarray_reads_pixels(tmp_path, quantizer):
    codes = write_video(tmp_path / "wave" / "a", quantizer)
    (tmp_path / "zarr.json").write_bytes(to_bytes(group_document({})))
    (tmp_path / "wave" / "zarr.json").write_bytes(to_bytes(group_document({})))
    expected = quantizer.decode(codes)
    with xarray.open_zarr(tmp_path, group="wave/a", consolidated=False) as dataset:
        flow = dataset["flow"]
        assert flow.dims == ("frame", "component", "y", "x")
        assert flow.attrs["units"] == "pixel"
        np.testing.assert_array_equal(flow.values.astype(np.float32), expected)
        if quantizer.encoding in ("centred", "float16"):
            assert (flow.values[2] == 0).all()
    with xarray.open_datatree(tmp_path, engine="zarr", consolidated=False) as tree:
        np.testing.assert_array_equal(tree["wave/a/flow"].values.astype(np.float32), expected)


@every_quantizer
def test_zarr_python_agrees_on_every_field(tmp_path, quantizer):
    codes = write_video(tmp_path / "a", quantizer)
    group = zarr.open_group(tmp_path / "a", mode="r")
    digest = hashlib.blake2b(b'{"name":"\\u00e9 [HD] \\udcff"}', digest_size=16).hexdigest()
    assert dict(group.attrs) == {"flowstore": {"name": "é [HD] \udcff", "digest": digest}}
    array = group["flow"]
    np.testing.assert_array_equal(array[:], codes)
    assert array.shape == SHAPE
    assert array.dtype == quantizer.dtype
    assert array.chunks == (1, *SHAPE[1:])
    assert array.shards == (3, *SHAPE[1:])
    assert array.fill_value == quantizer.zero_code
    assert array.metadata.dimension_names == ("frame", "component", "y", "x")
    assert array.attrs["component"] == ["x", "y"]
    assert ("scale_factor" in array.attrs) == (quantizer.bound_px is not None)


@every_quantizer
def test_metadata_that_zarr_python_writes_again_is_still_known(tmp_path, quantizer):
    write_video(tmp_path / "a", quantizer)
    document = json.loads((tmp_path / "a" / "flow" / "zarr.json").read_bytes())
    before = parse_flow_document(document, "flow")
    # Any change of the attributes makes zarr-python write the document in its own words.
    zarr.open_array(tmp_path / "a" / "flow", mode="r+").attrs["note"] = "mine"
    rewritten = json.loads((tmp_path / "a" / "flow" / "zarr.json").read_bytes())
    assert rewritten["attributes"]["note"] == "mine"
    assert parse_flow_document(rewritten, "flow") == before


@every_quantizer
@pytest.mark.parametrize("preset", ["fast", "balanced", "small", "none"])
def test_a_layout_survives_its_document(quantizer, preset):
    codec = codec_for(preset, quantizer.dtype.name)
    document = json.loads(to_bytes(flow_document(5, 6, 9, 3, quantizer, codec)))
    layout = FlowLayout((5, 2, 6, 9), 3, codec, *decoding_of(quantizer))
    assert parse_flow_document(document, "flow") == layout
    if quantizer.bound_px is not None:
        # As the CF conventions have it, §8.1.
        codes = np.arange(256, dtype=np.uint8)
        np.testing.assert_allclose(quantizer.decode(codes), codes * layout.scale + layout.offset, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("n_flows", "shard_frames", "n_shards"), [(1, 1, 1), (6, 3, 2), (7, 3, 3), (3, 5, 1)])
def test_number_of_shards(n_flows, shard_frames, n_shards):
    assert FlowLayout((n_flows, 2, 6, 9), shard_frames, codec_for("fast", "uint8")).n_shards == n_shards


def changed(path, value):
    """Return a good document with one value changed, or taken out where the value is `KeyError`."""
    document = copy.deepcopy(flow_document(5, 6, 9, 3, Quantizer(), codec_for("fast", "uint8")))
    place = document
    for step in path[:-1]:
        place = place[step]
    if value is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return document


SHARDING = ("codecs", 0, "configuration")
INDEX = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
STRANGE = [
    (("shape",), KeyError),
    (("shape",), [5, 2, 6]),
    (("shape",), [5, 2, 6, -9]),
    (("shape",), [5, 2, 6, 9.5]),
    (("shape",), "none"),
    (("shape",), None),
    (("data_type",), "float32"),
    (("data_type",), {"name": "uint8"}),
    (("codecs",), []),
    (("codecs",), INDEX),
    (("codecs",), None),
    (("codecs", 0), None),
    (("codecs", 0, "name"), "zstd"),
    (("codecs", 0, "configuration"), None),
    ((*SHARDING, "index_location"), "start"),
    ((*SHARDING, "chunk_shape"), [2, 2, 6, 9]),
    ((*SHARDING, "chunk_shape"), [1, 1, 6, 9]),
    ((*SHARDING, "chunk_shape"), KeyError),
    ((*SHARDING, "index_codecs"), [INDEX[0]]),
    ((*SHARDING, "index_codecs"), [{"name": "bytes", "configuration": {"endian": "big"}}, INDEX[1]]),
    ((*SHARDING, "index_codecs"), [{"name": "bytes"}, INDEX[1]]),
    ((*SHARDING, "codecs"), [{"name": "bytes"}]),
    ((*SHARDING, "codecs"), [{"name": "bytes"}, {"name": "blosc"}, {"name": "crc32c"}]),
    ((*SHARDING, "codecs"), [{"name": "bytes", "configuration": None}, {"name": "crc32c"}]),
    ((*SHARDING, "codecs"), [{"name": "bytes", "configuration": []}, {"name": "crc32c"}]),
    ((*SHARDING, "codecs"), ["bytes", "crc32c"]),
    ((*SHARDING, "codecs"), None),
    (("chunk_grid", "name"), "rectangular"),
    (("chunk_grid", "configuration", "chunk_shape"), [3, 2, 6, 8]),
    (("chunk_grid", "configuration", "chunk_shape"), [0, 2, 6, 9]),
    (("chunk_grid", "configuration", "chunk_shape"), []),
    (("chunk_grid", "configuration", "chunk_shape"), 3),
    (("chunk_grid",), "regular"),
    (("chunk_key_encoding", "configuration", "separator"), "/"),
    (("chunk_key_encoding",), {"name": "v2"}),
    (("storage_transformers",), [{"name": "mystery"}]),
]


@pytest.mark.parametrize(("path", "value"), STRANGE, ids=[f"{'.'.join(map(str, p))}={v}" for p, v in STRANGE])
def test_an_array_laid_out_otherwise_is_refused_and_not_misread(path, value):
    with pytest.raises(StoreFormatError, match=r"a/flow/zarr\.json: "):
        parse_flow_document(changed(path, value), "a/flow/zarr.json")


def paths_in(value, path=()):
    """Yield the path of every key and list item of a JSON value."""
    for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, step)
        if isinstance(inner, dict | list):
            yield from paths_in(inner, (*path, step))


PATHS = list(paths_in(flow_document(5, 6, 9, 3, Quantizer(), codec_for("fast", "uint8"))))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=400)
@given(st.sampled_from(PATHS), JSON | st.just(KeyError))
def test_any_change_is_refused_or_read_as_a_layout(path, value):
    """No malformed document ends in another error than those for malformed documents, and for sizes that are none."""
    document = changed(path, value)
    with contextlib.suppress(StoreFormatError, ChecksumError):
        layout = parse_flow_document(document, "flow/zarr.json")
        assert list(layout.shape) == document["shape"]
        assert layout.shape[1:] == SHAPE[1:]
        assert min(*layout.shape, layout.shard_frames) > 0
        assert (layout.n_shards - 1) * layout.shard_frames < layout.shape[0] <= layout.n_shards * layout.shard_frames


# What the reader has no use for, what has a default in Zarr's specification, and a compressor, which need not be.
UNUSED = {"zarr_format", "fill_value", "attributes", "dimension_names", "storage_transformers"}
DEFAULTS = {"typesize", "blocksize", "index_location", "endian"}
NEEDED = [
    path
    for path in PATHS
    if path[0] not in UNUSED and path[-1] not in DEFAULTS and path != ("codecs", 0, "configuration", "codecs", 1)
]


@pytest.mark.parametrize("path", NEEDED, ids=str)
def test_a_document_that_lacks_something_is_refused(path):
    with pytest.raises(StoreFormatError, match=r"flow/zarr\.json: "):
        parse_flow_document(changed(path, KeyError), "flow/zarr.json")


@given(JSON)
def test_no_json_value_is_taken_for_a_layout(value):
    with pytest.raises(StoreFormatError):
        parse_flow_document(value, "flow/zarr.json")
    if value != 3:
        with pytest.raises(StoreFormatError):
            parse_document(json.dumps(value).encode(), "flow/zarr.json")


@given(st.binary())
def test_no_bytes_are_taken_for_a_document(data):
    with pytest.raises(StoreFormatError):
        parse_document(data, "zarr.json")


def test_group_attributes_come_back():
    document = parse_document(to_bytes(group_document({"format": 1, "name": "\udcff\n動"})), "zarr.json")
    assert group_attributes(document, "zarr.json") == {"format": 1, "name": "\udcff\n動"}


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff\xfe", b"[]", b"null", b"3", b'"zarr_format"', b"{}", b'{"zarr_format": 2}'],
)
def test_what_is_not_zarr_metadata_is_refused(data):
    with pytest.raises(StoreFormatError, match=r"x/zarr\.json: not "):
        parse_document(data, "x/zarr.json")


@pytest.mark.parametrize(
    "document",
    [
        {"zarr_format": 3, "node_type": "group"},
        {"zarr_format": 3, "node_type": "group", "attributes": {}},
        {"zarr_format": 3, "node_type": "group", "attributes": {"flowstore": "1"}},
        {"zarr_format": 3, "node_type": "group", "attributes": None},
        {"zarr_format": 3, "node_type": "group", "attributes": []},
        {"zarr_format": 3, "node_type": "array", "attributes": {"flowstore": {}}},
        {"zarr_format": 3, "attributes": {"flowstore": {}}},
    ],
    ids=str,
)
def test_a_group_of_someone_else_is_refused(document):
    with pytest.raises(StoreFormatError, match="not one of flowstore's"):
        group_attributes(document, "zarr.json")


def test_numbers_that_json_does_not_have_are_refused():
    with pytest.raises(ValueError, match="JSON"):
        to_bytes({"mean": float("nan")})
