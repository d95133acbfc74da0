"""Run workloads: the ANN, the ideal spiking network at every T, its losses stage by stage, and every chip."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from converters.convert import convert
from converters.mlp import MLP
from experiments import diagnosis
from experiments.comparison import Range
from experiments.provenance import versions
from experiments.units import significant
from neuro import activity, energy, latency
from neuro.chip import load_chip
from neuro.conventional import ConventionalOptions, conventional
from neuro.deploy import Deployment, deploy
from neuro.engines import Record, depends_on_steps, simulate, simulate_each
from neuro.errors import CapacityError, SpikeportError
from neuro.estimate import Estimate
from neuro.network import SpikingNetwork
from neuro.progress import Progress
from neuro.recording import Recording

from . import WORKLOADS, build
from .base import Clip, Context, Extra, Fold, Metric, Respond, Task
from .limits import limited
from .measures import difference, interval
from .results import Bounds, Group, Layer, Losses, Number, OnChip, Outcome, Shown, Skipped, Stage, Step, Suite
from .sound import wav_uri
from .words import value

Array = np.ndarray
CHIPS = ("loihi1", "spinnaker1", "spinnaker2")
"""Chips whose file states a constant current and reset by subtraction; the others refuse these networks, and say why."""
DIGITAL = ConventionalOptions(nodes=("cmos_45nm",), precisions=("int8",), countings=("dense",), memories=("sram_1mib",), batches=(1,))
RATED = 200  # probes whose rates are recorded


@dataclass(frozen=True, eq=False)
class Ported:
    """A fold and its spiking network."""

    fold: Fold
    network: SpikingNetwork


def run(names: Sequence[str], context: Context, command: str = "", told: Callable[[Outcome | Skipped], None] | None = None) -> Suite:
    """Run workloads and return their outcomes; what cannot run here is named among the skipped, with the reason.

    Parameters
    ----------
    names : of ``WORKLOADS``.
    context : data, weights, progress.
    command : the command line, for the page.
    told : called with every outcome as it is there.
    """
    began = time.perf_counter()
    outcomes: list[Outcome] = []
    skipped: list[Skipped] = []

    def tell(what: Outcome | Skipped) -> None:
        if told is not None:
            told(what)

    for name in names:
        start = time.perf_counter()
        try:
            for task in build(name, context):
                outcomes.append(run_task(task, context, start))
                tell(outcomes[-1])
                start = time.perf_counter()
        except SpikeportError as error:
            if len(names) == 1:
                raise
            skipped.append(Skipped(name, WORKLOADS[name].title, str(error)))
            tell(skipped[-1])
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Suite(tuple(outcomes), tuple(skipped), created, time.perf_counter() - began, versions(), command)


def run_task(task: Task, context: Context, start: float | None = None) -> Outcome:
    """Run one task: convert each fold's network, sweep T, take the losses apart, deploy.

    Raises
    ------
    SpikeportError : a network that cannot be converted or whose result is silent or saturated.
    """
    start = time.perf_counter() if start is None else start
    with _collected() as said:
        return _Runner(task, context).outcome(start, said)


class _Runner:
    """One task on its way; what is computed once is kept."""

    def __init__(self, task: Task, context: Context) -> None:
        self.task, self.context = task, context
        self.ported = [Ported(fold, convert(fold.mlp, calibration=fold.calibration, method=task.method)) for fold in task.folds]
        self.deployed: dict[str, list[Deployment]] = {}
        self.swept: dict[tuple[int, int], tuple[Array, dict[int, Array]]] = {}
        self.done, self.total = 0, len(task.steps) + 5 + len(CHIPS)
        self.ann = self.facts(lambda p: p.fold.mlp.forward)
        self.ann_bounds = interval(task.metric, self.ann)

    def outcome(self, start: float, said: list[str]) -> Outcome:
        task, metric = self.task, self.task.metric
        by_t = {n: self.at(n) for n in task.steps}
        steps = tuple(self.step(n, facts) for n, facts in by_t.items())
        chosen, reached = choose(steps)
        spiking = by_t[chosen]
        before = max((n for n in task.steps if n < chosen), default=chosen)
        told = sorted({before, chosen})
        on_loihi, loihi_facts = self.chip(CHIPS[0], chosen)
        on_chip: tuple[Step, ...] = ()
        if loihi_facts is not None and not on_loihi.within:
            on_chip = tuple(self.step(n, loihi_facts if n == chosen else self.on_chip(CHIPS[0], n, sweep=True)) for n in task.steps)
        losses = tuple(self.losses(n, by_t[n], loihi_facts if n == chosen else None) for n in told)
        chips = (on_loihi, *(self.chip(name, chosen)[0] for name in CHIPS[1:]))
        first = self.ported[0]
        recording = self.record(first, chosen)
        work = conventional(first.fold.mlp, first.fold.probe, options=DIGITAL)
        design = work.designs[0]
        extras: Sequence[Extra] = ()
        if task.extras is not None:
            extras = task.extras(first.fold.mlp.forward, self.spiking(first.network, chosen, sweep=True), first.network, chosen)
        return Outcome(
            name=task.name,
            title=task.title,
            kind=task.kind,
            method=method_name(task.method),
            unit=task.unit,
            n=len(self.ann),
            metric=metric.name,
            metric_unit=metric.unit,
            better=metric.better,
            ann=bounds(self.ann_bounds),
            baselines=tuple(Number(name, metric.unit, bounds(interval(metric, facts))) for name, facts in task.baselines),
            steps=steps,
            n_steps=chosen,
            reached=reached,
            lost=sentence(next(s for s in steps if s.n_steps == chosen), losses, metric, len(self.ann), task.unit)
            + in_integers(on_loihi, losses[-1], metric, on_chip),
            losses=losses,
            layers=layers(first, recording),
            more=tuple(Number(m.name, m.unit, bounds(interval(m, self.ann)), bounds(interval(m, spiking))) for m in task.more),
            groups=tuple(self.groups(spiking)),
            chips=chips,
            digital=ends(design.total),
            digital_design=design.name,
            macs=work.work.dense_macs,
            spikes=sum(float(c.mean()) for c in recording.spike_counts.values()),
            synaptic_operations=sum(float(c.mean()) for c in recording.synaptic_operations.values()),
            parameters=sum(layer.n_parameters for layer in first.fold.mlp.layers),
            weights_sha256=tuple(p.fold.mlp.sha256 for p in self.ported),
            training=training(first.fold.mlp),
            card=task.card,
            notes=(*task.notes, *dict.fromkeys(said)),
            extras=tuple(shown(e) for e in extras),
            seconds=time.perf_counter() - start,
            on_chip=on_chip,
            training_seconds=training_seconds([fold.mlp for fold in task.folds]),
        )

    def facts(self, respond: Callable[[Ported], Respond]) -> Array:
        """Return the facts of every unit, fold after fold, with the given way of answering."""
        return self.told(np.concatenate([p.fold.play(respond(p)) for p in self.ported]))

    def told(self, made: Array) -> Array:
        """Report one more piece of work done."""
        self.done += 1
        if self.context.progress is not None:
            self.context.progress(Progress(self.task.title, min(self.done, self.total), self.total))
        return made

    def at(self, n_steps: int) -> Array:
        return self.facts(lambda p: self.spiking(p.network, n_steps, sweep=True))

    def spiking(self, network: SpikingNetwork | Deployment, n_steps: int, sweep: bool = False) -> Respond:
        """Return how a network answers in n_steps; with ``sweep`` the same array asked again at another T costs no second run."""
        graph = network.network if isinstance(network, Deployment) else network
        if not sweep or self.task.engine != "batched" or depends_on_steps(graph):
            return lambda x: simulate(network, x, n_steps, engine=self.task.engine).outputs

        def respond(x: Array) -> Array:
            key = (id(network), id(x))
            if key not in self.swept:
                found = simulate_each(network, x, self.task.steps)
                # The array itself is kept, so that its id stays its own.
                self.swept[key] = (x, {n: recording.outputs for n, recording in found.items()})
            return self.swept[key][1][n_steps]

        return respond

    def step(self, n_steps: int, facts: Array) -> Step:
        found = interval(self.task.metric, facts)
        change = difference(self.task.metric, self.ann, facts)
        return Step(n_steps, bounds(found), bounds(change), within(found.value, self.ann_bounds, self.task.metric))

    def losses(self, n_steps: int, spiking: Array, chip: Array | None) -> Losses:
        value = self.task.metric.value
        found = [
            ("ANN", value(self.ann)),
            ("clipped at the threshold", value(self.facts(lambda p: limited(p.fold.mlp, p.network).forward))),
            (f"in {n_steps} level{'s' if n_steps > 1 else ''}", value(self.facts(lambda p: limited(p.fold.mlp, p.network, n_steps).forward))),
            ("spikes in time", value(spiking)),
        ]
        if chip is not None:
            found.append((f"integers of {CHIPS[0]}", value(chip)))
        stages = [Stage(name, now, now - found[max(k - 1, 0)][1]) for k, (name, now) in enumerate(found)]
        return Losses(n_steps, tuple(stages))

    def chip(self, name: str, n_steps: int) -> tuple[OnChip, Array | None]:
        try:
            facts = self.on_chip(name, n_steps)
        except CapacityError as error:
            return OnChip(name, reason=str(error)), None
        first, on = self.ported[0], self.deployed[name][0]
        found = interval(self.task.metric, facts)
        recording = simulate(on, first.fold.probe, n_steps)
        counts = activity(recording, on, inputs=first.fold.probe)
        spent, taken = energy(counts, on), latency(counts, on)
        return (
            OnChip(
                name,
                metric=bounds(found),
                energy=ends(spent.total),
                latency=None if taken.per_inference is None else ends(taken.per_inference),
                cores=len(on.placement.cores),
                missing=tuple(dict.fromkeys((*spent.missing, *taken.missing))),
                overflowing=overflowing(on.network, recording.outputs, n_steps),
                within=within(found.value, self.ann_bounds, self.task.metric),
            ),
            facts,
        )

    def on_chip(self, name: str, n_steps: int, sweep: bool = False) -> Array:
        """Return the facts of every unit, answered in a chip's integers.

        Raises
        ------
        CapacityError : a network that does not fit or that the chip cannot express.
        """
        if name not in self.deployed:
            chip = load_chip(name)
            self.deployed[name] = [deploy(p.network, chip) for p in self.ported]
        parts = zip(self.ported, self.deployed[name], strict=True)
        return self.told(np.concatenate([p.fold.play(self.spiking(on, n_steps, sweep)) for p, on in parts]))

    def record(self, first: Ported, n_steps: int) -> Recording:
        rated = 0 if first.network.recurrent else min(RATED, len(first.fold.probe))
        return simulate(first.network, first.fold.probe, n_steps, record=Record(rates=rated))

    def groups(self, spiking: Array) -> Iterator[Group]:
        for kind, of in self.task.groups.items():
            for name in ordered(of):
                rows = of == name
                if rows.sum() < 2:
                    continue
                ann, snn = (bounds(interval(self.task.metric, facts[rows])) for facts in (self.ann, spiking))
                yield Group(kind, str(name), int(rows.sum()), ann, snn)


# -- judging ----------------------------------------------------------------------------------------


def within(value: float, ann: Range, metric: Metric) -> bool:
    """Return whether a value is no worse than the worse end of the ANN's interval."""
    return bool(value >= ann.low) if metric.better == "higher" else bool(value <= ann.high)


def overflowing(network: SpikingNetwork, outputs: Array, n_steps: int) -> float:
    """Return the share of answers in which an output's potential, v = v_init + y T / scale, ends at its floor or ceiling."""
    last = network.populations[-1]
    v = np.asarray(last.v_init) + outputs * n_steps / np.asarray(last.scale)
    low = -np.inf if last.v_floor is None else last.v_floor
    high = np.inf if last.v_ceiling is None else last.v_ceiling
    return float(np.any((v <= low + 0.5) | (v >= high - 0.5), axis=1).mean())


def choose(steps: Sequence[Step]) -> tuple[int, bool]:
    """Return the smallest T from which on every T of the sweep is within the ANN's interval; else the last T, and False."""
    for k, step in enumerate(steps):
        if all(later.within for later in steps[k:]):
            return step.n_steps, True
    return steps[-1].n_steps, False


def sentence(step: Step, losses: Sequence[Losses], metric: Metric, n: int, unit: str) -> str:
    """Return what was lost at the chosen T, and which stage lost most of it."""
    value, low, high = step.difference
    worse = -1.0 if metric.better == "higher" else 1.0
    if low <= 0 <= high:
        head = f"nothing that {n:,} {unit} can tell"
    elif value * worse < 0:
        return "nothing; the spiking network is better than the ANN"
    else:
        head = f"{amount(abs(value), metric)} of {metric.name}"
    at = losses[0]
    parts = [stage for stage in at.stages[1:4] if stage.change * worse > 0]
    if not parts:
        return head
    worst = max(parts, key=lambda stage: abs(stage.change))
    return f"{head}; at T = {at.n_steps} most by {WORDS[at.stages.index(worst)]} ({amount(abs(worst.change), metric)})"


def in_integers(chip: OnChip, losses: Losses, metric: Metric, sweep: Sequence[Step] = ()) -> str:
    """Return what the chip's integers lose further, where that leaves the ANN's interval, and its best T; "" otherwise."""
    if chip.metric is None or chip.within:
        return ""
    change = losses.stages[-1].change
    if change * (-1.0 if metric.better == "higher" else 1.0) <= 0:
        return ""
    why = f", and {100 * chip.overflowing:.0f} % of its outputs reach the end of their register" if chip.overflowing else ""
    text = f"; {chip.chip}'s integers lose {amount(abs(change), metric)} more{why}"
    if sweep:
        best = (max if metric.better == "higher" else min)(sweep, key=lambda step: step.metric[0])
        if best.metric[0] != chip.metric[0]:
            text += f"; there T = {best.n_steps} is best, {value(best.metric[0], metric.unit)}"
    return text


WORDS = {1: "clipping", 2: "quantisation to T levels", 3: "uneven spikes in time"}


def amount(value: float, metric: Metric) -> str:
    """Return a change of the metric with its unit: percentage points of a share."""
    points = f"{100 * value:.2g}"
    return f"{points} point{'' if points == '1' else 's'}" if metric.unit == "%" else f"{significant(value, 3)} {metric.unit}".rstrip()


def layers(first: Ported, recording: Recording) -> tuple[Layer, ...]:
    """Return the split of each hidden layer's rate error; nothing for recurrent networks, whose drive is not constant."""
    if not recording.sample_rates:
        return ()
    names = diagnosis.hidden(first.network)
    x = first.fold.probe[:RATED]
    activations = dict(zip(names, first.fold.mlp.activations(x), strict=False))
    found = diagnosis.decompositions(first.network, recording, activations, x)
    parts = ("inherited", "clipping", "quantisation", "unevenness", "total")
    return tuple(Layer(d.layer, **{part: getattr(d, part)["rms"] for part in parts}) for d in found)


def training(mlp: MLP) -> str:
    """Return how the network was trained, in a line."""
    facts: dict[str, Any] = dict(mlp.info.get("training", {}))
    options = dict(facts.get("options", {}))
    if not facts:
        return ""
    text = f"{facts['n_train']:,} training samples, best of {facts['epochs']} epochs at {facts['best_epoch']}"
    return f"{text}; {options.get('optimizer')}, rate {options.get('learning_rate'):g}, batch {options.get('batch_size')}, seed {options.get('seed')}"


def training_seconds(networks: Sequence[MLP]) -> float | None:
    """Return the processor time that the networks' trainings took [s]; None where one does not say."""
    found = [mlp.info.get("made", {}).get("seconds") for mlp in networks]
    return None if None in found else float(sum(found))


def ordered(groups: Array) -> list[Any]:
    """Return the groups' names, sorted."""
    return sorted(set(groups.tolist()))


def method_name(method: Any) -> str:
    """Return a method as it is written: "ltb", or "percentile_norm, percentile=99.9"."""
    if isinstance(method, str):
        return method
    return ", ".join([str(method["name"]), *(f"{key}={v}" for key, v in method.items() if key != "name")])


def bounds(found: Range) -> Bounds:
    """Return value, low and high."""
    return float(found.value), float(found.low), float(found.high)


def ends(found: Estimate) -> Bounds:
    """Return value, low and high of an estimate."""
    return found.value, found.low, found.high


def shown(extra: Extra) -> Shown:
    """Return an extra as plain values, its sounds as data addresses."""
    clips: Iterable[Clip] = extra.clips
    return Shown(extra.title, extra.text, extra.columns, extra.rows, tuple((c.label, wav_uri(c.signal, c.rate)) for c in clips))


@contextmanager
def _collected() -> Iterator[list[str]]:
    """Collect warnings as notes; each is on the page once."""
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.simplefilter("ignore", DeprecationWarning)

        def note(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            if not issubclass(category, DeprecationWarning):
                said.append(str(message))

        warnings.showwarning = note
        yield said
