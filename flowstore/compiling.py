"""Compiling loops with Numba: once a machine, kept on disk, for any number of threads.

The owner of how Numba is used; the loops themselves stand with what they compute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from numba import njit


def kernel(function: Callable[..., None]) -> Any:
    """Compile a function without the GIL, and keep it on disk where some cache folder can be written."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        # Numba found no folder for its cache that it can write: compile for this process alone.
        return njit(**options)(function)


def compile_all(kernels: Iterable[tuple[Any, Any]]) -> None:
    """Compile kernels for their signatures now, or load them from the cache on disk."""
    for compiled, signature in kernels:
        compiled.compile(signature)


def are_compiled(kernels: Iterable[tuple[Any, Any]]) -> bool:
    """Tell whether every kernel is in this process or in the cache on disk, so that no call will have to compile."""
    return all(
        compiled.signatures or compiled._cache.load_overload(signature, compiled.targetctx) is not None
        for compiled, signature in kernels
    )
