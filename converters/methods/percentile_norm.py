"""Thresholds at a percentile of the activations (Rueckauer 2017)."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from .draft import Draft, ann_passes, groups
from .limits import PERCENTILE, SHARE, check, check_floor
from .quantile import Selector, percentiles

Array = np.ndarray


class PercentileNormOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of :func:`percentile_norm`.

    percentile : 0 to 100.
    per_neuron : one threshold a neuron (a channel of a convolution) instead of one a layer.
    over : ``"all"`` activations, or the ``"nonzero"`` ones only (as the authors' toolbox does); 99.9 of the one is not 99.9 of the other.
    floor : thresholds below this share of the layer's median are raised to it (only per neuron).
    """

    percentile: float = 99.9
    per_neuron: bool = False
    over: Literal["all", "nonzero"] = "all"
    floor: float = 0.3

    def __post_init__(self) -> None:
        check("percentile_norm", self, percentile=PERCENTILE, floor=SHARE)
        check_floor("percentile_norm", self)


def percentile_norm(draft: Draft, options: PercentileNormOptions) -> Draft:
    """Set theta_l to the p-th percentile of the layer's activations over calibration samples (and neurons).

    The percentile is exact, linear between the two nearest ranks, over data of any size.

    Source: Rueckauer et al. 2017, "Conversion of continuous-valued deep networks to efficient event-driven networks for image
    classification", Front. Neurosci. 11:682, doi:10.3389/fnins.2017.00682.

    Departs: thresholds are set instead of weights scaled (the same ratio); ``over`` says which activations count, and its default
    is all of them.
    """
    selectors = {
        i: Selector(groups(draft.mlp.layers[i], options.per_neuron), options.percentile, options.over == "nonzero")
        for i in draft.hidden
    }
    thetas = percentiles(lambda: (values[1:] for _, values in ann_passes(draft)), selectors)
    return draft.with_thresholds(thetas, options.floor if options.per_neuron else 0.0)
