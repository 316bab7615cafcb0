"""RAFT by torchvision's models: weights from a file of the user's, on the CPU or on GPUs.

Made like an estimator of another package (`flowstore.estimators.guests`): its flow is checked, and each worker is asked
for it before work. PyTorch, an extra, is loaded when one is made. Nothing is ever downloaded.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import io
import itertools
import os
import pickle
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from flowstore.arguments import check_path, check_whole
from flowstore.errors import ArgumentError, EstimatorError, MissingExtraError
from flowstore.estimators.parameters import Flow, Frame, Params
from flowstore.estimators.protocol import Estimator, FlowStream, FrameKind

# Its features are an eighth of a frame, and their correlation is halved three times: no side may be less.
_MULTIPLE, _LEAST_SIDE = 8, 128
# On the CPU a pair takes, beyond the library: bytes for each pixel, and for each pair of eighths' correlation.
_CPU_BYTES_PER_PIXEL = {"raft_small": 500, "raft_large": 1100}
_CPU_LIBRARY_BYTES = 550 << 20
_N_STREAMS = itertools.count()


class Raft(Estimator):
    """Recurrent all-pairs field transforms.

    `weights` is a file with a state dict of torchvision's model of this name; `device` is ``auto``, ``cpu``, ``cuda``
    (every GPU in turn), such as ``cuda:1``, or ``mps``; `iterations` are those of the recurrent unit; `half` computes
    in float16 where the model can. `weights_sha256` is found out.

    References
    ----------
    Teed, Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020. Frames are scaled as by
    ``torchvision.transforms._presets.OpticalFlow``, and padded by their edges to multiples of eight as in RAFT's
    ``InputPadder``, half on each side.
    """

    frames: FrameKind = "rgb"
    libraries = ("torch", "torchvision")
    incidental = ("weights", "device", "batch")
    defaults: ClassVar[Params] = MappingProxyType(
        {"weights": "", "weights_sha256": "", "device": "auto", "iterations": 12, "batch": 8, "half": False}
    )

    def __init__(self, params: Params | None = None) -> None:
        super().__init__(params)
        asked = dict(self.params)
        for name in ("iterations", "batch"):
            check_whole(f"{self.algorithm}: {name}", asked[name], 1)
        if not asked["weights"]:
            raise ArgumentError(
                f"{self.algorithm} needs --param weights=FILE, a state dict of torchvision's model; to make one of the "
                f'weights that torchvision offers: python -c "import torch, torchvision.models.optical_flow as m; '
                f"torch.save(m.{self.algorithm}(weights='DEFAULT').state_dict(), '{self.algorithm}.pth')\""
            )
        # Workers may be in other folders.
        asked["weights"] = os.path.abspath(check_path(f"{self.algorithm}: weights", asked["weights"]))
        self._devices = _find_devices(self.algorithm, str(asked["device"]))
        self._weights = str(asked["weights"])
        digest, _ = _load(self.algorithm, self._weights, *_stamp(self.algorithm, self._weights))
        if asked["weights_sha256"] not in ("", digest):
            raise EstimatorError(
                f"{self.algorithm}: weights {self._weights} have SHA-256 {digest[:16]}…, expected "
                f"{asked['weights_sha256']}: it is not the file that this flow is made with"
            )
        asked["weights_sha256"] = digest
        self.params = asked
        self.batch = int(asked["batch"])
        self.max_workers = None if self._devices == ("cpu",) else len(self._devices)
        if asked["device"] == "auto":
            self.notes = (f"{self.algorithm}: device auto is {_describe(self._devices)} here",)

    def pair_bytes(self, height: int, width: int) -> int:
        """Return the bytes of main memory that a pair of frames takes."""
        if self._devices != ("cpu",):
            return 16 * height * width
        rows, columns = (_padded_side(side) for side in (height, width))
        eighths = rows * columns // _MULTIPLE**2
        # Every pixel of a feature map with every other, halved three times: 1 + 1/4 + 1/16 + 1/64, and a transposition.
        pyramid = 10 * eighths**2
        return _CPU_LIBRARY_BYTES // self.batch + _CPU_BYTES_PER_PIXEL[self.algorithm] * rows * columns + pyramid

    def stream(self, height: int, width: int, step: int = 1) -> RaftStream:
        """Return a stream for one video of ``height × width`` pixels."""
        return RaftStream(self._model(), self.params, height, width, step)

    def _model(self) -> _Model:
        # Each process of a run has a GPU of its own.
        number = next(_N_STREAMS) if self.worker is None else self.worker
        device = self._devices[number % len(self._devices)]
        return _model_on(self.algorithm, self._weights, *_stamp(self.algorithm, self._weights), device)


class RaftSmall(Raft):
    """RAFT's small model, `Raft` with one million weights."""

    algorithm = "raft_small"


class RaftLarge(Raft):
    """RAFT's model, `Raft` with five million weights."""

    algorithm = "raft_large"


class _Model:
    """A model on its device, which computes one batch at a time: it keeps its correlation between calls."""

    def __init__(self, module: Any, device: str) -> None:
        self.module = module
        self.device = device
        self.lock = threading.Lock()
        # How many pairs of some height and width it had room for, once it had none for more.
        self.fitting: dict[tuple[int, int], int] = {}


class RaftStream(FlowStream):
    """Flow of one video by batches of pairs; fewer at once from where a batch no longer fits the device."""

    def __init__(self, model: _Model, params: Params, height: int, width: int, step: int) -> None:
        self._model = model
        self._iterations, self._is_half = int(params["iterations"]), bool(params["half"])
        self._size, self._step = (height, width), step
        self._batch = int(params["batch"])
        self._fitting = min(self._batch, model.fitting.get(self._size, self._batch))
        rows, columns = _padded_side(height) - height, _padded_side(width) - width
        # Left, right, above, below.
        self._padding = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        self._frames: list[Frame] = []
        self.warnings: list[str] = []

    def push(self, frame: Frame) -> Sequence[Flow] | None:
        """Take the next frame; see `flowstore.estimators.protocol.FlowStream.push`."""
        self._frames.append(frame.copy())
        return self._run() if len(self._frames) == self._batch + self._step else None

    def finish(self) -> Sequence[Flow]:
        """Return the flows of the last pairs, fewer than a batch."""
        return self._run() if len(self._frames) > self._step else ()

    def _run(self) -> list[Flow]:
        frames, self._frames = np.stack(self._frames), self._frames[-self._step :]
        flows: list[Flow] = []
        n_pairs = len(frames) - self._step
        while len(flows) < n_pairs:
            start, stop = len(flows), min(len(flows) + self._fitting, n_pairs)
            flows += self._flows_of(frames[start : stop + self._step])
        return flows

    def _flows_of(self, frames: Frame) -> list[Flow]:
        """Return the flows of frames (n, H, W, 3); none where they do not fit the device, for which there are fewer."""
        import torch

        try:
            with self._model.lock, torch.inference_mode():
                return list(self._compute(torch, torch.from_numpy(frames)))
        except torch.cuda.OutOfMemoryError as error:
            n_pairs, device = len(frames) - self._step, self._model.device
            if n_pairs == 1:
                height, width = self._size
                raise EstimatorError(
                    f"a pair of frames of {width}×{height} does not fit the memory of {device}: take smaller frames "
                    "(--short-side), half=true, or another device"
                ) from error
            self._fitting = self._model.fitting[self._size] = n_pairs // 2
            self.warnings = [
                f"{device} has no memory for {n_pairs} pairs at once: from here on {self._fitting} are taken"
            ]
        # What the failed call held is given back first.
        torch.cuda.empty_cache()
        return []

    def _compute(self, torch: Any, frames: Any) -> Any:
        device = self._model.device
        images = frames.to(device).permute(0, 3, 1, 2).float().div(255).sub(0.5).div(0.5).contiguous()
        images = torch.nn.functional.pad(images, self._padding, mode="replicate")
        with torch.autocast(device.partition(":")[0], torch.float16, enabled=self._is_half):
            *_, flows = self._model.module(
                images[: -self._step], images[self._step :], num_flow_updates=self._iterations
            )
        (height, width), (left, _, above, _) = self._size, self._padding
        return flows[:, :, above : above + height, left : left + width].float().contiguous().cpu().numpy()


def _padded_side(side: int) -> int:
    return max(_LEAST_SIDE, -(-side // _MULTIPLE) * _MULTIPLE)


def _import_models(algorithm: str) -> Any:
    try:
        return importlib.import_module("torchvision.models.optical_flow")
    except ImportError as error:
        raise MissingExtraError(f"{algorithm} needs torchvision ({error}): pip install 'flowstore[raft]'") from error
    except RuntimeError as error:
        raise EstimatorError(
            f"{algorithm}: torchvision cannot be imported ({error}): it was built for another torch; "
            "install both from one place"
        ) from error


def _find_devices(algorithm: str, asked: str) -> tuple[str, ...]:
    """Return the devices that take turns."""
    _import_models(algorithm)
    import torch

    kind, colon, number = asked.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (colon and not (kind == "cuda" and number.isdecimal())):
        raise ArgumentError(f"{algorithm}: device is {asked!r}, expected auto, cpu, cuda, such as cuda:0, or mps")
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    has_mps = torch.backends.mps.is_available()
    if kind == "auto":
        kind = "cuda" if n_gpus else "mps" if has_mps else "cpu"
    if kind == "cpu" or (kind == "mps" and has_mps):
        return (kind,)
    if kind == "mps" or int(number or 0) >= n_gpus:
        seen = f"{n_gpus} GPU{'s' * (n_gpus != 1)} of CUDA" if kind == "cuda" else "no GPU of Apple's"
        raise EstimatorError(
            f"{algorithm}: device is {asked}, but torch {torch.__version__} sees {seen} here: take another "
            "device, or a build of torch that has it"
        )
    return (asked,) if colon else tuple(f"cuda:{gpu}" for gpu in range(n_gpus))


def _describe(devices: tuple[str, ...]) -> str:
    import torch

    if devices[0].startswith("cuda"):
        return ", ".join(f"{device} ({torch.cuda.get_device_name(device)})" for device in devices)
    return devices[0]


def _stamp(algorithm: str, path: str) -> tuple[int, int]:
    try:
        stat = os.stat(path)
    except OSError as error:
        raise ArgumentError(f"{algorithm}: weights {path}: {error.strerror}, expected a file") from error
    return stat.st_size, stat.st_mtime_ns


@functools.lru_cache(maxsize=4)
def _load(algorithm: str, path: str, size: int, mtime_ns: int) -> tuple[str, Any]:
    """Return the digest of a file of weights, and the model with them on the CPU."""
    models = _import_models(algorithm)
    import torch

    what = f"{algorithm}: weights {path}"
    try:
        data = Path(path).read_bytes()
        # Of a file that runs code when it is loaded nothing but tensors is taken.
        weights = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except OSError as error:
        raise ArgumentError(f"{what}: {error.strerror or error}, expected a file") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, zipfile.BadZipFile) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ArgumentError(f"{what}: not a file of torch.save with tensors alone ({reason})") from error
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ArgumentError(f"{what}: expected a state dict, names with tensors, such as model.state_dict()")
    found = {name: value.shape for name, value in weights.items()}
    modules = {}
    for name in ("raft_small", "raft_large"):
        # Neither memory nor random numbers are spent on weights that are replaced.
        with torch.device("meta"):
            modules[name] = getattr(models, name)()
        expected = {key: value.shape for key, value in modules[name].state_dict().items()}
        if name == algorithm:
            n_own, missing = len(expected), [key for key, shape in expected.items() if found.get(key) != shape]
            unknown = [key for key in found if key not in expected]
        elif found == expected:
            raise ArgumentError(f"{what} are those of {name}: take --algorithm {name}, or weights of {algorithm}")
    if missing or unknown:
        lacks = f"{len(missing)} of {n_own} tensors are missing or of another shape"
        raise ArgumentError(
            f"{what} are not those of torchvision's {algorithm}: {lacks}{_such_as(missing)}, "
            f"{len(unknown)} are unknown{_such_as(unknown)}"
        )
    module = modules[algorithm]
    module.load_state_dict(weights, assign=True)
    return hashlib.sha256(data).hexdigest(), module.float().eval().requires_grad_(False)


def _such_as(names: list[str]) -> str:
    return f" (such as {names[0]})" if names else ""


@functools.lru_cache(maxsize=16)
def _model_on(algorithm: str, path: str, size: int, mtime_ns: int, device: str) -> _Model:
    import copy

    _, module = _load(algorithm, path, size, mtime_ns)
    return _Model(copy.deepcopy(module).to(device), device)
