"""The short form of benchmarks/bench_fidelity.py: its figures against formulas, and what is committed against it."""

import json
import math
import sys
from pathlib import Path

import bench_fidelity
import cv2
import numpy as np
import pytest
from bench_fidelity import FORMATS, Format, Sample, end_point_error

from flowstore.quantize import UINT8_ENCODINGS, Quantizer

BENCHMARKS = Path(bench_fidelity.__file__).parent


def spread_flow(bound, shape=(2, 256, 256)):
    """Flow whose components are spread evenly over ±bound."""
    return np.random.default_rng(0).uniform(-bound, bound, shape).astype(np.float32)


@pytest.mark.parametrize("encoding", UINT8_ENCODINGS)
@pytest.mark.parametrize("bound", [10.0, 20.0, 32.0])
def test_evenly_spread_flow_loses_what_the_formulas_say(encoding, bound):
    form = Format("any", Quantizer(encoding, bound))
    flow = spread_flow(bound)
    restored, _ = form.restore(flow)
    step = 2 * bound / (254 if encoding == "centred" else 255)
    component = np.abs(restored - flow)
    assert component.mean() == pytest.approx(step / 4, rel=0.01)
    assert component.max() <= step / 2 * (1 + 1e-3)
    # By integration over a fine grid, not by the closed form that the benchmark has.
    grid = (np.arange(1000) + 0.5) / 1000 - 0.5
    expected = np.hypot(grid[:, None], grid).mean() * step
    assert end_point_error(restored, flow).mean() == pytest.approx(expected, rel=0.01)
    assert form.expected_px == pytest.approx(expected, rel=1e-3)


def test_decoding_truncated_codes_by_anothers_rule_shifts_them_by_half_a_step():
    (form,) = [form for form in FORMATS if form.decoded_as]
    restored, _ = form.restore(spread_flow(20))
    assert (restored - spread_flow(20)).mean() == pytest.approx(-20 / 255, rel=0.02)


def test_clipping_costs_the_distance_to_the_bound():
    flow = np.zeros((2, 8, 8), np.float32)
    flow[0] = 14
    result = bench_fidelity.measure([Format("b10", Quantizer("centred", 10))], [Sample(flow)])["b10"]
    assert result["against_float_px"] == pytest.approx(4)
    assert result["clipped_share"] == 0.5


def test_bytes_are_those_of_the_files(tmp_path):
    flow = cv2.GaussianBlur(spread_flow(20, (96, 128, 2)), (0, 0), 5).transpose(2, 0, 1)
    quantizer = Quantizer("denseflow", 20)
    _, sizes = Format("jpeg", quantizer, 95).restore(flow)
    total = 0
    for number, plane in enumerate(quantizer.encode(flow)):
        path = tmp_path / f"{number}.jpg"
        cv2.imwrite(str(path), plane, [cv2.IMWRITE_JPEG_QUALITY, 95])
        total += path.stat().st_size
    assert sizes == {"files": total}


def test_the_short_form_runs_and_draws(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("FLOWSTORE_DATA", raising=False)
    picture, results = tmp_path / "f.png", tmp_path / "f.json"
    monkeypatch.setattr(sys, "argv", ["bench_fidelity.py", "--quick", "--plot", str(picture), "--json", str(results)])
    bench_fidelity.main()
    printed = capsys.readouterr().out
    assert "left out, for want of FLOWSTORE_DATA: KITTI 000010, real clips" in printed
    material = json.loads(results.read_text())["materials"]["scenes"]
    assert set(material["formats"]) == {form.name for form in FORMATS}
    for form in FORMATS:
        values = material["formats"][form.name]
        assert form.name in printed
        if form.expected_px is not None:
            # Flow of few distinct values does not spread evenly over a step: half a step either way is the limit.
            assert values["max_px"] <= math.sqrt(0.5) * form.quantizer.scale * (1 + 1e-3)
    assert material["formats"]["float16"]["against_float_px"] < 2e-3
    assert cv2.imread(str(picture)).shape[0] > 500


def test_what_is_committed_agrees_with_itself_and_with_the_format_list():
    materials = json.loads((BENCHMARKS / "results" / "fidelity.json").read_text())["materials"]
    table = (BENCHMARKS / "README.md").read_text()
    assert set(materials) == {"scenes", "KITTI 000010", "real clips"}
    for name, material in materials.items():
        assert set(material["formats"]) == {form.name for form in FORMATS}
        assert bench_fidelity.format_material(name, material, material["formats"]) in table
    kitti = materials["KITTI 000010"]["formats"]["centred ±20"]
    # Reckoned apart from this project: Farneback's error on the pair, and the share of pixels beyond ±20 px.
    assert kitti["float_against_truth_px"] == pytest.approx(4.79, abs=0.005)
    assert kitti["truth_clipped_share"] == pytest.approx(0.083, abs=0.0005)
