"""Fold everything that is affine into plain layers: batch norm, scaling, pooling, dropout, merged layers.

A trained network is a list of items; every item takes the value of the one before it.
``fold`` turns the list into ``Dense`` layers that compute the same:

    value = sum over earlier layers s of M_s a_s + c

is carried through affine items, and becomes the weight, the skips and the bias of the
next ReLU. Nothing but W a + b and the activation is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from neuro.errors import UnsupportedModelError, problems
from neuro.network import Weight

from .mlp import MLP, Dense, Skip

Array = np.ndarray
INPUT = -1  # source of the values that enter the network


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """y = gamma (x - mean) / sqrt(variance + epsilon) + beta, element by element.

    gamma, beta, mean, variance : (n,) arrays, or (n_channels,) with ``channels`` (n,) int giving each value's channel.
    """

    gamma: Array
    beta: Array
    mean: Array
    variance: Array
    epsilon: float = 1e-5
    channels: Array | None = None


@dataclass(frozen=True, eq=False)
class Scale:
    """y = factor x + offset, element by element (input scaling, division by 255, standardising)."""

    factor: float | Array
    offset: float | Array = 0.0


@dataclass(frozen=True)
class Dropout:
    """Acts in training only; folds to nothing."""

    rate: float = 0.5


@dataclass(frozen=True)
class Flatten:
    """Changes the shape, not the values; folds to nothing."""


@dataclass(frozen=True, eq=False)
class Relu:
    """The activation as an item of its own, limited to ``ceiling``."""

    ceiling: float = float("inf")


@dataclass(frozen=True)
class Add:
    """Adds the value of an earlier item: its index in the list, or -1 for the input of the network."""

    item: int


Item = Dense | BatchNorm | Scale | Dropout | Flatten | Relu | Add


@dataclass(frozen=True, eq=False)
class _Affine:
    """sum_s terms[s] @ a_s + bias, where a_s is the output of folded layer s; None stands for the identity."""

    terms: Mapping[int, Weight | None]
    bias: Array
    label: Dense | None = field(default=None)

    @property
    def size(self) -> int:
        return len(self.bias)


def fold(items: Sequence[Item], n_in: int) -> tuple[Dense, ...]:
    """Return plain layers that compute what ``items`` compute on inputs of ``n_in`` values.

    Sums are formed in float64; weights come back in the type of the widest weight of the list.

    Raises
    ------
    UnsupportedModelError : sizes that disagree, additions of items that do not come before, activations that
        do not follow an affine item, recurrent layers without an activation; all at once.

    Source: Ioffe and Szegedy 2015, arXiv:1502.03167 (batch norm at inference); the folds are identities.
    """
    causes: list[str] = []
    layers: list[Dense] = []
    values: list[_Affine] = [_Affine({INPUT: None}, np.zeros(n_in))]
    for index, item in enumerate(items):
        where = f"item {index} ({_label(item)})"
        try:
            value = _apply(item, values, layers)
        except ValueError as error:
            causes.append(f"{where}: {error}")
            break
        values.append(value)
    if causes:
        raise UnsupportedModelError(problems("the layers cannot be folded:", causes))
    last = values[-1]
    if len(last.terms) != 1 or next(iter(last.terms)) != len(layers) - 1 or last.terms[len(layers) - 1] is not None or not layers:
        layers.append(_layer(last, len(layers), "identity", float("inf"), None))
    kinds = [w.dtype for item in items if isinstance(item, Dense) for w in (item.weight, item.bias)]
    kind = np.result_type(np.float32, *kinds) if kinds else np.dtype(np.float64)
    return tuple(_cast(layer, kind) for layer in layers)


def fold_input_scaling(mlp: MLP, factor: float | Array, offset: float | Array = 0.0) -> MLP:
    """Return a network that takes raw values x where ``mlp`` takes ``factor x + offset``.

    W (factor x + offset) + b = (W factor) x + (b + W offset). Use factor = 1/255 for a network trained on scaled pixels.
    """
    width = mlp.n_in
    diagonal = np.broadcast_to(np.asarray(factor, dtype=np.float64), (width,))
    shift = np.broadcast_to(np.asarray(offset, dtype=np.float64), (width,))
    layers = []
    for index, layer in enumerate(mlp.layers):
        weight, bias, skips = layer.weight, layer.bias, []
        if index == 0:
            bias = (bias + _times(weight, shift)).astype(bias.dtype)
            weight = _columns(weight, diagonal)
        for skip in layer.skips:
            if skip.source == INPUT:
                bias = (bias + _times(skip.weight, shift)).astype(bias.dtype)
                skips.append(Skip(INPUT, _columns(skip.weight, diagonal)))
            else:
                skips.append(skip)
        layers.append(replace(layer, weight=weight, bias=bias, skips=tuple(skips)))
    return replace(mlp, layers=tuple(layers), info=_with_raw_range(mlp.info, diagonal, shift))


def _with_raw_range(info: Mapping[str, Any], factor: Array, offset: Array) -> dict[str, Any]:
    """Return the info of a network with the range of its training inputs, where it knows it, as that of the raw values."""
    training = dict(info.get("training", {}))
    if "input_range" not in training:
        return dict(info)
    ends = np.subtract.outer(training.pop("input_range"), offset)[:, factor != 0] / factor[factor != 0]
    if ends.size:
        training["input_range"] = [float(ends.min()), float(ends.max())]
    return {**info, "training": training}


def average_pool(
    shape: tuple[int, ...],
    kernel: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = None,
    padding: int | tuple[int, ...] = 0,
    count_padding: bool = True,
) -> Dense:
    """Return average pooling over (channels, *spatial) values, flattened, as a sparse affine map.

    Parameters
    ----------
    shape : (n_channels, length) or (n_channels, height, width) of what comes in.
    kernel, stride, padding : one number, or one per spatial axis; stride defaults to the kernel.
    count_padding : divide by the size of the window also where it reaches over the edge (PyTorch's default).
    """
    axes = len(shape) - 1
    kernels, paddings = _per_axis(kernel, axes), _per_axis(padding, axes)
    strides = kernels if stride is None else _per_axis(stride, axes)
    matrix: sp.csr_array = sp.eye_array(shape[0], format="csr")
    for size, k, s, p in zip(shape[1:], kernels, strides, paddings, strict=True):
        n_out = (size + 2 * p - k) // s + 1
        if k < 1 or s < 1 or n_out < 1:
            raise UnsupportedModelError(f"average pooling of {size} values with kernel {k}, stride {s}, padding {p} is empty")
        source = np.arange(n_out)[:, None] * s - p + np.arange(k)
        inside = (source >= 0) & (source < size)
        share = np.broadcast_to(1.0 / (k if count_padding else np.maximum(inside.sum(axis=1, keepdims=True), 1)), source.shape)
        rows = np.broadcast_to(np.arange(n_out)[:, None], source.shape)
        axis = sp.csr_array((share[inside], (rows[inside], source[inside])), shape=(n_out, size))
        matrix = sp.csr_array(sp.kron(matrix, axis, format="csr"))
    channels = np.repeat(np.arange(shape[0]), matrix.shape[0] // shape[0])
    return Dense(matrix, np.zeros(matrix.shape[0]), "identity", channels=channels, kind=f"avgpool{axes}d")


# -- one item ---------------------------------------------------------------------------------------


def _apply(item: Item, values: list[_Affine], layers: list[Dense]) -> _Affine:
    value = values[-1]
    if isinstance(item, Dropout | Flatten):
        return value
    if isinstance(item, BatchNorm):
        factor, offset = _normalisation(item)
        return _scaled(value, factor, offset)
    if isinstance(item, Scale):
        return _scaled(value, item.factor, item.offset)
    if isinstance(item, Add):
        if not INPUT <= item.item < len(values) - 1:
            raise ValueError(f"adds item {item.item}, which does not come before it")
        return _sum(value, values[item.item + 1])
    if isinstance(item, Relu):
        return _activate(value, layers, "relu", item.ceiling, None)
    composed = _compose(item, value, values, layers)
    if item.activation == "identity":
        if item.recurrent is not None:
            raise ValueError("a recurrent layer without an activation has no spiking counterpart")
        return composed
    return _activate(composed, layers, item.activation, item.ceiling, item)


def _compose(layer: Dense, value: _Affine, values: list[_Affine], layers: list[Dense]) -> _Affine:
    """W (sum_s M_s a_s + c) + b, plus the skips, whose sources are indices of items."""
    if layer.n_in != value.size:
        raise ValueError(f"takes {layer.n_in} values, the item before gives {value.size}")
    total = _mapped(layer.weight, value)
    total = _Affine(total.terms, total.bias + layer.bias, layer)
    for skip in layer.skips:
        if not INPUT <= skip.source < len(values) - 1:
            raise ValueError(f"skip from item {skip.source}, which does not come before it")
        total = _sum(total, _mapped(skip.weight, values[skip.source + 1]))
    return total


def _activate(value: _Affine, layers: list[Dense], activation: str, ceiling: float, source: Dense | None) -> _Affine:
    if set(value.terms) == {len(layers) - 1} and value.terms[len(layers) - 1] is None and not value.bias.any():
        raise ValueError("an activation that follows no affine item; remove it, the values are activations already")
    layers.append(_layer(value, len(layers), activation, ceiling, source))
    return _Affine({len(layers) - 1: None}, np.zeros(value.size))


def _layer(value: _Affine, index: int, activation: str, ceiling: float, source: Dense | None) -> Dense:
    """The next folded layer: the part that comes from the layer before it is its weight, the rest are skips."""
    before = index - 1
    width = value.size
    label = source or value.label
    terms = {s: sp.eye_array(width, format="csr") if m is None else m for s, m in value.terms.items()}
    if before not in terms:
        # Only skips reach this layer: what directly precedes it has weight zero.
        raise ValueError("does not use the value of the layer before it; remove that layer")
    recurrent = None if label is None else label.recurrent
    return Dense(
        weight=terms.pop(before),
        bias=value.bias,
        activation=activation,  # type: ignore[arg-type]
        ceiling=ceiling,
        levels=0 if label is None else label.levels,
        recurrent=recurrent,
        skips=tuple(Skip(s, m) for s, m in sorted(terms.items())),
        channels=None if label is None else label.channels,
        name="" if label is None else label.name,
        kind="dense" if label is None else label.kind,
    )


# -- algebra of affine values -----------------------------------------------------------------------


def _mapped(weight: Weight, value: _Affine) -> _Affine:
    if weight.shape[1] != value.size:
        raise ValueError(f"weight takes {weight.shape[1]} values, it is given {value.size}")
    wide = weight.astype(np.float64)
    terms = {s: wide if m is None else _product(wide, m) for s, m in value.terms.items()}
    return _Affine(terms, _times(wide, value.bias), value.label)


def _scaled(value: _Affine, factor: float | Array, offset: float | Array) -> _Affine:
    n = value.size
    try:
        diagonal = np.broadcast_to(np.asarray(factor, dtype=np.float64), (n,))
        shift = np.broadcast_to(np.asarray(offset, dtype=np.float64), (n,))
    except ValueError:
        found = np.shape(factor), np.shape(offset)
        raise ValueError(f"scales with arrays of shapes {found}, the item before gives {n} values") from None
    left = sp.dia_array((diagonal[None, :], [0]), shape=(n, n)).tocsr()
    scaled = {s: left if m is None else _product(left, m) for s, m in value.terms.items()}
    return _Affine(scaled, diagonal * value.bias + shift, value.label)


def _sum(a: _Affine, b: _Affine) -> _Affine:
    if a.size != b.size:
        raise ValueError(f"adds {b.size} values to {a.size}")
    terms: dict[int, Weight | None] = dict(a.terms)
    for s, m in b.terms.items():
        if s not in terms:
            terms[s] = m
            continue
        parts = [sp.eye_array(a.size, format="csr") if part is None else part for part in (terms[s], m)]
        both_sparse = all(sp.issparse(part) for part in parts)
        terms[s] = parts[0] + parts[1] if both_sparse else sum(p.toarray() if sp.issparse(p) else p for p in parts)
    return _Affine(terms, a.bias + b.bias, a.label or b.label)


def _normalisation(norm: BatchNorm) -> tuple[Array, Array]:
    deviation = np.sqrt(np.asarray(norm.variance, dtype=np.float64) + norm.epsilon)
    factor = np.asarray(norm.gamma, dtype=np.float64) / deviation
    offset = np.asarray(norm.beta, dtype=np.float64) - np.asarray(norm.mean, dtype=np.float64) * factor
    if not (np.isfinite(factor).all() and np.isfinite(offset).all()):
        raise ValueError("batch norm gives NaN or infinity; its variance must be positive")
    return (factor, offset) if norm.channels is None else (factor[norm.channels], offset[norm.channels])


def _product(a: Weight, b: Weight) -> Weight:
    if sp.issparse(a) and not sp.issparse(b):
        return np.asarray(a @ b)
    if sp.issparse(b) and not sp.issparse(a):
        return np.ascontiguousarray((b.T @ a.T).T)
    product = a @ b
    return sp.csr_array(product) if sp.issparse(product) else product


def _times(weight: Weight, vector: Array) -> Array:
    return np.asarray(weight.astype(np.float64) @ vector)


def _columns(weight: Weight, factor: Array) -> Weight:
    if sp.issparse(weight):
        matrix = sp.csr_array(weight)
        data = (matrix.data * factor[matrix.indices]).astype(matrix.dtype)
        return sp.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)
    return (np.asarray(weight) * factor).astype(weight.dtype)


def _cast(layer: Dense, kind: np.dtype) -> Dense:
    def cast(weight: Weight) -> Weight:
        if sp.issparse(weight):
            matrix = sp.csr_array(weight.astype(kind))
            matrix.sort_indices()
            return matrix
        return np.asarray(weight, dtype=kind)

    skips = tuple(Skip(s.source, cast(s.weight)) for s in layer.skips)
    return replace(layer, weight=cast(layer.weight), bias=layer.bias.astype(kind), skips=skips)


def _per_axis(value: int | tuple[int, ...], axes: int) -> tuple[int, ...]:
    numbers = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(numbers) != axes:
        raise UnsupportedModelError(f"{numbers} has {len(numbers)} numbers, there are {axes} spatial axes")
    return numbers


def _label(item: Item) -> str:
    if isinstance(item, Dense):
        return item.name or item.kind
    return type(item).__name__
