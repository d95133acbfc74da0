"""Backpropagation: the loss of a batch and its gradient, through layers and, in recurrent networks, through time.

A sequence is held time first, (n_seq, B, n); a feed-forward network is a
sequence of length one. All arrays are allocated once and reused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from neuro.errors import UnsupportedModelError, problems

from .losses import Loss
from .mlp import Dense

Array = np.ndarray


class LayerArrays(NamedTuple):
    """The parameters of one layer, or their gradients: views of one flat vector.

    weight (n_out, n_in), bias (n_out,), recurrent (n_out, n_out) or None, ceiling (1,) of qcfs or None.
    """

    weight: Array
    bias: Array
    recurrent: Array | None
    ceiling: Array | None


def check_trainable(layers: Sequence[Dense]) -> None:
    """Raise UnsupportedModelError naming every layer that is not dense."""
    causes = []
    for i, layer in enumerate(layers):
        where = f"layer {i}" + (f" ({layer.name})" if layer.name else "")
        if sp.issparse(layer.weight) or layer.channels is not None:
            causes.append(f"{where}: a {layer.kind} layer; only dense and recurrent layers are trained here")
        elif layer.skips:
            causes.append(f"{where}: ends a residual connection; train such a network in its own framework")
    if causes:
        raise UnsupportedModelError(problems("the network cannot be trained:", causes))


def views(flat: Array, layers: Sequence[Dense]) -> list[LayerArrays]:
    """Return each layer's share of a flat vector of :func:`n_parameters` numbers."""
    found, start = [], 0

    def take(*shape: int) -> Array:
        nonlocal start
        first, start = start, start + int(np.prod(shape))
        return flat[first:start].reshape(shape)

    for layer in layers:
        found.append(
            LayerArrays(
                weight=take(layer.n_out, layer.n_in),
                bias=take(layer.n_out),
                recurrent=None if layer.recurrent is None else take(layer.n_out, layer.n_out),
                ceiling=take(1) if layer.activation == "qcfs" else None,
            )
        )
    return found


def n_parameters(layers: Sequence[Dense]) -> int:
    """Return the number of trained parameters."""
    return sum(layer.n_parameters + (layer.activation == "qcfs") for layer in layers)


def pack(layers: Sequence[Dense], dtype: type = np.float32) -> Array:
    """Return all parameters as one flat vector."""
    flat: Array = np.empty(n_parameters(layers), dtype)
    for layer, arrays in zip(layers, views(flat, layers), strict=True):
        arrays.weight[:], arrays.bias[:] = layer.weight, layer.bias
        if arrays.recurrent is not None:
            arrays.recurrent[:] = layer.recurrent
        if arrays.ceiling is not None:
            arrays.ceiling[:] = layer.ceiling
    return flat


def unpack(flat: Array, layers: Sequence[Dense]) -> tuple[Dense, ...]:
    """Return the layers with the parameters of a flat vector (copies)."""
    return tuple(
        replace(
            layer,
            weight=arrays.weight.copy(),
            bias=arrays.bias.copy(),
            recurrent=None if arrays.recurrent is None else arrays.recurrent.copy(),
            ceiling=layer.ceiling if arrays.ceiling is None else float(arrays.ceiling[0]),
        )
        for layer, arrays in zip(layers, views(flat, layers), strict=True)
    )


@dataclass
class _Trace:
    """What the way forward leaves for the way back: inputs, drive and output of one layer, and its dropout mask."""

    inputs: Array
    z: Array
    a: Array
    mask: Array | None = None


class Backprop:
    """Loss and gradient of a network of dense layers.

    Parameters
    ----------
    layers : shapes and activations; the parameters themselves are given to each call.
    dropout, input_dropout : probability with which a hidden activation, or an input, is zero in training; others are
        divided by one minus it (N. Srivastava et al., JMLR 15, 2014, in its inverted form). Recurrent connections are
        left whole (W. Zaremba et al., 2014, arXiv:1409.2329).
    random_shift : with a generator, qcfs rounds with a shift drawn from [0, 1) instead of 1/2; its mean is the clipped ReLU.
    activity_penalty : c in  c (1/B) sum |a|  over hidden neurons (and positions of the sequence), added to the loss.
    """

    def __init__(
        self,
        layers: Sequence[Dense],
        *,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        activity_penalty: float = 0.0,
        random_shift: bool = False,
    ) -> None:
        check_trainable(layers)
        self.layers = tuple(layers)
        self.dropout, self.input_dropout, self.activity_penalty = dropout, input_dropout, activity_penalty
        self.random_shift = random_shift
        # Above the last recurrent layer only the last element of the sequence reaches the answer.
        self._last_recurrent = max((i for i, layer in enumerate(layers) if layer.recurrent is not None), default=-1)
        self._buffers: dict[str, Array] = {}

    def forward(self, parameters: Sequence[LayerArrays], x: Array, rng: np.random.Generator | None = None) -> Array:
        """Return the outputs (B, n_out) for x (n_seq, B, n_in); with a generator, with dropout.

        The array belongs to this object and is overwritten by the next call.
        """
        return self._forward(parameters, x, rng)[-1].a[-1]

    def layer_outputs(self, parameters: Sequence[LayerArrays], x: Array) -> list[Array]:
        """Return every layer's activations (n_seq, B, n) without dropout; above recurrence, of the last element."""
        return [trace.a for trace in self._forward(parameters, x, None)]

    def loss_and_gradient(
        self,
        parameters: Sequence[LayerArrays],
        gradients: Sequence[LayerArrays],
        x: Array,
        targets: Array,
        loss: Loss,
        rng: np.random.Generator | None = None,
    ) -> float:
        """Return the loss on a batch x (n_seq, B, n_in) and write its gradient into the views ``gradients``.

        The floor of qcfs is passed straight through: with u = z levels/ceiling + 1/2,  da/dz = 1 for 0 <= u < levels
        and 0 elsewhere;  da/dceiling = (a - z)/ceiling for 0 <= u < levels, 1 above, 0 below.

        Source: T. Bu et al., "Optimal ANN-SNN conversion for high-accuracy and ultra-low-latency spiking neural
        networks", ICLR 2022, arXiv:2303.04347.
        """
        traces = self._forward(parameters, x, rng)
        outputs = traces[-1].a
        delta = self._buffer("delta", len(traces) - 1, outputs)
        delta[:-1] = 0
        value = loss(outputs[-1], targets, delta[-1])
        for i in reversed(range(len(self.layers))):
            trace, arrays, gradient = traces[i], parameters[i], gradients[i]
            if self.activity_penalty and i < len(self.layers) - 1:
                rate = self.activity_penalty / x.shape[1]
                value += rate * float(trace.a.sum(dtype=np.float64))
                # a is never negative, so that |a| has slope 1; where a is held at zero the activation's own slope is 0.
                delta += rate
            self._through_activation(i, delta, trace, arrays, gradient)
            flat, below = _rows(delta), _rows(trace.inputs)
            np.matmul(flat.T, below, out=gradient.weight)
            np.sum(flat, axis=0, out=gradient.bias)
            if gradient.recurrent is not None:
                np.matmul(_rows(delta[1:]).T, _rows(trace.a[:-1]), out=gradient.recurrent)
            if i:
                delta = self._pass_down(i, delta, arrays.weight, traces[i - 1])
        return value

    def _forward(self, parameters: Sequence[LayerArrays], x: Array, rng: np.random.Generator | None) -> list[_Trace]:
        traces: list[_Trace] = []
        o = x
        if rng is not None and self.input_dropout:
            o = self._drop(-1, o, self.input_dropout, rng)[0]
        for i, (layer, arrays) in enumerate(zip(self.layers, parameters, strict=True)):
            if i > self._last_recurrent:
                o = o[-1:]
            z = self._buffer("z", i, np.broadcast_to(x.dtype.type(0), (*o.shape[:2], layer.n_out)))
            np.matmul(_rows(o), arrays.weight.T, out=_rows(z))
            z += arrays.bias
            # The drive of a qcfs layer is needed on the way back; a ReLU may overwrite it.
            a = self._buffer("a", i, z) if layer.activation == "qcfs" else z
            shift = self._shift(i, z, rng)
            if arrays.recurrent is None:
                _activate(layer, arrays, z, a, shift)
            else:
                back = self._buffer("back", i, z[0])
                for t in range(len(z)):
                    if t:
                        z[t] += np.matmul(a[t - 1], arrays.recurrent.T, out=back)
                    _activate(layer, arrays, z[t], a[t], shift if isinstance(shift, float) else shift[t])
            trace = _Trace(o, z, a)
            traces.append(trace)
            o = a
            if rng is not None and self.dropout and i < len(self.layers) - 1:
                o, trace.mask = self._drop(i, a, self.dropout, rng)
        return traces

    def _shift(self, i: int, like: Array, rng: np.random.Generator | None) -> Array | float:
        """Return what is added before the floor of qcfs."""
        if rng is None or not self.random_shift or self.layers[i].activation != "qcfs":
            return 0.5
        shift = self._buffer("shift", i, like)
        rng.random(out=shift, dtype=shift.dtype)
        return shift

    def _through_activation(self, i: int, delta: Array, trace: _Trace, arrays: LayerArrays, gradient: LayerArrays) -> None:
        layer = self.layers[i]
        if gradient.ceiling is not None:
            gradient.ceiling[0] = 0
        if arrays.recurrent is None:
            _slope(layer, arrays, gradient, delta, trace.z, trace.a)
            return
        back = self._buffer("back", i, delta[0])
        for t in reversed(range(len(delta))):
            if t + 1 < len(delta):
                delta[t] += np.matmul(delta[t + 1], arrays.recurrent, out=back)
            _slope(layer, arrays, gradient, delta[t], trace.z[t], trace.a[t])

    def _pass_down(self, i: int, delta: Array, weight: Array, trace: _Trace) -> Array:
        """Return dL/da of the layer below, through the weights and the dropout mask."""
        below = self._buffer("delta", i - 1, trace.a)
        below[: len(below) - len(delta)] = 0
        np.matmul(_rows(delta), weight, out=_rows(below[len(below) - len(delta) :]))
        if trace.mask is not None:
            below *= trace.mask
        return below

    def _drop(self, i: int, a: Array, probability: float, rng: np.random.Generator) -> tuple[Array, Array]:
        mask, dropped = self._buffer("mask", i, a), self._buffer("dropped", i, a)
        rng.random(out=mask, dtype=mask.dtype)
        np.greater_equal(mask, probability, out=mask)
        mask *= 1 / (1 - probability)
        return np.multiply(a, mask, out=dropped), mask

    def _buffer(self, name: str, layer: int, like: Array) -> Array:
        """Return a reused contiguous array of the shape and type of another."""
        key = f"{name}{layer}"
        held = self._buffers.get(key)
        if held is None or held.size < like.size or held.dtype != like.dtype:
            held = self._buffers[key] = np.empty(like.size, like.dtype)
        return held[: like.size].reshape(like.shape)


def _rows(array: Array) -> Array:
    """Return (n_seq, B, n) as (n_seq B, n) without a copy."""
    return array.reshape(-1, array.shape[-1])


def _activate(layer: Dense, arrays: LayerArrays, z: Array, a: Array, shift: Array | float) -> None:
    """Write the activation of z into a; a may be z itself unless the layer is qcfs, which adds ``shift`` before its floor."""
    if layer.activation == "relu":
        np.maximum(z, 0, out=a)
        if np.isfinite(layer.ceiling):
            np.minimum(a, a.dtype.type(layer.ceiling), out=a)
    elif arrays.ceiling is not None:
        np.multiply(z, layer.levels / arrays.ceiling, out=a)
        a += shift
        np.floor(a, out=a)
        np.clip(a, 0, layer.levels, out=a)
        a *= arrays.ceiling / layer.levels


def _slope(layer: Dense, arrays: LayerArrays, gradient: LayerArrays, delta: Array, z: Array, a: Array) -> None:
    """Turn dL/da into dL/dz in place; add the share of qcfs's ceiling to its gradient."""
    if layer.activation == "relu":
        np.multiply(delta, a > 0, out=delta)
        if np.isfinite(layer.ceiling):
            np.multiply(delta, a < a.dtype.type(layer.ceiling), out=delta)
    elif arrays.ceiling is not None and gradient.ceiling is not None:
        u = z * (layer.levels / arrays.ceiling)
        u += 0.5
        inside = (u >= 0) & (u < layer.levels)
        share = np.where(inside, (a - z) / arrays.ceiling, u >= layer.levels)
        gradient.ceiling[0] += np.vdot(delta, share)
        np.multiply(delta, inside, out=delta)
