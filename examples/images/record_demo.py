"""Records what `flowstore demo` and `flowstore info` print on a terminal: python examples/images/record_demo.py"""

import io
import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 96
COMMANDS = ("flowstore demo", "flowstore info flowstore-demo/flow.zarr")


def run_on_terminal(command: str, folder: str) -> str:
    """Return what a command prints on a terminal, its escapes too, without the progress that it takes away again."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
    with subprocess.Popen(
        [sys.executable, "-m", *command.split()],
        stdout=follower,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=environment,
    ) as process:
        os.close(follower)
        printed = b""
        while process.poll() is None or printed[-1:] != b"\n":
            try:
                printed += os.read(leader, 65536)
            except OSError:
                break
    return printed.decode().replace("\r\n", "\n").replace(f"{folder}/", "")


def main() -> None:
    """Write demo.svg beside this file."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        for command in COMMANDS:
            console.print(Text.assemble(("$ ", "green"), (command, "bold")))
            console.print(Text.from_ansi(run_on_terminal(command, os.path.realpath(folder))))
    picture = console.export_svg(title="flowstore")
    # Fonts of the viewer's own: a picture asks no network for anything.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    (Path(__file__).parent / "demo.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
