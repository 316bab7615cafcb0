"""``--max-error`` from the command to the store: recorded, kept to, the same by any scheduler."""

import json

import numpy as np
import pytest
from datasets import call, write_dataset, write_frames
from interrupted import content

import flowstore
from flowstore.pipeline import extract
from flowstore.stats import stats
from flowstore.verify import verify

STEP_PX = 20 / 127


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("max_error") / "videos"
    write_dataset(folder, n_videos=2)
    write_frames(folder / "wave" / "still", 1, seed=7)
    frame = (folder / "wave" / "still" / "img_00001.jpg").read_bytes()
    for number in range(2, 5):
        (folder / "wave" / "still" / f"img_{number:05d}.jpg").write_bytes(frame)
    return folder


@pytest.fixture(scope="module")
def exact(source):
    extract(source, source.parent / "float.zarr", dtype="float16", scheduler="sync")
    return flowstore.open_store(source.parent / "float.zarr")


def largest_difference(store, exact):
    """From flow as it was computed, of what lies within the bound."""
    return max(
        float(np.abs(video[:].astype(np.float64) - np.clip(exact[video.key][:], -20, 20)).max())
        for video in flowstore.open_store(store).iter_videos()
    )


@pytest.mark.parametrize("engine", ["numba", "opencv"])
def test_every_scheduler_writes_the_same_bytes_within_the_error(source, exact, tmp_path, engine):
    stores = [tmp_path / f"{scheduler}.zarr" for scheduler in ("sync", "threads", "processes")]
    for store in stores:
        options = ["--engine", engine, "--scheduler", store.stem, "--workers", "2"]
        assert call("extract", source, store, "--max-error", "0.3", *options).code == 0
        assert content(store) == content(stores[0])
    # float16 rounds what it is compared with, and OpenCV's flow differs from that of the kernel a little.
    assert STEP_PX < largest_difference(stores[0], exact) <= 0.3 + 0.02
    assert not flowstore.open_store(stores[0])["wave/still"][:].any()
    report = verify(stores[0], source=source, deep=True)
    assert report.is_all_well
    assert report.notes == ("5 videos extracted again: the flow of 5 is within the 0.3 px that its settings allow",)


def test_it_is_recorded_and_another_is_refused(source, tmp_path):
    store, plain = tmp_path / "flow.zarr", tmp_path / "plain.zarr"
    assert call("extract", source, store, "--max-error", "0.16", "--limit", "1").code == 0
    assert json.loads((store / "zarr.json").read_bytes())["attributes"]["flowstore"]["settings"]["max_error_px"] == 0.16
    assert "error up to 0.16 px" in call("info", store).out
    refused = call("extract", source, store, "--max-error", str(STEP_PX / 2))
    assert refused.code == 2
    assert "max_error_px: 0.16 against 0.0787" in refused.err
    assert call("extract", source, store, "--max-error", "0.16", "--limit", "2").code == 0
    assert call("extract", source, store).code == 0

    # Half a step is what a store without the option means, and what it says on disk.
    assert call("extract", source, plain, "--limit", "1").code == 0
    assert "max_error_px" not in (plain / "zarr.json").read_text()
    assert "error up to 0.07874 px" in call("info", plain).out
    assert call("extract", source, plain, "--max-error", str(STEP_PX / 2), "--limit", "2").code == 0


@pytest.mark.parametrize("options", [("--max-error", "0.07"), ("--max-error", "0.2", "--dtype", "float16")])
def test_what_cannot_be_kept_to_is_refused_before_any_work(source, tmp_path, options):
    refused = call("extract", source, tmp_path / "flow.zarr", *options)
    assert refused.code == 2
    assert "max error" in refused.err
    assert not (tmp_path / "flow.zarr").exists()


def test_shares_beyond_a_bound_allow_for_the_error(source, exact, tmp_path):
    extract(source, tmp_path / "flow.zarr", max_error=0.5, scheduler="sync")
    report = stats(tmp_path / "flow.zarr", bounds=[0.5, 1.0])
    flow = np.concatenate([video[:].ravel() for video in exact.iter_videos()])
    for share in report.clipped:
        assert share.at_least <= (np.abs(flow) > share.bound_px + 0.01).mean() <= share.at_most


@pytest.mark.parametrize("encoding", ["centred", "denseflow", "truncate"])
def test_a_copy_adds_its_error_to_what_was_there_and_says_the_sum(source, exact, tmp_path, encoding):
    store, dest = tmp_path / "flow.zarr", tmp_path / "copy.zarr"
    extract(source, store, encoding=encoding, scheduler="sync")
    assert call("copy", store, dest, "--max-error", "0.1").code == 2
    planned = call("copy", store, dest, "--max-error", "0.3", "--compression", "balanced", "--dry-run")
    total = f"{0.3 + flowstore.open_store(store).settings.quantizer.scale / 2:.4g}"
    assert "up to 0.3 px from the stored flow; on top of its own" in planned.out
    assert f"that is {total} px" in planned.out
    assert call("copy", store, dest, "--max-error", "0.3", "--compression", "balanced").code == 0
    assert f"error up to {total} px" in call("info", dest).out
    ours, theirs = flowstore.open_store(store), flowstore.open_store(dest)
    for video in theirs.iter_videos():
        stored, lowest = ours[video.key], ours.settings.quantizer.lowest_code
        added = np.abs(video[:].astype(np.float64) - stored[:])
        assert added.max() <= 0.3 + 1e-6
        fixed = np.isin(stored.codes[:], [lowest, 255, ours.settings.quantizer.zero_code])
        assert not added[fixed].any()
        assert video.record.statistics == stored.record.statistics
    assert any((video.codes[:] != ours[video.key].codes[:]).any() for video in theirs.iter_videos())
    assert verify(dest, source=source, deep=True).is_all_well
    exported = call("export", dest, tmp_path / "npy", "--layout", "npy", "--dry-run")
    assert f"within {float(total):.3g} px of the float flow" in exported.out
    assert call("copy", store, dest, "--max-error", "0.3", "--compression", "balanced").code == 0
    refused = call("copy", store, dest)
    assert refused.code == 2
    assert "max_error_px" in refused.err


def test_files_of_pixels_are_imported_within_the_error(source, exact, tmp_path):
    assert call("export", source.parent / "float.zarr", tmp_path / "flo", "--layout", "flo").code == 0
    store = tmp_path / "flow.zarr"
    options = ["--bound", "20", "--store-encoding", "centred", "--max-error", "0.3"]
    planned = call("import", tmp_path / "flo", store, *options, "--dry-run")
    assert "encoded as centred ±20 px, within 0.3 px of the float flow" in planned.out
    assert call("import", tmp_path / "flo", store, *options).code == 0
    assert STEP_PX < largest_difference(store, exact) <= 0.3 + 1e-6
    assert "error up to 0.3 px" in call("info", store).out


def test_files_of_codes_refuse_it(source, tmp_path):
    extract(source, tmp_path / "flow.zarr", scheduler="sync")
    assert call("export", tmp_path / "flow.zarr", tmp_path / "jpg", "--layout", "denseflow").code == 0
    assert call("import", tmp_path / "jpg", tmp_path / "jpg.zarr").code == 0
    assert "error up to" not in call("info", tmp_path / "jpg.zarr").out
    refused = call("import", tmp_path / "jpg", tmp_path / "back.zarr", "--max-error", "0.3")
    assert refused.code == 2
    assert "max error is for files of pixels, and those of layout denseflow hold denseflow codes" in refused.err
