"""Thresholds at the largest drive of the spiking network itself (Sengupta 2019)."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from .draft import Draft, grouped_max, groups, refuse
from .dynamics import drives_of, snn_passes
from .limits import ONE_OR_MORE, SHARE, check, check_floor

Array = np.ndarray


class SpikeNormOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of :func:`spike_norm`.

    n_steps : steps each sample is shown; None: the conversion's T, else 100.
    per_neuron : one threshold a neuron instead of one a layer.
    samples : calibration samples used at most.
    reset : ``"subtract"``, or ``"zero"`` as published.
    floor : thresholds below this share of the layer's median are raised to it (only per neuron).
    """

    n_steps: int | None = None
    per_neuron: bool = False
    samples: int = 200
    reset: Literal["subtract", "zero"] = "subtract"
    floor: float = 0.3

    def __post_init__(self) -> None:
        check("spike_norm", self, n_steps=ONE_OR_MORE, samples=ONE_OR_MORE, floor=SHARE)
        check_floor("spike_norm", self)


def spike_norm(draft: Draft, options: SpikeNormOptions) -> Draft:
    """Set theta_l to the largest drive W s(t) + b in any step, layer by layer, with the thresholds below already in place.

    A maximum over single steps gives high thresholds, so many steps are needed.

    Raises
    ------
    ConversionError : recurrent layers, whose drive depends on the threshold that is sought.

    Source: Sengupta et al. 2019, "Going deeper in spiking neural networks: VGG and residual architectures", Front. Neurosci.
    13:95, doi:10.3389/fnins.2019.00095.

    Departs: biases count; constant-current instead of Poisson input; every layer gets its threshold; reset by subtraction unless
    ``reset="zero"``.
    """
    return scaled_by_drive(draft, "spike_norm", 1.0, options, options.reset)


def scaled_by_drive(
    draft: Draft, method: str, beta: float, options: SpikeNormOptions, reset: Literal["subtract", "zero"]
) -> Draft:
    """Return the draft with theta_l = beta max(drive of layer l), layer by layer from the input; shared with ``rmp``."""
    refuse(draft, method, recurrent=True)
    n_steps = options.n_steps or draft.n_steps or 100
    draft = draft.with_neurons({i: {"reset": reset} for i in draft.hidden})
    found = {}
    for i in draft.hidden:
        layer = draft.mlp.layers[i]
        top = np.zeros(layer.n_out)
        for trains, _ in snn_passes(draft, i, n_steps, samples=options.samples):
            drives = drives_of(draft.neurons[i], trains, n_steps)
            top = np.maximum(top, drives.reshape(-1, layer.n_out).max(axis=0))
        theta = beta * grouped_max(top, groups(layer, options.per_neuron))
        draft = draft.with_thresholds({i: theta}, options.floor if options.per_neuron else 0.0)
        found.update(draft.notes["thresholds"])
        draft.report(f"thresholds ({method})", i + 1, len(draft.hidden))
    return draft.note(thresholds=found)
