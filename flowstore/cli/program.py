"""The command line: the group of commands, what their errors look like, and exit codes. A command is a module `cli_*`.

Exit codes: 0 all well; 1 the work was done but some videos failed, or it could not be finished; 2 wrong usage, or
refused before any work; 130 interrupted.
"""

from __future__ import annotations

import io
import signal
import sys
from typing import NoReturn

import click

from flowstore import __version__
from flowstore.cli.console import ERRORS, EXIT_STOPPED, WorkError, say, saying_warnings
from flowstore.cli.copy_ import copy
from flowstore.cli.demo import demo
from flowstore.cli.export import export
from flowstore.cli.extract import extract
from flowstore.cli.import_ import import_
from flowstore.cli.info import info
from flowstore.cli.render import render
from flowstore.cli.stats import stats
from flowstore.cli.verify import verify
from flowstore.errors import FlowStoreError

_EPILOG = """\b
Examples:
  flowstore demo                                 see it work, in a minute
  flowstore extract videos/ flow.zarr --dry-run  what there is to do
  flowstore extract videos/ flow.zarr            do it; again to resume
  flowstore info flow.zarr                       what is in it
  flowstore export flow.zarr out/                classic folders of JPEGs
\b
flowstore COMMAND --help shows its options; flowstore --version the version.
"""


class _Commands(click.Group):
    """Shows its commands in the order of the work, and all of its help on a screen of 24 lines."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
    no_args_is_help=True,
)
@click.version_option(__version__, prog_name="flowstore")
def cli() -> None:
    """Dense optical flow of video datasets in one chunked, indexed Zarr store."""


for command in (demo, extract, info, render, stats, export, import_, verify, copy):
    cli.add_command(command)


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> NoReturn:
    """Run the command line and exit."""
    # A job that a cluster's scheduler ends is told by SIGTERM: it stops as cleanly as by Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        # A path can hold bytes, and a terminal lack characters, that must not end a command.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    is_verbose = bool({"-v", "--verbose"} & set(sys.argv[1:]))
    try:
        with saying_warnings():
            code = cli.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        if not sys.argv[1:]:
            error.show()
        else:
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "flowstore"
            say(f"flowstore: {error.format_message()} (see {command} --help)")
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        say("stopped")
        sys.exit(EXIT_STOPPED)
    except MemoryError:
        if is_verbose:
            ERRORS.print_exception()
        say("flowstore: there is not enough memory for this; fewer --workers take less")
        sys.exit(1)
    except FlowStoreError as error:
        if is_verbose:
            ERRORS.print_exception()
        say(f"flowstore: {error}")
        sys.exit(1 if isinstance(error, WorkError) else 2)
