"""What a config will do, before it does it: its trials, what contradicts, and an estimate of time and memory."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from converters.methods import check_start, resolve
from neuro.chip import load_chip
from neuro.errors import SpecError, SpikeportError, problems

from .config import (
    RUN_NAMES,
    ConvertSettings,
    DataSettings,
    DeploySettings,
    Experiment,
    ModelSettings,
    Trial,
    is_chip,
    unknown_chip,
    unknown_name,
)
from .datasets import Dataset
from .datasets.base import sha256_file
from .files import chip_path, find_file, load_data
from .stages import stages_of
from .store import Store, key_of

MEGABYTE = 1 << 20
T = TypeVar("T", DataSettings, ModelSettings, DeploySettings)

# Rates of one core of a small server, for an estimate before anything has been measured.
FLOP_RATE = 2e10  # training and multiplication [1/s]
SYNAPSE_RATE = 3e9  # synaptic operations an engine delivers [1/s]
NEURON_RATE = 4e8  # neuron updates an engine makes [1/s]
ACTIVITY = 0.15  # spikes a neuron and step
OVERHEAD = 0.3  # of a trial [s]
PROCESS_MEMORY = 400 * MEGABYTE  # of an idle worker: Python, numba, Brian2


@dataclass(frozen=True)
class Plan:
    """The trials of a config, those without a result in the store, and what they will take.

    stages : {kind: shared stages that must be made}.
    seconds : in one process; memory : [byte] of one process. An estimate from rates of a typical core, within a
        factor of
        three or so; ``measured`` says that the store held trials of this experiment to correct it by.
    """

    trials: tuple[Trial, ...]
    missing: tuple[Trial, ...]
    stages: Mapping[str, int]
    seconds: float
    memory: float
    measured: bool


def plan(experiment: Experiment, folder: str | os.PathLike[str] | None = None, data_dir: str = "") -> Plan:
    """Return what a run would do; nothing is run or written (a data set may be downloaded).

    Raises
    ------
    SpecError : contradictory settings, unknown names and missing files, all at once.
    """
    experiment = resolved(experiment, data_dir)
    store = Store(folder, create=False) if folder is not None and (Path(folder) / "store.json").exists() else None
    missing = [t for t in experiment.trials if store is None or store.status(t.key) not in ("done", "skipped")]
    sizes = {
        key_of(msgspec.to_builtins(d)): _size(d, load_data(d, experiment.folder, data_dir)) for d in experiment.data
    }

    def size(trial: Trial) -> _Size:
        return sizes[key_of(msgspec.to_builtins(trial.data))]

    made: dict[str, dict[str, float]] = {}
    for trial in missing:
        for stage in stages_of(trial):
            if store is None or not store.has_shared(stage.kind, stage.key):
                made.setdefault(stage.kind, {})[stage.key] = _stage_seconds(stage.kind, trial, size(trial))
    seconds = {t.key: _trial_seconds(t, size(t)) for t in experiment.trials}
    ratios = []
    for trial in experiment.trials if store is not None else ():
        found = store.get(trial.key, arrays=False) if store is not None else None
        if found is not None and found.status == "done" and trial.run is not None:
            ratios.append(found.provenance["seconds"] / seconds[trial.key])
    factor = statistics.median(ratios) if ratios else 1.0
    return Plan(
        trials=experiment.trials,
        missing=tuple(missing),
        stages={kind: len(keys) for kind, keys in made.items()},
        seconds=factor * sum(seconds[t.key] for t in missing) + sum(sum(keys.values()) for keys in made.values()),
        memory=max((_memory(t, size(t)) for t in missing), default=0.0),
        measured=bool(ratios),
    )


def resolved(experiment: Experiment, data_dir: str = "") -> Experiment:
    """Return the experiment with the SHA-256 of every file it names, after looking for contradictions.

    Raises
    ------
    SpecError : everything that contradicts or is missing, at once.
    """
    causes = contradictions(experiment)

    def fill(settings: tuple[T, ...], digest: Callable[[T], str]) -> tuple[T, ...]:
        filled = []
        for one in settings:
            try:
                filled.append(msgspec.structs.replace(one, sha256=digest(one)))
            except (SpikeportError, OSError) as error:
                causes.append(str(error))
        return tuple(filled)

    def of_file(name: str) -> str:
        return sha256_file(find_file(name, experiment.folder, data_dir))

    def of_chip(deploy: DeploySettings) -> str:
        if not is_chip(deploy.chip):
            return ""  # named among the contradictions
        return load_chip(chip_path(deploy.chip, experiment.folder)).sha256

    data = fill(experiment.data, lambda d: of_file(d.name) if d.name.endswith((".npz", ".csv", ".gz")) else "")
    model = fill(experiment.model, lambda m: of_file(m.file) if m.file else "")
    deploy = fill(experiment.deploy, of_chip)
    if causes:
        raise SpecError(
            problems(f"{experiment.title}: the settings cannot be run together:", list(dict.fromkeys(causes)))
        )
    return replace(experiment, data=data, model=model, deploy=deploy)


def contradictions(experiment: Experiment) -> list[str]:
    """Return what is unknown in the settings, or contradicts, in words."""
    causes = []
    for run in experiment.run:
        causes += [unknown_name(what, getattr(run, what)) for what in RUN_NAMES if getattr(run, what) not in RUN_NAMES[what]]
        if run.exit_threshold and run.exit_min_steps > run.n_steps:
            causes.append(
                f"run.exit_min_steps {run.exit_min_steps} is above run.n_steps {run.n_steps}: no sample could stop"
            )
        if run.readout_start and run.readout != "delayed":
            causes.append(
                f"run.readout_start {run.readout_start} has no effect with readout {run.readout!r}; it is for 'delayed'"
            )
        if run.readout == "delayed" and run.readout_start >= run.n_steps:
            causes.append(f"run.readout_start {run.readout_start} leaves none of the {run.n_steps} steps to read")
    for convert in experiment.convert:
        causes += _chain_problems(convert)
        protocols = [name for name in convert.method.split("+") if name in ("srp", "cos")]
        if protocols and experiment.deploy:
            causes.append(
                f"convert.method {convert.method!r} needs a presentation protocol, which chips refuse: "
                "run it with deploy.chip = [] or leave it out"
            )
        if protocols and any(run.exit_threshold for run in experiment.run):
            causes.append(
                f"convert.method {convert.method!r} decides after its pre-steps: run.exit_threshold cannot go with it"
            )
    causes += [unknown_chip(deploy.chip) for deploy in experiment.deploy if not is_chip(deploy.chip)]
    return list(dict.fromkeys(causes))


def _chain_problems(convert: ConvertSettings) -> list[str]:
    """Return why the steps of a method do not go together, or not with the initial potential; one line."""
    try:
        check_start(resolve(convert.steps), convert.v_init)
    except SpecError as error:
        return [" ".join(line.strip() for line in str(error).splitlines())]
    return []


@dataclass(frozen=True)
class _Size:
    train: int
    test: int
    inputs: int
    outputs: int
    positions: int


def _size(settings: DataSettings, data: Dataset) -> _Size:
    test = min(settings.limit or len(data.x_test), len(data.x_test))
    return _Size(len(data.x_train), test, data.n_in, data.n_out, data.x_train.shape[1] if data.sequences else 1)


def _shape(trial: Trial, size: _Size) -> tuple[float, float, float]:
    """Return (weights of the first layer, other weights, neurons) of the network, of a file by its bytes."""
    if trial.model.file:
        return 3e5, 3e5, 2000.0
    widths = [size.inputs, *trial.model.hidden, size.outputs]
    weights = [float(a * b) for a, b in zip(widths, widths[1:], strict=False)]
    return weights[0], sum(weights[1:]), float(sum(widths[1:]))


def _stage_seconds(kind: str, trial: Trial, size: _Size) -> float:
    first, others, _ = _shape(trial, size)
    passes = 6.0 * (first + others) * size.positions / FLOP_RATE
    if kind == "model":
        epochs = float((trial.train or {}).get("epochs", 30))
        return 0.1 if trial.model.file else passes * size.train * min(epochs, 30.0)
    calibration = trial.convert.calibration if trial.convert else 0
    iterations = _largest(trial.convert.options if trial.convert else {}, "iterations", 10.0)
    return 0.2 + passes * min(calibration, size.train) * (iterations if kind == "network" else 1.0)


def _largest(options: Mapping[str, Any], name: str, default: float) -> float:
    values = [
        _largest(v, name, default) if isinstance(v, dict) else v
        for k, v in options.items()
        if k == name or isinstance(v, dict)
    ]
    return max((float(v) for v in values), default=default)


def _trial_seconds(trial: Trial, size: _Size) -> float:
    first, others, neurons = _shape(trial, size)
    forward = 2.0 * (first + others) * size.test * size.positions / FLOP_RATE
    if trial.run is None:
        return OVERHEAD / 3 + 3 * forward
    steps = trial.run.n_steps * size.test * size.positions
    constant = trial.run.encoding == "constant"
    events = steps * ACTIVITY * (others if constant else first + others) / SYNAPSE_RATE
    slow = 20.0 if trial.run.engine == "reference" else 1.0
    return OVERHEAD + forward + slow * (events + steps * neurons / NEURON_RATE)


def _memory(trial: Trial, size: _Size) -> float:
    first, others, neurons = _shape(trial, size)
    samples = 4.0 * (size.train + 3 * size.test) * size.inputs * size.positions
    answers = size.test * (8.0 * size.outputs + 2.0 * (trial.run.n_steps if trial.run else 0) + 200)
    return PROCESS_MEMORY + samples + 24.0 * (first + others) + 2000.0 * neurons + answers
