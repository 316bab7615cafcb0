"""The encodings of flow as codes of uint8, a row each: all that is known of one, but for the loops that make its codes.

Codes of different encodings are not interchangeable: decoding one's by another's rule is off by half a step. The rules
are written out in `Quantizer` and `FileQuantizer`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CodeEncoding:
    """How codes stand for pixels between -b and b. Decoding is a line: code `origin` is 0 px, a step is ``2b/n_steps``.

    Parameters
    ----------
    n_steps : int
        Into which the range is divided.
    zero : int
        Code of zero flow.
    origin : float
        Code, or place between two, that decodes to zero.
    lowest, highest : int
        Codes that are written. Those at either end stand for all beyond them too.
    offset_steps, offset_bounds : float
        Pixels of code 0, in steps and in bounds: ``-origin`` steps, in the terms in which it is exact.
    mirror : int
        Codes ``q`` and ``mirror - q`` decode to opposite pixels.
    is_stored : bool
        Whether a store can have it.
    is_share : bool
        Whether its bound is no number of pixels but a share of the picture's side.
    """

    n_steps: int
    zero: int
    origin: float
    lowest: int
    highest: int
    offset_steps: float
    offset_bounds: float
    mirror: int
    is_stored: bool = True
    is_share: bool = False


CODE_ENCODINGS = {
    "centred": CodeEncoding(254, 128, 128, 1, 255, -128, 0, 256),
    "denseflow": CodeEncoding(255, 128, 127.5, 0, 255, 0, -1, 255),
    # A truncated code stands for the half-open step above it, so that its middle is half a step up.
    "truncate": CodeEncoding(255, 127, 127, 0, 255, 0.5, -1, 254),
    "i3d-128": CodeEncoding(255, 128, 128, 0, 255, -128, 0, 256, is_stored=False),
    "mmcv": CodeEncoding(255, 127, 127, 0, 254, -127, 0, 254, is_stored=False, is_share=True),
}
