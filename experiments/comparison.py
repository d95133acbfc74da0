"""The frozen values that a comparison consists of: what `compare` builds, and the report and the command line read.

Conventions: SI units everywhere ([J], [s]); shares and accuracies in [0, 1], never in percent; every
figure "per inference" is the mean over the test samples of the row; ``None`` means "not known", never zero.
Arrays are NumPy; everything else is plain JSON. Populations carry the names "encoder" (spike-coded input),
"hidden1", "hidden2", ..., "output".
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np

from neuro import archive
from neuro.errors import StoreError, nearest

FORMAT, VERSION = "spikeport.comparison", 1
Array = np.ndarray
T = TypeVar("T")
Group = Literal["ann", "ideal", "chip", "native"]
GROUPS: tuple[Group, ...] = ("ann", "ideal", "chip", "native")


@dataclass(frozen=True)
class Range:
    """A number with a lower and an upper bound: a 95 % confidence interval of a statistic, or the low and high of an estimate."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Figure:
    """A published figure that a number of the report rests on.

    name : what it is and of what, e.g. ``"loihi1 energy.synaptic_operation"``; value, low, high : in SI units; unit : e.g. ``"J"``.
    trust : ``"primary"``, ``"quoted"`` or ``"derived"``; source : the publication; at : operating point; note : bound, condition or empty.
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
    by_component : {component: Range}, in the order in which they are to be stacked ("synaptic operations", "neuron updates",
        "spike routing", "static", ...); adds up to ``total``.
    by_layer : {component: {population or "pre->post": value}} where the component has a place; may be empty.
    apart : {name: Range} figures shown beside and never added: platform overhead, other conventions for the same events.
    missing : what has no published figure and is therefore not in ``total``, in words.
    """

    total: Range
    by_component: dict[str, Range]
    by_layer: dict[str, dict[str, float]] = field(default_factory=dict)
    apart: dict[str, Range] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class LatencyTable:
    """Time of one inference.

    steps : steps until the answer is ready, T + L - 1 and the extra steps of a protocol.
    per_step : [s] mean over the steps; None when the chip has no figure; per_inference : [s]; None likewise.
    throughput : inferences per second when the layers work as a pipeline; None when unknown.
    by_step : (steps,) float array of seconds of each step; None when constant or unknown.
    missing : what has no published figure, in words.
    """

    steps: int
    per_step: Range | None = None
    per_inference: Range | None = None
    throughput: Range | None = None
    by_step: Array | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Curve:
    """Accuracy after every step of the read-out's window.

    steps : (T,) int array 1..T; value, low, high : (T,) float arrays, share right and its Wilson 95 % interval;
    disagreement : (T,) float array, share of answers that differ from the ANN's;
    extra_steps : steps to add on a latency axis (pipeline fill and protocol): latency of ``steps[k]`` is ``steps[k] + extra_steps``.
    """

    steps: Array
    value: Array
    low: Array
    high: Array
    disagreement: Array
    extra_steps: int = 0


@dataclass(frozen=True, eq=False)
class LayerRates:
    """Spike rates of one hidden population against the activations of the layer it stands for, on the first test samples.

    layer : population; n_samples : samples used.
    density : (k, k) int array, [i, j] counts pairs with activation in bin i and rate in bin j.
    activation_edges : (k + 1,) edges of activation / threshold (1 is where a neuron saturates); rate_edges : (k + 1,) spikes per step.
    activation, rate : (m,) float arrays, at most 500 pairs drawn evenly, in the same units.
    correlation : Pearson, None when one side is constant; rmse : root mean square of (rate - activation / threshold).
    mean_rate : spikes per neuron and step; silent, saturated : share of neurons that never fired; that fired in every step of every sample
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

    counts : (k,) int array; edges : (k + 1,) float array, in the ANN's units; zeros : share of activations that are exactly 0.
    thresholds : (size,) float array in the ANN's units; clipped : share of the activations above their neuron's threshold.
    """

    layer: str
    counts: Array
    edges: Array
    zeros: float
    thresholds: Array
    clipped: float


@dataclass(frozen=True)
class Decomposition:
    """Where the error of one hidden layer comes from, over samples and neurons, in the ANN's units divided by the threshold.

    Per neuron and sample the four parts add up to the total, rate - activation / threshold:
    ``inherited`` (the layer below), ``clipping`` (drive outside [0, threshold]), ``quantisation`` (a count is an integer;
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

    name : population or "pre->post"; size : neurons (0 for a projection); spikes, synaptic_operations, neuron_updates : means per inference;
    rate : spikes per neuron and step, 0 for a projection; by_step : (T,) float array, mean spikes of the population in each step; None for a projection.
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
    spikes : {population: (k, 2) int array of (step, neuron)}; potentials : {population: (steps, m) float array of the first m neurons};
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
    """One used core of the floor plan: index, mesh coordinates of its tile, populations on it, neurons, share of its fullest resource, and traffic.

    traffic : spikes sent per inference; None when it was not measured.
    """

    index: int
    x: int
    y: int
    populations: tuple[str, ...]
    neurons: int
    use: float
    traffic: float | None = None
    chip: int = 0


@dataclass(frozen=True, eq=False)
class ChipUse:
    """What a deployment takes of its chip: name, number of chips and cores used, cores a chip has, resources, floor plan, rounding of the weights.

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
    group : ``"ann"`` the source network; ``"ideal"`` the spiking network in ideal arithmetic; ``"chip"`` the integers of a chip with reset by
        subtraction (construction, or native where the chip has it); ``"native"`` the same with the chip's native reset.
    ann : key of the ANN row it is compared with; its own key for the ANN.
    settings : {dotted name: value} of every setting of the trial, e.g. ``{"convert.method": "ltb", "run.n_steps": 8, "deploy.chip": "loihi1"}``.
    seed : seed of the trial.
    n : number of test samples.
    n_steps : T; 0 for the ANN. total_steps : T + L - 1 and protocol steps; 0 for the ANN.
    accuracy : share right with its Wilson 95 % interval; None for regression.
    r2, rmse : regression only, else None.
    disagreement : share of answers that differ from the ANN's, with Wilson interval; None for the ANN. (agreement = 1 - disagreement)
    loss : accuracy of the ANN minus that of the row, with the paired bootstrap's 95 % interval; None for the ANN.
    tied, silent : share of samples with a tie; with no answer.
    curve : accuracy at every step; None for the ANN and where answers at earlier steps are not defined.
    spikes, synaptic_operations, neuron_updates : means per inference; None for the ANN.
    macs : dense multiply-accumulates per inference: of the ANN all of them; of a spiking row those left to the host (constant-current input), 0 if none.
    effective_macs : of the ANN those with a non-zero activation; None otherwise.
    energy, latency : None for the ANN (see ``Comparison.conventional``) and for ideal arithmetic.
    layers : counts per population and projection, input first.
    confusion : (classes, classes) int array, rows the label, columns the answer; None for regression.
    silent_answers : (classes,) int array, per label how many got no answer (they are in no column of ``confusion``).
    per_class : (classes, 3) float array of accuracy, low, high (Wilson 95 %); NaN rows where a class has no sample.
    predictions, labels, ann_predictions : (n,) int arrays when n <= 20,000, else None.
    calibration_error : expected calibration error of the softmax confidence (15 bins); None when not computed.
    margins : (n,) float32, largest minus second largest output; None when not kept.
    rates, thresholds, decomposition : per hidden layer; empty for the ANN; thresholds only for "ideal" rows.
    decided_at : (n,) int steps of decision with early exit; None without.
    chip_use : what the deployment takes; None for "ann" and "ideal".
    traces : raster and potentials of a few samples; usually of one row of each group only.
    engine : {"engine":…, "target":…, "delivery":…, "seconds":…, ...} as the engine reported it.
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
    margins: Array | None = None
    rates: tuple[LayerRates, ...] = ()
    thresholds: tuple[LayerThresholds, ...] = ()
    decomposition: tuple[Decomposition, ...] = ()
    decided_at: Array | None = None
    chip_use: ChipUse | None = None
    traces: tuple[Trace, ...] = ()
    engine: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def agreement(self) -> Range | None:
        """1 - disagreement."""
        d = self.disagreement
        return None if d is None else Range(1.0 - d.value, 1.0 - d.high, 1.0 - d.low)


@dataclass(frozen=True, eq=False)
class Conventional:
    """The ANN on conventional digital hardware, per inference.

    label : e.g. ``"45 nm, int8, zeros skipped"``; ann : key of the ANN row; node_nm : 45, 7, or None for a measured machine;
    precision : ``"fp32"`` or ``"int8"``; sparse : whether multiplications by zero activations are skipped; memory : where weights come from, in words;
    macs : multiply-accumulates counted; energy : [J]; by_component, missing, figures as in EnergyTable; batch : samples at once.
    """

    label: str
    ann: str
    node_nm: float | None
    precision: str
    sparse: bool
    macs: float
    energy: Range
    by_component: dict[str, Range] = field(default_factory=dict)
    memory: str = ""
    batch: int = 1
    missing: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class PairTest:
    """A paired test of two rows on the same samples (labels of classification).

    a, b : keys; n : samples; only_a, only_b : samples that only a, only b got right; p : exact McNemar, two-sided;
    p_holm : Holm-corrected over all pairs of the comparison; difference : accuracy(b) - accuracy(a) with the paired bootstrap's 95 % interval;
    real : p_holm < 0.05.
    """

    a: str
    b: str
    n: int
    only_a: int
    only_b: int
    p: float
    p_holm: float
    difference: Range
    real: bool


@dataclass(frozen=True)
class SeedSummary:
    """Rows that differ in their seed alone: means with 95 % t intervals (low = high = value for a single seed).

    rows : keys; label, group, settings (without the seed) as in Row; values a row lacks are None.
    """

    label: str
    group: Group
    settings: dict[str, Any]
    rows: tuple[str, ...]
    n_seeds: int
    accuracy: Range | None = None
    loss: Range | None = None
    disagreement: Range | None = None
    spikes: Range | None = None
    synaptic_operations: Range | None = None
    energy: Range | None = None
    latency: Range | None = None


@dataclass(frozen=True, eq=False)
class DataCard:
    """The data set: name, title, counts, licence, source, split rule, checksum, class balance, range, duplicates, examples.

    class_counts : {"train": (classes,) int array, "test": …}, empty for regression; examples, example_labels : (k, n_in) and (k,), at most two per class;
    input_shape : shape of one sample for pictures, e.g. (8, 8), or () when it is no picture; duplicates : test samples that also occur in the training set.
    extra : further {name: value} of the loader.
    """

    name: str
    title: str
    n_train: int
    n_test: int
    n_inputs: int
    task: str
    classes: tuple[str, ...]
    licence: str = ""
    source: str = ""
    split: str = ""
    checksum: str = ""
    input_shape: tuple[int, ...] = ()
    input_range: tuple[float, float] = (0.0, 1.0)
    duplicates: int | None = None
    class_counts: dict[str, Array] = field(default_factory=dict)
    examples: Array | None = None
    example_labels: Array | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkFacts:
    """A source network: key of its ANN row, widths, layers [{"name", "kind", "n_in", "n_out", "parameters", "activation"}], SHA-256, and how it was trained.

    training : what the trainer or the file says ({"epochs":…, "loss":…, "validation_accuracy":…, "seconds":…, "seed":…}); may be empty.
    """

    ann: str
    label: str
    sizes: tuple[int, ...]
    layers: tuple[dict[str, Any], ...]
    parameters: int
    sha256: str
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ChipFacts:
    """A chip file: name, title, SHA-256, all its figures with source and trust."""

    name: str
    title: str
    sha256: str
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, eq=False)
class Disagreements:
    """Test samples on which a row and its ANN give different answers (at most 24, those with the largest ANN margin first).

    row : key; total : how many there are; samples : (k,) indices; inputs : (k, n_in); labels, ann, snn : (k,) int.
    """

    row: str
    total: int
    samples: Array
    inputs: Array
    labels: Array
    ann: Array
    snn: Array


@dataclass(frozen=True)
class Finding:
    """One entry of the scorecard.

    topic : ``"computational homogeneity"``, ``"constant running time"``, ``"constant memory"``, ``"portability"``, ``"agility"``,
        ``"silent failure"``, ``"obscurity"``; statement : one sentence with the numbers in it;
    columns, rows : a small table behind it (may be empty); row : key of the row it is about, "" when about all.
    """

    topic: str
    statement: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    row: str = ""


@dataclass(frozen=True)
class Omission:
    """Something that is in no number of the page: what, why, and where it would show."""

    what: str
    why: str
    where: str = ""


@dataclass(frozen=True)
class NotRun:
    """A trial without a result: label, ``"failed"``, ``"skipped"`` or ``"missing"``, and the reason in words."""

    label: str
    status: str
    reason: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Everything a report shows. Made by :func:`experiments.compare.compare`.

    Parameters
    ----------
    title : of the experiment; created : UTC, ISO 8601.
    verdict : one sentence with its uncertainty; headline : key of the row it is about ("" when there is none).
    rows : ANN rows first, then by settings: ideal, chip, native of the same settings in sequence.
    varied : dotted names of the settings that differ between rows, in the order of the config.
    summaries : means over seeds, one for each settings without the seed (also when there is one seed).
    tests : paired tests, each spiking row against its ANN, each chip row against its ideal row, native against construction.
    pareto : keys of spiking rows that no other beats in accuracy, energy and latency at once (rows with all three figures).
    conventional : the ANN on conventional hardware.
    data, networks, chips : facts behind the rows; networks has one entry an ANN row.
    disagreements, scorecard : see their classes; may be empty.
    omissions : what was not counted, with the reason.
    not_run : trials without a result.
    figures : every published figure that a number rests on, without repetition.
    config : the text of the experiment file as it was run (with --set and presets applied), TOML.
    versions : {"spikeport":…, "brian2":…, "numpy":…, "python":…, …}; machine : {"processor":…, "cores":…, "system":…, "commit":…}.
    seeds : seeds that were used; seconds : wall time of all trials; peak_memory : [byte], the largest of a trial, None when unknown.
    """

    title: str
    created: str
    verdict: str
    headline: str
    rows: tuple[Row, ...]
    data: tuple[DataCard, ...]
    networks: tuple[NetworkFacts, ...]
    varied: tuple[str, ...] = ()
    summaries: tuple[SeedSummary, ...] = ()
    tests: tuple[PairTest, ...] = ()
    pareto: tuple[str, ...] = ()
    conventional: tuple[Conventional, ...] = ()
    chips: tuple[ChipFacts, ...] = ()
    disagreements: tuple[Disagreements, ...] = ()
    scorecard: tuple[Finding, ...] = ()
    omissions: tuple[Omission, ...] = ()
    not_run: tuple[NotRun, ...] = ()
    figures: tuple[Figure, ...] = ()
    config: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    seconds: float = 0.0
    peak_memory: float | None = None

    @cached_property
    def _by_key(self) -> dict[str, Row]:
        return {row.key: row for row in self.rows}

    def __getitem__(self, key: str) -> Row:
        """Return the row of that key."""
        if key not in self._by_key:
            raise StoreError(f"the comparison has no row {key!r}{nearest(key, self._by_key)}")
        return self._by_key[key]

    def group(self, group: Group) -> tuple[Row, ...]:
        """Return the rows of one group."""
        return tuple(row for row in self.rows if row.group == group)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save as ``.npz`` (no pickle): JSON with the arrays beside it."""
        arrays: dict[str, Array] = {}
        return archive.save(path, FORMAT, VERSION, {"comparison": pack(self, arrays)}, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Comparison:
        """Load what :meth:`save` wrote."""
        header, arrays = archive.load(path, FORMAT, VERSION)
        try:
            return unpack(cls, header["comparison"], arrays)
        except (KeyError, msgspec.ValidationError) as error:
            raise StoreError(f"{path}: the comparison is incomplete or damaged ({error}); run compare again") from error


def pack(value: Any, arrays: dict[str, Array], prefix: str = "a") -> Any:
    """Return a value of this module as plain JSON; its arrays go into ``arrays`` and their names into the JSON."""

    def put(part: Any) -> Any:
        if isinstance(part, np.ndarray):
            name = f"{prefix}{len(arrays)}"
            arrays[name] = part
            return name
        if isinstance(part, np.generic):
            return part.item()
        raise NotImplementedError(f"{type(part).__name__} cannot be saved")

    return msgspec.to_builtins(value, enc_hook=put)


def unpack(kind: type[T], plain: Any, arrays: Mapping[str, Array]) -> T:
    """Return the value that :func:`pack` took apart."""

    def get(wanted: type, name: Any) -> Any:
        if wanted is np.ndarray:
            return arrays[name]
        raise NotImplementedError(wanted.__name__)

    return msgspec.convert(plain, kind, dec_hook=get)
