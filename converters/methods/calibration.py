"""Correct biases, initial potentials and weights so that the spiking layers match the ANN's (Li 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import msgspec
import numpy as np

from neuro.errors import ConversionError

from .draft import Draft, Neurons, grouped_mean, groups, refuse
from .dynamics import drives_of, snn_passes, train_of
from .ready import with_default_thresholds

Array = np.ndarray


class CalibrationOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of :func:`calibration`.

    mode : ``"light"``: biases; ``"advanced"``: weights, then biases.
    target : what the mean error of a layer corrects: its ``"bias"`` or its initial ``"potential"``.
    rounds : passes over the samples for each layer's bias; the published method makes one.
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
    learning_rate: float = 1e-5
    iterations: int = 5000
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.iterations < 1 or self.batch_size < 1 or self.samples < 1:
            raise ConversionError("calibration: rounds, iterations, batch_size and samples must be 1 or more")


def calibration(draft: Draft, options: CalibrationOptions) -> Draft:
    n_steps = draft.require_t("calibration")
    if options.mode == "advanced":
        refuse(draft, "calibration", sparse=True, recurrent=True)
    draft = with_default_thresholds(draft)
    last = len(draft.neurons) - 1
    for i in range(last + 1 if options.readout else last):
        if options.mode == "advanced":
            draft = _fit_weights(draft, i, n_steps, options)
        for _ in range(options.rounds if i < last else 1):
            draft = _remove_mean_error(draft, i, n_steps, options)
        draft.report("calibration", i + 1, last + 1)
    return replace(draft, for_t=n_steps)


def _remove_mean_error(draft: Draft, index: int, n_steps: int, options: CalibrationOptions) -> Draft:
    neurons = draft.neurons[index]
    total, count = np.zeros(neurons.layer.n_out), 0
    for got, wanted in _outputs(draft, index, n_steps, options.samples):
        total += (got - wanted).sum(axis=0, dtype=np.float64)
        count += len(got)
    error = grouped_mean(total / count, groups(neurons.layer, per_neuron=True))
    if options.target == "potential" and neurons.v_threshold is not None:
        return draft.with_neurons({index: {"v_init": neurons.start_potential - n_steps * error}})
    return draft.with_neurons({index: {"bias": neurons.drive_bias - error}})


def _outputs(draft: Draft, index: int, n_steps: int, samples: int) -> Iterator[tuple[Array, Array]]:
    """Yield (mean output of the spiking layer, the ANN's) batch by batch, each (n, size); of the read-out the mean drive."""
    neurons = draft.neurons[index]
    for trains, values in snn_passes(draft, index, n_steps, samples=samples):
        send = drives_of if neurons.v_threshold is None else train_of
        got = send(neurons, trains, n_steps).mean(axis=1)
        yield got.reshape(-1, got.shape[-1]), values[index + 1].reshape(-1, got.shape[-1])


def _fit_weights(draft: Draft, index: int, n_steps: int, options: CalibrationOptions) -> Draft:
    neurons = draft.neurons[index]
    inputs, targets = [], []
    for trains, values in snn_passes(draft, index, n_steps, samples=options.samples):
        inputs.append(trains[-1].mean(axis=1).reshape(-1, neurons.layer.n_in))
        targets.append(values[index + 1].reshape(-1, neurons.layer.n_out))
    x, a = np.concatenate(inputs), np.concatenate(targets)
    weight, bias = _adam(neurons, x, a, n_steps, options)
    layer = replace(neurons.layer, weight=weight)
    return draft.with_neurons({index: {"layer": layer, "bias": bias.astype(np.float64)}})


def _adam(neurons: Neurons, x: Array, wanted: Array, n_steps: int, options: CalibrationOptions) -> tuple[Array, Array]:
    rng = np.random.default_rng(options.seed)
    w = neurons.layer.weight.astype(np.float32).copy()
    b = neurons.drive_bias.astype(np.float32).copy()
    theta = None if neurons.v_threshold is None else neurons.theta.astype(np.float32)
    start = None if theta is None else neurons.start_potential.astype(np.float32)/theta
    m, v, g, t2 = (np.zeros_like(w) for _ in range(4))
    mb, vb = np.zeros_like(b), np.zeros_like(b)
    losses=[]
    for k in range(options.iterations):
        rows = rng.integers(0, len(x), options.batch_size)
        xb, ab = x[rows], wanted[rows]
        z = xb @ w.T + b
        if theta is None:
            d = z - ab
        else:
            s = z * (n_steps / theta) + start
            y = np.clip(np.floor(s), 0, n_steps*neurons.max_spikes) * (theta / n_steps)
            d = (y - ab) * ((s > 0) & (s < n_steps*neurons.max_spikes))
        losses.append(float((((y if theta is not None else z) - ab)**2).sum(1).mean()))
        d /= len(xb)
        np.matmul(d.T, xb, out=g)
        gb = d.sum(0)
        lr = options.learning_rate * 0.5 * (1 + np.cos(np.pi * k / options.iterations))
        m += 0.1 * (g - m) if False else 0
        np.subtract(g, m, out=t2); t2 *= 0.1; m += t2
        np.multiply(g, g, out=t2); t2 -= v; t2 *= 0.001; v += t2
        c1, c2 = 1 - 0.9 ** (k + 1), 1 - 0.999 ** (k + 1)
        np.sqrt(v, out=t2); t2 *= 1/np.sqrt(c2); t2 += 1e-8
        np.divide(m, t2, out=t2); t2 *= lr / c1; w -= t2
        mb += .1*(gb-mb); vb += .001*(gb*gb-vb)
        b -= (lr/c1) * mb / (np.sqrt(vb/c2)+1e-8)
    print('loss', np.mean(losses[:100]), np.mean(losses[-100:]))
    return w, b
