"""A bias for every step that removes the mean error of that step (FTBC, Wu 2024)."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from .draft import Draft, grouped_mean, groups, refuse
from .dynamics import drives_of, reset, snn_passes, spikes
from .limits import ONE_OR_MORE, POSITIVE_SHARE, check
from .ready import with_default_thresholds

Array = np.ndarray


class FTBCOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of :func:`ftbc`.

    rate : alpha, the share of the mean error that enters the bias at each visit.
    rounds : passes over the calibration samples.
    batch_size : samples a visit.
    samples : calibration samples used at most.
    """

    rate: float = 0.5
    rounds: int = 1
    batch_size: int = 250
    samples: int = 1000

    def __post_init__(self) -> None:
        check("ftbc", self, rate=POSITIVE_SHARE, rounds=ONE_OR_MORE, batch_size=ONE_OR_MORE, samples=ONE_OR_MORE)


def ftbc(draft: Draft, options: FTBCOptions) -> Draft:
    """Give every neuron one bias a step, learned layer by layer from the mean error of the spikes of that step.

    With m = v + drive_t - beta_t before the test and e = theta [m >= theta] - a_ANN:

        beta_t <- beta_t + alpha mean_batch(e);   v = m - alpha mean_batch(e), tested and reset

    so the corrected bias of step t, b - beta_t, already holds for the steps that follow in the same visit. Memory: T biases a
    neuron. Without an earlier step that sets thresholds: lambda of a QCFS network, otherwise those of ``ltb``.

    Source: Wu et al. 2024, "FTBC: forward temporal bias correction for optimizing ANN-SNN conversion", ECCV 2024, arXiv:2403.18388.

    Departs: the error is the batch mean and applies at once in the calibration itself (the released code does so for
    calibrated networks only); every round and batch has an effect, and every step its own array.

    Raises
    ------
    ConversionError : recurrent layers.
    """
    n_steps = draft.require_t("ftbc")
    refuse(draft, "ftbc", recurrent=True)
    draft = with_default_thresholds(draft)
    for i in draft.hidden:
        neurons = draft.neurons[i]
        group = groups(neurons.layer, per_neuron=True)
        bias = np.broadcast_to(neurons.drive_bias, (n_steps, neurons.layer.n_out)).astype(np.float64)
        for _ in range(options.rounds):
            for trains, values in snn_passes(draft, i, n_steps, size=options.batch_size, samples=options.samples):
                z = drives_of(replace(neurons, bias=np.zeros(neurons.layer.n_out)), trains, n_steps)[0]
                bias = bias - _errors(draft, i, z, values[i + 1][0], bias, options.rate, group)
        draft = draft.with_neurons({i: {"bias": bias}})
        draft.report("bias per step (ftbc)", i + 1, len(draft.hidden))
    return replace(draft, for_t=n_steps, extra_state=(*draft.extra_state, f"{n_steps} biases a neuron"))


def _errors(draft: Draft, index: int, z: Array, wanted: Array, bias: Array, rate: float, group: Array) -> Array:
    """Return the change of beta, (T, n), of one batch with drive ``z`` (T or 1, m, n) and ANN activations ``wanted`` (m, n)."""
    neurons = draft.neurons[index]
    v = np.broadcast_to(neurons.start_potential.astype(np.float32), wanted.shape).copy()
    memory = np.zeros_like(v) if neurons.signed else None
    target = wanted.mean(axis=0, dtype=np.float64)
    change = np.empty_like(bias)
    for t in range(len(bias)):
        v += z[t if len(z) > 1 else 0] + bias[t].astype(np.float32)
        sent = spikes(neurons, v, memory)
        change[t] = rate * grouped_mean(sent.mean(axis=0, dtype=np.float64) - target, group)
        v -= change[t].astype(np.float32)
        reset(neurons, v, spikes(neurons, v, memory), memory)
    return change

