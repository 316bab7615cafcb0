"""The dataset for PyTorch: items against arrays of known codes, workers of every kind, epochs, batches."""

import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from store_factory import failed_record, make_codes, settings_of, write_store, write_video
from torch_tests import import_torch

import flowstore
from flowstore.errors import ArgumentError, FailedVideoError, FlowStoreWarning, NameNotFoundError, StoreNotFoundError
from flowstore.splits import read_mmaction2
from flowstore.store.writer import write_failed
from flowstore.transforms import Compose, Crop, HorizontalFlip, Normalize, Resize

torch = import_torch()

from torch.utils.data import DataLoader, Subset  # noqa: E402

from flowstore.loaders import FlowClips  # noqa: E402

VIDEOS = {
    "left/a": make_codes(14, seed=1),
    "left/b": make_codes(12, seed=2),
    "right/[HD] c": make_codes(3, seed=3),
    "right/d": make_codes(30, seed=4),
    "still/e": make_codes(11, seed=5),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("loaders") / "flow.zarr"
    write_store(place, VIDEOS, failed={"left/broken": "no frame"})
    return place


def batches(dataset, n_workers=0, context=None, epochs=1, batch_size=2, **options):
    """Return the flow and labels of every batch of some epochs, as arrays, and put the workers away."""
    options = {"collate_fn": dataset.collate} | options
    loader = DataLoader(
        dataset, batch_size, num_workers=n_workers, multiprocessing_context=context if n_workers else None, **options
    )
    return [(flow.numpy().copy(), labels.tolist()) for _ in range(epochs) for flow, labels in loader]


def assert_same(one, other):
    assert len(one) == len(other)
    for (flow, labels), (other_flow, other_labels) in zip(one, other, strict=True):
        np.testing.assert_array_equal(flow, other_flow)
        assert labels == other_labels


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("layout", ["stack", "time"])
@pytest.mark.parametrize("clips", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("short", ["repeat", "loop"])
def test_items_hold_the_flows_that_were_drawn(place, dtype, layout, clips, stride, short):
    dataset = FlowClips(place, 4, clips, stride, dtype=dtype, layout=layout, short=short)
    assert len(dataset) == 5
    for number in range(5):
        key, flows = dataset.flows_of(number)
        assert flows.shape == (clips, 4)
        expected = VIDEOS[key][flows]
        if dtype == "float32":
            expected = dataset.quantizer.decode(expected)
        if layout == "stack":
            expected = expected.reshape(clips, 8, 24, 32)
        flow, label = dataset[number]
        np.testing.assert_array_equal(flow.numpy(), expected if clips > 1 else expected[0])
        assert flow.dtype == getattr(torch, dtype)
        assert dataset.classes[label] == key.partition("/")[0]


def test_channels_are_x0_y0_x1_y1(place):
    dataset = FlowClips(place, 3, dtype="uint8")
    key, flows = dataset.flows_of(0)
    flow, _ = dataset[0]
    for channel in range(6):
        np.testing.assert_array_equal(flow[channel], VIDEOS[key][flows[0, channel // 2], channel % 2])


def test_classes_as_torchvision_has_them(place):
    dataset = FlowClips(place)
    assert dataset.classes == ["left", "right", "still"]
    assert dataset.class_to_idx == {"left": 0, "right": 1, "still": 2}
    assert dataset.targets.tolist() == [0, 0, 1, 1, 2]
    assert "5 items, 5 videos in 3 classes; 10 flows, stride 1, random; float32, stack>" in repr(dataset)


def test_every_start_is_drawn_over_epochs_the_last_too(place):
    dataset = FlowClips(place, length=10)
    drawn = {int(dataset.flows_of(0, epoch)[1][0, 0]) for epoch in range(100)}
    assert drawn == set(range(5))


def test_all_gives_every_window(place):
    dataset = FlowClips(place, 10, sampling="all", dtype="uint8", layout="time")
    expected = [(key, start) for key in VIDEOS for start in range(max(1, len(VIDEOS[key]) - 9))]
    assert len(dataset) == len(expected)
    for number, (key, start) in enumerate(expected):
        assert dataset.flows_of(number)[0] == key
        window = VIDEOS[key][np.minimum(np.arange(start, start + 10), len(VIDEOS[key]) - 1)]
        np.testing.assert_array_equal(dataset[number][0], window)


def test_numbers_beyond_the_end_are_refused_and_iteration_ends(place):
    dataset = FlowClips(place, training=False)
    for number in (5, -6):
        with pytest.raises(IndexError, match=f"item {number} of 5"):
            dataset[number]
    np.testing.assert_array_equal(dataset[-1][0], dataset[4][0])
    assert len(list(dataset)) == 5


@pytest.mark.system
@pytest.mark.parametrize(
    ("context", "n_workers"), [("fork", 0), ("fork", 1), ("fork", 4), ("spawn", 2), ("forkserver", 2)]
)
def test_workers_change_nothing(place, context, n_workers):
    def made():
        # One type where processes start slowly is enough.
        dtype = "float32" if context == "fork" else "uint8"
        transform = Compose(Crop(16), HorizontalFlip(0.5, {"left": "right"}))
        return FlowClips(place, 5, transform=transform, dtype=dtype, seed=3)

    dataset = made()
    expected = []
    for _ in range(2):
        items = [dataset[number] for number in range(5)]
        groups = [items[start : start + 2] for start in (0, 2, 4)]
        expected += [(np.stack([flow for flow, _ in group]), [label for _, label in group]) for group in groups]
    assert not np.array_equal(expected[0][0], expected[3][0])
    assert_same(batches(made(), n_workers, context, epochs=2), expected)


def test_another_epoch_draws_anew_and_the_same_one_the_same(place):
    def starts(dataset):
        return np.concatenate([flow.ravel() for flow, _ in batches(dataset)]).tobytes()

    dataset = FlowClips(place, 3, dtype="uint8")
    forgotten = [starts(dataset) for _ in range(4)]
    assert len(set(forgotten)) == 4
    told = {}
    for epoch in (2, 0, 3, 1):
        dataset.set_epoch(epoch)
        # What is fetched again in one epoch is drawn anew.
        told[epoch] = starts(dataset), starts(dataset)
    assert len(set(sum(told.values(), ()))) == 8
    assert told[0] == tuple(forgotten[:2])
    for epoch, expected in told.items():
        dataset.set_epoch(epoch)
        assert (starts(dataset), starts(dataset)) == expected
    assert starts(FlowClips(place, 3, dtype="uint8", seed=1)) not in forgotten
    with pytest.raises(ArgumentError, match="epoch is -1"):
        dataset.set_epoch(-1)


def test_testing_draws_the_same_every_time(place):
    dataset = FlowClips(place, 3, 2, sampling="tsn", training=False)
    assert_same(batches(dataset), batches(dataset))
    assert [dataset.flows_of(0)[1][:, 0].tolist()] == [[3, 9]]


@pytest.mark.system
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_persistent_workers_hear_of_the_epoch(place, context):
    dataset = FlowClips(place, 3, dtype="uint8")
    options = {"persistent_workers": True, "num_workers": 2, "multiprocessing_context": context}
    loader = DataLoader(dataset, 5, collate_fn=dataset.collate, **options)
    found = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        found.append(next(iter(loader))[0].numpy().copy())
    assert not np.array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_the_order_changes_nothing(place):
    items = {}
    for order in ([0, 1, 2, 3, 4], [3, 1, 4, 0, 2]):
        dataset = FlowClips(place, 3, dtype="uint8", transform=Crop(8))
        items[tuple(order)] = {n: item[0].numpy() for n, item in zip(order, dataset.__getitems__(order), strict=True)}
    first, second = items.values()
    for number in range(5):
        np.testing.assert_array_equal(first[number], second[number])


def test_a_batch_lies_in_one_tensor_and_collate_hands_it_over(place):
    dataset = FlowClips(place, 4, transform=Crop(8))
    items = dataset.__getitems__([0, 1, 2])
    flow, labels = dataset.collate(items)
    assert flow.data_ptr() == items[0][0].data_ptr()
    assert labels.dtype == torch.int64
    step = flow[0].numel() * flow.element_size()
    assert [item[0].data_ptr() - flow.data_ptr() for item in items] == [0, step, 2 * step]
    shape = flow.shape
    assert shape == (3, 8, 8, 8)
    assert flow.is_contiguous()


@pytest.mark.system
@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_workers_fill_the_same_memory_again_but_never_under_a_batch_that_is_kept(place, context):
    dataset = FlowClips(place, 4, sampling="all", dtype="uint8", transform=Crop(8, "center"))
    numbers = [number % len(dataset) for number in range(300)]
    options = {"num_workers": 2, "multiprocessing_context": context, "collate_fn": dataset.collate}
    kept, expected = [], []
    for count, (flow, _) in enumerate(DataLoader(dataset, 3, sampler=numbers, **options)):
        items = [dataset[number] for number in numbers[3 * count : 3 * count + 3]]
        expected.append(np.stack([item.numpy() for item, _ in items]))
        np.testing.assert_array_equal(flow, expected[-1])
        # A view outlives its batch, which is longer than any worker keeps its memory for itself.
        if count % 2:
            kept.append((count, flow[1:].numpy()))
    del flow
    for count, view in kept:
        np.testing.assert_array_equal(view, expected[count][1:])


def test_other_collates_and_subsets_work(place):
    def made():
        return FlowClips(place, 4, dtype="uint8")

    expected = batches(made())
    assert_same(batches(made(), collate_fn=None), expected)
    assert_same(batches(made(), 1, "fork", collate_fn=None), expected)
    dataset = made()
    subset = DataLoader(Subset(dataset, [2, 0]), 2, collate_fn=dataset.collate)
    ((flow, labels),) = subset
    np.testing.assert_array_equal(flow[1], expected[0][0][0])
    assert labels.tolist() == [1, 0]
    singles = [made()[number] for number in range(2)]
    flow, labels = FlowClips.collate(singles)
    np.testing.assert_array_equal(flow, expected[0][0])
    assert labels.tolist() == expected[0][1]


@pytest.mark.parametrize("clips", [1, 2])
def test_a_crop_while_reading_is_the_crop_after_it(place, clips):
    while_reading = FlowClips(place, 4, clips, transform=Compose(Crop(9), HorizontalFlip(0.5)))
    # Behind a transform that does nothing, the crop is done on the array.
    after = FlowClips(place, 4, clips, transform=Compose(lambda flow: flow, Crop(9), HorizontalFlip(0.5)))
    for number in range(5):
        np.testing.assert_array_equal(while_reading[number][0], after[number][0])


def test_the_label_follows_the_flip(place):
    dataset = FlowClips(place, 4, transform=HorizontalFlip(1, {"left": "right"}), dtype="uint8", layout="time")
    for number in range(5):
        key, flows = dataset.flows_of(number)
        flow, label = dataset[number]
        name = key.partition("/")[0]
        assert dataset.classes[label] == {"left": "right", "right": "left"}.get(name, name)
        codes = VIDEOS[key][flows[0]][..., ::-1]
        np.testing.assert_array_equal(flow[:, 0], 256 - codes[:, 0].astype(int))
        np.testing.assert_array_equal(flow[:, 1], codes[:, 1])
    with pytest.raises(ArgumentError, match="no class 'up'; there are left, right, still"):
        FlowClips(place, transform=HorizontalFlip(0.5, {"up": "left"}))


def test_transforms_that_change_size_and_type(place):
    dataset = FlowClips(place, 4, 2, transform=Compose(Resize((12, 20)), Normalize(0, 5)), training=False)
    ((flow, _),) = batches(dataset, batch_size=5)
    assert flow.shape == (5, 2, 8, 12, 20)
    key, flows = dataset.flows_of(3)
    pixels = dataset.quantizer.decode(VIDEOS[key][flows[1]])
    expected = Resize((12, 20))(pixels, np.random.default_rng(0)) / np.float32(5)
    np.testing.assert_allclose(flow[3, 1], expected.reshape(8, 12, 20), rtol=1e-5)
    half = FlowClips(place, 4, transform=lambda flow: flow.astype(np.float16))
    assert half[0][0].dtype == torch.float16


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    place = tmp_path_factory.mktemp("mixed") / "flow.zarr"
    write_store(place, {"a/small": make_codes(6, 24, 32, seed=1), "a/wide": make_codes(6, 20, 40, seed=2)})
    return place


def test_different_sizes_need_a_crop_or_a_resize(mixed):
    with pytest.raises(ArgumentError, match=r"a/small is 32×24, a/wide is 40×20; give the dataset transform=Crop"):
        FlowClips(mixed, 4).__getitems__([0, 1])
    with pytest.raises(ArgumentError, match="different sizes in one batch: a/small is 32×24"):
        FlowClips(mixed, 4, transform=HorizontalFlip()).__getitems__([0, 1])
    assert FlowClips(mixed, 4)[0][0].shape == (8, 24, 32)
    for transform in (Crop(20), Resize((20, 20)), Compose(Resize(22), Crop(20)), Compose(Crop((20, 24)), Resize(20))):
        for dtype in ("uint8", "float32"):
            dataset = FlowClips(mixed, 4, transform=transform, dtype=dtype)
            ((flow, _),) = batches(dataset, 1, "fork")
            assert flow.shape[:3] == (2, 8, 20)


def test_a_crop_that_does_not_fit_is_refused_before_any_work(mixed):
    with pytest.raises(
        ArgumentError, match=r"Crop\(\(22, 22\), 'random'\) does not fit into 1 video, .* a/wide of 40×20"
    ):
        FlowClips(mixed, transform=Crop(22))


def test_transforms_of_ones_own(place):
    plain = FlowClips(place, 4, dtype="uint8", layout="time", training=False)
    for transform in (lambda flow: flow[::-1], lambda flow: flow[..., ::-1], lambda flow: torch.tensor(flow) // 2):
        dataset = FlowClips(place, 4, dtype="uint8", layout="time", training=False, transform=transform)
        for number in range(5):
            expected = np.asarray(transform(plain[number][0].numpy()))
            np.testing.assert_array_equal(dataset[number][0], expected)
    with pytest.raises(ArgumentError, match=r"gave shape \(8, 24, 32\), expected \(4, 2\) \+ \(H, W\)"):
        FlowClips(place, 4, transform=lambda flow: flow.reshape(8, 24, 32))[0]


def test_a_crop_of_mixed_sizes_holds_the_right_part(mixed):
    dataset = FlowClips(mixed, 6, transform=Crop(20, "center"), dtype="uint8", layout="time")
    flow, _ = dataset.collate(dataset.__getitems__([0, 1]))
    store = flowstore.open_store(mixed)
    np.testing.assert_array_equal(flow[0], store["a/small"].codes[:][..., 2:22, 6:26])
    np.testing.assert_array_equal(flow[1], store["a/wide"].codes[:][..., 0:20, 10:30])


@pytest.mark.parametrize("encoding", ["centred", "denseflow", "truncate"])
def test_encodings(tmp_path, encoding):
    settings = settings_of(encoding)
    codes = make_codes(6)
    write_store(tmp_path / "s.zarr", {"a/x": codes}, settings=settings)
    flow, _ = FlowClips(tmp_path / "s.zarr", 6, layout="time")[0]
    np.testing.assert_array_equal(flow, settings.quantizer.decode(codes))


def test_float16_stores(tmp_path):
    settings = settings_of("float16", None)
    pixels = np.random.default_rng(0).normal(0, 9, (6, 2, 24, 32)).astype(np.float16)
    write_store(tmp_path / "s.zarr", {"a/x": pixels}, settings=settings)
    flow, _ = FlowClips(tmp_path / "s.zarr", 6, layout="time")[0]
    np.testing.assert_array_equal(flow, pixels.astype(np.float32))
    flipped, _ = FlowClips(tmp_path / "s.zarr", 6, layout="time", transform=HorizontalFlip(1))[0]
    np.testing.assert_array_equal(flipped[:, 0], -pixels[:, 0, :, ::-1].astype(np.float32))
    with pytest.raises(ArgumentError, match="dtype is 'uint8', but the store holds float16; ask for 'float32'"):
        FlowClips(tmp_path / "s.zarr", dtype="uint8")


def test_a_split_file(place, tmp_path):
    (tmp_path / "list.txt").write_text("left/a.avi 5\nright/[HD] c.avi 6\nleft/nowhere.avi 5\nleft/broken.avi 5\n")
    lines = read_mmaction2(tmp_path / "list.txt")
    with pytest.warns(FlowStoreWarning, match="2 lines of the split without a video in the store"):
        dataset = FlowClips(place, 3, split=lines)
    assert [dataset.flows_of(number)[0] for number in range(len(dataset))] == ["left/a", "right/[HD] c"]
    assert [line.line.text for line in dataset.unmatched] == ["left/nowhere.avi 5", "left/broken.avi 5"]
    # The labels are those of the whole store, so that training and testing agree.
    assert dataset.classes == ["left", "right", "still"]
    assert [dataset[number][1] for number in range(2)] == [0, 1]
    with pytest.warns(FlowStoreWarning):
        dataset = FlowClips(place, 3, split=lines, labels="split")
    assert [dataset[number][1] for number in range(2)] == [5, 6]


def test_stores_and_selections(place):
    store = flowstore.open_store(place)
    assert len(FlowClips(store)) == 5
    selected = FlowClips(store.select(label=["right", "still"]), 3)
    assert selected.classes == ["right", "still"]
    assert [selected[number][1] for number in range(3)] == [0, 0, 1]
    assert len(FlowClips(str(place), split=["left/a"])) == 1


def test_names_that_the_store_escapes_or_cuts(tmp_path):
    keys = {"50%25/a\\b": 4, "c/" + "long" * 70: 4, "c/__x": 4}
    videos = {key: make_codes(n, seed=number) for number, (key, n) in enumerate(keys.items())}
    write_store(tmp_path / "s.zarr", videos)
    dataset = FlowClips(tmp_path / "s.zarr", 4, dtype="uint8", layout="time")
    found = {dataset.flows_of(number)[0]: dataset[number][0].numpy() for number in range(3)}
    assert set(found) == set(videos)
    for key, codes in videos.items():
        np.testing.assert_array_equal(found[key], codes)


def test_a_dataset_travels_as_a_path_and_numbers(place):
    dataset = FlowClips(place, 3, dtype="uint8", training=False)
    dataset[0]
    data = pickle.dumps(dataset)
    assert len(data) < 10_000
    assert_same(batches(pickle.loads(data)), batches(dataset))


def test_choices_are_checked(place):
    for options, message in [
        ({"dtype": "float64"}, "dtype is 'float64', expected one of float32, uint8"),
        ({"layout": "chw"}, "layout is 'chw', expected one of stack, time"),
        ({"labels": "none"}, "labels is 'none', expected one of class, split"),
        ({"sampling": "some"}, "sampling is 'some'"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            FlowClips(place, **options)


def test_training_on_flow_alone_loads_no_decoder(place):
    code = (
        "import sys; sys.modules |= dict.fromkeys(('cv2', 'av', 'dask', 'numba')); "
        "from flowstore.loaders import FlowClips; flow, label = FlowClips(sys.argv[1], 3)[0]; print(tuple(flow.shape))"
    )
    done = subprocess.run([sys.executable, "-c", code, place], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("(6, ")


def test_a_missing_torch_names_the_install_line():
    code = "import sys; sys.modules['torch'] = None; import flowstore.loaders"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        "flowstore.errors.MissingExtraError: flowstore.loaders needs PyTorch: pip install 'flowstore[torch]'"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": "10"}, "length is '10', expected a whole number, 1 to 1000000"),
        ({"length": 2.5}, "length is 2.5"),
        ({"clips": 1.5}, "clips is 1.5"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"seed": None}, "seed is None"),
        ({"training": "no"}, "training is 'no', expected True or False"),
        ({"sampling": "randm"}, r"expected one of random, .*; did you mean 'random'\?"),
        ({"split": 3}, "split is 3, expected names of videos"),
        ({"transform": [Crop(4), HorizontalFlip()]}, r"transform is a list: .* Compose\(\*\[Crop\(\(4, 4\)"),
        ({"transform": Crop}, "expected an object such as"),
        ({"transform": 3}, "transform is 3"),
    ],
)
def test_arguments_of_another_kind_are_refused_before_any_work(place, options, message):
    with pytest.raises(ArgumentError, match=message):
        FlowClips(place, **options)


def test_a_path_is_no_split(place, tmp_path):
    with pytest.raises(ArgumentError, match=r"expected names of videos, or what flowstore\.splits makes"):
        FlowClips(place, split=tmp_path / "train.txt")


@pytest.mark.parametrize("number", [1.5, "1", slice(2), [0, 1]])
def test_an_item_has_a_whole_number(place, number):
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        FlowClips(place)[number]


@pytest.mark.parametrize("epoch", ["3", 1.5, True, 10**30])
def test_an_epoch_is_a_whole_number(place, epoch):
    with pytest.raises(ArgumentError, match=r"epoch is .*, expected a whole number"):
        FlowClips(place).set_epoch(epoch)


def test_no_transform_at_all_changes_nothing(place):
    key, flows = FlowClips(place, 3, dtype="uint8").flows_of(0)
    flow, _ = FlowClips(place, 3, dtype="uint8", transform=Compose(), layout="time")[0]
    np.testing.assert_array_equal(flow.numpy(), VIDEOS[key][flows[0]])


def test_a_transform_that_changes_the_type_of_some_items_is_refused(place):
    # Cast to the type of the first, all of what it makes of the others would be 0.
    def divided(flow):
        return flow if (flow == VIDEOS["left/a"][:2]).all() else flow / np.float32(255)

    dataset = FlowClips(place, 2, clips=1, sampling="all", dtype="uint8", transform=divided)
    with pytest.raises(ArgumentError, match="the transform made uint8 of left/a and float32 of left/b"):
        dataset.__getitems__([0, 13])
    assert dataset.__getitems__([13, 14]).tensors[0].dtype == torch.float32


def test_what_a_transform_refuses_names_the_video(place):
    dataset = FlowClips(place, transform=Compose(Resize(20), Crop(21)), split=["right/d"])
    with pytest.raises(ArgumentError, match="right/d: a crop of 21×21 does not fit into flow of 27×20"):
        dataset[0]


def test_a_batch_of_nothing_is_refused(place):
    with pytest.raises(ArgumentError, match="a batch of no items"):
        FlowClips(place).__getitems__([])


@pytest.mark.parametrize("sampling", ["random", "all"])
def test_a_target_is_the_label_of_its_item(place, sampling):
    dataset = FlowClips(place, 4, sampling=sampling)
    assert dataset.targets.tolist() == [label for _, label in (dataset[n] for n in range(len(dataset)))]


def test_testing_does_not_heed_the_epoch(place):
    # Training loops tell every dataset that has a `set_epoch`.
    dataset = FlowClips(place, 3, transform=Crop(5), training=False)
    expected = batches(dataset)
    dataset.set_epoch(7)
    assert_same(batches(dataset), expected)
    assert dataset.flows_of(3)[1].tolist() == dataset.flows_of(3, 7)[1].tolist()


_COLLECT = """
import resource, sys
from torch.utils.data import DataLoader
from flowstore.loaders import FlowClips  # noqa: E402

dataset = FlowClips(sys.argv[1], 2, sampling="all", dtype="uint8")
expected = [flow.numpy().copy() for flow, _ in DataLoader(dataset, 1, collate_fn=dataset.collate)] * 6
resource.setrlimit(resource.RLIMIT_NOFILE, (250, 250))
loader = DataLoader(dataset, 1, num_workers=2, collate_fn=dataset.collate, multiprocessing_context="fork")
kept = [flow for _ in range(6) for flow, _ in loader]
assert len(kept) > 300, len(kept)
assert all((one.numpy() == other).all() for one, other in zip(kept, expected, strict=True))
"""


@pytest.mark.system
def test_more_batches_are_kept_than_files_may_be_open(place):
    pytest.importorskip("resource", reason="descriptors are limited on POSIX systems")
    done = subprocess.run(
        [sys.executable, "-c", _COLLECT, str(place)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.filterwarnings("ignore:.* of its index left out")
def test_a_store_that_changed_since_is_said_to_have(tmp_path):
    place = tmp_path / "s.zarr"
    storage = write_store(place, {"a/x": make_codes(20, seed=1), "a/y": make_codes(20, seed=2)})
    dataset = FlowClips(place, 5, sampling="uniform", clips=2)
    dataset[0]
    shutil.rmtree(place / "a/x")
    with pytest.raises(NameNotFoundError, match=r"no video 'x' in class 'a'.* make the dataset anew"):
        dataset[0]
    write_video(storage, "a", "x", make_codes(9))
    with pytest.raises(ArgumentError, match=r"leave a/x, which has 9; .* make the dataset anew"):
        dataset[0]
    shutil.rmtree(place / "a/x")
    write_video(storage, "a", "x", make_codes(20, 40, 50))
    with pytest.raises(ArgumentError, match="make the dataset anew"):
        dataset[0]
    shutil.rmtree(place / "a/x")
    write_failed(storage, failed_record("a", "x", "no frame"))
    with pytest.raises(FailedVideoError, match="make the dataset anew"):
        dataset[0]


@pytest.mark.parametrize("name", ["length", "stride"])
def test_clips_larger_than_any_memory_are_refused(place, name):
    with pytest.raises(ArgumentError, match=f"{name} is 10000000, expected a whole number, 1 to 1000000"):
        FlowClips(place, **{name: 10**7})


@pytest.mark.parametrize("sampling", ["random", "all"])
def test_each_fetch_of_a_sampler_with_replacement_draws_anew(place, sampling):
    # Of 25×17 places of a crop and 21 starts, two fetches hardly ever draw the same.
    dataset = FlowClips(place, 10, sampling=sampling, split=["right/d"], transform=Crop(8), return_info=True)
    drawn = set()
    for epoch in range(3):
        dataset.set_epoch(epoch)
        for *_, info in DataLoader(dataset, 4, sampler=[0] * 16, collate_fn=dataset.collate):
            assert set(info["epoch"].tolist()) == {epoch}
            told = zip(info["flows"][:, 0, 0].tolist(), info["crop"].tolist(), info["fetch"].tolist(), strict=True)
            drawn |= {(start, *crop, fetch) for start, crop, fetch in told}
            for row, fetch in enumerate(info["fetch"].tolist()):
                assert np.array_equal(dataset.flows_of(0, epoch, fetch)[1], info["flows"][row])
    assert len({told[:-1] for told in drawn}) >= 44
    assert {told[-1] for told in drawn} == set(range(16))


@pytest.mark.parametrize(("sampling", "clips"), [("random", 1), ("tsn", 3), ("all", 1)])
def test_video_and_start_of_each_item_are_told(place, sampling, clips):
    """By the item itself, in workers and through torch's own collate, before it is read, and in a notebook."""
    dataset = FlowClips(place, 3, clips, sampling=sampling, transform=Crop(8), dtype="uint8", return_info=True)
    dataset.set_epoch(4)
    html = dataset._repr_html_()
    items = {}
    for flow, labels, info in DataLoader(dataset, 4, num_workers=2):
        for row, (number, name) in enumerate(zip(info["number"].tolist(), info["name"], strict=True)):
            starts = info["flows"][row, :, 0].tolist()
            items[number] = name, dataset.classes[labels[row]], starts
            assert dataset.flows_of(number, epoch=4)[1][:, 0].tolist() == starts
            top, left, height, width = info["crop"][row].int().tolist()
            codes = VIDEOS[name][starts[0] : starts[0] + 3, :, top : top + height, left : left + width]
            clip = flow[row] if clips == 1 else flow[row, 0]
            if len(VIDEOS[name]) >= 3:
                np.testing.assert_array_equal(clip.numpy(), codes.reshape(6, 8, 8))
    assert len(items) == len(dataset)
    cells = [f"<td>{item}</td><td>{name}</td><td>{label}</td>" for item, (name, label, _) in sorted(items.items())]
    starts = [f"<td>{', '.join(map(str, found))}</td>" for _, (*_, found) in sorted(items.items())]
    rows = [cell + start in html for cell, start in zip(cells, starts, strict=True)]
    assert rows == [number < 5 for number in range(len(items))]
    assert ("more items" in html) == (sampling == "all")


def test_ranks_draw_apart_where_nobody_tells_the_epoch(place, monkeypatch):
    starts = set()
    for rank in range(4):
        monkeypatch.setenv("RANK", str(rank))
        dataset = FlowClips(place, 10, split=["right/d"], transform=Crop(8), return_info=True)
        for _ in range(4):
            *_, info = dataset[0]
            assert (info["rank"], info["epoch"]) == (rank, 0)
            assert np.array_equal(dataset.flows_of(0, 0, info["fetch"], rank)[1], info["flows"])
            starts.add((int(info["flows"][0, 0]), *info["crop"].tolist()))
    assert len(starts) >= 15
    # A spawned worker is told the rank of its process.
    copied = pickle.loads(pickle.dumps(dataset))
    monkeypatch.delenv("RANK")
    assert copied[0][-1]["rank"] == 3


def test_a_state_goes_on_with_the_draws(place):
    def fetch(dataset, n):
        return [dataset[number][0].numpy() for _ in range(n) for number in range(5)]

    for epoch in (None, 3):
        dataset, other = (FlowClips(place, 3, dtype="uint8", transform=Crop(8)) for _ in range(2))
        if epoch is not None:
            dataset.set_epoch(epoch)
        fetch(dataset, 2)
        other.load_state_dict(pickle.loads(pickle.dumps(dataset.state_dict())))
        assert other.epoch == (epoch or 0)
        np.testing.assert_array_equal(fetch(dataset, 2), fetch(other, 2))
    for changed, message in (
        (FlowClips(place, seed=1), "whose seed is 0, here it is 1"),
        (FlowClips(place, split=["left/a"]), "whose n_items is 5, here it is 1"),
        (FlowClips(place, training=False), "of a dataset for training, or not"),
    ):
        with pytest.raises(ArgumentError, match=message):
            changed.load_state_dict(dataset.state_dict())


def test_what_is_no_state_is_refused_in_one_line_and_changes_nothing(place):
    dataset = FlowClips(place)
    dataset.set_epoch(2)
    dataset[1]
    state = dataset.state_dict()
    no_counts = "fetched is no int32 tensor"
    for wrong, message in (
        ({}, "it holds nothing, expected seed, n_items, epoch, fetched"),
        ([], "it holds list, expected seed"),
        ({"model": 1, "optimizer": 2}, "it holds model, optimizer, expected seed"),
        ({name: state[name] for name in ("seed", "n_items", "epoch")}, "it holds seed, n_items, epoch, expected seed"),
        (state | {"lr": 0.1}, "fetched, lr, expected"),
        (state | {"epoch": "2"}, "epoch is '2', expected a whole number"),
        (state | {"fetched": [0] * 5}, no_counts),
        (state | {"fetched": state["fetched"] - 1}, no_counts),
        (state | {"fetched": state["fetched"].float()}, no_counts),
    ):
        with pytest.raises(ArgumentError, match=message):
            dataset.load_state_dict(wrong)
        assert dataset.epoch == 2
        assert torch.equal(dataset.state_dict()["fetched"], state["fetched"])


def test_a_transform_that_makes_float64_is_refused_by_name(place):
    def halved(flow):
        return flow * np.full(1, 0.5)

    for transform in (halved, Compose(Crop(8), halved, HorizontalFlip())):
        with pytest.raises(ArgumentError, match=r"left/a: .*halved made float64 of float32.*astype"):
            FlowClips(place, 3, transform=transform)[0]


@pytest.mark.system
@pytest.mark.parametrize("n_workers", [0, 1])
def test_what_goes_wrong_in_a_transform_names_the_video(place, n_workers):
    def wrong(flow):
        raise KeyError("mean")

    dataset = FlowClips(place, 3, transform=wrong, split=["right/[HD] c"])
    with pytest.raises(KeyError) as caught:
        batches(dataset, n_workers, "fork")
    told = "".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert "in a transform of right/[HD] c" in told


def test_a_store_that_moved_is_said_to_be_gone(tmp_path):
    write_store(tmp_path / "s.zarr", {"a/x": make_codes(20)})
    dataset = FlowClips(tmp_path / "s.zarr", 5)
    (tmp_path / "s.zarr").rename(tmp_path / "moved.zarr")
    with pytest.raises(StoreNotFoundError, match=r"s\.zarr is gone since the dataset was made: if it was moved"):
        dataset[0]


def test_a_dataset_holds_no_descriptor(place):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("descriptors are counted in /proc, which this system does not have")
    FlowClips(place, 3)
    before = len(os.listdir("/proc/self/fd"))
    kept = [FlowClips(place, 3) for _ in range(20)]
    assert len(os.listdir("/proc/self/fd")) == before
    del kept
