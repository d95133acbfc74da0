"""Thresholds below the largest drive of the spiking network, with reset by subtraction (RMP-SNN, Han 2020)."""

from __future__ import annotations

import msgspec

from .draft import Draft
from .limits import ONE_OR_MORE, POSITIVE_SHARE, SHARE, check, check_floor
from .spike_norm import SpikeNormOptions, scaled_by_drive


class RMPOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of :func:`rmp`.

    beta : in (0, 1], share of the largest drive that becomes the threshold.
    n_steps : steps each sample is shown; None: the conversion's T, else 100.
    per_neuron : one threshold a neuron instead of one a layer.
    samples : calibration samples used at most.
    floor : thresholds below this share of the layer's median are raised to it (only per neuron).
    """

    beta: float = 0.8
    n_steps: int | None = None
    per_neuron: bool = False
    samples: int = 200
    floor: float = 0.3

    def __post_init__(self) -> None:
        check("rmp", self, beta=POSITIVE_SHARE, n_steps=ONE_OR_MORE, samples=ONE_OR_MORE, floor=SHARE)
        check_floor("rmp", self)


def rmp(draft: Draft, options: RMPOptions) -> Draft:
    """Set theta_l to beta times the largest drive in any step, and reset by subtraction.

    theta_l = beta max_t (W s(t) + b): less than the largest drive, so that fewer steps suffice; a drive above theta waits in
    the potential and is sent later, because the reset subtracts.

    Raises
    ------
    ConversionError : recurrent layers, whose drive depends on the threshold that is sought.

    Source: Han et al. 2020, "RMP-SNN: residual membrane potential neuron for enabling deeper high-accuracy and low-latency
    spiking neural network", CVPR 2020, arXiv:2003.01811.

    Departs: as ``spike_norm``; the largest drive of a layer is found with the thresholds below it already scaled by beta.
    """
    plain = SpikeNormOptions(
        n_steps=options.n_steps, per_neuron=options.per_neuron, samples=options.samples, floor=options.floor
    )
    return scaled_by_drive(draft, "rmp", options.beta, plain, "subtract")
