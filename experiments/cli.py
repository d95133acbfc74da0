"""The command line: one function a command. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import contextlib
import functools
import inspect as reflection
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from .terminal import Terminal, check_writable, complain, guarded, progress_words

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from neuro.progress import Progress, ProgressCallback

    from .single import Made

app = typer.Typer(
    name="spikeport",
    help="Port a trained ReLU network onto a model of a neuromorphic chip, and measure what that costs and saves.",
    epilog="Example:  spikeport demo",
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 110},
)
NOTHING = "Nothing was written."
NONE: list[str] = []

Data = Annotated[str, typer.Argument(metavar="DATASET", help="A name of 'spikeport list datasets', or a .npz (x, y) or .csv file.")]
DataDir = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder that holds the data set's files.")]
Out = Annotated[Path, typer.Option(metavar="FILE", help="File to write.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Seed of everything random.")]
Set = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="A setting, as in a config: --set convert.percentile=99. Repeatable.")
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A trained network: a file that 'spikeport list importers' names.")]
Inspected = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A trained network, a spiking network, a deployment, or a file that 'spikeport list importers' names.")
]
Config = Annotated[str, typer.Argument(metavar="CONFIG", help="An experiment file, or a name of 'spikeport list configs'.")]
Workers = Annotated[int, typer.Option(metavar="N", min=1, help="Processes on this machine.")]
Scheduler = Annotated[str, typer.Option(metavar="ADDRESS", help="Dask scheduler, or 'local:4' for one with 4 workers.")]
Preset = Annotated[str, typer.Option(metavar="NAME", help="A table of [presets] in the experiment file.")]


def _widths(text: str) -> list[int]:
    """Return the numbers of "128,64"; anything else is a mistake in the usage."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise typer.BadParameter(f"{text!r}, expected widths separated by commas, such as 128,64") from None


def _rates(text: str) -> list[float]:
    """Return the numbers of "0.01,0.05"; anything else is a mistake in the usage."""
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise typer.BadParameter(f"{text!r}, expected rates separated by commas, such as 0.01,0.05") from None


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


def kept(folder: Path) -> str:
    """Return what an error leaves of a run in a folder of results."""
    whole = (folder / "store.json").exists()
    return f"Finished trials are kept in {folder}; the same command goes on from there." if whole else NOTHING


def command(
    example: str, left: str | Callable[[Path], str] = "", name: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command: add --quiet, --json and --debug, end its help with an example, and turn exceptions into messages.

    ``left`` says what an error leaves behind, or finds out by looking at ``out``. A parameter of type ``Out`` is checked to be writable before any work.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        signature = reflection.signature(function, eval_str=True)
        own = [p for p in signature.parameters.values() if p.name != "terminal"]
        writes = any(p.annotation is Out for p in own)
        shared = [
            _flag("quiet", ("--quiet", "-q"), "Print errors and answers only."),
            _flag("as_json", ("--json",), "Print the result as JSON."),
            _flag("debug", ("--debug",), "Show the trace of an error."),
        ]

        @functools.wraps(function)
        def run(*, quiet: bool, as_json: bool, debug: bool, **given: Any) -> None:
            with guarded(lambda: left(given["out"]) if callable(left) else left, debug) as status:
                if writes:
                    check_writable(given["out"])
                function(Terminal(quiet, as_json), **given)
            if status:
                raise typer.Exit(status[0])

        run.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in [*own, *shared]}
        app.command(name or function.__name__, epilog=f"Example:  {example}", rich_help_panel=None)(run)
        return run

    return register


def _flag(name: str, flags: tuple[str, ...], text: str) -> reflection.Parameter:
    return reflection.Parameter(
        name, reflection.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, typer.Option(*flags, help=text)]
    )


OUTER = ("trials", "tuning")  # stages of which all others are parts


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
            shown[report.stage] = live.add_task(f"{report.stage:<12}", total=report.total, info="")
        for inner in set(shown) - {report.stage} if report.stage in OUTER else ():
            # What a trial did is over when the trial is; training that stops early never reports its last epoch.
            live.remove_task(shown.pop(inner))
            began.pop(inner)
        live.update(shown[report.stage], completed=report.done, total=report.total, info=progress_words(report.done, report.total, report.info))
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

    columns = (TextColumn("{task.description}"), BarColumn(10), TextColumn("{task.fields[info]}"), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _ignore(report: Progress) -> None:
    """Draw nothing: nobody is watching."""


@command("spikeport train digits --hidden 128,64 --out mlp.npz", NOTHING)
def train(
    terminal: Terminal,
    dataset: Data,
    out: Out,
    hidden: Annotated[Any, typer.Option(metavar="N,N", parser=_widths, help="Widths of the hidden layers.")] = "128,64",
    seed: Seed = 0,
    settings: Set = NONE,
    data_dir: DataDir = None,
) -> None:
    """Train a ReLU network on a data set by backpropagation."""
    from . import single

    with bars(terminal) as progress:
        made = single.train(dataset, hidden, seed, settings, data_dir, progress)
    _finish(terminal, made, out)


@command("spikeport inspect model.onnx")
def inspect(terminal: Terminal, model: Inspected, settings: Set = NONE) -> None:
    """Show the layers of a trained network and what will become of each, or the populations of a spiking one."""
    from converters.importers import LoadOptions

    from . import single
    from .network_lines import network_lines
    from .summaries import model_lines

    options, others = single.apart(settings, "load", LoadOptions)
    single.settings(others)
    if single.holds_spiking(model):
        found = single.load_runnable(model, options)
        terminal.answer(*network_lines(found, str(model)))
    else:
        terminal.answer(*model_lines(single.read_model(model, options), str(model)))


@command("spikeport convert mlp.npz --calibration digits --out snn.npz", NOTHING)
def convert(
    terminal: Terminal,
    model: Model,
    calibration: Annotated[str, typer.Option(metavar="DATASET", help="Data set whose training samples set the thresholds.")],
    out: Out,
    method: Annotated[str, typer.Option(metavar="NAME", help="A name of 'spikeport list methods'; a+b chains two; auto tries several and chooses.")] = "ltb",
    n_steps: Annotated[int | None, typer.Option(metavar="T", help="Steps that the network is meant for; 8 where none is given, with auto chosen.")] = None,
    target_loss: Annotated[float | None, typer.Option(metavar="POINTS", help="With --method auto: disagreement with the network that is accepted; 0.1 where none is given.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say where the error of each layer comes from, and what would help.")] = False,
    settings: Set = NONE,
    data_dir: DataDir = None,
) -> None:
    """Convert a trained network into a spiking network, and check layer by layer that it computes the same."""
    from . import single

    with bars(terminal) as progress:
        made = single.convert(
            model, calibration, method, n_steps, settings, data_dir, progress, target_loss=target_loss, explain=explain
        )
    _finish(terminal, made, out)


@command("spikeport deploy snn.npz --chip loihi1 --out deployment.npz", NOTHING)
def deploy(
    terminal: Terminal,
    network: Annotated[Path, typer.Argument(metavar="NETWORK", help="A spiking network made by 'spikeport convert', or a .nir file.")],
    out: Out,
    chip: Annotated[str, typer.Option(metavar="NAME", help="A name of 'spikeport list chips', or a .toml file.")] = "loihi1",
    activity: Annotated[Path | None, typer.Option(metavar="FILE", help="A recording of NETWORK by 'spikeport run': its spikes decide which cores lie close.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Run samples to say what each step of quantisation costs.")] = False,
    data: Annotated[str, typer.Option(metavar="DATASET", help="With --explain: data set whose test samples run.")] = "",
    model: Annotated[
        Path | None, typer.Option(metavar="MODEL", help="With --explain: the trained network to agree with; the spiking one if left out.")
    ] = None,
    n_steps: Annotated[int, typer.Option(metavar="T", min=1, help="With --explain: steps of the window.")] = 8,
    settings: Set = NONE,
    data_dir: DataDir = None,
) -> None:
    """Quantise a spiking network to a chip's integers and place it on its cores."""
    from . import single

    made = single.deploy(network, chip, settings, activity)
    if explain:
        from .chip_commands import explained

        with bars(terminal) as progress:
            made = explained(made, single.source_of(network, settings), model, data, n_steps, settings, data_dir, progress)
    _finish(terminal, made, out)


@command("spikeport run snn.npz --data digits --n-steps 8 --chip loihi1 --out recording.npz", NOTHING)
def run(
    terminal: Terminal,
    network: Annotated[Path, typer.Argument(metavar="NETWORK", help="A spiking network, a deployment, or a .nir file.")],
    data: Annotated[str, typer.Option(metavar="DATASET", help="Data set whose test samples run.")],
    out: Out,
    n_steps: Annotated[int, typer.Option(metavar="T", help="Steps of the window.")] = 8,
    chip: Annotated[str, typer.Option(metavar="NAME", help="Deploy on this chip first.")] = "",
    engine: Annotated[str, typer.Option(metavar="NAME", help="A name of 'spikeport list engines'.")] = "batched",
    limit: Annotated[int, typer.Option(metavar="N", min=0, help="Run the first so many samples; 0 for all.")] = 0,
    estimate_start: Annotated[
        bool, typer.Option("--estimate-start", help="Delayed read-out from a step estimated on training samples.")
    ] = False,
    seed: Seed = 0,
    settings: Set = NONE,
    data_dir: DataDir = None,
) -> None:
    """Run a data set's test samples through a spiking network or a deployment."""
    from . import single

    with bars(terminal) as progress:
        made = single.run(network, data, n_steps, engine, chip, limit, estimate_start, seed, settings, data_dir, progress)
    _finish(terminal, made, out)


@command("spikeport faults snn.npz --data digits --chip loihi1 --kind lost --rates 0.01,0.05 --out faults.json", NOTHING)
def faults(
    terminal: Terminal,
    network: Annotated[Path, typer.Argument(metavar="NETWORK", help="A spiking network, a deployment, or a .nir file.")],
    data: Annotated[str, typer.Option(metavar="DATASET", help="Data set whose test samples run.")],
    out: Out,
    kind: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="lost, spurious, dead_neurons, stuck_neurons, dead_synapses, stuck_synapses, threshold_mismatch or weight_mismatch; "
            "all if left out. Repeatable.",
        ),
    ] = NONE,
    rates: Annotated[Any, typer.Option(metavar="R,R", parser=_rates, help="Shares that fail; of a mismatch, relative standard deviations.")] = "0.01,0.02,0.05,0.1,0.2",
    draws: Annotated[int, typer.Option(metavar="N", min=1, help="Times that each fault is drawn.")] = 3,
    n_steps: Annotated[int, typer.Option(metavar="T", min=1, help="Steps of the window.")] = 8,
    chip: Annotated[str, typer.Option(metavar="NAME", help="Deploy on this chip first.")] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=0, help="Run the first so many samples; 500 if left out.")] = 0,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the first draw.")] = 0,
    settings: Set = NONE,
    data_dir: DataDir = None,
) -> None:
    """Run test samples with faults of neurons, synapses and spikes: accuracy against their rate."""
    from . import chip_commands

    with bars(terminal) as progress:
        made = chip_commands.faults(network, data, n_steps, chip, kind, rates, draws, limit, seed, settings, data_dir, progress)
    _finish(terminal, made, out)


@command("spikeport export snn.npz --out snn.nir", NOTHING)
def export(
    terminal: Terminal,
    network: Annotated[Path, typer.Argument(metavar="NETWORK", help="A spiking network, a deployment, or a .nir file.")],
    out: Out,
    form: Annotated[str, typer.Option("--format", metavar="NAME", help="A name of 'spikeport list exporters'; by the suffix of --out if left out.")] = "",
    n_steps: Annotated[int | None, typer.Option(min=1, metavar="T", help="Steps of a window, where the format states it.")] = None,
    lossy: Annotated[bool, typer.Option("--lossy", help="Write even what changes the meaning of the network, and say what.")] = False,
    settings: Set = NONE,
) -> None:
    """Write a spiking network for other simulators (NIR), for a chip (whole numbers), or as a Brian2 script."""
    from . import single

    made, name = single.export(network, out, form, lossy, n_steps, settings)
    for text in made.lost:
        terminal.say("  lost", text)
    for text in made.notes:
        terminal.say("  note", text)
    for path in made.paths[1:]:
        terminal.say("written", str(path))
    terminal.wrote(made.paths[0], {"format": name, "files": [str(p) for p in made.paths], "lost": made.lost, "notes": made.notes})


def _finish(terminal: Terminal, made: Made, out: Path) -> None:
    """Save what a stage made, then say so."""
    made.value.save(out)
    for what, text in made.lines:
        terminal.say(what, text)
    terminal.wrote(out, made.facts)


@command("spikeport plan digits.toml --out results")
def plan(
    terminal: Terminal,
    config: Config,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of results, to count what is there already.")] = None,
    settings: Set = NONE,
    preset: Preset = "",
    data_dir: DataDir = None,
) -> None:
    """Show the trials of an experiment, and an estimate of time and memory, before anything runs."""
    from .config import load_experiment
    from .plan import plan as look
    from .summaries import plan_lines

    experiment = load_experiment(config, overrides=settings, preset=preset)
    terminal.answer(*plan_lines(look(experiment, out, str(data_dir or "")), experiment))


@command("spikeport compare digits.toml --out results", kept)
def compare(
    terminal: Terminal,
    config: Config,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the results; run again, it goes on where it stopped.")],
    settings: Set = NONE,
    preset: Preset = "",
    workers: Workers = 1,
    scheduler: Scheduler = "",
    data_dir: DataDir = None,
) -> None:
    """Run an experiment: network, ideal spiking network and chip side by side; write its page."""
    _compare(terminal, config, out, settings, preset, workers, scheduler, data_dir)
    terminal.say("Next:", f"open the page, or add --set run.n_steps=[1,2,4,8,16] for a sweep over T; spikeport plan {config}")


@command("spikeport demo", kept)
def demo(
    terminal: Terminal,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the results.")] = Path("spikeport-demo"),
) -> None:
    """Train on handwritten digits, convert, run on Brian2, put on a chip, compare: a page in half a minute."""
    _compare(terminal, "demo.toml", out, (), "", 1, "", None)
    terminal.say("Next:", "spikeport compare mnist.toml --data-dir DIR --out mnist")


def _compare(
    terminal: Terminal, config: str, out: Path, settings: Sequence[str], preset: str, workers: int, scheduler: str, data_dir: Path | None
) -> None:
    from neuro.errors import EngineError

    from .compare import compare_store
    from .config import load_experiment
    from .report import report as write
    from .runner import RunnerOptions
    from .runner import run as run_trials
    from .summaries import comparison_lines, comparison_story

    check_writable(out / "report.html")
    experiment = load_experiment(config, overrides=settings, preset=preset)
    folder = str(data_dir or "")
    terminal.say(experiment.title, f"{len(experiment.trials)} trials, results in {out}")
    with bars(terminal) as progress:
        done = run_trials(experiment, out, RunnerOptions(workers=workers, scheduler=scheduler, data_dir=folder), progress)
        comparison = compare_store(experiment, out, folder)
        comparison.save(out / "comparison.npz")
        page = write(comparison, out / "report.html")
    for what, text in comparison_story(comparison, done):
        terminal.say(what, text)
    terminal.say("")
    lines, facts = comparison_lines(comparison)
    terminal.answer(lines, {**facts, "page": str(page)})
    terminal.say("")
    terminal.say("Page:", str(page))
    if done.failed:
        raise EngineError(f"{done.failed} of {len(experiment.trials)} trials failed; the reasons are above and on the page")


@command("spikeport tune tune.toml --out tuned", kept)
def tune(
    terminal: Terminal,
    config: Config,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the results; run again, it goes on where it stopped.")],
    settings: Set = NONE,
    preset: Preset = "",
    workers: Workers = 1,
    scheduler: Scheduler = "",
    data_dir: DataDir = None,
) -> None:
    """Search the settings of an experiment for the least energy at a stated loss of accuracy; write the page of the front."""
    from .config import load_experiment
    from .report import report as write
    from .runner import RunnerOptions
    from .summaries import tuned_lines
    from .tune import tune as search
    from .units import seconds

    check_writable(out / "report.html")
    experiment = load_experiment(config, overrides=settings, preset=preset)
    terminal.say(experiment.title, f"{experiment.tune.trials} points to try, results in {out}")
    with bars(terminal) as progress:
        found = search(experiment, out, RunnerOptions(workers=workers, scheduler=scheduler, data_dir=str(data_dir or "")), progress)
        found.comparison.save(out / "comparison.npz")
        page = write(found.comparison, out / "report.html")
    failed = f", {found.failed} could not be judged" if found.failed else ""
    terminal.say("searched", f"{found.tried} points, {found.new} of them now, in {seconds(found.seconds)}{failed}")
    terminal.say("")
    lines, facts = tuned_lines(found)
    terminal.answer(lines, {**facts, "page": str(page)})
    terminal.say("")
    terminal.say("Page:", str(page))
    terminal.say("Next:", "more points with --set tune.trials=N")


@command("spikeport results results --where group=chip --out results.csv", NOTHING)
def results(
    terminal: Terminal,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that 'spikeport compare' or 'spikeport tune' wrote.")],
    where: Annotated[
        list[str], typer.Option(metavar="NAME=VALUE", help="Only these, as run.n_steps=8 or 'accuracy>=0.95'. Repeatable.")
    ] = NONE,
    columns: Annotated[str, typer.Option(metavar="NAME,NAME", help="These columns alone; 'all' for every one.")] = "",
    sort: Annotated[str, typer.Option(metavar="NAME", help="By this column; -NAME from the largest.")] = "",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all columns to this .csv or .parquet file.")] = None,
) -> None:
    """Show the trials of a folder of results, or export them for pandas, DuckDB or a spreadsheet."""
    from . import export
    from .store import Store
    from .summaries import results_lines

    if out is not None:
        export.writer(out)
        check_writable(out)
    rows: Any = export.table(Store(folder, create=False), where)
    names = [name.strip() for name in columns.split(",") if name.strip()]
    if sort:
        rows = export.ordered(rows, sort)
    if names and names != ["all"]:
        rows = export.columns_of(rows, names)
    if out is not None:
        export.export(rows, out)
        terminal.say("trials", f"{len(rows):,}")
        terminal.wrote(out, {"trials": len(rows)})
        return
    shown = rows if names else export.columns_of(rows, export.summary_columns(rows))
    terminal.answer(results_lines(shown), rows)
    terminal.say("")
    terminal.say(f"{len(rows):,} trials" if rows else "no trial of this kind")


FORMATS = ("html", "md", "svg-figures", "png-figures", "pdf-figures", "index")


@command("spikeport report results --out report.html", NOTHING)
def report(
    terminal: Terminal,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that 'spikeport compare' wrote, or its comparison.npz.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write; for figures, the folder.")],
    form: Annotated[str, typer.Option("--format", metavar="NAME", help=f"{', '.join(FORMATS)}.")] = "html",
) -> None:
    """Write the page of a comparison again, its text and figures for a paper, or an index of all below a folder."""
    from neuro.archive import write_atomically
    from neuro.errors import SpecError, nearest

    from . import single
    from .comparison import Comparison
    from .report import figures, index_of, report_markdown
    from .report import report as write

    if form not in FORMATS:
        raise SpecError(f"--format {form!r} is not known{nearest(form, FORMATS)}")
    if form == "index":
        listed = index_of(folder, out)
        return terminal.wrote(out, {"format": form, "comparisons": [str(found) for found in listed]})
    path = folder / "comparison.npz" if folder.is_dir() else folder
    single.kind_of(path, ("spikeport.comparison",))
    comparison = Comparison.load(path)
    if form == "html":
        write(comparison, out)
    elif form == "md":
        write_atomically(out, report_markdown(comparison).encode())
    else:
        figures(comparison, out, (form.removesuffix("-figures"),))
    terminal.wrote(out, {"format": form})


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
    measured: Annotated[bool, typer.Option("--measured", help="Hold Loihi 1 against its published measurement instead, keyword spotting.")] = False,
    model: Annotated[Path | None, typer.Option(metavar="FILE", help="With --measured: the network that was measured, 390-256-256-29.")] = None,
) -> None:
    """Show a chip: limits, arithmetic, energies and times, each with unit, trust and source, and what is missing."""
    from neuro.chip import load_chip
    from neuro.errors import SpecError

    loaded = load_chip(name)
    if measured:
        from .held import held

        terminal.answer(*held(loaded, model))
        return
    if model is not None:
        raise SpecError(f"--model {model}: says which network was measured; it goes with --measured")
    from .summaries import chip_lines, facts

    terminal.answer(chip_lines(loaded), facts(loaded))


@command("spikeport workload ocr", NOTHING)
def workload(
    terminal: Terminal,
    name: Annotated[str, typer.Argument(metavar="NAME", help="ocr, spam, speech, sentiment, series, synthesis, translation, games, index, or all.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Page to write; the numbers go beside it as .json.")] = Path("workloads.html"),
    train_again: Annotated[bool, typer.Option("--train", help="Train again instead of taking the weights that ship.")] = False,
    weights: Annotated[Path | None, typer.Option(metavar="DIR", help="With --train: write the trained networks to this folder.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Move a workload of learned software to the chip, or all nine, and write a page that compares them."""
    from .workloads.command import run_command

    check_writable(out)
    with bars(terminal) as progress:
        lines, facts = run_command(name, out, train_again, weights, data_dir, progress, terminal.say)
    terminal.say("")
    terminal.answer(lines, facts)
    terminal.say("")
    terminal.say("Page:", str(out))


@command("spikeport check")
def check(terminal: Terminal, data_dir: DataDir = None) -> None:
    """Check the installation: versions, engines that agree, chips, data."""
    from neuro.errors import EngineError

    from .check import check as look

    found = []
    for result in look(data_dir):
        found.append(result)
        if not terminal.as_json:
            mark = "ok" if result.works else "FAULT" if result.needed else "-"
            terminal.answer([f"{mark:<6}{result.name:<20}{result.found}"], None)
    if terminal.as_json:
        terminal.answer((), [{"name": r.name, "works": r.works, "needed": r.needed, "found": r.found} for r in found])
    broken = [r.name for r in found if r.needed and not r.works]
    if broken:
        raise EngineError(f"the installation does not work: {', '.join(broken)}")


INTERRUPTED = 130  # how typer ends when it is stopped outside of a command


def main() -> NoReturn:
    """Run the command line; exit with 0, 1 (the work could not be done) or 2 (wrong usage)."""
    # Altair loads jsonschema, which takes this part where Jupyter brought it: seven seconds for a grammar of addresses no chart has.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    try:
        app(prog_name="spikeport")
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
    except KeyboardInterrupt:
        pass
    complain("stopped by Ctrl-C", NOTHING)
    raise SystemExit(1)


if __name__ == "__main__":
    main()
