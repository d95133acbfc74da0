"""The potential every neuron starts with."""

from __future__ import annotations

import msgspec

from .draft import Draft
from .limits import BELOW_ONE, check


class VInitOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of :func:`v_init`: ``fraction`` of the threshold, from 0 up to but not including 1."""

    fraction: float = 0.5

    def __post_init__(self) -> None:
        check("v_init", self, fraction=BELOW_ONE)


def v_init(draft: Draft, options: VInitOptions) -> Draft:
    """Set v(0) = fraction theta: 0 rounds rates down, 1/2 to the nearest, which makes the expected squared error least.

    Source: Bu et al. 2022, "Optimized potential initialization for low-latency spiking neural networks", AAAI 2022,
    doi:10.1609/aaai.v36i1.19874, arXiv:2202.01440.

    Departs: any fraction may be given; 1/2 is the published optimum and the default everywhere.
    """
    return draft.with_neurons({i: {"fraction": options.fraction, "v_init": None} for i in draft.hidden})
