"""The command line: parse, call one function, print, exit code. Owns click.

Exit codes: 0 all well; 1 the work was done but some videos failed, or it could not be finished; 2 wrong usage, or
refused before any work; 130 interrupted.
"""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.text import Text

from flowstore import __version__
from flowstore.errors import ExportError, FlowStoreError, StoreError
from flowstore.layouts import LAYOUTS
from flowstore.names import printable_name

_ERRORS = Console(stderr=True, highlight=False)
_TABLE_WIDTH = 72
_PIPED_WIDTH = 10_000
_EXAMPLES = """\b
Examples:
  flowstore demo                                 see it work, in a minute
  flowstore extract videos/ flow.zarr            a dataset; again to resume
  flowstore extract videos/ flow.zarr --dry-run  only print the plan
  flowstore info flow.zarr/wave                  what is in it
  flowstore export flow.zarr out/                classic folders of JPEGs
"""


class _Place(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        # An unset variable of a shell, which as a path would mean the current folder.
        if not value:
            self.fail("an empty path", param, ctx)
        return value


class _Size(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        width, x, height = str(value).lower().partition("x")
        if not (x and width.isdigit() and height.isdigit()):
            self.fail(f"{value!r} is not of the form WIDTHxHEIGHT, such as 320x240", param, ctx)
        return int(height), int(width)


class _Part(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number, slash, count = str(value).partition("/")
        if not (slash and number.isdigit() and count.isdigit()):
            self.fail(f"{value!r} is not of the form I/N, such as 1/4", param, ctx)
        return int(number), int(count)


def _parse_params(context: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    params = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals:
            raise click.BadParameter(f"{value!r} is not of the form KEY=VALUE, such as winsize=21")
        params[key.strip()] = text.strip()
    return params


def _output_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--json", "is_json", is_flag=True, help="Print one JSON object; messages go to stderr."),
        click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors."),
        click.option("-v", "--verbose", is_flag=True, help="Print more, and tracebacks of errors."),
    ):
        function = option(function)
    return function


def _worker_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--scheduler",
            default="auto",
            show_default=True,
            metavar="auto|processes|threads|sync|tcp://HOST:PORT",
            help="Where the work runs.",
        ),
        click.option("--workers", type=int, metavar="N", help="Videos at a time.  [default: all cores]"),
    ):
        function = option(function)
    return function


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EXAMPLES,
    no_args_is_help=True,
)
@click.version_option(__version__, prog_name="flowstore")
def cli() -> None:
    """Dense optical flow of video datasets in one chunked, indexed Zarr store."""


@cli.command()
@click.argument("source", type=_Place())
@click.argument("store", type=_Place())
@click.option(
    "--algorithm",
    default="farneback",
    show_default=True,
    metavar="farneback|dis|tvl1",
    help="How flow is computed.",
)
@click.option(
    "--engine", default="auto", show_default=True, metavar="auto|numba|opencv", help="Implementation of the algorithm."
)
@click.option(
    "--param",
    "params",
    multiple=True,
    callback=_parse_params,
    metavar="KEY=VALUE",
    help="A parameter of the algorithm, such as winsize=21; may be repeated.  [default: the algorithm's own]",
)
@click.option(
    "--dtype", type=click.Choice(["uint8", "float16"]), default="uint8", show_default=True, help="Stored numbers."
)
@click.option("--bound", type=float, metavar="PX", help="Largest flow kept, in pixels (uint8).  [default: 20]")
@click.option(
    "--encoding",
    type=click.Choice(["centred", "denseflow", "truncate"]),
    help="How pixels become uint8.  [default: centred]",
)
@click.option("--step", type=int, default=1, show_default=True, metavar="FRAMES", help="Flow from frame i to i + step.")
@click.option(
    "--short-side", type=int, metavar="PX", help="Resize frames to this shorter side.  [default: as they are]"
)
@click.option(
    "--size", type=_Size(), metavar="WxH", help="Resize frames to this size in pixels.  [default: as they are]"
)
@click.option("--fps", type=float, metavar="FPS", help="Thin videos to so many frames a second.  [default: all frames]")
@click.option(
    "--compression",
    type=click.Choice(["fast", "balanced", "small", "none"]),
    default="fast",
    show_default=True,
    help="Lossless packing of the store: fast to read against small on disk.",
)
@click.option(
    "--list",
    "list_file",
    type=click.Path(),
    metavar="FILE",
    help="Take only the videos of this file, a path a line.  [default: all]",
)
@click.option(
    "--include",
    multiple=True,
    metavar="PATTERN",
    help="Take only these; * and ? are special, brackets are not.  [default: all]",
)
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave these out.  [default: none]")
@click.option("--limit", type=int, metavar="N", help="Take the first N videos only.  [default: all]")
@click.option(
    "--part", type=_Part(), help="Take the I-th of N parts, to share a dataset among machines.  [default: all]"
)
@click.option("--retry-failed", is_flag=True, help="Try again what failed in a former run.")
@click.option("--overwrite", is_flag=True, help="Empty the store first and make everything anew.")
@click.option("--dry-run", is_flag=True, help="Print the plan and do nothing.")
@_worker_options
@_output_options
def extract(
    source: str,
    store: str,
    list_file: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    limit: int | None,
    part: tuple[int, int] | None,
    retry_failed: bool,
    overwrite: bool,
    dry_run: bool,
    workers: int | None,
    scheduler: str,
    is_json: bool,
    quiet: bool,
    verbose: bool,
    **settings_options: Any,
) -> int:
    """Compute the flow of SOURCE into STORE; run again to resume.

    SOURCE is a folder of class folders, of videos or of frame folders, one video, one frame folder, or a list file.
    """
    from flowstore import pipeline
    from flowstore.progress import ConsoleProgress

    algorithm, engine, params = (settings_options[name] for name in ("algorithm", "engine", "params"))
    settings_options["engine"], engine_note = pipeline.choose_engine(store, algorithm, engine, params, overwrite)
    if engine_note and not quiet:
        _say(engine_note)
    settings = pipeline.make_settings(**settings_options)
    plan = pipeline.plan(
        source,
        store,
        settings,
        list_file=list_file,
        include=include,
        exclude=exclude,
        limit=limit,
        part=part,
        retry_failed=retry_failed,
        overwrite=overwrite,
    )
    where, n_workers = pipeline.resolve_scheduler(scheduler, workers, plan)
    lines = plan.lines()
    if plan.todo:
        lines.append(f"workers:  {n_workers} ({where}), {plan.estimate.describe_memory(where, n_workers)}")
    if verbose:
        lines += [f"to do:    {video.key} ({printable_name(video.relative_path)})" for video in plan.todo]
    if dry_run:
        if is_json:
            _print_json(plan.to_json())
        elif not quiet:
            click.echo("\n".join(lines))
        return 0
    if not quiet:
        for line in lines:
            _say(line)
    progress = None if quiet else ConsoleProgress(_ERRORS, "extract")
    with _working():
        report = pipeline.run_plan(plan, workers, scheduler, progress)
    if is_json:
        _print_json(report.to_json())
    elif not quiet:
        click.echo(str(report))
    if quiet or is_json:
        for record in report.failures:
            _say_failure(record.class_name, record.name, record.reason)
    if quiet and report.n_failed_before:
        _say(f"{report.n_failed_before} failed before and were not tried again (--retry-failed)")
    return 0 if report.is_all_well else 1


@cli.command()
@click.argument("store", type=_Place())
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
def info(store: str, is_json: bool) -> int:
    """Show what is in STORE, STORE/CLASS or STORE/CLASS/VIDEO."""
    from flowstore.description import describe_place

    description = describe_place(store)
    if is_json:
        _print_json(description.to_json())
    else:
        console = Console(highlight=False)
        # A table that does not fit loses its first columns, and a name folded in two is not found by grep.
        console.width = max(console.width, _TABLE_WIDTH) if console.is_terminal else _PIPED_WIDTH
        console.print(description.to_text())
    return 0


@cli.command(name="export")
@click.argument("store", type=_Place())
@click.argument("dest", type=_Place(), required=False)
@click.option(
    "--layout", default="notebook", show_default=True, metavar="NAME", help="Where files go and how flow is encoded."
)
@click.option(
    "--list-layouts",
    is_flag=True,
    is_eager=True,
    help="Print the layouts with an example path each.",
    callback=lambda *given: _list_layouts(*given),
    expose_value=False,
)
@click.option(
    "--encoding",
    type=click.Choice(["layout", "keep"]),
    default="layout",
    show_default=True,
    help="The layout's encoding, or the codes as stored.",
)
@click.option("--bound", type=float, metavar="PX", help="Encode for this bound.  [default: the store's]")
@click.option("--quality", type=int, metavar="0-100", help="JPEG quality.  [default: the layout's, 95]")
@click.option("--overwrite", is_flag=True, help="Write anew what is there already.")
@_worker_options
@_output_options
def export_command(
    store: str,
    dest: str | None,
    layout: str,
    encoding: Any,
    bound: float | None,
    quality: int | None,
    overwrite: bool,
    workers: int | None,
    scheduler: str,
    is_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Write STORE as folders of flow images below DEST; run again to finish what is missing."""
    from flowstore.export import export
    from flowstore.progress import ConsoleProgress
    from flowstore.store import open_store

    if dest is None:
        raise click.UsageError("Missing argument 'DEST'.")
    progress = None if quiet else ConsoleProgress(_ERRORS, "export")
    options: dict[str, Any] = {"encoding": encoding, "bound": bound, "quality": quality, "overwrite": overwrite}
    opened = open_store(store)
    with _working():
        report = export(opened, dest, layout, workers=workers, scheduler=scheduler, progress=progress, **options)
    if is_json:
        _print_json(report.to_json())
    elif not quiet:
        click.echo(str(report))
    return 0 if report.is_all_well else 1


def _list_layouts(context: click.Context, param: click.Parameter, is_asked: bool) -> None:
    if not is_asked:
        return
    width = max(len(name) for name in LAYOUTS)
    for layout in LAYOUTS.values():
        click.echo(f"{layout.name:{width}}  {layout.example:42}  {layout.encoding:9}  {layout.used_by}")
    context.exit(0)


@cli.command()
@click.argument("folder", type=_Place(), default="flowstore-demo", metavar="[DIR]")
@_output_options
def demo(folder: str, is_json: bool, quiet: bool, verbose: bool) -> int:
    """Make a small dataset of known motion in DIR, extract, check, export and draw it.

    DIR is flowstore-demo by default.
    """
    from flowstore.demo import ERROR_ALLOWED_PX, run_demo
    from flowstore.progress import ConsoleProgress

    with _working():
        report = run_demo(folder, None if quiet else ConsoleProgress(_ERRORS, "extract"))
    worst = max(report.errors_px.values())
    if is_json:
        _print_json({"folder": report.folder, "errors_px": report.errors_px, "extract": report.extracted.to_json()})
    elif not quiet:
        click.echo(f"videos    {report.videos}")
        click.echo(f"store     {report.extracted}")
        for key, error in sorted(report.errors_px.items()):
            click.echo(f"          {key:20} mean error {error:.3f} px against the true motion")
        click.echo(f"images    {report.exported}")
        click.echo(f"picture   {report.picture}")
        click.echo("\nNow in Python:\n")
        click.echo("  import flowstore")
        click.echo(f"  store = flowstore.open_store({report.store!r})")
        click.echo('  store["zoom/zoom_2"][5:15]        # float32 (10, 2, 120, 160), pixels')
    if worst > ERROR_ALLOWED_PX:
        _say(f"the flow is off by {worst:.2f} px, more than {ERROR_ALLOWED_PX} px: please report this")
        return 1
    return 0


class _Working:
    """Marks the part of a command in which work is done, so that an error there is no refusal."""

    is_active = False

    def __enter__(self) -> None:
        _Working.is_active = True

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            _Working.is_active = False


def _working() -> _Working:
    return _Working()


def _say(text: str) -> None:
    _ERRORS.print(Text(text), soft_wrap=True)


def _say_failure(class_name: str, name: str, reason: str) -> None:
    _say(f"failed {printable_name(class_name)}/{printable_name(name)}: {reason}")


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1))


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
    _Working.is_active = False
    is_verbose = bool({"-v", "--verbose"} & set(sys.argv[1:]))
    try:
        code = cli.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        if not sys.argv[1:]:
            error.show()
        else:
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "flowstore"
            _say(f"flowstore: {error.format_message()} (see {command} --help)")
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        _ERRORS.print("stopped; what was finished is kept, and the same command goes on from there")
        sys.exit(130)
    except FlowStoreError as error:
        if is_verbose:
            _ERRORS.print_exception()
        _say(f"flowstore: {error}")
        sys.exit(1 if _Working.is_active and isinstance(error, StoreError | ExportError) else 2)
