"""Quantizers: flow in pixels to uint8 codes or float16 and back.

Pure: arrays in, arrays out. Zarr, files and statistics live elsewhere; each encoding's numbers are in `code_encodings`.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from flowstore.arguments import our_spelling
from flowstore.errors import ArgumentError
from flowstore.quantize.code_encodings import CODE_ENCODINGS, CodeEncoding

Encoding = Literal["centred", "denseflow", "truncate", "float16"]
UINT8_ENCODINGS = tuple(name for name, row in CODE_ENCODINGS.items() if row.is_stored)
_FLOAT16_MAX = float(np.finfo(np.float16).max)
_SMALLEST_BOUND, _LARGEST_BOUND = 1e-30, 1e30

Flow = npt.NDArray[np.float32]
Codes = npt.NDArray[Any]


@dataclass(frozen=True)
class Quantizer:
    """How flow in pixels becomes stored numbers.

    Parameters
    ----------
    encoding : {"centred", "denseflow", "truncate", "float16"}
        The rule, see Notes.
    bound_px : float or None
        Largest magnitude of a component that is kept, in pixels, finite and above 0. None for float16, which has no
        bound.

    Raises
    ------
    ArgumentError
        If the encoding is unknown or the bound is not a positive finite number.

    Notes
    -----
    With bound ``b`` and component ``v``, both in pixels:

    ``centred``
        ``128 + rint(v·127/b)``, clipped to 1..255. Zero is code 128 and decodes to exactly 0; the mirror of a code
        ``q`` is ``256 - q``; code 0 is reserved and never written. Step ``b/127``.
    ``denseflow``
        ``rint(255(v + b)/2b)``, half to even, clipped to 0..255. Step ``2b/255``; zero is code 128, which decodes to
        ``b/255``. Evaluated so that each float32 gives the code of exact arithmetic.
    ``truncate``
        ``floor((v + b)·(255/2b))`` of ``v`` clipped to ±b, in float32 as the common NumPy loop computes it. Step
        ``2b/255``; a code decodes to the middle of its step; zero is code 127, which decodes to 0.
    ``float16``
        IEEE half precision, saturated at ±65504.

    Decoding is ``scale·q + offset`` for each encoding. The error is at most half a step wherever nothing is clipped.

    References
    ----------
    ``denseflow``: open-mmlab/denseflow ``include/utils.h``, yjxiong/dense_flow, feichtenhofer/gpu_flow.
    ``truncate``: mmaction2 ``tools/data/build_rawframes.py`` (CPU), flowty, and the widespread
    ``((flow + 20) * (255 / 40)).astype(uint8)``.

    Examples
    --------
    >>> import numpy as np
    >>> quantizer = Quantizer("centred", 20)
    >>> codes = quantizer.encode(np.array([-20, 0, 10, 99], np.float32))
    >>> codes
    array([  1, 128, 192, 255], dtype=uint8)
    >>> quantizer.decode(codes).round(2)
    array([-20.  ,   0.  ,  10.08,  20.  ], dtype=float32)
    """

    encoding: Encoding = "centred"
    bound_px: float | None = 20.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoding", our_spelling(self.encoding))
        if self.encoding not in get_args(Encoding):
            raise ArgumentError(f"encoding is {self.encoding!r}, expected one of {', '.join(get_args(Encoding))}")
        if self.encoding == "float16":
            if self.bound_px is not None:
                raise ArgumentError(
                    f"float16 stores pixels as they are and takes no bound; found bound {self.bound_px:g}"
                )
            return
        check_bound(self.bound_px)
        object.__setattr__(self, "bound_px", float(self._bound))

    @property
    def _bound(self) -> float:
        assert self.bound_px is not None
        return self.bound_px

    @property
    def largest_kept(self) -> float:
        """Magnitude in pixels beyond which a component is clipped: the bound, or 65504 for float16."""
        return _FLOAT16_MAX if self.bound_px is None else self.bound_px

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored numbers: uint8 or float16."""
        return np.dtype(np.float16 if self.encoding == "float16" else np.uint8)

    @property
    def row(self) -> CodeEncoding | None:
        """The numbers of the encoding; None for float16, which has no codes."""
        return CODE_ENCODINGS.get(self.encoding)

    @property
    def scale(self) -> float:
        """Pixels per code: the step of a uint8 encoding, 1 for float16."""
        return 2 * self._bound / self.row.n_steps if self.row else 1.0

    @property
    def step_px(self) -> float:
        """Distance of two neighboring codes in pixels; 0 for float16."""
        return self.scale if self.row else 0.0

    @property
    def offset(self) -> float:
        """Pixels that code 0 stands for."""
        return self.row.offset_steps * self.scale + self.row.offset_bounds * self._bound if self.row else 0.0

    @property
    def zero_code(self) -> int:
        """Code of zero flow."""
        return self.row.zero if self.row else 0

    @property
    def lowest_code(self) -> int:
        """Lowest code that is written, 1 for ``centred``; the highest of a uint8 encoding is 255."""
        return self.row.lowest if self.row else 0

    def encode(self, flow: Flow, out: Codes | None = None) -> Codes:
        """Return the stored numbers of flow.

        Parameters
        ----------
        flow : float32 array of any shape
            Components in pixels, finite.
        out : array of `dtype` and the same shape, optional
            Where to write them.

        Returns
        -------
        uint8 or float16 array of the same shape
        """
        if out is None:
            out = np.empty(flow.shape, self.dtype)
        if self.encoding == "float16":
            np.clip(flow, -_FLOAT16_MAX, _FLOAT16_MAX, out=out, casting="same_kind")
        elif self.encoding == "centred":
            steps = np.multiply(flow, 127.0, dtype=np.float64)
            steps /= self._bound
            np.rint(steps, out=steps)
            np.clip(steps, -127, 127, out=steps)
            steps += 128
            np.copyto(out, steps, casting="unsafe")
        elif self.encoding == "denseflow":
            np.copyto(out, self._denseflow_codes(flow), casting="unsafe")
        else:
            bound = np.float32(self._bound)
            shifted = np.clip(flow, -bound, bound, dtype=np.float32)
            shifted += bound
            shifted *= np.float32(255 / (2 * self._bound))
            np.minimum(shifted, 255, out=shifted)
            np.copyto(out, shifted, casting="unsafe")
        return out

    def _denseflow_codes(self, flow: Flow) -> npt.NDArray[np.float64]:
        # 255(v + b)/2b = 127.5 + w. Adding 127.5 in floating point would lose a tiny w and with it the side of the
        # tie at zero. Half to even of 127.5 + w is 127 + ceil(w), but 128 + w where w is an even integer.
        w = np.multiply(flow, 255.0, dtype=np.float64)
        w /= 2 * self._bound
        np.clip(w, -127.5, 127.5, out=w)
        upper = np.ceil(w)
        half = 0.5 * w
        ties = (upper == w) & (np.floor(half) == half)
        upper += 127
        upper += ties
        return np.clip(upper, 0, 255, out=upper)

    def decode(self, codes: Codes, out: Flow | None = None) -> Flow:
        """Return flow in pixels.

        Parameters
        ----------
        codes : uint8 or float16 array of any shape
            Stored numbers.
        out : float32 array of the same shape, optional
            Where to write them.

        Returns
        -------
        float32 array of the same shape
            ``scale·codes + offset``, the middle of each code's step, in pixels.

        Raises
        ------
        ArgumentError
            If the codes are not of `dtype`.

        Notes
        -----
        Wherever float32 arithmetic gives just these numbers, as it does for the bounds in use, that
        arithmetic is used: it takes a third of the time of a table: NumPy widens each code to an index of eight bytes.
        """
        if codes.dtype != self.dtype:
            raise ArgumentError(f"codes are {codes.dtype}, expected {self.dtype} for encoding {self.encoding}")
        if self.encoding != "float16" and not _is_float32_exact(self):
            return self._decode_by_table(codes, out)
        if out is None:
            out = codes.astype(np.float32)
        else:
            np.copyto(out, codes)
        return out if self.encoding == "float16" else self._scale(out)

    def _decode_by_table(self, codes: Codes, out: Flow | None) -> Flow:
        return np.take(self.decode_table, codes, out=out, mode="clip") if out is not None else self.decode_table[codes]

    def _scale(self, codes: Flow) -> Flow:
        """Turn codes held as float32 into pixels, in place: each step but the last is exact for a whole bound."""
        assert self.row is not None
        codes -= np.float32(self.row.origin)
        codes *= np.float32(2 * self._bound)
        codes /= np.float32(self.row.n_steps)
        return codes

    @property
    def decode_table(self) -> Flow:
        """Pixels of each code, float32 of shape (256,): how uint8 codes are decoded."""
        return (np.arange(256) * self.scale + self.offset).astype(np.float32)

    def count_clipped(self, flow: Flow) -> tuple[int, int]:
        """Count the components that the encoding cannot hold.

        Parameters
        ----------
        flow : float32 array (2, H, W)
            Components x and y in pixels.

        Returns
        -------
        tuple of int
            How many values of x and of y have a magnitude above the bound.
        """
        # The bound itself is compared in double: a float32 value above it by one unit in the last place counts.
        bound = np.float64(self.largest_kept)
        counts = [int(np.count_nonzero(np.abs(component) > bound)) for component in flow]
        return counts[0], counts[1]

    def to_json(self) -> dict[str, Any]:
        """Return the quantizer as plain JSON values.

        Returns
        -------
        dict
            ``encoding`` and ``bound_px``, which make it again: ``Quantizer(values["encoding"], values["bound_px"])``.
        """
        return {"encoding": self.encoding, "bound_px": self.bound_px}


@functools.lru_cache(maxsize=16)
def _is_float32_exact(quantizer: Quantizer) -> bool:
    """Tell whether float32 arithmetic decodes each of the 256 codes to the float32 nearest to its exact pixels."""
    with np.errstate(over="ignore", invalid="ignore"):
        pixels = quantizer._scale(np.arange(256, dtype=np.float32))
    return bool((pixels == quantizer.decode_table).all())


def check_bound(bound_px: float | None) -> None:
    """Raise unless a bound is a positive finite number of pixels with which float32 can reckon.

    Raises
    ------
    ArgumentError
        If it is not.
    """
    if (
        isinstance(bound_px, bool)
        or not isinstance(bound_px, int | float | np.number)
        or not math.isfinite(bound_px)
        or bound_px <= 0
    ):
        raise ArgumentError(f"bound is {bound_px!r}, expected a finite number of pixels above 0, such as 20")
    if not _SMALLEST_BOUND <= bound_px <= _LARGEST_BOUND:
        raise ArgumentError(
            f"bound is {bound_px:g}, expected {_SMALLEST_BOUND:g} to {_LARGEST_BOUND:g} pixels, such as 20: "
            "the arithmetic of float32 overflows beyond"
        )
