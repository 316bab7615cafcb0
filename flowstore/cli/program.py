"""The command line: the group of commands, what their errors look like, and exit codes.

Exit codes: 0 all well; 1 the work was done but some videos failed, or it could not be finished; 2 wrong usage, or
refused before any work; 130 interrupted.
"""

from __future__ import annotations

import io
import signal
import sys
from importlib import import_module
from typing import NoReturn

import click
from click.shell_completion import CompletionItem

from flowstore import __version__
from flowstore.cli.console import EXIT_STOPPED, WorkError, say, saying_warnings, stderr_console
from flowstore.cli.help import FittedContext
from flowstore.errors import FlowStoreError

_EXAMPLES = (
    ("flowstore demo", "see it work, in a minute"),
    ("flowstore extract videos/ flow.zarr --dry-run", "what there is to do"),
    ("flowstore extract videos/ flow.zarr", "do it; again to resume"),
    ("flowstore export flow.zarr out/", "classic folders of JPEGs"),
)
_LAST_LINE = "flowstore COMMAND --help shows its options; flowstore --version the version."


# In the order of the work: where each command is, which is loaded when it is called, and what it does.
_COMMANDS = {
    "demo": ("demo", "Run the whole job on a small dataset that it makes."),
    "extract": ("extract", "Compute the flow of videos into a store."),
    "info": ("info", "Show what is in a store, a class or a video."),
    "render": ("render", "Draw flow as a picture, a film or a contact sheet."),
    "stats": ("stats", "Count motion: by class, for training, for bounds."),
    "export": ("export", "Write flow as JPEG folders, npy, flo and the like."),
    "import": ("import_", "Turn folders of flow files into a store."),
    "verify": ("verify", "Find what is damaged, and repair it."),
    "copy": ("copy_", "Copy a store: to a folder, a .zip, S3; or packed anew."),
    "remove": ("remove", "Take videos or classes out of a store."),
}


class _Commands(click.Group):
    """Loads a command when it is called; shows all of its help on a screen of 24 lines."""

    context_class = FittedContext

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = _COMMANDS[cmd_name][0]
        command: click.Command = import_module(f"flowstore.cli.{module}").command
        command.context_class = FittedContext
        return command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in _COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            formatter.write_dl(_EXAMPLES, col_max=50)
        formatter.write_paragraph()
        formatter.write_text(_LAST_LINE)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        commands = [(name, text) for name, (_, text) in _COMMANDS.items() if name.startswith(incomplete)]
        return [CompletionItem(name, help=text) for name, text in commands] + click.Command.shell_complete(
            self, ctx, incomplete
        )


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
)
@click.version_option(__version__, prog_name="flowstore")
def cli() -> None:
    """Dense optical flow of video datasets in one chunked, indexed Zarr store."""


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
            stderr_console().print_exception()
        say("flowstore: there is not enough memory for this; fewer --workers take less")
        sys.exit(1)
    except FlowStoreError as error:
        if is_verbose:
            stderr_console().print_exception()
        say(f"flowstore: {error}")
        sys.exit(1 if isinstance(error, WorkError) else 2)
