"""The main promise to those who come from the notebook: the same files, byte for byte."""

import importlib.util
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from flowstore.export import export
from flowstore.pipeline import extract

REFERENCE = Path(__file__).parents[2] / "benchmarks" / "notebook_loop.py"

NAMES = {
    "fencing": [
        "Die_Another_Day_-_Fencing_Scene_Part_1_[HD]_avi_fencing_f_cm_np2_le_goo_0",
        "plain",
    ],
    "situp": ["Ab_Workout__(_6_pack_abs_)_[_ab_exercises_]_situp", "[HD]", "100%25 ünïcode & 'quotes'"],
}


def load_reference():
    spec = importlib.util.spec_from_file_location("notebook_loop", REFERENCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_frames(folder: Path, seed: int, n_frames: int) -> list[str]:
    """Write JPEG frames of a blob texture that moves fast enough to be clipped at 20 px here and there."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(seed).integers(0, 256, (120, 240, 3), np.uint8)
    texture = cv2.GaussianBlur(noise, (0, 0), 4)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    paths = []
    for number in range(n_frames):
        frame = texture[10 : 10 + 72, 5 + 9 * number % 100 :][:, :96]
        paths.append(str(folder / f"img_{number + 1}.jpg"))
        assert cv2.imwrite(paths[-1], frame)
    return paths


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.jpg")}


@pytest.mark.parametrize("scheduler", ["sync", "threads", pytest.param("processes", marks=pytest.mark.system)])
def test_export_equals_the_notebooks_files(tmp_path, scheduler):
    reference, expected = load_reference(), tmp_path / "expected"
    n_flows = 0
    for class_name, names in NAMES.items():
        for seed, name in enumerate(names):
            files = write_frames(tmp_path / "frames" / class_name / name, seed, n_frames=12)
            n_flows += reference.convert_folder(files, str(expected / class_name / name))
    report = extract(
        tmp_path / "frames",
        tmp_path / "flow.zarr",
        engine="opencv",
        encoding="truncate",
        scheduler=scheduler,
        workers=2,
    )
    assert report.n_flows == n_flows == 55
    exported = export(tmp_path / "flow.zarr", tmp_path / "images", "notebook", scheduler=scheduler, workers=2)
    assert exported.encoding_note == "truncate codes as stored"
    assert tree(tmp_path / "images") == tree(expected)
    assert len(tree(expected)) == 2 * n_flows


def test_parity_on_real_frames(tmp_path, real_data):
    frames = [p for p in sorted((real_data / "frames" / "mmaction2").iterdir()) if p.name.startswith("img_")]
    folder = tmp_path / "frames" / "kinetics" / "clip"
    folder.mkdir(parents=True)
    for path in frames:
        shutil.copy(path, folder)
    load_reference().convert_folder(
        [str(folder / path.name) for path in frames], str(tmp_path / "expected/kinetics/clip")
    )
    extract(tmp_path / "frames", tmp_path / "flow.zarr", engine="opencv", encoding="truncate")
    export(tmp_path / "flow.zarr", tmp_path / "images", "notebook")
    assert tree(tmp_path / "images") == tree(tmp_path / "expected")


def test_flow_images_written_into_the_frame_folder_are_not_frames(tmp_path):
    """The notebook writes its output where it reads: a second look must not take flow for frames."""
    files = write_frames(tmp_path / "frames" / "c" / "v", 3, n_frames=6)
    load_reference().convert_folder(files, str(tmp_path / "frames" / "c" / "v"))
    load_reference().convert_folder(files, str(tmp_path / "frames" / "c" / "v" / "flows"))
    report = extract(tmp_path / "frames", tmp_path / "flow.zarr", engine="opencv")
    assert (report.n_extracted, report.n_flows, report.failures) == (1, 5, ())
