"""Dask clusters: those of this machine, which are started and ended here, and those that run already."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.resource_tracker import ensure_running
from typing import Any

import dask

from flowstore.errors import ArgumentError, ClusterError
from flowstore.opencv import opencv_versions

_CONNECT_TIMEOUT = "10s"
_JOIN_TIMEOUT = "30s"
# Between these, tasks and results travel; or they decide what the flow is.
_SAME_VERSIONS = ("flowstore", "dask", "distributed", "numpy", "numcodecs", "numba")
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


def check_cluster(scheduler: str, paths: Sequence[str] = (), needs: Callable[[], dict[str, str]] | None = None) -> None:
    """Refuse a Dask cluster on which the work could not be done; anything else than an address passes.

    What the work `needs` is called here and on each worker; it raises, or gives versions to compare.
    """
    if "://" not in scheduler:
        return
    with connect(scheduler) as client:
        try:
            client.wait_for_workers(1, timeout=_JOIN_TIMEOUT)
        except TimeoutError as error:
            raise ArgumentError(
                f"no worker has joined the Dask scheduler at {scheduler}: start some with: dask worker {scheduler}"
            ) from error
        described = client.run(describe_worker, list(paths), needs, on_error="return")
    own, _ = describe_worker([], needs)
    for address, answer in sorted(described.items()):
        if isinstance(answer, BaseException):
            raise ArgumentError(
                f"worker {address} cannot run flowstore ({type(answer).__name__}: {answer}): "
                "install the same version there as here"
            )
        versions, missing = answer
        differ = [
            f"{name} {versions.get(name)} there, {own[name]} here" for name in own if versions.get(name) != own[name]
        ]
        if differ:
            raise ArgumentError(
                f"worker {address} has other versions: {'; '.join(differ)}. Install the same everywhere"
            )
        if missing:
            raise ArgumentError(
                f"worker {address} does not see {missing[0]}: give a path on a file system that all workers share"
            )


def describe_worker(
    paths: list[str], needs: Callable[[], dict[str, str]] | None = None
) -> tuple[dict[str, str], list[str]]:
    """Return the versions that have to agree between processes, and those of some paths that are absent."""
    versions = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in _SAME_VERSIONS:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    versions |= opencv_versions()
    if needs is not None:
        versions |= needs()
    return versions, [path for path in paths if not os.path.exists(path)]


@contextlib.contextmanager
def open_client(scheduler: str, n_workers: int) -> Iterator[Any]:
    """Give a client of a running cluster, or of one of one-thread processes of this machine that ends with it."""
    from distributed import Client, LocalCluster

    if "://" in scheduler:
        with _silenced("distributed.client"), connect(scheduler) as client:
            yield client
        return
    config = {
        # One death is enough to run a task alone, where a second one decides.
        "distributed.scheduler.allowed-failures": 0,
        "distributed.diagnostics.nvml": False,
        # Nobody reads the profile; it grows by 60 KiB per second in each worker, for an hour.
        "distributed.worker.profile.enabled": False,
        # Dask's own value has workers give back every frame's memory and fault it in again: a tenth of their time.
        "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(config))
        stack.enter_context(_main_hidden())
        with _interrupts_held():
            try:
                cluster = stack.enter_context(
                    LocalCluster(
                        n_workers=n_workers,
                        threads_per_worker=1,
                        dashboard_address=None,
                        # Without a dashboard its port is still taken, with a warning where another run has it.
                        scheduler_kwargs={"dashboard_address": ":0"},
                        silence_logs=logging.CRITICAL,
                    )
                )
                client = stack.enter_context(Client(cluster, set_as_default=False))
            except (RuntimeError, OSError) as error:
                raise ClusterError(
                    f"the worker processes did not start ({error.__cause__ or error}): one was killed, or there is no "
                    "room for them; the same command goes on from there"
                ) from error
            # One that was killed since is started again.
            client.run(_let_terminate, on_error="ignore")
        yield client


@contextlib.contextmanager
def _main_hidden() -> Iterator[None]:
    """Keep processes that are started from running the caller's script again, which may have no main guard.

    Tasks need nothing of it: what it defines travels by value. One that dies is replaced by a new one at any time, so
    this lasts as long as they do.
    """
    main = sys.modules["__main__"]
    seen = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    try:
        vars(main).pop("__file__", None)
        main.__spec__ = None
        yield
    finally:
        vars(main).update(seen)


def connect(address: str) -> Any:
    """Return a client of a running Dask scheduler."""
    from distributed import Client
    from distributed.comm import resolve_address

    try:
        # A client of an address that is none is not closed without noise.
        resolve_address(address)
        return Client(address, timeout=_CONNECT_TIMEOUT, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ArgumentError(
            f"no Dask scheduler answers at {address} ({type(error).__name__}: {error}): "
            "start one with: dask scheduler, and workers with: dask worker"
        ) from error


@contextlib.contextmanager
def _silenced(name: str) -> Iterator[None]:
    # What goes wrong is raised, and said once.
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Keep interrupts waiting: a cluster that is interrupted while it starts cannot be closed in order.

    Processes that are started within keep them waiting for good: Ctrl-C reaches every process of the terminal, and
    the coordinator alone decides what it means.
    """
    _start_resource_tracker()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_resource_tracker() -> None:
    # Multiprocessing starts it with the first process, and then lets interrupts through again. Started here it also
    # learns not to warn, at the very end, of what a killed worker could not give back; it gives that back all the same.
    name, rule = "PYTHONWARNINGS", "ignore:resource_tracker"
    before = os.environ.get(name)
    os.environ[name] = f"{before},{rule}" if before else rule
    try:
        ensure_running()
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _let_terminate() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
