"""Errors and warnings of flowstore.

Each error is also the builtin that code unaware of flowstore would catch. Imports nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


class FlowStoreError(Exception):
    """Base of every error that flowstore raises on purpose."""


class ArgumentError(FlowStoreError, ValueError):
    """An argument or option has a value that cannot be used."""


class SettingsMismatchError(ArgumentError):
    """The settings asked for differ from the settings that the store was made with."""


class SourceError(FlowStoreError, OSError):
    """A source of frames cannot be found, opened or listed."""


class DecodeError(SourceError):
    """A video or an image cannot be decoded whole."""


class MachineError(FlowStoreError, OSError):
    """The machine lacks what every video needs, such as memory, disk space or file handles: no video's own fault."""


class EstimatorError(FlowStoreError, RuntimeError):
    """An estimator cannot work, or gave flow that is not finite."""


class StoreError(FlowStoreError, OSError):
    """A store cannot be read or written."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """There is no store at the given place."""


class StoreUnreachableError(StoreError):
    """The place of a store does not answer, or refuses whoever asks: nothing can be said about what it holds."""


class StoreFormatError(StoreError, ValueError):
    """What is at the given place is not a store that this version of flowstore reads."""


class ChecksumError(StoreError):
    """Stored bytes differ from the bytes that were written."""


class ReplacedError(ChecksumError):
    """A video is another one than when it was opened: it was replaced since, or is being replaced."""


class NameNotFoundError(FlowStoreError, LookupError):
    """A class or a video of that name is not in the store."""


class FailedVideoError(NameNotFoundError):
    """The video is in the store as a failed one: its record holds a reason and no flow."""


class ExportError(FlowStoreError, OSError):
    """An export cannot be made, or can't be made without losing something."""


class ClusterError(FlowStoreError, RuntimeError):
    """A Dask cluster went away."""


class MissingExtraError(FlowStoreError, ImportError):
    """An optional library is not installed; the message names the install line."""


class StoppedError(FlowStoreError):
    """The work was stopped from outside before it was done."""


class FlowStoreWarning(UserWarning):
    """Something was worked around or left out, and is said aloud."""


@contextlib.contextmanager
def translated(explain: Callable[[OSError], FlowStoreError]) -> Iterator[None]:
    """Raise what `explain` makes of an `OSError` inside; errors of flowstore's own pass."""
    try:
        yield
    except FlowStoreError:
        raise
    except OSError as error:
        raise explain(error) from error
