"""Encodings of flow in the files of other tools, those that no store holds among them: pixels to numbers and back.

Pure: arrays in, arrays out. The encodings of stores are `flowstore.quantize`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from flowstore.arguments import our_spelling
from flowstore.errors import ArgumentError
from flowstore.quantize.code_encodings import CODE_ENCODINGS, CodeEncoding
from flowstore.quantize.quantizer import Encoding, Quantizer, check_bound

FileEncoding = Literal["centred", "denseflow", "truncate", "i3d-128", "mmcv", "i3d-float", "pixels"]
FLOAT_ENCODINGS = ("i3d-float", "pixels")
_MMCV_SHARE = 0.02
_MMCV_LEVELS = 255

Flow = npt.NDArray[np.float32]
Values = npt.NDArray[Any]


@dataclass(frozen=True)
class FileQuantizer:
    """How flow in pixels becomes the numbers of a file.

    Parameters
    ----------
    encoding : {"centred", "denseflow", "truncate", "i3d-128", "mmcv", "i3d-float", "pixels"}
        The rule, see Notes.
    bound_px : float or None
        Largest magnitude of a component that is kept, in pixels. None for ``mmcv``, whose bound is a share of the
        picture, and for ``pixels``.

    Raises
    ------
    ArgumentError
        If the encoding is unknown, or the bound is none for it.

    Notes
    -----
    With bound ``b`` and component ``v``, both in pixels:

    ``centred``, ``denseflow``, ``truncate``
        As `flowstore.quantize.quantizer.Quantizer` has them.
    ``i3d-128``
        uint8, ``128 + rint(255v/2b)`` of ``v`` clipped to ±b, half to even; the top, 256, is held at 255. Step
        ``2b/255``; zero is code 128, decoded as ``(q - 128)·2b/255``, to exactly 0.
    ``mmcv``
        uint8, 255 levels of ``v/size`` clipped to ±0.02, where ``size`` is the width for x and the height for y: the
        floor of ``255(v/size + 0.02)/0.04``, at most 254, in float32 as mmcv computes it. Decoded as
        ``((q + 0.5)·0.04/255 - 0.02)·size``; zero is code 127, decoded to exactly 0.
    ``i3d-float``
        float32, ``v`` clipped to ±b and divided by ``b``: -1 to 1.
    ``pixels``
        float32, as it is.

    References
    ----------
    ``i3d-128``: video_features ``models/transforms.py``. ``mmcv``: mmcv ``video/optflow.py``, ``quantize_flow`` and
    ``dequantize_flow``. ``i3d-float``: kinetics-i3d, its README.

    Examples
    --------
    >>> import numpy as np
    >>> flow = np.zeros((2, 1, 1), np.float32)
    >>> FileQuantizer("i3d-128").encode(flow + 20).ravel(), FileQuantizer("mmcv", None).encode(flow).ravel()
    (array([255, 255], dtype=uint8), array([127, 127], dtype=uint8))
    """

    encoding: FileEncoding
    bound_px: float | None = 20.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoding", our_spelling(self.encoding))
        if self.encoding not in get_args(FileEncoding):
            raise ArgumentError(f"encoding is {self.encoding!r}, expected one of {', '.join(get_args(FileEncoding))}")
        if not has_bound(self.encoding):
            if self.bound_px is not None:
                raise ArgumentError(f"encoding {self.encoding} takes no bound; found bound {self.bound_px:g}")
            return
        check_bound(self.bound_px)
        object.__setattr__(self, "bound_px", float(self._bound))

    @property
    def _bound(self) -> float:
        assert self.bound_px is not None
        return self.bound_px

    @property
    def stored(self) -> Quantizer | None:
        """The quantizer of a store that gives the same codes; None where a store has none."""
        is_stored = self.row is not None and self.row.is_stored
        return Quantizer(cast(Encoding, self.encoding), self.bound_px) if is_stored else None

    @property
    def row(self) -> CodeEncoding | None:
        """The numbers of the encoding; None where files hold no codes."""
        return CODE_ENCODINGS.get(self.encoding)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers: uint8 or float32."""
        return np.dtype(np.float32 if self.encoding in FLOAT_ENCODINGS else np.uint8)

    def step_px(self, height: int, width: int) -> float:
        """Return the largest distance of two neighboring codes, in pixels; 0 for float32.

        Parameters
        ----------
        height, width : int
            Of the picture.
        """
        if self.row is None:
            return 0.0
        bound = _MMCV_SHARE * max(height, width) if self.row.is_share else self._bound
        return 2 * bound / self.row.n_steps

    def encode(self, flow: Flow) -> Values:
        """Return the numbers of flow.

        Parameters
        ----------
        flow : float32 array (..., 2, H, W)
            Components x and y in pixels, finite.

        Returns
        -------
        uint8 or float32 array of the same shape
        """
        if self.stored:
            return self.stored.encode(flow)
        if self.encoding == "pixels":
            return np.asarray(flow, np.float32)
        if self.encoding == "mmcv":
            return _encode_mmcv(flow)
        if self.encoding == "i3d-float":
            bound = np.float32(self._bound)
            scaled = np.clip(flow, -bound, bound, dtype=np.float32)
            scaled /= bound
            return scaled
        steps = np.multiply(flow, 255.0, dtype=np.float64)
        steps /= 2 * self._bound
        np.clip(steps, -127.5, 127.5, out=steps)
        np.rint(steps, out=steps)
        steps += 128
        np.minimum(steps, 255, out=steps)
        return steps.astype(np.uint8)

    def decode(self, values: Values) -> Flow:
        """Return flow in pixels.

        Parameters
        ----------
        values : uint8 or float32 array (..., 2, H, W)
            Numbers of a file.

        Returns
        -------
        float32 array of the same shape
            The middle of each code's step.

        Raises
        ------
        ArgumentError
            If the numbers are not of `dtype`.
        """
        if values.dtype != self.dtype:
            raise ArgumentError(f"values are {values.dtype}, expected {self.dtype} for encoding {self.encoding}")
        if self.stored:
            return self.stored.decode(values)
        if self.encoding == "pixels":
            return values
        if self.encoding == "i3d-float":
            return values * np.float32(self._bound)
        if self.encoding == "mmcv":
            # 255 levels of 0.04 from -0.02 up: the middle of level 127 is zero itself.
            table = self._steps() * (2 * _MMCV_SHARE / _MMCV_LEVELS)
            return np.stack(
                [
                    (table * size).astype(np.float32)[values[..., component, :, :]]
                    for component, size in enumerate(_sizes(values))
                ],
                axis=-3,
            )
        return (self._steps() * (2 * self._bound / 255)).astype(np.float32)[values]

    def _steps(self) -> npt.NDArray[np.float64]:
        """Return how many steps each code, (256,), stands above zero."""
        assert self.row is not None
        return np.arange(256, dtype=np.float64) - self.row.origin

    def to_json(self) -> dict[str, Any]:
        """Return the quantizer as plain JSON values."""
        return {"encoding": self.encoding, "bound_px": self.bound_px}


def has_bound(encoding: FileEncoding) -> bool:
    """Tell whether an encoding has a bound in pixels."""
    return encoding not in ("mmcv", "pixels")


def _sizes(values: Values) -> tuple[int, int]:
    height, width = values.shape[-2:]
    return width, height


def _encode_mmcv(flow: Flow) -> Values:
    codes = np.empty(flow.shape, np.uint8)
    for component, size in enumerate(_sizes(flow)):
        shares = np.divide(flow[..., component, :, :], np.float32(size), dtype=np.float32)
        np.clip(shares, np.float32(-_MMCV_SHARE), np.float32(_MMCV_SHARE), out=shares)
        shares -= np.float32(-_MMCV_SHARE)
        shares *= np.float32(_MMCV_LEVELS)
        shares /= np.float32(2 * _MMCV_SHARE)
        np.floor(shares, out=shares)
        np.minimum(shares, _MMCV_LEVELS - 1, out=shares)
        np.copyto(codes[..., component, :, :], shares, casting="unsafe")
    return codes
