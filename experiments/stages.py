"""The stages of a trial: load and train, convert, deploy, simulate, count. Shared ones are made once and kept in the
store.

A shared stage is named by the hash of the settings it depends on, so that trials which agree in them find it.
"""

from __future__ import annotations

import importlib
import time
import traceback
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from converters.convert import convert
from converters.importers import load_mlp as load_model
from converters.mlp import MLP
from converters.train import TrainOptions, train
from neuro import archive
from neuro.chip import load_chip
from neuro.deploy import Deployment, DeployOptions, deploy
from neuro.encoding import ENCODINGS, with_encoder
from neuro.engines import ENGINES, EngineOptions, Record, depends_on_steps, simulate, simulate_each
from neuro.errors import (
    CapacityError,
    ConversionError,
    DiskFullError,
    EngineError,
    NetworkError,
    SpecError,
    SpikeportError,
    UnsupportedModelError,
    VerificationError,
)
from neuro.network import SpikingNetwork
from neuro.progress import ProgressCallback
from neuro.readout import READOUTS, EarlyExit, Readout, with_spiking_output
from neuro.recording import Recording

from . import measure
from .config import Trial
from .datasets import Dataset
from .files import chip_path, find_file, load_data
from .provenance import forget_peak, machine, peak_memory, versions
from .store import Store, TrialResult, key_of

Array = np.ndarray
T = TypeVar("T")
Recorded = Callable[[SpikingNetwork | Deployment], Recording]

# A trial that these stop cannot be run, however often it is tried; anything else is a failure.
REFUSALS = (CapacityError, ConversionError, NetworkError, UnsupportedModelError, VerificationError)
# Methods whose result does not depend on T, so that one conversion serves all; others are converted for each T.
ANY_T = frozenset({"max_norm", "percentile_norm", "ltb", "v_init", "signed", "burst", "srp", "cos", "qcfs"})
ANY_T_GIVEN_STEPS = frozenset({"spike_norm", "rmp"})  # these only where their own n_steps is set
KEPT = 6  # values of each kind that a process holds in memory


@dataclass(frozen=True)
class Context:
    """What every worker must know beside the trial; plain values, so that it travels."""

    store: str
    store_id: str
    data_dir: str = ""
    folder: str = "."
    engine: dict[str, Any] | None = None
    keep_recordings: bool = False
    samples: int = 100
    traces: int = 2


@dataclass(frozen=True)
class Stage:
    """A shared stage of a trial, or the trial itself: kind, key, and the plain values of a trial that needs it.

    shorter : trials for fewer steps that the simulation of this one serves as well, which it answers, too;
    answered_by : the key of the trial that answers this one; alone : no other job needs the network, which is not kept.
    """

    kind: str
    key: str
    trial: dict[str, Any]
    shorter: tuple[dict[str, Any], ...] = ()
    answered_by: str = ""
    alone: bool = False

    @property
    def name(self) -> str:
        """Kind and key."""
        return f"{self.kind}-{self.key}"


@dataclass(frozen=True)
class Outcome:
    """What became of a stage: done, skipped (reason), failed (reason, trace), or full (no room on the disk).

    accuracy : of a trial that is done; stored : whether its record is in the store.
    """

    status: str
    reason: str = ""
    trace: str = ""
    accuracy: float | None = None
    stored: bool = False


def model_key(trial: Trial) -> str:
    """Return the name of the trained network: of a file, its content; of a training, all that decides it."""
    if trial.model.file:
        return key_of({"file": trial.model.sha256})
    data = msgspec.structs.replace(trial.data, limit=0, part="test")
    return key_of({"seed": trial.seed, "data": _plain(data), "hidden": list(trial.model.hidden), "train": trial.train})


def any_t(trial: Trial) -> bool:
    """Whether the conversion is the same for every T."""
    return all(s["name"] in ANY_T or (s["name"] in ANY_T_GIVEN_STEPS and s["n_steps"] is not None) for s in trial.steps)


def one_run_key(trial: Trial) -> str | None:
    """Return what trials share of which the longest run serves all, None for a trial whose run depends on T."""
    run = trial.run
    if run is None or not any_t(trial) or run.exit_threshold or run.readout == "delayed" or not ENCODINGS[run.encoding].prefix:
        return None
    return msgspec.structs.replace(trial, run=msgspec.structs.replace(run, n_steps=1)).key


def network_key(trial: Trial) -> str:
    """Return the name of the converted network."""
    n_steps = trial.run.n_steps if trial.run is not None and not any_t(trial) else None
    data = msgspec.structs.replace(trial.data, limit=0, part="test")
    return key_of(
        {
            "model": model_key(trial),
            "data": _plain(data),
            "seed": trial.seed,
            "convert": _plain(trial.convert),
            "n_steps": n_steps,
        }
    )


def deployment_key(trial: Trial) -> str:
    """Return the name of the deployment."""
    run = trial.run
    assert run is not None and trial.deploy is not None
    return key_of(
        {
            "network": network_key(trial),
            "encoding": run.encoding,
            "spiking_output": READOUTS[run.readout].spikes,
            "deploy": _plain(trial.deploy),
        }
    )


def stages_of(trial: Trial) -> list[Stage]:
    """Return the shared stages a trial needs, in order; each needs the one before it."""
    chain = [("model", model_key(trial))]
    if trial.convert is not None:
        chain.append(("network", network_key(trial)))
        if trial.deploy is not None:
            chain.append(("deployment", deployment_key(trial)))
    return [Stage(kind, key, trial.plain) for kind, key in chain]


def load_engines() -> None:
    """Load what engines need, in the main thread: Brian2 installs a handler for Ctrl-C, which other threads may not."""
    for name in ENGINES:
        importlib.import_module(f"neuro.engines.{name}")


def work(stage: Stage, context: Context, progress: ProgressCallback | None = None) -> Outcome:
    """Carry out a shared stage or a trial, in whatever process; never raises what belongs to the trial."""
    trial = Trial.of(stage.trial)
    try:
        store = Store(context.store, create=False)
        if store.id != context.store_id:
            raise EngineError(
                f"{context.store} is another store on this worker; put it on a file system that all workers share"
            )
        bench = Bench(store, context, progress, stage.alone)
        if stage.kind == "trial":
            answered = answer_of(store, stage) if stage.answered_by else None
            return answered or bench.run(trial, [Trial.of(other) for other in stage.shorter])
        {"model": bench.model, "network": bench.network, "deployment": bench.deployment}[stage.kind](trial)
        return Outcome("done")
    except DiskFullError as error:
        return Outcome("full", str(error))
    except REFUSALS as error:
        return Outcome("skipped", f"{type(error).__name__}: {error}", traceback.format_exc())
    except Exception as error:
        return Outcome("failed", f"{type(error).__name__}: {error}", traceback.format_exc())


def answer_of(store: Store, stage: Stage) -> Outcome | None:
    """Return what became of a trial that the simulation of a longer one was to answer, None when it has no record."""
    found = store.get(stage.key, arrays=False)
    if found is None or found.provenance.get("answered_by") != stage.answered_by:
        return None
    score = found.result.get("row", {}).get("accuracy")
    accuracy = float(score["value"]) if isinstance(score, dict) else None
    return Outcome(found.status, found.reason, found.trace, accuracy, stored=True)


@dataclass(frozen=True, eq=False)
class Source:
    """A trained network and its answers on the test samples: outputs (n, n_out)."""

    mlp: MLP
    outputs: Array


class Bench:
    """Where a process works: a store, and the values it has in hand."""

    _memory: OrderedDict[tuple[str, str, str], Any] = OrderedDict()

    def __init__(self, store: Store, context: Context, progress: ProgressCallback | None = None, alone: bool = False) -> None:
        self.store, self.context, self.progress, self._alone = store, context, progress, alone

    # -- shared stages ------------------------------------------------------------------------------

    def data(self, trial: Trial) -> Dataset:
        """Return the data set, its test part cut to ``data.limit``."""

        def make() -> Dataset:
            return load_data(trial.data, Path(self.context.folder), self.context.data_dir, self.progress)

        return self._held("data", key_of(_plain(trial.data)), make)

    def model(self, trial: Trial) -> MLP:
        """Return the trained network: read from its file, or trained."""
        key = model_key(trial)

        def make() -> MLP:
            data = self.data(trial)
            if trial.model.file:
                path = find_file(trial.model.file, Path(self.context.folder), self.context.data_dir)
                mlp = load_model(str(path))
                mlp = replace(mlp, info={**mlp.info, "file": trial.model.file, "sha256": trial.model.sha256})
            else:
                options = msgspec.convert({**(trial.train or {}), "seed": trial.seed}, TrainOptions)
                widths = (data.n_in, *trial.model.hidden, data.n_out)
                began = time.perf_counter()
                mlp = train(widths, data.x_train, data.y_train, options, progress=self.progress)
                training = {**mlp.info.get("training", {}), "seconds": time.perf_counter() - began}
                mlp = replace(mlp, info={**mlp.info, "training": training})
            causes = _disagreements(mlp, data)
            if causes:
                raise SpecError(f"the network does not fit the data set {data.name}: {'; '.join(causes)}")
            return replace(mlp, classes=mlp.classes or data.classes, input_shape=mlp.input_shape or data.input_shape)

        return self._kept("model", key, make, MLP.save, MLP.load)

    def source(self, trial: Trial) -> Source:
        """Return the trained network with its answers on the test samples."""
        key = key_of({"model": model_key(trial), "data": _plain(trial.data)})

        def answers() -> Array:
            return self.model(trial).forward(self.data(trial).x_test)

        def save(outputs: Array, path: Path) -> None:
            archive.save(path, "spikeport.answers", 1, {}, {"outputs": outputs})

        def load(path: Path) -> Array:
            return archive.load(path, "spikeport.answers", 1)[1]["outputs"]

        return Source(self.model(trial), self._kept("answers", key, answers, save, load))

    def network(self, trial: Trial) -> SpikingNetwork:
        """Return the converted network, before encoder and spiking read-out."""
        settings, run = trial.convert, trial.run
        assert settings is not None and run is not None
        key = network_key(trial)

        def make() -> SpikingNetwork:
            data = self.data(trial)
            x = data.x_train
            chosen = np.random.Generator(np.random.Philox(trial.seed)).permutation(len(x))[: settings.calibration]
            return convert(
                self.model(trial),
                calibration=x[np.sort(chosen)],
                method=trial.steps,
                n_steps=None if any_t(trial) else run.n_steps,
                grid=settings.grid or None,
                v_init=settings.v_init,
                progress=self.progress,
            )

        if self._alone:
            return self._held("network", key, make)
        return self._kept("network", key, make, SpikingNetwork.save, SpikingNetwork.load)

    def prepared(self, trial: Trial) -> SpikingNetwork:
        """Return the network with the encoder and the read-out population that the trial asks for."""
        run = trial.run
        assert run is not None
        network = self.network(trial)
        if READOUTS[run.readout].spikes:
            network = with_spiking_output(network)
        return with_encoder(network, run.encoding)

    def deployment(self, trial: Trial) -> Deployment:
        """Return the network on the chip."""
        settings = trial.deploy
        assert settings is not None

        def make() -> Deployment:
            chip = load_chip(chip_path(settings.chip, Path(self.context.folder)))
            return deploy(self.prepared(trial), chip, msgspec.convert(settings.options, DeployOptions))

        return self._kept("deployment", deployment_key(trial), make, Deployment.save, Deployment.load)

    # -- the trial ----------------------------------------------------------------------------------

    def run(self, trial: Trial, shorter: Sequence[Trial] = ()) -> Outcome:
        """Run a trial and put its result into the store; first those of ``shorter`` that its simulation serves as well."""
        recordings: dict[int, Recording] = {}

        def simulated(target: SpikingNetwork | Deployment) -> Recording:
            steps = [other.run.n_steps for other in shorter if other.run is not None]
            recordings.update(self._recorded(trial, target, steps))
            return recordings[max(recordings)]

        outcome = self._answer(trial, simulated, {"served": len(shorter)} if shorter else {})
        for other in shorter:
            assert other.run is not None
            found = recordings.get(other.run.n_steps)
            if found is not None:
                self._answer(other, lambda _, found=found: found, {"answered_by": trial.key})  # type: ignore[misc]
        return outcome

    def _answer(self, trial: Trial, recorded: Recorded, notes: dict[str, Any]) -> Outcome:
        """Measure a trial and put its result into the store; ``recorded`` gives the Recording of what it ran."""
        forget_peak()
        began, status, reason, trace = time.perf_counter(), "done", "", ""
        measured = measure.Measured({}, {})
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.filterwarnings("always", category=UserWarning, module=r"(experiments|converters|neuro)\.")
                measured = self._measure(trial, recorded)
            said = tuple(dict.fromkeys(str(w.message) for w in caught if _for_user(w.category)))
            measured.result["warnings"] = list(said)
        except DiskFullError:
            raise
        except REFUSALS as error:
            status, reason, trace = "skipped", f"{type(error).__name__}: {error}", traceback.format_exc()
        except Exception as error:
            status, reason, trace = "failed", f"{type(error).__name__}: {error}", traceback.format_exc()
        provenance = {
            "versions": versions(),
            "machine": machine(),
            "seed": trial.seed,
            "seconds": time.perf_counter() - began,
            "peak_memory": peak_memory(),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **notes,
        }
        self.store.put(
            TrialResult(
                key=trial.key,
                trial=trial.plain,
                status=status,  # type: ignore[arg-type]
                result=measured.result,
                arrays=measured.arrays,
                provenance=provenance,
                reason=reason,
                trace=trace,
            )
        )
        accuracy = measured.accuracy if trial.convert is not None else None
        return Outcome(status, reason, trace, accuracy, stored=True)

    def _measure(self, trial: Trial, recorded: Recorded) -> measure.Measured:
        data, source = self.data(trial), self.source(trial)
        ann = ann_key(trial)
        if trial.convert is None:
            return measure.ann(trial, ann, source.mlp, source.outputs, data)
        deployment = self.deployment(trial) if trial.deploy is not None else None
        network = self.prepared(trial) if deployment is None else deployment.network
        target = network if deployment is None else deployment
        recording = recorded(target)
        if self.context.keep_recordings:
            recording.save(self.store.folder / "recordings" / f"{trial.key}.npz")
        wanted, watched = self._wanted(network, len(data.x_test)), None
        if wanted.rates:
            # A recording that stands for several T has no rates of its own: then a second, short run.
            watched = recording if recording.sample_rates else self._simulated(trial, target, data.x_test[: wanted.rates], wanted)
        return measure.spiking(trial, ann, source.mlp, source.outputs, data, target, recording, watched)

    def _wanted(self, network: SpikingNetwork, n: int) -> Record:
        """Return what is recorded for the page of a run of n samples: rates of the first of them, spikes and potentials of a few."""
        count = min(self.context.samples, n)
        if not count or network.recurrent:
            return Record()
        samples = tuple(range(min(self.context.traces, count)))
        spiking = tuple(p.name for p in network.populations if p.spiking)
        inner = tuple(p.name for p in network.populations if p.encoder is None)
        return Record(rates=count, spikes=spiking if samples else (), potentials=inner if samples else (), samples=samples)

    def _recorded(self, trial: Trial, target: SpikingNetwork | Deployment, shorter: Sequence[int]) -> dict[int, Recording]:
        """Simulate the test samples; return {T: Recording} of the trial's T and of the shorter ones, where one run serves all."""
        run, x = trial.run, self.data(trial).x_test
        assert run is not None
        network = target.network if isinstance(target, Deployment) else target
        if not shorter or depends_on_steps(network, readout=run.readout):
            return {run.n_steps: self._simulated(trial, target, x, self._wanted(network, len(x)))}
        return simulate_each(
            target,
            x,
            (*shorter, run.n_steps),
            engine=run.engine,
            readout=Readout(kind=run.readout),
            seed=trial.seed,
            options=msgspec.convert(self.context.engine or {}, EngineOptions),
            progress=self.progress,
        )

    def _simulated(self, trial: Trial, target: SpikingNetwork | Deployment, x: Array, record: Record) -> Recording:
        run = trial.run
        assert run is not None
        early = None
        if run.exit_threshold:
            early = EarlyExit(threshold=run.exit_threshold, measure=run.exit_measure, min_steps=run.exit_min_steps)  # type: ignore[arg-type]
        return simulate(
            target,
            x,
            run.n_steps,
            engine=run.engine,
            readout=Readout(kind=run.readout, start=run.readout_start),
            record=record,
            early_exit=early,
            seed=trial.seed,
            options=msgspec.convert(self.context.engine or {}, EngineOptions),
            progress=self.progress,
        )

    # -- values in hand -----------------------------------------------------------------------------

    def _held(self, kind: str, key: str, make: Callable[[], T]) -> T:
        """Return a value from this process's memory, else make it; the oldest of its kind goes when there are too
        many."""
        memory, name = self._memory, (self.context.store, kind, key)
        if name in memory:
            memory.move_to_end(name)
            return memory[name]
        value = memory[name] = make()
        same = [other for other in memory if other[1] == kind]
        for other in same[: max(0, len(same) - KEPT)]:
            memory.pop(other, None)
        return value

    def _kept(
        self, kind: str, key: str, make: Callable[[], T], save: Callable[[T, Path], Any], load: Callable[[Path], T]
    ) -> T:
        return self._held(kind, key, lambda: self.store.shared(kind, key, make, save, load))


def ann_key(trial: Trial) -> str:
    """Return the key of the ANN's own trial, which every run of it is compared with."""
    return msgspec.structs.replace(trial, convert=None, run=None, deploy=None).key


def _for_user(category: type[Warning]) -> bool:
    return issubclass(category, UserWarning) and not issubclass(category, DeprecationWarning)


def _plain(settings: Any) -> Any:
    return msgspec.to_builtins(settings)


def _disagreements(mlp: MLP, data: Dataset) -> list[str]:
    causes = []
    if mlp.n_in != data.n_in:
        causes.append(f"it takes {mlp.n_in} inputs, a sample has {data.n_in}")
    if mlp.n_out != data.n_out:
        causes.append(f"it has {mlp.n_out} outputs, the data {data.n_out}")
    if mlp.recurrent != data.sequences:
        causes.append("one of the two is made of sequences, the other is not")
    return causes


__all__ = ["Bench", "Context", "Outcome", "SpikeportError", "Stage", "ann_key", "stages_of", "work"]
