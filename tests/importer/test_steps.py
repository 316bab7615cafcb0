"""Flow of a step above 1 comes back from every layout, whether or not its names tell the step."""

import numpy as np
import pytest
from layout_files import smooth_flow
from store_factory import settings_of, write_store

import flowstore
from flowstore.export import export
from flowstore.importer import import_flow
from flowstore.layouts import LAYOUTS
from flowstore.quantize import Quantizer


@pytest.mark.parametrize("pad_last", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_step_two_comes_back(tmp_path, layout, pad_last):
    flows = {"wave/a": smooth_flow(5), "run/b": smooth_flow(1)}
    codes = {key: Quantizer("denseflow", 20.0).encode(flow) for key, flow in flows.items()}
    write_store(tmp_path / "a", codes, settings=settings_of("denseflow", step=2))
    export(tmp_path / "a", tmp_path / "files", layout, pad_last=pad_last, scheduler="sync")
    report = import_flow(tmp_path / "files", tmp_path / "b", scheduler="sync")
    assert report.is_all_well
    store = flowstore.open_store(tmp_path / "b")
    assert store.settings.step == 2
    found = {video.name: (video.n_flows, video.record.n_frames) for video in store.iter_videos()}
    assert found == {"a": (5, 7), "b": (1, 3)}


def test_a_step_that_is_said_is_taken(tmp_path):
    write_store(tmp_path / "a", {"wave/a": np.full((4, 2, 24, 32), 130, np.uint8)}, settings=settings_of("denseflow"))
    export(tmp_path / "a", tmp_path / "files", "tsn", scheduler="sync")
    (tmp_path / "files" / "flowstore-export.json").unlink()
    import_flow(tmp_path / "files", tmp_path / "b", "tsn", bound=20, step=3, scheduler="sync")
    store = flowstore.open_store(tmp_path / "b")
    assert (store.settings.step, store["unlabeled/a"].record.n_frames) == (3, 7)
