"""The kinds of file that hold one flow, or a component of it: JPEG, PNG, ``.flo`` and KITTI's PNG. Pure: no path.

Owns OpenCV's coding of flow images. What is wrong with a file is found from its header, before room is made for what
it claims to hold. Knows no layout, no folder and no quantizer.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.errors import ArgumentError, DecodeError, ExportError
from flowstore.layouts.file_kind import Flow, FlowFile, FlowValues, Values, check_bytes, check_size
from flowstore.opencv import check_opencv, cv2
from flowstore.quantize.code_encodings import CODE_ENCODINGS
from flowstore.sources.images import is_whole_image

_FLO_MAGIC = b"PIEH"
_FLO_UNKNOWN = 1e9
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_KITTI_SCALE, _KITTI_ZERO = 64.0, 1 << 15
_BLUE = 128

Codes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


class ImageFile(FlowFile):
    """A picture of codes: of one component in gray levels, or of both in red and green."""

    packings = ("planes", "rgb")
    encodings = ("denseflow", *(name for name in CODE_ENCODINGS if name != "denseflow"))

    def __init__(
        self, name: str, suffixes: tuple[str, ...], is_lossless: bool = True, longest_side: int | None = None
    ) -> None:
        self.name, self.suffixes = name, suffixes
        self.is_lossless, self.longest_side = is_lossless, longest_side

    def check_usable(self) -> None:
        """Raise `MissingExtraError` where OpenCV cannot be loaded."""
        check_opencv()

    def encode(self, values: Values, packing: str, quality: int) -> Iterator[bytes]:
        """Return the picture of x and that of y, or the one of both."""
        if packing == "rgb":
            yield encode_pair(values, self.name, quality)
            return
        for plane in values:
            yield encode_plane(plane, self.name, quality)

    def decode(self, data: bytes, packing: str) -> FlowValues:
        """Return the codes of a picture."""
        return FlowValues(decode_pair(data) if packing == "rgb" else decode_plane(data)[np.newaxis])


class FloFile(FlowFile):
    """Middlebury's ``.flo``."""

    name, suffixes, packings, encodings = "flo", (".flo",), ("pair",), ("pixels",)

    def encode(self, values: Values, packing: str, quality: int) -> Iterator[bytes]:
        """Return the one file."""
        del packing, quality
        yield encode_flo(values)

    def decode(self, data: bytes, packing: str) -> FlowValues:
        """Return the flow in pixels."""
        del packing
        return _known_values(*decode_flo(data))


class KittiFile(FlowFile):
    """KITTI's PNG of 16 bits."""

    name, suffixes, packings, encodings = "kitti", (".png",), ("pair",), ("pixels",)
    step_px = 1 / _KITTI_SCALE

    def check_usable(self) -> None:
        """Raise `MissingExtraError` where OpenCV cannot be loaded."""
        check_opencv()

    def encode(self, values: Values, packing: str, quality: int) -> Iterator[bytes]:
        """Return the one file."""
        del packing, quality
        yield encode_kitti(values)

    def decode(self, data: bytes, packing: str) -> FlowValues:
        """Return the flow in pixels."""
        del packing
        return _known_values(*decode_kitti(data))


def _known_values(flow: Flow, is_known: Mask) -> FlowValues:
    return FlowValues(flow, int(is_known.size - np.count_nonzero(is_known)))


def encode_flo(flow: Flow) -> bytes:
    """Return flow, float32 (2, H, W) in pixels, as a ``.flo`` file.

    ``PIEH``, width and height as little-endian int32, then rows of x and y in turn as little-endian float32.

    References
    ----------
    S. Baker et al., A Database and Evaluation Methodology for Optical Flow, IJCV 2011; its ``flowIO.cpp``.
    """
    _, height, width = flow.shape
    return _FLO_MAGIC + struct.pack("<ii", width, height) + interleaved(flow).astype("<f4").tobytes()


def decode_flo(data: bytes) -> tuple[Flow, Mask]:
    """Return the flow of a ``.flo`` file, float32 (2, H, W) in pixels, and where it is known, bool (H, W).

    A component above 1e9 says that nothing is known of its pixel; both are 0 there.
    """
    if len(data) < 12 or data[:4] != _FLO_MAGIC:
        raise DecodeError(f"not a .flo file: expected it to begin with {_FLO_MAGIC.decode()}")
    width, height = struct.unpack_from("<ii", data, 4)
    check_size(height, width)
    check_bytes(len(data), 12 + 8 * width * height, f"{width}×{height} px")
    flow = planar(np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2))
    # A NaN is no number of pixels and no mark of anything: it stays, and is refused by who counts on numbers.
    is_unknown: Mask = np.asarray((np.abs(flow) > _FLO_UNKNOWN).any(axis=0))
    flow[:, is_unknown] = 0
    return flow, ~is_unknown


def encode_kitti(flow: Flow, is_known: Mask | None = None) -> bytes:
    """Return flow, float32 (2, H, W), -512 to 511.98 px, as KITTI's PNG; what is not known is written as zeros.

    16 bits a channel: red ``rint(64 x) + 2¹⁵``, green the same of y, blue whether it is known.

    References
    ----------
    M. Menze and A. Geiger, Object Scene Flow for Autonomous Vehicles, CVPR 2015; ``readme.txt`` of its devkit.
    """
    known = np.ones(flow.shape[1:], bool) if is_known is None else is_known
    values = np.rint(flow.astype(np.float64) * _KITTI_SCALE) + _KITTI_ZERO
    levels = np.clip(values, 0, 65535).astype(np.uint16) * known
    return _encoded(np.stack([known.astype(np.uint16), levels[1], levels[0]], axis=-1), ".png", [])


def decode_kitti(data: bytes) -> tuple[Flow, Mask]:
    """Return the flow of KITTI's PNG, float32 (2, H, W) in pixels, and where it is known, bool (H, W)."""
    image = _decoded(data)
    if image.dtype != np.uint16 or image.shape[2:] != (3,):
        raise DecodeError(f"expected three channels of 16 bits, found {_describe(image)}")
    is_known = image[..., 0] > 0
    flow = (np.stack([image[..., 2], image[..., 1]]).astype(np.float32) - _KITTI_ZERO) / np.float32(_KITTI_SCALE)
    flow[:, ~is_known] = 0
    return flow, is_known


def encode_plane(codes: Codes, file_format: str, quality: int = 95) -> bytes:
    """Return the codes of one component, uint8 (H, W), as a gray image; `quality` is JPEG's, 0 to 100."""
    return _encoded(codes, f".{file_format}", [cv2.IMWRITE_JPEG_QUALITY, quality] if file_format == "jpg" else [])


def decode_plane(data: bytes) -> Codes:
    """Return the codes of a gray JPEG or PNG, uint8 (H, W). Three equal channels count as gray."""
    image = _decoded(data)
    if image.dtype == np.uint8 and image.ndim == 2:
        return image
    if image.dtype == np.uint8 and image.shape[2] == 3:
        if (image[..., :2] == image[..., 1:]).all():
            return np.ascontiguousarray(image[..., 0])
        raise DecodeError("a picture in color, expected gray levels of one component of flow")
    raise DecodeError(f"expected gray levels of 8 bits, found {_describe(image)}")


def encode_pair(codes: Codes, file_format: str, quality: int = 100) -> bytes:
    """Return the codes of a flow, uint8 (2, H, W), as one picture: red x, green y, blue 128, colors at full resolution.

    References
    ----------
    T. Han et al., Self-supervised Co-training for Video Representation Learning (CoCLR), NeurIPS 2020.
    """
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    image = np.stack([np.full(codes.shape[1:], _BLUE, np.uint8), codes[1], codes[0]], axis=-1)
    return _encoded(image, f".{file_format}", options if file_format == "jpg" else [])


def decode_pair(data: bytes) -> Codes:
    """Return the codes of a picture whose red is x and whose green is y, uint8 (2, H, W), whatever its blue holds."""
    image = _decoded(data)
    if image.dtype != np.uint8 or image.shape[2:] != (3,):
        raise DecodeError(f"expected three channels of 8 bits, found {_describe(image)}")
    return np.stack([image[..., 2], image[..., 1]])


def interleaved(flow: Flow) -> Flow:
    """Return flow (2, H, W) as (H, W, 2)."""
    return np.ascontiguousarray(flow.transpose(1, 2, 0))


def planar(values: npt.NDArray[Any]) -> Flow:
    """Return flow (H, W, 2) as float32 (2, H, W), an array of its own."""
    return np.array(values.transpose(2, 0, 1), np.float32, order="C")


def _encoded(image: npt.NDArray[Any], suffix: str, options: list[int]) -> bytes:
    if image.size == 0:
        raise ArgumentError(f"an image of {image.shape[1]}×{image.shape[0]} px cannot be encoded")
    is_encoded, data = cv2.imencode(suffix, image, options)
    if not is_encoded:
        raise ExportError(f"OpenCV cannot encode an image of {image.shape[1]}×{image.shape[0]} as {suffix[1:]}")
    return data.tobytes()


def _decoded(data: bytes) -> npt.NDArray[Any]:
    """Return the pixels of a JPEG or PNG file, (H, W) or (H, W, channels) in OpenCV's order."""
    if data.startswith(_PNG_MAGIC):
        height, width = _png_size(data)
    elif data.startswith(b"\xff\xd8"):
        height, width = _jpeg_size(data)
        if not is_whole_image(data):
            raise DecodeError(f"cut off after {len(data)} bytes")
    else:
        raise DecodeError("empty file (0 bytes)" if not data else "neither a JPEG nor a PNG file")
    check_size(height, width)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise DecodeError(f"cannot be decoded: {error.err}") from error
    if image is None or image.shape[:2] != (height, width):
        raise DecodeError("cannot be decoded")
    return image


def _png_size(data: bytes) -> tuple[int, int]:
    """Return height and width of a PNG file, once each of its chunks has the checksum that it says."""
    size, at = None, len(_PNG_MAGIC)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data):
            break
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise DecodeError(f"damaged: the checksum of its chunk {kind!r} differs")
        if kind == b"IHDR" and length == 13:
            width, height = struct.unpack_from(">II", data, at + 8)
            size = height, width
        if kind == b"IEND" and size:
            return size
        at = end
    raise DecodeError(f"cut off after {len(data)} bytes")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Return height and width of a JPEG file, from its frame header (ITU-T T.81 §B.2.2)."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return height, width
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    raise DecodeError(f"cut off after {len(data)} bytes, or damaged: it has no frame header")


def _describe(image: npt.NDArray[Any]) -> str:
    n_channels = image.shape[2] if image.ndim == 3 else 1
    return f"{n_channels} of {8 * image.dtype.itemsize} bits"
