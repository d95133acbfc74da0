"""The frozen values that a comparison consists of: what `compare` builds, and the report and the command line read.

Rows and what stands behind them are in :mod:`experiments.row`, whose conventions hold here too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np

from neuro import archive
from neuro.errors import StoreError, nearest

from .row import (
    GROUPS,
    ChipUse,
    Core,
    Curve,
    Decomposition,
    EnergyTable,
    Figure,
    Group,
    LatencyTable,
    LayerCounts,
    LayerRates,
    LayerThresholds,
    Range,
    Resource,
    Row,
    Trace,
)

if TYPE_CHECKING:
    from .report.panels import Panel

FORMAT, VERSION = "spikeport.comparison", 1
Array = np.ndarray
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Conventional:
    """The ANN on conventional digital hardware, per inference.

    label : e.g. ``"45 nm, int8, zeros skipped"``; ann : key of the ANN row; node_nm : 45, 7, or None for a measured
        machine;
    precision : ``"fp32"`` or ``"int8"``, "" of a machine; sparse : whether multiplications by zero activations are skipped; memory :
        where weights come from, in words;
    macs : multiply-accumulates counted; energy : [J]; by_component, missing, figures as in EnergyTable; batch :
        samples at once, 0 where the source does not say.
    note : of a machine, what was measured on it; its energy is that measurement scaled by multiply-accumulates.
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
    note: str = ""


@dataclass(frozen=True)
class HereNow:
    """The ANN run on the machine that made the comparison: inferences per second [1/s], joules where they can be read.

    energy : of the processor package per inference [J], idle included; dynamic : above the idle measured just before;
        None with the reason where the operating system exposes no energy counter.
    """

    ann: str
    processor: str
    threads: str
    batch: int
    rate: float
    energy: float | None
    dynamic: float | None
    reason: str


@dataclass(frozen=True)
class Rival:
    """The ANN with few bits, at the spiking network's own game: integer weights and activations, no spikes.

    label : widths in words; ann : key of the ANN row; weight_bits : of the chip; activation_bits : 8, or
        ceil(log2(T + 1)), the bits that T binary steps can carry at best (Yan, Bai, Wong 2024);
    n_steps : T that sets activation_bits, 0 where it does not matter; accuracy : with its Wilson interval;
        disagreement : with the unquantised ANN; macs, energy, memory, batch : as in Conventional.
    """

    label: str
    ann: str
    weight_bits: int
    activation_bits: int
    n_steps: int
    accuracy: Range
    disagreement: Range
    macs: float
    energy: Range
    node_nm: float
    memory: str
    batch: int
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class Meeting:
    """Where the energies of chip and ANN are equal along one axis: ``"spike rate"``, ``"steps"`` or ``"batch"``.

    at : value of the axis, None where they do not meet; low, high : at the ends of the estimates; verdict : ``"crosses"``,
        ``"never"`` (the chip costs more everywhere), ``"always"`` (less everywhere), ``"unknown"``; words : in a sentence.
    """

    axis: str
    at: float | None
    low: float | None
    high: float | None
    verdict: str
    words: str


@dataclass(frozen=True, eq=False)
class Contest:
    """A chip row against its ANN on one conventional design, inside the same boundary: no static power, no overhead.

    row : key; design : in words, with batch; snn, ann : energy per inference [J]; partial : figures of the chip are missing,
        so that ``snn`` is a lower bound.
    spike_rate : measured, spikes per neuron and step; spikes_per_synapse : measured, per inference; n_steps : T.
    meetings : along each axis; by_steps, by_rate : (k, 4) arrays [T or spike rate, energy, low, high] of the chip [J];
        by_batch : (k, 2) array [batch, energy] of the ANN [J].
    """

    row: str
    design: str
    snn: Range
    ann: Range
    partial: bool
    spike_rate: float
    spikes_per_synapse: float
    n_steps: int
    meetings: tuple[Meeting, ...]
    by_steps: Array
    by_rate: Array
    by_batch: Array


@dataclass(frozen=True)
class PairTest:
    """A paired test of two rows on the same samples (labels of classification).

    a, b : keys; n : samples; only_a, only_b : samples that only a, only b got right; p : exact McNemar, two-sided;
    p_holm : Holm-corrected over all pairs of the comparison; difference : accuracy(b) - accuracy(a) with the paired
        bootstrap's 95 % interval;
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
    """The data set: name, title, counts, licence, source, split rule, checksum, class balance, range, duplicates,
    examples.

    class_counts : {"train": (classes,) int array, "test": …}, empty for regression; examples, example_labels : (k,
        n_in) and (k,), at most two per class;
    input_shape : shape of one sample for pictures, e.g. (8, 8), or () when it is no picture; duplicates : test
        samples that also occur in the training set.
    group_name, group_names, test_groups : what groups the samples, e.g. "speaker", the groups' names, and (n_test,) int, the group of each
        test sample; None where there are no groups.
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
    group_name: str = ""
    group_names: tuple[str, ...] = ()
    test_groups: Array | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkFacts:
    """A source network: key of its ANN row, widths, layers [{"name", "kind", "n_in", "n_out", "parameters",
    "activation"}], SHA-256, and how it was trained.

    training : what the trainer or the file says ({"epochs":…, "loss":…, "validation_accuracy":…, "seconds":…,
        "seed":…}); may be empty.
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
    """Test samples on which a row and its ANN give different answers (at most 24, those with the largest ANN margin
    first).

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

    topic : ``"computational homogeneity"``, ``"constant running time"``, ``"constant memory"``, ``"portability"``,
        ``"agility"``,
        ``"silent failure"``, ``"obscurity"``; statement : one sentence with the numbers in it;
    columns, rows : a small table behind it (may be empty); row : key of the row it is about, "" when about all.
    """

    topic: str
    statement: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    row: str = ""


@dataclass(frozen=True)
class Probe:
    """Accuracy when something is taken away without retraining: what, how much is left in words, and the accuracy on
    the same samples."""

    what: str
    left: str
    accuracy: Range


@dataclass(frozen=True)
class Strange:
    """Answers to inputs unlike the training data, beside those to test samples.

    what : the inputs in words; n : how many. Margin: largest minus second largest output.
    margin, ann_margin : median margin divided by that of the test samples, of the spiking network and of the ANN.
    sure, ann_sure : share of the inputs whose margin is above the 5th percentile of the test samples'.
    """

    what: str
    n: int
    margin: float
    ann_margin: float
    sure: float
    ann_sure: float


@dataclass(frozen=True)
class Decider:
    """One neuron: spikes an inference; share of answers that change when its spikes are removed; class of most of these, -1 if none changes."""

    neuron: int
    spikes: float
    changed: Range
    most: int


@dataclass(frozen=True)
class Attribution:
    """Which neurons decide: layer; removed neurons; half_share : share of neurons that send half of all spikes of
    the layer;
    accuracy without the neurons that spike most, and without as many drawn at random.
    deciders : neurons taken away one by one, on the first ``tried`` samples, the one that changes most answers first.
    """

    layer: str
    removed: int
    half_share: float
    without_top: Range
    without_random: Range
    tried: int = 0
    deciders: tuple[Decider, ...] = ()


@dataclass(frozen=True)
class Port:
    """The same network somewhere else: where, by which engine, on how many samples, and the share of answers that differ.

    refused : why it could not be run there, in words; then ``differ`` is None.
    """

    where: str
    engine: str
    n: int
    differ: Range | None
    refused: str = ""


@dataclass(frozen=True)
class Pace:
    """How evenly one way of running answers its inputs, on n of them.

    how : "dense", "zeros skipped" (both of the ANN), "fixed T" or "early exit"; rule : of the early exit, in words.
    operations : [1] mean, 5th and 95th percentile over inputs of ``counted``; variation : standard deviation / mean.
    steps : mean, 5th and 95th percentile of the chip steps until the answer, None for the ANN.
    latency : [s] of the inputs with the median, the 5th and the 95th percentile of operations, each alone on the chip; None
        where the chip has no figure.
    accuracy : on these inputs.
    """

    how: str
    counted: str
    n: int
    operations: Range
    variation: float
    accuracy: Range
    steps: Range | None = None
    latency: Range | None = None
    rule: str = ""


@dataclass(frozen=True)
class Probes:
    """Further runs of one row's network, on the first n test samples: accuracy there, what changes it, how evenly it answers, and
    where else it runs."""

    row: str
    n: int
    accuracy: Range
    taken: tuple[Probe, ...] = ()
    strange: tuple[Strange, ...] = ()
    attribution: Attribution | None = None
    ports: tuple[Port, ...] = ()
    paces: tuple[Pace, ...] = ()


@dataclass(frozen=True)
class FaultPoint:
    """Accuracy at one rate of one kind of fault.

    accuracy : mean over the draws of the fault, with the Wilson interval of the samples; least, most : over the draws.
    """

    kind: str
    rate: float
    accuracy: Range
    least: float
    most: float


@dataclass(frozen=True)
class FaultSweep:
    """Accuracy of one network against the rates of faults, on the first n test samples.

    row : key of the row, "" outside a comparison; healthy : accuracy without a fault; draws : times that each fault was drawn;
    points : by kind, rates ascending; refused : {kind: why it could not be run}.
    """

    row: str
    n: int
    n_steps: int
    draws: int
    seed: int
    healthy: Range
    points: tuple[FaultPoint, ...]
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of fault that were run."""
        return tuple(dict.fromkeys(p.kind for p in self.points))

    def of(self, kind: str) -> tuple[FaultPoint, ...]:
        """Return the points of one kind."""
        return tuple(p for p in self.points if p.kind == kind)


@dataclass(frozen=True)
class RoundedStep:
    """What remains of a network after one more step of quantisation (``neuro.rounding``).

    name, what : the step; agreement : with the source's answers; accuracy : None without labels; spikes : of an inference.
    """

    name: str
    what: str
    agreement: Range
    accuracy: Range | None
    spikes: float


@dataclass(frozen=True)
class Rounding:
    """Quantisation taken apart, on the first n test samples: row as in FaultSweep; source : whose answers it is held against."""

    row: str
    n: int
    n_steps: int
    source: str
    steps: tuple[RoundedStep, ...]


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
    tests : paired tests, each spiking row against its ANN, each chip row against its ideal row, native against
        construction.
    pareto : keys of spiking rows that no other of their chip beats in accuracy, energy and latency at once (rows with all
        three figures).
    conventional : the ANN on conventional designs; machines : on measured machines, scaled; here : on this machine, now.
    rivals : the ANN with few bits; contests : each chip row against its ANN.
    data, networks, chips : facts behind the rows; networks has one entry an ANN row.
    disagreements, scorecard : see their classes; may be empty. probes : further runs behind the scorecard, of the
        headline row.
    faults, rounding : of the headline row: accuracy against rates of faults, quantisation taken apart; None where they were not run.
    omissions : what was not counted, with the reason.
    not_run : trials without a result.
    figures : every published figure that a number rests on, without repetition.
    config : the text of the experiment file as it was run (with --set and presets applied), TOML.
    versions : {"spikeport":…, "brian2":…, "numpy":…, "python":…, …}; machine : {"processor":…, "cores":…,
        "system":…, "commit":…}.
    seeds : seeds that were used; seconds : wall time of all trials; peak_memory : [byte], the largest of a trial,
        None when unknown.
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
    machines: tuple[Conventional, ...] = ()
    here: tuple[HereNow, ...] = ()
    rivals: tuple[Rival, ...] = ()
    contests: tuple[Contest, ...] = ()
    chips: tuple[ChipFacts, ...] = ()
    disagreements: tuple[Disagreements, ...] = ()
    scorecard: tuple[Finding, ...] = ()
    probes: Probes | None = None
    faults: FaultSweep | None = None
    rounding: Rounding | None = None
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

    @property
    def charts(self) -> dict[str, Panel]:
        """The charts of the page by name; each shows itself in a notebook."""
        from .report.panels import panels

        return {panel.name: panel for panel in panels(self)}

    def __repr__(self) -> str:
        return f"Comparison({self.title!r}, {len(self.rows)} rows)"

    def _repr_html_(self) -> str:
        """Show title, verdict and summary table in a notebook."""
        from .report import html_fragment

        return html_fragment(self)

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
    """Return a value of this module as plain JSON; its arrays go into ``arrays``, once each, their names into the
    JSON."""
    known = {id(array): name for name, array in arrays.items()}

    def put(part: Any) -> Any:
        if isinstance(part, np.ndarray):
            if id(part) not in known:
                known[id(part)] = f"{prefix}{len(arrays)}"
                arrays[known[id(part)]] = part
            return known[id(part)]
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


__all__ = [
    "Attribution",
    "ChipFacts",
    "ChipUse",
    "Comparison",
    "Contest",
    "Conventional",
    "Core",
    "Curve",
    "DataCard",
    "Decomposition",
    "Disagreements",
    "EnergyTable",
    "FaultPoint",
    "FaultSweep",
    "Figure",
    "Finding",
    "GROUPS",
    "Group",
    "HereNow",
    "LatencyTable",
    "LayerCounts",
    "LayerRates",
    "LayerThresholds",
    "Meeting",
    "NetworkFacts",
    "NotRun",
    "Omission",
    "Pace",
    "PairTest",
    "Port",
    "Probe",
    "Probes",
    "Range",
    "Resource",
    "Rival",
    "RoundedStep",
    "Rounding",
    "Row",
    "SeedSummary",
    "Strange",
    "Trace",
    "pack",
    "unpack",
]
