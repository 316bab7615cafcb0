"""Compiling loops with Numba: once a machine, kept on disk, for any number of threads.

The owner of how Numba is used; the loops themselves stand with what they compute. To import it is the one check
whether kernels can be had at all: an `ImportError` says why not.
"""

from __future__ import annotations

import multiprocessing
import pickle
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from numba import config, njit

from flowstore.errors import FlowStoreWarning, MissingExtraError

if config.DISABLE_JIT:
    raise MissingExtraError("NUMBA_DISABLE_JIT is set, so Numba compiles nothing: unset it")

# What reading and unpickling files of any content raises.
_TROUBLE = (
    OSError,
    EOFError,
    pickle.PickleError,
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
_SAID: list[str] = []


def kernel(function: Callable[..., None]) -> Any:
    """Compile a function without the GIL, and keep it on disk where some cache folder can be written."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        compiled = njit(cache=True, **options)(function)
    except (RuntimeError, OSError):
        # Numba found no folder for its cache that it can write.
        _say("no folder for compiled kernels can be written, so each process compiles its own: set NUMBA_CACHE_DIR")
        return njit(**options)(function)
    compiled._cache = _ForgivingCache(compiled._cache)
    return compiled


class _ForgivingCache:
    """Numba's cache of one kernel: trouble with its files is said once, and costs time and nothing else."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return what was compiled before, None where there is nothing that can be read."""
        try:
            return self._cache.load_overload(signature, target)
        except _TROUBLE as error:
            self._tell(error)
            return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep what was compiled; an index that cannot be read is begun anew."""
        try:
            try:
                self._cache.save_overload(signature, compiled)
            except OSError:
                raise
            except _TROUBLE:
                self._cache.flush()
                self._cache.save_overload(signature, compiled)
        except _TROUBLE as error:
            self._tell(error)

    def _tell(self, error: BaseException) -> None:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}".rstrip(": ")
        _say(f"the compiled kernels in {self.cache_path} cannot be used ({reason}), so they are compiled anew")


def _say(text: str) -> None:
    # The workers of a run meet the same.
    if not _SAID and multiprocessing.parent_process() is None:
        _SAID.append(text)
        warnings.warn(text, FlowStoreWarning, stacklevel=4)


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
