"""Fields of motion: magnitude, angle, divergence and curl of flow. Pure.

Each takes an array ``(..., 2, H, W)`` or what `flowstore.store.video.Video.to_xarray` gives, and returns the same kind
without the axis of components. Lazy arrays stay lazy. In images x grows to the right and y downward, so what turns
clockwise on the screen has a positive angle and a positive curl.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flowstore.errors import ArgumentError


def magnitude(flow: Any) -> Any:
    """Return how far each pixel moves.

    Parameters
    ----------
    flow : array (..., 2, H, W) or DataArray with dimension ``component``
        Components x (right) and y (down), in pixels.

    Returns
    -------
    array (..., H, W) or DataArray
        ``sqrt(x² + y²)`` in pixels, 0 or more.

    Raises
    ------
    ArgumentError
        If `flow` does not have two components.

    Examples
    --------
    >>> magnitude(np.array([3.0, 4.0]).reshape(2, 1, 1))
    array([[5.]])
    """
    x, y = _components(flow)
    return _named(np.hypot(x, y), "magnitude", "pixel", "flow magnitude")


def angle(flow: Any) -> Any:
    """Return the direction in which each pixel moves.

    Parameters
    ----------
    flow : array (..., 2, H, W) or DataArray with dimension ``component``
        Components x (right) and y (down), in pixels.

    Returns
    -------
    array (..., H, W) or DataArray
        ``atan2(y, x)`` in radians, -π to π, clockwise on the screen: 0 is right, π/2 down, -π/2 up, ±π left. Where
        nothing moves it is 0 and means nothing.

    Raises
    ------
    ArgumentError
        If `flow` does not have two components.

    Examples
    --------
    >>> angle(np.array([0.0, 2.0]).reshape(2, 1, 1)).round(4)
    array([[1.5708]])
    """
    x, y = _components(flow)
    return _named(np.arctan2(y, x), "angle", "radian", "flow direction, clockwise from right")


def divergence(flow: Any) -> Any:
    """Return how much the motion spreads at each pixel.

    Parameters
    ----------
    flow : array (..., 2, H, W) or DataArray with dimension ``component``
        Components x (right) and y (down), in pixels; H and W of 2 or more.

    Returns
    -------
    array (..., H, W) or DataArray
        ``∂x/∂column + ∂y/∂row``, pixels a pixel: positive where the picture grows, as towards a camera, negative where
        it shrinks. A zoom by ``1 + s`` has ``2s`` everywhere.

    Raises
    ------
    ArgumentError
        If `flow` does not have two components or is less than 2 pixels high or wide.

    Notes
    -----
    Central differences, one-sided at the border (`numpy.gradient`): exact where flow is linear. Quantized flow has
    steps, so its derivative has noise of about a step.

    Examples
    --------
    >>> y, x = np.mgrid[-2:3, -2:3] * 0.03
    >>> divergence(np.stack([x, y])).round(6)[0]
    array([0.06, 0.06, 0.06, 0.06, 0.06])
    """
    x, y = _components(flow)
    spread = _derivative(x, "x") + _derivative(y, "y")
    return _named(spread, "divergence", "1", "divergence of flow, positive where it expands")


def curl(flow: Any) -> Any:
    """Return how much the motion turns at each pixel.

    Parameters
    ----------
    flow : array (..., 2, H, W) or DataArray with dimension ``component``
        Components x (right) and y (down), in pixels; H and W of 2 or more.

    Returns
    -------
    array (..., H, W) or DataArray
        ``∂y/∂column - ∂x/∂row``, pixels a pixel: positive where the picture turns clockwise on the screen (y is down),
        negative where counterclockwise. A rotation by ``θ`` has ``2 sin θ`` everywhere.

    Raises
    ------
    ArgumentError
        If `flow` does not have two components or is less than 2 pixels high or wide.

    Notes
    -----
    See `divergence`.

    Examples
    --------
    Right at the top edge goes to down at the right edge, clockwise:

    >>> y, x = np.mgrid[-2:3, -2:3] * 0.01
    >>> curl(np.stack([-y, x])).round(6)[0]
    array([0.02, 0.02, 0.02, 0.02, 0.02])
    """
    x, y = _components(flow)
    return _named(
        _derivative(y, "x") - _derivative(x, "y"), "curl", "1", "curl of flow, positive where it is clockwise"
    )


def _components(flow: Any) -> tuple[Any, Any]:
    dims = getattr(flow, "dims", None)
    if dims is None:
        flow = np.asanyarray(flow) if isinstance(flow, list | tuple) else flow
        if flow.ndim < 3 or flow.shape[-3] != 2:
            raise ArgumentError(f"flow has the shape {flow.shape}, expected (..., 2, H, W)")
        return flow[..., 0, :, :], flow[..., 1, :, :]
    if not {"component", "y", "x"} <= set(dims) or flow.sizes["component"] != 2:
        raise ArgumentError(f"flow has the dimensions {dict(flow.sizes)}, expected 2 of component, and y and x")
    pair = (flow.isel(component=number) for number in (0, 1))
    x, y = (component.drop_vars("component", errors="ignore") for component in pair)
    return x, y


def _derivative(component: Any, dim: str) -> Any:
    is_labelled = hasattr(component, "dims")
    axis = component.get_axis_num(dim) if is_labelled else {"y": -2, "x": -1}[dim]
    if component.shape[axis] < 2:
        raise ArgumentError(f"flow has the shape {component.shape}: a derivative needs 2 or more pixels each way")
    values = component.data if is_labelled else component
    # Dask takes NumPy's function for its own, and stays lazy.
    gradient = np.gradient(values, axis=axis)
    return component.copy(data=gradient) if is_labelled else gradient


def _named(field: Any, name: str, units: str, long_name: str) -> Any:
    """Say what a labelled array is; an array has no labels."""
    if not hasattr(field, "dims"):
        return field
    return field.rename(name).assign_attrs({"units": units, "long_name": long_name})
