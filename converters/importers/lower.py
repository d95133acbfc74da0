"""Lower a graph of operations to an MLP: everything affine is carried along until a ReLU needs it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never

import numpy as np
import scipy.sparse as sp

from converters.mlp import MLP, Dense, Skip
from neuro.errors import UnsupportedModelError, problems
from neuro.network import Weight

from . import graph as g
from .affine_maps import (
    INPUT,
    Affine,
    Budget,
    TooLarge,
    Windows,
    adaptive_pool,
    added,
    average_pool,
    convolution,
    mapped,
    same_padding,
    scaled,
    selected,
    stacked,
    stored,
)
from .options import LoadOptions

MAX_NODES = 5_000
MAX_VALUES = 1 << 23  # of one sample, anywhere in the network


@dataclass(frozen=True, eq=False)
class Lowered:
    """An MLP and, for each of its layers, the source's tensor that holds the same values."""

    mlp: MLP
    tensors: tuple[str, ...]


def lower(graph: g.Graph, where: str, options: LoadOptions) -> Lowered:
    """Return the MLP that computes what the graph computes.

    Raises
    ------
    UnsupportedModelError : every node that cannot be taken, by name and type, with what to do instead.
    """
    causes = list(graph.problems) + _given_twice(graph)
    needed = _merged(_needed(graph), graph.output)
    if len(graph.nodes) > MAX_NODES:
        raise UnsupportedModelError(f"{where}: {len(graph.nodes):,} nodes, at most {MAX_NODES:,} are read")
    n_in = math.prod(graph.input_shape)
    if not 1 <= n_in <= MAX_VALUES or min(graph.input_shape, default=1) < 1:
        raise UnsupportedModelError(f"{where}: input shape {graph.input_shape}, expected 1 to {MAX_VALUES:,} values")
    # Folding may copy each weight of the file a few times; unrolling and composing may make max_synapses more.
    weights = {id(n.op.weight): np.size(n.op.weight) for n in needed if isinstance(n.op, g.Linear | g.Conv)}
    state = _State([], [], Budget(options.max_synapses + 4 * sum(weights.values())))
    values: dict[str, Affine | None] = {graph.input: Affine({INPUT: None}, np.zeros(n_in), graph.input_shape)}
    uses = Counter(name for node in needed for name in node.inputs)
    ends, full = graph.output, False
    for position, node in enumerate(needed):
        missing = [name for name in node.inputs if name not in values]
        inputs = [values.get(name) for name in node.inputs]
        values[node.output] = None
        try:
            if missing:
                raise ValueError(f"takes {', '.join(map(repr, missing))}, which nothing before it gives")
            if isinstance(node.op, g.Unsupported):
                raise ValueError(node.op.reason)
            if isinstance(node.op, g.Softmax):
                if not _ends(needed[position + 1 :], node.output, graph.output):
                    raise ValueError("a softmax before the end has no spiking counterpart; remove it and retrain")
                ends = node.inputs[0]
            known = [v for v in inputs if v is not None]
            if len(known) == len(inputs) and not full:
                values[node.output] = state.apply(node, known)
        except (ValueError, IndexError) as error:
            causes.append(f"{node.label}  {error}")
            full = full or isinstance(error, TooLarge)  # every node after it would say the same
        for name in node.inputs:
            uses[name] -= 1
            if not uses[name] and name != graph.output:
                values[name] = None  # large compositions are let go as soon as nobody needs them
    result = values.get(graph.output)
    if result is None and not causes:
        causes.append(f"no node gives the output {graph.output!r}")
    if causes or result is None:
        count = f"{len(causes)} thing{'s' * (len(causes) > 1)}"
        raise UnsupportedModelError(problems(f"{where} has {count} with no spiking counterpart:", causes, "Nothing was loaded."))
    state.finish(result, ends)
    fates = _fates(needed, state)
    lowered = _pruned(state, graph)
    return replace(lowered, mlp=replace(lowered.mlp, info={**lowered.mlp.info, "nodes": fates}))


def _fates(needed: Sequence[g.Node], state: _State) -> list[dict[str, str]]:
    """Return, for each node of the source, what became of it: the layer that holds it, or nothing."""
    made = {tensor: index for index, tensor in enumerate(state.tensors)}
    last = len(state.layers) - 1
    owner: dict[str, int] = {}
    found = []
    for node in reversed(needed):
        index = made.get(node.output, owner.get(node.output, last))
        for name in node.inputs:
            owner[name] = min(owner.get(name, last), index)
        if isinstance(node.op, g.Softmax):
            becomes = "left out: the largest output is the same without it"
        elif isinstance(node.op, g.Identity | g.Flatten | g.Reshape | g.Squeeze | g.Unsqueeze):
            becomes = "nothing: it changes no value"
        else:
            becomes = f"part of layer {index + 1}" + (f" ({state.layers[index].name})" if state.layers[index].name else "")
        found.append({"node": " ".join(node.label.split()).removesuffix(" ''"), "becomes": becomes})
    return found[::-1]


def _given_twice(graph: g.Graph) -> list[str]:
    counts = Counter([graph.input, *(node.output for node in graph.nodes)])
    return [f"the tensor {name!r} is given {count} times" for name, count in counts.items() if count > 1]


def _needed(graph: g.Graph) -> list[g.Node]:
    """Return the nodes that the output depends on, in order."""
    wanted, kept = {graph.output}, []
    for node in reversed(graph.nodes):
        if node.output in wanted:
            wanted.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def _merged(nodes: list[g.Node], output: str) -> list[g.Node]:
    """Join a ReLU with the ReLU behind it that alone uses it: one limit instead of two layers."""
    uses = Counter(name for node in nodes for name in node.inputs)
    by_output = {node.output: i for i, node in enumerate(nodes)}
    merged = list(nodes)
    for i, node in enumerate(merged):
        before = by_output.get(node.inputs[0]) if node.inputs else None
        if before is None or not isinstance(node.op, g.Relu) or node.inputs[0] == output or uses[node.inputs[0]] > 1:
            continue
        first = merged[before].op
        if isinstance(first, g.Relu):
            merged[before] = replace(merged[before], op=g.Identity())
            merged[i] = replace(node, op=g.Relu(min(first.ceiling, node.op.ceiling)))
    return merged


def _ends(rest: Sequence[g.Node], name: str, output: str) -> bool:
    """Whether nothing but copies and reshapes lies between the tensor and the output."""
    for node in rest:
        if name in node.inputs:
            if not isinstance(node.op, g.Identity | g.Reshape | g.Flatten | g.Squeeze):
                return False
            name = node.output
    return name == output


class _State:
    """Layers made so far."""

    def __init__(self, layers: list[Dense], tensors: list[str], budget: Budget) -> None:
        self.layers, self.tensors, self.budget = layers, tensors, budget
        self.placed: set[int] = set()  # matrices that are a layer's already

    def apply(self, node: g.Node, inputs: Sequence[Affine]) -> Affine:
        """Return the value of a node; a ReLU makes a layer."""
        op, value = node.op, inputs[0]
        result = self._activate(value, op, node) if isinstance(op, g.Relu) else affine(op, node, inputs, self.budget)
        if result.size > MAX_VALUES:
            raise ValueError(f"gives {result.size:,} values, at most {MAX_VALUES:,} are taken")
        self.budget.take(result.size)
        return result

    def _activate(self, value: Affine, op: g.Relu, node: g.Node) -> Affine:
        if not op.ceiling > 0:
            raise ValueError(f"limits its values to {op.ceiling:g}, expected a positive limit")
        source = _only(value)
        if source is not None and source != INPUT and self.layers[source].ceiling <= op.ceiling:
            return value  # already limited at least as tightly
        self._append(value, "relu", op.ceiling, node.output)
        return replace(value, terms={len(self.layers) - 1: None}, offset=np.zeros(value.size))

    def finish(self, value: Affine, tensor: str) -> None:
        """Make the output layer, unless the output is the last ReLU itself."""
        source = _only(value)
        if source is None or source != len(self.layers) - 1 or source == INPUT:
            self._append(value, "identity", float("inf"), tensor)

    def _append(self, value: Affine, activation: Any, ceiling: float, tensor: str) -> None:
        before, n = len(self.layers) - 1, value.size
        width = self.layers[before].n_out if self.layers else None
        terms = dict(value.terms)
        for matrix in terms.values():
            again = matrix is not None and id(matrix) in self.placed
            self.budget.take(n if matrix is None else stored(matrix) if again else 0)
            self.placed.add(id(matrix))
        explicit = {s: sp.eye_array(n, format="csr") if m is None else m for s, m in terms.items()}
        if before in explicit:
            weight = explicit.pop(before)
        else:
            # The layer just before is a parallel branch: nothing of it enters here.
            weight = sp.csr_array((n, width))
        self.layers.append(
            Dense(
                weight=weight,
                bias=value.offset,
                activation=activation,
                ceiling=ceiling,
                skips=tuple(Skip(s, m) for s, m in sorted(explicit.items())),
                channels=value.channels,
                name=value.name,
                kind=value.kind,
            )
        )
        self.tensors.append(tensor)


def _only(value: Affine) -> int | None:
    """Return s when the value is the output of layer s itself."""
    if len(value.terms) == 1 and not value.offset.any():
        ((source, matrix),) = value.terms.items()
        return source if matrix is None else None
    return None


def affine(op: Any, node: g.Node, inputs: Sequence[Affine], budget: Budget) -> Affine:
    """Return what an affine operation gives; raise ValueError where it does not fit its inputs."""
    value = inputs[0]
    match op:
        case g.Identity() | g.Softmax():
            return value
        case g.Linear():
            return _linear(op, node, value, budget)
        case g.Conv():
            windows = _windows(op, value)
            matrix, shape, channels = convolution(op.weight, value.shape, windows, op.groups, budget, op.channels_last)
            result = replace(mapped(matrix, value, budget), shape=shape, channels=channels, name=node.name)
            if op.bias is not None:
                result = replace(result, offset=result.offset + np.asarray(op.bias, dtype=np.float64)[channels])
            return replace(result, kind=f"conv{len(shape) - 1}d")
        case g.AveragePool():
            windows = _windows(op, value)
            matrix, shape, channels = average_pool(value.shape, windows, op.count_padding, budget, op.channels_last)
            return _pooled(matrix, shape, channels, value, node, budget)
        case g.SumPool():
            matrix, shape, channels = average_pool(value.shape, op.windows, True, budget)
            matrix.data *= math.prod(op.windows.kernel)
            return _pooled(matrix, shape, channels, value, node, budget)
        case g.AdaptivePool():
            matrix, shape, channels = adaptive_pool(value.shape, op.out, budget)
            return _pooled(matrix, shape, channels, value, node, budget)
        case g.Mean():
            return _mean(op, node, value, budget)
        case g.Scale():
            factor = _fitted("factor", op.factor, op.axis, value.shape)
            return scaled(value, factor, _fitted("shift", op.shift, op.axis, value.shape), budget)
        case g.Reshape() | g.Flatten() | g.Squeeze() | g.Unsqueeze():
            shape = _new_shape(op, value.shape)
            return replace(value, shape=shape)
        case g.Transpose() | g.Exchange():
            axes = _permutation(op, value.shape)
            index = np.arange(value.size).reshape(value.shape).transpose(axes)
            if sum(n > 1 for n in value.shape) < 2:
                return replace(value, shape=index.shape)
            return selected(value, index.reshape(-1), index.shape, budget)
        case g.Pad():
            pads = ((0, 0),) * (len(value.shape) - len(op.pads)) + op.pads
            if len(pads) != len(value.shape) or min((min(p) for p in pads), default=0) < 0:
                raise ValueError(f"pads {op.pads} do not fit the shape {value.shape}")
            budget.take(math.prod(n + a + b for n, (a, b) in zip(value.shape, pads, strict=True)))
            index = np.pad(np.arange(value.size).reshape(value.shape), pads, constant_values=-1)
            return selected(value, index.reshape(-1), index.shape, budget)
        case g.Add():
            if len(inputs) != 2 or inputs[0].shape != inputs[1].shape:
                raise ValueError(f"adds shapes {' and '.join(str(v.shape) for v in inputs)}, expected two equal ones")
            return added(inputs[0], inputs[1], op.sign, budget)
        case g.Concatenate():
            rank = len(value.shape)
            if not -rank <= op.axis < rank:
                raise ValueError(f"joins along axis {op.axis} of shape {value.shape}")
            return stacked(inputs, op.axis, budget)
    assert_never(op)


def _permutation(op: g.Transpose | g.Exchange, shape: tuple[int, ...]) -> tuple[int, ...]:
    rank = len(shape)
    if isinstance(op, g.Transpose):
        axes = list(op.axes)
    else:
        axes = list(range(rank))
        if not (-rank <= op.first < rank and -rank <= op.second < rank):
            raise ValueError(f"exchanges axes {op.first} and {op.second} of the shape {shape}")
        axes[op.first], axes[op.second] = axes[op.second], axes[op.first]
    if sorted(axes) != list(range(rank)):
        raise ValueError(f"axes {op} do not permute the shape {shape}")
    return tuple(axes)


def _linear(op: g.Linear, node: g.Node, value: Affine, budget: Budget) -> Affine:
    weight = np.asarray(op.weight)
    if weight.ndim != 2 or not value.shape or value.shape[-1] != weight.shape[1]:
        raise ValueError(f"its weight (n_out, n_in) = {weight.shape} does not fit its input of shape {value.shape}")
    if op.bias is not None and np.shape(op.bias) != (weight.shape[0],):
        raise ValueError(f"its bias has shape {np.shape(op.bias)}, its weight {weight.shape[0]} rows")
    rows = math.prod(value.shape[:-1])
    matrix: Weight = weight
    if rows > 1:
        budget.take(rows * weight.size)
        matrix = sp.csr_array(sp.kron(sp.eye_array(rows, format="csr"), weight, format="csr"))
    result = mapped(matrix, value, budget)
    if op.bias is not None:
        result = replace(result, offset=result.offset + np.tile(np.asarray(op.bias, dtype=np.float64), rows))
    return replace(result, shape=(*value.shape[:-1], weight.shape[0]), name=node.name, kind="dense")


def _windows(op: g.Conv | g.AveragePool, value: Affine) -> Windows:
    if len(value.shape) != len(op.windows.kernel) + 1:
        raise ValueError(f"has {len(op.windows.kernel)} spatial axes, its input is of shape {value.shape}")
    spatial = value.shape[:-1] if op.channels_last else value.shape[1:]
    if not op.same:
        return op.windows
    op.windows.out(spatial)  # the bare windows must make sense before they are padded
    return same_padding(spatial, op.windows, op.same == "upper")


def _pooled(matrix: sp.csr_array, shape: tuple[int, ...], channels: np.ndarray, value: Affine, node: g.Node, budget: Budget) -> Affine:
    result = mapped(matrix, value, budget)
    return replace(result, shape=shape, channels=channels, name=node.name, kind=f"avgpool{len(shape) - 1}d")


def _mean(op: g.Mean, node: g.Node, value: Affine, budget: Budget) -> Affine:
    rank = len(value.shape)
    if any(not -rank <= a < rank for a in op.axes) or (not op.axes and rank < 2):
        raise ValueError(f"averages over axes {op.axes} of shape {value.shape}")
    axes = {a % rank for a in op.axes or range(1, rank)}
    kept = tuple(n for i, n in enumerate(value.shape) if i not in axes)
    shape = tuple(1 if i in axes else n for i, n in enumerate(value.shape)) if op.keep else kept
    target = np.arange(math.prod(kept)).reshape([1 if i in axes else n for i, n in enumerate(value.shape)])
    rows = np.broadcast_to(target, value.shape).reshape(-1)
    budget.take(value.size)
    share = math.prod(kept) / value.size
    matrix = sp.csr_array((np.full(value.size, share), (rows, np.arange(value.size))), shape=(math.prod(kept), value.size))
    result = mapped(matrix, value, budget)
    return replace(result, shape=shape, channels=np.arange(math.prod(kept)), name=node.name, kind="avgpool")


def _fitted(what: str, array: np.ndarray, axis: int | None, shape: tuple[int, ...]) -> np.ndarray:
    """Return the factor or shift of a Scale in a form that broadcasts to the shape of a sample."""
    array = np.asarray(array)
    if not np.isfinite(array).all():
        raise ValueError(f"its {what} holds NaN or infinity")
    rank = len(shape)
    fitted = array
    if axis is not None and array.ndim == 1 and -rank <= axis < rank:
        fitted = array.reshape([-1 if i == axis % rank else 1 for i in range(rank)])
    elif array.ndim == rank + 1 and array.shape[0] == 1:
        fitted = array[0]
    try:
        good = np.broadcast_shapes(fitted.shape, shape) == shape
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"its {what} of shape {array.shape} does not fit values of shape {shape}")
    return fitted


def _new_shape(op: g.Reshape | g.Flatten | g.Squeeze | g.Unsqueeze, shape: tuple[int, ...]) -> tuple[int, ...]:
    size, rank = math.prod(shape), len(shape)
    match op:
        case g.Flatten():
            if not 0 <= op.start <= rank:
                raise ValueError(f"flattens from axis {op.start} of shape {shape}")
            return (*shape[: op.start], math.prod(shape[op.start :]))
        case g.Squeeze():
            if any(not -rank <= a < rank or shape[a] != 1 for a in op.axes):
                raise ValueError(f"removes axes {op.axes} of shape {shape}, which are not of length one")
            gone = {a % rank for a in op.axes}
            return tuple(n for i, n in enumerate(shape) if i not in gone)
        case g.Unsqueeze():
            total = rank + len(op.axes)
            if any(not -total <= a < total for a in op.axes):
                raise ValueError(f"puts axes {op.axes} into shape {shape}")
            places = {a % total for a in op.axes}
            rest = iter(shape)
            return tuple(1 if i in places else next(rest) for i in range(total))
    new = [shape[i] if n == 0 and i < rank else n for i, n in enumerate(op.shape)]
    if new.count(-1) == 1:
        known = -math.prod(new)
        if known and size % known == 0:
            new[new.index(-1)] = size // known
    if min(new, default=1) < 1 or math.prod(new) != size:
        raise ValueError(f"reshapes {shape} to {op.shape}, which does not hold {size} values")
    return tuple(new)


def _pruned(state: _State, graph: g.Graph) -> Lowered:
    """Give weights their final type: float32, unless one of them is wider."""
    kinds = [a.dtype for node in graph.nodes if isinstance(node.op, g.Linear | g.Conv) for a in (node.op.weight,)]
    kind = np.result_type(np.float32, *kinds)

    def cast(weight: Weight) -> Weight:
        if sp.issparse(weight):
            matrix = sp.csr_array(weight, dtype=kind)
            matrix.sort_indices()
            return matrix
        return np.asarray(weight, dtype=kind)

    layers = []
    while state.layers:  # one at a time, so that wide and final weights do not exist side by side
        layer = state.layers.pop(0)
        layers.append(
            replace(
                layer,
                weight=cast(layer.weight),
                bias=layer.bias.astype(kind),
                skips=tuple(Skip(s.source, cast(s.weight)) for s in layer.skips),
            )
        )
    mlp = MLP(tuple(layers), graph.classes, graph.task, graph.input_shape, dict(graph.info))
    return Lowered(mlp, tuple(state.tensors))
