"""Thresholds for steps that build on any: those already chosen, else the network's own, else ltb's."""

from __future__ import annotations

from .draft import Draft
from .ltb import LTBOptions, ltb
from .qcfs import QCFSOptions, qcfs


def with_default_thresholds(draft: Draft) -> Draft:
    """Return the draft with thresholds: unchanged where it has them; lambda of a QCFS network; ``ltb`` otherwise."""
    if draft.has_thresholds:
        return draft
    if all(draft.mlp.layers[i].activation == "qcfs" for i in draft.hidden):
        return qcfs(draft, QCFSOptions())
    return ltb(draft, LTBOptions())
