"""Runs the notebooks of examples/ and keeps what they show: python examples/images/record_notebooks.py"""

import base64
import io
import os
import re
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

WIDEST, LARGE = 640, 100_000
NOTEBOOKS = sorted(Path(__file__).parents[1].glob("*.ipynb"))


def smaller(png: str) -> str:
    """Return a picture, as base64, at most 640 pixels wide; in 256 colors if it is large all the same."""
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    image.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
    few = image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    packed = []
    for picture in (image, few):
        file = io.BytesIO()
        picture.save(file, "png", optimize=True)
        packed.append(base64.b64encode(file.getvalue()).decode())
    return packed[0] if len(packed[0]) < LARGE else packed[1]


def kept(output: NotebookNode) -> NotebookNode:
    """Return an output without the folder that this run made, and with small pictures."""
    folder = re.escape(tempfile.gettempdir()) + r"/tmp\w+/"
    if "text" in output:
        output["text"] = re.sub(folder, "", output["text"])
    for kind, content in output.get("data", {}).items():
        output["data"][kind] = smaller(content) if kind == "image/png" else re.sub(folder, "", content)
    return output


def main() -> None:
    """Run each notebook in an empty folder and write it back with its outputs."""
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}}).execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # times of day
            if cell.cell_type == "code":
                cell.outputs = [kept(output) for output in cell.outputs if output.get("name") != "stderr"]
        notebook.metadata["language_info"] = {"name": "python"}
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
