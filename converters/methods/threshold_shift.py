"""Half a threshold spread over the T steps instead of an initial potential (Deng and Gu 2021)."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from .draft import Draft
from .max_norm import MaxNormOptions, max_norm


class ThresholdShiftOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of :func:`threshold_shift`: none."""


def threshold_shift(draft: Draft, options: ThresholdShiftOptions) -> Draft:
    """Start at v = 0 and add theta/(2T) to the drive of every step.

    Rounding down loses theta/(2T) on average; the shift gives it back. A neuron with constant drive fires as often as with
    v_init = theta/2, at other steps. Without an earlier step that sets thresholds: the layer's largest activation.

    Source: Deng and Gu 2021, "Optimal conversion of conventional artificial neural networks to spiking neural networks",
    ICLR 2021, arXiv:2103.00476.

    Departs: the network is not fine-tuned with the clipped activation.
    """
    n_steps = draft.require_t("threshold_shift")
    if not draft.has_thresholds:
        draft = max_norm(draft, MaxNormOptions())
    changes = {}
    for i in draft.hidden:
        neurons = draft.neurons[i]
        changes[i] = {"fraction": 0.0, "v_init": None, "bias": neurons.drive_bias + neurons.theta / (2 * n_steps)}
    return replace(draft.with_neurons(changes), for_t=n_steps)
