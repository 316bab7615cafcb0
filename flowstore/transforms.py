"""Transforms of flow that know what flow is. Pure numpy; the same generator gives the same result.

Each takes flow ``(…, 2, H, W)``, component 0 = x (right), 1 = y (down): float pixels, or uint8 codes with the quantizer
that made them. What moves the picture moves the vectors with it, and can be said of frames beside the flow: a `Move` is
what one transform did to one picture, a `View` what all of them did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flowstore.arguments import check_choice, check_whole, our_spelling
from flowstore.errors import ArgumentError
from flowstore.quantize.quantizer import Quantizer
from flowstore.sources.sampling import scaled_size

Array = npt.NDArray[Any]
Window = tuple[int, int, int, int]
Where = Literal["random", "center"]


@dataclass(frozen=True)
class Move:
    """What a transform does to one picture: cuts a window out, resamples it, mirrors it, in this order.

    Parameters
    ----------
    window : tuple of int, optional
        ``(top, left, height, width)``, in pixels.
    size : tuple of int, optional
        ``(height, width)``, in pixels.
    is_mirrored : bool
        Left for right.
    """

    window: Window | None = None
    size: tuple[int, int] | None = None
    is_mirrored: bool = False


@dataclass(frozen=True)
class View:
    """What part of a picture is seen after some moves, at what size, and whether mirrored.

    Parameters
    ----------
    whole : tuple of int
        ``(height, width)`` of the picture, in pixels.
    window : tuple of float
        ``(top, left, height, width)`` in the picture's pixels; whole numbers but for a window in a resized picture.
    size : tuple of int
        ``(height, width)`` at which it is seen, in pixels.
    is_mirrored : bool
        Left for right.
    """

    whole: tuple[int, int]
    window: tuple[float, float, float, float]
    size: tuple[int, int]
    is_mirrored: bool = False

    @classmethod
    def of(cls, height: int, width: int) -> View:
        """Return the view of a whole picture.

        Examples
        --------
        >>> View.of(240, 320).then(Move((8, 40, 224, 224))).then(Move(is_mirrored=True)).window
        (8.0, 40.0, 224.0, 224.0)
        """
        return cls((height, width), (0.0, 0.0, float(height), float(width)), (height, width))

    def then(self, move: Move) -> View:
        """Return the view after one more move."""
        window, size = self.window, self.size
        if move.window is not None:
            top, left, height, width = move.window
            if self.is_mirrored:
                left = size[1] - left - width
            down, across = window[2] / size[0], window[3] / size[1]
            window = window[0] + top * down, window[1] + left * across, height * down, width * across
            size = height, width
        return View(self.whole, window, move.size or size, self.is_mirrored ^ move.is_mirrored)


class FlowTransform:
    """A transform of flow and, where the meaning changes with it, of the label.

    Notes
    -----
    ``transform(flow, rng)`` transforms an array; a dataset calls `apply`, which also carries the name of the class. All
    random numbers come from `rng`, and as many are drawn whatever they turn out to be. One of your own defines `draw`,
    which frames beside the flow follow too; or `apply`, for flow alone.
    """

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Move:
        """Return what is done to a picture this time.

        Parameters
        ----------
        height, width : int
            Of the flow, in pixels.
        rng : numpy.random.Generator
            Source of random numbers.

        Returns
        -------
        Move

        Raises
        ------
        ArgumentError
            If it cannot be done at that size.
        """
        raise NotImplementedError

    def apply(
        self, flow: Array, label: str | None, rng: np.random.Generator, quantizer: Quantizer | None = None
    ) -> tuple[Array, str | None]:
        """Return transformed flow and its label.

        Parameters
        ----------
        flow : float32 or uint8 array (…, 2, H, W)
            Pixels, or codes. Not changed.
        label : str or None
            Name of the class.
        rng : numpy.random.Generator
            Source of random numbers.
        quantizer : Quantizer, optional
            Of the codes; needed for uint8.

        Returns
        -------
        tuple
            An array ``(…, 2, H', W')`` and the label.

        Raises
        ------
        ArgumentError
            If the array is no flow, or is of codes and no quantizer says which.
        """
        _check_flow(flow, quantizer)
        return self._moved(flow, label, self.draw(flow.shape[-2], flow.shape[-1], rng), quantizer)

    def _moved(
        self, flow: Array, label: str | None, move: Move, quantizer: Quantizer | None
    ) -> tuple[Array, str | None]:
        """Return flow and label after a move that was drawn."""
        return move_flow(flow, move, quantizer), label

    @property
    def is_drawn(self) -> bool:
        """Whether `draw` says all that is done to the picture, so that frames can follow."""
        return type(self).apply is FlowTransform.apply

    def __call__(self, flow: Array, rng: np.random.Generator, quantizer: Quantizer | None = None) -> Array:
        """Return transformed flow; see `apply`."""
        return self.apply(flow, None, rng, quantizer)[0]


def move_flow(flow: Array, move: Move, quantizer: Quantizer | None = None) -> Array:
    """Return flow after a move, its vectors scaled and mirrored with the picture.

    Parameters
    ----------
    flow : float or uint8 array (…, 2, H, W)
        Pixels, or codes with the `quantizer` that made them. Not changed.
    move : Move
        What is done.
    quantizer : Quantizer, optional
        Needed for uint8.

    Returns
    -------
    array (…, 2, H', W')
        A view of `flow` where nothing but a window is cut.
    """
    if move.window is not None:
        top, left, height, width = move.window
        flow = flow[..., top : top + height, left : left + width]
    if move.size is not None and move.size != flow.shape[-2:]:
        if flow.dtype == np.uint8:
            assert quantizer is not None
            flow = quantizer.encode(_resize(quantizer.decode(flow), *move.size))
        else:
            flow = _resize(flow, *move.size)
    return _mirror(flow, quantizer) if move.is_mirrored else flow


def _mirror(flow: Array, quantizer: Quantizer | None) -> Array:
    flipped = np.empty_like(flow)
    flipped[..., 1, :, :] = flow[..., 1, :, ::-1]
    x = flow[..., 0, :, ::-1]
    # Not the minus sign, which turns zero into minus zero.
    flipped[..., 0, :, :] = mirror_codes(x, quantizer) if flow.dtype == np.uint8 and quantizer else 0 - x
    return flipped


class Crop(FlowTransform):
    """Cut a rectangle out; the vectors stay as they are. As the first transform of a dataset it costs nothing.

    Parameters
    ----------
    size : int or tuple of int
        Side of a square, or ``(height, width)``, in pixels.
    where : {"random", "center"}
        Every place alike, both ends included; or ``floor((H - height)/2)``, and the same for the width.

    Raises
    ------
    ArgumentError
        If the size is below 1 or the place unknown; on use, if the flow is smaller.

    Examples
    --------
    >>> Crop((2, 3), "center")(np.zeros((10, 2, 6, 8)), np.random.default_rng(0)).shape
    (10, 2, 2, 3)
    """

    def __init__(self, size: int | tuple[int, int], where: Where = "random") -> None:
        self.size = check_size(size)
        where = our_spelling(where)
        check_choice("where", where, Where)
        self.where = where

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Move:
        """Return the window to cut out; for the center no number is drawn.

        Parameters
        ----------
        height, width : int
            Of the flow, in pixels.
        rng : numpy.random.Generator
            Source of random numbers.

        Returns
        -------
        Move

        Raises
        ------
        ArgumentError
            If the flow is smaller than the crop.
        """
        rows, columns = height - self.size[0], width - self.size[1]
        if min(rows, columns) < 0:
            raise ArgumentError(
                f"a crop of {self.size[1]}×{self.size[0]} does not fit into flow of {width}×{height}; resize it first"
            )
        if self.where == "center":
            return Move((rows // 2, columns // 2, *self.size))
        return Move((int(rng.integers(rows + 1)), int(rng.integers(columns + 1)), *self.size))

    def __repr__(self) -> str:
        return f"Crop({self.size}, {self.where!r})"


class Resize(FlowTransform):
    """Resample to another size, and scale the vectors with the picture.

    Parameters
    ----------
    size : int or tuple of int
        Length of the shorter side, the other following; or ``(height, width)``. In pixels.

    Raises
    ------
    ArgumentError
        If the size is below 1.

    Notes
    -----
    ``x'(p') = x(p)·W'/W`` and ``y'(p') = y(p)·H'/H``, where p' stands at ``p = (p' + 1/2)·(W/W', H/H') - 1/2``, between
    the four neighbors bilinearly and held at the borders. Codes are decoded, resized and encoded again by the same
    quantizer: half a step of error, and what grows beyond the bound is clipped.

    References
    ----------
    The points and weights are those of OpenCV's ``resize`` with ``INTER_LINEAR``.

    Examples
    --------
    >>> flow = np.ones((2, 4, 8), np.float32)
    >>> Resize((4, 16))(flow, np.random.default_rng(0))[:, 0, 0]
    array([2., 1.], dtype=float32)
    """

    def __init__(self, size: int | tuple[int, int]) -> None:
        height, width = check_size(size)
        self.size = (height, width) if isinstance(size, tuple | list) else height

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Move:
        """Return the new size.

        Parameters
        ----------
        height, width : int
            Of the flow, in pixels.
        rng : numpy.random.Generator
            Source of random numbers.

        Returns
        -------
        Move
        """
        short_side, size = (self.size, None) if isinstance(self.size, int) else (None, self.size)
        return Move(size=scaled_size(height, width, short_side, size))

    def __repr__(self) -> str:
        return f"Resize({self.size})"


def _resize(flow: Array, height: int, width: int) -> Array:
    top, bottom, down = _neighbors(flow.shape[-2], height)
    left, right, across = _neighbors(flow.shape[-1], width)
    down = down[:, None]
    # In this order the larger part of the picking is of whole rows.
    rows = flow[..., top, :] * (1 - down) + flow[..., bottom, :] * down
    resized = rows[..., left] * (1 - across) + rows[..., right] * across
    resized[..., 0, :, :] *= np.float32(width / flow.shape[-1])
    resized[..., 1, :, :] *= np.float32(height / flow.shape[-2])
    return resized


def _neighbors(size: int, new_size: int) -> tuple[Array, Array, npt.NDArray[np.float32]]:
    places = np.clip((np.arange(new_size) + 0.5) * (size / new_size) - 0.5, 0, size - 1)
    first = np.floor(places).astype(np.intp)
    return first, np.minimum(first + 1, size - 1), (places - first).astype(np.float32)


class HorizontalFlip(FlowTransform):
    """Mirror the picture and turn x around, by chance.

    Parameters
    ----------
    p : float
        Chance, 0 to 1.
    swap : mapping of str to str, optional
        Classes that a mirror turns into each other, such as ``{"left": "right"}``: the label follows the flip, both
        ways. Without it a dataset whose classes tell left from right learns what is wrong.

    Raises
    ------
    ArgumentError
        If the chance is none, `swap` holds no names, or a class is swapped with two others.

    Notes
    -----
    ``x'(i, j) = -x(i, W - 1 - j)``, ``y'(i, j) = y(i, W - 1 - j)``. In codes (`mirror_codes`) ``-x`` is ``256 - q``,
    ``255 - q`` or ``254 - q``. Flipped twice is as it was, but for ``truncate`` x at or beyond the bound, whose code
    255 comes back as 254.

    Examples
    --------
    >>> flow = np.array([[[1.0, 2.0]], [[3.0, 4.0]]])
    >>> HorizontalFlip(1.0)(flow, np.random.default_rng(0)).tolist()
    [[[-2.0, -1.0]], [[4.0, 3.0]]]
    """

    def __init__(self, p: float = 0.5, swap: Mapping[str, str] | None = None) -> None:
        if not (hasattr(p, "__float__") and 0 <= p <= 1):
            raise ArgumentError(f"p is {p!r}, expected a chance from 0 to 1")
        self.p = p
        self.swap: dict[str, str] = {}
        pairs = {} if swap is None else swap
        if not (isinstance(pairs, Mapping) and all(isinstance(name, str) for pair in pairs.items() for name in pair)):
            raise ArgumentError(f'swap is {swap!r}, expected names of classes such as {{"left": "right"}}')
        for one, other in pairs.items():
            for name, mirrored in ((one, other), (other, one)):
                if self.swap.setdefault(name, mirrored) != mirrored:
                    raise ArgumentError(f"class {name!r} is swapped with {self.swap[name]!r} and with {mirrored!r}")

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Move:
        """Return whether to mirror.

        Parameters
        ----------
        height, width : int
            Of the flow, in pixels.
        rng : numpy.random.Generator
            Source of random numbers.

        Returns
        -------
        Move
        """
        return Move(is_mirrored=bool(rng.random() < self.p))

    def _moved(
        self, flow: Array, label: str | None, move: Move, quantizer: Quantizer | None
    ) -> tuple[Array, str | None]:
        if move.is_mirrored and label is not None:
            label = self.swap.get(label, label)
        return move_flow(flow, move, quantizer), label

    def __repr__(self) -> str:
        return f"HorizontalFlip({self.p}, {self.swap})" if self.swap else f"HorizontalFlip({self.p})"


def mirror_codes(codes: Array, quantizer: Quantizer) -> Array:
    """Return the codes of the opposite components.

    Parameters
    ----------
    codes : uint8 array of any shape
        Codes of some component.
    quantizer : Quantizer
        That made them.

    Returns
    -------
    uint8 array of the same shape
        Decodes to the opposite pixels: ``256 - q`` for ``centred``, whose zero stays zero; ``255 - q`` for
        ``denseflow``, where zero (128, decoded to half a step) becomes 127; ``254 - q`` for ``truncate``, whose zero
        (127) stays zero, and whose code 255, given to the bound and to what was clipped to it, becomes 0: one step
        short, for lack of a code for the opposite.

    Raises
    ------
    ArgumentError
        If the quantizer has no codes.

    Examples
    --------
    >>> mirror_codes(np.array([1, 128, 200], np.uint8), Quantizer("centred", 20))
    array([255, 128,  56], dtype=uint8)
    """
    row = quantizer.row
    if row is None:
        raise ArgumentError(f"{quantizer.encoding} has no codes to mirror: negate its pixels")
    if row.mirror < 255:
        codes = np.minimum(codes, np.uint8(row.mirror))
    # uint8 wraps: 256 is 0, and code 0, which centred reserves, stays 0.
    return np.subtract(np.uint8(row.mirror % 256), codes, dtype=np.uint8)


class Normalize(FlowTransform):
    """Subtract a mean and divide by a deviation.

    Parameters
    ----------
    mean, std : float or pair of float
        Of both components, or of x and y, in pixels; each `std` above 0.

    Raises
    ------
    ArgumentError
        If a number is not finite, there are not one or two, or a deviation is not above 0; on use, if the flow is of
        codes.

    Notes
    -----
    ``x' = (x - mean)/std``, in float32. What is subtracted does not turn or grow with the vectors: with a mean other
    than 0 it comes after `Resize`, and after `HorizontalFlip` if that mean is of x. `Compose` refuses another order.

    Examples
    --------
    >>> Normalize(0, 2)(np.ones((2, 1, 1), np.float32), np.random.default_rng(0)).ravel()
    array([0.5, 0.5], dtype=float32)
    """

    def __init__(self, mean: float | Sequence[float] = 0.0, std: float | Sequence[float] = 1.0) -> None:
        self.mean, self.std = _pair("mean", mean), _pair("std", std)
        if not (self.std > 0).all():
            raise ArgumentError(f"std is {std}, expected finite numbers above 0")

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Move:
        """Return that the picture stays where it is.

        Parameters
        ----------
        height, width : int
            Of the flow, in pixels.
        rng : numpy.random.Generator
            Source of random numbers.

        Returns
        -------
        Move
        """
        return Move()

    def _moved(
        self, flow: Array, label: str | None, move: Move, quantizer: Quantizer | None
    ) -> tuple[Array, str | None]:
        if flow.dtype == np.uint8:
            raise ArgumentError("Normalize takes pixels, found codes; ask for dtype='float32'")
        return (flow - self.mean) / self.std, label

    def __repr__(self) -> str:
        return f"Normalize({self.mean.ravel().tolist()}, {self.std.ravel().tolist()})"


def _pair(name: str, value: float | Sequence[float]) -> npt.NDArray[np.float32]:
    """Return one number or two as an array (2, 1, 1)."""
    try:
        numbers = np.asarray(value, np.float32)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name} is {value!r}, expected a number, or one for x and one for y") from error
    if numbers.shape not in ((), (1,), (2,)) or not np.isfinite(numbers).all():
        raise ArgumentError(f"{name} is {value!r}, expected a finite number, or one for x and one for y")
    return np.broadcast_to(numbers, (2,)).reshape(2, 1, 1)


class Compose(FlowTransform):
    """One transform after another.

    Parameters
    ----------
    *transforms : FlowTransform or callable
        In order. A callable of another kind is given the flow alone. None at all leave the flow as it is.

    Raises
    ------
    ArgumentError
        If one is no transform and cannot be called, or is a class instead of an object of it, or if vectors are
        mirrored or scaled after `Normalize` has subtracted a mean.

    Examples
    --------
    >>> Compose(Crop(4), HorizontalFlip())
    Compose(Crop((4, 4), 'random'), HorizontalFlip(0.5))
    """

    def __init__(self, *transforms: FlowTransform | Callable[[Array], Array]) -> None:
        for transform in transforms:
            if isinstance(transform, tuple | list):
                raise ArgumentError(f"transform is a list: give its transforms as Compose(*{transform!r})")
            if isinstance(transform, type) or not callable(transform):
                raise ArgumentError(f"transform is {transform!r}, expected an object such as Crop(224), or a function")
        self.transforms = transforms
        self._check_order()

    def _check_order(self) -> None:
        mean = np.zeros(2, np.float32)
        for transform in self:
            if isinstance(transform, Normalize):
                mean = mean + np.abs(transform.mean.ravel())
            elif (isinstance(transform, HorizontalFlip) and mean[0]) or (isinstance(transform, Resize) and mean.any()):
                raise ArgumentError(
                    f"{transform!r} after Normalize, whose mean would not be mirrored or scaled: put Normalize last"
                )

    def __iter__(self) -> Iterator[FlowTransform | Callable[[Array], Array]]:
        """Yield the single transforms, those of transforms inside included."""
        for transform in self.transforms:
            if isinstance(transform, Compose):
                yield from transform
            else:
                yield transform

    def apply(
        self, flow: Array, label: str | None, rng: np.random.Generator, quantizer: Quantizer | None = None
    ) -> tuple[Array, str | None]:
        """Return what the last transform gives; see `FlowTransform.apply`."""
        return self.apply_seen(flow, label, rng, quantizer, View.of(*flow.shape[-2:]))[:2]

    def apply_seen(
        self, flow: Array, label: str | None, rng: np.random.Generator, quantizer: Quantizer | None, view: View
    ) -> tuple[Array, str | None, View]:
        """Return what `apply` gives, and the view after it, of a flow that is what `view` says.

        Parameters
        ----------
        flow, label, rng, quantizer
            As `FlowTransform.apply` takes them.
        view : View
            What part of a stored flow `flow` is.

        Returns
        -------
        tuple
            Flow, label and View; the view knows of the transforms that have a `draw`.

        Raises
        ------
        ArgumentError
            If a transform refuses the flow, or makes float64 of it.
        """
        for transform in self:
            before = getattr(flow, "dtype", None)
            if not isinstance(transform, FlowTransform):
                flow = transform(flow)
            elif transform.is_drawn:
                _check_flow(flow, quantizer)
                move = transform.draw(flow.shape[-2], flow.shape[-1], rng)
                flow, label = transform._moved(flow, label, move, quantizer)
                view = view.then(move)
            else:
                flow, label = transform.apply(flow, label, rng, quantizer)
            # Of torch, too.
            if str(getattr(flow, "dtype", before)).endswith("float64") and not str(before).endswith("float64"):
                raise ArgumentError(
                    f"{name_of(transform)} made float64 of {before}, twice or eight times the memory: "
                    "use numbers of np.float32, or return flow.astype(np.float32)"
                )
        return flow, label, view

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.transforms))})"


def name_of(transform: FlowTransform | Callable[[Array], Array]) -> str:
    """Return what a transform is called in a message."""
    if isinstance(transform, FlowTransform):
        return repr(transform)
    return getattr(transform, "__qualname__", repr(transform))


def check_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return ``(height, width)`` of a side or of both; ArgumentError if it is neither."""
    sides = size if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2:
        raise ArgumentError(f"size is {size!r}, expected a side or (height, width), in pixels")
    for side in sides:
        check_whole("size", side, 1)
    return int(sides[0]), int(sides[1])


def _check_flow(flow: Array, quantizer: Quantizer | None) -> None:
    if flow.ndim < 3 or flow.shape[-3] != 2:
        raise ArgumentError(f"flow has shape {flow.shape}, expected (…, 2, H, W); undo a stack by reshape(-1, 2, H, W)")
    if flow.dtype == np.uint8:
        if quantizer is None or quantizer.dtype != np.uint8:
            raise ArgumentError("uint8 codes need the quantizer that made them")
    elif flow.dtype.kind != "f":
        raise ArgumentError(f"flow is {flow.dtype}, expected pixels (float) or codes (uint8)")
