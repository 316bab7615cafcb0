"""The settings of an extraction: everything that decides the numbers in a store. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from flowstore.errors import ArgumentError
from flowstore.quantize import Quantizer

Compression = Literal["fast", "balanced", "small", "none"]
ParameterValue = int | float | bool | str


@dataclass(frozen=True)
class ExtractSettings:
    """What decides the numbers in a store; one for all its videos.

    Parameters
    ----------
    algorithm : str
        Name of the estimator, such as ``farneback``.
    engine : str
        Which implementation of it: ``numba`` or ``opencv``.
    params : mapping
        Every parameter of the algorithm with its value.
    quantizer : Quantizer
        How pixels become stored numbers.
    step : int
        ``flow[i]`` is the motion from frame ``i`` to frame ``i + step``; at least 1.
    short_side : int or None
        Length in pixels to which the shorter side of each frame is resized.
    size : tuple of int or None
        ``(height, width)`` in pixels to which each frame is resized. Not together with `short_side`.
    fps : float or None
        Frame rate to which videos are thinned before anything else.
    compression : {"fast", "balanced", "small", "none"}
        Preset of the chunk codec.

    Raises
    ------
    ArgumentError
        If a value cannot be used.
    """

    algorithm: str = "farneback"
    engine: str = "opencv"
    params: Mapping[str, ParameterValue] = field(default_factory=dict)
    quantizer: Quantizer = field(default_factory=Quantizer)
    step: int = 1
    short_side: int | None = None
    size: tuple[int, int] | None = None
    fps: float | None = None
    compression: Compression = "fast"

    def __post_init__(self) -> None:
        if not isinstance(self.params, Mapping):
            raise ArgumentError(f"params are {self.params!r}, expected a mapping of names to values")
        if not isinstance(self.step, int) or self.step < 1:
            raise ArgumentError(f"step is {self.step}, expected 1 or more frames")
        if self.size is not None and len(self.size) != 2:
            raise ArgumentError(f"size is {self.size}, expected height and width")
        if self.short_side is not None and self.size is not None:
            raise ArgumentError("short side and size are both given: choose one")
        for name, pixels in (("short side", self.short_side), *(("size", side) for side in self.size or ())):
            if pixels is not None and not (isinstance(pixels, int) and 1 <= pixels <= 65535):
                raise ArgumentError(f"{name} is {pixels} px, expected 1 to 65535")
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise ArgumentError(f"fps is {self.fps}, expected a finite number above 0")
        if self.compression not in get_args(Compression):
            raise ArgumentError(
                f"compression is {self.compression!r}, expected one of {', '.join(get_args(Compression))}"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return {
            "algorithm": self.algorithm,
            "engine": self.engine,
            "params": dict(self.params),
            **self.quantizer.to_json(),
            "step": self.step,
            "short_side": self.short_side,
            "size": list(self.size) if self.size else None,
            "fps": self.fps,
            "compression": self.compression,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ExtractSettings:
        """Make settings of what `to_json` gave.

        Raises
        ------
        ArgumentError
            If a field is missing, unknown or does not fit.
        """
        fields = dict(values)
        try:
            quantizer = Quantizer(fields.pop("encoding"), fields.pop("bound_px"))
            size = fields.pop("size")
            return cls(quantizer=quantizer, size=tuple(size) if size else None, **fields)
        except (TypeError, KeyError) as error:
            raise ArgumentError(f"not the settings of an extraction: {error}") from error

    def differences(self, other: ExtractSettings) -> list[str]:
        """Return a line for each field in which another settings differs: ``name: this against other``."""
        ours, theirs = self._flat(), other._flat()
        return [
            f"{name}: {ours.get(name)!s} against {theirs.get(name)!s}"
            for name in ours | theirs
            if ours.get(name) != theirs.get(name)
        ]

    def _flat(self) -> dict[str, Any]:
        values = self.to_json()
        return values | {f"param {name}": value for name, value in values.pop("params").items()}


def describe_settings(settings: ExtractSettings) -> str:
    """Return the settings that matter most, in a few words."""
    quantizer = settings.quantizer
    stored = "float16 px"
    if quantizer.bound_px is not None:
        stored = f"uint8 {quantizer.encoding} ±{quantizer.bound_px:g} px"
    return f"{settings.algorithm} ({settings.engine}), {stored}"
