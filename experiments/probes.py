"""Further runs behind the scorecard: the network of one row with something taken away, and on inputs it was not made
for.

Nothing is retrained or calibrated again. All on the first test samples, so that the accuracy beside each number is
of them.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import scipy.sparse as sp

from converters.exporters import ExportOptions, export
from converters.importers import load_network
from neuro.activity import activity
from neuro.chip import list_chips, load_chip
from neuro.deploy import DeployOptions, deploy
from neuro.digital import ann_work, macs_of_each
from neuro.encoding import generator
from neuro.engines import EngineOptions, simulate
from neuro.errors import CapacityError, ConversionError, EngineError, NetworkError, SpecError
from neuro.latency import latency
from neuro.network import SpikingNetwork
from neuro.progress import Progress, ProgressCallback
from neuro.readout import EarlyExit, Readout
from neuro.recording import Recording

from . import costs, diagnosis
from .comparison import Attribution, Decider, Pace, Port, Probe, Probes, Range, Strange
from .config import Trial
from .files import chip_path
from .further import Further, subject
from .metrics import accuracy, disagreement, margins
from .stages import Bench, Context

PROBES = Further("probes", Probes)
Array = np.ndarray
SAMPLES = 1000
TOP_SHARE = 0.1  # of a layer's neurons that are taken away, the busiest ones
RUNS = 10
TRIED = 8  # neurons that are taken away one by one
PORTED = 200  # samples that are run elsewhere, by the step loop
EXIT_MARGINS = (10, 25, 50, 75, 90)  # percentiles of the final margin that are tried as the threshold of an early exit
EXIT_SAMPLES = 200  # training samples on which it is chosen
EXIT_CHANGES = 0.01  # share of their answers that it may change


def probe(
    folder: str | os.PathLike[str], key: str, context: Context, progress: ProgressCallback | None = None
) -> Probes | None:
    """Return the probes of a finished trial; they are kept in the store.

    None where they have no meaning: the ANN itself, regression, sequences, a trial that is not done.
    """
    found = subject(folder, key, context)
    if found is None:
        return None
    return PROBES.made(found.store, key, lambda: _Prober(found.bench, found.trial, progress).all())


def kept(folder: str | os.PathLike[str], key: str) -> Probes | None:
    """Return the probes of a trial that the store has, None where it has none."""
    return PROBES.kept(folder, key)


class _Prober:
    """The runs of one trial's network."""

    def __init__(self, bench: Bench, trial: Trial, progress: ProgressCallback | None) -> None:
        assert trial.run is not None
        data = bench.data(trial)
        self.bench, self.trial, self.settings, self.progress, self.done = bench, trial, trial.run, progress, 0
        self.x, self.y = data.x_test[:SAMPLES], data.y_test[:SAMPLES]
        self.data = data
        self.network = bench.prepared(trial) if trial.deploy is None else bench.deployment(trial).network
        self.rng = generator(trial.seed, "probes", 0)

    def all(self) -> Probes:
        """Run everything."""
        whole = self.run(self.network)
        taken = [self.half_neurons()]
        bits = self.half_bits()
        return Probes(
            row=self.trial.key,
            n=len(self.x),
            accuracy=self.right(whole),
            taken=tuple(taken + ([bits] if bits is not None else [])),
            strange=self.strange(whole),
            attribution=self.attribution(whole),
            ports=self.ports(whole),
            paces=self.paces(whole),
        )

    def run(self, network: SpikingNetwork, x: Array | None = None, early: EarlyExit | None = None) -> Recording:
        recording = self.simulated(network, self.x if x is None else x, early)
        self.done += 1
        if self.progress is not None:
            self.progress(Progress("probing", self.done, RUNS))
        return recording

    def simulated(self, network: SpikingNetwork, x: Array, early: EarlyExit | None) -> Recording:
        s = self.settings
        return simulate(
            network,
            x,
            s.n_steps,
            engine=s.engine,
            readout=Readout(kind=s.readout, start=s.readout_start),
            early_exit=early,
            seed=self.trial.seed,
            options=msgspec.convert(self.bench.context.engine or {}, EngineOptions),
        )

    def right(self, recording: Recording) -> Range:
        return accuracy(self.y, recording.predictions)

    def half_neurons(self) -> Probe:
        """Take away every second neuron of every hidden layer, drawn at random."""
        gone = {
            name: self.rng.permutation(self.network[name].size)[: self.network[name].size // 2]
            for name in diagnosis.hidden(self.network)
        }
        left = sum(self.network[name].size - len(removed) for name, removed in gone.items())
        return Probe("half the hidden neurons", f"{left:,} neurons", self.right(self.run(without(self.network, gone))))

    def half_bits(self) -> Probe | None:
        """Store the weights in half the bits; None in ideal arithmetic and where the chip does not offer it."""
        settings = self.trial.deploy
        if settings is None:
            return None
        bits = self.bench.deployment(self.trial).report.weight_bits // 2
        options = msgspec.structs.replace(msgspec.convert(settings.options, DeployOptions), weight_bits=bits)
        try:
            chip = load_chip(chip_path(settings.chip, Path(self.bench.context.folder)))
            network = deploy(self.bench.prepared(self.trial), chip, options).network
        except (SpecError, CapacityError):
            return None
        return Probe("half the weight bits", f"{bits} bits", self.right(self.run(network)))

    def strange(self, whole: Recording) -> tuple[Strange, ...]:
        """Show noise, and test samples with their values shuffled."""
        low, high = self.network.input_low, self.network.input_high
        noise = self.rng.uniform(low, high, self.x.shape).astype(np.float32)
        shuffled = self.rng.permuted(self.x, axis=1)
        mlp = self.bench.model(self.trial)
        usual, ann_usual = margins(whole.outputs), margins(mlp.forward(self.x))
        found = []
        for what, x in (("uniform noise", noise), ("test samples with their values shuffled", shuffled)):
            margin, ann = margins(self.run(self.network, x).outputs), margins(mlp.forward(x))
            found.append(
                Strange(
                    what=what,
                    n=len(x),
                    margin=_ratio(margin, usual),
                    ann_margin=_ratio(ann, ann_usual),
                    sure=float(np.mean(margin > np.percentile(usual, 5))),
                    ann_sure=float(np.mean(ann > np.percentile(ann_usual, 5))),
                )
            )
        return tuple(found)

    def attribution(self, whole: Recording) -> Attribution | None:
        """Take away the neurons of the last hidden layer that spike most, and as many at random."""
        names = diagnosis.hidden(self.network)
        if not names or not whole.neuron_counts[names[-1]].sum():
            return None
        layer = names[-1]
        counts = whole.neuron_counts[layer]
        order = np.argsort(-counts, kind="stable")
        removed = max(1, round(TOP_SHARE * len(counts)))
        half = 1 + int(np.searchsorted(np.cumsum(counts[order]), counts.sum() / 2))
        chance = self.rng.permutation(len(counts))[:removed]
        return Attribution(
            layer=layer,
            removed=removed,
            half_share=half / len(counts),
            without_top=self.right(self.run(without(self.network, {layer: order[:removed]}))),
            without_random=self.right(self.run(without(self.network, {layer: chance}))),
            tried=min(PORTED, len(self.x)),
            deciders=self.deciders(whole, layer, counts),
        )

    def deciders(self, whole: Recording, layer: str, counts: Array) -> tuple[Decider, ...]:
        """Take away, one by one, the neurons of a layer whose spikes carry most weight, and count the answers that change.

        Weight is spikes times the sum of the magnitudes of the outgoing weights; what a neuron decides is then measured, not computed.
        """
        outgoing = sum(np.asarray(abs(j.weight).sum(axis=0)).ravel() for j in self.network.projections if j.pre == layer)
        x, answers = self.x[:PORTED], whole.predictions[:PORTED]
        found = []
        for neuron in np.argsort(-counts * outgoing, kind="stable")[:TRIED]:
            if counts[neuron]:
                other = self.simulated(without(self.network, {layer: np.array([neuron])}), x, None).predictions
                lost = answers[other != answers]
                most = int(np.argmax(np.bincount(lost[lost >= 0]))) if (lost >= 0).any() else -1
                found.append(Decider(int(neuron), float(counts[neuron]) / whole.n_samples, disagreement(answers, other), most))
        return tuple(sorted(found, key=lambda d: -d.changed.value))

    def ports(self, whole: Recording) -> tuple[Port, ...]:
        """Run the network by the step loop, from a file, and on every other chip that takes it."""
        answers = whole.predictions[:PORTED]

        def ported(where: str, network: SpikingNetwork) -> Port:
            s = self.settings
            other = simulate(network, self.x[:PORTED], s.n_steps, engine="reference", readout=Readout(kind=s.readout, start=s.readout_start), seed=self.trial.seed)
            return Port(where, "reference", len(answers), disagreement(answers, other.predictions))

        own = self.trial.deploy.chip if self.trial.deploy is not None else ""
        found = [ported("the same network", self.network)]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.npz"
            self.network.save(path)
            found.append(ported("saved to a file and loaded", SpikingNetwork.load(path)))
            if importlib.util.find_spec("nir") is not None:
                found.append(self.as_nir(Path(folder) / "network.nir", ported))
        for name in list_chips():
            chip = load_chip(name)
            if name == own or chip.kind != "neuromorphic":
                continue
            try:
                network = deploy(self.bench.prepared(self.trial), chip).network
            except (CapacityError, NetworkError, SpecError) as error:
                found.append(Port(f"on {name}", "", 0, None, str(error).splitlines()[0]))
            else:
                found.append(ported(f"on {name}", network))
        return tuple(found)


    def as_nir(self, path: Path, ported: Callable[[str, SpikingNetwork], Port]) -> Port:
        """Write a NIR file and run what is read from it; what NIR cannot say is left out only where it must be, and named so."""
        options = ExportOptions(n_steps=self.settings.n_steps)
        try:
            try:
                export(self.network, path, options=options)
                where = "as a NIR file"
            except ConversionError:
                export(self.network, path, options=msgspec.structs.replace(options, lossy=True))
                where = "as a NIR file, written with --lossy"
            return ported(where, load_network(path))
        except (ConversionError, NetworkError) as error:
            return Port("as a NIR file", "", 0, None, str(error).splitlines()[0])

    def paces(self, whole: Recording) -> tuple[Pace, ...]:
        """Measure how the work and the time of an answer spread over the inputs: of the ANN, at fixed T, and with early exit."""
        mlp = self.bench.model(self.trial)
        skipped = macs_of_each(mlp, self.x)
        dense = np.full(len(self.x), ann_work(mlp, self.x[:1]).dense_macs)
        ann = accuracy(self.y, np.argmax(mlp.forward(self.x), axis=1))
        found = [
            Pace("dense", "multiply-accumulates", len(self.x), *_spread_of(dense), ann),
            Pace("zeros skipped", "multiply-accumulates", len(self.x), *_spread_of(skipped), ann),
            self.pace("fixed T", whole, None),
        ]
        rule = self.exit_rule()
        if rule is not None:
            found.append(self.pace("early exit", self.run(self.network, early=rule), rule))
        return tuple(found)

    def exit_rule(self) -> EarlyExit | None:
        """Return the trial's own early exit, else the least margin that changes few answers of training samples; None where it is refused."""
        s = self.settings
        if s.exit_threshold:
            return EarlyExit(threshold=s.exit_threshold, measure=s.exit_measure, min_steps=s.exit_min_steps)  # type: ignore[arg-type]
        if s.n_steps < 2:
            return None
        x = self.data.x_train[:EXIT_SAMPLES]
        full = self.run(self.network, x)
        rule = None
        for threshold in np.percentile(margins(full.outputs), EXIT_MARGINS):
            rule = EarlyExit(threshold=float(f"{threshold:.3g}"))
            try:
                early = self.simulated(self.network, x, rule)
            except (EngineError, NetworkError, SpecError):  # a read-out or a protocol that cannot stop early
                return None
            if np.mean(early.predictions != full.predictions) <= EXIT_CHANGES:
                break
        return rule

    def pace(self, how: str, recording: Recording, rule: EarlyExit | None) -> Pace:
        """Return the spread over inputs of operations, steps and, on a chip with figures, time."""
        operations = np.sum(list(recording.synaptic_operations.values()), axis=0)
        steps = recording.decided_at + (recording.total_steps - recording.n_steps)
        spread, variation = _spread_of(operations)
        return Pace(
            how,
            "synaptic operations",
            len(self.x),
            spread,
            variation,
            self.right(recording),
            _spread_of(steps)[0],
            self.times(operations, rule),
            "" if rule is None else f"{rule.measure} of at least {rule.threshold:.3g}",
        )

    def times(self, operations: Array, rule: EarlyExit | None) -> Range | None:
        """Return the time on the chip of the inputs at the median, the 5th and the 95th percentile of operations, each alone [s]."""
        if self.trial.deploy is None:
            return None
        deployment = self.bench.deployment(self.trial)
        order = np.argsort(operations, kind="stable")
        found = []
        for share in (0.5, 0.05, 0.95):
            sample = order[round(share * (len(order) - 1))]
            recording = self.simulated(deployment.network, self.x[sample : sample + 1], rule)
            taken = latency(activity(recording, deployment), deployment).per_inference
            if taken is None:
                return None
            found.append(costs.as_range(taken).value)
        return Range(found[0], min(found), max(found))


def without(network: SpikingNetwork, gone: dict[str, Array]) -> SpikingNetwork:
    """Return the network with the spikes of these neurons going nowhere: the columns of their weights are zero."""
    projections = []
    for j in network.projections:
        if j.pre not in gone:
            projections.append(j)
            continue
        keep = np.ones(j.weight.shape[1])
        keep[gone[j.pre]] = 0.0
        weight = sp.csr_array(j.weight @ sp.diags_array(keep)) if sp.issparse(j.weight) else j.weight * keep
        projections.append(replace(j, weight=weight))
    return replace(network, projections=tuple(projections))


def _spread_of(values: Array) -> tuple[Range, float]:
    """Return mean, 5th and 95th percentile, and the coefficient of variation."""
    mean = float(np.mean(values))
    low, high = np.percentile(values, [5, 95])
    return Range(mean, float(low), float(high)), float(np.std(values)) / mean if mean else 0.0


def _ratio(margin: Array, usual: Array) -> float:
    middle = float(np.median(usual))
    return float(np.median(margin)) / middle if middle else 0.0
