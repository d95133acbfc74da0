"""Spikes of both signs with a memory of what was sent (Wang 2022)."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from .draft import Draft
from .max_norm import MaxNormOptions, max_norm


class SignedOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of :func:`signed`.

    floor_at_rest : the R0 rule, v <- max(v, 0) while nothing is left to take back.
    """

    floor_at_rest: bool = False


def signed(draft: Draft, options: SignedOptions) -> Draft:
    """Let neurons take back spikes they sent: +1 at v >= theta, -1 at v <= -theta while the sum of sent spikes M is positive.

        v <- v + drive;  n = [v >= theta] - [v <= -theta and M > 0];  v <- v - n theta;  M <- M + n

    The running output stays at zero or above. Every negative spike counts as a spike; built from paired neurons it costs two
    neurons a unit. Without an earlier step that sets thresholds: NeuronNorm, theta_i = largest activation of neuron i.

    Source: Wang et al. 2022, "Signed neuron with memory: towards simple, accurate and high-efficient ANN-SNN conversion",
    IJCAI 2022, doi:10.24963/ijcai.2022/347.

    Departs: M counts spikes; ``floor_at_rest`` is not of the paper, but a rule found in public code as R0, without a source.
    """
    if not draft.has_thresholds:
        draft = max_norm(draft, MaxNormOptions(per_neuron=True))
    rule = {"signed": True, "signed_floor": options.floor_at_rest, "max_spikes": 1, "reset": "subtract"}
    draft = draft.with_neurons({i: dict(rule) for i in draft.hidden})
    return replace(draft, extra_state=(*draft.extra_state, "a counter of sent spikes, and spikes of both signs"))
