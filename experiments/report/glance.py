"""The answer at a glance: a few numbers under the verdict, each with what it says and what it is measured against, by rule."""

from __future__ import annotations

from dataclasses import dataclass

from ..comparison import Comparison, Row
from ..designs import STANDING, against, dynamic, selected, short
from ..units import percent, significant
from ..verdict import MARGIN, REAL, fit_is_kept, seeds_p
from .panels.panel import HALF_A_POINT, Focus, enough, full, points, quantity, quantity_range, times

ENERGY = {
    "more": "More energy than the ANN on digital hardware",
    "less": "Less energy than the ANN on digital hardware",
    "either": "Energy: the figures allow either to win",
}


@dataclass(frozen=True)
class Tile:
    """One number: what it says in words, the number, and what stands behind it."""

    says: str
    number: str
    detail: str


def glance(at: Focus) -> list[Tile]:
    """Return the tiles that a comparison has data for: accuracy, energy or operations, latency, steps, room on the chip."""
    found = (_accuracy(at) or _fit(at), _energy(at) or _operations(at), _latency(at), _steps(at), _room(at))
    return [tile for tile in found if tile is not None]


def _accuracy(at: Focus) -> Tile | None:
    row, ann = at.main, at.ann
    if row.accuracy is None or ann.accuracy is None or row.loss is None:
        return None
    # The same numbers as the sentence above: over seeds where there are several.
    summary = next((s for s in at.comparison.summaries if row.key in s.rows and s.n_seeds > 1), None)
    loss, share, source, seeds = row.loss, row.accuracy.value, ann.accuracy.value, ""
    if summary is not None and summary.accuracy is not None and summary.loss is not None:
        loss, share, seeds = summary.loss, summary.accuracy.value, f", mean over {summary.n_seeds} seeds"
        source = share + loss.value
    told = _told(at.comparison, row)
    if loss.high <= MARGIN:
        says = "Accuracy is kept, within a point"
    elif told and loss.value > 0:
        says = "Accuracy is lost"
    elif told:
        says = "Accuracy is gained"
    else:
        says = f"Too few {'seeds' if seeds else 'samples'} to tell the accuracy from the ANN's"
    change = "as the ANN" if loss.value == 0 else f"{points(loss.value)} {'below' if loss.value > 0 else 'above'} the ANN's {percent(source)}"
    chance = "a real difference" if told else "which chance can explain"
    return Tile(says, percent(share), f"of {row.n:,} test samples right{seeds}, {change}" + ("" if loss.value == 0 else f", {chance}"))


def _fit(at: Focus) -> Tile | None:
    row, ann = at.main, at.ann
    if row.r2 is None or ann.r2 is None:
        return None
    says = "Fits as well as the ANN" if fit_is_kept(row, ann) else "Fits worse than the ANN"
    return Tile(says, f"R² {row.r2:.3f}", f"of {row.n:,} test samples; the ANN's is {ann.r2:.3f}, 1 is perfect")


def _told(comparison: Comparison, row: Row) -> bool:
    """Whether the difference from the ANN is real: over seeds where there are several, else on these samples."""
    summary = next((s for s in comparison.summaries if row.key in s.rows), None)
    if summary is not None and summary.n_seeds > 1 and summary.loss is not None:
        return seeds_p(comparison.summaries, summary, comparison.rows) < REAL
    return any(t.real for t in comparison.tests if t.a == row.ann and t.b == row.key)


def _energy(at: Focus) -> Tile | None:
    row = at.main
    if row.energy is None:
        return None
    total = row.energy.total
    number = quantity(total.value, "J")
    designs = selected(at.comparison, at.ann, 1)
    ours = dynamic(row)
    if not designs or ours.value <= 0 or designs[0].energy.value <= 0:
        return Tile("Energy of an inference", number, f"estimate, {quantity_range(total, 'J')}")
    rival = designs[0].energy
    told = against(ours, rival)
    says = ENERGY[told] + (", as far as figures are published" if told == "less" and row.energy.missing else "")
    ratio = ours.value / rival.value
    words = f"{times(ratio)} the" if ratio >= 1 else f"{significant(100 * ratio, 2)} % of the"
    stands = any(name in STANDING for name in row.energy.by_component)
    without = f" ({quantity(ours.value, 'J')} without static power)" if stands else ""
    return Tile(says, number, f"an inference{without}, {words} {quantity(rival.value, 'J')} of the ANN at {short(designs[0])}")


def _operations(at: Focus) -> Tile | None:
    row, ann = at.main, at.ann
    if not row.synaptic_operations or not ann.effective_macs:
        return None
    ratio = row.synaptic_operations / ann.effective_macs
    says = f"{'More' if ratio > 1 else 'Fewer'} operations than the ANN"
    return Tile(says, f"{row.synaptic_operations:,.0f}", f"synaptic operations an inference; the ANN has {ann.effective_macs:,.0f} effective MACs")


def _latency(at: Focus) -> Tile | None:
    row = at.main
    if row.latency is None or row.latency.per_inference is None:
        return None
    through = row.latency.throughput
    pipeline = f"; {significant(through.value)} a second in a pipeline" if through else ""
    return Tile("Time to an answer", quantity(row.latency.per_inference.value, "s"), f"{row.latency.steps} chip steps{pipeline}")


def _steps(at: Focus) -> Tile | None:
    row, ann = full(at.comparison, at.main), at.ann
    if row.curve is None or ann.accuracy is None or len(row.curve.steps) < 2:
        return None
    before = row.pre_steps
    k, last = enough(row.curve, ann.accuracy.value), int(row.curve.steps[-1]) + before
    if k is not None:
        more = f", {before} pre-steps included" if before else ""
        return Tile("Time steps that are enough", f"{k + before}", f"of {last}{more} to stay within half a point of the ANN")
    loss = ann.accuracy.value - float(row.curve.value[-1])
    if loss <= HALF_A_POINT:
        return Tile("Time steps that were run", f"{last}", f"{points(loss)} below the ANN, whose accuracy lies above the 95 % interval")
    return Tile("Not enough time steps", f"{last}", f"steps, and still {points(loss)} below the ANN")


def _room(at: Focus) -> Tile | None:
    use = at.main.chip_use
    if use is None:
        return None
    shares = [(r.share, r.name) for r in use.resources if r.share is not None]
    share, name = max(shares, key=lambda pair: pair[0], default=(0.0, ""))  # of equals the first, as in the chip's own section
    full = f"; nearest its limit: {name.replace('_', ' ')}, {percent(share, 0)}" if name else ""
    return Tile("It fits" if share <= 1 else "It does not fit", f"{use.cores:,}", f"of {use.cores_per_chip * use.chips:,} cores{full}")


__all__ = ["Tile", "glance"]
