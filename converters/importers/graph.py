"""A trained network as a graph of operations: what every importer translates its format into.

Shapes are those of one sample, without the batch. ``lower`` (see lower.py) turns a graph into an MLP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from .affine_maps import Windows

Array = np.ndarray


class _Batch:
    """Stands for the batch size in a shape that is computed at run time."""

    def __repr__(self) -> str:
        return "batch"


BATCH = _Batch()


@dataclass(frozen=True, eq=False)
class Linear:
    """y = W x + b along the last axis; weight : (n_out, n_in) array, bias : (n_out,) array or None."""

    weight: Array
    bias: Array | None = None


@dataclass(frozen=True, eq=False)
class Conv:
    """Convolution over (channels, *spatial), or (*spatial, channels) with ``channels_last``.

    weight : (n_out, n_in / groups, *kernel) array. ``same`` overrides the padding: ``"upper"`` puts the odd one last.
    """

    weight: Array
    bias: Array | None
    windows: Windows
    groups: int = 1
    channels_last: bool = False
    same: Literal["", "upper", "lower"] = ""


@dataclass(frozen=True)
class AveragePool:
    """Average over windows; ``count_padding``: divide by the window's size also where it reaches over the edge."""

    windows: Windows
    count_padding: bool = False
    channels_last: bool = False
    same: Literal["", "upper", "lower"] = ""


@dataclass(frozen=True)
class SumPool:
    """Sum over windows: average pooling times the size of the window."""

    windows: Windows


@dataclass(frozen=True)
class AdaptivePool:
    """Average over bins that divide the spatial axes into ``out`` parts as evenly as whole numbers allow."""

    out: tuple[int, ...]


@dataclass(frozen=True)
class Mean:
    """Average over axes of a sample (0 is the first after the batch); no axes: all but the first (global pooling)."""

    axes: tuple[int, ...] = ()
    keep: bool = False


@dataclass(frozen=True, eq=False)
class Scale:
    """y = factor x + shift (batch norm, input scaling).

    Both broadcast to the shape of a sample, a leading batch axis of one aside; with ``axis`` they are (n,)
    values along that axis.
    """

    factor: Array
    shift: Array
    axis: int | None = None


@dataclass(frozen=True)
class Relu:
    """y = min(max(x, 0), ceiling)."""

    ceiling: float = float("inf")


@dataclass(frozen=True)
class Reshape:
    """A new shape of one sample; at most one axis is -1, and 0 keeps the axis at that place."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Flatten:
    """Joins the axes ``start`` to the last into one."""

    start: int = 0


@dataclass(frozen=True)
class Squeeze:
    """Removes axes of length one."""

    axes: tuple[int, ...]


@dataclass(frozen=True)
class Unsqueeze:
    """Puts in axes of length one."""

    axes: tuple[int, ...]


@dataclass(frozen=True)
class Transpose:
    """Exchanges the axes of one sample."""

    axes: tuple[int, ...]


@dataclass(frozen=True)
class Exchange:
    """Exchanges two axes of one sample, which may count from the end."""

    first: int
    second: int


@dataclass(frozen=True)
class Pad:
    """Zeros around a sample: (before, after) of each of the last axes."""

    pads: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Add:
    """Sum of two tensors, or their difference for ``sign`` -1."""

    sign: int = 1


@dataclass(frozen=True)
class Concatenate:
    """Joins tensors along an axis of a sample."""

    axis: int


@dataclass(frozen=True)
class Identity:
    """Does nothing at inference (dropout, casts, copies)."""


@dataclass(frozen=True)
class Softmax:
    """Softmax or log-softmax; allowed at the end, where it does not change which output is the largest."""


@dataclass(frozen=True)
class Unsupported:
    """Something that cannot be taken, and what to do instead."""

    reason: str


Op = (
    Linear | Conv | AveragePool | SumPool | AdaptivePool | Mean | Scale | Relu | Reshape | Flatten | Squeeze | Unsqueeze
    | Transpose | Exchange | Pad | Add | Concatenate | Identity | Softmax | Unsupported
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    label : how messages call it, e.g. ``"node 4  MaxPool  'pool1'"``.
    inputs, output : names of tensors; ``output`` is also the name under which a runner returns the tensor.
    name : of the layer that it may become.
    """

    label: str
    op: Op
    inputs: tuple[str, ...]
    output: str
    name: str = ""


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in order of computation.

    input_shape : of one sample. layout : of image inputs. problems : what the translator found wrong besides nodes.
    """

    nodes: tuple[Node, ...]
    input: str
    input_shape: tuple[int, ...]
    output: str
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    classes: tuple[str, ...] = ()
    task: Literal["classification", "regression"] = "classification"
    problems: tuple[str, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)


def batch_norm(gamma: Array | None, beta: Array | None, mean: Array, variance: Array, epsilon: float, axis: int = 0) -> Scale:
    """Return y = gamma (x - mean) / sqrt(variance + epsilon) + beta as one scale and shift per channel.

    Source: Ioffe and Szegedy 2015, arXiv:1502.03167, Algorithm 2.
    """
    deviation = np.sqrt(np.asarray(variance, dtype=np.float64) + epsilon)
    factor = (1.0 if gamma is None else np.asarray(gamma, dtype=np.float64)) / deviation
    shift = (0.0 if beta is None else np.asarray(beta, dtype=np.float64)) - np.asarray(mean, dtype=np.float64) * factor
    return Scale(np.broadcast_to(factor, np.shape(deviation)), shift, axis)


def scale_by(kind: str, value: Array, constant_first: bool) -> Scale:
    """Return x + c, x - c, c - x, x c or x / c as a Scale."""
    if kind in ("add", "sum"):
        return Scale(np.ones(()), value)
    if kind == "sub":
        return Scale(-np.ones(()), value) if constant_first else Scale(np.ones(()), -value)
    if kind == "mul":
        return Scale(value, np.zeros(()))
    if constant_first:
        raise ValueError("divides by an activation")
    if (value == 0).any():
        raise ValueError("divides by zero")
    return Scale(1 / value, np.zeros(()))


# What to use instead, by the name that any of the formats gives the operation.
INSTEAD = {
    "maxpool": "use AveragePool, or strided Conv, and retrain",
    "sigmoid": "remove it at the end, where the largest output is the same either way; elsewhere use Relu and retrain",
    "tanh": "use Relu and retrain",
    "gelu": "use Relu and retrain",
    "silu": "use Relu and retrain",
    "elu": "use Relu and retrain",
    "selu": "use Relu and retrain",
    "swish": "use Relu and retrain",
    "hardswish": "use Relu and retrain",
    "softplus": "use Relu and retrain",
    "mish": "use Relu and retrain",
    "leakyrelu": "its negative part has no spiking counterpart here; use Relu and retrain",
    "prelu": "its negative part has no spiking counterpart here; use Relu and retrain",
    "layernorm": "its scale depends on the sample; use BatchNormalization and retrain",
    "groupnorm": "its scale depends on the sample; use BatchNormalization and retrain",
    "instancenorm": "its scale depends on the sample; use BatchNormalization and retrain",
    "lstm": "only Elman layers with ReLU are taken; use nn.RNN(nonlinearity='relu') weights in an .npz of MLP.save",
    "gru": "only Elman layers with ReLU are taken; use nn.RNN(nonlinearity='relu') weights in an .npz of MLP.save",
    "attention": "products of activations have no spiking counterpart here; use dense or convolution layers",
    "quantize": "quantised models are refused: export the float model, deploy quantises it for the chip",
    "dequantize": "quantised models are refused: export the float model, deploy quantises it for the chip",
    "qlinear": "quantised models are refused: export the float model, deploy quantises it for the chip",
    "integer": "quantised models are refused: export the float model, deploy quantises it for the chip",
    "lambda": "holds code; replace it by layers that say what they do",
}


def instead(operation: str) -> str:
    """Return what to do about an operation that cannot be taken."""
    plain = operation.lower().replace("_", "").replace("-", "")
    for key in sorted(INSTEAD, key=len, reverse=True):
        if key in plain:
            return INSTEAD[key]
    return "no spiking counterpart; express it by dense, convolution, average pooling, batch norm, addition and ReLU"
