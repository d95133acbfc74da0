"""Thresholds of a network trained with the quantised clip-floor-shift activation (QCFS, Bu 2022)."""

from __future__ import annotations

import msgspec
import numpy as np

from neuro.errors import ConversionError, problems

from .draft import Draft


class QCFSOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of :func:`qcfs`: none."""


def qcfs(draft: Draft, options: QCFSOptions) -> Draft:
    """Take theta = lambda and v_init = theta/2 of a network trained with a = lambda clip(floor(z L/lambda + 1/2)/L, 0, 1).

    With T = L and constant current the first layer's rates then equal its activations exactly.

    Raises
    ------
    ConversionError : layers with another activation, all named (train them with ``activation="qcfs"``).

    Source: Bu et al. 2022, "Optimal ANN-SNN conversion for high-accuracy and ultra-low-latency spiking neural networks", ICLR 2022,
    arXiv:2303.04347.

    Departs: nothing; clipping after rounding, as here, gives the values of the published order.
    """
    other = [
        f"{draft.name(i)}: activation {draft.mlp.layers[i].activation!r}; train with activation='qcfs', or use another method"
        for i in draft.hidden
        if draft.mlp.layers[i].activation != "qcfs"
    ]
    if other:
        raise ConversionError(problems("method 'qcfs' cannot take these layers:", other))
    thetas = {i: np.full(draft.mlp.layers[i].n_out, draft.mlp.layers[i].ceiling) for i in draft.hidden}
    levels = {draft.name(i): draft.mlp.layers[i].levels for i in draft.hidden}
    draft = draft.with_neurons({i: {"fraction": 0.5, "v_init": None} for i in draft.hidden})
    return draft.with_thresholds(thetas).note(levels=levels)
