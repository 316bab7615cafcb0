"""What a store may ask for before it is believed: sizes that no store of flowstore's own comes near. Pure.

A store can come from a stranger. Whatever it says is compared with these before memory is taken for it, and a refusal
names both numbers.
"""

from __future__ import annotations

from typing import Any

from flowstore.errors import ArgumentError, StoreFormatError

# A day of video at 30 frames per second has a document of half of this.
MAX_DOCUMENT_BYTES = 2**25
MAX_SIDE_PX = 65_535
MAX_FLOW_BYTES = 2**30
# The index entry of a chunk and its checksum take 20 bytes. Flow that is constant packs 12 500 times smaller.
MIN_CHUNK_BYTES = 21
MAX_PACKING = 100_000


def check_flow_size(height: int, width: int, n_flows: int, size_bytes: int) -> None:
    """Refuse flow that is larger than any, or than so many stored bytes can hold.

    Examples
    --------
    >>> check_flow_size(240, 320, 300, 2_000_000)
    >>> check_flow_size(50_000, 60_000, 1, 2_000_000)
    Traceback (most recent call last):
    ...
    flowstore.errors.ArgumentError: flow of 60000×50000 px takes 6000000000 bytes per flow, at most 1073741824 can be
    """
    flow_bytes = 2 * height * width
    if min(height, width) < 1:
        raise ArgumentError(f"flow of {width}×{height} px")
    if max(height, width) > MAX_SIDE_PX or flow_bytes > MAX_FLOW_BYTES:
        raise ArgumentError(
            f"flow of {width}×{height} px takes {flow_bytes} bytes per flow, at most {MAX_FLOW_BYTES} can be"
        )
    if n_flows * MIN_CHUNK_BYTES > size_bytes or n_flows * flow_bytes > size_bytes * MAX_PACKING:
        raise ArgumentError(
            f"{n_flows} flows of {width}×{height} px in {size_bytes} bytes: nothing packs so much into so little"
        )


def check_document_size(where: str, size_bytes: int) -> None:
    """Refuse a document larger than any."""
    if size_bytes > MAX_DOCUMENT_BYTES:
        raise StoreFormatError(f"{where}: {size_bytes} bytes or more, a document has at most {MAX_DOCUMENT_BYTES}")


def is_count(value: Any) -> bool:
    """Tell whether a value of JSON is a whole number from 0 on that every reader takes for the same."""
    return type(value) is int and 0 <= value < 2**53


def is_number(value: Any) -> bool:
    """Tell whether a value of JSON is a finite number."""
    return type(value) in (int, float) and abs(value) < 1e300


def is_text_list(value: Any) -> bool:
    """Tell whether a value of JSON is a list of texts."""
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def is_text_mapping(value: Any) -> bool:
    """Tell whether a value of JSON maps texts to texts."""
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
