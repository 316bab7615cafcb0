"""The page of results: every benchmark runs in its small form, and the page shows what each printed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import process_environment

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import run_all  # noqa: E402


def test_every_benchmark_is_on_the_page():
    scripts = {path.stem.removeprefix("bench_") for path in BENCHMARKS.glob("bench_*.py")}
    scripts |= {path.stem for path in BENCHMARKS.glob("stress_*.py")}
    scripts |= {path.stem for path in BENCHMARKS.glob("rehearse_*.py")}
    assert {benchmark.name for benchmark in run_all.BENCHMARKS} == scripts


def has_torchvision():
    return subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [benchmark.name for benchmark in run_all.BENCHMARKS])
def test_it_runs_in_its_small_form(name, tmp_path):
    if name in ("loader", "rehearse_hmdb51", "stress_draws", "stress_loader"):
        pytest.importorskip("torch", reason="needs PyTorch, which is installed up to Python 3.11")
    if name == "raft" and not has_torchvision():
        pytest.skip("torchvision is not installed, or was built for another torch than the one here")
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "run_all.py", name, "--quick", "--out", tmp_path],
        capture_output=True, text=True, env=process_environment(), timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (benchmark,) = (benchmark for benchmark in run_all.BENCHMARKS if benchmark.name == name)
    page = (tmp_path / "README.md").read_text()
    assert f"## {benchmark.question}" in page
    assert f"`python benchmarks/{benchmark.script.name}" in page
    kept = (tmp_path / "results" / f"{name}.md").read_text()
    assert kept in page
    assert len(kept.splitlines()) > 2
    if benchmark.has_json:
        assert json.loads((tmp_path / "results" / f"{name}.json").read_text())
    if benchmark.has_plot:
        assert (tmp_path / "results" / f"{name}.png").stat().st_size > 10_000


def test_an_unknown_name_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_all.py", "speed", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        run_all.main()
    assert ended.value.code == 2
    assert "no benchmark 'speed'; there are rehearse_hmdb51, " in capsys.readouterr().err
