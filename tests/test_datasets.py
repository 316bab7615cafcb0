"""Public datasets: the videos of the official split, its labels, and the frames beside them."""

import pytest
from store_factory import make_codes, write_store
from torch_tests import import_torch

from flowstore.errors import ArgumentError, SourceError

import_torch()

from flowstore.datasets import HMDB51, UCF101, Kinetics  # noqa: E402


def names(dataset):
    return [dataset.flows_of(number)[0] for number in range(len(dataset))]


def write(place, keys):
    write_store(place, {key: make_codes(12, seed=seed) for seed, key in enumerate(keys)})
    return place


def test_hmdb51(tmp_path):
    store = write(tmp_path / "s.zarr", ["run/a [HD]", "run/b", "wave/c", "wave/d"])
    (tmp_path / "run_test_split2.txt").write_text("a [HD].avi 1 \nb.avi 2 \n")
    (tmp_path / "wave_test_split2.txt").write_text("c.avi 2 \nd.avi 0 \n")
    train, test = HMDB51(store, tmp_path, fold=2), HMDB51(store, tmp_path, 2, train=False, clips=3, sampling="tsn")
    assert (names(train), names(test)) == (["run/a [HD]"], ["run/b", "wave/c"])
    assert train.classes == test.classes == ["run", "wave"]
    assert test.targets.tolist() == [0, 1]
    assert test[0][0].equal(test[0][0])
    assert not all(train[0][0].equal(train[0][0]) for _ in range(5))
    with pytest.raises(SourceError, match="split"):
        HMDB51(store, tmp_path, fold=1)
    for options, message in (
        ({"fold": 4}, "fold is 4"),
        ({"fold": 2, "split": ["run/b"]}, "HMDB51 takes its own split"),
    ):
        with pytest.raises(ArgumentError, match=message):
            HMDB51(store, tmp_path, **options)


@pytest.mark.parametrize("dataset", [HMDB51, UCF101])
@pytest.mark.parametrize("root", ["s3://bucket/flow.zarr", None])
def test_lists_are_looked_for_beside_a_local_store_only(dataset, root):
    with pytest.raises(ArgumentError, match="annotation_path is missing"):
        dataset(root)


def test_ucf101(tmp_path):
    store = write(tmp_path / "s.zarr", ["HandstandPushups/v_HandStandPushups_g01_c01", "Surfing/v_Surfing_g01_c01"])
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 HandstandPushups\n2 Surfing\n")
    (lists / "trainlist01.txt").write_text("HandstandPushups/v_HandStandPushups_g01_c01.avi 1\n")
    (lists / "testlist01.txt").write_text("Surfing/v_Surfing_g01_c01.avi\n")
    assert names(UCF101(store)) == ["HandstandPushups/v_HandStandPushups_g01_c01"]
    assert UCF101(store, lists, train=False).targets.tolist() == [1]


def test_kinetics(tmp_path):
    store = write(tmp_path / "s.zarr", ["high_jump/abc_000001_000011", "surfing/def_000003_000013"])
    (tmp_path / "k.csv").write_text(
        "label,youtube_id,time_start,time_end,split\nhigh jump,abc,1,11,train\nsurfing,def,3,13,val\n"
    )
    train, validation = (Kinetics(store, tmp_path / "k.csv", split=split) for split in ("train", "val"))
    assert (names(train), names(validation)) == (["high_jump/abc_000001_000011"], ["surfing/def_000003_000013"])
    assert validation[0][0].equal(validation[0][0])
    assert len(Kinetics(store, tmp_path / "k.csv")) == 2
