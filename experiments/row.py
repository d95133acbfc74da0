"""One line of a comparison and all that stands behind it, as frozen values.

Conventions: SI units everywhere ([J], [s]); shares and accuracies in [0, 1], never in percent; every
figure "per inference" is the mean over the test samples of the row; ``None`` means "not known", never zero.
Arrays are NumPy; everything else is plain JSON. Populations carry the names "encoder" (spike-coded input),
"hidden1", "hidden2", ..., "output".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Array = np.ndarray
Group = Literal["ann", "ideal", "chip", "native"]
GROUPS: tuple[Group, ...] = ("ann", "ideal", "chip", "native")


@dataclass(frozen=True)
class Range:
    """A number with a lower and an upper bound: a 95 % confidence interval of a statistic, or the low and high of an
    estimate."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Figure:
    """A published figure that a number of the report rests on.

    name : what it is and of what, e.g. ``"loihi1 energy.synaptic_operation"``; value, low, high : in SI units; unit
        : e.g. ``"J"``.
    trust : ``"primary"``, ``"quoted"`` or ``"derived"``; source : the publication; at : operating point; note :
        bound, condition or empty.
    used_by : names of the components (see ``EnergyTable.by_component``) or ``"time"`` that use it; may be empty.
    """

    name: str
    value: Any
    unit: str
    trust: str
    source: str
    at: str = "unstated"
    note: str = ""
    low: float | None = None
    high: float | None = None
    used_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class EnergyTable:
    """Energy of one inference [J].

    total : sum over ``by_component``, static power included; low and high where a figure is a bound.
    by_component : {component: Range}, in the order in which they are to be stacked ("synaptic operations", "neuron
        updates",
        "spike routing", "static", ...); adds up to ``total``.
    by_layer : {component: {population or "pre->post": value}} where the component has a place; may be empty.
    apart : {name: Range} figures shown beside and never added: platform overhead, other conventions for the same
        events.
    missing : what has no published figure and is therefore not in ``total``, in words.
    layers : {population or "chip": Range}, all components of a layer together; adds up to ``total``.
    """

    total: Range
    by_component: dict[str, Range]
    by_layer: dict[str, dict[str, float]] = field(default_factory=dict)
    apart: dict[str, Range] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    layers: dict[str, Range] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class LatencyTable:
    """Time of one inference.

    steps : steps until the answer is ready, T + L - 1 and the extra steps of a protocol.
    per_step : [s] mean over the steps; None when the chip has no figure; per_inference : [s]; None likewise.
    late : [s] 95th percentile over the samples of the time to the decision, which early exit spreads; None likewise.
    throughput : inferences per second when the layers work as a pipeline; None when unknown.
    by_step : (steps,) float array of seconds of each step; None when constant or unknown.
    bounds : {"cores" | "barrier" | "host" | "tick": time of an inference [s] that this alone would take}; binding :
        the one that decides.
    missing : what has no published figure, in words.
    """

    steps: int
    per_step: Range | None = None
    per_inference: Range | None = None
    throughput: Range | None = None
    by_step: Array | None = None
    bounds: dict[str, Range] = field(default_factory=dict)
    binding: str = ""
    missing: tuple[str, ...] = ()
    late: Range | None = None


@dataclass(frozen=True, eq=False)
class Curve:
    """Accuracy after every step of the read-out's window.

    steps : (T,) int array 1..T; value, low, high : (T,) float arrays, share right and its Wilson 95 % interval;
    disagreement : (T,) float array, share of answers that differ from the ANN's;
    extra_steps : steps to add on a latency axis (pipeline fill and protocol): latency of ``steps[k]`` is ``steps[k]
        + extra_steps``.
    """

    steps: Array
    value: Array
    low: Array
    high: Array
    disagreement: Array
    extra_steps: int = 0


@dataclass(frozen=True, eq=False)
class LayerRates:
    """Spike rates of one hidden population against the activations of the layer it stands for, on the first test
    samples.

    layer : population; n_samples : samples used.
    density : (k, k) int array, [i, j] counts pairs with activation in bin i and rate in bin j.
    activation_edges : (k + 1,) edges of activation / threshold (1 is where a neuron saturates); rate_edges : (k +
        1,) spikes per step.
    activation, rate : (m,) float arrays, at most 500 pairs drawn evenly, in the same units.
    correlation : Pearson, None when one side is constant; rmse : root mean square of (rate - activation / threshold).
    mean_rate : spikes per neuron and step; silent, saturated : share of neurons that never fired; that fired in
        every step of every sample
        in which they fired at all.
    """

    layer: str
    n_samples: int
    density: Array
    activation_edges: Array
    rate_edges: Array
    activation: Array
    rate: Array
    correlation: float | None
    rmse: float
    mean_rate: float
    silent: float
    saturated: float


@dataclass(frozen=True, eq=False)
class LayerThresholds:
    """Histogram of the ANN's activations of one layer (zeros left out) beside the thresholds that conversion chose.

    counts : (k,) int array; edges : (k + 1,) float array, in the ANN's units; zeros : share of activations that are
        exactly 0.
    thresholds : (size,) float array in the ANN's units; clipped : share of the activations above their neuron's
        threshold.
    """

    layer: str
    counts: Array
    edges: Array
    zeros: float
    thresholds: Array
    clipped: float


@dataclass(frozen=True)
class Decomposition:
    """Where the error of one hidden layer comes from, over samples and neurons, in the ANN's units divided by the
    threshold.

    Per neuron and sample the four parts add up to the total, rate - activation / threshold:
    ``inherited`` (the layer below), ``clipping`` (drive outside [0, threshold]), ``quantisation`` (a count is an
        integer;
    the closed form for a constant drive), ``unevenness`` (spikes that arrive early or late). Each is given as
    {"mean": signed mean, "rms": root mean square}; the means add up to ``total["mean"]``, the rms do not.
    """

    layer: str
    inherited: dict[str, float]
    clipping: dict[str, float]
    quantisation: dict[str, float]
    unevenness: dict[str, float]
    total: dict[str, float]


@dataclass(frozen=True, eq=False)
class LayerCounts:
    """Counts of one population or projection per inference, for bars per layer.

    name : population or "pre->post"; size : neurons (0 for a projection); spikes, synaptic_operations,
        neuron_updates : means per inference;
    rate : spikes per neuron and step, 0 for a projection; by_step : (T,) float array, mean spikes of the population
        in each step; None for a projection.
    """

    name: str
    size: int = 0
    spikes: float = 0.0
    synaptic_operations: float = 0.0
    neuron_updates: float = 0.0
    rate: float = 0.0
    by_step: Array | None = None


@dataclass(frozen=True, eq=False)
class Trace:
    """Spikes and potentials of one test sample, for raster and potential plots.

    sample : index in the test set; label, answer : classes.
    spikes : {population: (k, 2) int array of (step, neuron)}; potentials : {population: (steps, m) float array of
        the first m neurons};
    thresholds : {population: (m,) float array}; starts : {population: first step of its window}.
    """

    sample: int
    label: int
    answer: int
    spikes: dict[str, Array] = field(default_factory=dict)
    potentials: dict[str, Array] = field(default_factory=dict)
    thresholds: dict[str, Array] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Resource:
    """Use of one resource of a chip: the fullest core for a limit per core, the sum for a limit per chip.

    ``share`` of the limit, 1 when full; limit None where the chip has none.
    """

    name: str
    used: float
    limit: float | None
    unit: str = ""
    per: Literal["core", "chip"] = "core"

    @property
    def share(self) -> float | None:
        """Used divided by limit."""
        return None if not self.limit else self.used / self.limit


@dataclass(frozen=True, eq=False)
class Core:
    """One used core of the floor plan: index, mesh coordinates of its tile, populations on it, neurons, share of its
    fullest resource, and traffic.

    x, y : -1 where the chip's mesh is not known. slot : core within its tile.
    traffic : messages sent per inference; None when it was not measured.
    """

    index: int
    x: int
    y: int
    populations: tuple[str, ...]
    neurons: int
    use: float
    traffic: float | None = None
    chip: int = 0
    slot: int = 0


@dataclass(frozen=True, eq=False)
class ChipUse:
    """What a deployment takes of its chip: name, number of chips and cores used, cores a chip has, resources, floor
    plan, rounding of the weights.

    weight_bits : bits of one stored weight; quantisation : {projection: {"scale":…, "rms_error":…}} or empty.
    notes : in words, what the deployment assumed (reset construction, where first-layer currents are computed).
    """

    chip: str
    chips: int
    cores: int
    cores_per_chip: int
    resources: tuple[Resource, ...] = ()
    floor_plan: tuple[Core, ...] = ()
    weight_bits: int | None = None
    quantisation: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Row:
    """One line of the comparison: one network, run one way, on all test samples.

    Parameters
    ----------
    key : unique name of the row in its comparison (hash of the trial, or of the ANN).
    label : for tables, e.g. ``"on loihi1, T = 8"``; says only what varies between the rows.
    group : ``"ann"`` the source network; ``"ideal"`` the spiking network in ideal arithmetic; ``"chip"`` the
        integers of a chip with reset by
        subtraction (construction, or native where the chip has it); ``"native"`` the same with the chip's native reset.
    ann : key of the ANN row it is compared with; its own key for the ANN.
    settings : {dotted name: value} of every setting of the trial, e.g. ``{"convert.method": "ltb", "run.n_steps": 8,
        "deploy.chip": "loihi1"}``.
    seed : seed of the trial.
    n : number of test samples.
    n_steps : T; 0 for the ANN. total_steps : T + L - 1 and protocol steps; 0 for the ANN.
    accuracy : share right with its Wilson 95 % interval; None for regression.
    r2, rmse : regression only, else None.
    disagreement : share of answers that differ from the ANN's, with Wilson interval; None for the ANN. (agreement =
        1 - disagreement)
    loss : accuracy of the ANN minus that of the row, with the paired bootstrap's 95 % interval; None for the ANN.
    tied, silent : share of samples with a tie; with no answer.
    curve : accuracy at every step; None for the ANN and where answers at earlier steps are not defined.
    spikes, synaptic_operations, neuron_updates : means per inference; None for the ANN.
    macs : dense multiply-accumulates per inference: of the ANN all of them; of a spiking row those left to the host
        (constant-current input), 0 if none.
    effective_macs : of the ANN those with a non-zero activation; None otherwise.
    energy, latency : None for the ANN (see ``Comparison.conventional``) and for ideal arithmetic.
    layers : counts per population and projection, input first.
    confusion : (classes, classes) int array, rows the label, columns the answer; None for regression.
    silent_answers : (classes,) int array, per label how many got no answer (they are in no column of ``confusion``).
    per_class : (classes, 3) float array of accuracy, low, high (Wilson 95 %); NaN rows where a class has no sample.
    predictions, labels, ann_predictions : (n,) int arrays when n <= 20,000, else None.
    calibration_error : expected calibration error of the softmax confidence (15 bins); None when not computed.
    synop_spread : mean, standard deviation, 5th and 95th percentile over the samples of the synaptic operations of
        an inference.
    margins : (n,) float32, largest minus second largest output; None when not kept.
    rates, thresholds, decomposition : per hidden layer; empty for the ANN; thresholds only for "ideal" rows.
    decided_at : (n,) int steps of decision with early exit; None without.
    chip_use : what the deployment takes; None for "ann" and "ideal".
    traces : raster and potentials of a few samples; usually of one row of each group only.
    engine : {"engine":…, "target":…, "delivery":…, "seconds":…, ...} as the engine reported it.
    findings : of ideal rows, what stands out in the conversion and what would help, most severe first (``converters.explain``).
    warnings : in words, e.g. inputs outside the calibrated range, a T-specific method at another T.
    """

    key: str
    label: str
    group: Group
    ann: str
    settings: dict[str, Any]
    seed: int
    n: int
    n_steps: int = 0
    total_steps: int = 0
    accuracy: Range | None = None
    r2: float | None = None
    rmse: float | None = None
    disagreement: Range | None = None
    loss: Range | None = None
    tied: float = 0.0
    silent: float = 0.0
    curve: Curve | None = None
    spikes: float | None = None
    synaptic_operations: float | None = None
    neuron_updates: float | None = None
    macs: float | None = None
    effective_macs: float | None = None
    energy: EnergyTable | None = None
    latency: LatencyTable | None = None
    layers: tuple[LayerCounts, ...] = ()
    confusion: Array | None = None
    silent_answers: Array | None = None
    per_class: Array | None = None
    predictions: Array | None = None
    labels: Array | None = None
    ann_predictions: Array | None = None
    calibration_error: float | None = None
    synop_spread: tuple[float, float, float, float] | None = None
    margins: Array | None = None
    rates: tuple[LayerRates, ...] = ()
    thresholds: tuple[LayerThresholds, ...] = ()
    decomposition: tuple[Decomposition, ...] = ()
    decided_at: Array | None = None
    chip_use: ChipUse | None = None
    traces: tuple[Trace, ...] = ()
    engine: dict[str, Any] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def pre_steps(self) -> int:
        """Steps of a presentation protocol before the T steps that count; part of every latency."""
        return int((self.engine.get("protocol") or {}).get("pre_steps", 0))

    @property
    def agreement(self) -> Range | None:
        """1 - disagreement."""
        d = self.disagreement
        return None if d is None else Range(1.0 - d.value, 1.0 - d.high, 1.0 - d.low)
