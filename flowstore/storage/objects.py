"""Stores at a URL: ``s3://bucket/name`` and whatever else fsspec reaches.

Owns fsspec. Holds no connection itself: every process makes its own clients, one for each kind of settings, so that
storages travel to workers and survive a fork.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, TypeVar

from flowstore.errors import ArgumentError, MissingExtraError, StoreError, StoreUnreachableError
from flowstore.limits import MAX_DOCUMENT_BYTES, check_document_size
from flowstore.storage.keys import Storage

Answer = TypeVar("Answer")

# A request that fails is tried again: by botocore where the server asks for it or the connection drops, by s3fs where
# the answer stops on its way. Where nobody answers at all that takes some seconds.
_N_TRIES, _N_OUTER_TRIES = 3, 2
_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S = 5, 30
_N_CONNECTIONS = 64
# All tries of one request together: so long, and a second more for each so many bytes.
_REQUEST_TIMEOUT_S, _BYTES_PER_S = 120, 2**18
_N_DELETING = 32
_EXTRAS = {"s3": "flowstore[s3]", "s3a": "flowstore[s3]", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
_MAKING = threading.Lock()


class ObjectStorage(Storage):
    """A place that a URL names. Picklable.

    Notes
    -----
    An object is set by one request, or by one upload of several parts that is completed by a last one: it is there
    whole or not at all.
    """

    is_near = False

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self._url = url.rstrip("/")
        self._options = json.dumps(dict(options or {}), sort_keys=True)
        self._protocol, _, self._root = self._url.partition("://")
        if not self._root or "::" in url:
            raise ArgumentError(f"{url}: not the URL of a store, such as s3://bucket/hmdb51.zarr")
        # Refused now and not at the first request: what is not installed, and settings that cannot be used.
        self._filesystem()

    def __reduce__(self) -> tuple[type[ObjectStorage], tuple[str, dict[str, Any]]]:
        return ObjectStorage, (self._url, json.loads(self._options))

    @property
    def url(self) -> str:
        """The URL."""
        return self._url

    def _filesystem(self) -> Any:
        environment = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
        try:
            with _MAKING:
                return _make_filesystem(self._protocol, self._options, environment, os.getpid())
        except ImportError as error:
            package = _EXTRAS.get(self._protocol, "fsspec")
            raise MissingExtraError(
                f"{self._url} needs a package that is not installed ({_in_one_line(error)}): pip install '{package}'"
            ) from error
        except (ValueError, TypeError, KeyError, OSError) as error:
            raise StoreError(f"cannot open {self._url}: {_in_one_line(error)}") from error

    def _path(self, key: str) -> str:
        if "?versionId=" in key:
            raise ArgumentError(f"{self._url}: {key}: object stores take this for a version of another object; rename")
        return f"{self._root}/{key}" if key else self._root

    def _ask(self, method: str, *arguments: Any, size: int = 0, **options: Any) -> Any:
        filesystem = self._filesystem()
        if filesystem.async_impl:
            options["timeout"] = _REQUEST_TIMEOUT_S + size // _BYTES_PER_S
        return self._answer(lambda: getattr(filesystem, method)(*arguments, **options))

    def _answer(self, ask: Callable[[], Answer]) -> Answer:
        """Return an answer; raise FileNotFoundError, FileExistsError, or a `StoreError` that says what to do."""
        try:
            return ask()
        except FileNotFoundError as error:
            if _code(error) == "NoSuchBucket":
                bucket = self._root.partition("/")[0]
                raise StoreUnreachableError(f"{self._url}: there is no bucket {bucket!r}: make it first") from error
            raise
        except FileExistsError:
            raise
        except PermissionError as error:
            raise StoreUnreachableError(
                f"{self._url}: access denied ({error}): check the credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID) and the "
                "rights of the bucket"
            ) from error
        except TimeoutError as error:
            raise StoreUnreachableError(
                f"{self._url}: no answer in {_REQUEST_TIMEOUT_S} s or more: check the network, and run again"
            ) from error
        except OSError as error:
            raise StoreError(f"{self._url}: {error.strerror or error}") from error
        except _foreign_errors() as error:
            raise StoreUnreachableError(f"{self._url}: {_in_one_line(error)}{_hint(error)}") from error

    def read(self, key: str) -> bytes | None:
        """Return the value of a key, None if there is none."""
        value = self.read_range(key, 0, MAX_DOCUMENT_BYTES + 1)
        if value is not None:
            check_document_size(f"{self._url}/{key}", len(value))
        return value

    def read_range(self, key: str, start: int, size: int) -> bytes | None:
        """Return `size` bytes of a key's value from `start` on, fewer where it ends before, None if there is none."""
        if size <= 0:
            return None if self.size_bytes(key) is None else b""
        try:
            value: bytes = self._ask("cat_file", self._path(key), start=start, end=start + size, size=size)
        except FileNotFoundError:
            return None
        except StoreError as error:
            if error.__cause__ is not None and _code(error.__cause__) in ("InvalidRange", "416"):
                return b""
            raise
        return value

    def write(self, key: str, value: bytes, is_durable: bool = False) -> None:
        """Set a key, whole or not at all."""
        del is_durable
        try:
            self._ask("pipe_file", self._path(key), value, size=len(value))
        except FileNotFoundError as error:
            raise StoreError(f"cannot write {self._url}/{key}: {error}") from error

    def write_new(self, key: str, value: bytes) -> bool:
        """Set a key that must not be there yet; return whether it was not.

        Notes
        -----
        S3 decides this itself (a conditional put, ``If-None-Match``), however many ask at once.
        """
        if self._protocol not in ("s3", "s3a"):
            if self.size_bytes(key) is not None:
                return False
            self.write(key, value)
            return True
        try:
            self._ask("pipe_file", self._path(key), value, size=len(value), IfNoneMatch="*")
        except FileExistsError:
            is_ours = False
        except StoreError as error:
            if error.__cause__ is None or _code(error.__cause__) not in ("PreconditionFailed", "412"):
                raise
            is_ours = False
        else:
            return True
        # A put whose answer was lost is tried again, and finds itself there.
        return is_ours or self.read(key) == value

    @contextlib.contextmanager
    def open_sink(self, key: str) -> Iterator[IO[bytes]]:
        """Return a file in memory that becomes the key's value when the context ends without an error."""
        sink = io.BytesIO()
        yield sink
        self.write(key, sink.getvalue())

    def _entries(self, prefix: str) -> list[tuple[str, bool]]:
        """Return name of each key or folder right below a prefix, and whether it is a folder."""
        path = self._path(prefix)
        try:
            found = self._ask("ls", path, detail=True, size=2**26)
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = [(entry["name"].strip("/"), entry["type"] == "directory") for entry in found]
        start = len(path.strip("/")) + 1
        return sorted((name[start:], is_folder) for name, is_folder in names if len(name) > start)

    def list_children(self, prefix: str) -> list[str]:
        """Return the names right below a prefix, sorted."""
        return sorted({name for name, _ in self._entries(prefix)})

    def list_folders(self, prefix: str) -> list[str]:
        """Return the names right below a prefix that have keys below them, sorted."""
        return [name for name, is_folder in self._entries(prefix) if is_folder]

    def list_keys(self, prefix: str) -> list[str]:
        """Return every key below a prefix, relative to it, sorted."""
        start = len(self._path(prefix)) + 1
        return sorted(path.strip("/")[start:] for path in self._find(prefix) if len(path.strip("/")) > start)

    def _find(self, prefix: str) -> list[str]:
        try:
            found: list[str] = self._ask("find", self._path(prefix), size=2**26)
        except FileNotFoundError:
            return []
        return found

    def is_file(self, key: str) -> bool:
        """Tell whether a key has a value."""
        return self.size_bytes(key) is not None

    def delete(self, key: str) -> None:
        """Remove a key; nothing happens if there is none."""
        with contextlib.suppress(FileNotFoundError):
            self._ask("rm_file", self._path(key))

    def delete_tree(self, prefix: str) -> None:
        """Remove every key below a prefix."""
        with ThreadPoolExecutor(_N_DELETING) as pool:
            for _ in pool.map(lambda path: self._ask("rm_file", path), self._find(prefix)):
                pass

    def size_bytes(self, key: str) -> int | None:
        """Return the size of a key's value, None if there is none."""
        try:
            entry = self._ask("info", self._path(key))
        except FileNotFoundError:
            return None
        return int(entry["size"]) if entry["type"] == "file" else None

    def stamp(self, key: str) -> tuple[int, ...] | None:
        """Return the same for every key: what is far away is taken not to change while it is open."""
        del key
        return ()


@functools.lru_cache(maxsize=8)
def _make_filesystem(protocol: str, options: str, environment: tuple[tuple[str, str], ...], pid: int) -> Any:
    """Make the client of this process for some settings."""
    import fsspec

    del environment, pid
    kind = fsspec.get_filesystem_class(protocol)
    values = json.loads(options)
    if protocol not in ("s3", "s3a"):
        return kind(**values)
    filesystem = kind(**_s3_options(fsspec.config.conf.get("s3", {}), values), skip_instance_cache=True)
    filesystem.retries = _N_OUTER_TRIES
    return filesystem


def _s3_options(configured: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    config = {
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "read_timeout": _READ_TIMEOUT_S,
        "max_pool_connections": _N_CONNECTIONS,
        "retries": {"total_max_attempts": _N_TRIES, "mode": "standard"},
    }
    config |= configured.get("config_kwargs", {}) | given.get("config_kwargs", {})
    # A listing that is remembered would hide what other workers have written, and one request is enough for a shard.
    return {"use_listings_cache": False, "max_concurrency": 1, **given, "config_kwargs": config}


def _foreign_errors() -> tuple[type[Exception], ...]:
    """Return what clients raise that is no OSError, of those that are installed."""
    # A setting that cannot be used shows when the first request is made, as a ValueError.
    errors: list[type[Exception]] = [ValueError]
    with contextlib.suppress(ImportError):
        from botocore.exceptions import BotoCoreError, ClientError

        errors += [BotoCoreError, ClientError]
    with contextlib.suppress(ImportError):
        from aiohttp import ClientError as HttpError

        errors.append(HttpError)
    return tuple(errors)


def _code(error: BaseException) -> str:
    """Return the code that S3 gave for an error, empty if it gave none."""
    for known in (error, error.__cause__):
        response = getattr(known, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
    return ""


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _hint(error: BaseException) -> str:
    name = type(error).__name__
    if "Credential" in name or "Profile" in name or "SSO" in name or "Token" in name:
        return (
            ": set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for a public bucket "
            "FSSPEC_S3='{\"anon\": true}'"
        )
    return ": check the network and AWS_ENDPOINT_URL, and run again"
