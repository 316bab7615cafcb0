"""What is told and drawn of saved results, without running anything anew."""

import json
import sys
from pathlib import Path

import rehearse_hmdb51
from plot_overview import draw
from rehearse_hmdb51 import compare_sizes

RESULTS = Path(rehearse_hmdb51.__file__).parent / "results"
# 2 s for one video of 10 flows; then 3 ms a flow in a twentieth, and 6 in the whole.
STEPS = {
    "stats, one video": {"cpu_s": 2.0, "seconds": 4.0, "n_flows": 10},
    "stats, a twentieth": {"cpu_s": 2.3, "seconds": 4.6, "n_flows": 110},
    "stats": {"cpu_s": 14.0, "seconds": 28.0, "n_flows": 2010},
    "copy": {"cpu_s": 1.0, "seconds": 2.0, "n_flows": 2010},
}


def test_the_cost_of_a_flow_leaves_out_that_of_starting():
    assert compare_sizes(STEPS) == [["stats", "2.00", "6.000", "3.000", "2.00", "12.000", "6.000", "2.00"]]


def test_saved_results_are_told_again(tmp_path, capsys, monkeypatch):
    results = json.loads((RESULTS / "rehearse_hmdb51.json").read_text())
    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps(results | {"steps": STEPS}))
    monkeypatch.setattr(sys, "argv", ["rehearse_hmdb51.py", "--tell", str(saved)])
    rehearse_hmdb51.main()
    told = capsys.readouterr().out
    assert f"{results['videos']} files" in told
    assert [word.strip() for word in told.splitlines()[-1].split("|")[1:-1]] == compare_sizes(STEPS)[0]


def test_the_picture_is_drawn_from_saved_results(tmp_path):
    for name in ("rehearse_hmdb51", "loader", "read"):
        (tmp_path / f"{name}.json").write_text((RESULTS / f"{name}.json").read_text())
    draw(tmp_path)
    assert (tmp_path / "overview.png").stat().st_size > 10_000
