"""Runs the notebooks of examples/ and keeps what they show: python examples/images/record_notebooks.py"""

import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = sorted(Path(__file__).parents[1].glob("*.ipynb"))


def main() -> None:
    """Run each notebook in an empty folder and write it back with its outputs."""
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}}).execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # times of day
        notebook.metadata["language_info"] = {"name": "python"}
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
