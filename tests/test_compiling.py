"""Compiling once a machine: what one process compiled the next one loads, wherever the cache can and cannot be kept."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from datasets import process_environment, run, write_video
from numba import float32, types

from flowstore.compiling import are_compiled, compile_all, kernel
from flowstore.estimators.farneback.kernels import KERNELS as FARNEBACK_KERNELS
from flowstore.quantize import kernels as motion_kernels

COMPILING = "compiling the kernels for this machine, once"
# Neither beside the module, nor for the user, nor in the place that was set.
READ_ONLY = """
import numba.core.caching
def refuse(self):
    raise PermissionError("read-only")
numba.core.caching._CacheLocator.ensure_cache_path = refuse
"""
SCRIPT = """
import json
from flowstore.estimators.registry import compile_engine, needs_compiling
from flowstore.quantize.encoder import are_loops_compiled, compile_loops
ALGORITHM = "farneback"
found = {"before": needs_compiling("numba", ALGORITHM) or not are_loops_compiled(False)}
if %(is_compiling)r:
    compile_engine("numba", ALGORITHM)
    compile_loops(False)
    found["after"] = needs_compiling("numba", ALGORITHM) or not are_loops_compiled(False)
from flowstore.estimators.farneback import stream as farneback
from flowstore.estimators.farneback.kernels import KERNELS
from flowstore.quantize import kernels as motion_kernels
kernels = [kernel for kernel, _ in (*KERNELS, *motion_kernels.KERNELS)]
found["hits"] = sum(sum(kernel.stats.cache_hits.values()) for kernel in kernels)
found["misses"] = sum(sum(kernel.stats.cache_misses.values()) for kernel in kernels)
if %(is_compiling)r:
    import numpy as np
    from flowstore.quantize.encoder import FlowEncoder
    from flowstore.quantize import Quantizer
    frames = np.random.default_rng(0).integers(0, 256, (2, 48, 64), dtype=np.uint8)
    stream = farneback.FarnebackStream(48, 64)
    flow = [stream.push(frame) for frame in frames][1]
    for encoding in ("centred", "denseflow", "truncate"):
        FlowEncoder(Quantizer(encoding), flow.shape, True).encode(flow)
    found["sum"] = float(abs(flow).sum(dtype=np.float64))
    found["signatures"] = sorted(len(kernel.signatures) for kernel in kernels)
print(json.dumps(found))
"""
N_KERNELS = len(FARNEBACK_KERNELS) + len(motion_kernels.KERNELS)


def in_a_process(cache, is_compiling=True, before=""):
    done = subprocess.run(
        [sys.executable, "-c", before + SCRIPT % {"is_compiling": is_compiling}],
        env=process_environment(NUMBA_CACHE_DIR=str(cache)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" or (before and "no folder for compiled kernels can be written" in done.stderr)
    return json.loads(done.stdout)


@pytest.mark.slow
def test_what_one_process_compiles_the_next_one_loads(tmp_path):
    # To ask compiles nothing.
    assert in_a_process(tmp_path, is_compiling=False)["before"]
    first = in_a_process(tmp_path)
    assert (first["before"], first["after"]) == (True, False)
    assert (first["hits"], first["misses"]) == (0, N_KERNELS)
    second = in_a_process(tmp_path)
    assert (second["before"], second["after"]) == (False, False)
    assert (second["hits"], second["misses"]) == (N_KERNELS, 0)
    assert second["sum"] == first["sum"] > 0
    # No later call finds an argument of another type and compiles again.
    assert first["signatures"] == second["signatures"] == [1] * N_KERNELS
    # A part of the cache is not the cache.
    (index,) = tmp_path.rglob("kernels.measure-*.nbi")
    index.unlink()
    assert in_a_process(tmp_path, is_compiling=False)["before"]


def test_a_cache_place_that_cannot_be_written(tmp_path):
    blocked = tmp_path / "a_file"
    blocked.write_text("in the way")
    found = in_a_process(blocked / "cache")
    assert not found["after"]
    assert found["sum"] > 0
    assert found["signatures"] == [1] * N_KERNELS
    assert blocked.read_text() == "in the way"


@pytest.mark.slow
def test_no_place_can_be_written(tmp_path):
    found = in_a_process(tmp_path, before=READ_ONLY)
    assert (found["before"], found["after"]) == (True, False)
    assert (found["hits"], found["signatures"]) == (0, [1] * N_KERNELS)
    assert found["sum"] > 0
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder of videos and the cache that the first extraction of them filled; what that one said."""
    folder = tmp_path_factory.mktemp("filled")
    for number in range(2):
        write_video(folder / "videos/wave" / f"v{number}.avi", n_frames=4, width=64, height=48, seed=number)
    return folder, said_of_compiling(folder, folder / "cache", "sync")


def said_of_compiling(folder, cache, scheduler, word="compiling"):
    """Extract the videos of a folder with a cache; return the lines about it."""
    options = ("--scheduler", scheduler, "--workers", "2" if scheduler == "processes" else "1", "--overwrite")
    outcome = run("extract", folder / "videos", folder / "s.zarr", *options, NUMBA_CACHE_DIR=str(cache))
    assert outcome.code == 0, outcome.err
    return [line for line in outcome.err.splitlines() if word in line]


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["sync", "processes"])
def test_extract_says_once_that_it_compiles(filled, tmp_path, scheduler):
    folder, said = filled
    cache = folder / "cache"
    if scheduler == "processes":
        cache = tmp_path / "cache"
        said = said_of_compiling(folder, cache, scheduler)
    (line,) = said
    assert COMPILING in line
    assert said_of_compiling(folder, cache, scheduler) == []


def test_opencv_compiles_nothing(tmp_path):
    write_video(tmp_path / "videos" / "wave" / "v.avi", n_frames=3)
    cache = tmp_path / "cache"
    outcome = run(
        "extract", tmp_path / "videos", tmp_path / "o.zarr", "--engine", "opencv", "--scheduler", "sync",
        NUMBA_CACHE_DIR=str(cache),
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "compiling" not in outcome.err
    assert not cache.exists()


def test_a_kernel_is_compiled_for_its_signature_only():
    def double(values):
        for i in range(values.size):
            values[i] *= 2

    compiled = kernel(double)
    signature = types.void(types.Array(float32, 1, "C"))
    assert not compiled.signatures
    compile_all([(compiled, signature)])
    assert are_compiled([(compiled, signature)])
    values = np.array([1, 2.5], np.float32)
    compiled(values)
    assert values.tolist() == [2, 5]
    assert len(compiled.signatures) == 1


def cut(indexes):
    """Empty or cut files, as a power cut does: the indexes of two kernels, the code of two."""
    code = [next(index.parent.glob(f"{index.stem}.*.nbc")) for index in indexes]
    for path, size in zip([*indexes[:2], *code[2:4]], [0, 40, 0, 40], strict=True):
        os.truncate(path, size)


def block(indexes):
    """Put a folder in the place of two indexes."""
    for path in indexes[:2]:
        path.unlink()
        path.mkdir()


@pytest.mark.slow
@pytest.mark.parametrize(("harm", "n_later"), [(cut, 0), (block, 1)])
def test_a_cache_that_cannot_be_used_costs_time_and_is_said_once(filled, tmp_path, harm, n_later):
    folder, _ = filled
    cache = tmp_path / "cache"
    shutil.copytree(folder / "cache", cache)
    # Of those that are asked for; what they call has an index of its own, which is then not read.
    names = [kernel.__name__ for kernel, _ in FARNEBACK_KERNELS]
    harm([index for name in names for index in cache.rglob(f"kernels.{name}-*.nbi")])
    (line,) = said_of_compiling(folder, cache, "sync", "cannot be used")
    assert f"the compiled kernels in {cache}" in line
    assert "so they are compiled anew" in line
    # What can be written anew is well again.
    assert len(said_of_compiling(folder, cache, "sync", "cannot be used")) == n_later


@pytest.mark.parametrize("engine", ["auto", "numba"])
def test_where_numba_compiles_nothing(tmp_path, engine):
    write_video(tmp_path / "videos/wave/v.avi", n_frames=3)
    outcome = run("extract", tmp_path / "videos", tmp_path / "s.zarr", "--engine", engine, NUMBA_DISABLE_JIT="1")
    assert "NUMBA_DISABLE_JIT is set" in outcome.err
    assert "Traceback" not in outcome.err
    if engine == "numba":
        assert outcome.code == 2
        return
    assert outcome.code == 0
    assert "engine: opencv in place of the faster numba" in outcome.err
    assert run("stats", tmp_path / "s.zarr", NUMBA_DISABLE_JIT="1").code == 0
