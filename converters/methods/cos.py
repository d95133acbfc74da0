"""Shift initial potentials per sample by the spike that residual potentials show missing or superfluous (COS, Hao 2023b)."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from neuro.network import Protocol

from .draft import Draft, refuse
from .limits import BELOW_ONE, ONE_OR_MORE, check
from .ready import with_default_thresholds


class COSOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of :func:`cos`: ``rho`` pre-steps a layer; ``margin`` keeps a shifted potential off the threshold (share of theta)."""

    rho: int = 4
    margin: float = 1e-3

    def __post_init__(self) -> None:
        check("cos", self, rho=ONE_OR_MORE, margin=BELOW_ONE)


def cos(draft: Draft, options: COSOptions) -> Draft:
    """Run rho steps layer by layer, then start each neuron so that it sends one spike fewer or more where v(rho) asks for it.

    In units of theta, with m- the lowest potential at a spike before the reset and m+ the highest potential at a silent step
    of the rho steps:

        v(rho) < 0 and the neuron fired:    v0 = v_init - max(1, m- - (1 - margin))   one spike fewer
        v(rho) >= 1 and it was once silent: v0 = v_init + max(1, (1 + margin) - m+)   one spike more
        otherwise:                          v0 = v_init

    The layer then replays its input from the start for T steps. Every spiking layer adds rho steps to the latency.
    Declared on the network as ``Protocol("cos", pre_steps=rho * number of spiking layers)``; chips refuse it.

    Without an earlier step that sets thresholds: lambda of a network trained with QCFS, otherwise those of ``ltb``.

    Source: Hao et al. 2023, "Bridging the gap between ANNs and SNNs by calibrating offset spikes", ICLR 2023, arXiv:2302.10685.

    Departs: a neuron that fired in all rho steps has no silent step and keeps v_init (the released code then starts it at
    about 1000 theta, so that it fires at every step); v_init may be another than 1/2; offered for plain ReLU
    networks too.
    """
    refuse(draft, "cos", recurrent=True)
    draft = with_default_thresholds(draft)
    layers = len(draft.hidden)
    numbers = {"rho": options.rho, "margin": options.margin}
    protocol = Protocol("cos", pre_steps=options.rho * layers, options=numbers)
    state = (*draft.extra_state, "an initial potential a neuron and sample")
    return replace(draft, protocol=protocol, extra_state=state)
