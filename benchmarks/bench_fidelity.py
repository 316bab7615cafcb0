"""What storing flow costs: end-point error against float flow and against the truth, and bytes a flow.

Each format stores the same flow, that of OpenCV's Farneback with its customary parameters, and is decoded again:

- uint8 in the encodings centred, denseflow and truncate at bounds of 10, 20 and 32 px, in chunks as a store has them;
- centred at 20 px with errors up to 0.16, 0.24 and 0.32 px (some 1, 1.5 and 2 steps), as `--max-error` chooses codes;
- float16, likewise;
- JPEG files of denseflow's codes at the same bounds, in quality 75, 95 and 100, two files a flow;
- truncate's codes decoded by denseflow's rule, which is what readers of JPEG folders often do.

The materials are scenes of known motion, KITTI's training pair 000010 with its ground truth, and real clips, whose
truth nobody knows. Four figures a format and material, end-point errors in pixels, means over pixels:

    against float   stored flow from the float flow it was made of: the format's own cost
    expected        the same by formula: 0.3826 steps, where rounding errors fill a square of one step evenly
    against truth   stored flow from the true motion; beside it stands float flow's own error
    truth stored    the true motion itself, stored, from the true motion: what a perfect estimator would lose

    python benchmarks/bench_fidelity.py [--plot FILE.png] [--json FILE] [--quick]

KITTI and the clips come from FLOWSTORE_DATA (truth/kitti/, videos/); without it they are left out, and it says so.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from clips import HEIGHT, WIDTH
from measuring import format_table, write_results

from flowstore.estimators import make_estimator
from flowstore.format.codec import codec_for
from flowstore.layouts.images import encode_plane
from flowstore.quantize import UINT8_ENCODINGS, Quantizer
from flowstore.quantize.encoder import CodeChooser
from flowstore.scenes import Scene
from flowstore.sources.listing import VIDEO_SUFFIXES

BOUNDS = 10.0, 20.0, 32.0
QUALITIES = 75, 95, 100
MAX_ERRORS = 0.16, 0.24, 0.32
# Mean distance from the center of a square of side 1 to its points.
MEAN_DISTANCE = (math.sqrt(2) + math.log(1 + math.sqrt(2))) / 6
# Where a scene's border leaves the picture its motion cannot be seen.
MARGIN = 32

LEGEND = """\
Errors are end-point errors in pixels, means over pixels; "clipped" is the share of components beyond the bound, "truth
clipped" that of pixels of which a component is. A flow is x and y together. `fast` and `balanced` are the store's
compressions, lossless; JPEG holds codes of `denseflow`, two files a flow, headers included, blocks of the file system
not."""
Flow = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Format:
    """A way to store flow: a quantizer, chunks of a store or JPEG files, and the rule by which it is decoded."""

    name: str
    quantizer: Quantizer
    quality: int | None = None
    max_error_px: float | None = None
    decoded_as: Quantizer | None = None

    def restore(self, flow: Flow) -> tuple[Flow, dict[str, int]]:
        """Return flow (2, H, W) as it comes back, and the bytes that it takes."""
        codes = self.quantizer.encode(flow)
        if self.max_error_px is not None:
            CodeChooser(self.quantizer, flow.shape, self.max_error_px).choose(np.ascontiguousarray(flow), codes)
        if self.quality is None:
            sizes = {name: len(codec_for(name, codes.dtype.name).encode(codes)) for name in ("fast", "balanced")}
        else:
            files = [encode_plane(plane, "jpg", self.quality) for plane in codes]
            codes = np.stack([cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) for data in files])
            sizes = {"files": sum(map(len, files))}
        return (self.decoded_as or self.quantizer).decode(codes), sizes

    @property
    def expected_px(self) -> float | None:
        """Mean end-point error of evenly spread flow that is not clipped, where a formula gives it."""
        if self.quantizer.bound_px is None or self.quality is not None or self.decoded_as is not None:
            return None
        if self.max_error_px is not None:
            return None
        return MEAN_DISTANCE * self.quantizer.scale


FORMATS = (
    *(Format(f"{encoding} ±{bound:g}", Quantizer(encoding, bound)) for bound in BOUNDS for encoding in UINT8_ENCODINGS),
    *(Format(f"centred ±20, max error {error}", Quantizer("centred", 20), max_error_px=error) for error in MAX_ERRORS),
    Format("truncate ±20, decoded as denseflow", Quantizer("truncate", 20), decoded_as=Quantizer("denseflow", 20)),
    *(
        Format(f"JPEG q{quality} ±{bound:g}", Quantizer("denseflow", bound), quality)
        for bound in BOUNDS
        for quality in QUALITIES
    ),
    Format("float16", Quantizer("float16", None)),
)


@dataclass(frozen=True)
class Sample:
    """One flow of a material: float flow (2, H, W), and where it is known the truth with its mask (H, W).

    A sparse truth is a picture with holes, of which JPEG's error means nothing.
    """

    flow: Flow
    truth: Flow | None = None
    mask: npt.NDArray[np.bool_] | None = None
    is_sparse: bool = False


def estimate(frames: Sequence[npt.NDArray[np.uint8]]) -> Flow:
    """Return Farneback's flow between two gray frames."""
    stream = make_estimator("farneback", "opencv").stream(*frames[0].shape)
    stream.push(frames[0])
    flow = stream.push(frames[1])
    assert flow is not None
    return flow.copy()


def scenes(height: int, width: int, speeds: Sequence[float]) -> Iterator[Sample]:
    """Yield scenes of known motion; errors against the truth leave out the border."""
    mask = np.zeros((height, width), bool)
    mask[MARGIN:-MARGIN, MARGIN:-MARGIN] = True
    for seed, speed in enumerate(speeds):
        for motion in ("right", "down", "rotate", "zoom"):
            scene = Scene(motion, height, width, speed, seed)
            frames = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in scene.frames(2)]
            yield Sample(estimate(frames), scene.flow(), mask)


def kitti(folder: Path) -> Iterator[Sample]:
    """Yield KITTI's pair 000010: flow of 16 bits as ``(u·64 + 2¹⁵, v·64 + 2¹⁵, valid)``, occluded pixels included."""
    frames = [cv2.imread(str(folder / f"kitti_000010_{number}.png"), cv2.IMREAD_GRAYSCALE) for number in (10, 11)]
    encoded = cv2.imread(str(folder / "kitti_occ_000010_10.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    truth = np.moveaxis((encoded[..., :2].astype(np.float32) - 2**15) / 64, 2, 0)
    yield Sample(estimate(frames), np.ascontiguousarray(truth), encoded[..., 2] > 0, is_sparse=True)


def clips(folder: Path, n_flows: int) -> Iterator[Sample]:
    """Yield flows of 320×240 spread over each real clip."""
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES):
        capture = cv2.VideoCapture(str(path))
        frames = []
        while (read := capture.read())[0]:
            gray = cv2.cvtColor(read[1], cv2.COLOR_BGR2GRAY)
            frames.append(cv2.resize(gray, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))
        capture.release()
        for number in np.linspace(0, len(frames) - 2, n_flows).astype(int):
            yield Sample(estimate(frames[number : number + 2]))


def end_point_error(found: Flow, wanted: Flow) -> npt.NDArray[np.float32]:
    """Return the distance of flow (2, H, W) from other flow, (H, W) in pixels."""
    return np.hypot(found[0] - wanted[0], found[1] - wanted[1])


def measure(formats: Sequence[Format], samples: Sequence[Sample]) -> dict[str, dict[str, float]]:
    """Return, for each format, errors in pixels, bytes a flow and the share of components beyond the bound."""
    results: dict[str, dict[str, float]] = {}
    for form in formats:
        rows = [_measure_one(form, sample) for sample in samples]
        results[form.name] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        results[form.name]["max_px"] = float(max(row["max_px"] for row in rows))
    return results


def _measure_one(form: Format, sample: Sample) -> dict[str, float]:
    restored, sizes = form.restore(sample.flow)
    error = end_point_error(restored, sample.flow)
    row = {
        "against_float_px": error.mean(dtype=np.float64),
        "max_px": error.max(),
        "clipped_share": sum(form.quantizer.count_clipped(sample.flow)) / sample.flow.size,
        **{f"bytes_{name}": size for name, size in sizes.items()},
    }
    if sample.truth is not None:
        mask = sample.mask
        row |= {
            "against_truth_px": end_point_error(restored, sample.truth)[mask].mean(dtype=np.float64),
            "float_against_truth_px": end_point_error(sample.flow, sample.truth)[mask].mean(dtype=np.float64),
            "truth_clipped_share": (np.abs(sample.truth) > form.quantizer.largest_kept).any(axis=0)[mask].mean(),
        }
        if form.quality is None or not sample.is_sparse:
            stored_truth, _ = form.restore(sample.truth)
            row["truth_stored_px"] = end_point_error(stored_truth, sample.truth)[mask].mean(dtype=np.float64)
    return row


def describe(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return what a material is: how many flows of which size, and how fast."""
    magnitudes = np.concatenate([np.hypot(*sample.flow).ravel() for sample in samples])
    height, width = samples[0].flow.shape[1:]
    return {
        "n_flows": len(samples),
        "height": height,
        "width": width,
        "mean_magnitude_px": float(magnitudes.mean(dtype=np.float64)),
        "max_magnitude_px": float(magnitudes.max()),
    }


def gather(is_quick: bool) -> dict[str, list[Sample]]:
    """Return the materials that are at hand."""
    height, width = (120, 160) if is_quick else (HEIGHT, WIDTH)
    materials = {"scenes": list(scenes(height, width, (2.3,) if is_quick else (2.3, 6.1, 14.0)))}
    data = os.environ.get("FLOWSTORE_DATA")
    truth = Path(data or "", "truth", "kitti")
    if data and truth.is_dir():
        materials["KITTI 000010"] = list(kitti(truth))
    if data and (found := list(clips(Path(data, "videos"), 2 if is_quick else 10))):
        materials["real clips"] = found
    return materials


def format_material(name: str, what: Mapping[str, Any], results: Mapping[str, Mapping[str, float]]) -> str:
    """Return a material's table, with a line that says what it is."""
    lines = [
        f"{name}: {what['n_flows']} flows of {what['width']}×{what['height']}, on average "
        f"{what['mean_magnitude_px']:.2f} px, at most {what['max_magnitude_px']:.1f} px."
    ]
    has_truth = "against_truth_px" in next(iter(results.values()))
    if has_truth:
        lines.append(f"Float flow is {next(iter(results.values()))['float_against_truth_px']:.4f} px from the truth.")
    header = ["format", "clipped %", "against float px", "expected px", "largest px"]
    header += ["against truth px", "truth clipped %", "truth stored px"] if has_truth else []
    header += ["kB fast", "kB balanced"]
    expected = {form.name: form.expected_px for form in FORMATS}
    rows = []
    for form, values in results.items():
        row = [
            form,
            f"{100 * values['clipped_share']:.3f}",
            f"{values['against_float_px']:.4f}",
            "" if expected[form] is None else f"{expected[form]:.4f}",
            f"{values['max_px']:.3f}",
        ]
        if has_truth:
            row += [f"{values['against_truth_px']:.4f}", f"{100 * values['truth_clipped_share']:.2f}"]
            row.append(f"{values['truth_stored_px']:.4f}" if "truth_stored_px" in values else "")
        if "bytes_files" in values:
            row += [f"{values['bytes_files'] / 1e3:.1f} (JPEG)", ""]
        else:
            row += [f"{values[f'bytes_{preset}'] / 1e3:.1f}" for preset in ("fast", "balanced")]
        rows.append(row)
    return " ".join(lines) + "\n\n" + format_table(header, rows)


def plot(materials: Mapping[str, Mapping[str, Any]], path: str) -> None:
    """Draw error against bytes: from float flow above, from the truth below. float16, far off, is named instead."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.lines import Line2D

    colors = dict(zip(BOUNDS, ("C0", "C1", "C2"), strict=True))
    markers: dict[str | int, str] = {
        "centred": "o",
        "denseflow": "D",
        "truncate": "^",
        "max": "*",
        75: "v",
        95: "s",
        100: "P",
    }
    n_columns = len(materials)
    figure, axes = pyplot.subplots(2, n_columns, figsize=(4.6 * n_columns, 8), squeeze=False, layout="constrained")
    for (name, material), column in zip(materials.items(), axes.T, strict=True):
        results = material["formats"]
        for one, key in zip(column, ("against_float_px", "against_truth_px"), strict=True):
            if key not in results["float16"]:
                one.axis("off")
                continue
            for bound, color in colors.items():
                forms = [form for form in FORMATS if form.quantizer.bound_px == bound and form.decoded_as is None]
                points = {form: (_kilobytes(results[form.name]), results[form.name][key]) for form in forms}
                for kind in ("quality", "max_error_px"):
                    line = [point for form, point in points.items() if getattr(form, kind)]
                    if line:
                        one.plot(*zip(*line, strict=True), color=color, linewidth=1, zorder=1)
                for form, point in points.items():
                    hollow = {"markerfacecolor": "white"} if form.quality else {}
                    marker = markers[form.quality or ("max" if form.max_error_px else form.quantizer.encoding)]
                    one.plot(*point, marker, color=color, **hollow)
            one.set(xscale="log", xlabel="kB a flow (x and y)")
            if key == "against_float_px":
                one.set(yscale="log")
            for axis in (one.xaxis, one.yaxis):
                if axis.get_scale() == "log":
                    axis.set_major_formatter("{x:g}")
                    axis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:e}"[0] in "2357" else "")
                axis.set_tick_params(which="both", labelsize=8)
            one.grid(True, which="both", color="0.92")
            one.margins(0.12, 0.2)
            half = f"float16: {results['float16'][key]:.3g} px, {_kilobytes(results['float16']):.0f} kB"
            one.annotate(half, (0.97, 0.97), xycoords="axes fraction", ha="right", va="top", fontsize=8)
        column[0].set(ylabel="mean error against float flow, px")
        column[0].set_title(f"{name}, {material['width']}×{material['height']}")
        if "float_against_truth_px" in results["float16"]:
            baseline = results["float16"]["float_against_truth_px"]
            column[1].axhline(baseline, color="0.3", linestyle="--", linewidth=1, zorder=0)
            column[1].set(ylabel="mean error against the truth, px")
    handles = [Line2D([], [], color=color, linewidth=5) for color in colors.values()]
    labels = [f"bound ±{bound:g} px" for bound in colors]
    for kind, marker in markers.items():
        face = "white" if isinstance(kind, int) else "0.3"
        handles.append(Line2D([], [], color="0.3", marker=marker, markerfacecolor=face, linestyle="none"))
        name = "centred, max error 0.16 to 0.32 px" if kind == "max" else kind
        labels.append(f"JPEG, quality {kind}" if isinstance(kind, int) else f"store, {name}")
    handles.append(Line2D([], [], color="0.3", linestyle="--"))
    labels.append("float flow against the truth")
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    figure.suptitle("What storing optical flow costs")
    figure.savefig(path, dpi=110)


def _kilobytes(values: Mapping[str, float]) -> float:
    return values.get("bytes_files", values.get("bytes_fast", 0.0)) / 1e3


def run(is_quick: bool = False) -> dict[str, dict[str, Any]]:
    """Measure every format on every material that is at hand."""
    return {
        name: describe(samples) | {"formats": measure(FORMATS, samples)} for name, samples in gather(is_quick).items()
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few and small flows")
    parser.add_argument("--plot", help="draw error against bytes to this PNG")
    parser.add_argument("--json", help="write the results to this file")
    options = parser.parse_args()
    materials = run(options.quick)
    missing = {"KITTI 000010", "real clips"} - set(materials)
    if missing:
        print(f"left out, for want of FLOWSTORE_DATA: {', '.join(sorted(missing))}\n")
    tables = [format_material(name, material, material["formats"]) for name, material in materials.items()]
    print("\n\n".join([LEGEND, *tables]))
    if options.plot:
        plot(materials, options.plot)
    write_results(options.json, "fidelity", {"materials": materials})


if __name__ == "__main__":
    main()
