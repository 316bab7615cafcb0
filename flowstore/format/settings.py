"""The settings of an extraction: everything that decides the numbers in a store. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from flowstore.arguments import ParameterValue, check_positive, check_whole
from flowstore.errors import ArgumentError
from flowstore.format.codec import Compression
from flowstore.quantize.error_bounded import check_max_error
from flowstore.quantize.quantizer import Quantizer

# The algorithm of flow that was computed elsewhere; its engine is the layout of the files that it was in.
IMPORTED = "imported"


@dataclass(frozen=True)
class ExtractSettings:
    """What decides the numbers in a store; one for all its videos.

    Parameters
    ----------
    algorithm : str
        Name of the estimator, such as ``farneback``; ``imported`` for flow that was computed elsewhere.
    engine : str
        Which implementation of it: ``numba`` or ``opencv``; for imported flow the layout of its files.
    params : mapping
        Every parameter of the algorithm with its value; for imported flow ``format``, ``encoding`` and ``bound_px`` of
        its files and ``computed_by``: the algorithm where it is known.
    quantizer : Quantizer
        How pixels become stored numbers.
    step : int
        ``flow[i]`` is the motion from frame ``i`` to frame ``i + step``; at least 1.
    short_side : int or None
        Length in pixels to which the shorter side of each frame is resized.
    size : tuple of int or None
        ``(height, width)`` in pixels to which each frame is resized. Not together with `short_side`.
    fps : float or None
        Frame rate to which videos are thinned before anything else; of folders of frames by the rate that was said.
    compression : {"fast", "balanced", "small", "none"}
        Preset of the chunk codec.
    max_error_px : float or None
        Largest error of a stored component within the bound; None, and what stores say that say nothing, is half a
        step: the nearest codes. See `flowstore.quantize.error_bounded`.

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
    max_error_px: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.params, Mapping):
            raise ArgumentError(f"params are {self.params!r}, expected a mapping of names to values")
        if not all(isinstance(value, get_args(ParameterValue)) for value in self.params.values()):
            raise ArgumentError(f"params are {repr(dict(self.params))[:80]}, expected numbers and words as values")
        if not (isinstance(self.algorithm, str) and isinstance(self.engine, str)):
            raise ArgumentError(f"algorithm is {self.algorithm!r} and engine {self.engine!r}, expected names")
        check_whole("step in frames", self.step, 1)
        if self.size is not None and not (isinstance(self.size, tuple | list) and len(self.size) == 2):
            raise ArgumentError(f"size is {self.size!r}, expected height and width")
        if self.short_side is not None and self.size is not None:
            raise ArgumentError("short side and size are both given: choose one")
        for name, pixels in (("short side", self.short_side), *(("size", side) for side in self.size or ())):
            if pixels is not None:
                check_whole(f"{name} in pixels", pixels, 1, 65535)
        if self.fps is not None:
            check_positive("fps", self.fps)
        if self.compression not in get_args(Compression):
            raise ArgumentError(
                f"compression is {self.compression!r}, expected one of {', '.join(get_args(Compression))}"
            )
        object.__setattr__(self, "max_error_px", check_max_error(self.quantizer, self.max_error_px))
        self._take_numpys_numbers()

    def _take_numpys_numbers(self) -> None:
        # They count as numbers, and JSON knows none of them.
        object.__setattr__(self, "step", int(self.step))
        if self.short_side is not None:
            object.__setattr__(self, "short_side", int(self.short_side))
        if self.size is not None:
            object.__setattr__(self, "size", (int(self.size[0]), int(self.size[1])))
        if self.fps is not None:
            object.__setattr__(self, "fps", float(self.fps))

    @property
    def largest_error_px(self) -> float | None:
        """Largest error of a stored component within the bound, in pixels; None for float16."""
        if self.quantizer.bound_px is None:
            return None
        return self.quantizer.scale / 2 if self.max_error_px is None else self.max_error_px

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        values = {
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
        return values if self.max_error_px is None else values | {"max_error_px": self.max_error_px}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ExtractSettings:
        """Make settings of what `to_json` gave."""
        fields = dict(values)
        try:
            quantizer = Quantizer(fields.pop("encoding"), fields.pop("bound_px"))
            size = fields.pop("size")
            return cls(quantizer=quantizer, size=tuple(size) if size else None, **fields)
        except (TypeError, KeyError) as error:
            raise ArgumentError(f"not the settings of an extraction: {error}") from error

    def differences(self, other: ExtractSettings, besides: Sequence[str] = ()) -> list[str]:
        """Return a line for each field, `besides` some parameters, that differs: ``name: this against other``.

        Of two algorithms the parameters that one alone has are left out: that it is another one says it.
        """
        set_aside = {f"param {name}" for name in besides}
        ours, theirs = (
            {name: value for name, value in settings._flat().items() if name not in set_aside}
            for settings in (self, other)
        )
        if self.max_error_px != other.max_error_px:
            ours["max_error_px"], theirs["max_error_px"] = self.largest_error_px, other.largest_error_px
        names = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
        if self.algorithm != other.algorithm:
            names = [name for name in names if name in ours and name in theirs]
        return [f"{name}: {_text(ours.get(name))} against {_text(theirs.get(name))}" for name in names]

    def _flat(self) -> dict[str, Any]:
        values = self.to_json()
        return values | {f"param {name}": value for name, value in values.pop("params").items()}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"{value[1]}x{value[0]}"
    return "none" if value is None else str(value)


def describe_settings(settings: ExtractSettings) -> str:
    """Return the settings that matter most, in a few words."""
    quantizer = settings.quantizer
    stored = "float16 px"
    if quantizer.bound_px is not None:
        stored = f"uint8 {quantizer.encoding} ±{quantizer.bound_px:g} px"
    if settings.max_error_px is not None:
        stored += f", max error {settings.max_error_px:g} px"
    if settings.short_side is not None:
        stored += f", short side {settings.short_side} px"
    if settings.size is not None:
        stored += f", size {settings.size[1]}×{settings.size[0]}"
    if settings.fps is not None:
        stored += f", {settings.fps:g} fps"
    return f"{settings.algorithm} ({settings.engine}), {stored}"


def flow_unit(settings: ExtractSettings) -> str:
    """Return the unit of stored flow, in words.

    Examples
    --------
    >>> flow_unit(ExtractSettings()), flow_unit(ExtractSettings(step=3))
    ('px per frame', 'px per 3 frames')
    """
    return "px per frame" if settings.step == 1 else f"px per {settings.step} frames"
