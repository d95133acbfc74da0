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


@command("spikeport train digits --hidden 128,64 --out mlp.npz", NOTHING)
def train(
    terminal: Terminal,
    dataset: Data,
    out: Out,
    hidden: Annotated[str, typer.Option(metavar="N,N", help="Widths of the hidden layers.")] = "128,64",
    seed: Seed = 0,
    settings: Set = [],  # noqa: B006
    data_dir: DataDir = None,
) -> None:
    """Train a ReLU network by backprop on a data set."""
    import msgspec

    from converters.train import TrainOptions
    from converters.train import train as fit

    from . import single

    trial = single.settings([*settings, f"model.hidden=[{hidden}]", f"seeds={seed}"], data_name=dataset)
    with bars(terminal) as progress:
        data = single.load_data(dataset, data_dir, trial, progress)
        options = msgspec.convert({**(trial.train or {}), "seed": seed}, TrainOptions)
        mlp = fit((data.n_in, *trial.model.hidden, data.n_out), data.x_train, data.y_train, options, progress=progress)
    share = float((mlp.predict(data.x_test) == data.y_test).mean()) if data.task == "classification" else None
    mlp = single.named(mlp, data)
    mlp.save(out)
    if share is not None:
        terminal.say("trained", f"{'-'.join(map(str, mlp.sizes))} on {data.name}: {100 * share:.2f} % of {len(data.x_test):,} test samples right")
    terminal.wrote(out, {"sizes": list(mlp.sizes), "test_accuracy": share})


@command("spikeport convert mlp.npz --calibration digits --out snn.npz", NOTHING)
def convert(
    terminal: Terminal,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A trained network: .npz and what 'spikeport list importers' names.")],
    calibration: Annotated[str, typer.Option(metavar="DATASET", help="Data set whose training samples set the thresholds.")],
    out: Out,
    method: Annotated[str, typer.Option(help="A name of 'spikeport list methods'; a + b chains two.")] = "ltb",
    n_steps: Annotated[int, typer.Option(min=1, help="T that the network is meant for (methods made for one T need it).")] = 8,
    encoding: Annotated[str, typer.Option(help="How values enter: a name of 'spikeport list encodings'.")] = "constant",
    settings: Set = [],  # noqa: B006
    data_dir: DataDir = None,
) -> None:
    """Convert a trained network into a spiking network."""
    from converters.convert import convert as run
    from converters.importers import load
    from converters.verify import verify
    from neuro.encoding import with_encoder

    from . import single

    trial = single.settings(settings, data_name=calibration, convert_method=method, run_n_steps=n_steps)
    mlp = load(model)
    with bars(terminal) as progress:
        data = single.load_data(calibration, data_dir, trial, progress)
        single.fits(mlp, data)
        samples = single.calibration(data, trial)
        assert trial.convert is not None
        grid, v_init = trial.convert.grid or None, trial.convert.v_init
        snn = run(mlp, calibration=samples, method=trial.steps, n_steps=n_steps, grid=grid, v_init=v_init, progress=progress)
        checked = verify(snn, mlp, samples, n_steps)
        snn = with_encoder(snn, encoding)
    snn.save(out)
    terminal.say("converted", f"{'-'.join(map(str, mlp.sizes))} with {method}, thresholds from {len(samples):,} training samples of {data.name}")
    for line in str(checked).splitlines():
        terminal.say(f"  {line}")
    terminal.wrote(out, {"sha256": snn.sha256, "method": method})


@command("spikeport deploy snn.npz --chip loihi1 --out deployment.npz", NOTHING)
def deploy(
    terminal: Terminal,
    network: Annotated[Path, typer.Argument(metavar="NETWORK", help="A spiking network made by 'spikeport convert'.")],
    out: Out,
    chip: Annotated[str, typer.Option(help="A name of 'spikeport list chips', or a .toml file.")] = "loihi1",
    settings: Set = [],  # noqa: B006
) -> None:
    """Quantise a spiking network to a chip's integers and place it on its cores."""
    import msgspec

    from neuro.chip import load_chip
    from neuro.deploy import DeployOptions
    from neuro.deploy import deploy as put
    from neuro.network import SpikingNetwork

    from . import single

    trial = single.settings(settings, deploy_chip=chip)
    single.kind_of(network, ("spikeport.network",))
    loaded = load_chip(chip)
    assert trial.deploy is not None
    made = put(SpikingNetwork.load(network), loaded, msgspec.convert(trial.deploy.options, DeployOptions))
    made.save(out)
    place = made.placement
    terminal.say(f"deployed on {loaded.name}", f"{len(place.cores)} cores on {place.n_chips} chip{'s' if place.n_chips != 1 else ''}")
    for name, (mean, highest) in place.utilisation().items():
        terminal.say(f"  {name.replace('_', ' ')}", f"{100 * mean:.0f} % on average, {100 * highest:.0f} % in the fullest core")
    for note in made.notes:
        terminal.say(f"  {note}")
    terminal.wrote(out, {"cores": len(place.cores), "chips": place.n_chips})


@command("spikeport run snn.npz --data digits --n-steps 8 --out recording.npz", NOTHING)
def run(
    terminal: Terminal,
    network: Annotated[Path, typer.Argument(metavar="NETWORK", help="A spiking network or a deployment.")],
    data: Annotated[str, typer.Option(metavar="DATASET", help="Data set whose test samples run.")],
    out: Out,
    n_steps: Annotated[int, typer.Option(help="T, steps of the window.")] = 8,
    chip: Annotated[str, typer.Option(help="Deploy on this chip first.")] = "",
    engine: Annotated[str, typer.Option(help="A name of 'spikeport list engines'.")] = "batched",
    encoding: Annotated[str, typer.Option(help="How values enter; empty: as the network says.")] = "",
    readout: Annotated[str, typer.Option(help="A name of 'spikeport list readouts'.")] = "potential",
    limit: Annotated[int, typer.Option(min=0, help="Run only the first so many samples (0: all).")] = 0,
    batch_size: Annotated[int, typer.Option(min=0, help="Replicas in a batch (0: chosen from the cache).")] = 0,
    seed: Seed = 0,
    data_dir: DataDir = None,
) -> None:
    """Run a data set's test samples through a spiking network or a deployment."""
    from neuro.engines import EngineOptions, simulate

    from . import single
    from .metrics import accuracy
    from .units import percent_range

    loaded: Any = single.load_runnable(network)
    if chip:
        from neuro.deploy import deploy as put

        loaded = put(loaded, chip)
    trial = single.settings((), data_name=data)
    with bars(terminal) as progress:
        found = single.load_data(data, data_dir, trial, progress)
        x = found.x_test[: limit or None]
        options = EngineOptions(batch_size=batch_size or None)
        recording = simulate(
            loaded, x, n_steps, engine=engine, encoding=encoding or None, readout=readout, seed=seed, options=options, progress=progress
        )
    recording.save(out)
    spikes = sum(float(c.mean()) for c in recording.spike_counts.values())
    operations = sum(float(c.mean()) for c in recording.synaptic_operations.values())
    facts: dict[str, Any] = {
        "samples": len(x),
        "n_steps": n_steps,
        "steps_until_an_answer": recording.total_steps,
        "spikes": spikes,
        "synaptic_operations": operations,
        "seconds": recording.info["seconds"],
    }
    if found.task == "classification":
        share = accuracy(found.y_test[: len(x)], recording.predictions)
        facts["accuracy"] = [share.value, share.low, share.high]
        terminal.say("accuracy (95 %)", percent_range(share.value, share.low, share.high, 2))
    terminal.say("ran", f"{len(x):,} samples x {n_steps} steps on {engine}  {recording.info['seconds']:.2f} s")
    terminal.say("an inference", f"{spikes:,.1f} spikes, {operations:,.0f} synaptic operations, {recording.total_steps} steps until an answer")
    terminal.wrote(out, facts)


@command("spikeport compare digits.toml --out results")
def compare(
    terminal: Terminal,
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="An experiment file, or the name of one that ships ('spikeport list configs').")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the results; a second run goes on where the first one stopped.")],
    settings: Set = [],  # noqa: B006
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    data_dir: DataDir = None,
) -> None:
    """Run an experiment: network, ideal spiking network and chip side by side, and write its page."""
    _compare(terminal, config, out, settings, workers, data_dir)
    terminal.say("Next:", "open the page; or --set run.n_steps=[1,2,4,8,16] for a sweep")


def _compare(terminal: Terminal, config: str, out: Path, settings: list[str], workers: int, data_dir: Path | None) -> None:
    from .compare import compare_store
    from .config import load_experiment
    from .report import report as write
    from .runner import RunnerOptions
    from .runner import run as run_trials
    from .summaries import comparison_lines

    experiment = load_experiment(config, overrides=settings)
    folder = str(data_dir or "")
    with bars(terminal) as progress:
        summary = run_trials(experiment, out, RunnerOptions(workers=workers, data_dir=folder), progress)
        comparison = compare_store(experiment, out, folder)
    comparison.save(out / "comparison.npz")
    page = write(comparison, out / "report.html")
    terminal.say("ran", f"{summary.done} trials in {summary.seconds:.1f} s, {summary.present} were there already")
    lines, facts = comparison_lines(comparison)
    terminal.say("")
    terminal.answer(lines, {**facts, "page": str(page)})
    terminal.say("")
    terminal.say("Page:", str(page))


@command("spikeport demo --out spikeport-demo")
def demo(
    terminal: Terminal,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the results.")] = Path("spikeport-demo"),
) -> None:
    """Train on handwritten digits, convert, run on Brian2, put on a chip, compare: from nothing to a page in half a minute."""
    _compare(terminal, "demo.toml", out, [], 1, None)
    terminal.say("Next:", "spikeport compare mnist.toml --data-dir DIR --out mnist")


@command("spikeport report results --out report.html", NOTHING)
def report(
    terminal: Terminal,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that 'spikeport compare' wrote, or its comparison.npz.")],
    out: Out,
) -> None:
    """Write the page of a comparison again."""
    from . import single
    from .comparison import Comparison
    from .report import report as write

    path = folder / "comparison.npz" if folder.is_dir() else folder
    single.kind_of(path, ("spikeport.comparison",))
    terminal.wrote(write(Comparison.load(path), out), {})


@command("spikeport check")
def check(terminal: Terminal, data_dir: DataDir = None) -> None:
    """Check the installation: versions, engines that agree, chips, data."""
    from neuro.errors import EngineError

    from .check import check as look

    found = list(look(data_dir))
    lines = [f"{'ok' if r.works else 'FAULT' if r.needed else '-':<6}{r.name:<20}{r.found}" for r in found]
    terminal.answer(lines, [{"name": r.name, "works": r.works, "found": r.found} for r in found])
    broken = [r.name for r in found if r.needed and not r.works]
    if broken:
        raise EngineError(f"the installation does not work: {', '.join(broken)}")


def main() -> NoReturn:
    """Run the command line."""
    app(prog_name="spikeport")
    raise SystemExit(0)


if __name__ == "__main__":
    main()
