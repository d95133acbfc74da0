"""Correct biases, initial potentials and weights so that the spiking layers match the ANN's (Li 2021)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import msgspec
import numpy as np

from ..optimizers import Adam
from .draft import Draft, Neurons, grouped_mean, groups, refuse
from .dynamics import drives_of, fire, snn_passes, train_of
from .limits import ONE_OR_MORE, POSITIVE, ZERO_OR_MORE, check, without_effect
from .ready import with_default_thresholds

Array = np.ndarray
HELD_BYTES = 512 * 2**20  # of drives kept from one round to the next


class CalibrationOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of :func:`calibration`.

    mode : ``"light"``: the mean error only; ``"advanced"``: weights first, then the mean error.
    target : what takes up a layer's mean error: its ``"bias"`` or its initial ``"potential"`` (the read-out: always its bias).
    rounds : corrections of each layer's mean error; the published method makes one.
    readout : correct the read-out as well.
    samples : calibration samples used at most.
    learning_rate, iterations, batch_size : of Adam, ``"advanced"`` only.
    seed : order of the samples, ``"advanced"`` only.
    """

    mode: Literal["light", "advanced"] = "light"
    target: Literal["bias", "potential"] = "bias"
    rounds: int = 1
    readout: bool = True
    samples: int = 1024
    learning_rate: float = 1e-6
    iterations: int = 2000
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        whole = {name: ONE_OR_MORE for name in ("rounds", "samples", "iterations", "batch_size")}
        check("calibration", self, **whole, learning_rate=POSITIVE, seed=ZERO_OR_MORE)
        if self.mode == "light":
            without_effect("calibration", self, "give mode='advanced'", "learning_rate", "iterations", "batch_size", "seed")


def calibration(draft: Draft, options: CalibrationOptions) -> Draft:
    """Correct each layer in turn, the layers below it already corrected, so that its mean outputs at T steps are the ANN's.

    Light, per neuron (channel of a convolution), over the calibration samples:

        e_i = mean(theta_i N_i / T) - mean(a_i);   b_i <- b_i - e_i,   or   v0_i <- v0_i - T e_i

    Advanced: before that, Adam with a cosine schedule on the layer's weights and bias, minimising

        || (theta/T) clip(floor((v0 + T (W x + b)) / theta), 0, T) - a ||^2

    with x the spiking network's mean input and the gradient passed straight through the floor where 0 < W x + b < theta.
    Without an earlier step that sets thresholds: lambda of a QCFS network, otherwise those of ``ltb``.

    Source: Li et al. 2021, "A free lunch from ANN: towards efficient, accurate spiking neural networks calibration", ICML 2021,
    arXiv:2106.06984; Li et al. 2024, "Error-aware conversion from ANN to SNN via post-training parameter calibration", IJCV 132,
    doi:10.1007/s11263-024-02046-2.

    Departs: the read-out is corrected too; the quantiser of the weight fit starts at v0, as the neurons do; the learning rate
    is a tenth of the published one, which overfits 1,024 samples on fully connected layers, and 2,000 iterations instead of 5,000.

    Raises
    ------
    ConversionError : recurrent layers, where a change of the bias comes back at the next input of the sequence (measured: it
        moves the first positions by more than it corrects the last); with ``mode="advanced"`` also layers held as sparse maps
        and layers with skips; all named.
    """
    n_steps = draft.require_t("calibration")
    advanced = options.mode == "advanced"
    refuse(draft, "calibration advanced" if advanced else "calibration", sparse=advanced, recurrent=True, skips=advanced)
    draft = with_default_thresholds(draft)
    last = len(draft.neurons) - 1
    for i in range(last + 1 if options.readout else last):
        if options.mode == "advanced":
            draft = _fit_weights(draft, i, n_steps, options)
        # The read-out is linear: one correction is exact.
        draft = _remove_mean_error(draft, i, n_steps, options, options.rounds if i < last else 1)
        draft.report(f"calibration ({options.mode})", i + 1, last + 1)
    return replace(draft, for_t=n_steps)


def _remove_mean_error(draft: Draft, index: int, n_steps: int, options: CalibrationOptions, rounds: int) -> Draft:
    """Correct one layer ``rounds`` times; what it hears does not change meanwhile and is computed once where it fits."""
    passes: Iterable[Pass] = _passes(draft, index, n_steps, options.samples)
    if rounds > 1:
        passes = _held(draft, index, n_steps, options.samples)
    for _ in range(rounds):
        neurons = draft.neurons[index]
        total, count = np.zeros(neurons.layer.n_out), 0
        for z, wanted in passes:
            got = _sent(neurons, z, n_steps)
            total += (got - wanted).sum(axis=0, dtype=np.float64)
            count += len(got)
        error = grouped_mean(total / count, groups(neurons.layer, per_neuron=True))
        if options.target == "potential" and neurons.v_threshold is not None:
            draft = draft.with_neurons({index: {"v_init": neurons.start_potential - n_steps * error}})
        else:
            draft = draft.with_neurons({index: {"bias": neurons.drive_bias - error}})
    return draft


Pass = tuple[Array, Array]


def _passes(draft: Draft, index: int, n_steps: int, samples: int) -> Iterator[Pass]:
    """Yield (drive without bias, (n_steps or 1, m, n); the ANN's output, (m, n)) of a layer, batch by batch."""
    layer = draft.neurons[index].layer
    silent = replace(draft.neurons[index], bias=np.zeros(layer.n_out))
    for trains, values in snn_passes(draft, index, n_steps, samples=samples):
        yield drives_of(silent, trains, n_steps)[0], values[index + 1][0]


def _held(draft: Draft, index: int, n_steps: int, samples: int) -> Iterable[Pass]:
    """Return the passes as a list where they fit into memory, else as something that makes them again in every round."""
    held, size = [], 0
    for one in _passes(draft, index, n_steps, samples):
        held.append(one)
        size += one[0].nbytes + one[1].nbytes
        if size > HELD_BYTES:
            return _Again(lambda: _passes(draft, index, n_steps, samples))
    return held


@dataclass(frozen=True)
class _Again:
    """Passes that are made anew each time they are read."""

    make: Callable[[], Iterator[Pass]]

    def __iter__(self) -> Iterator[Pass]:
        return self.make()


def _sent(neurons: Neurons, z: Array, n_steps: int) -> Array:
    """Return the mean over the steps of what a layer sends, or the read-out receives, (m, n); ``z``: its drive without bias."""
    bias = neurons.drive_bias.astype(z.dtype)
    z = z + (bias if bias.ndim == 1 else bias[:n_steps, None])
    return z.mean(axis=0) if neurons.v_threshold is None else fire(neurons, z, n_steps).mean(axis=0)


def _layer_passes(draft: Draft, index: int, n_steps: int, samples: int) -> Iterator[tuple[Array, Array, Array]]:
    """Yield (mean input, mean output, the ANN's output) of a spiking layer, or of the read-out, each (m, size)."""
    neurons = draft.neurons[index]
    for trains, values in snn_passes(draft, index, n_steps, samples=samples):
        send = drives_of if neurons.v_threshold is None else train_of
        given, got = trains[-1].mean(axis=1), send(neurons, trains, n_steps).mean(axis=1)
        yield tuple(part.reshape(-1, part.shape[-1]) for part in (given, got, values[index + 1]))  # type: ignore[misc]


def _fit_weights(draft: Draft, index: int, n_steps: int, options: CalibrationOptions) -> Draft:
    given, _, wanted = (np.concatenate(parts) for parts in zip(*_layer_passes(draft, index, n_steps, options.samples), strict=True))
    neurons = draft.neurons[index]
    # Copies, contiguous, which Adam changes in place through their flat views.
    weight, bias = np.array(neurons.layer.weight, np.float32, order="C"), np.array(neurons.drive_bias, np.float32)
    rng = np.random.default_rng(options.seed)
    for_weight, for_bias = Adam(weight.reshape(-1)), Adam(bias)
    for k in range(options.iterations):
        rows = rng.integers(0, len(given), options.batch_size)
        x = given[rows]
        error = _straight_through_error(neurons, x @ weight.T + bias, wanted[rows], n_steps) / np.float32(len(rows))
        rate = options.learning_rate * 0.5 * (1 + np.cos(np.pi * k / options.iterations))
        for_weight.step(weight.reshape(-1), np.matmul(error.T, x).reshape(-1), rate)
        for_bias.step(bias, error.sum(axis=0), rate)
        if k % 100 == 99:
            draft.report(f"weights of {draft.name(index)}", k + 1, options.iterations)
    return draft.with_neurons({index: {"layer": replace(neurons.layer, weight=weight), "bias": bias.astype(np.float64)}})


def _straight_through_error(neurons: Neurons, z: Array, wanted: Array, n_steps: int) -> Array:
    """Return output minus target where the gradient passes, else 0, (m, n); of the read-out everywhere."""
    if neurons.v_threshold is None:
        return z - wanted
    theta = neurons.theta.astype(np.float32)
    levels = np.floor((neurons.start_potential.astype(np.float32) + n_steps * z) / theta)
    sent = np.clip(levels, 0, n_steps * neurons.max_spikes) * (theta / np.float32(n_steps))
    return (sent - wanted) * ((z > 0) & (z < theta * neurons.max_spikes))

