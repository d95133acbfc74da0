"""Several spikes in one step (burst spikes, Li and Zeng 2022; group neurons are the same)."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from .draft import Draft, ann_passes, groups, refuse
from .limits import PERCENTILE, POSITIVE, SHARE, TWO_OR_MORE, check, check_floor
from .quantile import Selector, percentiles


class BurstOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of :func:`burst`.

    max_spikes : Gamma, the most spikes in one step.
    percentile, per_neuron : of the activations, where no earlier step sets thresholds.
    halve_above : activations above this value count half in that percentile, as published; None leaves them.
    floor : thresholds below this share of the layer's median are raised to it (only per neuron).
    """

    max_spikes: int = 5
    percentile: float = 99.9
    per_neuron: bool = False
    halve_above: float | None = 1.0
    floor: float = 0.3

    def __post_init__(self) -> None:
        check("burst", self, max_spikes=TWO_OR_MORE, percentile=PERCENTILE, halve_above=POSITIVE, floor=SHARE)
        check_floor("burst", self)


def burst(draft: Draft, options: BurstOptions) -> Draft:
    """Let a neuron send n = clip(floor(v / theta), 0, Gamma) spikes a step, v <- v - n theta.

    theta: the percentile of activations above ``halve_above`` halved, where no earlier step sets thresholds. Every spike of a burst
    is counted, in spikes and in synaptic operations.
    A group of m neurons with thresholds k theta/m (group neurons, ICASSP 2024) equals a burst neuron with theta/m and Gamma = m.

    Raises
    ------
    ConversionError : layers whose activation has a ceiling, which bursts would pass.

    Source: Li and Zeng 2022, "Efficient and accurate conversion of spiking neural network with burst spikes", IJCAI 2022, arXiv:2204.13271.

    Departs: activations are halved in the statistics only; the released hook changes them in place, and so what upper layers see.
    """
    refuse(draft, "burst", ceiling=True)
    if not draft.has_thresholds:
        selectors = {
            i: Selector(groups(draft.mlp.layers[i], options.per_neuron), options.percentile, nonzero=False) for i in draft.hidden
        }

        def halved(a: np.ndarray) -> np.ndarray:
            return a if options.halve_above is None else np.where(a > options.halve_above, a * np.float32(0.5), a)

        thetas = percentiles(lambda: ([halved(a) for a in values[1:]] for _, values in ann_passes(draft)), selectors)
        draft = draft.with_thresholds(thetas, options.floor if options.per_neuron else 0.0)
    rule = {"max_spikes": options.max_spikes, "signed": False, "reset": "subtract"}
    draft = draft.with_neurons({i: dict(rule) for i in draft.hidden})
    return replace(draft, extra_state=(*draft.extra_state, "graded spikes"))
