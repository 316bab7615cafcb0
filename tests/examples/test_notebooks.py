"""The notebooks of examples/ run from start to end, find what they say, and are committed with small outputs."""

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
LIMIT_S = 180
LARGEST_BYTES = 300_000

# What must hold at the end of each, computed in its kernel.
CLAIMS = {
    "compare_algorithms": [
        "{'Farneback, numba', 'Farneback, OpenCV', 'DIS ultrafast', 'DIS medium', 'TV-L1, numba'} <= set(estimators)",
        # Each finds motions below 10 px to 15 % of their speed.
        "(results[results.speed_px < 10].eval('error_px / speed_px') < 0.15).all()",
        "(results.ms > 0).all()",
        "equal > 0.999",
    ],
    "choose_bound_and_compression": [
        # The scenes' fastest point is a corner of a zoom or a rotation of 12 px at the middle of the longer sides.
        "best == 20",
        "clipped.is_monotonic_decreasing and clipped[32.0] == 0",
        "errors.idxmin() in (15.0, 20.0)",
        "abs(errors[20.0] / (0.3826 * 20 / 127) - 1) < 0.1",
        "sizes.kB_a_flow['none'] > sizes.kB_a_flow['fast'] > sizes.kB_a_flow['balanced'] > sizes.kB_a_flow['small']",
        "86.4 <= sizes.kB_a_flow['none'] < 86.5",  # 2 × 240 × 180 bytes, and checksums
        "(np.diff(bounded.kB_a_flow[:3]) < 0).all() and (np.diff(bounded.mean_error_px[:3]) > 0).all()",
        # A mean far below the largest error, which is that of each component.
        "(bounded.mean_error_px[:3] < step * np.array([0.4, 0.6, 0.85])).all()",
    ],
    "explore_store": [
        "len(videos) == 12 and len(flows) == videos.n_flows.sum() == 276",
        "by_class.index[0] == 'still' and by_class['still'] < 0.1",
        "all(key.endswith('_2') for key, _ in liveliest.index)",
        "clip.shape == (10, 2, 120, 160)",
        # Speeds of 1.5 and 3 px at 60 px from the center: divergence 2(e^r - 1) of a zoom, curl 2 sin r of a rotation.
        "np.allclose([rows[f'zoom/zoom_{n}'][1] for n in (1, 2)], 2 * np.expm1([0.025, 0.05]), rtol=0.05)",
        "np.allclose([rows[f'rotate/rotate_{n}'][2] for n in (1, 2)], 2 * np.sin([0.025, 0.05]), rtol=0.05)",
        "np.allclose([rows[f'right/right_{n}'][1:] for n in (1, 2)], 0, atol=0.005)",
        "fast.n_videos == 2",
    ],
}


class SamePython(AsyncKernelManager):
    """Kernels of the Python that runs the tests, whatever is registered on the machine."""

    @property
    def kernel_spec(self):
        return KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_finds_what_it_says(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(path, as_version=4)
    claims = CLAIMS[path.stem]
    for claim in claims:
        notebook.cells.append(nbformat.v4.new_code_cell(f"assert {claim}"))
    source = "import flowstore; print(flowstore.__file__)"
    notebook.cells.append(nbformat.v4.new_code_cell(source))
    client = NotebookClient(
        notebook,
        km=SamePython(),
        timeout=LIMIT_S,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert Path(outputs[-1]["text"].strip()).parent.parent == ROOT
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == sum(cell.source.rstrip().endswith("plt.show()") for cell in notebook.cells)
    assert not [output["text"] for output in outputs if output.get("name") == "stderr" and "Warning" in output["text"]]
    # Makes its own data, elsewhere.
    assert list(tmp_path.iterdir()) == []


def test_each_notebook_has_claims():
    assert [path.stem for path in NOTEBOOKS] == sorted(CLAIMS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_with_its_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        kinds = [output.output_type for output in cell.outputs]
        assert "error" not in kinds
        assert not [output for output in cell.outputs if output.get("name") == "stderr"]
        if cell.source.rstrip().endswith("plt.show()"):
            assert any("image/png" in output.get("data", {}) for output in cell.outputs)
        assert not re.search(r"/(home|root|tmp|Users|work)/", str(cell.outputs))
    assert path.stat().st_size < LARGEST_BYTES
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}


def test_the_index_links_every_notebook():
    index = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        assert f"]({path.name})" in index
