"""The network as an ANN on a conventional digital design: operations, weight traffic, activation traffic.

An inference costs its multiply-accumulates, the weights read from a named memory once a batch,
and the activations read and written:

    E = n_mac (E_mul + E_add) + n_weight_reads b_w E_bit + (n_in + n_out) b_a E_bit

Dense hardware computes every product and reads every weight once a batch of B samples,
n_weights / B an inference. Zero-skipping hardware leaves out the products with an activation of zero,
and reads the weights of input j only where a sample of the batch needs them,
n_j (1 - (1 - p_j)^B) / B an inference, p_j the share of samples in which input j is not zero
(samples of a batch taken as independent; B = 1 gives the zero-skipping multiply-accumulates).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
import scipy.sparse as sp

from .chip import load_chip
from .errors import SpecError, problems
from .estimate import Estimate

Array = np.ndarray
Node = Literal["cmos_45nm", "cmos_7nm"]
Precision = Literal["int8", "fp16", "bf16", "fp32"]
Storage = Literal["sram_8kib", "sram_32kib", "sram_1mib", "dram", "hbm2", "gddr6"]
Counting = Literal["dense", "zero_skipping"]

# (multiply, accumulate, width): an int8 product is summed in int32, a bf16 product in fp32.
PRECISIONS: dict[str, tuple[str, str, int]] = {
    "int8": ("mul_int8", "add_int32", 8),
    "fp16": ("mul_fp16", "add_fp16", 16),
    "bf16": ("mul_bf16", "add_fp32", 16),
    "fp32": ("mul_fp32", "add_fp32", 32),
}
NOT_COUNTED = (
    "additions of biases and evaluation of activation functions",
    "addressing, control, instruction fetch and clock distribution",
    "wires between the banks where the weights exceed one memory of the named size",
    "static power, input and output, preprocessing",
)


class Layer(Protocol):
    """What is asked of a layer of the network; ``converters.mlp.Dense`` is one."""

    @property
    def weight(self) -> Any:
        """(n_out, n_in) array or sparse matrix."""

    @property
    def bias(self) -> Array:
        """(n_out,) array."""

    def activate(self, z: Array) -> Array:
        """Apply the activation."""


class Network(Protocol):
    """What is asked of the trained network; ``converters.mlp.MLP`` is one."""

    @property
    def layers(self) -> Sequence[Any]:
        """Layers, input side first."""

    def activations(self, x: Array) -> list[Array]:
        """Return the output of every layer."""


class DigitalOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One conventional design.

    ``node``: technology; ``precision``: of products; ``counting``: dense, or products with a zero activation left out;
    ``weights``, ``activations``: the memories they are read from; ``batch``: B, samples to a reading of weights;
    ``weight_bits``, ``activation_bits``: width in memory (None: that of the precision).
    """

    node: Node = "cmos_45nm"
    precision: Precision = "int8"
    counting: Counting = "zero_skipping"
    weights: Storage = "sram_1mib"
    activations: Storage = "sram_32kib"
    batch: int = 1
    weight_bits: int | None = None
    activation_bits: int | None = None

    def __post_init__(self) -> None:
        causes = [f"{name} is {value}, expected 1 or more" for name, value in (("batch", self.batch),) if value < 1]
        causes += [
            f"{name} is {value}, expected 1 to 64"
            for name, value in (("weight_bits", self.weight_bits), ("activation_bits", self.activation_bits))
            if value is not None and not 1 <= value <= 64
        ]
        if causes:
            raise SpecError(problems("the digital design cannot be:", causes))


@dataclass(frozen=True, eq=False)
class MatrixWork:
    """One weight matrix and how often its inputs were nonzero.

    layer : name of the layer it belongs to; n_in, n_out : shape; weights : stored weights.
    columns : (n_in,) stored weights leaving each input; nonzero : (n_in,) share of passes with a nonzero input.
    nonzero_columns : (n_in,) the same without zero weights; passes : uses an inference (inputs of a sequence).
    """

    layer: str
    n_in: int
    n_out: int
    columns: Array
    nonzero_columns: Array
    nonzero: Array
    passes: float

    @property
    def weights(self) -> int:
        """Stored weights."""
        return int(self.columns.sum())

    @property
    def dense_macs(self) -> float:
        """Multiply-accumulates an inference, none skipped."""
        return self.passes * self.weights

    @property
    def zero_skipping_macs(self) -> float:
        """Those whose activation is not zero."""
        return self.passes * float(self.columns @ self.nonzero)

    @property
    def effective_macs(self) -> float:
        """Those with neither a zero activation nor a zero weight, NeuroBench's effective_macs."""
        return self.passes * float(self.nonzero_columns @ self.nonzero)

    def weight_reads(self, counting: Counting, batch: int) -> float:
        """Return the weights read an inference when ``batch`` samples share one reading."""
        if counting == "dense":
            return self.dense_macs / batch
        needed = -np.expm1(batch * np.log1p(-np.minimum(self.nonzero, 1 - 1e-16)))
        return self.passes * float(self.columns @ np.where(self.nonzero >= 1.0, 1.0, needed)) / batch


@dataclass(frozen=True, eq=False)
class AnnWork:
    """What one inference of the ANN consists of, averaged over ``n_samples`` measured inputs."""

    matrices: tuple[MatrixWork, ...]
    n_samples: int
    reads: float  # activations read an inference
    writes: float  # activations written an inference

    @property
    def dense_macs(self) -> float:
        """Sum of N_in N_out."""
        return sum(m.dense_macs for m in self.matrices)

    @property
    def zero_skipping_macs(self) -> float:
        """Sum of nonzero inputs times N_out."""
        return sum(m.zero_skipping_macs for m in self.matrices)

    @property
    def effective_macs(self) -> float:
        """The same without zero weights."""
        return sum(m.effective_macs for m in self.matrices)

    @property
    def weights(self) -> int:
        """Stored weights."""
        return sum(m.weights for m in self.matrices)

    def macs(self, counting: Counting) -> float:
        """Return the multiply-accumulates an inference under one way of counting."""
        return self.dense_macs if counting == "dense" else self.zero_skipping_macs

    def weight_reads(self, counting: Counting, batch: int) -> float:
        """Return the weights read an inference."""
        return sum(m.weight_reads(counting, batch) for m in self.matrices)

    def by_layer(self) -> dict[str, tuple[float, float]]:
        """Return {layer: (dense, zero-skipping multiply-accumulates an inference)}."""
        table: dict[str, tuple[float, float]] = {}
        for m in self.matrices:
            dense, skipped = table.get(m.layer, (0.0, 0.0))
            table[m.layer] = (dense + m.dense_macs, skipped + m.zero_skipping_macs)
        return table


@dataclass(frozen=True)
class Provenance:
    """Where a component comes from: figures with values, formula, source and trust."""

    figure: str
    formula: str
    source: str
    trust: str


@dataclass(frozen=True)
class Design:
    """Energy of one inference on one design [J], with what it consists of and where the figures come from."""

    options: DigitalOptions
    macs: float
    by_component: Mapping[str, Estimate]
    sources: Mapping[str, Provenance]
    not_counted: tuple[str, ...] = NOT_COUNTED

    @property
    def total(self) -> Estimate:
        """Energy an inference [J]."""
        return Estimate.total(self.by_component.values())

    @property
    def name(self) -> str:
        """Node, precision, counting, memory and batch in words."""
        o = self.options
        node = o.node.removeprefix("cmos_").replace("nm", " nm")
        return f"{node} {o.precision} {o.counting.replace('_', '-')}, weights in {o.weights}, batch {o.batch}"


def ann_work(mlp: Network, x: Array, batch: int = 1000) -> AnnWork:
    """Count the work of one inference, averaged over the inputs.

    Parameters
    ----------
    mlp : object with ``layers`` (weight (n_out, n_in), bias; optionally recurrent, skips, name) and ``activations``.
    x : (n_samples, n_in) array, or (n_samples, n_positions, n_in) for a recurrent network, a sequence an inference.
    batch : samples in memory at once.

    Raises
    ------
    SpecError : no samples.
    """
    x = np.asarray(x)
    if len(x) == 0:
        raise SpecError("no samples to count the work of the network on; give at least one")
    counts: dict[tuple[int, int], Array] = {}
    passes: dict[tuple[int, int], float] = {}
    for first in range(0, len(x), batch):
        part = x[first : first + batch]
        for key, _, values in _products(mlp, part):
            rows = values.reshape(-1, values.shape[-1])
            counts[key] = counts.get(key, 0) + np.count_nonzero(rows, axis=0)
            passes[key] = passes.get(key, 0) + len(rows)
    matrices, reads, writes = [], 0.0, 0.0
    for key, weight, _ in _products(mlp, x[:1]):
        layer = mlp.layers[key[0]]
        name = getattr(layer, "name", "") or f"layer{key[0] + 1}"
        per_inference = passes[key] / len(x)
        share = counts[key] / passes[key] if passes[key] else np.zeros(weight.shape[1])
        matrices.append(MatrixWork(name, int(weight.shape[1]), int(weight.shape[0]), *_columns(weight), share, per_inference))
        reads += per_inference * weight.shape[1]
        writes += per_inference * weight.shape[0] if key[1] == 0 else 0.0
    return AnnWork(tuple(matrices), len(x), reads, writes)


def macs_of_each(mlp: Network, x: Array) -> Array:
    """Return (n_samples,) the multiply-accumulates of every sample with neither a zero activation nor a zero weight.

    Their mean is :attr:`AnnWork.effective_macs`; their spread is how far the work of a design that skips zeros follows its input.
    """
    each = np.zeros(len(x))
    for _, weight, values in _products(mlp, np.asarray(x)):
        each += ((values != 0) @ _columns(weight)[1].astype(np.float64)).reshape(len(x), -1).sum(axis=1)
    return each


def _products(mlp: Network, x: Array) -> list[tuple[tuple[int, int], Any, Array]]:
    """Return ((layer, number of the matrix), weight, its input values) of every matrix product of a forward pass."""
    values = [x, *mlp.activations(x)]
    found: list[tuple[tuple[int, int], Any, Array]] = []
    for i, layer in enumerate(mlp.layers):
        inputs = [(layer.weight, values[i])]
        inputs += [(s.weight, values[s.source + 1]) for s in getattr(layer, "skips", ())]
        if getattr(layer, "recurrent", None) is not None:
            inputs.append((layer.recurrent, values[i + 1][:, :-1]))
        found += [((i, k), weight, v) for k, (weight, v) in enumerate(inputs)]
    return found


def _columns(weight: Any) -> tuple[Array, Array]:
    if sp.issparse(weight):
        matrix = sp.csr_array(weight)
        every = np.bincount(matrix.indices, minlength=matrix.shape[1])
        return every, np.bincount(matrix.indices[matrix.data != 0], minlength=matrix.shape[1])
    return np.full(weight.shape[1], weight.shape[0]), np.count_nonzero(weight, axis=0)


def design(work: AnnWork, options: DigitalOptions, chip: Any = None) -> Design:
    """Return the energy of one inference on one conventional design.

    Parameters
    ----------
    work : of the network on measured inputs.
    options : the design.
    chip : Chip of ``options.node``; None loads it.

    Raises
    ------
    SpecError : a figure that the design needs is missing at this node.

    Source
    ------
    Horowitz 2014 ISSCC, doi:10.1109/ISSCC.2014.6757323; Jouppi et al. 2021 ISCA, doi:10.1109/ISCA52012.2021.00010.
    """
    chip = chip if chip is not None else _load(options.node)
    mul, add, width = PRECISIONS[options.precision]
    wanted = [
        (f"operations.{mul}", getattr(chip.operations, mul)),
        (f"operations.{add}", getattr(chip.operations, add)),
        ("memory.access", chip.memory.access),
        (f"memory.{options.weights}", getattr(chip.memory, options.weights)),
        (f"memory.{options.activations}", getattr(chip.memory, options.activations)),
    ]
    absent = [f"{name}: no figure" for name, figure in wanted if figure is None]
    if absent:
        raise SpecError(problems(f"{chip.name} cannot be costed in {options.precision} with weights in {options.weights}:", absent))
    multiply, accumulate, access, weights, activations = (figure for _, figure in wanted)
    weight_bits = options.weight_bits or width
    activation_bits = options.activation_bits or width
    macs = work.macs(options.counting)
    reads = work.weight_reads(options.counting, options.batch)
    moved = work.reads + work.writes
    parts = {
        "multiply-accumulate": (Estimate.of(multiply) + Estimate.of(accumulate)) * macs,
        "weight reads": Estimate.of(weights) * (reads * weight_bits / access.value),
        "activation reads and writes": Estimate.of(activations) * (moved * activation_bits / access.value),
    }
    sources = {
        "multiply-accumulate": Provenance(
            f"{mul} {multiply.value:g} J + {add} {accumulate.value:g} J",
            f"{macs:g} MAC x (E_mul + E_add)",
            multiply.source,
            multiply.trust,
        ),
        "weight reads": Provenance(
            f"{options.weights} {weights.value:g} J per {access.value:g} bit",
            f"{reads:g} weights x {weight_bits} bit, batch {options.batch}",
            weights.source,
            weights.trust,
        ),
        "activation reads and writes": Provenance(
            f"{options.activations} {activations.value:g} J per {access.value:g} bit",
            f"{moved:g} values x {activation_bits} bit",
            activations.source,
            activations.trust,
        ),
    }
    return Design(options, macs, parts, sources)


def _load(node: str) -> Any:
    return load_chip(node)


__all__ = [
    "AnnWork",
    "Counting",
    "Design",
    "DigitalOptions",
    "MatrixWork",
    "Network",
    "Node",
    "Precision",
    "Provenance",
    "Storage",
    "ann_work",
    "design",
    "macs_of_each",
]
