"""Tables of what an inference costs beyond its sum: energy by layer, and times with the energy-delay product."""

from __future__ import annotations

from .. import targets, units
from ..comparison import Range, Row
from ..designs import left_out
from .panels.panel import Focus, known
from .tables import Cell, Column, Table, amount, bounded, linked, prefix, texts

NO_LAYER = "chip"


def by_layer(at: Focus) -> Table | None:
    """Return the energy of the rows in focus by layer, with low and high."""
    rows = [row for row in at.family if row.energy is not None and row.energy.layers]
    if not rows:
        return None
    names = list(dict.fromkeys(name for row in rows for name in known(row.energy).layers))
    names.sort(key=lambda name: name == NO_LAYER)
    unit, factor = prefix([known(row.energy).total.value for row in rows], "J")
    lines = [[_layer(at, rows, name), *(bounded(known(row.energy).layers.get(name), factor) for row in rows)] for name in names]
    caption = f"Energy per inference by layer [{unit}], with low and high; the host's first layer stands with the layer that it drives."
    return texts("energy-layers", caption, ["Layer", *(row.label for row in rows)], lines)


def _layer(at: Focus, rows: list[Row], name: str) -> Cell:
    """Return a layer with what its energy is made of below, and a link to the figures that it rests on."""
    parts = list(dict.fromkeys(c for row in rows for c, layers in known(row.energy).by_layer.items() if name in layers))
    used = {f.name: f for row in rows for f in targets.rests_on(at.comparison, row, parts)}
    title = "no layer of its own" if name == NO_LAYER else name
    return linked(list(used.values()), Cell(title, note=", ".join(parts)))


def timing(at: Focus) -> Table | None:
    """Return the times of the network on every chip: a step, the decision, the pipeline, and energy times delay."""
    rows = [row for row in dict.fromkeys((*at.family, *targets.alike(at.comparison, at.main))) if row.latency is not None]
    if not rows:
        return None
    lines = []
    for row in rows:
        taken, figures = known(row.latency), targets.rests_on(at.comparison, row, {"time"})
        all_figures = targets.rests_on(at.comparison, row, {"time", *(row.energy.by_component if row.energy else ())})
        partial = bool(row.energy and row.energy.missing)
        lines.append(
            [
                Cell(row.label, row.label),
                Cell(str(taken.steps), taken.steps),
                linked(figures, amount(taken.per_step, "s")),
                linked(figures, amount(taken.per_inference, "s")),
                linked(figures, amount(taken.late, "s")),
                linked(figures, bounded(taken.throughput, 1.0)),
                linked(all_figures, amount(_delayed(row), "J s", partial)),
                Cell(taken.binding or units.MISSING),
                Cell(", ".join(left_out(taken.missing)) or "nothing"),
            ]
        )
    caption = (
        "Time of an inference, each with low and high: the steps to an answer, the mean step, the time to the decision (mean and 95th percentile over the samples; "
        "they differ with early exit only), inferences a second when the layers work as a pipeline, and energy with static power times the mean time."
    )
    heads = (
        Column("Network", numeric=False),
        Column("Steps", "until answer"),
        Column("A step", "s"),
        Column("Decision", "s, mean"),
        Column("Decision", "s, 95th percentile"),
        Column("Pipeline", "inferences/s"),
        Column("Energy \N{MULTIPLICATION SIGN} delay", "J s", meaning="energy with static power times the mean time to the decision"),
        Column("Set by", numeric=False, meaning="what decides how long a step takes"),
        Column("Not in it", numeric=False),
    )
    # Each number has a prefix of its own, so that points do not line up.
    return Table("timing", caption, heads, tuple(tuple(line) for line in lines))


def _delayed(row: Row) -> Range | None:
    if row.energy is None or row.latency is None or row.latency.per_inference is None:
        return None
    energy, time = row.energy.total, row.latency.per_inference
    return Range(energy.value * time.value, energy.low * time.low, energy.high * time.high)


__all__ = ["by_layer", "timing"]
