"""RAFT: the flow of torchvision's model called by hand, files of weights, devices, and memory that runs out."""

import hashlib
import json
from functools import partial

import cv2
import numpy as np
import pytest
from datasets import call
from torch_tests import import_torchvision

import flowstore
from flowstore.errors import ArgumentError, EstimatorError
from flowstore.estimators import check_estimator, make_estimator
from flowstore.pipeline import extract

N_FRAMES = 11
ITERATIONS = 2
import_torchvision()
import torch  # noqa: E402
from torchvision.models import optical_flow  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread():
    # Tests run beside each other.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return models of random weights with the files of their state dicts, by name."""
    folder = tmp_path_factory.mktemp("weights")
    made = {}
    for name in ("raft_small", "raft_large"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(19)
            model = getattr(optical_flow, name)().eval()
        torch.save(model.state_dict(), folder / f"{name}.pth")
        made[name] = (model, folder / f"{name}.pth")
    return made


def frames_of(n_frames, height, width):
    """Return frames of a texture that moves by two pixels a frame: uint8 (n, H, W, 3), red, green, blue."""
    noise = np.random.default_rng(3).integers(0, 256, (height + n_frames, width + 2 * n_frames, 3), np.uint8)
    texture = cv2.GaussianBlur(noise, (9, 9), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    return np.stack([texture[i : i + height, 2 * i : 2 * i + width] for i in range(n_frames)])


def write_frames(folder, frames):
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{number:03d}.png"), frame[..., ::-1])


def flow_by_hand(model, frames, step, padding):
    """Return the flow of each pair, one at a time: float32 (n, 2, H, W)."""
    left, right, above, below = padding
    flows = []
    for first, second in zip(frames, frames[step:], strict=False):
        images = [torch.from_numpy(frame.copy()).permute(2, 0, 1)[None] for frame in (first, second)]
        images = [torch.nn.functional.pad(image.float(), padding, mode="replicate") / 255 * 2 - 1 for image in images]
        with torch.no_grad():
            flow = model(*images, num_flow_updates=ITERATIONS)[-1][0].numpy()
        flows.append(flow[:, above : flow.shape[1] - below, left : flow.shape[2] - right])
    return np.stack(flows)


def raft(models, name="raft_small", **params):
    return make_estimator(name, params={"weights": str(models[name][1]), "iterations": ITERATIONS} | params)


def flow_of(estimator, frames, step=1):
    """Return the flow of each pair by a stream: float32 (n, 2, H, W)."""
    stream = estimator.stream(*frames.shape[1:3], step)
    flows = [flow.copy() for frame in frames for flow in stream.push(frame) or ()]
    return np.stack([*flows, *(flow.copy() for flow in stream.finish())])


SMALL = [
    ("raft_small", size, padding, *run)
    for size, padding in (
        ((128, 136), (0, 0, 0, 0)),
        ((131, 157), (1, 2, 2, 3)),
        ((97, 150), (1, 1, 15, 16)),
    )
    for run in ((1, 1, 3), (8, 1, 10), (8, 3, 6), (1, 3, 4))
]
LARGE = [("raft_large", (129, 135), (0, 1, 3, 4), *run) for run in ((1, 3, 4), (8, 1, 3))]


@pytest.mark.parametrize(("name", "size", "padding", "batch", "step", "n_frames"), [*SMALL, *LARGE])
def test_it_is_the_flow_of_torchvisions_model(models, tmp_path, name, size, padding, batch, step, n_frames):
    model, weights = models[name]
    frames = frames_of(n_frames, *size)
    write_frames(tmp_path / "v" / "a" / "b", frames)
    params = {"weights": str(weights), "iterations": ITERATIONS, "batch": batch, "device": "cpu"}
    report = extract(
        tmp_path / "v", tmp_path / "s.zarr", algorithm=name, params=params, dtype="float16", step=step, scheduler="sync"
    )
    assert report.n_flows == n_frames - step
    expected = flow_by_hand(model, frames, step, padding)
    found = flow_of(make_estimator(name, params=params), frames, step)
    assert np.abs(expected).max() > 1
    assert np.abs(found - expected).max() <= 1e-4
    # The store keeps what the estimator gave, to its own precision.
    np.testing.assert_array_equal(
        flowstore.open_store(tmp_path / "s.zarr")["a/b"].codes[:], found.astype(np.float16), strict=True
    )


def test_it_keeps_the_protocol(models):
    make = partial(make_estimator, "raft_small", "auto")
    params = {"weights": str(models["raft_small"][1]), "iterations": 1, "batch": 2}
    check_estimator(make, params, sizes=[(40, 129)], tolerance_px=1e-3, still_px=None)


def test_half_precision_is_near(models):
    frames = frames_of(3, 128, 128)
    whole, half = (flow_of(raft(models, half=half), frames) for half in (False, True))
    assert half.dtype == np.float32
    assert 0 < np.abs(half - whole).max() < 0.1 * np.abs(whole).max()


def test_settings_and_records_say_with_what_it_was_made(models, tmp_path):
    write_frames(tmp_path / "v" / "a" / "b", frames_of(3, 32, 40))
    write_frames(tmp_path / "v" / "a" / "c", frames_of(3, 32, 40))
    weights, moved, store = models["raft_small"][1], tmp_path / "moved.pth", tmp_path / "s.zarr"
    command = ["extract", tmp_path / "v", store, "--algorithm", "raft_small", "--scheduler", "sync"]
    command += ["--param", "iterations=1"]
    first = call(*command, "--param", f"weights={weights}", "--limit", "1")
    assert first.code == 0, first.err
    assert "raft_small: device auto is cpu here" in first.err
    opened = flowstore.open_store(store)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (opened.settings.engine, opened.settings.params["weights_sha256"]) == ("torchvision", digest)
    assert {"torch", "torchvision"} <= set(opened["a/b"].record.versions)
    # Where the file lies and how many pairs are taken at once is no other flow.
    moved.write_bytes(weights.read_bytes())
    resumed = call(*command, "--param", f"weights={moved}", "--param", "batch=1", "--param", "device=cpu", "--json")
    assert (resumed.code, json.loads(resumed.out)["extracted"]) == (0, 1), resumed.err
    verified = call("verify", store, "--source", tmp_path / "v", "--deep", "--scheduler", "sync")
    assert verified.code == 0, verified.out + verified.err
    torch.save({name: value + 1 for name, value in models["raft_small"][0].state_dict().items()}, moved)
    other = call(*command, "--param", f"weights={moved}")
    assert other.code == 2
    assert f"expected {digest}: it is not the file that this flow is made with" in other.err


def _other_names(state):
    return {f"module.{name}": value for name, value in state.items()}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda models: models["raft_large"][0].state_dict(), "are those of raft_large: take --algorithm raft_large"),
        (
            lambda models: _other_names(models["raft_small"][0].state_dict()),
            r"not those of torchvision's raft_small: (\d+) of \1 tensors are missing .*such as module\.feature_encoder",
        ),
        (lambda models: {"state_dict": models["raft_small"][0].state_dict()}, "expected a state dict"),
        (lambda models: models["raft_small"][0], "not a file of torch.save with tensors alone"),
        (b"", "not a file of torch.save"),
        (b"PK no archive", "not a file of torch.save"),
        (None, "No such file or directory, expected a file"),
    ],
)
def test_other_weights_are_refused(models, tmp_path, content, message):
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content(models), path)
    with pytest.raises(ArgumentError, match=message) as raised:
        make_estimator("raft_small", params={"weights": str(path)})
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"weights": ""}, "needs --param weights=FILE, a state dict of torchvision's model; to make one"),
        ({"device": "gpu"}, "device is 'gpu', expected auto, cpu, cuda, such as cuda:0, or mps"),
        ({"device": "cpu:1"}, "device is 'cpu:1', expected auto"),
        ({"device": "cuda:²"}, "device is 'cuda:²', expected auto"),
        ({"iterations": 0}, "raft_small: iterations is 0, expected a whole number, 1 or more"),
        ({"batch": 0}, "raft_small: batch is 0, expected a whole number, 1 or more"),
        ({"weights_sha256": "00"}, "expected 00: it is not the file that this flow is made with"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(models, tmp_path, params, message):
    write_frames(tmp_path / "v" / "a" / "b", frames_of(2, 16, 16))
    params = {"weights": str(models["raft_small"][1])} | params
    options = [word for name, value in params.items() for word in ("--param", f"{name}={value}")]
    outcome = call("extract", tmp_path / "v", tmp_path / "s.zarr", "--algorithm", "raft_small", *options)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert not (tmp_path / "s.zarr").exists()


def test_a_device_that_is_not_there_is_refused(models):
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    with pytest.raises(EstimatorError, match=rf"device is cuda:{n_gpus}, but torch \S+ sees {n_gpus} GPU.* here"):
        raft(models, device=f"cuda:{n_gpus}")
    if not n_gpus:
        with pytest.raises(EstimatorError, match="device is cuda, but"):
            raft(models, device="cuda")
    if not torch.backends.mps.is_available():
        with pytest.raises(EstimatorError, match="sees no GPU of Apple's here"):
            raft(models, device="mps")


class Full:
    """A model on a device that has room for so many pairs."""

    def __init__(self, model, room):
        self.model, self.room, self.asked = model, room, []

    def __call__(self, first, second, **options):
        self.asked.append(len(first))
        if len(first) > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return self.model(first, second, **options)


def test_a_batch_that_does_not_fit_shrinks_and_says_so(models, monkeypatch):
    frames = frames_of(8, 128, 128)
    expected = flow_of(raft(models), frames)
    estimator = raft(models, batch=6)
    stream = estimator.stream(128, 128)
    full = Full(stream._model.module, room=2)
    monkeypatch.setattr(stream._model, "module", full)
    monkeypatch.setattr(stream._model, "fitting", {})
    found = [flow.copy() for frame in frames for flow in stream.push(frame) or ()] + list(stream.finish())
    assert np.abs(np.stack(found) - expected).max() <= 1e-4
    assert full.asked == [6, 3, 1, 1, 1, 1, 1, 1, 1]
    assert stream.warnings == ["cpu has no memory for 3 pairs at once: from here on 1 are taken"]
    # The next video of that size does not try again; one of another size does.
    full.asked.clear()
    assert len(flow_of(estimator, frames)) == 7
    assert set(full.asked) == {1}
    full.room = 0
    with pytest.raises(EstimatorError, match="a pair of frames of 128×128 does not fit the memory of cpu"):
        flow_of(estimator, frames)


def test_the_word_on_memory_is_kept_with_the_video(models, tmp_path, monkeypatch):
    write_frames(tmp_path / "v" / "a" / "b", frames_of(4, 64, 64))
    params = {"weights": str(models["raft_small"][1]), "iterations": 1, "batch": 3}
    model = make_estimator("raft_small", params=params)._model()
    monkeypatch.setattr(model, "module", Full(model.module, room=1))
    monkeypatch.setattr(model, "fitting", {})
    report = extract(tmp_path / "v", tmp_path / "s.zarr", algorithm="raft_small", params=params, scheduler="sync")
    (record,) = report.warned
    assert record.warnings == ("cpu has no memory for 3 pairs at once: from here on 1 are taken",)


def test_devices_take_turns_and_a_worker_process_keeps_its_own(models, monkeypatch):
    from flowstore.estimators import raft as room

    monkeypatch.setattr(room, "_find_devices", lambda algorithm, asked: ("cuda:0", "cuda:1", "cuda:2"))
    monkeypatch.setattr(room, "_describe", ", ".join)
    monkeypatch.setattr(room, "_model_on", lambda *arguments: arguments[-1])
    estimator = raft(models)
    assert estimator.max_workers == 3
    assert estimator.notes == ("raft_small: device auto is cuda:0, cuda:1, cuda:2 here",)
    assert {estimator._model() for _ in range(3)} == {"cuda:0", "cuda:1", "cuda:2"}
    estimator.worker = 4
    assert [estimator._model() for _ in range(3)] == ["cuda:1"] * 3


def test_random_numbers_of_the_process_are_left_alone(models, tmp_path):
    weights = tmp_path / "again.pth"
    weights.write_bytes(models["raft_small"][1].read_bytes())
    before = torch.random.get_rng_state()
    flow_of(make_estimator("raft_small", params={"weights": str(weights), "iterations": 1}), frames_of(2, 64, 64))
    assert torch.equal(torch.random.get_rng_state(), before)
