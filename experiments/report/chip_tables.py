"""Tables of the chip that need runs of their own: quantisation taken apart, accuracy against rates of faults."""

from __future__ import annotations

from .. import units
from ..comparison import Comparison, Range
from .panels.chip import NAMES
from .tables import Cell, Table, texts


def rounding(comparison: Comparison) -> Table | None:
    """Return agreement and accuracy after every step of quantisation."""
    found = comparison.rounding
    if found is None:
        return None
    lines = []
    before: float | None = None
    for step in found.steps:
        share = step.agreement.value
        change = units.MISSING if before is None else f"{100 * (share - before):+.2f}".replace("-", "\N{MINUS SIGN}")
        lines.append([step.name, step.what, _share(step.agreement), Cell(change, None if before is None else share - before), _share(step.accuracy), round(step.spikes, 1)])
        before = share
    caption = (
        f"Quantisation taken apart: answers that agree with {found.source} after one more step, first {found.n:,} test samples, T = {found.n_steps}, "
        "Wilson 95 % intervals. Thresholds are folded into the weights and lose nothing by themselves."
    )
    return texts("rounding", caption, ["Rounded up to", "What the step adds", "Agrees [%]", "By this step [points]", "Accuracy [%]", "Spikes"], lines)


def faults(comparison: Comparison) -> Table | None:
    """Return accuracy at every rate of every kind of fault."""
    found = comparison.faults
    if found is None:
        return None
    lines = [["none", 0.0, _share(found.healthy), None, None]]
    lines += [[NAMES[p.kind], 100 * p.rate, _share(p.accuracy), 100 * p.least, 100 * p.most] for p in found.points]
    caption = (
        f"Accuracy against the rate of faults, first {found.n:,} test samples, T = {found.n_steps}: mean over {found.draws} draws with the Wilson 95 % "
        "interval of the samples, and the worst and the best draw."
    )
    if found.refused:
        caption += " Not run: " + "; ".join(f"{NAMES[kind]} ({why})" for kind, why in found.refused.items()) + "."
    return texts("faults", caption, ["Fault", "Rate [%]", "Accuracy [%]", "Worst draw [%]", "Best draw [%]"], lines)


def _share(r: Range | None) -> Cell:
    if r is None:
        return Cell(units.MISSING)
    return Cell(f"{100 * r.value:.2f}", r.value, f"{100 * r.low:.2f}\N{EN DASH}{100 * r.high:.2f}")


__all__ = ["faults", "rounding"]
