"""Correct biases, initial potentials and weights so that the spiking network's means match the ANN's (Li 2021)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import msgspec
import numpy as np

from neuro.errors import ConversionError

from .draft import Draft, grouped_mean, groups
from .dynamics import drives_of, mean_input, snn_passes, train_of
from .ready import with_default_thresholds

Array = np.ndarray


class CalibrationOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    mode: Literal["light", "advanced"] = "light"
    rounds: int = 1
    samples: int = 1024
    readout: bool = True


def calibration(draft: Draft, options: CalibrationOptions) -> Draft:
    """X."""
    n_steps = draft.require_t("calibration")
    draft = with_default_thresholds(draft)
    for i in range(len(draft.neurons)):
        last = i == len(draft.neurons) - 1
        if last and not options.readout:
            continue
        for _ in range(1 if last else options.rounds):
            neurons = draft.neurons[i]
            total = np.zeros(neurons.layer.n_out); count = 0
            for trains, values in snn_passes(draft, i, n_steps, samples=options.samples):
                if last:
                    got = drives_of(neurons, trains, n_steps).mean(axis=1)
                else:
                    got = train_of(neurons, trains, n_steps).mean(axis=1)
                e = got - values[i + 1]
                total += e.reshape(-1, e.shape[-1]).sum(axis=0, dtype=np.float64); count += e.shape[0] * e.shape[1]
            err = grouped_mean(total / count, groups(neurons.layer, True))
            draft = draft.with_neurons({i: {"bias": neurons.drive_bias - err}})
    return replace(draft, for_t=n_steps)
