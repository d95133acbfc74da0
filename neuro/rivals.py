"""Two rivals of the spiking network at equal accuracy: the same ANN, quantised.

The one has the chip's weight bits and 8-bit activations. The other has activations of
ceil(log2(T + 1)) bits, the number of values that a neuron can express in T steps: a spiking network of
T steps is at best such an ANN (Yan, Bai, Wong 2024), so it has to be cheaper than that ANN, not than a dense fp32 one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from .chip import load_chip
from .digital import AnnWork, Design, DigitalOptions, Network, ann_work, design
from .errors import SpecError, UnsupportedModelError
from .estimate import Estimate

Array = np.ndarray
INPUT_BITS = 8
CLIPS = np.linspace(0.3, 1.0, 29)  # candidates of an activation's upper limit, in units of its largest value


@dataclass(frozen=True, eq=False)
class QuantisedNetwork:
    """A feed-forward network whose weights and activations take 2^bits values.

    layers : of the source, with rounded weights; ceilings : (n_layers - 1,) upper limits of the hidden activations;
    weight_bits, activation_bits, input_bits : widths; input_ceiling : largest absolute input seen in calibration.
    """

    layers: tuple[Any, ...]
    weights: tuple[Any, ...]
    ceilings: tuple[float, ...]
    weight_bits: int
    activation_bits: int
    input_bits: int
    input_ceiling: float

    def activations(self, x: Array) -> list[Array]:
        """Return the output of every layer; hidden ones are multiples of ceiling / (2^bits - 1)."""
        values = [quantise_signed(np.asarray(x, dtype=np.float32), self.input_bits, self.input_ceiling)]
        for i, (layer, weight) in enumerate(zip(self.layers, self.weights, strict=True)):
            z = _affine(values[-1], weight) + np.asarray(layer.bias, dtype=np.float32)
            for skip in getattr(layer, "skips", ()):
                z = z + _affine(values[skip.source + 1], skip.weight)
            a = layer.activate(z)
            last = i == len(self.layers) - 1
            values.append(a if last else quantise_unsigned(a, self.activation_bits, self.ceilings[i]))
        return values[1:]


@dataclass(frozen=True)
class Rival:
    """A quantised ANN with its accuracy and its energy an inference.

    agreement : share of predictions equal to the unquantised network's; zero_skipping_macs : an inference.
    energy : on the design; the low end scales the multiplier with its narrower operand, value and high do not,
    because no multiplier below 8 bits has a published figure.
    """

    name: str
    weight_bits: int
    activation_bits: int
    accuracy: float
    agreement: float
    work: AnnWork
    design: Design
    energy: Estimate


def activation_bits_of(n_steps: int) -> int:
    """Return ceil(log2(T + 1)), the bits of an activation with T + 1 values."""
    if n_steps < 1:
        raise SpecError(f"n_steps is {n_steps}, expected 1 or more")
    return math.ceil(math.log2(n_steps + 1))


def quantise_network(mlp: Network, calibration: Array, weight_bits: int, activation_bits: int) -> QuantisedNetwork:
    """Round a trained feed-forward network to few bits, without retraining.

    Weights: symmetric, one scale a layer, ``2^(bits - 1) - 1`` levels to each side of zero, scale = largest |weight|.
    Hidden activations: ``2^bits`` values from 0 to a ceiling that minimises the squared error on the calibration data.
    Inputs: 8 bits and sign. Biases and the outputs of the last layer are not rounded.

    Raises
    ------
    UnsupportedModelError : a recurrent network.
    SpecError : fewer than 2 weight bits or 1 activation bit, no calibration data.
    """
    if weight_bits < 2 or activation_bits < 1 or len(calibration) == 0:
        raise SpecError(
            f"cannot quantise to {weight_bits} weight, {activation_bits} activation bits, {len(calibration)} samples; "
            "give at least 2, 1 and 1"
        )
    if any(getattr(layer, "recurrent", None) is not None for layer in mlp.layers):
        raise UnsupportedModelError("rivals are quantised feed-forward networks; this network is recurrent")
    x = np.asarray(calibration, dtype=np.float32)
    weights = tuple(_round_weight(layer.weight, weight_bits) for layer in mlp.layers)
    ceilings = tuple(best_ceiling(a, activation_bits) for a in mlp.activations(x)[:-1])
    top = float(np.abs(x).max()) or 1.0
    return QuantisedNetwork(tuple(mlp.layers), weights, ceilings, weight_bits, activation_bits, INPUT_BITS, top)


def quantise_unsigned(a: Array, bits: int, ceiling: float) -> Array:
    """Return round(clip(a / ceiling, 0, 1) (2^bits - 1)) ceiling / (2^bits - 1)."""
    levels = 2**bits - 1
    return (np.rint(np.clip(a / ceiling, 0, 1) * levels) * (ceiling / levels)).astype(a.dtype)


def quantise_signed(a: Array, bits: int, ceiling: float) -> Array:
    """Return the same with sign: 2^bits - 1 levels to each side of zero."""
    levels = 2**bits - 1
    return (np.rint(np.clip(a / ceiling, -1, 1) * levels) * (ceiling / levels)).astype(a.dtype)


def best_ceiling(a: Array, bits: int) -> float:
    """Return the ceiling among ``CLIPS`` times the largest activation that minimises the mean squared error."""
    top = float(a.max())
    if top <= 0:
        return 1.0
    errors = [float(np.mean((quantise_unsigned(a, bits, top * c) - a) ** 2)) for c in CLIPS]
    return top * float(CLIPS[int(np.argmin(errors))])


def rivals(
    mlp: Network,
    x: Array,
    labels: Array,
    *,
    calibration: Array,
    weight_bits: int,
    n_steps: int,
    options: DigitalOptions | None = None,
    batch: int = 1000,
) -> tuple[Rival, ...]:
    """Return the two rivals with accuracy and energy on one design.

    Parameters
    ----------
    mlp : the trained network.
    x, labels : (n_samples, n_in) test inputs and their classes.
    calibration : (m, n_in) inputs that set the activations' ceilings; not the test inputs.
    weight_bits : of the chip, with sign.
    n_steps : T of the spiking network.
    options : node, counting, memory and batch size; precision is int8, its width in memory the rival's.

    Source
    ------
    Yan, Bai, Wong 2024, arXiv:2409.08290.
    """
    base = options or DigitalOptions()
    reference = _predict(mlp, x, batch)
    found = []
    for name, bits in (
        (f"ANN, {weight_bits}-bit weights, 8-bit activations", 8),
        (
            f"ANN, {weight_bits}-bit weights, ceil(log2(T + 1)) = {activation_bits_of(n_steps)}-bit activations",
            activation_bits_of(n_steps),
        ),
    ):
        network = quantise_network(mlp, calibration, weight_bits, bits)
        answers = _predict(network, x, batch)
        work = ann_work(_Rounded(network), x, batch)
        chosen = _with_widths(base, weight_bits, bits)
        cost = design(work, chosen)
        found.append(
            Rival(
                name=name,
                weight_bits=weight_bits,
                activation_bits=bits,
                accuracy=float(np.mean(answers == np.asarray(labels))),
                agreement=float(np.mean(answers == reference)),
                work=work,
                design=cost,
                energy=_narrow(cost, min(bits, weight_bits)),
            )
        )
    return tuple(found)


class _Rounded:
    """The quantised network in the shape that ``ann_work`` counts."""

    def __init__(self, network: QuantisedNetwork) -> None:
        self._network = network
        self.layers: Sequence[Any] = [_RoundedLayer(layer, weight) for layer, weight in zip(network.layers, network.weights, strict=True)]

    def activations(self, x: Array) -> list[Array]:
        return self._network.activations(x)


class _RoundedLayer:
    def __init__(self, layer: Any, weight: Any) -> None:
        self.weight, self.bias, self.activate = weight, layer.bias, layer.activate
        self.name, self.skips = getattr(layer, "name", ""), getattr(layer, "skips", ())


def _with_widths(base: DigitalOptions, weight_bits: int, activation_bits: int) -> DigitalOptions:
    return DigitalOptions(
        node=base.node,
        precision="int8",
        counting=base.counting,
        weights=base.weights,
        activations=base.activations,
        batch=base.batch,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
    )


def _narrow(cost: Design, bits: int) -> Estimate:
    """Return the total with a low end whose multiplier shrinks with its narrower operand, E_mul bits / 8."""
    figure = load_chip(cost.options.node).operations.mul_int8
    assert figure is not None  # design() has used it
    saved = cost.macs * figure.low * max(1.0 - bits / 8.0, 0.0)
    total = cost.total
    return Estimate(total.value, max(total.low - saved, 0.0), total.high)


def _round_weight(weight: Any, bits: int) -> Any:
    levels = 2 ** (bits - 1) - 1
    values = weight.data if sp.issparse(weight) else weight
    top = float(np.abs(values).max()) if values.size else 0.0
    if top == 0.0:
        return weight
    rounded = (np.rint(values / top * levels) * (top / levels)).astype(np.float32)
    if not sp.issparse(weight):
        return rounded
    matrix = sp.csr_array(weight)
    return sp.csr_array((rounded, matrix.indices, matrix.indptr), shape=matrix.shape)


def _affine(x: Array, weight: Any) -> Array:
    return np.asarray((weight @ x.T).T) if sp.issparse(weight) else x @ np.asarray(weight, dtype=np.float32).T


def _predict(network: Network, x: Array, batch: int) -> Array:
    parts = [np.argmax(network.activations(x[i : i + batch])[-1], axis=1) for i in range(0, len(x), batch)]
    return np.concatenate(parts)


__all__ = ["QuantisedNetwork", "Rival", "activation_bits_of", "best_ceiling", "quantise_network", "rivals"]
