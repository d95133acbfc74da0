"""One stage by itself, from files to files: settings as in an experiment file, but one value each."""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec
import numpy as np

from neuro import archive
from neuro.errors import SpecError, SpikeportError, StoreError, nearest, problems
from neuro.network import SpikingNetwork
from neuro.progress import ProgressCallback

from .config import Trial, parse
from .units import count, percent, percent_range, seconds, si, si_range

if TYPE_CHECKING:
    from converters.exporters import Exported
    from converters.importers import LoadOptions
    from converters.mlp import MLP
    from neuro.deploy import Deployment
    from neuro.recording import Recording

    from .datasets import Dataset

S = TypeVar("S", bound=msgspec.Struct)
DEFAULT_STEPS = 8
AUTO_SAMPLES = 8000  # a quarter is held out: 2,000 resolve 0.05 points of disagreement
EXPLAINED = 500  # test samples that an explanation is made on


class Saved(Protocol):
    """What a stage makes: something that can be saved."""

    def save(self, path: Path) -> Path:
        """Write it to a file."""


@dataclass(frozen=True)
class Made:
    """What a stage made, what to say of it (what was done, how it came out), and the same as plain values."""

    value: Saved
    lines: tuple[tuple[str, str], ...]
    facts: dict[str, Any] = field(default_factory=dict)


# -- settings ---------------------------------------------------------------------------------------


def settings(user: Sequence[str] = (), **given: Any) -> Trial:
    """Return the settings of one run: defaults, what the command's own options say, then ``--set``.

    ``given`` carries the command's options, ``run_n_steps=8`` for ``run.n_steps``; None leaves a setting alone.

    Raises
    ------
    SpecError : unknown settings (with the nearest known one) or wrong values, all at once; a list of values.
    """
    from .plan import contradictions

    own = [f"{name.replace('_', '.', 1)}={json.dumps(value)}" for name, value in given.items() if value is not None]
    experiment = parse("", name="the settings", overrides=["deploy.reset=construction", *own, *user])
    causes = contradictions(experiment)
    if causes:
        raise SpecError(problems("the settings cannot be used:", causes))
    if len(experiment.trials) != (3 if experiment.deploy else 2):  # the network itself, ideal arithmetic, the chip
        raise SpecError("--set: a list of values makes a grid, which is for 'spikeport compare'; give one value to each setting here")
    return experiment.trials[-1]


def apart(user: Sequence[str], table: str, kind: type[S]) -> tuple[S, list[str]]:
    """Return the settings of one table that experiment files do not have (``load``, ``engine``), and the other ones.

    Raises
    ------
    SpecError : unknown settings or wrong values.
    """
    mine, others, values = f"{table}.", [], {}
    for item in user:
        name, _, text = item.partition("=")
        if not name.startswith(mine):
            others.append(item)
            continue
        key = name.removeprefix(mine)
        if key not in kind.__struct_fields__:
            raise SpecError(f"--set {item}: {key!r} is not a setting of {table}{nearest(key, kind.__struct_fields__)}")
        try:
            values[key] = tomllib.loads(f"x = {text}")["x"]
        except tomllib.TOMLDecodeError:
            values[key] = text
    try:
        return msgspec.convert(values, kind), others
    except msgspec.ValidationError as error:
        raise SpecError(f"--set {table}: {error}") from error


# -- data and files ---------------------------------------------------------------------------------


def load_data(name: str, data_dir: Path | None, trial: Trial, progress: ProgressCallback | None = None) -> Dataset:
    """Return a data set with the split that the settings ask for."""
    from .datasets import load_dataset

    return load_dataset(name, data_dir, trial.data.split_seed, trial.data.options or None, progress)


def calibration(data: Dataset, trial: Trial) -> np.ndarray:
    """Return the training samples that thresholds are chosen on, drawn by the seed; the same as in a comparison."""
    assert trial.convert is not None
    chosen = np.random.Generator(np.random.Philox(trial.seed)).permutation(len(data.x_train))[: trial.convert.calibration]
    return data.x_train[np.sort(chosen)]


def fits(n_in: int, n_out: int | None, data: Dataset) -> None:
    """Raise SpecError where a network and a data set disagree; without ``n_out`` in the inputs alone."""
    causes = []
    if n_in != data.n_in:
        causes.append(f"it takes {n_in} inputs, a sample has {data.n_in}")
    if n_out is not None and n_out != data.n_out:
        causes.append(f"it has {n_out} outputs, the data {data.n_out}")
    if causes:
        raise SpecError(f"the network does not fit the data set {data.name}: {'; '.join(causes)}")


@dataclass(frozen=True)
class Kind:
    """A kind of file of ours: its format's name, what people call it, and the command that makes it."""

    format_name: str
    title: str
    command: str


NIR = ".nir"  # the one foreign format that holds spiking networks
KINDS = (
    Kind("spikeport.mlp", "a trained network", "train"),
    Kind("spikeport.network", "a spiking network", "convert"),
    Kind("spikeport.deployment", "a deployment", "deploy"),
    Kind("spikeport.recording", "a recording", "run"),
    Kind("spikeport.comparison", "a comparison", "compare"),
)


def kind_of(path: Path, wanted: Sequence[str]) -> str:
    """Return which of our formats a file has, of those a command takes; name what was found otherwise.

    Raises
    ------
    StoreError : no such file, not ours, or of another kind.
    """
    if not path.exists():
        raise StoreError(f"{path}: no such file")
    header = archive.peek(path) if path.is_file() else None
    found = None if header is None else header.get("format")
    if found in wanted:
        return str(found)
    known = {kind.format_name: kind for kind in KINDS}
    titles = " or ".join(known[name].title for name in wanted)
    commands = " or ".join(f"'spikeport {known[name].command}'" for name in wanted)
    what = known[found].title if found in known else "a folder" if path.is_dir() else "a file that spikeport did not write"
    raise StoreError(f"{path}: is {what}, expected {titles}, as {commands} makes it")


def read_model(path: Path, options: LoadOptions) -> MLP:
    """Return the trained network of a file; an error names the file."""
    from converters.importers import load_mlp

    try:
        return load_mlp(path, options=options)
    except SpikeportError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error


def holds_spiking(path: Path) -> bool:
    """Whether a file holds a spiking network or a deployment, by its suffix or its header."""
    if path.suffix.lower() != ".npz":
        return path.suffix.lower() == NIR
    try:
        header = archive.peek(path)
    except StoreError:  # the importer says what is wrong with it
        return False
    return header is not None and header.get("format") in ("spikeport.network", "spikeport.deployment")


def load_runnable(path: Path, options: LoadOptions) -> SpikingNetwork | Deployment:
    """Return the spiking network or the deployment of a file of ours, or the spiking network of a NIR file."""
    if path.suffix.lower() == NIR:
        return load_spiking(path, options)
    if kind_of(path, ("spikeport.network", "spikeport.deployment")) == "spikeport.network":
        return SpikingNetwork.load(path)
    from neuro.deploy import Deployment

    return Deployment.load(path)


def load_spiking(path: Path, options: LoadOptions) -> SpikingNetwork:
    """Return the spiking network of a file of ours or of a NIR file."""
    if path.suffix.lower() == NIR:
        from converters.importers import load_network

        return load_network(path, options=options)
    kind_of(path, ("spikeport.network",))
    return SpikingNetwork.load(path)


# -- stages -----------------------------------------------------------------------------------------


def train(
    dataset: str, hidden: Sequence[int], seed: int, user: Sequence[str], data_dir: Path | None, progress: ProgressCallback
) -> Made:
    """Train a network on a data set."""
    from converters.train import TrainOptions
    from converters.train import train as fit

    from .metrics import accuracy, r2

    trial = settings(user, seeds=[seed], data_name=dataset, model_hidden=list(hidden))
    data = load_data(dataset, data_dir, trial, progress)
    options = msgspec.convert({**(trial.train or {}), "seed": trial.seed}, TrainOptions)
    began = time.perf_counter()
    mlp = fit((data.n_in, *trial.model.hidden, data.n_out), data.x_train, data.y_train, options, progress=progress)
    took = time.perf_counter() - began
    mlp = replace(mlp, classes=data.classes, task=data.task, input_shape=tuple(data.input_shape))
    facts: dict[str, Any] = {"sizes": list(mlp.sizes), "seconds": took}
    if data.task == "classification":
        share = accuracy(data.y_test, mlp.predict(data.x_test))
        facts["test_accuracy"] = [share.value, share.low, share.high]
        result = ("test accuracy (95 %)", f"{percent_range(share.value, share.low, share.high, 2)} of {len(data.x_test):,} samples")
    else:
        facts["test_r2"] = r2(data.y_test, mlp.forward(data.x_test))
        result = ("test R2", f"{facts['test_r2']:.4f} on {len(data.x_test):,} samples")
    return Made(mlp, (described(data), (f"trained {widths(mlp.sizes)}", training(mlp.info["training"], took)), result), facts)


def convert(
    model: Path,
    dataset: str,
    method: str,
    n_steps: int | None,
    user: Sequence[str],
    data_dir: Path | None,
    progress: ProgressCallback,
    *,
    target_loss: float | None = None,
    explain: bool = False,
) -> Made:
    """Convert a trained network into a spiking one; ``"auto"`` also chooses T where ``n_steps`` is None."""
    from converters.convert import convert as run
    from converters.importers import LoadOptions
    from converters.verify import verify

    options, user = apart(user, "load", LoadOptions)
    automatic = method == "auto"
    if n_steps is None and not automatic:
        n_steps = DEFAULT_STEPS
    if target_loss is not None and not automatic:
        raise SpecError(f"--target-loss is for --method auto; {method!r} has no target")
    few = automatic and not any(item.startswith("convert.calibration=") for item in user)
    trial = settings(
        user,
        data_name=dataset,
        convert_method="ltb" if automatic else method,
        convert_calibration=AUTO_SAMPLES if few else None,
        run_n_steps=n_steps or DEFAULT_STEPS,
        deploy_chip=[],
    )
    assert trial.convert is not None
    mlp = read_model(model, options)
    data = load_data(dataset, data_dir, trial, progress)
    fits(mlp.n_in, None, data)  # no method looks at the answers
    samples = calibration(data, trial)
    grid, v_init = trial.convert.grid or None, trial.convert.v_init
    network = run(
        mlp,
        calibration=samples,
        method="auto" if automatic else trial.steps,
        n_steps=n_steps,
        grid=grid,
        v_init=v_init,
        target_loss=0.1 if target_loss is None else target_loss,
        progress=progress,
    )
    n_steps = int(network.info["n_steps"])
    checked = verify(network, mlp, samples, n_steps)
    same = percent(checked.agreement) if mlp.task == "classification" else f"R2 {checked.agreement:.4f}"
    label = "+".join(step["name"] for step in network.info["method"]) + (" (auto)" if automatic else "")
    made_from = f"thresholds from {network.info['calibration_samples']:,} training samples"
    if automatic:
        made_from += f", chosen on {network.info['auto']['held_out']:,} others"
    lines = [
        described(data),
        (f"converted with {label}", f"{widths(mlp.sizes)}, {made_from}"),
        ("agrees with its source", f"{same} of {len(samples):,} training samples at T = {n_steps}"),
    ]
    layers = [msgspec.to_builtins(layer) for layer in checked.layers]
    facts = {"sha256": network.sha256, "method": label, "n_steps": n_steps, "agreement": checked.agreement, "layers": layers}
    for layer in checked.layers:
        fit = "-" if layer.correlation is None else f"{layer.correlation:.4f}"
        text = f"{layer.rate:.3f} spikes a step, {percent(layer.silent)} silent, {percent(layer.saturated)} saturated, correlation {fit}"
        dead = network.info["steps"].get("thresholds", {}).get(layer.name, {}).get("dead", 0)
        if dead:
            text += f"; {dead:,} of {network[layer.name].size:,} neurons never active in calibration: they have the layer's lowest threshold"
        lines.append((f"  {layer.name}", text))
    if automatic:
        from converters.methods.auto import describe

        rows = [*describe(network.info["auto"]).splitlines(), "expect more disagreement on new samples if the network was trained on these"]
        lines += [("  auto" if i == 0 else "", row) for i, row in enumerate(rows)]
        facts["auto"] = network.info["auto"]
    if explain:
        from converters.explain import explain as why

        explained = why(network, mlp, data.x_test[:EXPLAINED], n_steps)
        rows = ["on test samples, which the conversion has not seen", *str(explained).splitlines()]
        lines += [("  why" if i == 0 else "", row) for i, row in enumerate(rows)]
        facts["explain"] = {"layers": [msgspec.to_builtins(e) for e in explained.layers], "findings": list(explained.findings)}
    return Made(network, tuple(lines), facts)


def deploy(network: Path, chip: str, user: Sequence[str], activity: Path | None = None) -> Made:
    """Put a spiking network on a chip; ``activity``: a recording of it whose spikes decide which cores lie close."""
    from converters.importers import LoadOptions
    from neuro.recording import Recording

    options, user = apart(user, "load", LoadOptions)
    recorded = None if activity is None else Recording.load(activity)
    snn = load_spiking(network, options)
    if recorded is not None and recorded.network_sha256 != snn.sha256:
        raise SpecError(
            f"{activity}: a recording of another network than {network} (SHA-256 {recorded.network_sha256[:12]}, expected {snn.sha256[:12]}); "
            "record this one, undeployed, with 'spikeport run'"
        )
    made = deployed(snn, settings(user, deploy_chip=chip), recorded)
    place = made.placement
    used = {name: highest for name, (_, highest) in place.utilisation().items()}
    chips = f" on {place.n_chips} chips" if place.n_chips > 1 else ""
    total = place.cores_per_chip * place.n_chips
    lines = [(f"deployed on {made.chip.name}", f"{len(place.cores)} of {total} cores{chips}, reset by {made.options.reset}")]
    lines += [(f"  {name.replace('_', ' ')}", f"{percent(share, 0)} in the fullest core") for name, share in used.items()]
    if place.traffic is not None:
        counted = "every neuron taken to fire alike" if activity is None else f"spikes as in {activity}"
        lines.append(("  traffic", f"{count(place.traffic)} spikes x tile hops an inference, on {place.n_tiles} tiles; {counted}"))
    lines += [("  note", note) for note in made.report.notes]
    facts = {"traffic": place.traffic, "tiles": place.n_tiles, "sha256": made.network.sha256, "cores": len(place.cores), "chips": place.n_chips, "fullest_core": used}
    return Made(made, tuple(lines), facts)


def source_of(network: Path, user: Sequence[str]) -> SpikingNetwork:
    """Return the spiking network that ``deploy`` put on a chip."""
    from converters.importers import LoadOptions

    return load_spiking(network, apart(user, "load", LoadOptions)[0])


def run(
    network: Path, dataset: str, n_steps: int, engine: str, chip: str, limit: int, estimated: bool, seed: int,
    user: Sequence[str], data_dir: Path | None, progress: ProgressCallback,
) -> Made:  # fmt: skip
    """Run a data set's test samples through a spiking network or a deployment.

    ``estimated``: read the answer out delayed, from a step that is estimated on calibration samples.
    """
    from converters.importers import LoadOptions
    from neuro.delayed import estimate_start
    from neuro.encoding import with_encoder
    from neuro.engines import EngineOptions, simulate
    from neuro.readout import READOUTS, EarlyExit, Readout, with_spiking_output

    options, user = apart(user, "engine", EngineOptions)
    reading, user = apart(user, "load", LoadOptions)
    own_encoding = not any(item.startswith("run.encoding") for item in user)
    if estimated and any(item.startswith("run.readout") for item in user):
        raise SpecError("--estimate-start chooses the read-out; leave out --set run.readout and run.readout_start")
    trial = settings(
        user, seeds=[seed], data_name=dataset, data_limit=limit, run_n_steps=n_steps, run_engine=engine, deploy_chip=chip or None
    )
    assert trial.run is not None
    loaded = load_runnable(network, reading)
    if isinstance(loaded, SpikingNetwork):
        if READOUTS[trial.run.readout].spikes and not loaded.output.spiking:
            loaded = with_spiking_output(loaded)
        if not own_encoding:
            loaded = with_encoder(loaded, trial.run.encoding)
        if chip:
            loaded = deployed(loaded, trial)
    elif chip:
        raise SpecError(f"{network}: is deployed already, on {loaded.chip.name}; leave --chip out, or give the spiking network")
    net = loaded if isinstance(loaded, SpikingNetwork) else loaded.network
    data = load_data(dataset, data_dir, trial, progress)
    fits(net.input_size, net.output.size, data)
    x = data.x_test[: trial.data.limit or None]
    early = None
    if trial.run.exit_threshold:
        measure: Any = trial.run.exit_measure
        early = EarlyExit(threshold=trial.run.exit_threshold, measure=measure, min_steps=trial.run.exit_min_steps)
    readout = Readout(kind=trial.run.readout, start=trial.run.readout_start)
    if estimated:
        readout = estimate_start(net, calibration(data, trial), trial.run.n_steps, options)
    recording = simulate(
        loaded,
        x,
        trial.run.n_steps,
        engine=trial.run.engine,
        encoding=None if own_encoding else trial.run.encoding,
        readout=readout,
        early_exit=early,
        seed=trial.seed,
        options=options,
        progress=progress,
    )
    return _ran(recording, loaded, data, trial)


def export(network: Path, out: Path, form: str, lossy: bool, n_steps: int | None, user: Sequence[str]) -> tuple[Exported, str]:
    """Write a spiking network or a deployment in another format; return what was written, and the format."""
    from converters.exporters import ExportOptions, exporter_of
    from converters.importers import LoadOptions

    given, user = apart(user, "export", ExportOptions)
    reading, user = apart(user, "load", LoadOptions)
    if user:
        raise SpecError(f"--set {user[0]}: export takes settings of the tables 'export' and 'load' only")
    options = msgspec.structs.replace(given, lossy=lossy or given.lossy, n_steps=given.n_steps if n_steps is None else n_steps)
    exporter = exporter_of(out, form)
    return exporter.write(load_runnable(network, reading), out, options), exporter.name


def _ran(recording: Recording, ran: SpikingNetwork | Deployment, data: Dataset, trial: Trial) -> Made:
    from neuro.activity import activity

    from .metrics import accuracy, r2

    n, took = recording.n_samples, recording.info["seconds"]
    counts = activity(recording)
    spikes, operations = counts.mean(counts.spikes), counts.mean(counts.synaptic_operations)
    lines = [described(data), ("simulated", f"{n:,} samples x {recording.n_steps} steps on {trial.run.engine}  {seconds(took)}")]  # type: ignore[union-attr]
    facts: dict[str, Any] = {
        "samples": n,
        "n_steps": recording.n_steps,
        "total_steps": recording.total_steps,
        "spikes": spikes,
        "synaptic_operations": operations,
        "seconds": took,
    }
    if data.task == "classification":
        share = accuracy(data.y_test[:n], recording.predictions)
        facts["accuracy"] = [share.value, share.low, share.high]
        lines.append(("accuracy (95 %)", percent_range(share.value, share.low, share.high, 2)))
    else:
        facts["r2"] = r2(data.y_test[:n], recording.outputs)
        lines.append(("R2", f"{facts['r2']:.4f}"))
    read = recording.info["readout"]
    if read["kind"] == "delayed":
        facts["readout_start"] = read["start"]
        lines.append(("read-out", f"delayed: without the first {read['start']} of {recording.n_steps} steps"))
    lines.append(("an inference", f"{count(spikes)} spikes, {count(operations)} synaptic operations, {recording.total_steps} steps"))
    if not isinstance(ran, SpikingNetwork):
        costs, more = _costs(recording, ran, data.x_test[:n])
        lines += costs
        facts |= more
    return Made(recording, tuple(lines), facts)


def _costs(recording: Recording, deployment: Deployment, inputs: Any) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """Return the energy and latency of an inference on the chip, with what is missing."""
    from neuro.activity import activity
    from neuro.energy import energy
    from neuro.latency import latency

    counts = activity(recording, deployment, inputs=inputs)
    spent, taken = energy(counts, deployment), latency(counts, deployment)
    lines = [("energy (low-high)", si_range(spent.total.value, spent.total.low, spent.total.high, "J"))]
    facts: dict[str, Any] = {"energy_joules": [spent.total.value, spent.total.low, spent.total.high], "latency_seconds": None}
    if taken.per_inference is not None:
        lines.append(("latency", si(taken.per_inference.value, "s")))
        facts["latency_seconds"] = [taken.per_inference.value, taken.per_inference.low, taken.per_inference.high]
    missing = list(dict.fromkeys((*spent.missing, *taken.missing)))
    lines += [("  not counted", text) for text in missing]
    return lines, {**facts, "not_counted": missing}


def deployed(network: SpikingNetwork, trial: Trial, activity: Recording | None = None) -> Deployment:
    """Return the network on the chip that the settings name; ``activity``: of it, for the places of its cores."""
    from neuro.chip import load_chip
    from neuro.deploy import DeployOptions
    from neuro.deploy import deploy as put

    assert trial.deploy is not None
    return put(network, load_chip(trial.deploy.chip), msgspec.convert(trial.deploy.options, DeployOptions), activity)


# -- words ------------------------------------------------------------------------------------------


def described(data: Dataset) -> tuple[str, str]:
    """Return name and size of a data set."""
    name, _, text = data.describe().partition(": ")
    return name, text


def widths(sizes: Sequence[int]) -> str:
    """Return the widths of a network, input first: 64-128-64-10."""
    return "-".join(map(str, sizes))


def training(facts: dict[str, Any], took: float | None) -> str:
    """Return how a training went: epoch of the best weights, loss, validation result, time."""
    history, best = facts.get("history", {}), facts.get("best_epoch", facts.get("epochs", 0))

    def at_best(name: str) -> float | None:
        values = history.get(name)
        return values[best - 1] if values and 0 < best <= len(values) else facts.get(name)

    parts = [f"epoch {best} of {facts.get('epochs', best)}"]
    loss, share, fit = (at_best(name) for name in ("loss", "validation_accuracy", "validation_r2"))
    parts += [] if loss is None else [f"loss {loss:.3g}"]
    parts += [] if share is None else [f"validation {percent(share)}"]
    parts += [] if fit is None else [f"validation R2 {fit:.3f}"]
    return "  ".join([*parts, *([] if took is None else [seconds(took)])])
