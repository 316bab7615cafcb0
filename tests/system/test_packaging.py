"""The wheel: it holds what it should, and runs where nothing but its own dependencies is installed."""

import email
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Without its library each of these says at once which extra to install.
NEED_AN_EXTRA = dict.fromkeys(("loaders", "datasets"), "pip install 'flowstore[torch]'")


def done(*command, **options):
    """Run a command that has to succeed; return what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=environment, timeout=600, **options
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    done(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    (archive,) = folder.glob("*.tar.gz")
    assert archive.stat().st_size < 5e6
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_its_metadata(wheel):
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
        (metadata,) = (name for name in names if name.endswith("/METADATA"))
        fields = email.message_from_bytes(content.read(metadata))
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "flowstore").rglob("*.py")}
    assert {name for name in names if name.startswith("flowstore/")} == modules | {"flowstore/py.typed"}
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert fields["Requires-Python"] == ">=3.11"
    assert "Typing :: Typed" in fields.get_all("Classifier")
    assert fields["License-Expression"] == "MIT"
    assert fields.get_payload().startswith("# flowstore")


@pytest.mark.slow
def test_the_wheel_runs_in_an_empty_environment(wheel, tmp_path):
    environment = tmp_path / "venv"
    done(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    # What is imported is compiled then, and nothing else.
    done(*pip, "install", "-q", "--no-compile", wheel)
    assert "pandas" not in done(*pip, "list")
    said = done(environment / "bin" / "flowstore", "demo", "demo", cwd=tmp_path)
    assert "mean error" in said
    names = sorted(path.stem for path in (ROOT / "flowstore").glob("*.py") if not path.stem.startswith("__"))
    program = (
        "import importlib, sys\n"
        "from flowstore.errors import MissingExtraError\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        importlib.import_module(f'flowstore.{name}')\n"
        "    except MissingExtraError as error:\n"
        "        print(name, error)\n"
    )
    refused = done(python, "-c", program, *names, cwd=tmp_path).splitlines()
    assert {line.split()[0] for line in refused} == set(NEED_AN_EXTRA)
    for line in refused:
        assert NEED_AN_EXTRA[line.split()[0]] in line
