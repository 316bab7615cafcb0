"""What ``export`` and ``import`` share of the command line: the options that say which layout files have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from flowstore.cli.options import completing
from flowstore.errors import ArgumentError
from flowstore.layouts.kinds import KINDS
from flowstore.layouts.layout import Layout, custom_layout
from flowstore.layouts.presets import LAYOUTS, find_layout

CUSTOM = "custom"


def layout_options(
    layout_help: str, first_help: str, class_folder_help: str, default: str | None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what adds ``--layout`` and what a custom one is made of."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option(
                "--no-class-folder",
                "class_folder",
                flag_value=False,
                type=bool,
                default=True,
                help=class_folder_help,
            ),
            click.option(
                "--format",
                "file_format",
                type=click.Choice(list(KINDS)),
                help="Of images jpg or png; of a custom layout any.  [default: the layout's, jpg]",
            ),
            click.option("--first", type=int, metavar="N", help=first_help),
            click.option("--y-template", metavar="PATH", help="The same of y.  [default: x and y are in one file]"),
            click.option(
                "--x-template",
                metavar="PATH",
                help="Path of a custom layout's x files, such as '{class}/{video}/x_{number:05d}.jpg'.  "
                "[default: none]",
            ),
            click.option(
                "--layout",
                "layout_name",
                default=default,
                show_default=default is not None,
                metavar=f"NAME|{CUSTOM}",
                shell_complete=completing((*LAYOUTS, CUSTOM)),
                help=layout_help,
            ),
        ):
            function = option(function)
        return function

    return add


def choose_layout(name: str, **of_custom: Any) -> Layout:
    """Return the layout that options name or describe."""
    given = {option: value for option, value in of_custom.items() if value is not None}
    if name == CUSTOM:
        if not given.get("x_template"):
            raise ArgumentError("--layout custom needs --x-template, such as '{class}/{video}/x_{number:05d}.jpg'")
        return custom_layout(**given)
    if given:
        options = ", ".join(f"--{option}" for option in given).replace("_", "-")
        raise ArgumentError(f"{options}: of --layout custom only, found --layout {name}")
    return find_layout(name)
