"""Silence neurons whose residual potential shows that they should not have fired (SRP, Hao 2023a)."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from neuro.network import Protocol

from .draft import Draft, refuse
from .limits import BELOW_ONE, ONE_OR_MORE, check
from .ready import with_default_thresholds


class SRPOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of :func:`srp`: ``tau`` pre-steps; a neuron ending them with v <= ``threshold`` theta is silenced."""

    tau: int = 4
    threshold: float = 1e-3

    def __post_init__(self) -> None:
        check("srp", self, tau=ONE_OR_MORE, threshold=BELOW_ONE)


def srp(draft: Draft, options: SRPOptions) -> Draft:
    """Run tau steps, silence every neuron with v(tau) <= threshold theta, start again and read the T steps that follow.

    mask_i = [v_i(tau) > threshold theta_i], then v = v_init again; neuron i sends mask_i n_i. A presentation costs
    tau + T steps, and tau is part of every latency. Declared on the network as ``Protocol("srp", pre_steps=tau)``;
    chips refuse it.

    Without an earlier step that sets thresholds: lambda of a network trained with QCFS, otherwise those of ``ltb``.

    Source: Hao et al. 2023, "Reducing ANN-SNN conversion error through residual membrane potential", AAAI 2023,
    doi:10.1609/aaai.v37i1.25071, arXiv:2302.02091.

    Departs: offered for plain ReLU networks too; it was made for QCFS-trained ones.
    """
    refuse(draft, "srp", recurrent=True)
    draft = with_default_thresholds(draft)
    protocol = Protocol("srp", pre_steps=options.tau, options={"tau": options.tau, "threshold": options.threshold})
    state = (*draft.extra_state, "a mask bit a neuron")
    return replace(draft, protocol=protocol, extra_state=state)
