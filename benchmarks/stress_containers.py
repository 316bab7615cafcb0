"""Extracts a file of every container in every condition, and tells what was stored of each and what was said.

    python benchmarks/stress_containers.py

A whole file has to give a flow less than the frames that its demuxer counts, whatever its clock and sound; a cut or
holed one a failed row that says where. Ends with exit code 1 if one does not.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import av

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from datasets import command_line, process_environment
from video_files import CONDITIONS, CONTAINERS, make

import flowstore


def count_frames(data):
    """Return the packets of the video track, by PyAV's demuxer."""
    with av.open(io.BytesIO(data)) as file:
        return sum(1 for packet in file.demux(video=0) if packet.size)


def measure(containers, scheduler="processes", workers=2):
    """Extract every file; return a row for each."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for suffix in containers:
            for condition in CONDITIONS:
                made = make(suffix, condition)
                if made is not None:
                    # The class keeps the names of one condition apart: they differ in the suffix alone.
                    name = suffix.replace(".", "_")
                    path = root / "videos" / condition / f"{name}.{suffix.rpartition('.')[2]}"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(made.data)
                    rows.append({"container": suffix, "condition": condition, "name": f"{condition}/{name}"})
                    rows[-1] |= {"is_whole": made.is_whole, "n_frames": made.n_frames}
                    rows[-1]["n_counted"] = count_frames(made.data) if made.is_whole else None
        flags = ["--scheduler", scheduler, "--workers", str(workers), "--quiet", "--engine", "opencv"]
        ended = subprocess.run(
            command_line("extract", root / "videos", root / "flow.zarr", *flags),
            capture_output=True, text=True, env=process_environment(),
        )  # fmt: skip
        assert ended.returncode == 1, ended.stderr[-2000:]
        store = flowstore.open_store(root / "flow.zarr")
        for row in rows:
            record = store[row["name"]].record
            row |= {"n_flows": record.n_flows, "said": record.reason or "; ".join(record.warnings)}
            row["rate"] = f"{record.fps:.4g}{' variable' if record.times_s else ''}" if record.fps else ""
            stored = record.is_ok and record.n_flows == row["n_frames"] - 1 == row["n_counted"] - 1
            row["is_right"] = stored if row["is_whole"] else not record.is_ok
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the rows to this file too")
    parser.add_argument("--quick", action="store_true", help="two containers only")
    args = parser.parse_args()
    rows = measure(list(CONTAINERS)[:2] if args.quick else CONTAINERS)
    for row in rows:
        frames = f"{row['n_counted']} frames" if row["is_whole"] else f"of {row['n_frames']} frames"
        stored = f"{row['n_flows']} flows" if row["n_flows"] else "failed"
        mark = " " if row["is_right"] else "!"
        print(
            f"{mark} {row['container']:16} {row['condition']:14} {frames:13} {stored:9} {row['rate']:16} {row['said']}"
        )
    n_right = sum(row["is_right"] for row in rows)
    print(f"{n_right} of {len(rows)} as they should be")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    sys.exit(n_right < len(rows))


if __name__ == "__main__":
    main()
