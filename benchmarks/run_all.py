"""Runs every benchmark and writes the page of their results, benchmarks/README.md: no number on it is typed by hand.

    FLOWSTORE_DATA=clips python benchmarks/run_all.py            # everything, in full: an hour
    python benchmarks/run_all.py read loader                     # these two anew, the others as they were
    python benchmarks/run_all.py --quick --out /tmp/results      # all of it, small: to see that it runs

What a benchmark printed is kept in results/NAME.md, its figures in results/NAME.json, its plot in results/NAME.png.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Benchmark:
    """A script of this folder, and what it is given for the page and for a quick look."""

    name: str
    question: str
    full: tuple[str, ...] = ()
    quick: tuple[str, ...] = ("--quick",)
    has_json: bool = True
    has_plot: bool = False

    @property
    def script(self) -> Path:
        """The file of that name, a benchmark or a stress test."""
        return next(path for path in (HERE / f"bench_{self.name}.py", HERE / f"{self.name}.py") if path.exists())


BENCHMARKS = (
    Benchmark(
        "rehearse_hmdb51", "What does the whole job take, from files to a trained epoch?", full=("--share", "0.05")
    ),
    Benchmark(
        "farneback",
        "How fast is the Farnebäck kernel, and is its flow OpenCV's?",
        quick=("--rounds", "2", "--pairs", "2"),
    ),
    Benchmark("agreement", "How near are the Farnebäck kernel's codes to OpenCV's, over many clips?"),
    Benchmark(
        "tvl1",
        "How fast is the TV-L1 kernel, and what does which algorithm cost and give?",
        full=("--rounds", "3", "--pairs", "3"),
        has_plot=True,
    ),
    Benchmark(
        "raft",
        "What does RAFT cost through flowstore, beside the model called by hand?",
        full=("--rounds", "3", "--pairs", "2"),
    ),
    Benchmark("extract", "How long does a dataset take, against the loop that people write?"),
    Benchmark("scaling", "What does a video cost beyond its flow, and do ten times as many take ten times as long?"),
    Benchmark("many_tasks", "What does a run over very many videos take?"),
    Benchmark("read", "How fast are random clips, against a folder of JPEGs?"),
    Benchmark("loader", "The same through a DataLoader with workers?"),
    Benchmark("many_videos", "Does a store of very many videos open and train as fast as a small one?"),
    Benchmark("compression", "What does each `--compression` cost and save?", has_plot=True),
    Benchmark("export", "How fast do the classic folders come out?", quick=("--rounds", "1", "--repeat", "1")),
    Benchmark("stats", "How fast are the statistics of a whole store?"),
    Benchmark("fidelity", "What does quantizing flow cost in accuracy?", has_plot=True),
    Benchmark("stress_inputs", "Does every broken file end in its row?", quick=("--count", "40"), has_json=False),
    Benchmark(
        "stress_kill", "Is anything lost when a run is killed at random?", quick=("--kills", "3"), has_json=False
    ),
    Benchmark("stress_bits", "Is every flipped bit found?", quick=("--count", "30"), has_json=False),
    Benchmark("stress_containers", "Does every container in every condition give its frames or its row?"),
    Benchmark("stress_draws", "How many different clips does a training draw?", quick=(), has_json=False),
    Benchmark(
        "stress_loader",
        "Does a long training keep its memory, and what is left of a killed one?",
        quick=("--batches", "120"),
        has_json=False,
    ),
)


def run(benchmark: Benchmark, results: Path, is_quick: bool) -> int:
    """Run a benchmark and keep what it printed, with its command and date; return its exit code."""
    arguments = list(benchmark.quick if is_quick else benchmark.full)
    shown = ["python", f"benchmarks/{benchmark.script.name}", *arguments]
    if benchmark.has_json:
        arguments += ["--json", str(results / f"{benchmark.name}.json")]
    if benchmark.has_plot:
        arguments += ["--plot", str(results / f"{benchmark.name}.png")]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(benchmark.script), *arguments], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode == 0:
        lines = [
            f"{datetime.now(UTC).date()}, {time.monotonic() - started:.0f} s, `{' '.join(shown)}`",
            "",
            done.stdout.strip(),
            "",
        ]
        (results / f"{benchmark.name}.md").write_text("\n".join(lines))
    return done.returncode


def write_page(folder: Path) -> None:
    """Write the page of what is kept."""
    lines = [
        "# Benchmarks",
        "",
        "Each section is what its benchmark printed the last time; `python benchmarks/run_all.py` makes the page. Both",
        "sides of a comparison run in turn, on the same data to the same end point, and their outputs are compared",
        "before they are timed. Trust the ratios more than the milliseconds.",
        "",
    ]
    if all((folder / "results" / f"{name}.json").exists() for name in ("rehearse_hmdb51", "loader", "read")):
        from plot_overview import draw

        draw(folder / "results")
        lines += ["![Hours, clips per second and gigabytes](results/overview.png)", ""]
    for benchmark in BENCHMARKS:
        kept = folder / "results" / f"{benchmark.name}.md"
        if not kept.exists():
            continue
        summary = ast.get_docstring(ast.parse(benchmark.script.read_text()))
        about = (summary or "").partition("\n")[0]
        lines += [f"## {benchmark.question}", "", about, "", kept.read_text()]
        if (folder / "results" / f"{benchmark.name}.png").exists():
            lines += [f"![{benchmark.question}](results/{benchmark.name}.png)", ""]
    (folder / "README.md").write_text("\n".join(lines).rstrip() + "\n")


def main() -> int:
    """Run benchmarks and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these; all by default")
    parser.add_argument("--quick", action="store_true", help="small and short: figures that mean nothing")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the page; this one by default")
    options = parser.parse_args()
    known = [benchmark.name for benchmark in BENCHMARKS]
    for name in options.names:
        if name not in known:
            parser.error(f"no benchmark {name!r}; there are {', '.join(known)}")
    results = options.out / "results"
    results.mkdir(parents=True, exist_ok=True)
    failed = []
    for benchmark in BENCHMARKS:
        if options.names and benchmark.name not in options.names:
            continue
        print(f"{benchmark.name} ...", flush=True)
        if run(benchmark, results, options.quick):
            failed.append(benchmark.name)
    write_page(options.out)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
