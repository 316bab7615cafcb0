"""What a command says, to whom, and which errors are no refusals: results to stdout, all else to stderr."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import click

from flowstore.errors import ClusterError, ExportError, FlowStoreError, FlowStoreWarning, StoreError
from flowstore.names import count_text, printable_name

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

EXIT_STOPPED = 130
_PIPED_COLUMNS = 10_000


@functools.cache
def stderr_console() -> Console:
    """Return the console of stderr, for progress and tracebacks."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


class WorkError(FlowStoreError):
    """The work had begun and could not be finished."""


@contextlib.contextmanager
def working(resumes: bool = False) -> Iterator[None]:
    """Mark the part of a command in which work is done, so that an error there is no refusal.

    `resumes`: the same command goes on from what was finished.
    """
    try:
        yield
    except (StoreError, ExportError, ClusterError) as error:
        raise WorkError(str(error)) from error
    except KeyboardInterrupt:
        # Ends the line in which a terminal shows ^C.
        click.echo(err=True)
        say("stopped; what was finished is kept, and the same command goes on from there" if resumes else "stopped")
        sys.exit(EXIT_STOPPED)


def say(text: str) -> None:
    """Print lines for people, to stderr."""
    _print_fitted(text, sys.stderr)


def print_text(text: str) -> None:
    """Print lines of a result, to stdout."""
    _print_fitted(text, sys.stdout)


def _print_fitted(text: str, stream: TextIO) -> None:
    if stream.isatty():
        from flowstore.terminal import fit_lines, terminal_columns

        text = fit_lines(text, terminal_columns(stream))
    click.echo(text, stream)


def print_shown(*parts: RenderableType) -> None:
    """Print texts and tables of a result, to stdout."""
    from rich.console import Console

    from flowstore.terminal import terminal_columns

    # A program that reads them, such as grep, finds each row in one line.
    console = Console(highlight=False, width=terminal_columns(sys.stdout) or _PIPED_COLUMNS)
    for part in parts:
        console.print(part)


@contextlib.contextmanager
def saying_warnings() -> Iterator[None]:
    """Print the package's warnings as what else is said, without the place in its code that Python adds."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def say_or_show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, FlowStoreWarning):
                say(f"warning: {message}")
            else:
                show(message, category, *place, **more)

        warnings.showwarning = say_or_show
        yield


def say_doubts(missing: str, n_left_out: int = 0) -> None:
    """Print what a quiet command says all the same: planned videos that are missing, and failed ones left out."""
    if missing:
        say(missing)
    if n_left_out:
        say(f"{count_text(n_left_out, 'failed video')} left out")


def say_failure(class_name: str, name: str, reason: str) -> None:
    """Print which video failed, and why."""
    say(f"failed {printable_name(class_name)}/{printable_name(name)}: {reason}")


def print_json(value: Any) -> None:
    """Print the one JSON object that a command gives, to stdout."""
    click.echo(json.dumps(value, indent=1))


class Result(Protocol):
    """What a command gives: a plan or a report."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        ...


def print_result(result: Result, is_json: bool, quiet: bool, text: str | None = None) -> None:
    """Print what a command gives, to stdout."""
    if is_json:
        print_json(result.to_json())
    elif not quiet:
        print_text(str(result) if text is None else text)
