"""The JSON documents of a store's nodes: format 1, as Zarr v3 metadata. Pure.

Written out here and not by zarr-python, so that a store's bytes do not depend on zarr-python's version.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowstore.errors import ArgumentError, ChecksumError, StoreFormatError
from flowstore.format.codec import ChunkCodec
from flowstore.limits import MAX_FLOW_BYTES, check_document_size
from flowstore.names import printable_name
from flowstore.quantize.quantizer import Quantizer

FORMAT = 1
ATTRIBUTE = "flowstore"
FLOW = "flow"
# A copy of all metadata below a group, which `zarr.consolidate_metadata` adds to the group's own.
CONSOLIDATED = "consolidated_metadata"
# JSON has no checksum of its own.
DIGEST = "digest"
_FLOW_ATTRIBUTES = ("units", "long_name", "component", "scale_factor", "add_offset")


def to_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a document as the bytes of a ``zarr.json``."""
    data = json.dumps(document, indent=1, allow_nan=False).encode()
    try:
        check_document_size("its document", len(data))
    except StoreFormatError as error:
        raise ArgumentError(f"too long a video: {error}") from error
    return data


def parse_document(data: bytes, where: str) -> dict[str, Any]:
    """Return the document of a ``zarr.json``."""
    check_document_size(where, len(data))
    try:
        document = json.loads(data)
    except ValueError as error:
        raise StoreFormatError(f"{where}: not a JSON document ({error})") from error
    except RecursionError as error:
        raise StoreFormatError(f"{where}: a JSON document nested deeper than any of Zarr's") from error
    if not isinstance(document, dict) or document.get("zarr_format") != 3:
        raise StoreFormatError(f"{where}: not the metadata of a Zarr v3 node")
    return document


def parse_before_consolidated(head: bytes, where: str) -> dict[str, Any] | None:
    """Return the document of a group without the metadata that Zarr consolidated in it, of its first bytes.

    They may be larger than any document that is believed, and writers put them behind the group's attributes. None
    where there are none.
    """
    own, found, _ = head.partition(f'"{CONSOLIDATED}"'.encode())
    if not found:
        return None
    return parse_document(own + b'"zarr_format": 3, "node_type": "group"}', where)


def json_digest(value: Any) -> str:
    """Return the hexadecimal BLAKE2b, of 128 bits, of a JSON value: the same however the value is written down."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def group_document(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document of a group whose attributes stand under the key ``flowstore``, with their digest."""
    own = {**attributes, DIGEST: json_digest(attributes)}
    return {"zarr_format": 3, "node_type": "group", "attributes": {ATTRIBUTE: own}}


def stated_attributes(document: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return flowstore's own attributes of a group's document as they stand there, with their digest if it has one."""
    attributes = document.get("attributes")
    own = attributes.get(ATTRIBUTE) if isinstance(attributes, dict) else None
    if document.get("node_type") != "group" or not isinstance(own, dict):
        raise StoreFormatError(f"{where}: a Zarr node, but not one of flowstore's (attribute {ATTRIBUTE!r} is missing)")
    return own


def group_attributes(document: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return flowstore's own attributes of a group's document, compared with their digest where it has one."""
    own = dict(stated_attributes(document, where))
    stated = own.pop(DIGEST, None)
    if stated is not None and stated != json_digest(own):
        raise ChecksumError(f"{where}: its attributes are not the ones that were written (their digest differs)")
    return own


def flow_digest(document: Mapping[str, Any]) -> str:
    """Return the digest of the document of a flow array; attributes that others add to it do not change it."""
    attributes = document.get("attributes")
    if isinstance(attributes, dict):
        attributes = {name: attributes[name] for name in _FLOW_ATTRIBUTES if name in attributes}
    return json_digest({**document, "attributes": attributes})


def decoding_of(quantizer: Quantizer) -> tuple[float | None, float | None]:
    """Return the scale and the offset that an array of a quantizer's codes states; none for stored pixels."""
    return (None, None) if quantizer.bound_px is None else (quantizer.scale, quantizer.offset)


def flow_document(
    n_flows: int, height: int, width: int, shard_frames: int, quantizer: Quantizer, codec: ChunkCodec
) -> dict[str, Any]:
    """Return the document of a video's flow array.

    Notes
    -----
    ``scale_factor``, ``add_offset`` and ``units`` are those of the CF conventions, §8.1 and §3.1, so that xarray
    gives pixels.
    """
    attributes: dict[str, Any] = {"units": "pixel", "long_name": "optical flow", "component": ["x", "y"]}
    scale, offset = decoding_of(quantizer)
    if scale is not None:
        attributes |= {"scale_factor": scale, "add_offset": offset}
    index_codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    sharding = {
        "chunk_shape": [1, 2, height, width],
        "codecs": codec.to_json(),
        "index_codecs": index_codecs,
        "index_location": "end",
    }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [n_flows, 2, height, width],
        "data_type": quantizer.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [shard_frames, 2, height, width]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": float(quantizer.zero_code) if quantizer.bound_px is None else quantizer.zero_code,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "attributes": attributes,
        "dimension_names": ["frame", "component", "y", "x"],
        "storage_transformers": [],
    }


@dataclass(frozen=True)
class FlowLayout:
    """How the flow array of a video is laid out on disk.

    Parameters
    ----------
    shape : tuple of int
        ``(n_flows, 2, height, width)``.
    shard_frames : int
        Flows in each shard but the last.
    codec : ChunkCodec
        Of the chunks.
    scale, offset : float or None
        What makes pixels of the stored numbers; None where these are pixels.
    """

    shape: tuple[int, int, int, int]
    shard_frames: int
    codec: ChunkCodec
    scale: float | None = None
    offset: float | None = None

    @property
    def flow_bytes(self) -> int:
        """Bytes of one flow, unpacked."""
        return math.prod(self.shape[1:]) * np.dtype(self.codec.dtype).itemsize

    @property
    def n_shards(self) -> int:
        """Number of shard files."""
        return -(-self.shape[0] // self.shard_frames)


def parse_flow_document(document: Mapping[str, Any], where: str) -> FlowLayout:
    """Return how a flow array is laid out."""
    if not isinstance(document, Mapping) or document.get("node_type") != "array":
        raise StoreFormatError(f"{where}: not the metadata of a Zarr array")
    of_others = f"{where}: laid out by another program than flowstore; xarray and zarr read it"
    try:
        shape = tuple(document["shape"])
        shard_shape = document["chunk_grid"]["configuration"]["chunk_shape"]
        (sharding,) = document["codecs"]
        configuration = sharding["configuration"]
        codec = ChunkCodec.from_json(document["data_type"], configuration["codecs"])
        is_known = (
            sharding["name"] == "sharding_indexed"
            and len(shape) == 4
            and all(isinstance(side, int) and side > 0 for side in (*shape, shard_shape[0]))
            and configuration.get("index_location", "end") == "end"
            and [codec["name"] for codec in configuration["index_codecs"]] == ["bytes", "crc32c"]
            and configuration["index_codecs"][0]["configuration"]["endian"] == "little"
            and configuration["chunk_shape"] == [1, *shape[1:]]
            and shard_shape[1:] == list(shape[1:])
            and document["chunk_grid"]["name"] == "regular"
            and document["chunk_key_encoding"] == {"name": "default", "configuration": {"separator": "."}}
            and not document.get("storage_transformers")
        )
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, StoreFormatError) as error:
        raise StoreFormatError(f"{of_others} ({printable_name(str(error))[:200]})") from error
    if not is_known:
        raise StoreFormatError(of_others)
    attributes = document.get("attributes")
    stated = attributes if isinstance(attributes, dict) else {}
    layout = FlowLayout(shape, shard_shape[0], codec, stated.get("scale_factor"), stated.get("add_offset"))
    if layout.shard_frames > shape[0] or layout.shard_frames * layout.flow_bytes > MAX_FLOW_BYTES:
        raise ChecksumError(
            f"{where}: damaged: shards of {layout.shard_frames} flows of {layout.flow_bytes} bytes each, at most "
            f"{shape[0]} flows and {MAX_FLOW_BYTES} bytes can be"
        )
    return layout
