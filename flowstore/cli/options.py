"""What several commands share of the command line: kinds of arguments, and options that mean the same everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click
from click.shell_completion import CompletionItem

from flowstore.arguments import our_spelling


class Place(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A path or URL; anything but nothing."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the text, once it is not empty."""
        # An unset variable of a shell, which as a path would mean the current folder.
        if not value:
            self.fail("an empty path", param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return that the shell completes it as a path: classes and videos are folders of a store."""
        return [CompletionItem(incomplete, type="file")]


class SpelledChoice(click.Choice):  # type: ignore[type-arg, unused-ignore]
    """One of some names, in American or British spelling."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name as flowstore spells it."""
        return super().convert(our_spelling(value), param, ctx)


class Size(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """``WIDTHxHEIGHT`` as ``(height, width)``, in pixels."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return ``WIDTHxHEIGHT`` as ``(height, width)``."""
        width, x, height = str(value).lower().partition("x")
        if not (x and width.isdigit() and height.isdigit()):
            self.fail(f"{value!r} is not of the form WIDTHxHEIGHT, such as 320x240", param, ctx)
        return int(height), int(width)


class Part(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """``I/N`` as ``(I, N)``."""

    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return ``I/N`` as two numbers."""
        number, slash, count = str(value).partition("/")
        if not (slash and number.isdigit() and count.isdigit()):
            self.fail(f"{value!r} is not of the form I/N, such as 1/4", param, ctx)
        return int(number), int(count)


def completing(names: Iterable[str]) -> Callable[..., list[CompletionItem]]:
    """Return what completes an option that takes these names and others."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]

    return complete


def output_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what says how much is printed: ``--json``, ``--quiet``, ``--verbose``."""
    for option in (
        click.option("--json", "is_json", is_flag=True, help="Print one JSON object; messages go to stderr."),
        click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors and what is missing."),
        click.option("-v", "--verbose", is_flag=True, help="Print more, and tracebacks of errors."),
    ):
        function = option(function)
    return function


def max_error_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--max-error``."""
    return click.option(
        "--max-error",
        type=float,
        metavar="PX",
        help="Largest error of a uint8 component, in pixels: more packs smaller.  [default: half a step, the nearest]",
    )(function)


def compression_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--compression`` of a store that is made."""
    return click.option(
        "--compression",
        type=click.Choice(["fast", "balanced", "small", "none"]),
        help="Lossless packing of the store: fast to read against small on disk.  [default: fast]",
    )(function)


def selection_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what says which of the videos found are taken: ``--select``, ``--include``, ``--exclude``, ``--limit``."""
    for option in (
        click.option("--limit", type=int, metavar="N", help="Take the first N videos only.  [default: all]"),
        click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave these out.  [default: none]"),
        click.option(
            "--include",
            multiple=True,
            metavar="PATTERN",
            help="Take only these; * and ? are special, brackets are not.  [default: all]",
        ),
        click.option(
            "--select",
            multiple=True,
            metavar="KIND=VALUE",
            help="Only these: class=wave, name='*_left?'. May be repeated.  [default: all]",
        ),
    ):
        function = option(function)
    return function


def select_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--select`` of videos of a store."""
    return click.option(
        "--select",
        multiple=True,
        metavar="KIND=VALUE",
        help="Only these: class=wave, name='*_left?', split=hmdb51:splits/:1:train. May be repeated.  [default: all]",
    )(function)


def plan_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what becomes of the plan to fill a store: ``--overwrite``, ``--dry-run``."""
    for option in (
        click.option("--dry-run", is_flag=True, help="Print the plan and do nothing."),
        click.option("--overwrite", is_flag=True, help="Empty the store first and make everything anew."),
    ):
        function = option(function)
    return function


def worker_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what says where the work runs: ``--workers``, ``--scheduler``."""
    for option in (
        click.option(
            "--scheduler",
            default="auto",
            show_default=True,
            metavar="auto|processes|threads|sync|tcp://HOST:PORT",
            shell_complete=completing(("auto", "processes", "threads", "sync", "tcp://")),
            help="Where the work runs.",
        ),
        click.option("--workers", type=int, metavar="N", help="Videos at a time.  [default: all cores]"),
    ):
        function = option(function)
    return function
