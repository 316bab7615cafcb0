"""Flow on Matplotlib's axes, for notebooks. Owns Matplotlib, loaded when something is plotted."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from flowstore.arguments import our_spelling
from flowstore.colour import check_scale, flow_to_color, wheel_image
from flowstore.errors import ArgumentError, MissingExtraError

PlotStyle = Literal["color", "arrows", "planes"]

# Marks on shared axes what was plotted here.
_OURS = "flowstore"
_N_ARROWS = 20
_WHEEL_SIDE = 201
# Characters in a line of a title; names have no spaces to break at.
_TITLE_WIDTH = 42


def plot_flow(
    flow: npt.NDArray[np.float32],
    scale_px: float,
    style: PlotStyle = "color",
    *,
    title: str = "",
    unit: str = "px",
    image: npt.NDArray[np.uint8] | None = None,
    ax: Any = None,
) -> Any:
    """Plot one flow.

    `flow`: float32 array (2, H, W), components x and y in pixels. `image`: uint8 array (H, W, 3), optional, red,
    green, blue: the frame under the arrows; the colors by default. Gives matplotlib.axes.Axes or array (2,) of
    Axes, two for planes.
    """
    style = our_spelling(style)
    if style not in get_args(PlotStyle):
        raise ArgumentError(f"style is {style!r}, expected one of {', '.join(get_args(PlotStyle))}")
    check_scale(scale_px)
    if image is not None and style != "arrows":
        raise ArgumentError(f"image: goes under arrows, not with style {style!r}")
    axes = np.atleast_1d(_new_axes(2 if style == "planes" else 1) if ax is None else ax)
    if len(axes) != (2 if style == "planes" else 1):
        raise ArgumentError(f"ax: {len(axes)} given, style {style!r} takes {2 if style == 'planes' else 1}")
    for one in axes:
        _remove_earlier(one)
    if style == "planes":
        _plot_planes(flow, scale_px, unit, axes)
    else:
        # The edges of pixels, as imshow has them, also where an image is larger or smaller than the flow.
        _, height, width = flow.shape
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        shown = flow_to_color(flow, scale_px) if image is None else image
        if style == "arrows":
            _plot_arrows(flow, scale_px, unit, axes[0])
        axes[0].imshow(shown, extent=extent, interpolation="nearest", gid=_OURS)
        axes[0].set(xlim=extent[:2], ylim=extent[2:])
        if image is None:
            _plot_wheel(scale_px, unit, axes[0])
    for one in axes:
        one.set_xlabel("x (px)")
    axes[0].set_ylabel("y (px)")
    captions = ["x, right is red", "y, down is red"] if style == "planes" else [""]
    for number, (one, caption) in enumerate(zip(axes, captions, strict=True)):
        lines = [*(_wrapped(title) if number == 0 else ()), *([caption] if caption else ())]
        # Names are no formulas.
        one.set_title("\n".join(lines), parse_math=False, loc="left", fontsize="medium")
    return axes if style == "planes" else axes[0]


def _new_axes(n_axes: int) -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingExtraError("plot needs Matplotlib: pip install 'flowstore[notebook]'") from error
    return plt.subplots(1, n_axes, figsize=(5.5 * n_axes, 4), layout="constrained", sharey=True)[1]


def _remove_earlier(ax: Any) -> None:
    """Take away what an earlier plot left: its arrows would stand among the new ones, its legend under the new one."""
    for artist in [*ax.images, *ax.child_axes, *ax.artists, *ax.collections]:
        if artist.get_gid() == _OURS:
            if getattr(artist, "colorbar", None):
                artist.colorbar.remove()
            artist.remove()


def _plot_planes(flow: npt.NDArray[np.float32], scale_px: float, unit: str, axes: Any) -> None:
    for plane, ax in zip(flow, axes, strict=True):
        shown = ax.imshow(plane, cmap="RdBu_r", vmin=-scale_px, vmax=scale_px, interpolation="nearest", gid=_OURS)
    axes[-1].figure.colorbar(shown, ax=list(axes), label=unit, shrink=0.8)


def _plot_arrows(flow: npt.NDArray[np.float32], scale_px: float, unit: str, ax: Any) -> None:
    _, height, width = flow.shape
    spacing = max(1, max(height, width) // _N_ARROWS)
    y, x = np.mgrid[spacing // 2 : height : spacing, spacing // 2 : width : spacing]
    arrows = ax.quiver(
        x, y, flow[0, y, x], flow[1, y, x], angles="xy", scale_units="xy", scale=scale_px / (1.25 * spacing),
        color="white", edgecolor="black", linewidth=0.6, width=0.005, minlength=0.1, gid=_OURS,
    )  # fmt: skip
    ax.inset_axes((1.04, 0, 0.26, 0.3), gid=_OURS).set_axis_off()
    text = {"labelpos": "S", "fontproperties": {"size": "small"}}
    key = ax.quiverkey(arrows, 1.17, 0.25, scale_px, f"{scale_px:g}\n{unit}", coordinates="axes", **text)
    key.set_gid(_OURS)


def _plot_wheel(scale_px: float, unit: str, ax: Any) -> None:
    inset = ax.inset_axes((1.04, 0.66, 0.26, 0.34), gid=_OURS)
    inset.imshow(wheel_image(_WHEEL_SIDE))
    inset.set_axis_off()
    inset.text(
        0.5, -0.08, f"rim: {scale_px:g}\n{unit}", fontsize="small", ha="center", va="top", transform=inset.transAxes
    )


def _wrapped(title: str) -> list[str]:
    return [title[start : start + _TITLE_WIDTH] for start in range(0, len(title), _TITLE_WIDTH)]
