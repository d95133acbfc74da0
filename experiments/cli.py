"""The command line: one function a command. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import contextlib
import functools
import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from .terminal import Terminal, check_writable, guarded

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from neuro.progress import Progress, ProgressCallback

app = typer.Typer(
    name="spikeport",
    help="Port a trained ReLU network onto a model of a neuromorphic chip, and measure what that costs and saves.",
    epilog="Example:  spikeport demo",
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
NOTHING = "Nothing was written."

Data = Annotated[str, typer.Argument(metavar="DATASET", help="A name of 'spikeport list datasets', or a .npz (x, y) or .csv file.")]
DataDir = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder that holds the data set's files.")]
Out = Annotated[Path, typer.Option(metavar="FILE", help="File to write.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
Set = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="A setting, as in a config: --set convert.percentile=99. Repeatable.")
]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"spikeport {version('spikeport')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    """Port a trained ReLU network onto a model of a neuromorphic chip, and measure what that costs and saves."""


def command(example: str, left: str = "", name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command: add --quiet, --json and --debug, end its help with an example, and turn exceptions into messages.

    ``left`` says what an error leaves behind. A parameter ``out`` is checked to be writable before any work.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True)
        own = [p for p in signature.parameters.values() if p.name != "terminal"]
        shared = [
            _flag("quiet", ("--quiet", "-q"), "Print errors and answers only."),
            _flag("as_json", ("--json",), "Print the result as JSON."),
            _flag("debug", ("--debug",), "Show the trace of an error."),
        ]

        @functools.wraps(function)
        def run(*, quiet: bool, as_json: bool, debug: bool, **given: Any) -> None:
            with guarded(left, debug) as status:
                if isinstance(given.get("out"), Path) and left:
                    check_writable(given["out"])
                function(Terminal(quiet, as_json), **given)
            if status:
                raise typer.Exit(status[0])

        run.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in [*own, *shared]}
        app.command(name or function.__name__, epilog=f"Example:  {example}", rich_help_panel=None)(run)
        return run

    return register


def _flag(name: str, flags: tuple[str, ...], text: str) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, typer.Option(*flags, help=text)]
    )


@contextlib.contextmanager
def bars(terminal: Terminal) -> Iterator[ProgressCallback]:
    """Yield a progress callback that draws a bar on a terminal, for work that takes more than a second."""
    live: RichProgress | None = None
    shown: dict[str, Any] = {}
    began: dict[str, float] = {}

    def draw(report: Progress) -> None:
        nonlocal live
        start = began.setdefault(report.stage, time.monotonic())
        if report.stage not in shown and time.monotonic() - start < 1.0:
            return
        if live is None:
            live = _live()
            live.start()
        if report.stage not in shown:
            shown[report.stage] = live.add_task(f"{report.stage:<22}", total=report.total, info="")
        live.update(shown[report.stage], completed=report.done, total=report.total, info=_info(report.info))
        if report.done >= report.total:
            live.remove_task(shown.pop(report.stage))
            began.pop(report.stage)

    try:
        yield draw if terminal.draws else _ignore
    finally:
        if live is not None:
            live.stop()


def _live() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[info]}"), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _info(info: Mapping[str, float]) -> str:
    return "  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in info.items())


def _ignore(report: Progress) -> None:
    """Draw nothing: nobody is watching."""


@command("spikeport list methods", name="list")
def list_names(
    terminal: Terminal,
    what: Annotated[str, typer.Argument(metavar="WHAT", help="datasets, methods, engines, encodings, readouts, rules, chips, ...")],
) -> None:
    """List what there is to choose from, one line each."""
    from .summaries import names, names_lines

    found = names(what)
    terminal.answer(names_lines(found), found)


@command("spikeport chip loihi1")
def chip(
    terminal: Terminal,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of 'spikeport list chips', or a .toml file.")],
) -> None:
    """Show a chip: its limits, arithmetic, energies and times, each with unit, trust and source, and what is missing."""
    from neuro.chip import load_chip

    from .summaries import chip_lines, facts

    loaded = load_chip(name)
    terminal.answer(chip_lines(loaded), facts(loaded))


def main() -> NoReturn:
    """Run the command line."""
    app(prog_name="spikeport")
    raise SystemExit(0)


if __name__ == "__main__":
    main()
